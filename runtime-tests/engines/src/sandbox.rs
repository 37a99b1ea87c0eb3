//! Where one side of a suite runs: namespaces, a cgroup and directories of its own, so that nothing of an engine is left
//! on the machine, and both sides look the same from inside.

use crate::session::{Check, Session};
use runtime_tests::leaks;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The directory of the sandbox, as it is called inside.
pub const HOME: &str = "/run/eng";

/// Where the results go, as it is called inside.
pub const RESULTS: &str = "/run/eng/log/results";

const SIDE: &str = "RVOL_ENGINE_SIDE";
const DIRECTORY: &str = "RVOL_ENGINE_DIRECTORY";

/// Whether the runtime under test is rvol-runc itself, and not a peer (`RUNTIME=runc`).
pub fn is_rvol() -> bool {
    runtime_tests::runtime().kind == runtime_tests::Kind::Rvol
}

/// Which runtime the sandbox has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Debian's runc, or another peer.
    Theirs,
    /// The one under test.
    Ours,
}

/// What came of the two sides.
#[derive(Debug, Default)]
pub struct Outcome {
    pub theirs: Vec<Value>,
    pub ours: Vec<Value>,
    /// A line for each thing that is left on the machine.
    pub left: Vec<String>,
}

/// The side that this process is, if it is inside a sandbox.
pub fn inside() -> Option<Side> {
    match std::env::var(SIDE).ok()?.as_str() {
        "ours" => Some(Side::Ours),
        _ => Some(Side::Theirs),
    }
}

pub fn in_path(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin"].iter().any(|d| Path::new(d).join(program).exists())
}

/// Runs this program in two sandboxes at once.
pub fn both(name: &str) -> Outcome {
    let token = format!("rveng{}{name}", std::process::id());
    let directory = std::env::temp_dir().join(&token);
    fs::create_dir_all(&directory).expect("make the directory of the sandboxes");
    let runtimes = [("theirs", PathBuf::from("/usr/sbin/runc")), ("ours", runtime_tests::runtime().path.clone())];
    let running: Vec<_> = runtimes.iter().map(|(side, runtime)| start(&token, &directory, side, runtime)).collect();
    for mut child in running {
        // Its results tell; a sandbox that did not get that far has none.
        child.wait().expect("wait for a sandbox");
    }
    let results = |side: &str| -> Vec<Value> {
        let text = fs::read_to_string(directory.join(side).join("log/results")).unwrap_or_default();
        if text.is_empty() {
            println!("{side}: {}", fs::read_to_string(directory.join(side).join("log/suite.log")).unwrap_or_default());
        }
        text.lines().map(|l| serde_json::from_str(l).expect("a result is JSON")).collect()
    };
    let (theirs, ours) = (results("theirs"), results("ours"));
    let mut left = leaks::processes(&token).into_iter().map(|(p, a)| format!("process {p}: {a}")).collect::<Vec<_>>();
    left.extend(leaks::mounts(&token).into_iter().map(|m| format!("mount {}", m.display())));
    for cgroup in leaks::cgroups(&token) {
        // Those of the sandboxes themselves, and below them what an engine keeps; inside it was looked at already.
        if let Err(e) = fs::remove_dir(&cgroup) {
            left.push(format!("cgroup {}: {e}", cgroup.display()));
        }
    }
    if std::env::var_os("RVOL_ENGINES_KEEP").is_none()
        && let Err(e) = fs::remove_dir_all(&directory)
    {
        left.push(format!("{}: {e}", directory.display()));
    }
    Outcome { theirs, ours, left }
}

/// Enters a cgroup in every hierarchy, then the namespaces. `sh` is process 1 and takes in orphans.
const ENTER: &str = r#"
set -eu
name=$1; shift
for at in $(awk '$2 ~ "^/sys/fs/cgroup" && ($3 == "cgroup" || $3 == "cgroup2") { print $2 }' /proc/mounts); do
    mkdir -p "$at/$name"
    if [ -e "$at/$name/cpuset.cpus" ] && [ -e "$at/cpuset.cpus" ]; then
        cat "$at/cpuset.cpus" >"$at/$name/cpuset.cpus"
        cat "$at/cpuset.mems" >"$at/$name/cpuset.mems"
    fi
    echo $$ >"$at/$name/cgroup.procs"
done
exec unshare --mount --net --pid --cgroup --ipc --uts --fork --mount-proc --propagation private --kill-child \
    sh -c '"$0" "$@"; exit $?' "$@"
