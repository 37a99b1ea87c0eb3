//! AppArmor profile and SELinux label of the container's process.
//!
//! Owns whether the host has these modules and how a label is handed to them: through files of a trusted procfs, in
//! force from the next execve on. Labels of mounts are not its work.

use crate::plan::Process;
use crate::security::procfs::Procfs;
use crate::sys::{Errno, errno_of};
use anyhow::{Context, Result, ensure};
use nix::fcntl::OFlag;

/// The labels that are to be set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    pub apparmor: Option<String>,
    pub selinux: Option<String>,
}

impl Labels {
    /// Compares what the config asks for with what the host has; called by the runtime in the host's mount namespace,
    /// before anything is made. Without labels in the config it makes no syscall.
    ///
    /// A label of a module that is off is an error: runtime.md wants one for whatever cannot be applied, and a process
    /// that somebody wanted confined must not run unconfined. Only `unconfined` needs no AppArmor.
    pub fn check(process: &Process) -> Result<Labels> {
        let mut labels = Labels::default();
        if let Some(label) = process.selinux_label.as_deref().filter(|l| !l.is_empty()) {
            ensure!(
                selinux_enabled(),
                "process.selinuxLabel {label:?} cannot be applied: selinux label is specified in config, but selinux is \
                 disabled or not supported on this host (enable SELinux, or leave out the label)"
            );
            labels.selinux = Some(label.to_owned());
        }
        if let Some(profile) = process.apparmor_profile.as_deref().filter(|p| !p.is_empty()) {
            let enabled = apparmor_enabled();
            ensure!(
                enabled || profile == "unconfined",
                "process.apparmorProfile {profile:?} cannot be applied: apparmor is not enabled on this host (enable \
                 AppArmor, or leave out the profile)"
            );
            labels.apparmor = enabled.then(|| profile.to_owned());
        }
        Ok(labels)
    }

    /// Makes the labels those of the caller after its next execve.
    pub fn set_exec(&self, procfs: &Procfs) -> Result<()> {
        if let Some(label) = &self.selinux {
            procfs
                .write("thread-self/attr/exec", label.as_bytes())
                .with_context(|| format!("set SELinux label {label:?}"))?;
        }
        if let Some(profile) = &self.apparmor {
            let path = apparmor_exec(procfs)?;
            procfs.write(path, format!("exec {profile}").as_bytes()).map_err(|error| {
                let hint = match errno_of(&error) {
                    Some(Errno::ENOENT) => " (is it loaded?)",
                    _ => "",
                };
                error.context(format!("apparmor failed to apply profile {profile:?}{hint}"))
            })?;
        }
        Ok(())
    }

    /// Runs `make` with the SELinux label as that of keys which it creates.
    pub fn with_key_label<T>(&self, procfs: &Procfs, make: impl FnOnce() -> Result<T>) -> Result<T> {
        const KEYCREATE: &str = "self/attr/keycreate";
        let Some(label) = &self.selinux else { return make() };
        match procfs.write(KEYCREATE, label.as_bytes()) {
            Ok(()) => {}
            // A kernel without labels on keys.
            Err(error) if errno_of(&error) == Some(Errno::ENOENT) => return make(),
            Err(error) => return Err(error.context(format!("set SELinux label {label:?} for new keys"))),
        }
        let made = make();
        // A write of nothing resets it.
        procfs.write(KEYCREATE, b"").context("reset the SELinux label for new keys")?;
        made
    }
}

/// What to warn of when `linux.mountLabel` has no effect because SELinux is off.
///
/// No error, unlike [`Labels::check`]: without SELinux nothing looks at the label of a file, so the mounts are not less
/// confined than without it (crun ignores it silently; runc hands `context=` to the filesystem, which refuses it; the
/// validation suite's `linux_mount_label` wants the container to start).
pub fn mount_label_warning(label: Option<&str>) -> Option<String> {
    let label = label.filter(|_| !selinux_enabled())?;
    Some(format!("linux.mountLabel {label:?} has no effect: selinux is disabled or not supported on this host"))
}

/// The file of AppArmor itself (Linux 5.8), else the one that all modules share.
fn apparmor_exec(procfs: &Procfs) -> Result<&'static str> {
    match procfs.open_file("thread-self/attr/apparmor", OFlag::O_PATH | OFlag::O_DIRECTORY) {
        Ok(_) => Ok("thread-self/attr/apparmor/exec"),
        Err(error) if errno_of(&error) == Some(Errno::ENOENT) => Ok("thread-self/attr/exec"),
        Err(error) => Err(error),
    }
}

fn apparmor_enabled() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.first() == Some(&b'Y'))
}

fn selinux_enabled() -> bool {
    let path = "/sys/fs/selinux";
    nix::sys::statfs::statfs(path).is_ok_and(|s| s.filesystem_type() == nix::sys::statfs::SELINUX_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::process::User;

    fn process(apparmor: Option<&str>, selinux: Option<&str>) -> Process {
        Process {
            terminal: false,
            console_size: None,
            user: User::default(),
            args: vec![],
            env: vec![],
            cwd: "/".into(),
            capabilities: None,
            rlimits: vec![],
            no_new_privileges: false,
            apparmor_profile: apparmor.map(str::to_owned),
            selinux_label: selinux.map(str::to_owned),
            oom_score_adj: None,
            scheduler: None,
            io_priority: None,
            cpu_affinity: None,
            personality: None,
            memory_policy: None,
        }
    }

    fn check(apparmor: Option<&str>, selinux: Option<&str>) -> Result<Labels> {
        Labels::check(&process(apparmor, selinux))
    }

    #[test]
    fn nothing_asked_for_is_nothing_set() {
        let labels = check(Some(""), Some("")).unwrap();
        assert_eq!(labels, Labels::default());
        let procfs = Procfs::open().unwrap();
        labels.set_exec(&procfs).unwrap();
        assert_eq!(labels.with_key_label(&procfs, || Ok(7)).unwrap(), 7);
        assert_eq!(mount_label_warning(None), None);
    }

    #[test]
    fn a_label_of_a_module_that_is_off_is_an_error() {
        if !apparmor_enabled() {
            let error = check(Some("acme"), None).unwrap_err().to_string();
            let text = "process.apparmorProfile \"acme\" cannot be applied: apparmor is not enabled on this host";
            assert!(error.starts_with(text), "{error}");
            assert_eq!(check(Some("unconfined"), None).unwrap(), Labels::default());
        }
        if !selinux_enabled() {
            let label = "system_u:system_r:container_t:s0";
            let error = check(None, Some(label)).unwrap_err().to_string();
            assert!(error.contains("selinux is disabled or not supported"), "{error}");
            assert!(mount_label_warning(Some(label)).unwrap().contains(label));
        }
    }

    #[test]
    fn a_refused_label_is_an_error_that_names_it() {
        let labels = Labels { apparmor: Some("no-such".into()), selinux: None };
        let error = format!("{:#}", labels.set_exec(&Procfs::open().unwrap()).unwrap_err());
        assert!(error.starts_with("apparmor failed to apply profile \"no-such\""), "{error}");
        assert!(error.contains("write \"exec no-such\" to /proc/thread-self/attr/"), "{error}");
    }
}
