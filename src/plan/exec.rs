//! The process of `exec`: a process.json, or the container's own process with what the command line changes of it.

use super::namespaces::Namespace;
use super::process::{Process, User, env};
use super::{Problem, seccomp};
use oci_spec::runtime as oci;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What `create` keeps of a plan for later processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// The container's own process.
    pub process: Option<Process>,
    /// `CLONE_NEW*` bits of the namespaces that are the container's and not the runtime's.
    pub namespaces: u64,
    /// Those of them that have been joined by their paths.
    #[serde(default)]
    pub joined: u64,
    /// A session keyring of the container's own.
    pub keyring: bool,
    pub seccomp: Option<Filtered>,
}

/// How the compiled filter is loaded, which is kept beside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filtered {
    /// `SECCOMP_FILTER_FLAG_*` bits.
    pub flags: u32,
    pub listener: Option<seccomp::Listener>,
}

/// What the flags of `exec` change of the container's own process; what is not given stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub args: Vec<String>,
    pub terminal: bool,
    pub cwd: Option<PathBuf>,
    /// Added; `NAME=value`.
    pub env: Vec<String>,
    /// A user id, perhaps with a group id.
    pub user: Option<(u32, Option<u32>)>,
    /// Added.
    pub additional_gids: Vec<u32>,
    pub apparmor_profile: Option<String>,
    pub selinux_label: Option<String>,
    pub no_new_privileges: Option<bool>,
    /// Added; a bit set.
    pub capabilities: u64,
}

impl Template {
    pub fn of(plan: &super::Plan) -> Template {
        Template {
            process: plan.process.clone(),
            namespaces: plan.namespaces.clone_flags(Namespace::is_own),
            joined: plan.namespaces.clone_flags(|namespace| matches!(namespace, Namespace::Join(_))),
            keyring: plan.new_keyring,
            seccomp: plan.seccomp.as_ref().map(|s| Filtered { flags: s.flags, listener: s.listener.clone() }),
        }
    }

    /// The container's own process as the command line changes it. Errors name the flag.
    pub fn changed(&self, changes: Changes, problems: &mut Vec<Problem>) -> Option<Process> {
        let Some(mut process) = self.process.clone() else {
            let message = "config.json has no `process`, so all of it has to be in a file";
            problems.push(Problem::new("--process", message));
            return None;
        };
        process.args = changes.args;
        if process.args.first().is_some_and(String::is_empty) {
            problems.push(Problem::new("exec", "\"\": executable file not found in $PATH"));
        }
        process.terminal = changes.terminal;
        process.console_size = None;
        if let Some(cwd) = changes.cwd {
            check_cwd(&cwd, problems);
            process.cwd = cwd;
        }
        process.env.extend(env("--env", &changes.env, problems));
        if let Some((uid, gid)) = changes.user {
            process.user.uid = uid;
            process.user.gid = gid.unwrap_or(process.user.gid);
        }
        process.user.additional_gids.extend(changes.additional_gids);
        process.apparmor_profile = changes.apparmor_profile.or(process.apparmor_profile);
        process.selinux_label = changes.selinux_label.or(process.selinux_label);
        process.no_new_privileges = changes.no_new_privileges.unwrap_or(process.no_new_privileges);
        add_capabilities(&mut process, changes.capabilities);
        Some(process)
    }

    /// The process of a process.json; what is the container's and not in such a file comes from its own process.
    pub fn from_file(&self, config: &oci::Process, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) -> Process {
        let process = Process::new(config, problems, warnings);
        let Some(own) = &self.process else { return process };
        let user =
            User { umask: process.user.umask.or(own.user.umask), keep_groups: own.user.keep_groups, ..process.user };
        Process {
            user,
            // As with runc; engines put the container's score only into the config.
            oom_score_adj: process.oom_score_adj.or(own.oom_score_adj),
            personality: own.personality,
            memory_policy: own.memory_policy.clone(),
            ..process
        }
    }
}

fn check_cwd(cwd: &Path, problems: &mut Vec<Problem>) {
    if !cwd.is_absolute() {
        problems.push(Problem::new("--cwd", format!("{cwd:?} is not an absolute path")));
    }
}

