//! One test's container: its bundle, its commands, and its end.

use crate::command::{self, Outcome, Running};
use crate::facts::Facts;
use crate::{config, leaks, payload, runtime, unprivileged, waiting};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A directory with a bundle, a state root, a container id and a cgroup name, all its own.
///
/// On drop the container is deleted by force and, unless the test is failing already, anything that is left of it
/// makes the test fail.
#[derive(Debug)]
pub struct Case {
    /// In every name that belongs to this case, and in no other.
    pub token: String,
    /// `<dir>/bundle` is the bundle, `<dir>/state` the `--root`.
    pub dir: PathBuf,
    pub id: String,
    /// Written to config.json by [`Case::write_config`], which create and run call.
    pub config: Value,
    /// Another binary than [`runtime`]'s, for a test that attacks it.
    pub binary: Option<PathBuf>,
    /// The uid and gid that commands run as, without any privilege, instead of root.
    pub user: Option<u32>,
    /// Flags before every command.
    pub global_flags: Vec<&'static str>,
    commands: Cell<u32>,
    more_ids: RefCell<Vec<String>>,
    host_mounts: RefCell<BTreeSet<PathBuf>>,
}

impl Default for Case {
    fn default() -> Case {
        Case::new()
    }
}

impl Case {
    /// A bundle with the default config and root filesystem.
    pub fn new() -> Case {
        let case = Case::without_rootfs();
        payload::make_rootfs(&case.rootfs());
        case
    }

    /// A bundle without `rootfs/`.
    pub fn without_rootfs() -> Case {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        // The closing letter keeps case 1 from matching case 10.
        let token = format!("rvt{}x{}z", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&token);
        for directory in [&dir, &dir.join("bundle"), &dir.join("state")] {
            fs::create_dir(directory).unwrap_or_else(|e| panic!("make {}: {e}", directory.display()));
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("open the test's directory");
        let config = config::default(&format!("/{token}"));
        let id = format!("c-{token}");
        Case {
            token,
            dir,
            id,
            config,
            binary: None,
            user: None,
            global_flags: Vec::new(),
            commands: Cell::new(0),
            more_ids: RefCell::default(),
            host_mounts: RefCell::default(),
        }
    }

    pub fn bundle(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("bundle/rootfs")
    }

    pub fn state_root(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Where the case's volumes are; made with the first one.
    pub fn volume_root(&self) -> PathBuf {
        self.dir.join("lib/volumes")
    }

    /// A path in the case's directory, as text.
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().expect("the test's directory is UTF-8").to_owned()
    }

    /// Makes a directory in the case's directory and returns its path.
    pub fn make_dir(&self, name: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("make {path}: {e}"));
        path
    }

