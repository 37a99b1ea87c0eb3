use crate::plan::NetDevice;
use anyhow::Result;
use std::os::fd::*;
pub fn loopback_up() -> Result<()> {
    todo!()
}
pub fn move_devices(_: &[NetDevice], _: BorrowedFd) -> Result<()> {
    todo!()
}
