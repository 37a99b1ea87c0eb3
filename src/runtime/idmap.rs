//! Writes the id maps of a new user namespace (user_namespaces(7)).

use crate::host::Host;
use crate::plan::IdMap;
use crate::plan::namespaces::{IdMapWriter, IdRange};
use crate::sys::{Call, Errno, errno_of};
use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

/// Writes `uid_map` and `gid_map` of the process, which waits for them.
pub(super) fn write(pid: i32, map: &IdMap, host: &Host) -> Result<()> {
    match map.writer {
        IdMapWriter::Runtime => {
            // Without privilege a gid map may only be written after setgroups is given up.
            if host.uid != 0 {
                write_file(pid, "setgroups", "deny")?;
            }
            write_file(pid, "uid_map", &lines(&map.uid)).context("linux.uidMappings")?;
            write_file(pid, "gid_map", &lines(&map.gid)).context("linux.gidMappings")
        }
        IdMapWriter::Helpers => {
            run_helper("newuidmap", pid, &map.uid).context("linux.uidMappings")?;
            run_helper("newgidmap", pid, &map.gid).context("linux.gidMappings")
        }
    }
}

fn lines(ranges: &[IdRange]) -> String {
    ranges.iter().map(|r| format!("{} {} {}\n", r.container, r.host, r.size)).collect()
}

fn write_file(pid: i32, name: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{name}");
    let result = std::fs::write(&path, text).call(|| format!("write {path} {:?}", text.trim_end()));
    match result {
        // A kernel without the file has no such restriction (before 3.19).
        Err(error) if name == "setgroups" && errno_of(&error) == Some(Errno::ENOENT) => Ok(()),
        result => result,
    }
}

/// newuidmap(1): `newuidmap pid container host size …`.
fn run_helper(program: &str, pid: i32, ranges: &[IdRange]) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(pid.to_string()).stdin(Stdio::null());
    for range in ranges {
        command.args([range.container.to_string(), range.host.to_string(), range.size.to_string()]);
    }
    let output = command
        .output()
        .call(|| format!("exec {program}"))
        .with_context(|| format!("mapping several ids without privilege needs {program} (package uidmap)"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{program}: {} ({}); is the range in /etc/sub{}id?", text.trim(), output.status, &program[3..4]);
    }
    Ok(())
}
