use crate::plan::IntelRdt;
use anyhow::Result;
use std::path::PathBuf;
pub fn intend(_: &IntelRdt) -> Vec<PathBuf> {
    todo!()
}
pub fn create(_: &IntelRdt) -> Result<()> {
    todo!()
}
pub fn join(_: &IntelRdt, _: i32) -> Result<()> {
    todo!()
}
pub fn remove(_: &[PathBuf]) -> Result<()> {
    todo!()
}