    /// Makes a file in the case's directory and returns its path.
    pub fn make_file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap_or_else(|e| panic!("write {path}: {e}"));
        path
    }

    /// An executable shell script of the host in the case's directory.
    pub fn make_script(&self, name: &str, body: &str) -> String {
        let path = self.make_file(name, &format!("#!/bin/sh\n{body}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make the script executable");
        path
    }

    /// The text of a file in the case's directory; empty when it does not exist.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    // --- the config

    /// Sets a value of the config; see [`config::set`].
    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Case {
        config::set(&mut self.config, pointer, value);
        self
    }

    pub fn unset(&mut self, pointer: &str) -> &mut Case {
        config::remove(&mut self.config, pointer);
        self
    }

    /// Sets `process.args`.
    pub fn args(&mut self, args: &[&str]) -> &mut Case {
        self.set("/process/args", json!(args))
    }

    /// Sets `process.args` to a shell script of the container.
    pub fn script(&mut self, script: &str) -> &mut Case {
        self.args(&["/bin/sh", "-c", script])
    }

    /// Sets `process.args` to the probe that waits for signals.
    pub fn pause(&mut self) -> &mut Case {
        self.args(&["/bin/probe", "pause"])
    }

    /// Appends to `mounts[]`.
    pub fn mount(&mut self, destination: &str, kind: &str, source: &str, options: &[&str]) -> &mut Case {
        self.set("/mounts/-", config::mount(destination, kind, source, options))
    }

    /// Appends a bind mount to `mounts[]`.
    pub fn bind(&mut self, source: &str, destination: &str, options: &[&str]) -> &mut Case {
        let options: Vec<&str> = ["bind"].iter().chain(options).copied().collect();
        self.mount(destination, "bind", source, &options)
    }

    /// Gives all five capability sets these names.
    pub fn caps(&mut self, names: &[&str]) -> &mut Case {
        for set in ["bounding", "effective", "permitted"] {
            self.set(&format!("/process/capabilities/{set}"), json!(names));
        }
        self
    }

    /// Adds a new namespace of this type.
    pub fn namespace(&mut self, kind: &str) -> &mut Case {
        self.set("/linux/namespaces/-", json!({ "type": kind }))
    }

    /// Replaces the entry of this type by one with a path, or adds it.
    pub fn join_namespace(&mut self, kind: &str, path: &str) -> &mut Case {
        self.without_namespace(kind);
        self.set("/linux/namespaces/-", json!({ "type": kind, "path": path }))
    }

    pub fn without_namespace(&mut self, kind: &str) -> &mut Case {
        if let Some(list) = self.config["linux"]["namespaces"].as_array_mut() {
            list.retain(|n| n["type"] != kind);
        }
        self
    }

    /// A new user namespace in which ids from 0 on are `host` and up.
    pub fn user_namespace(&mut self, host: u32, size: u32) -> &mut Case {
        self.namespace("user");
        let map = json!([{ "containerID": 0, "hostID": host, "size": size }]);
        self.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        // Its root must reach the root filesystem and own it.
        let rootfs = self.rootfs();
        if rootfs.exists() {
            chown_tree(&rootfs, host);
        }
        self
    }

    pub fn write_config(&self) {
        let text = serde_json::to_string_pretty(&self.config).expect("JSON prints");
        fs::write(self.bundle().join("config.json"), text).expect("write config.json");
    }

    // --- commands

    /// The runtime with `--root`, ready for a subcommand.
    pub fn command(&self) -> Command {
        let binary = self.binary.as_ref().unwrap_or(&runtime().path);
        let mut command = match self.user {
            Some(user) => unprivileged::command(binary, user),
            None => command::quiet(binary),
        };
        command.arg("--root").arg(self.state_root()).current_dir(&self.dir);
        command.args(&self.global_flags);
        command.env("RVOL_VOLUME_ROOT", self.volume_root());
        command
    }

    /// Starts a command whose output goes to files of the case's directory.
    #[track_caller]
    pub fn start_command(&self, command: Command) -> Running {
        let number = self.commands.get();
        self.commands.set(number + 1);
        Running::start(command, &self.dir, &format!("command{number}"))
    }

    /// Runs a whole command to its end.
    #[track_caller]
    pub fn finish(&self, command: Command) -> Outcome {
        self.start_command(command).finish()
    }

    /// `RUNTIME --root ROOT <words…>`.
    #[track_caller]
    pub fn invoke(&self, words: &[&str]) -> Outcome {
        let mut command = self.command();
        command.args(words);
        self.finish(command)
    }

    /// The command line of `create` or `run` for this bundle, with more flags.
    pub fn bundle_command(&self, subcommand: &str, flags: &[&str]) -> Command {
        self.write_config();
        let mut command = self.command();
        command.arg(subcommand).arg("--bundle").arg(self.bundle()).args(flags).arg(&self.id);
        command
    }

    #[track_caller]
    pub fn create_with(&self, flags: &[&str]) -> Outcome {
        self.finish(self.bundle_command("create", flags))
    }

    #[track_caller]
    pub fn create(&self) -> Outcome {
        self.create_with(&[])
    }

    #[track_caller]
    pub fn run_with(&self, flags: &[&str]) -> Outcome {
        self.finish(self.bundle_command("run", flags))
    }

    #[track_caller]
    pub fn run(&self) -> Outcome {
        self.run_with(&[])
    }

    /// `run` that goes on in the background.
    #[track_caller]
    pub fn run_in_background(&self, flags: &[&str]) -> Running {
        self.start_command(self.bundle_command("run", flags))
    }

    #[track_caller]
    pub fn start(&self) -> Outcome {
        self.invoke(&["start", &self.id])
    }

    #[track_caller]
    pub fn kill(&self, signal: &str) -> Outcome {
        self.invoke(&["kill", &self.id, signal])
    }

    #[track_caller]
    pub fn delete(&self) -> Outcome {
        self.invoke(&["delete", &self.id])
    }

    #[track_caller]
    pub fn delete_force(&self) -> Outcome {
        self.invoke(&["delete", "--force", &self.id])
    }

    /// A started container whose process waits for signals.
    #[track_caller]
    pub fn started(&mut self) -> Started {
        let started = self.pause().create_and_start();
        started.wait_for_line("ready");
        started
    }

    /// The command line of `exec`: flags, and the program with its arguments.
    pub fn exec_command(&self, flags: &[&str], program: &[&str]) -> Command {
        let mut command = self.command();
        command.arg("exec").args(flags).arg(&self.id).args(program);
        command
    }

    #[track_caller]
    pub fn exec_with(&self, flags: &[&str], program: &[&str]) -> Outcome {
        self.finish(self.exec_command(flags, program))
    }

    #[track_caller]
    pub fn exec(&self, program: &[&str]) -> Outcome {
        self.exec_with(&[], program)
    }

    /// Executes a process.json with these fields, beside those that the spec requires.
    #[track_caller]
    pub fn exec_process(&self, fields: Value, flags: &[&str]) -> Outcome {
        let file = self.process_file(fields);
        self.exec_with(&[&["--process", &file], flags].concat(), &[])
    }

    /// Writes a process.json with these fields, beside those that the spec requires; returns its path.
    pub fn process_file(&self, fields: Value) -> String {
        let mut process = json!({
            "user": { "uid": 0, "gid": 0 }, "cwd": "/", "args": ["/bin/true"], "env": ["PATH=/bin"],
        });
        for (name, value) in fields.as_object().expect("an object of fields") {
            process[name] = value.clone();
        }
        self.make_file("process.json", &process.to_string())
    }

    /// Executes the probe with these questions and returns what it saw.
    #[track_caller]
    pub fn exec_facts(&self, flags: &[&str], questions: &[&str]) -> Facts {
        let program: Vec<&str> = ["/bin/probe", "facts"].iter().chain(questions).copied().collect();
        Facts::of(&self.exec_with(flags, &program).ok())
    }

    /// The parsed output of `state`, which must succeed.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.invoke(&["state", &self.id]).ok().json()
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap_or_default().to_owned()
    }

    /// The container process's pid, of a container that has one.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        let pid = self.state()["pid"].as_i64().unwrap_or(0);
        assert!(pid > 0, "state has no pid");
        pid as i32
    }

    /// The host's pids of all processes in the container's cgroup, as `ps` says.
    #[track_caller]
    pub fn pids(&self) -> Vec<i32> {
        let json = self.invoke(&["ps", "--format", "json", &self.id]).ok().json();
        let mut pids: Vec<i32> =
            json.as_array().into_iter().flatten().filter_map(|p| Some(p.as_i64()? as i32)).collect();
        pids.sort_unstable();
        pids
    }

    #[track_caller]
    pub fn wait_for_status(&self, status: &str) {
        let reached = waiting::until(command::LIMIT, || (self.status() == status).then_some(()));
        assert!(reached.is_some(), "status stays {}, not {status}", self.status());
    }

    /// create and start, with the container's output in the result's stdout file.
    #[track_caller]
    pub fn create_and_start(&self) -> Started {
        let running = self.start_command(self.bundle_command("create", &[]));
        let output = self.dir.join(format!("command{}.out", self.commands.get() - 1));
        running.finish().ok();
        self.start().ok();
        Started { output }
    }

    /// Runs the probe with these questions and returns what it saw.
    #[track_caller]
    pub fn facts(&mut self, questions: &[&str]) -> Facts {
        self.facts_with(questions, &[])
    }

    /// As [`Case::facts`], with flags for `run`.
    #[track_caller]
    pub fn facts_with(&mut self, questions: &[&str], flags: &[&str]) -> Facts {
        let args: Vec<&str> = ["/bin/probe", "facts"].iter().chain(questions).copied().collect();
        self.args(&args);
        Facts::of(&self.run_with(flags).ok())
    }

    // --- the end

    /// Another container id that this case deletes at its end.
    pub fn also_delete(&self, id: &str) {
        self.more_ids.borrow_mut().push(id.to_owned());
    }

    /// A mount that the test itself makes in its own mount namespace, and which is not a leak.
    pub fn expect_host_mount(&self, path: impl Into<PathBuf>) {
        self.host_mounts.borrow_mut().insert(path.into());
    }

    /// What is left of the container now, after giving dying processes a moment.
    pub fn leaks(&self) -> Vec<String> {
        let mut left = Vec::new();
        waiting::until(Duration::from_secs(10), || {
            left = leaks::all(&self.token, &self.state_root(), &self.id, &self.host_mounts.borrow());
            left.is_empty().then_some(())
        });
        left
    }

    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let left = self.leaks();
        assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    }
}

