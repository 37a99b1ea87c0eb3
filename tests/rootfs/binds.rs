//! Binds: targets, attributes, propagation, id mappings, many of them.

use crate::kit::*;
use nix::mount::MsFlags;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rvol_runc::plan::mounts::{CreateTarget, MountIdMap, MountOp};
use rvol_runc::plan::namespaces::IdRange;
use rvol_runc::plan::options::{Propagation, PropagationKind};
use rvol_runc::sys::mount::{MOUNT_ATTR_ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub const CASES: &[Case] = &[
    ("bind_makes_its_target_like_the_source", target_is_made),
    ("bind_leaves_the_host_mount_table_alone", host_is_untouched),
    ("bind_readonly_is_for_the_top_only", readonly_top),
    ("bind_rro_is_for_all", readonly_recursive),
    ("bind_clears_flags_of_the_source", clears_flags),
    ("bind_sets_atime", sets_atime),
    ("bind_shared_only_receives_without_a_shared_root", shared_receives),
    ("bind_slave_goes_one_way", slave_one_way),
    ("bind_private_goes_no_way", private_no_way),
    ("bind_submounts_do_not_leak", submounts_do_not_leak),
    ("bind_unbindable_is_refused_as_a_source", unbindable_source),
    ("bind_onto_root_replaces_it", destination_root),
    ("bind_onto_root_readonly", destination_root_readonly),
    ("bind_through_links_stays_inside", links_inside),
    ("bind_errors_name_the_cause", errors),
    ("bind_below_a_bind", below_a_bind),
    ("bind_many", many),
    ("bind_explicit_idmap", explicit_idmap),
    ("bind_explicit_ridmap", explicit_ridmap),
    ("bind_best_effort_warns", best_effort),
];

fn target_is_made(host: &Host) {
    let dir = host.mkdir("vol");
    let file = host.write("file", "hello");
    host.write("vol/a", "in the volume");
    host.run(vec![bind(&dir, "/data/deep/vol"), bind(&file, "/data/deep/file")], || {
        assert_eq!(read_text("/data/deep/vol/a"), "in the volume");
        assert_eq!(read_text("/data/deep/file"), "hello");
        std::fs::write("/data/deep/vol/b", "from inside").unwrap();
    });
    assert_eq!(std::fs::read_to_string(host.path("vol/b")).unwrap(), "from inside");
    // The root filesystem has the empty mount points and nothing else.
    assert_eq!(std::fs::read_dir(host.rootfs("data/deep/vol")).unwrap().count(), 0);
    assert_eq!(host.rootfs("data/deep/file").metadata().unwrap().len(), 0);
    let mode = |path: &str| host.rootfs(path).metadata().unwrap().mode() & 0o7777;
    assert_eq!((mode("data/deep"), mode("data/deep/file")), (0o755, 0o644));
}

fn host_is_untouched(host: &Host) {
    let dir = host.mkdir("vol");
    // Where everything is shared, as systemd has it.
    host.remount("/", MsFlags::MS_SHARED | MsFlags::MS_REC);
    let before = mountinfo();
    host.run(vec![bind(&dir, "/data"), fs("tmpfs", "/tmp")], || assert_eq!(mountinfo().lines().count(), 4));
    assert_eq!(mountinfo(), before);
}

fn readonly_top(host: &Host) {
    let dir = host.mkdir("vol/sub");
    host.mount_tmpfs("vol/sub");
    let mount = bind_as(dir.parent().unwrap(), "/data", |b| b.attr.set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID);
    host.run(vec![mount], || {
        assert!(!writable("/data"));
        assert!(writable("/data/sub"));
        assert!(mount_line("/data").contains("ro,nosuid"));
    });
}

fn readonly_recursive(host: &Host) {
    host.mkdir("vol/sub");
    host.mount_tmpfs("vol/sub");
    host.run(vec![bind_as(&host.path("vol"), "/data", |b| b.attr.recursive_set = MOUNT_ATTR_RDONLY)], || {
        assert!(!writable("/data"));
        assert!(!writable("/data/sub"));
    });
}

fn clears_flags(host: &Host) {
    host.mkdir("vol");
    host.mount_tmpfs("vol");
    host.remount("vol", MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID);
    let vol = host.path("vol");
    let mounts = vec![
        bind(&vol, "/kept"),
        bind_as(&vol, "/cleared", |b| b.attr.clear = MOUNT_ATTR_RDONLY),
        bind_as(&vol, "/all", |b| b.attr.recursive_clear = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID),
    ];
    host.run(mounts, || {
        assert!(!writable("/kept"));
        assert!(writable("/cleared") && mount_line("/cleared").contains("nosuid"));
        assert!(writable("/all") && !mount_line("/all").contains("nosuid"));
    });
}

fn sets_atime(host: &Host) {
    let vol = host.mkdir("vol");
    host.run(vec![bind_as(&vol, "/data", |b| b.attr.set = MOUNT_ATTR_NOATIME)], || {
        assert!(mount_line("/data").contains("noatime"));
    });
    // relatime is the value 0: only the clearing says it.
    host.mount_tmpfs("vol");
    host.remount("vol", MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_NOATIME);
    host.run(vec![bind_as(&vol, "/data", |b| b.attr.clear = MOUNT_ATTR_ATIME)], || {
        assert!(mount_line("/data").contains("relatime"));
    });
}

/// Mounts a tmpfs on `path` that holds a file `mark`.
fn mount_mark(path: &Path) {
    nix::mount::mount(Some("t"), path, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    std::fs::write(path.join("mark"), "").unwrap();
}

/// A shared volume with directories `in` and `out`, its top private to the case.
fn shared_volume(host: &Host) -> std::path::PathBuf {
    let vol = host.mkdir("vol");
    host.mount_tmpfs("vol");
    host.remount("vol", MsFlags::MS_SHARED);
    host.mkdir("vol/in");
    host.mkdir("vol/out");
    vol
}

/// What arrives in the container of what the host mounts, and on the host of what the container mounts.
fn passes(host: &Host, propagation: Propagation) -> (bool, bool) {
    let vol = shared_volume(host);
    let (to_host, from_host) = (vol.join("out/mark"), vol.join("in"));
    let (ready_read, ready) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let (seen_read, seen) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let plan = host.plan(vec![bind_as(&vol, "/data", |b| b.propagation = propagation)]);
    // The host acts from a process of its own, in the mount namespace that the container came from.
    let helper = std::thread::scope(|_| {
        match rvol_runc::sys::ns::clone3(0, None, rvol_runc::sys::ns::Parent::Caller).unwrap() {
            rvol_runc::sys::ns::Cloned::Child => {
                nix::unistd::read(&ready_read, &mut [0]).unwrap();
                let arrived = to_host.exists();
                mount_mark(&from_host);
                nix::unistd::write(&seen, &[u8::from(arrived)]).unwrap();
                rvol_runc::sys::process::exit_now(0)
            }
            rvol_runc::sys::ns::Cloned::Parent { pidfd, .. } => pidfd,
        }
    });
    let mut result = [0u8; 2];
    let (report_read, report) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    run(&plan, || {
        mount_mark(Path::new("/data/out"));
        nix::unistd::write(&ready, b"r").unwrap();
        let mut arrived = [0];
        nix::unistd::read(&seen_read, &mut arrived).unwrap();
        nix::unistd::write(&report, &[u8::from(Path::new("/data/in/mark").exists()), arrived[0]]).unwrap();
    });
    nix::unistd::read(&report_read, &mut result).unwrap();
    rvol_runc::sys::pidfd::wait(std::os::fd::AsFd::as_fd(&helper)).unwrap();
    (result[0] == 1, result[1] == 1)
}

fn shared_receives(host: &Host) {
    assert_eq!(passes(host, recursive(PropagationKind::Shared)), (true, false));
}

fn slave_one_way(host: &Host) {
    assert_eq!(passes(host, recursive(PropagationKind::Slave)), (true, false));
}

fn private_no_way(host: &Host) {
    assert_eq!(passes(host, RPRIVATE), (false, false));
}

fn submounts_do_not_leak(host: &Host) {
    host.mkdir("vol/sub");
    host.mount_tmpfs("vol/sub");
    host.mkdir("vol/sub/point");
    host.remount("vol/sub", MsFlags::MS_SHARED);
    let private = Propagation { kind: PropagationKind::Private, recursive: false };
    host.run(vec![bind_as(&host.path("vol"), "/data", |b| b.propagation = private)], || {
        mount_mark(Path::new("/data/sub/point"));
    });
    assert!(!host.path("vol/sub/point/mark").exists());
}

fn unbindable_source(host: &Host) {
    host.mkdir("vol");
    host.mount_tmpfs("vol");
    host.remount("vol", MsFlags::MS_UNBINDABLE);
    host.write("vol/file", "text");
    // Init's copy of the mount is a slave, and can be bound.
    host.run(vec![bind(&host.path("vol"), "/data")], || assert_eq!(read_text("/data/file"), "text"));
}

fn destination_root(host: &Host) {
    host.mkdir("other/etc");
    host.write("other/etc/name", "the other root");
    let vol = host.mkdir("vol");
    host.run(vec![bind(&host.path("other"), "/"), bind(&vol, "/etc/vol")], || {
        assert_eq!(read_text("/etc/name"), "the other root");
        assert!(Path::new("/etc/vol").is_dir());
        assert_eq!(mountinfo().lines().count(), 3, "{}", mountinfo());
    });
    // Mount points were made in the new root and not in the one it covers.
    assert!(host.path("other/etc/vol").is_dir() && !host.rootfs("etc/vol").exists());
}

fn destination_root_readonly(host: &Host) {
    host.mkdir("other");
    let root = bind_as(&host.path("other"), "/", |b| b.attr.set = MOUNT_ATTR_RDONLY);
    host.run(vec![root, fs("tmpfs", "/made/late")], || {
        assert!(!writable("/"));
        assert!(writable("/made/late"));
    });
}

fn links_inside(host: &Host) {
    let vol = host.mkdir("vol");
    host.mkdir("rootfs/var");
    host.link("/run", "rootfs/var/run");
    host.link("../../../../../../up", "rootfs/var/up");
    host.link("file-target", "rootfs/var/file");
    host.mkdir("rootfs/real/dir");
    host.link("/real", "rootfs/alias");
    host.link("loop", "rootfs/loop");
    let file = host.write("file", "text");
    let mounts = vec![
        bind(&vol, "/var/run/app"),
        bind(&vol, "/var/up/x"),
        bind(&file, "/var/file"),
        bind(&vol, "/alias/dir"),
        bind(&vol, "/alias/new/../newer"),
    ];
    host.run(mounts, || {
        for path in ["/run/app", "/up/x", "/real/dir", "/real/newer"] {
            mount_line(path);
        }
        assert_eq!(read_text("/var/file-target"), "text");
    });
    let error = host.error(vec![bind(&vol, "/loop/x")]);
    assert!(error.starts_with("mounts[0] /loop/x: ") && error.contains("(ELOOP)"), "{error}");
}

fn errors(host: &Host) {
    let dir = host.mkdir("vol");
    let file = host.write("file", "");
    let shown = host.dir.display().to_string();
    let error = host.error(vec![bind(&host.path("none"), "/data")]);
    assert_eq!(
        error,
        format!(
            "mounts[0] /data: source {shown}/none does not exist: \
             open {shown}/none: no such file or directory (ENOENT)"
        )
    );
    let error = host.error(vec![bind(&host.path("none/of/these"), "/data")]);
    assert!(error.contains(&format!("/none/of/these does not exist: there is no {shown}/none:")), "{error}");
    let error = host.error(vec![bind(&file, "/etc")]);
    assert_eq!(
        error,
        "mounts[0] /etc: the source is a file and not a directory, but the destination is a directory: \
         move_mount: invalid argument (EINVAL)"
    );
    host.write("rootfs/plain", "");
    let error = host.error(vec![bind(&dir, "/plain")]);
    assert!(error.contains("the source is a directory, but the destination is a file and not a directory"), "{error}");
    let error = host.error(vec![bind(&dir, "/plain/below")]);
    assert!(error.contains("(ENOTDIR)"), "{error}");
    let readonly = bind_as(&dir, "/data", |b| b.attr.set = MOUNT_ATTR_RDONLY);
    let error = host.error(vec![readonly, bind(&dir, "/data/in/it")]);
    assert_eq!(
        error,
        "mounts[0] /data/in/it: cannot make the mount point on a read-only filesystem: \
         mkdirat /data/in: read-only file system (EROFS)"
    );
    let mut existing = bind(&dir, "/missing");
    existing.target.create = CreateTarget::Nothing;
    assert!(host.error(vec![existing]).contains("openat2 /missing: no such file or directory (ENOENT)"));
}

fn below_a_bind(host: &Host) {
    host.mkdir("vol/sub");
    let file = host.write("file", "text");
    host.run(vec![bind(&host.path("vol"), "/data"), bind(&file, "/data/sub/file")], || {
        assert_eq!(read_text("/data/sub/file"), "text");
    });
    // Made in the volume, where it had to be.
    assert!(host.path("vol/sub/file").is_file());
}

fn many(host: &Host) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 256, hard).unwrap();
    let vol = host.mkdir("vol");
    let mounts: Vec<_> = (0..1300).map(|i| bind(&vol, &format!("/m/{i}"))).collect();
    host.run(mounts, || {
        assert_eq!(mountinfo().lines().filter(|l| l.contains(" /m/")).count(), 1300);
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0, 256);
    });
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0, 256);
    setrlimit(Resource::RLIMIT_NOFILE, 256, 256).unwrap();
    let error = host.error((0..300).map(|i| bind(&vol, &format!("/m/{i}"))).collect());
    assert!(error.contains("the hard limit (RLIMIT_NOFILE) is 256"), "{error}");
    let _ = soft;
}

