//! Runs hooks.