/// A started container whose output the test reads.
#[derive(Debug)]
pub struct Started {
    output: PathBuf,
}

impl Started {
    pub fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Waits until the container has printed a line that contains the text.
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) {
        let seen = waiting::until(command::LIMIT, || self.output().lines().any(|l| l.contains(text)).then_some(()));
        assert!(seen.is_some(), "the container did not print {text:?} but {:?}", self.output());
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let failing = std::thread::panicking();
        let ids = std::iter::once(self.id.clone()).chain(self.more_ids.take());
        for id in ids {
            let mut command = self.command();
            command.args(["delete", "--force", &id]);
            let running = Running::start(command, &self.dir, "last-delete");
            if failing {
                // Whatever comes of it; a second panic would abort the whole test binary.
                running.wait_within(Duration::from_secs(10));
            } else {
                running.finish();
            }
        }
        let left = if failing { vec!["unknown".into()] } else { self.leaks() };
        leaks::clean(&self.token);
        // Never through a mount that could not be taken away.
        if leaks::mounts(&self.token).is_empty() {
            let _ = fs::remove_dir_all(&self.dir);
        }
        assert!(failing || left.is_empty(), "left behind:\n{}", left.join("\n"));
    }
}

/// Gives a tree to a user and the group of the same number.
pub fn chown_tree(path: &Path, id: u32) {
    std::os::unix::fs::lchown(path, Some(id), Some(id)).expect("chown the root filesystem");
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).expect("list the root filesystem").flatten() {
            chown_tree(&entry.path(), id);
        }
    }
}
