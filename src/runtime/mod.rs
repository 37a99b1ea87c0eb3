//! The operations: create, start, run, kill, delete, state, list.
