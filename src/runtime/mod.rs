//! The operations: create, start, run, kill, delete, state, list.

use crate::plan::resources::Manager;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

pub struct Context {
    pub root: PathBuf,
    pub cgroup_manager: Manager,
    pub rootless: Option<bool>,
}

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

pub struct RunArgs {
    pub detach: bool,
    pub keep: bool,
    pub no_subreaper: bool,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub oci_version: String,
    pub id: String,
    pub pid: i32,
    pub status: String,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    pub owner: String,
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
