//! Where the machine has its cgroup controllers, and what a container's cgroup says.
//!
//! A test names a controller and the files of both versions of cgroups; what is expected is chosen by where the
//! controller is, so that the same test runs on v1, hybrid and v2 machines.

use crate::Case;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// A mounted hierarchy.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    pub version: Version,
    pub root: PathBuf,
    /// v1: also the name of a named one.
    pub controllers: Vec<String>,
}

impl Hierarchy {
    /// The directory of a process's cgroup.
    #[track_caller]
    pub fn of(&self, pid: i32) -> PathBuf {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_else(|e| panic!("process {pid}: {e}"));
        let is_ours = |names: &str| match self.version {
            Version::V2 => names.is_empty(),
            Version::V1 => {
                names.split(',').any(|n| self.controllers.iter().any(|c| c == n.trim_start_matches("name=")))
            }
        };
        let path = text.lines().find_map(|line| {
            let (names, path) = line.split_once(':')?.1.split_once(':')?;
            is_ours(names).then_some(path)
        });
        let path = path.unwrap_or_else(|| panic!("process {pid} is not in {}: {text}", self.root.display()));
        self.root.join(path.trim_start_matches('/'))
    }
}

/// All hierarchies below /sys/fs/cgroup.
pub fn hierarchies() -> &'static [Hierarchy] {
    static FOUND: OnceLock<Vec<Hierarchy>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read the mount table");
        mounts.lines().filter_map(hierarchy).collect()
    })
}

fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (front, back) = line.split_once(" - ")?;
    let root = PathBuf::from(front.split(' ').nth(4)?);
    let mut back = back.split(' ');
    let kind = back.next()?;
    if !root.starts_with("/sys/fs/cgroup") {
        return None;
    }
    match kind {
        "cgroup2" => {
            let text = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
            let controllers = text.split_whitespace().map(String::from).collect();
            Some(Hierarchy { version: Version::V2, root, controllers })
        }
        "cgroup" => {
            let options = back.nth(1)?;
            let names =
                options.split(',').filter(|o| !["rw", "ro", "xattr"].contains(o) && !o.contains("release_agent"));
            let controllers = names.map(|n| n.trim_start_matches("name=").to_owned()).collect();
            Some(Hierarchy { version: Version::V1, root, controllers })
        }
        _ => None,
    }
}

/// Where a controller is: v1's name of it is `blkio` and v2's is `io`.
pub fn controller(name: &str) -> Option<&'static Hierarchy> {
    let v2_name = if name == "blkio" { "io" } else { name };
    let has = |h: &&Hierarchy| match h.version {
        Version::V1 => h.controllers.iter().any(|c| c == name),
        Version::V2 => h.controllers.iter().any(|c| c == v2_name),
    };
    let of = |version| hierarchies().iter().filter(move |h| h.version == version).find(has);
    of(Version::V1).or_else(|| of(Version::V2))
}

/// The cgroup v2 hierarchy, if there is one.
pub fn unified() -> Option<&'static Hierarchy> {
    hierarchies().iter().find(|h| h.version == Version::V2)
}

/// The machine has cgroup v2 and no other.
pub fn is_v2_only() -> bool {
    !hierarchies().is_empty() && hierarchies().iter().all(|h| h.version == Version::V2)
}

