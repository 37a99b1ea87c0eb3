//! Drives a runtime binary from outside.
