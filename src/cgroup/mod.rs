//! The container's cgroup: made, entered, signalled, removed.
