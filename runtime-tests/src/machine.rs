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

/// Whether AppArmor confines processes here, and there is the program that loads profiles.
pub fn has_apparmor() -> bool {
    let on = std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"));
    on && std::process::Command::new("apparmor_parser").arg("--version").output().is_ok_and(|o| o.status.success())
}

/// Whether SELinux has a policy that knows the types of containers: the kernel itself says whether a label is one.
pub fn has_selinux() -> bool {
    let check = || {
        let mut context = std::fs::File::options().read(true).write(true).open("/sys/fs/selinux/context")?;
        std::io::Write::write_all(&mut context, b"system_u:system_r:container_t:s0:c1,c2\0")
    };
    check().is_ok()
}

/// Whether systemd is process 1.
pub fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}
