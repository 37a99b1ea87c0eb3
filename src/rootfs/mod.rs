//! The root filesystem: carries out the plan's mounts by fd, from opening the sources to pivot_root.
