//! A server of NFS 4: the kernel's own, without its daemons, in a network namespace of the test's thread.

use crate::{features, host_mounts};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::path::Path;
use std::process::Command;

/// It ends with the test.
#[derive(Debug)]
pub struct Server;

const CONTROL: &str = "/proc/fs/nfsd";

impl Server {
    /// Exports a directory as the root, to 127.0.0.1; `None` after printing why that cannot be. To be called in
    /// [`host_mounts::in_own_mounts`].
    pub fn start(export: &Path) -> Option<Server> {
        for module in ["nfsd", "nfs", "nfsv4"] {
            let _ = Command::new("modprobe").arg("-q").arg(module).status();
        }
        let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if !["\tnfsd\n", "\tnfs4\n"].iter().all(|name| known.contains(name)) {
            features::skip("the kernel has no NFS, or no server of it");
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace");
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("run ip");
        assert!(up.success());
        // Both show the namespace in which they were mounted.
        host_mounts::set_propagation(Path::new("/"), MsFlags::MS_PRIVATE | MsFlags::MS_REC);
        mount(Some("nfsd"), CONTROL, Some("nfsd"), MsFlags::empty(), None::<&str>).expect("mount nfsd");
        let tell = |file: &str, text: &str| {
            fs::write(file, text).unwrap_or_else(|e| panic!("write {text:?} to {file}: {e}"));
        };
        let control = |file: &str, text: &str| tell(&format!("{CONTROL}/{file}"), text);
        // What mountd answers when the kernel asks, told beforehand: who is who, what is exported, and where root is.
        // 0x2412: with a number for the filesystem, no check of subtrees, from any port, asynchronous.
        let cache = |name: &str, text: &str| tell(&format!("/proc/thread-self/net/rpc/{name}/channel"), text);
        let path = export.to_str().expect("UTF-8");
        cache("auth.unix.ip", "nfsd 127.0.0.1 2147483647 here\n");
        cache("nfsd.export", &format!("here {path} 2147483647 {} 65534 65534 0\n", 0x2412));
        cache("nfsd.fh", &format!("here 1 \\x00000000 2147483647 {path}\n"));
        // Version 3 would have to be told to rpcbind.
        control("versions", "-3 +4 +4.1 +4.2\n");
        // Files cannot be opened before clients of a former life had so many seconds to come back.
        control("nfsv4leasetime", "10\n");
        control("nfsv4gracetime", "10\n");
        control("portlist", "tcp 2049\n");
        control("threads", "2\n");
        // Ends it at once, where the server can keep a list of clients.
        let _ = fs::write(format!("{CONTROL}/v4_end_grace"), "Y\n");
        Some(Server)
    }
}

impl Server {
    /// From here on nobody answers.
    pub fn stop(&self) {
        fs::write(format!("{CONTROL}/threads"), "0\n").expect("stop the server");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::write(format!("{CONTROL}/threads"), "0\n");
    }
}
