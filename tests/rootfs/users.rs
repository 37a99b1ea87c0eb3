//! User namespaces: privileged runtimes with unprivileged containers, and runtimes that have no privilege themselves.

use crate::kit::*;
use nix::mount::MsFlags;
use rvol_runc::plan::Plan;
use rvol_runc::plan::mounts::MountIdMap;
use rvol_runc::plan::namespaces::{IdMap, IdMapWriter, IdRange, Namespace};
use rvol_runc::plan::options::{Propagation, PropagationKind};
use rvol_runc::sys::mount::{
    MOUNT_ATTR_ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_RDONLY,
};
use rvol_runc::sys::process;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

pub const CASES: &[Case] = &[
    ("user_readonly_over_locked_flags", locked_flags),
    ("user_clears_flags_with_privilege", clears_with_privilege),
    ("user_idmap_of_the_container", idmap_of_container),
    ("user_root_behind_a_closed_directory", closed_directory),
    ("user_sources_behind_a_closed_directory", closed_source),
    ("rootless_binds_and_filesystems", rootless),
    ("rootless_locked_flags_are_named", rootless_locked),
    ("rootless_slave_source", rootless_slave),
    ("rootless_errors", rootless_errors),
];

fn locked_source(host: &Host) -> std::path::PathBuf {
    let vol = host.mkdir("vol");
    host.mount_tmpfs("vol");
    host.write("vol/file", "text");
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
    host.remount("vol", MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags);
    vol
}

/// runc's perennial EPERM: adding a flag to a source that has locked ones.
fn locked_flags(host: &Host) {
    let vol = locked_source(host);
    let mounts = vec![bind_as(&vol, "/data", |b| b.attr.set = MOUNT_ATTR_RDONLY), bind(&vol, "/plain")];
    run(&in_user_namespace(host.plan(mounts)), || {
        assert_eq!(read_text("/data/file"), "text");
        assert!(mount_line("/data").contains("ro,nosuid,nodev,noexec,noatime"));
        assert!(mount_line("/plain").contains("ro,nosuid,nodev,noexec,noatime"));
    });
}

fn clears_with_privilege(host: &Host) {
    let vol = locked_source(host);
    let cleared = bind_as(&vol, "/data", |b| b.attr.clear = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV);
    run(&in_user_namespace(host.plan(vec![cleared])), || {
        assert!(mount_line("/data").contains("rw,nosuid,noexec"), "{}", mount_line("/data"));
    });
}

fn idmap_of_container(host: &Host) {
    let vol = host.mkdir("vol");
    host.write("vol/file", "");
    let map = MountIdMap { uid: Vec::new(), gid: Vec::new(), recursive: false, of_container: true };
    let mounts = vec![bind_as(&vol, "/mapped", |b| b.idmap = Some(map)), bind(&vol, "/plain")];
    run(&in_user_namespace(host.plan(mounts)), || {
        let owner = |path: &str| std::fs::metadata(path).unwrap().uid();
        assert_eq!(owner("/mapped/file"), 0);
        assert_eq!(owner("/plain/file"), 65534);
        std::fs::write("/mapped/new", "").unwrap();
        assert!(std::fs::write("/plain/new", "").is_err());
    });
    assert_eq!(vol.join("new").metadata().unwrap().uid(), 0);
}

fn close(host: &Host, name: &str) {
    std::fs::set_permissions(host.path(name), std::fs::Permissions::from_mode(0o700)).unwrap();
}

fn closed_directory(host: &Host) {
    host.mkdir("closed");
    let mut plan = in_user_namespace(host.plan(vec![fs("tmpfs", "/tmp")]));
    std::fs::rename(host.path("rootfs"), host.path("closed/rootfs")).unwrap();
    close(host, "closed");
    plan.rootfs.path = host.path("closed/rootfs");
    for change in [rvol_runc::plan::RootChange::PivotRoot, rvol_runc::plan::RootChange::MoveMount] {
        plan.root_change = change;
        run(&plan, || {
            assert!(mount_line("/tmp").contains("tmpfs"));
            assert!(std::path::Path::new("/proc/self/status").exists());
        });
    }
}

fn closed_source(host: &Host) {
    host.mkdir("closed/vol");
    host.write("closed/vol/file", "text");
    close(host, "closed");
    let plan = in_user_namespace(host.plan(vec![bind(&host.path("closed/vol"), "/data")]));
    run(&plan, || assert_eq!(read_text("/data/file"), "text"));
}

/// Runs as an unprivileged user of the machine, with everything below the case's directory its own.
fn as_user(host: &Host, body: impl FnOnce()) {
    own(&host.dir);
    let status = in_child(0, || {
        nix::unistd::setgroups(&[]).unwrap();
        nix::unistd::setresgid(1000.into(), 1000.into(), 1000.into()).unwrap();
        nix::unistd::setresuid(1000.into(), 1000.into(), 1000.into()).unwrap();
        // As after a start from a shell: /proc/self is the user's own.
        process::set_dumpable(true).unwrap();
        body();
    });
    assert_eq!(status, 0);
}

fn own(path: &std::path::Path) {
    // What is mounted read-only stays root's.
    let _ = std::os::unix::fs::lchown(path, Some(1000), Some(1000));
    if path.is_dir() && !path.is_symlink() {
        std::fs::read_dir(path).unwrap().for_each(|entry| own(&entry.unwrap().path()));
    }
}

