//! The plan as text, one line an operation.

impl std::fmt::Display for super::Plan {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}
