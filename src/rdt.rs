//! Intel RDT: the container's class of service in the resctrl filesystem.
//!
//! Owns one directory below the resctrl root (the class, `closID`) and one below its `mon_groups`, and what is written
//! there. The root is an argument, so that tests can make one up. What was made is kept as a [`Group`], which `delete`
//! gets back from the store.

mod stats;

pub use stats::Stats;

use crate::plan::IntelRdt;
use crate::sys::path::open_beneath;
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where resctrl is mounted: `/sys/fs/resctrl`, else wherever the mount table has it.
pub fn root() -> Result<PathBuf> {
    const RDTGROUP_SUPER_MAGIC: libc::c_long = 0x0765_5821;
    let usual = Path::new("/sys/fs/resctrl");
    if nix::sys::statfs::statfs(usual).is_ok_and(|s| s.filesystem_type().0 == RDTGROUP_SUPER_MAGIC) {
        return Ok(usual.into());
    }
    let table = std::fs::read_to_string("/proc/self/mountinfo").call(|| "read /proc/self/mountinfo".into())?;
    mounted_at(&table).context("linux.intelRdt: no resctrl filesystem is mounted")
}

/// The mount point of the first resctrl filesystem in a mountinfo table (proc_pid_mountinfo(5)).
fn mounted_at(table: &str) -> Option<PathBuf> {
    table.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let point = front.split(' ').nth(4)?;
        back.starts_with("resctrl ").then(|| point.replace("\\040", " ").into())
    })
}

/// What a container has in resctrl.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Directory of the class below the root; `.` is the root, the default class.
    class: String,
    /// The class was made for this container and goes with it.
    owned: bool,
    /// The container's directory below the class's `mon_groups`.
    monitor: Option<String>,
}

impl Group {
    /// What [`Group::create`] will make, as far as can be seen before: for a record that is written first.
    pub fn intend(root: &Path, id: &str, plan: &IntelRdt) -> Result<Group> {
        let class = class_name(&plan.clos_id)?;
        let owned = !plan.explicit && !class_exists(&open_directory(root)?, &class)?;
        Ok(Group { class, owned, monitor: plan.monitoring.then(|| id.to_owned()) })
    }

    /// Makes or finds the class and makes the monitoring group. On an error nothing stays that was made here.
    pub fn create(root: &Path, id: &str, plan: &IntelRdt) -> Result<Group> {
        let class = class_name(&plan.clos_id)?;
        let directory = open_directory(root)?;
        let made = make_class(&directory, &class, plan)?;
        let mut group = Group { class, owned: made && !plan.explicit, monitor: None };
        let filled = group.fill(&directory, root, id, plan, made);
        filled.inspect_err(|_| {
            // The first error is the one to tell.
            let _ = Group { owned: made, ..group.clone() }.remove(root);
        })?;
        Ok(group)
    }

    fn fill(&mut self, directory: &OwnedFd, root: &Path, id: &str, plan: &IntelRdt, made: bool) -> Result<()> {
        if !made && plan.explicit {
            let present = read(directory, &format!("{}/schemata", self.class))?;
            compare(&plan.schemata[..plan.fixed.min(plan.schemata.len())], &present)
                .with_context(|| format!("linux.intelRdt: class {:?} exists", self.class))?;
        }
        if !plan.schemata.is_empty() {
            let text = plan.schemata.iter().map(|line| format!("{line}\n")).collect::<String>();
            write(directory, &format!("{}/schemata", self.class), &text).map_err(|e| explain(e, root))?;
        }
        if plan.monitoring {
            let name = class_name(id)?;
            ensure!(name != ".", "{id:?} is not a name of a monitoring group");
            let path = format!("{}/mon_groups/{name}", self.class);
            make_directory(directory, &path).map_err(|e| explain(e, root))?;
            self.monitor = Some(name);
        }
        Ok(())
    }

    /// Writes lines to the class's schemata. Returns the lines that the class had for these resources before.
    pub fn update(&self, root: &Path, lines: &[String]) -> Result<Vec<String>> {
        let directory = open_directory(root)?;
        let path = format!("{}/schemata", self.class);
        let resource = |line: &str| line.split(':').next().unwrap_or_default().trim().to_owned();
        let present = read(&directory, &path)?;
        let touched = |line: &&str| lines.iter().any(|new| resource(new) == resource(line));
        let before = present.lines().filter(touched).map(|line| line.trim().to_owned()).collect();
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        write(&directory, &path, &text).map_err(|e| explain(e, root))?;
        Ok(before)
    }