fn map(recursive: bool) -> MountIdMap {
    let uid = vec![IdRange { container: 0, host: 1000, size: 100 }];
    let gid = vec![IdRange { container: 0, host: 2000, size: 100 }];
    MountIdMap { uid, gid, recursive, of_container: false }
}

fn explicit_idmap(host: &Host) {
    let vol = host.mkdir("vol");
    host.write("vol/file", "");
    let mounts = vec![
        bind_as(&vol, "/mapped", |b| b.idmap = Some(map(false))),
        bind_as(&vol, "/again", |b| b.idmap = Some(map(false))),
        bind(&vol, "/plain"),
        fs_as("tmpfs", "/fresh", |f| f.idmap = Some(map(false))),
    ];
    host.run(mounts, || {
        let owner = |path: &str| std::fs::metadata(path).map(|m| (m.uid(), m.gid())).unwrap();
        assert_eq!(owner("/mapped/file"), (1000, 2000));
        assert_eq!(owner("/again/file"), (1000, 2000));
        assert_eq!(owner("/plain/file"), (0, 0));
        assert_eq!(owner("/fresh"), (1000, 2000));
    });
    let proc = bind_as(Path::new("/proc"), "/proc", |b| b.idmap = Some(map(false)));
    let error = host.error(vec![proc]);
    assert!(error.contains("the filesystem (proc) does not support idmapped mounts: mount_setattr idmap"), "{error}");
}

