//! The root filesystem: carries out the plan's mounts by fd, from opening the sources to pivot_root.
use crate::plan::Plan;
use anyhow::Result;
use std::os::fd::*;
use std::path::Path;
pub struct Prepared;
impl Prepared {
    pub fn open(_: &Plan) -> Result<Prepared> {
        todo!()
    }
    pub fn map_ids(&self, _: &Plan, _: BorrowedFd) -> Result<()> {
        todo!()
    }
    pub fn needs_user_namespace(&self) -> bool {
        todo!()
    }
}
pub struct Root;
impl Root {
    pub fn enter(_: &Plan, _: Prepared) -> Result<Root> {
        todo!()
    }
    pub fn mount_all(&mut self, _: &Plan, _: &mut dyn FnMut(String)) -> Result<()> {
        todo!()
    }
    pub fn mask_all(&mut self, _: &Plan, _: &mut dyn FnMut(String)) -> Result<()> {
        todo!()
    }
    pub fn make_cwd(&self, _: &Path) -> Result<()> {
        todo!()
    }
    pub fn bind_console(&self, _: BorrowedFd) -> Result<()> {
        todo!()
    }
    pub fn open_ptmx(&self) -> Result<OwnedFd> {
        todo!()
    }
    pub fn pivot(self, _: &Plan) -> Result<()> {
        todo!()
    }
}