    /// Puts process `pid`, and with it what it will fork, into the class and the monitoring group.
    pub fn join(&self, root: &Path, pid: libc::pid_t) -> Result<()> {
        let directory = open_directory(root)?;
        let mut tasks = vec![format!("{}/tasks", self.class)];
        tasks.extend(self.monitor_path().map(|path| format!("{path}/tasks")));
        for path in tasks {
            write(&directory, &path, &pid.to_string())
                .map_err(|e| explain(e, root))
                .with_context(|| format!("linux.intelRdt: add process {pid}"))?;
        }
        Ok(())
    }

    /// Removes the monitoring group, and the class if it was made for this container. What is gone already is no error.
    pub fn remove(&self, root: &Path) -> Result<()> {
        let directory = match open_directory(root) {
            Ok(directory) => directory,
            // resctrl was unmounted, and its groups went with it.
            Err(error) if crate::sys::errno_of(&error) == Some(Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error),
        };
        let class = (self.owned && self.class != ".").then(|| self.class.clone());
        for path in self.monitor_path().into_iter().chain(class) {
            match unlinkat(&directory, path.as_str(), UnlinkatFlags::RemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(e) => return Err(e).call(|| format!("rmdir {}/{path}", root.display())),
            }
        }
        Ok(())
    }

    fn monitor_path(&self) -> Option<String> {
        self.monitor.as_ref().map(|name| format!("{}/mon_groups/{name}", self.class))
    }
}

/// A single name of a directory, so that it cannot lead elsewhere; `/` is the default class.
fn class_name(id: &str) -> Result<String> {
    if id == "/" {
        return Ok(".".into());
    }
    let plain = !id.is_empty() && id != "." && id != ".." && !id.contains(['/', '\0']);
    ensure!(plain, "linux.intelRdt: {id:?} is not a name of a resctrl group");
    Ok(id.into())
}

fn class_exists(root: &OwnedFd, class: &str) -> Result<bool> {
    match open_beneath(root.as_fd(), Path::new(class), OFlag::O_PATH | OFlag::O_DIRECTORY) {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(e) => Err(e).call(|| format!("linux.intelRdt: open class {class:?}")),
    }
}

/// Whether the class had to be made.
fn make_class(root: &OwnedFd, class: &str, plan: &IntelRdt) -> Result<bool> {
    if class_exists(root, class)? {
        return Ok(false);
    }
    if plan.explicit && plan.schemata.is_empty() {
        bail!("linux.intelRdt.closID: class {class:?} does not exist, and without schemata it must");
    }
    match mkdirat(root, class, Mode::from_bits_truncate(0o755)) {
        Ok(()) => Ok(true),
        // Another container with the same closID was faster.
        Err(Errno::EEXIST) => Ok(false),
        Err(Errno::ENOSPC) => Err(Errno::ENOSPC)
            .call(|| format!("mkdir {class}"))
            .context("linux.intelRdt: the hardware has no further class of service"),
        Err(e) => Err(e).call(|| format!("linux.intelRdt: mkdir {class}")),
    }
}

fn make_directory(root: &OwnedFd, path: &str) -> Result<()> {
    match mkdirat(root, path, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(e) => Err(e).call(|| format!("linux.intelRdt: mkdir {path}")),
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).call(|| format!("open {}", path.display()))
}

fn read(root: &OwnedFd, path: &str) -> Result<String> {
    let file = open_beneath(root.as_fd(), Path::new(path), OFlag::O_RDONLY).call(|| format!("open {path}"))?;
    let mut text = String::new();
    File::from(file).read_to_string(&mut text).call(|| format!("read {path}"))?;
    Ok(text)
}

fn write(root: &OwnedFd, path: &str, text: &str) -> Result<()> {
    let file = open_beneath(root.as_fd(), Path::new(path), OFlag::O_WRONLY | OFlag::O_TRUNC)
        .call(|| format!("linux.intelRdt: open {path}"))?;
    File::from(file).write_all(text.as_bytes()).call(|| format!("linux.intelRdt: write {text:?} to {path}"))
}

