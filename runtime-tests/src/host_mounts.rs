//! Mounts that a test makes on the host's side, in a mount namespace of its own thread.

use crate::Case;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::path::Path;

/// Runs a test in a thread with its own, wholly private mount namespace. Programs that it starts are in there too,
/// and all mounts vanish with it. Panics go through to the caller.
pub fn in_own_mounts(test: impl FnOnce() + Send) {
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name).spawn_scoped(scope, || {
            // Of this thread alone: namespaces and the working directory are per thread.
            unshare(CloneFlags::CLONE_NEWNS).expect("make a mount namespace");
            set_propagation(Path::new("/"), MsFlags::MS_PRIVATE | MsFlags::MS_REC);
            test();
        });
        if let Err(panic) = thread.expect("start a thread").join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Sets the propagation of a mount.
pub fn set_propagation(target: &Path, propagation: MsFlags) {
    mount(None::<&str>, target, None::<&str>, propagation, None::<&str>)
        .unwrap_or_else(|e| panic!("{propagation:?} {}: {e}", target.display()));
}

/// The host's side of a test's mounts: directories of the case that are mounts.
impl Case {
    /// A directory of the case that is a mount with this propagation, such as `MS_SHARED`.
    pub fn make_mount(&self, name: &str, propagation: MsFlags) -> String {
        let path = self.make_dir(name);
        self.host_bind(&path, &path);
        set_propagation(Path::new(&path), propagation);
        path
    }

    /// A tmpfs of the host.
    pub fn host_tmpfs(&self, path: &str, flags: MsFlags) {
        std::fs::create_dir_all(path).expect("make a mount point");
        mount(Some("test"), path, Some("tmpfs"), flags, None::<&str>).unwrap_or_else(|e| panic!("tmpfs {path}: {e}"));
        self.expect_host_mount(path);
    }

    /// A bind mount of the host.
    pub fn host_bind(&self, source: &str, target: &str) {
        mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .unwrap_or_else(|e| panic!("bind {source} {target}: {e}"));
        self.expect_host_mount(target);
    }
}

/// True when something is mounted at the path in the calling thread's mount namespace.
pub fn is_mounted(path: &str) -> bool {
    mounted_in("/proc/thread-self/mountinfo", path)
}

/// True when something is mounted at the path in the mount namespace of a process, as that process names the path.
pub fn is_mounted_in(pid: i32, path: &str) -> bool {
    mounted_in(&format!("/proc/{pid}/mountinfo"), path)
}

fn mounted_in(mountinfo: &str, path: &str) -> bool {
    let text = std::fs::read_to_string(mountinfo).unwrap_or_else(|e| panic!("read {mountinfo}: {e}"));
    text.lines().any(|l| l.split(' ').nth(4) == Some(path))
}