/// The mapping that a user can write alone: root inside is the user outside.
fn rootless_plan(mut plan: Plan) -> Plan {
    let range = vec![IdRange { container: 0, host: 1000, size: 1 }];
    plan.namespaces.user = Namespace::New;
    plan.namespaces.network = Namespace::New;
    plan.namespaces.id_map = Some(IdMap { uid: range.clone(), gid: range, writer: IdMapWriter::Runtime });
    plan
}

fn rootless(host: &Host) {
    host.mkdir("vol/sub");
    let file = host.write("vol/file", "text");
    let vol = host.path("vol");
    let mut plan = rootless_plan(host.plan(vec![
        fs("proc", "/proc"),
        fs_as("tmpfs", "/dev", |f| f.options = vec![value("mode", "755")]),
        bind(&vol, "/data"),
        bind_as(&file, "/etc/file", |b| b.attr.set = MOUNT_ATTR_RDONLY),
        bind(std::path::Path::new("/dev/null"), "/dev/null"),
        fs("sysfs", "/sys"),
    ]));
    plan.rootfs.readonly = true;
    plan.masks = vec![op("/proc/keys", rvol_runc::plan::CreateTarget::Nothing, rvol_runc::plan::MountOp::Mask)];
    as_user(host, || {
        run(&plan, || {
            std::fs::write("/data/new", "by root inside").unwrap();
            assert!(std::fs::write("/etc/file", "").is_err());
            assert!(!writable("/"));
            std::fs::write("/dev/null", "gone").unwrap();
            assert_eq!(read_text("/proc/keys"), "");
            assert_eq!(std::fs::metadata("/data/new").unwrap().uid(), 0);
        });
    });
    assert_eq!(vol.join("new").metadata().unwrap().uid(), 1000);
}

fn rootless_locked(host: &Host) {
    let vol = locked_source(host);
    let with = |set: u64, clear: u64| {
        rootless_plan(host.plan(vec![bind_as(&vol, "/data", |b| {
            b.attr.set = set;
            b.attr.clear = clear;
        })]))
    };
    as_user(host, || {
        run(&with(MOUNT_ATTR_RDONLY, 0), || assert_eq!(read_text("/data/file"), "text"));
        // What is locked stays, with a warning; what is asked for besides is there.
        let warnings = run(&with(MOUNT_ATTR_NOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV), || {
            assert!(mount_line("/data").contains("ro,nosuid,nodev,noexec"), "{}", mount_line("/data"));
        });
        assert!(
            warnings.len() == 1 && warnings[0].starts_with(
                "mounts[0] /data: the source is mounted ro,nodev, which is locked in this user namespace: mount_setattr"
            ) && warnings[0].ends_with("; it stays so"),
            "{warnings:?}"
        );
        assert!(error(&with(0, MOUNT_ATTR_ATIME)).contains("access-time option is locked"));
        run(&with(MOUNT_ATTR_NOATIME, MOUNT_ATTR_ATIME), || {});
    });
}

fn rootless_slave(host: &Host) {
    let vol = host.mkdir("vol");
    host.mount_tmpfs("vol");
    host.remount("vol", MsFlags::MS_SHARED);
    let slave = Propagation { kind: PropagationKind::Slave, recursive: true };
    let plan = rootless_plan(host.plan(vec![bind_as(&vol, "/data", |b| b.propagation = slave)]));
    as_user(host, || {
        run(&plan, || assert!(mount_line("/data").contains(" master:"), "{}", mount_line("/data")));
    });
}

fn rootless_errors(host: &Host) {
    host.mkdir("closed/vol");
    let closed = host.path("closed/vol");
    let missing = rootless_plan(host.plan(vec![bind(&host.path("none"), "/data")]));
    let hidden = rootless_plan(host.plan(vec![bind(&closed, "/data")]));
    let map = MountIdMap { uid: Vec::new(), gid: Vec::new(), recursive: false, of_container: true };
    let mapped = rootless_plan(host.plan(vec![bind_as(&host.path("rootfs"), "/data", |b| b.idmap = Some(map))]));
    let shown = host.dir.display().to_string();
    as_user(host, || {
        assert!(error(&missing).starts_with(&format!("mounts[0] /data: source {shown}/none does not exist: ")));
        assert!(error(&mapped).contains("an idmapped mount needs CAP_SYS_ADMIN"));
        std::fs::set_permissions(closed.parent().unwrap(), std::fs::Permissions::from_mode(0o000)).unwrap();
    });
    own(&closed);
    nix::unistd::chown(closed.parent().unwrap(), Some(0.into()), Some(0.into())).unwrap();
    let status = in_child(0, || {
        nix::unistd::setresgid(1000.into(), 1000.into(), 1000.into()).unwrap();
        nix::unistd::setresuid(1000.into(), 1000.into(), 1000.into()).unwrap();
        process::set_dumpable(true).unwrap();
        let error = error(&hidden);
        assert!(
            error.contains(&format!("source {shown}/closed/vol: no permission to search {shown}/closed: ")),
            "{error}"
        );
    });
    assert_eq!(status, 0);
}
