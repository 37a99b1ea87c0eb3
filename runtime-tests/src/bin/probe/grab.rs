//! What a container takes out of the processes of others that are born into its pid namespace, before they are the
//! container's. Runs until `/tmp/stop` is there and prints one JSON object of counts.
//!
//! A success is not that something can be read, but that it is the host's: a directory that holds the file `canary` by a
//! name which only the test knows, or a text that it gave to the runtime alone.

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

const STOP: &str = "/tmp/stop";

/// `root`: a path of the host that exists nowhere else; `name`: a file in the runtime's working directory; `secret`: a
/// text in its environment and its arguments.
pub fn grab(args: &[String]) {
    let [root, name, secret] = args else {
        eprintln!("probe grab ROOT NAME SECRET");
        std::process::exit(64);
    };
    let mut workers = Vec::new();
    let kinds: [fn(&mut Grabber); 3] = [Grabber::links, Grabber::memory, Grabber::trace];
    for (number, kind) in kinds.into_iter().enumerate() {
        match crate::raw::fork_single() {
            ForkResult::Child => {
                let mut grabber = Grabber {
                    root: root.clone(),
                    name: name.clone(),
                    secret: secret.as_bytes().to_vec(),
                    own: own_rights(),
                    counts: BTreeMap::new(),
                    examples: BTreeMap::new(),
                    seen: BTreeSet::new(),
                };
                while !Path::new(STOP).exists() {
                    kind(&mut grabber);
                }
                let _ = fs::write(format!("/tmp/result.{number}"), grabber.result().to_string());
                std::process::exit(0);
            }
            ForkResult::Parent { child } => workers.push(child),
        }
    }
    crate::print_out("ready");
    for worker in workers {
        let _ = waitpid(worker, None);
    }
    crate::print_out("done");
    loop {
        nix::unistd::pause();
    }
}

struct Grabber {
    root: String,
    name: String,
    secret: Vec<u8>,
    own: u64,
    counts: BTreeMap<&'static str, u64>,
    examples: BTreeMap<&'static str, String>,
    seen: BTreeSet<i32>,
}

impl Grabber {
    fn result(&self) -> Value {
        let counts: Map<String, Value> = self.counts.iter().map(|(k, n)| ((*k).to_owned(), json!(n))).collect();
        json!({ "counts": counts, "examples": self.examples, "seen": self.seen.len() })
    }

    fn hit(&mut self, kind: &'static str, what: impl FnOnce() -> String) {
        *self.counts.entry(kind).or_default() += 1;
        self.examples.entry(kind).or_insert_with(what);
    }

    /// Processes that do not execute a program of this image.
    fn strangers(&mut self) -> Vec<(i32, PathBuf)> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let path = entry.path();
            let ours = fs::read_link(path.join("exe")).is_ok_and(|exe| exe.starts_with("/bin"));
            if pid == 1 || ours {
                continue;
            }
            self.seen.insert(pid);
            found.push((pid, path));
        }
        found
    }

    fn links(&mut self) {
        for (_, process) in self.strangers() {
            if process.join("cwd").join(&self.name).exists() {
                self.hit("cwd", String::new);
            }
            if process.join("root").join(self.root.trim_start_matches('/')).exists() {
                self.hit("root", String::new);
            }
            for fd in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
                let number = fd.file_name().to_string_lossy().parse::<u32>().unwrap_or(0);
                let kind = fs::metadata(fd.path()).map(|m| m.is_dir() || m.is_file()).unwrap_or(false);
                if number > 2 && kind && !fs::read_link(fd.path()).is_ok_and(|l| l.starts_with("/bin")) {
                    self.hit("fd", || fs::read_link(fd.path()).unwrap_or_default().display().to_string());
                }
            }
            for file in ["environ", "cmdline"] {
                let content = fs::read(process.join(file)).unwrap_or_default();
                if self.is_secret(&content) {
                    self.hit(if file == "environ" { "environ" } else { "cmdline" }, String::new);
                }
            }
            let exe = fs::OpenOptions::new().write(true).open(process.join("exe"));
            if exe.is_ok() {
                self.hit("exe", || "opened for writing".into());
            }
        }
    }

    fn is_secret(&self, content: &[u8]) -> bool {
        content.windows(self.secret.len()).any(|window| window == self.secret)
    }

    fn memory(&mut self) {
        for (pid, process) in self.strangers() {
            let Ok(mut memory) = File::open(process.join("mem")) else { continue };
            let maps = fs::read_to_string(process.join("maps")).unwrap_or_default();
            for line in maps.lines().filter(|line| line.contains(" rw")) {
                let Some((from, to)) = line.split(' ').next().and_then(|range| range.split_once('-')) else { continue };
                let (Ok(from), Ok(to)) = (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16)) else { continue };
                let mut content = vec![0; (to - from).min(4 << 20) as usize];
                if memory.seek(SeekFrom::Start(from)).is_err() {
                    continue;
                }
                let length = memory.read(&mut content).unwrap_or(0);
                self.hit("regions read", || line.to_owned());
                if self.is_secret(&content[..length]) {
                    self.hit("memory", || format!("{pid}: {line}"));
                }
            }
            for file in fs::read_dir(process.join("map_files")).into_iter().flatten().flatten() {
                if fs::OpenOptions::new().write(true).open(file.path()).is_ok() {
                    self.hit("map_files", || fs::read_link(file.path()).unwrap_or_default().display().to_string());
                }
            }
        }
    }

    /// Attaches to every process, looks what rights that gives, and takes its files.
    fn trace(&mut self) {
        for (number, process) in self.strangers() {
            if let Some(rights) = rights(&process).filter(|rights| rights & !self.own != 0) {
                let more = rights & !self.own;
                self.hit("rights", || format!("{more:#x}"));
                // CAP_SYS_ADMIN.
                if more & !(1 << 21) != 0 {
                    self.hit("other rights", || format!("{more:#x}"));
                }
            }
            self.take(number);
            let pid = Pid::from_raw(number);
            if ptrace::seize(pid, ptrace::Options::empty()).is_err() {
                continue;
            }
            self.hit("attached", String::new);
            if ptrace::interrupt(pid).is_ok() && waitpid(pid, Some(WaitPidFlag::__WALL)).is_ok() {
                // It may have been killed.
                let _ = ptrace::detach(pid, None);
            }
        }
    }

    /// pidfd_getfd(2): what is a directory, or a file that this image does not have.
    fn take(&mut self, pid: i32) {
        let Ok(pidfd) = crate::raw::syscall(libc::SYS_pidfd_open, &[pid as u64, 0]) else { return };
        let pidfd = crate::raw::own(pidfd as i32);
        for number in 3..12u64 {
            let taken = crate::raw::syscall(libc::SYS_pidfd_getfd, &[pidfd.as_raw_fd() as u64, number, 0]);
            let Ok(file) = taken.map(|fd| File::from(crate::raw::own(fd as i32))) else { continue };
            if file.metadata().is_ok_and(|m| m.is_dir() || m.is_file()) {
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                self.hit("taken", || fs::read_link(path).unwrap_or_default().display().to_string());
            }
        }
    }
}

fn own_rights() -> u64 {
    rights(Path::new("/proc/self")).unwrap_or(0)
}

fn rights(process: &Path) -> Option<u64> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}
