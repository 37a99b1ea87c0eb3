//! The cgroups of a running process, for containers whose record cannot be read and for messages.

use super::record::{Membership, Record, Version};
use crate::sys::Call;
use anyhow::Result;
use std::path::{Path, PathBuf};

const MOUNTS: &str = "/sys/fs/cgroup";

/// A line of `/proc/<pid>/cgroup` (cgroups(7)): `5:cpu,cpuacct:/path`, of cgroup v2 `0::/path`.
struct Line<'a> {
    controllers: &'a str,
    path: &'a Path,
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(":/")?;
        Some(Line { controllers, path: Path::new(path) })
    })
}

/// The directory of a hierarchy below [`MOUNTS`].
fn directory(controllers: &str) -> String {
    match controllers.strip_prefix("name=").unwrap_or(controllers) {
        "" if Path::new(MOUNTS).join("cgroup.controllers").exists() => String::new(),
        "" => "unified".into(),
        name => name.into(),
    }
}

impl Record {
    /// The cgroup of process `pid`, if it is named after the container: its last component is the id, alone or as that of
    /// a systemd scope (`prefix-ID.scope`). `None` where it is not, or where the calling process is in it: then the
    /// cgroup may be anybody's.
    pub fn named_after(pid: i32, id: &str) -> Result<Option<Record>> {
        let read = |path: String| std::fs::read_to_string(&path).call(|| format!("read {path}"));
        Ok(find(&read(format!("/proc/{pid}/cgroup"))?, &read("/proc/self/cgroup".into())?, id))
    }
}

fn find(theirs: &str, ours: &str, id: &str) -> Option<Record> {
    let is_named = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let of_scope =
            name.strip_suffix(".scope").and_then(|scope| scope.strip_suffix(id)).is_some_and(|p| p.ends_with('-'));
        name == id || of_scope
    };
    let path = lines(theirs).map(|line| line.path).find(|path| is_named(path))?;
    if lines(ours).any(|line| line.path.starts_with(path)) {
        return None;
    }
    let members = lines(theirs).filter(|line| line.path == path).map(|line| Membership {
        directory: directory(line.controllers),
        version: if line.controllers.is_empty() { Version::V2 } else { Version::V1 },
        made: 1,
    });
    Some(Record { mounts: MOUNTS.into(), path: path.to_owned(), hierarchies: members.collect(), unit: None })
}

/// The cgroup of the v1 freezer that keeps a process frozen: its own or one above. `None`: it is not frozen so, or that
/// cannot be seen. cgroup v2 lets frozen processes be killed.
pub fn frozen_by(pid: i32) -> Option<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let line = lines(&text).find(|line| line.controllers.split(',').any(|c| c == "freezer"))?;
    let root = Path::new(MOUNTS).join(directory(line.controllers));
    line.path.ancestors().map(|path| root.join(path)).find(|group| {
        std::fs::read_to_string(group.join("freezer.self_freezing")).is_ok_and(|text| text.trim_end() == "1")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEIRS: &str =
        "3:freezer:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/elsewhere\n0::/docker/abc\n";

    #[test]
    fn a_cgroup_named_after_the_container_is_found_in_every_hierarchy() {
        let record = find(THEIRS, "3:freezer:/\n", "abc").unwrap();
        assert_eq!(record.path, Path::new("docker/abc"));
        let directories: Vec<_> = record.hierarchies.iter().map(|h| h.directory.as_str()).collect();
        assert_eq!(directories[..2], ["freezer", "cpu,cpuacct"]);
        assert_eq!(directories.len(), 3);
        assert!(find("0::/x.slice/docker-abc.scope\n", "", "abc").is_some());
    }

    #[test]
    fn a_cgroup_that_may_be_anybodys_is_none() {
        assert!(find(THEIRS, "", "abcd").is_none(), "of another name");
        assert!(find("0::/xabc\n", "", "abc").is_none(), "the name ends alike");
        assert!(find("0::/\n", "", "abc").is_none(), "a root");
        assert!(find(THEIRS, "2:cpu,cpuacct:/docker/abc/us\n", "abc").is_none(), "the caller is in it");
    }
}