"#;

fn start(token: &str, directory: &Path, side: &str, runtime: &Path) -> std::process::Child {
    let directory = directory.join(side);
    for name in ["bin", "home", "lib", "log", "tmp", "work", "containers"] {
        fs::create_dir_all(directory.join(name)).expect("make a directory of the sandbox");
    }
    fs::copy(runtime, directory.join("bin/runc")).unwrap_or_else(|e| panic!("copy {}: {e}", runtime.display()));
    runtime_tests::criu::install(&directory, HOME);
    let log = fs::File::create(directory.join("log/suite.log")).expect("make the log");
    let mut shell = Command::new("sh");
    shell.args(["-c", ENTER, "sh", &format!("{token}{side}")]).arg(std::env::current_exe().expect("this program"));
    // A peer under test is not asked for what only rvol-runc has.
    let kind = if side == "ours" && is_rvol() { "ours" } else { "theirs" };
    shell.args(std::env::args_os().skip(1)).env(SIDE, kind).env(DIRECTORY, &directory).stdin(Stdio::null());
    // What the sides print would mix.
    shell.stdout(log.try_clone().expect("a second log")).stderr(log);
    shell.spawn().expect("start a sandbox")
}

/// Run inside before everything else. The machine's `/etc`, `/home`, `/run`, `/tmp` and `/var/lib` are hidden, or copied
/// where they are needed, and the engines see the cgroup of the sandbox as the root of each hierarchy.
const SET_UP: &str = r#"
set -eu
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/eng
mount --bind "$DIRECTORY" /run/eng
cp -a /etc /run/eng/etc
chmod 1777 /run/eng/tmp
for at in etc home tmp var/lib var/tmp; do
    mount --bind "/run/eng/${at#var/}" "/$at"
done
mkdir -p /run/lock /run/user /var/lib/private
hostname engine-test
ip link set lo up

awk '$2 ~ "^/sys/fs/cgroup" && ($3 == "cgroup" || $3 == "cgroup2") { print $2, $3, $4 }' /proc/mounts >/run/eng/hierarchies
if grep -q '^/sys/fs/cgroup ' /run/eng/hierarchies; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    # A group with members cannot hand controllers down.
    mkdir /sys/fs/cgroup/init
    for pid in $(cat /sys/fs/cgroup/cgroup.procs); do echo "$pid" >/sys/fs/cgroup/init/cgroup.procs; done
    sed 's/[^ ]*/+&/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
else
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    while read -r at kind options; do
        mkdir "$at"
        case $kind in
            cgroup2) mount -t cgroup2 cgroup2 "$at" ;;
            # What remains of the options without those of every mount is the hierarchy's name.
            *) mount -t cgroup -o "$(echo "$options" | sed 's/^rw,//; s/nosuid,//; s/nodev,//; s/noexec,//; s/relatime,//')" cgroup "$at" ;;
        esac
    done </run/eng/hierarchies
fi
mount --make-rshared /
"#;

/// Hides what is the machine's.
pub fn set_up(session: &Session) -> Check {
    let directory = std::env::var(DIRECTORY).map_err(|e| format!("{DIRECTORY}: {e}"))?;
    let output = Command::new("sh")
        .args(["-c", SET_UP])
        .env("DIRECTORY", &directory)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("start sh: {e}"))?;
    if !output.status.success() {
        return Err(format!("set the sandbox up: {}", String::from_utf8_lossy(&output.stderr)));
    }
    crate::image::make(session)
}

/// After the engine has been stopped: no process, no cgroup of a container, no state of a runtime may be there.
pub fn nothing_left() -> Check {
    let mut left = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|e| format!("read /proc: {e}"))?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        // sh, and this program.
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if pid != 1 && pid != std::process::id() && !arguments.is_empty() {
            left.push(format!("process {pid}: {}", String::from_utf8_lossy(&arguments).replace('\0', " ")));
        }
    }
    let find = "find /sys/fs/cgroup -mindepth 2 -type d -name '*[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]*'
        find /run/docker/runtime* /run/containerd/runc /run/runc /run/rvol-runc -mindepth 2 -maxdepth 2 -type d ! -name '@*' 2>/dev/null";
    let output = Command::new("sh").args(["-c", find]).output().map_err(|e| format!("start sh: {e}"))?;
    left.extend(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned));
    if left.is_empty() { Ok(()) } else { Err(format!("left behind:\n{}", left.join("\n"))) }
}
