//! Frames between the runtime and init.
