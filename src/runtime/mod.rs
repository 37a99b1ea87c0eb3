//! The operations: create, start, run, kill, delete, state, list.

use crate::host::Host;
use crate::plan::Plan;
use crate::plan::resources::Manager;
use crate::state::State;
use anyhow::Result;
use std::path::PathBuf;

/// The global flags.
#[derive(Debug, Clone)]
pub struct Context {
    pub root: PathBuf,
    pub cgroup_manager: Manager,
    pub rootless: Option<bool>,
}

#[derive(Debug, Clone, Default)]
pub struct CreateArgs {
    pub id: String,
    pub bundle: PathBuf,
    pub console_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    pub preserve_fds: u32,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct RunArgs {
    pub detach: bool,
    pub keep: bool,
    pub no_subreaper: bool,
}

pub fn plan(_context: &Context, _args: &CreateArgs) -> Result<(Plan, Host)> {
    todo!()
}

pub fn create(_context: &Context, _args: &CreateArgs) -> Result<()> {
    todo!()
}

pub fn start(_context: &Context, _id: &str) -> Result<()> {
    todo!()
}

pub fn run(_context: &Context, _create: &CreateArgs, _run: &RunArgs) -> Result<i32> {
    todo!()
}

pub fn state(_context: &Context, _id: &str) -> Result<State> {
    todo!()
}

pub fn kill(_context: &Context, _id: &str, _signal: i32, _all: bool) -> Result<()> {
    todo!()
}

pub fn delete(_context: &Context, _id: &str, _force: bool) -> Result<()> {
    todo!()
}

pub fn list(_context: &Context) -> Result<Vec<State>> {
    todo!()
}