fn explicit_ridmap(host: &Host) {
    host.mkdir("vol/sub");
    host.mount_tmpfs("vol/sub");
    let vol = host.path("vol");
    let mounts = vec![
        bind_as(&vol, "/top", |b| b.idmap = Some(map(false))),
        bind_as(&vol, "/all", |b| b.idmap = Some(map(true))),
    ];
    host.run(mounts, || {
        assert_eq!(std::fs::metadata("/top/sub").unwrap().uid(), 0);
        assert_eq!(std::fs::metadata("/all/sub").unwrap().uid(), 1000);
    });
}

fn best_effort(host: &Host) {
    use rvol_runc::plan::Requirement;
    let mut remount = op(
        "/tmp",
        CreateTarget::Nothing,
        MountOp::Remount { attr: Default::default(), propagation: Some(RPRIVATE), options: Vec::new() },
    );
    remount.requirement = Requirement::BestEffort("it is only a test");
    let warnings = run(&host.plan(vec![remount]), || {});
    assert_eq!(
        warnings,
        ["mounts[0] /tmp: nothing is mounted there: mount_setattr recursive private: invalid argument (EINVAL) \
          (left out: it is only a test)"]
    );
    // A source that is not there.
    let mut missing = [bind(&host.path("none"), "/data"), bind(&host.mkdir("vol"), "/vol")];
    for mount in &mut missing {
        mount.requirement = Requirement::BestEffort("it is only a test");
    }
    let warnings = run(&host.plan(missing.to_vec()), || {
        assert!(!Path::new("/data").exists());
        mount_line("/vol");
    });
    let path = host.path("none").display().to_string();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("mounts[0] /data: ") && warnings[0].ends_with("(left out: it is only a test)"));
    assert!(warnings[0].contains(&format!("open {path}: no such file or directory (ENOENT)")), "{warnings:?}");
}
