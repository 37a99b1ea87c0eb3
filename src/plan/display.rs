//! The plan as text, one line an operation.