/// Adds what resctrl itself says of the last failure.
fn explain(error: anyhow::Error, root: &Path) -> anyhow::Error {
    let status = open_directory(root).and_then(|root| read(&root, "info/last_cmd_status"));
    match status.as_deref().map(str::trim) {
        Ok(status) if !status.is_empty() && status != "ok" => error.context(format!("last_cmd_status: {status}")),
        _ => error,
    }
}

/// Whether a group has the values that lines of a config ask for; it may have further resources and ids.
fn compare(lines: &[String], present: &str) -> Result<()> {
    let present: BTreeMap<_, _> = present.lines().filter_map(parse_line).collect();
    for line in lines {
        let (resource, wanted) = parse_line(line).ok_or_else(|| anyhow!("{line:?} is not a schema"))?;
        let found = present.get(&resource).with_context(|| format!("it has no resource {resource}"))?;
        let same =
            wanted.iter().all(|(id, value)| found.get(id).is_some_and(|other| same_value(&resource, value, other)));
        ensure!(same, "its schema for {resource} is not {line:?}");
    }
    Ok(())
}

type Schema = (String, BTreeMap<String, String>);

/// `L3:0=ff;1=c0` as resource and values by id.
fn parse_line(line: &str) -> Option<Schema> {
    let (resource, values) = line.split_once(':')?;
    let pairs = values.split(';').map(|pair| pair.split_once('='));
    let values: Option<BTreeMap<_, _>> =
        pairs.map(|pair| pair.map(|(id, value)| (id.trim().into(), value.trim().into()))).collect();
    Some((resource.trim().into(), values?))
}

