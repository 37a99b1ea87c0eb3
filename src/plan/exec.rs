//! The process of `exec`: a process.json, or the container's own process with what the command line changes of it.

use super::namespaces::Namespace;
use super::process::{Capabilities, Process, env};
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
    pub fn changed(
        &self,
        changes: Changes,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<String>,
    ) -> Option<Process> {
        let Some(mut process) = self.own(warnings) else {
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

    /// The process of a process.json. A field that the file leaves out never gives the process more than the container's
    /// own has: docs/compatibility.md lists what the absence of each field means.
    pub fn from_file(&self, config: &oci::Process, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) -> Process {
        let mut process = Process::new(config, problems, warnings);
        let Some(own) = self.own(warnings) else { return process };
        process.user.umask = process.user.umask.or(own.user.umask);
        process.user.keep_groups = own.user.keep_groups;
        if config.capabilities().is_none() {
            process.capabilities = own.capabilities;
        }
        if config.no_new_privileges().is_none() {
            process.no_new_privileges = own.no_new_privileges;
        }
        if process.rlimits.is_empty() {
            process.rlimits = own.rlimits;
        }
        Process {
            apparmor_profile: process.apparmor_profile.or(own.apparmor_profile),
            selinux_label: process.selinux_label.or(own.selinux_label),
            // Engines put the container's score only into the config.
            oom_score_adj: process.oom_score_adj.or(own.oom_score_adj),
            scheduler: process.scheduler.or(own.scheduler),
            io_priority: process.io_priority.or(own.io_priority),
            cpu_affinity: process.cpu_affinity.or(own.cpu_affinity),
            personality: own.personality,
            memory_policy: own.memory_policy,
            ..process
        }
    }

    /// The container's own process.
    ///
    /// The record of a container that version 0.1 created from a config without `capabilities` does not say which the
    /// process has: it had kept all of the runtime's. A process that joins it later gets none.
    fn own(&self, warnings: &mut Vec<String>) -> Option<Process> {
        let mut own = self.process.clone()?;
        if own.capabilities.is_none() {
            warnings.push(
                "the container was created by version 0.1 from a config without process.capabilities: \
                 this process gets no capability (name them with --cap, or in the file of --process)"
                    .into(),
            );
            own.capabilities = Some(Capabilities::default());
        }
        Some(own)
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
    let sets = process.capabilities.get_or_insert_default();
    sets.bounding |= added;
    sets.effective |= added;
    sets.permitted |= added;
    sets.ambient |= added & sets.inheritable;
}

#[cfg(test)]
mod tests {
    use super::super::process::User;
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
        let process = template
            .changed(Changes { args: args.clone(), ..Changes::default() }, &mut problems, &mut Vec::new())
            .unwrap();
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
        let process = template().changed(changes, &mut problems, &mut Vec::new()).unwrap();
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
        template().changed(changes, &mut problems, &mut Vec::new());
        let places: Vec<&str> = problems.iter().map(|p| p.place.as_str()).collect();
        assert_eq!(places, ["exec", "--cwd", "--env[0]"]);
        assert!(problems[0].message.contains("executable file not found in $PATH"));
        let without = Template { process: None, ..template() };
        problems.clear();
        assert_eq!(without.changed(Changes::default(), &mut problems, &mut Vec::new()), None);
        assert_eq!(problems[0].place, "--process");
    }

    fn from_file(template: &Template, mut fields: serde_json::Value, warnings: &mut Vec<String>) -> Process {
        fields["user"] = json!({"uid": 0, "gid": 0});
        fields["args"] = json!(["a"]);
        fields["cwd"] = json!("/");
        let config: oci::Process = serde_json::from_value(fields).unwrap();
        let mut problems = Vec::new();
        let process = template.from_file(&config, &mut problems, warnings);
        assert_eq!(problems, []);
        process
    }

    #[test]
    fn a_field_missing_from_the_file_is_the_containers_or_the_safe_one() {
        let mut template = template();
        let own = template.process.as_mut().unwrap();
        own.apparmor_profile = Some("profile".into());
        own.selinux_label = Some("u:r:t:s0".into());
        own.rlimits = vec![super::super::process::Rlimit { resource: 7, soft: 1, hard: 2 }];
        own.io_priority = Some(super::super::process::IoPriority { class: 3, level: 7 });
        own.cpu_affinity = Some(super::super::process::CpuAffinity { initial: None, last: Some(vec![0]) });
        let own = own.clone();
        let mut warnings = Vec::new();
        let process = from_file(&template, json!({}), &mut warnings);
        let user = User { umask: Some(63), ..User::default() };
        let expected = Process {
            user,
            args: vec!["a".into()],
            env: vec![],
            cwd: "/".into(),
            terminal: false,
            console_size: None,
            ..own
        };
        assert_eq!((process, warnings), (expected, vec![]));
    }

    #[test]
    fn what_the_file_says_counts() {
        let fields = json!({"capabilities": {}, "noNewPrivileges": false, "apparmorProfile": "p", "oomScoreAdj": 0});
        let process = from_file(&template(), fields, &mut Vec::new());
        assert_eq!((process.capabilities, process.no_new_privileges), (Some(Capabilities::default()), false));
        assert_eq!((process.apparmor_profile.as_deref(), process.oom_score_adj), (Some("p"), Some(0)));
    }

    #[test]
    fn a_record_without_capabilities_gives_none() {
        let mut template = template();
        template.process.as_mut().unwrap().capabilities = None;
        let mut warnings = Vec::new();
        let process = from_file(&template, json!({}), &mut warnings);
        assert_eq!(process.capabilities, Some(Capabilities::default()));
        let changes = Changes { args: vec!["a".into()], capabilities: 1, ..Changes::default() };
        let process = template.changed(changes, &mut Vec::new(), &mut warnings).unwrap();
        let one = Capabilities { bounding: 1, effective: 1, permitted: 1, ..Capabilities::default() };
        assert_eq!(process.capabilities, Some(one));
        assert_eq!(warnings.len(), 2);
        assert!(warnings.iter().all(|text| text.contains("process.capabilities")), "{warnings:?}");
    }
}
