//! What the machine has, for tests whose outcome depends on it. Facts only, looked up where they are; never a guess from
//! a kernel's version or from where the tests run. Cgroups have [`crate::cgroups`].

use std::path::Path;

/// Where cgroups are mounted.
pub const CGROUPS: &str = "/sys/fs/cgroup";

/// Whether realtime scheduling is allowed in a cgroup that nobody gave a budget to. With CONFIG_RT_GROUP_SCHED it is not,
/// and cgroup v2 has no file to give one.
pub fn has_free_realtime() -> bool {
    if Path::new(CGROUPS).join("cpu/cpu.rt_runtime_us").exists() {
        return false;
    }
    // The caller of the tests is in some cgroup itself, below the root where the machine has systemd.
    let tried = std::process::Command::new("chrt").args(["--fifo", "1", "true"]).output();
    tried.is_ok_and(|o| o.status.success())
}

/// Whether a user's session has a D-Bus of its own, as systemd and dbus-user-session make it: its runtime directory.
pub fn session_of(user: u32) -> Option<String> {
    let directory = format!("/run/user/{user}");
    Path::new(&directory).join("bus").exists().then_some(directory)
}

/// Whether systemd is process 1.
pub fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}