/// Never to the inheritable set (CVE-2022-29162). A capability can be ambient only where it is inheritable too, so it
/// becomes ambient only where the config has made it inheritable.
fn add_capabilities(process: &mut Process, added: u64) {
    let Some(sets) = &mut process.capabilities else { return };
    sets.bounding |= added;
    sets.effective |= added;
    sets.permitted |= added;
    sets.ambient |= added & sets.inheritable;
}

#[cfg(test)]
mod tests {
    use super::super::process::Capabilities;
    use super::*;
    use serde_json::json;

    fn template() -> Template {
        let config: oci::Process = serde_json::from_value(json!({
            "user": {"uid": 1, "gid": 2, "umask": 63, "additionalGids": [3]}, "args": ["/bin/init"], "cwd": "/srv",
            "env": ["A=1"], "oomScoreAdj": 7, "noNewPrivileges": true, "terminal": true,
            "capabilities": {"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "inheritable": ["CAP_CHOWN"]},
        }))
        .unwrap();
        let mut problems = Vec::new();
        let process = Process::new(&config, &mut problems, &mut Vec::new());
        assert_eq!(problems, []);
        Template { process: Some(process), namespaces: 0, joined: 0, keyring: true, seccomp: None }
    }

    #[test]
    fn what_is_not_given_stays() {
        let template = template();
        let args = vec!["/bin/x".to_owned()];
        let mut problems = Vec::new();
        let process = template.changed(Changes { args: args.clone(), ..Changes::default() }, &mut problems).unwrap();
        let own = template.process.clone().unwrap();
        assert_eq!(process, Process { args, terminal: false, ..own });
        assert_eq!(problems, []);
    }

    #[test]
    fn flags_change_and_add() {
        let changes = Changes {
            args: vec!["x".into()],
            terminal: true,
            cwd: Some("/tmp".into()),
            env: vec!["B=2".into()],
            user: Some((5, None)),
            additional_gids: vec![9],
            apparmor_profile: Some("p".into()),
            selinux_label: None,
            no_new_privileges: Some(false),
            capabilities: 0b1000_0001,
        };
        let mut problems = Vec::new();
        let process = template().changed(changes, &mut problems).unwrap();
        let user = User { uid: 5, gid: 2, umask: Some(63), additional_gids: vec![3, 9], keep_groups: false };
        assert_eq!((process.terminal, process.no_new_privileges, process.user), (true, false, user));
        assert_eq!((process.cwd, process.env), ("/tmp".into(), vec!["A=1".to_owned(), "B=2".to_owned()]));
        assert_eq!(process.apparmor_profile.as_deref(), Some("p"));
        let added = 0b1000_0001;
        let sets =
            Capabilities { bounding: added, effective: 0b1000_0000 | 1, permitted: added, inheritable: 1, ambient: 1 };
        assert_eq!(process.capabilities, Some(sets));
        assert_eq!(problems, []);
    }

    #[test]
    fn wrong_flags_are_named() {
        let changes = Changes {
            args: vec![String::new()],
            cwd: Some("tmp".into()),
            env: vec!["=x".into()],
            ..Changes::default()
        };
        let mut problems = Vec::new();
        template().changed(changes, &mut problems);
        let places: Vec<&str> = problems.iter().map(|p| p.place.as_str()).collect();
        assert_eq!(places, ["exec", "--cwd", "--env[0]"]);
        assert!(problems[0].message.contains("executable file not found in $PATH"));
        let without = Template { process: None, ..template() };
        problems.clear();
        assert_eq!(without.changed(Changes::default(), &mut problems), None);
        assert_eq!(problems[0].place, "--process");
    }

    #[test]
    fn a_file_is_the_whole_process() {
        let config: oci::Process =
            serde_json::from_value(json!({"user": {"uid": 0, "gid": 0}, "args": ["a"], "cwd": "/"})).unwrap();
        let process = template().from_file(&config, &mut Vec::new(), &mut Vec::new());
        assert_eq!((process.user.umask, process.oom_score_adj), (Some(63), Some(7)));
        assert_eq!((process.env, process.capabilities, process.no_new_privileges), (vec![], None, false));
    }
}
