//! Containers of an ordinary user.

use crate::case::{Case, chown_tree};
use crate::payload::copy_program;
use crate::{command, config, runtime};
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// A user that no machine knows.
pub const USER: u32 = 424_242;

/// The program as another user, with no groups and no capabilities.
pub fn command(program: &Path, user: u32) -> Command {
    let mut command = command::quiet("setpriv".as_ref());
    let id = user.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps=-all", "--"]).arg(program);
    command
}

/// A case whose commands an ordinary user runs: what `spec --rootless` writes, with this user as the container's root.
pub fn case(user: u32) -> Case {
    let mut case = Case::new();
    case.user = Some(user);
    // The checkout may be where the user cannot look.
    let copy = case.dir.join(runtime().path.file_name().expect("a name"));
    copy_program(&runtime().path, &copy);
    case.binary = Some(copy);
    case.namespace("user").without_namespace("network").unset("/linux/cgroupsPath");
    let own = json!([{ "containerID": 0, "hostID": user, "size": 1 }]);
    case.set("/linux/uidMappings", own.clone()).set("/linux/gidMappings", own);
    case.set("/mounts/2/options", json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]));
    case.set("/mounts/5", config::mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]));
    case.write_config();
    chown_tree(&case.dir, user);
    case
}