/// A file in a directory, without the line feed at its end; `None` when it is not there.
pub fn read(directory: &Path, file: &str) -> Option<String> {
    match fs::read_to_string(directory.join(file)) {
        Ok(text) => Some(text.trim_end().to_owned()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => panic!("read {}/{file}: {e}", directory.display()),
    }
}

/// What one setting is in the files of each version.
#[derive(Debug, Clone)]
pub struct Expected {
    pub controller: &'static str,
    /// File and value of v1; `None`: v1 has nothing like it.
    pub v1: Option<(&'static str, String)>,
    pub v2: Option<(&'static str, String)>,
}

/// `v1` and `v2` are file and value.
pub fn expect(controller: &'static str, v1: (&'static str, &str), v2: (&'static str, &str)) -> Expected {
    let owned = |(file, value): (&'static str, &str)| Some((file, value.to_owned()));
    Expected { controller, v1: owned(v1), v2: owned(v2) }
}

impl Expected {
    /// File and value of this machine, and the file's hierarchy; else why it cannot be tested here.
    pub fn here(&self) -> Result<(&'static Hierarchy, &'static str, &str), String> {
        let Some(hierarchy) = controller(self.controller) else {
            return Err(format!("this machine has no {} controller", self.controller));
        };
        let file = match hierarchy.version {
            Version::V1 => &self.v1,
            Version::V2 => &self.v2,
        };
        match file {
            Some((file, value)) => Ok((hierarchy, file, value)),
            None => Err(format!("{:?} has nothing like it ({})", hierarchy.version, self.controller)),
        }
    }

    /// Compares with the cgroup of the case's process.
    #[track_caller]
    pub fn check(&self, case: &Case) {
        let Ok((hierarchy, file, value)) = self.here() else { panic!("{self:?} is not of this machine") };
        let directory = hierarchy.of(case.pid());
        let found = read(&directory, file);
        assert_eq!(found.as_deref(), Some(value), "{}/{file}", directory.display());
    }
}

/// The number of a real block device, `major:minor`, for limits by device.
pub fn block_device() -> Option<(u32, u32)> {
    let usable = |name: &str| ["vd", "sd", "nvme", "loop", "xvd", "dm-"].iter().any(|p| name.starts_with(p));
    let entries = fs::read_dir("/sys/block").ok()?.flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| usable(name));
    // Discs of the machine before loop devices.
    names.sort_by_key(|name| name.starts_with("loop"));
    let text = fs::read_to_string(Path::new("/sys/block").join(names.first()?).join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The file of a cgroup that a weight of all block devices goes to, and what it says then; `None`: this kernel has none.
pub fn weight_file(cgroup: &Path, weight: u64) -> Option<(&'static str, String)> {
    let files = [
        ("blkio.weight", weight.to_string()),
        ("blkio.bfq.weight", weight.to_string()),
        ("io.bfq.weight", format!("default {weight}")),
        ("io.weight", format!("default {}", v2_weight(weight))),
    ];
    files.into_iter().find(|(file, _)| cgroup.join(file).exists())
}

/// The file of a cgroup that a weight of one device goes to.
pub fn weight_device_file(cgroup: &Path) -> Option<&'static str> {
    let files = ["blkio.weight_device", "blkio.bfq.weight_device", "io.bfq.weight", "io.weight"];
    files.into_iter().find(|file| cgroup.join(file).exists())
}

/// What [`weight_device_file`] says of a weight of `linux.resources`.
pub fn device_weight(file: &str, weight: u64) -> String {
    if file == "io.weight" { v2_weight(weight) } else { weight }.to_string()
}

/// 10 to 1000 onto 1 to 10000.
fn v2_weight(weight: u64) -> u64 {
    1 + (weight - 10) * 9999 / 990
}

/// What a file with a line for each device says of this one.
pub fn line_of_device(cgroup: &Path, file: &str, (major, minor): (u32, u32)) -> Option<String> {
    let text = read(cgroup, file)?;
    let device = format!("{major}:{minor} ");
    text.lines().find_map(|line| line.strip_prefix(&device)).map(str::to_owned)
}

/// A loop device whose scheduler is bfq, which knows weights; it goes with this value.
pub struct WeighedDisk {
    pub number: (u32, u32),
    device: String,
    /// The file that names its scheduler, and the one that it had.
    scheduler: (PathBuf, String),
}

impl WeighedDisk {
    /// `None`: the machine has no loop devices, or no bfq.
    pub fn new(case: &Case) -> Option<WeighedDisk> {
        let file = case.dir.join("disk");
        fs::File::create(&file).and_then(|file| file.set_len(1 << 20)).expect("make a disk");
        let output = Command::new("losetup").args(["--find", "--show"]).arg(&file).output().ok()?;
        let device = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let name = device.strip_prefix("/dev/").filter(|_| output.status.success())?;
        let place = Path::new("/sys/block").join(name);
        let text = fs::read_to_string(place.join("dev")).expect("a device has a number");
        let (major, minor) = text.trim().split_once(':').expect("a number has two parts");
        let number = (major.parse().expect("a number"), minor.parse().expect("a number"));
        let file = place.join("queue/scheduler");
        let text = fs::read_to_string(&file).unwrap_or_default();
        // The one in use is in brackets.
        let used = text.split(['[', ']']).nth(1).unwrap_or("none").to_owned();
        let disk = WeighedDisk { number, device, scheduler: (file, used) };
        fs::write(&disk.scheduler.0, "bfq").ok().map(|()| disk)
    }
}

impl Drop for WeighedDisk {
    fn drop(&mut self) {
        let _ = fs::write(&self.scheduler.0, &self.scheduler.1);
        let done = Command::new("losetup").args(["--detach", &self.device]).status();
        assert!(std::thread::panicking() || done.is_ok_and(|s| s.success()), "detach {}", self.device);
    }
}
