//! Real containers, started by the built binary. Their programs are those of the host, bound into an empty root
//! filesystem. They have no cgroup, unless it is about that. Needs root; passes without doing anything where it is not.

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A bundle and what is made of it, gone with the value.
struct Container {
    dir: tempfile::TempDir,
    id: String,
    config: Value,
    cgroup_manager: &'static str,
}

/// What a command came to.
#[derive(Debug)]
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Container {
    /// A container that runs `script`; `None` without the privilege for one.
    fn new(script: &str) -> Option<Container> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let rootfs = dir.path().join("rootfs");
        let mut mounts = vec![json!({"destination": "/proc", "type": "proc", "source": "proc"})];
        for name in ["/usr", "/bin", "/sbin", "/lib", "/lib64"].into_iter().filter(|name| Path::new(name).exists()) {
            mounts.push(json!({"destination": name, "source": name, "options": ["rbind", "ro"]}));
        }
        for name in ["proc", "tmp", "usr", "bin", "sbin", "lib", "lib64"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        let all = json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
        let config = json!({
            "ociVersion": "1.3.0",
            "root": {"path": "rootfs"},
            "process": {
                "cwd": "/", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"],
                "user": {"uid": 0, "gid": 0}, "noNewPrivileges": false,
                "capabilities": {"bounding": all, "permitted": all, "effective": all, "inheritable": all, "ambient": all},
            },
            "mounts": mounts,
            "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]},
        });
        let id = format!("test-{}", dir.path().file_name().unwrap().to_string_lossy().trim_start_matches('.'));
        Some(Container { dir, id, config, cgroup_manager: "disabled" })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Outcome {
        fs::write(self.path("config.json"), self.config.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rvol-runc"));
        command.arg("--root").arg(self.path("state")).args(["--cgroup-manager", self.cgroup_manager]).args(arguments);
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
    }

    fn run(&self) -> Outcome {
        self.command(&["run", "--bundle", self.dir.path().to_str().unwrap(), &self.id])
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.command(&["delete", "--force", &self.id]);
    }
}

impl Outcome {
    /// It worked in silence; returns what was printed.
    #[track_caller]
    fn ok(&self) -> &str {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        &self.out
    }
}

/// A profile knows the program's calls and not ours: these are ones that a profile of 2017 does not have.
#[test]
fn a_seccomp_profile_need_not_know_our_own_calls() {
    let Some(mut container) = Container::new("grep -E '^(Cap(Prm|Eff)|Seccomp):' /proc/self/status") else { return };
    let ours = json!(["openat2", "faccessat2", "close_range", "memfd_create", "statx"]);
    container.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ours, "action": "SCMP_ACT_ERRNO"}],
    });
    // CAP_CHOWN, CAP_KILL and CAP_NET_BIND_SERVICE.
    let expected = format!("CapPrm:\t{0:0>16}\nCapEff:\t{0:0>16}\nSeccomp:\t2\n", "421");
    for (no_new_privileges, uid) in [(false, 0), (true, 0), (false, 1000), (true, 1000)] {
        container.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        container.config["process"]["user"]["uid"] = json!(uid);
        assert_eq!(container.run().ok(), expected, "{no_new_privileges} {uid}");
    }
    // Where the config has no capabilities they go with the change of user, and the filter is loaded before.
    container.config["process"].as_object_mut().unwrap().remove("capabilities");
    container.config["process"]["noNewPrivileges"] = json!(false);
    container.config["linux"]["seccomp"]["syscalls"][0]["names"] = json!(["memfd_create"]);
    let none = "0".repeat(16);
    assert_eq!(container.run().ok(), format!("CapPrm:\t{none}\nCapEff:\t{none}\nSeccomp:\t2\n"));
}

/// Directories that are gone with the value, the last first.
struct Directories(Vec<PathBuf>);

impl Drop for Directories {
    fn drop(&mut self) {
        self.0.iter().rev().for_each(|dir| drop(fs::remove_dir(dir)));
    }
}

/// With cgroup v1 (and RT_GROUP_SCHED) the container's cgroup has to have a realtime runtime before a process in it can
/// become one of realtime: the cgroup comes first, then the scheduler.
#[test]
fn realtime_comes_with_the_realtime_runtime_of_the_cgroup() {
    let Some(mut container) = Container::new("grep -E '^policy' /proc/self/sched") else { return };
    let top = Path::new("/sys/fs/cgroup/cpu");
    if !top.join("cpu.rt_runtime_us").exists() {
        return println!("skipped: no realtime runtime of cgroup v1");
    }
    container.cgroup_manager = "cgroupfs";
    container.config["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 7});
    container.config["linux"]["cgroupsPath"] = json!(format!("/{}/c", container.id));
    let parent = top.join(&container.id);
    let cgroups = Directories(vec![parent.clone(), parent.join("c")]);
    for (dir, runtime) in cgroups.0.iter().zip(["20000", "10000"]) {
        fs::create_dir(dir).unwrap();
        fs::write(dir.join("cpu.rt_runtime_us"), runtime).unwrap();
    }
    let policy = container.run().ok().split_whitespace().last().map(str::to_owned);
    assert_eq!(policy.as_deref(), Some("1"));
    // A new one has none.
    let refused = container.run();
    assert!(refused.code == 1 && refused.err.contains("linux.resources.cpu.realtimeRuntime"), "{refused:?}");
}

/// Only the open namespace tells that a path leads to the host's own.
#[test]
fn sysctls_are_not_set_in_the_hosts_namespaces() {
    let Some(mut container) = Container::new("true") else { return };
    let own = |kind: &str| format!("/proc/{}/ns/{kind}", std::process::id());
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    let other = if before.trim() == "0" { "1" } else { "0" };
    for (typ, file, key, value) in [
        ("network", "net", "net.ipv4.ip_forward", other),
        ("ipc", "ipc", "kernel.msgmax", "4096"),
        ("uts", "uts", "kernel.domainname", "x"),
    ] {
        container.config["linux"]["namespaces"] =
            json!([{"type": "pid"}, {"type": "mount"}, {"type": typ, "path": own(file)}]);
        container.config["linux"]["sysctl"] = json!({key: value});
        let refused = container.run();
        let text = format!("linux.sysctl.{}: the {typ} namespace is the host's own\n", key.replace('.', "/"));
        assert!(refused.code == 1 && refused.err.ends_with(&text), "{refused:?}");
        container.config["linux"]["sysctl"] = json!({});
        container.run().ok();
    }
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), before);
}