/// Bit masks are hexadecimal, bandwidths decimal; both may have leading zeroes.
fn same_value(resource: &str, one: &str, other: &str) -> bool {
    let radix = if resource.contains("MB") { 10 } else { 16 };
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), radix).ok();
    number(one).is_some() && number(one) == number(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A directory that looks like resctrl with one class `shared`. Files that the kernel makes in a new group are made
    /// by the tests.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Tree {
            let root = std::env::temp_dir().join(format!("resctrl-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            for directory in ["info", "mon_groups", "shared/mon_groups"] {
                fs::create_dir_all(root.join(directory)).unwrap();
            }
            fs::write(root.join("info/last_cmd_status"), "ok\n").unwrap();
            for class in ["", "shared"] {
                fs::write(root.join(class).join("tasks"), "").unwrap();
                fs::write(root.join(class).join("schemata"), "    MB:0=100;1=100\n    L3:0=00ff;1=ffff\n").unwrap();
            }
            Tree(root)
        }

        fn text(&self, path: &str) -> String {
            fs::read_to_string(self.0.join(path)).unwrap()
        }

        fn exists(&self, path: &str) -> bool {
            self.0.join(path).exists()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn plan(clos_id: &str, explicit: bool, schemata: &[&str], fixed: usize) -> IntelRdt {
        let schemata = schemata.iter().map(|s| s.to_string()).collect();
        IntelRdt { clos_id: clos_id.into(), explicit, schemata, fixed, monitoring: false }
    }

    #[test]
    fn a_class_of_its_own_goes_with_the_container() {
        let tree = Tree::new("own");
        let group = Group::create(&tree.0, "c1", &plan("c1", false, &[], 0)).unwrap();
        fs::write(tree.0.join("c1/tasks"), "").unwrap();
        group.join(&tree.0, 42).unwrap();
        assert_eq!(tree.text("c1/tasks"), "42");
        fs::remove_file(tree.0.join("c1/tasks")).unwrap();
        let stored = serde_json::from_str::<Group>(&serde_json::to_string(&group).unwrap()).unwrap();
        stored.remove(&tree.0).unwrap();
        assert!(!tree.exists("c1"));
        stored.remove(&tree.0).unwrap();
    }

    #[test]
    fn a_class_that_was_there_stays() {
        let tree = Tree::new("found");
        // By closID, by chance, and the default class.
        for plan in [plan("shared", true, &[], 0), plan("shared", false, &[], 0), plan("/", true, &[], 0)] {
            let group = Group::create(&tree.0, "c1", &plan).unwrap();
            group.join(&tree.0, 7).unwrap();
            group.remove(&tree.0).unwrap();
            assert!(tree.exists("shared"));
        }
        assert_eq!((tree.text("shared/tasks"), tree.text("tasks")), ("7".into(), "7".into()));
    }

    #[test]
    fn schemata_are_compared_and_written() {
        let tree = Tree::new("schemata");
        let same = plan("shared", true, &["L3:0=ff", "MB:1=0100", "L2:0=1"], 2);
        Group::create(&tree.0, "c1", &same).unwrap();
        assert_eq!(tree.text("shared/schemata"), "L3:0=ff\nMB:1=0100\nL2:0=1\n");
        let error = Group::create(&tree.0, "c1", &plan("shared", true, &["L3:0=f0"], 1)).unwrap_err();
        let text = "linux.intelRdt: class \"shared\" exists: its schema for L3 is not \"L3:0=f0\"";
        assert_eq!(format!("{error:#}"), text);
        let error = Group::create(&tree.0, "c1", &plan("shared", true, &["L3CODE:0=f0"], 1)).unwrap_err();
        assert!(format!("{error:#}").ends_with("it has no resource L3CODE"));
        // `schemata` is written without a comparison.
        Group::create(&tree.0, "c1", &plan("shared", true, &["L3:0=f0"], 0)).unwrap();
        assert!(tree.exists("shared"));
    }

    #[test]
    fn a_missing_class_needs_schemata() {
        let tree = Tree::new("missing");
        let error = Group::create(&tree.0, "c1", &plan("none", true, &[], 0)).unwrap_err().to_string();
        let text = "linux.intelRdt.closID: class \"none\" does not exist, and without schemata it must";
        assert_eq!(error, text);
        for name in ["..", ".", "a/b", "", "../shared"] {
            let error = Group::create(&tree.0, "c1", &plan(name, true, &["L3:0=1"], 0)).unwrap_err().to_string();
            assert!(error.contains("is not a name of a resctrl group"), "{error}");
        }
    }

    #[test]
    fn a_failure_leaves_nothing_and_says_what_resctrl_says() {
        let tree = Tree::new("failure");
        fs::write(tree.0.join("info/last_cmd_status"), "out of range\n").unwrap();
        // The made-up tree makes no `schemata` in a new directory.
        let error = Group::create(&tree.0, "c1", &plan("new", true, &["L3:0=zz"], 1)).unwrap_err();
        let text =
            "last_cmd_status: out of range: linux.intelRdt: open new/schemata: no such file or directory (ENOENT)";
        assert_eq!(format!("{error:#}"), text);
        assert!(!tree.exists("new"));
    }

    #[test]
    fn schemata_are_updated() {
        let tree = Tree::new("update");
        let group = Group::create(&tree.0, "c1", &plan("shared", true, &[], 0)).unwrap();
        let before = group.update(&tree.0, &["L3:0=f".into()]).unwrap();
        assert_eq!(before, ["L3:0=00ff;1=ffff"]);
        assert_eq!(tree.text("shared/schemata"), "L3:0=f\n");
        fs::remove_file(tree.0.join("shared/schemata")).unwrap();
        assert!(group.update(&tree.0, &before).is_err());
    }

    #[test]
    fn a_monitoring_group_comes_and_goes() {
        let tree = Tree::new("monitor");
        let monitored = IntelRdt { monitoring: true, ..plan("shared", true, &[], 0) };
        let group = Group::create(&tree.0, "c1", &monitored).unwrap();
        fs::write(tree.0.join("shared/mon_groups/c1/tasks"), "").unwrap();
        group.join(&tree.0, 9).unwrap();
        assert_eq!(tree.text("shared/mon_groups/c1/tasks"), "9");
        fs::remove_file(tree.0.join("shared/mon_groups/c1/tasks")).unwrap();
        group.remove(&tree.0).unwrap();
        assert!(!tree.exists("shared/mon_groups/c1") && tree.exists("shared"));
        // Without room for another one.
        fs::remove_dir(tree.0.join("shared/mon_groups")).unwrap();
        let error = format!("{:#}", Group::create(&tree.0, "c1", &monitored).unwrap_err());
        assert_eq!(error, "linux.intelRdt: mkdir shared/mon_groups/c1: no such file or directory (ENOENT)");
    }

    #[test]
    fn the_mount_table_is_searched() {
        let table = "22 1 0:21 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
                     30 22 0:30 / /mnt/my\\040rdt rw - resctrl resctrl rw\n";
        assert_eq!(mounted_at(table), Some("/mnt/my rdt".into()));
        assert_eq!(mounted_at("22 1 0:21 / /sys rw - sysfs resctrl rw\n"), None);
    }
}
