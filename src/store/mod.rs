//! The state directory: one directory a container.
