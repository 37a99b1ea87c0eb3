//! A running container's cgroup: pause, update, statistics, out of memory, the way in.

use super::limits::{limited, resources, v1_file};
use super::*;
use nix::poll::{PollFd, PollTimeout, poll};

/// The state letter of a process.
fn state(child: &Child) -> char {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    text.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

/// Clock ticks in user mode.
fn cpu_time(child: &Child) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    text.rsplit_once(") ").unwrap().1.split(' ').nth(11).unwrap().parse().unwrap()
}

#[test]
fn a_frozen_container_stands_still() {
    for host in hosts() {
        let created = made(&at(&name()), &host);
        let record = created.record();
        // It is never out of work, so it can only stand still if it is frozen.
        let mut child = Command::new("sh").arg("-c").arg("while :; do :; done").spawn().unwrap();
        for directory in directories(record) {
            std::fs::write(directory.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        record.freeze().unwrap();
        assert!(record.is_frozen().unwrap());
        let worked = cpu_time(&child);
        assert_ne!(state(&child), 'R');
        record.freeze().unwrap();
        assert_eq!(cpu_time(&child), worked);
        record.thaw().unwrap();
        assert!(!record.is_frozen().unwrap());
        while cpu_time(&child) == worked {
            std::thread::yield_now();
        }
        record.freeze().unwrap();
        record.signal_all(libc::SIGKILL, Hold::No).unwrap();
        child.wait().unwrap();
        record.remove().unwrap();
    }
}

#[test]
fn what_has_no_cgroup_cannot_be_paused() {
    let none = Record::none();
    assert_eq!(none.freeze().unwrap_err().to_string(), "the container has no cgroup to pause");
    assert!(!none.is_frozen().unwrap());
    assert!(none.update(&Resources::default(), &Resources::default()).is_err());
}

#[test]
fn updates_change_what_they_name() {
    let Some(host) = host() else { return };
    let CgroupMode::Legacy { .. } = &host.cgroup else { return };
    let first = r#"{"memory":{"limit":8388608,"swap":8388608},"cpu":{"shares":100,"quota":20000,"period":100000,"burst":10000},"pids":{"limit":9}}"#;
    let created = made(&limited(&name(), first), &host);
    let record = created.record();
    let read = |controller: &str, file: &str| v1_file(record, controller, file).unwrap().trim().to_string();

    // Both are above the old memory and swap limit, so the order matters; so it does for burst and quota.
    let change = resources(r#"{"memory":{"limit":33554432,"swap":67108864},"cpu":{"quota":5000,"burst":1000}}"#);
    let (now, notes) = record.update(&resources(first), &change).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(read("memory", "memory.limit_in_bytes"), "33554432");
    assert_eq!(read("memory", "memory.memsw.limit_in_bytes"), "67108864");
    assert_eq!(read("cpu", "cpu.cfs_quota_us"), "5000");
    assert_eq!(read("cpu", "cpu.cfs_burst_us"), "1000");
    assert_eq!(read("cpu", "cpu.shares"), "100");
    assert_eq!((now.cpu.shares, now.pids), (Some(100), resources(first).pids));

    // What fails leaves the old values.
    let bad = resources(r#"{"cpu":{"shares":300,"quota":7}}"#);
    let error = format!("{:#}", record.update(&now, &bad).unwrap_err());
    assert!(error.starts_with("cpu.quota: write 7 to ") && error.ends_with("(EINVAL)"), "{error}");
    assert_eq!(read("cpu", "cpu.shares"), "100");
    assert_eq!(read("cpu", "cpu.cfs_quota_us"), "5000");

    let (now, _) = record.update(&now, &resources(r#"{"memory":{"limit":-1}}"#)).unwrap();
    assert_eq!(now.memory.swap, None);
    assert_eq!(read("memory", "memory.memsw.limit_in_bytes"), read("memory", "memory.limit_in_bytes"));

    let devices = resources(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#);
    record.update(&now, &devices).unwrap();
    assert_eq!(read("devices", "devices.list"), "a *:* rwm");
    record.remove().unwrap();
}

#[test]
fn statistics_are_read() {
    for host in hosts() {
        let created = made(&at(&name()), &host);
        let record = created.record();
        let mut child = sleeper(record);
        let stats = record.stats().unwrap();
        assert_eq!(stats.cpu.psi.is_some(), Path::new("/proc/pressure").exists());
        if v1_file(record, "pids", "pids.current").is_some() {
            assert_eq!(stats.pids.current, 1);
            assert!(stats.memory.usage.limit > 0 && !stats.memory.raw.is_empty());
            assert!(!stats.cpuset.cpus.is_empty() && !stats.cpu.usage.percpu.is_empty());
        }
        serde_json::to_string(&stats).unwrap();
        record.remove().unwrap();
        child.wait().unwrap();
        assert_eq!(record.stats().unwrap().pids.current, 0);
    }
}

#[test]
fn out_of_memory_is_seen_and_counted() {
    let Some(host) = host() else { return };
    let CgroupMode::Legacy { .. } = &host.cgroup else { return };
    let created = made(&limited(&name(), r#"{"memory":{"limit":4194304,"swap":4194304}}"#), &host);
    let record = created.record();
    let mut watch = record.watch_oom().unwrap();
    assert_eq!(watch.take().unwrap(), OomEvent::Nothing);
    let directory = record.directories().find(|(n, _)| n.split(',').any(|c| c == "memory")).unwrap().1;
    let script = format!("echo $$ > {}/cgroup.procs && exec tail /dev/zero", directory.display());
    let mut child = Command::new("sh").arg("-c").arg(script).spawn().unwrap();
    let wait = |watch: &OomWatch| {
        let mut fds: Vec<PollFd> = watch.fds().into_iter().map(|(fd, flags)| PollFd::new(fd, flags)).collect();
        assert!(poll(&mut fds, PollTimeout::from(30_000u16)).unwrap() > 0);
    };
    wait(&watch);
    assert_eq!(watch.take().unwrap(), OomEvent::Oom);
    assert!(!child.wait().unwrap().success());
    assert_eq!(record.oom_kills().unwrap(), 1);
    while watch.take().unwrap() != OomEvent::Nothing {}
    record.remove().unwrap();
    wait(&watch);
    assert_eq!(watch.take().unwrap(), OomEvent::End);
    assert_eq!(record.oom_kills().unwrap(), 0);
}

#[test]
fn the_way_in_is_beside_init() {
    let Some(host) = host() else { return };
    let created = made(&at(&name()), &host);
    let record = created.record();
    let Some((_, top)) = record.directories().find(|(n, _)| ["", "unified"].contains(n)) else {
        return record.remove().unwrap();
    };
    let mut child = sleeper(record);
    let init = child.id() as i32;
    let leaf = top.join("init.scope");
    std::fs::create_dir(&leaf).unwrap();
    std::fs::write(leaf.join("cgroup.procs"), init.to_string()).unwrap();
    let inode = |fd: BorrowedFd| nix::sys::stat::fstat(fd).unwrap().st_ino;
    let of = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());

    let entry = record.entry(init, &[]).unwrap();
    assert_eq!(inode(entry.into_fd().unwrap()), of(&leaf));
    let entry = record.entry(init, &[SubCgroup::parse("/").unwrap()]).unwrap();
    assert_eq!(inode(entry.into_fd().unwrap()), of(&top));

    let absent = record.entry(init, &[SubCgroup::parse("nowhere").unwrap()]).unwrap_err();
    assert!(format!("{absent:#}").ends_with("(ENOENT)"), "{absent:#}");
    assert!(SubCgroup::parse("../sibling").is_err());
    let absent = record.entry(init, &[SubCgroup::parse("nosuch:/").unwrap()]).unwrap_err();
    assert_eq!(absent.to_string(), "no cgroup hierarchy of the container has nosuch");
    record.remove().unwrap();
    child.wait().unwrap();
}
