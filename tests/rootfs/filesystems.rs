//! New filesystems: parameters, the kernel's messages, proc and sysfs, read-only ones, remounts, tmpcopyup, overlay.

use crate::kit::*;
use rvol_runc::plan::mounts::{CreateTarget, FsOption, MountOp, Requirement};
use rvol_runc::plan::namespaces::Namespace;
use rvol_runc::plan::options::{Attr, Propagation, PropagationKind};
use rvol_runc::sys::mount::{
    MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY,
};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

pub const CASES: &[Case] = &[
    ("fs_parameters_and_attributes", parameters),
    ("fs_errors_have_the_kernels_words", kernel_words),
    ("fs_of_every_usual_kind", usual_kinds),
    ("fs_propagation_shared", shared),
    ("fs_proc_needs_an_ordinary_directory", ordinary_directory),
    ("fs_proc_is_guarded", proc_is_guarded),
    ("fs_readonly_tmpfs_takes_later_mounts", readonly_tmpfs),
    ("fs_tmpfs_has_the_mode_of_its_target", tmpfs_mode),
    ("fs_tmpfs_on_root", tmpfs_on_root),
    ("fs_superblock_options", superblock_options),
    ("fs_overlay_with_long_options", overlay_long),
    ("fs_remount", remount),
    ("fs_remount_wins_over_late_readonly", remount_after_readonly),
    ("fs_label_without_selinux", label),
    ("fs_tmpcopyup", copy_up),
    ("fs_tmpcopyup_with_given_mode", copy_up_given_mode),
    ("fs_in_a_user_namespace", in_user_namespace_all),
    ("fs_sysfs_of_the_host_as_a_way_out", host_sysfs),
    ("fs_proc_too_revealing", too_revealing),
];

fn flag(name: &str) -> FsOption {
    FsOption::Flag(name.into())
}

fn parameters(host: &Host) {
    let tmpfs = fs_as("tmpfs", "/run/x", |f| {
        f.source = Some("shm".into());
        f.options = vec![value("size", "64k"), value("mode", "1770"), value("uid", "5"), value("nr_inodes", "10")];
        f.attr.set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME;
        f.attr.recursive_set = MOUNT_ATTR_NOEXEC;
    });
    host.run(vec![tmpfs], || {
        let line = mount_line("/run/x");
        assert!(line.contains("rw,nosuid,nodev,noexec,noatime"), "{line}");
        assert!(line.contains("- tmpfs shm rw,size=64k,nr_inodes=10,mode=1770,uid=5"), "{line}");
    });
}

fn kernel_words(host: &Host) {
    let with = |fstype: &str, option: FsOption| fs_as(fstype, "/tmp", |f| f.options = vec![option]);
    assert_eq!(
        host.error(vec![with("tmpfs", value("size", "banana"))]),
        "mounts[0] /tmp: fsconfig size=banana: tmpfs: Bad value for 'size' (EINVAL)"
    );
    assert_eq!(
        host.error(vec![with("tmpfs", flag("whatever"))]),
        "mounts[0] /tmp: fsconfig whatever: tmpfs: Unknown parameter 'whatever' (EINVAL)"
    );
    assert_eq!(
        host.error(vec![fs("nosuchfs", "/tmp")]),
        "mounts[0] /tmp: the kernel has no filesystem type \"nosuchfs\": fsopen nosuchfs: no such device (ENODEV)"
    );
    assert_eq!(
        host.error(vec![fs("none", "/tmp")]),
        "mounts[0] /tmp: no filesystem type; a bind mount needs the option bind: fsopen none: no such device (ENODEV)"
    );
    host.write("rootfs/file", "");
    let error = host.error(vec![fs("tmpfs", "/file")]);
    assert!(error.contains("the source is a directory, but the destination is a file"), "{error}");
    // A block device that is none.
    let error = host.error(vec![fs_as("ext4", "/tmp", |f| f.source = Some("/dev/null".into()))]);
    assert!(error.starts_with("mounts[0] /tmp: fsconfig create ext4: "), "{error}");
}

fn usual_kinds(host: &Host) {
    let mut plan = host.plan(vec![
        fs("proc", "/proc"),
        fs_as("tmpfs", "/dev", |f| {
            f.options = vec![value("mode", "755"), value("size", "65536k")];
            f.attr.set = MOUNT_ATTR_NOSUID;
        }),
        fs_as("devpts", "/dev/pts", |f| {
            f.options = vec![flag("newinstance"), value("ptmxmode", "0666"), value("mode", "0620"), value("gid", "5")];
        }),
        fs_as("tmpfs", "/dev/shm", |f| f.options = vec![value("mode", "1777")]),
        fs("mqueue", "/dev/mqueue"),
        fs_as("sysfs", "/sys", |f| f.attr.set = MOUNT_ATTR_RDONLY),
    ]);
    plan.namespaces.network = Namespace::New;
    run(&plan, || {
        for (path, kind) in [("/proc", "proc"), ("/dev/pts", "devpts"), ("/dev/mqueue", "mqueue"), ("/sys", "sysfs")] {
            assert!(mount_line(path).contains(&format!("- {kind} {kind}")), "{path}");
        }
        assert_eq!(std::fs::metadata("/dev/pts/ptmx").unwrap().mode() & 0o777, 0o666);
        assert_eq!(std::fs::metadata("/dev/shm").unwrap().mode() & 0o7777, 0o1777);
        assert!(Path::new("/proc/1/status").exists() && !Path::new("/proc/2").exists());
        assert!(!writable("/sys/kernel"));
    });
}

fn shared(host: &Host) {
    let propagation = Propagation { kind: PropagationKind::Shared, recursive: false };
    host.run(vec![fs_as("tmpfs", "/tmp", |f| f.propagation = propagation)], || {
        assert!(mount_line("/tmp").contains(" shared:"));
        assert!(!mount_line("/").contains(" shared:"));
    });
}

fn ordinary_directory(host: &Host) {
    host.mkdir("rootfs/evil");
    for (fstype, name) in [("proc", "proc"), ("sysfs", "sys")] {
        std::fs::remove_dir(host.rootfs(name)).unwrap();
        host.link("/evil", &format!("rootfs/{name}"));
        let error = host.error(vec![fs(fstype, &format!("/{name}"))]);
        let text = format!("mounts[0] /{name}: filesystem {fstype:?} must be mounted on ordinary directory");
        assert!(error.starts_with(&text), "{error}");
        std::fs::remove_file(host.rootfs(name)).unwrap();
    }
    // A file, and a link further up.
    host.write("rootfs/proc", "");
    assert!(host.error(vec![fs("proc", "/proc")]).contains("must be mounted on ordinary directory"));
    host.link("evil", "rootfs/also");
    assert!(host.error(vec![fs("sysfs", "/also/sys")]).contains("must be mounted on ordinary directory"));
    assert_eq!(std::fs::read_dir(host.rootfs("evil")).unwrap().count(), 0);
}

fn proc_is_guarded(host: &Host) {
    let vol = host.mkdir("vol");
    let file = host.write("file", "fake");
    for mount in [fs("tmpfs", "/proc"), bind(&vol, "/proc")] {
        let error = host.error(vec![mount]);
        assert_eq!(
            error,
            "mounts[0] /proc: \"/proc\" cannot be mounted because it is not of type proc, or not the root of a procfs"
        );
    }
    let inside = |path: &str, error: String| {
        assert_eq!(error, format!("mounts[0] {path}: {path:?} cannot be mounted because it is inside /proc"));
    };
    inside("/proc/self/attr", host.error(vec![fs("proc", "/proc"), bind(&vol, "/proc/self/attr")]));
    inside("/proc/new", host.error(vec![bind(&vol, "/proc/new")]));
    host.link("/proc/sys", "rootfs/alias");
    inside("/alias", host.error(vec![fs("proc", "/proc"), bind(&vol, "/alias")]));
    host.run(vec![fs("proc", "/proc"), bind(&file, "/proc/uptime")], || assert_eq!(read_text("/proc/uptime"), "fake"));
    // The host's has a process that the container's own would not have.
    let outside = format!("/proc/{}", std::process::id());
    host.run(vec![bind(Path::new("/proc"), "/proc")], || assert!(Path::new(&outside).exists()));
}

fn readonly_tmpfs(host: &Host) {
    let vol = host.mkdir("vol");
    let readonly = |path: &str| fs_as("tmpfs", path, |f| f.attr.set = MOUNT_ATTR_RDONLY);
    host.run(vec![readonly("/tmp"), bind(&vol, "/tmp/a/b"), readonly("/tmp/a/c")], || {
        assert!(!writable("/tmp"));
        assert!(writable("/tmp/a/b"));
        assert!(!writable("/tmp/a/c"));
    });
}

fn tmpfs_mode(host: &Host) {
    std::fs::set_permissions(host.rootfs("tmp"), std::fs::Permissions::from_mode(0o1711)).unwrap();
    host.run(vec![fs("tmpfs", "/tmp"), fs("tmpfs", "/new")], || {
        assert_eq!(std::fs::metadata("/tmp").unwrap().mode() & 0o7777, 0o1711);
        assert_eq!(std::fs::metadata("/new").unwrap().mode() & 0o7777, 0o1777);
    });
}

fn tmpfs_on_root(host: &Host) {
    let vol = host.mkdir("vol");
    let root = fs_as("tmpfs", "/", |f| f.attr.set = MOUNT_ATTR_RDONLY);
    host.run(vec![root, bind(&vol, "/vol")], || {
        assert!(!writable("/"));
        assert!(writable("/vol"));
        assert!(mount_line("/").contains("- tmpfs tmpfs"));
    });
}

fn superblock_options(host: &Host) {
    let all = ["sync", "dirsync", "lazytime", "silent", "loud", "noiversion", "nomand", "rw"];
    let tmpfs = fs_as("tmpfs", "/a", |f| f.options = all.map(flag).to_vec());
    let iversion = fs_as("tmpfs", "/b", |f| f.options = vec![flag("iversion"), flag("sync"), value("size", "8k")]);
    let readonly = fs_as("tmpfs", "/c", |f| f.options = vec![flag("ro")]);
    host.run(vec![tmpfs, iversion, readonly], || {
        assert!(mount_line("/a").contains("rw,sync,dirsync,lazytime"), "{}", mount_line("/a"));
        assert!(mount_line("/b").contains("rw,sync,size=8k"), "{}", mount_line("/b"));
        assert!(!writable("/c"));
    });
}

fn overlay_long(host: &Host) {
    let lower: Vec<String> = (0..20).map(|i| host.mkdir(&format!("layer-{i:02}")).display().to_string()).collect();
    host.write("layer-19/bottom", "found");
    host.mkdir("upper");
    host.mkdir("work");
    let overlay = |path: &str| {
        fs_as("overlay", path, |f| {
            f.options = vec![
                value("lowerdir", &lower.join(":")),
                value("upperdir", host.path("upper").to_str().unwrap()),
                value("workdir", host.path("work").to_str().unwrap()),
            ];
            f.attr.set = MOUNT_ATTR_NOSUID;
        })
    };
    assert!(lower.join(":").len() > 255);
    let before = std::env::current_dir().unwrap();
    let mut merged = overlay("/merged");
    merged.place = "mounts[7]".into();
    host.run(vec![overlay("/"), fs("tmpfs", "/tmp")], || {
        assert_eq!(read_text("/bottom"), "found");
        assert!(mount_line("/").contains("nosuid") && mountinfo().lines().count() == 3, "{}", mountinfo());
    });
    host.run(vec![merged], || assert_eq!(read_text("/merged/bottom"), "found"));
    assert_eq!(std::env::current_dir().unwrap(), before);
    let broken =
        fs_as("overlay", "/merged", |f| f.options = vec![value("lowerdir", &format!("/none{}", "x".repeat(300)))]);
    let error = host.error(vec![broken]);
    assert!(error.starts_with("mounts[0] /merged: mount overlay with lowerdir=/nonexxx"), "{error}");
}

fn change(path: &str, attr: Attr, propagation: Option<Propagation>, options: Vec<FsOption>) -> rvol_runc::plan::Mount {
    op(path, CreateTarget::Nothing, MountOp::Remount { attr, propagation, options })
}

fn remount(host: &Host) {
    let readonly = Attr { set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC, ..Attr::default() };
    let slave = Some(Propagation { kind: PropagationKind::Shared, recursive: true });
    let mounts = vec![
        fs_as("tmpfs", "/tmp", |f| f.options = vec![value("size", "64k")]),
        change("/tmp", readonly, slave, vec![value("size", "128k")]),
    ];
    host.run(mounts, || {
        let line = mount_line("/tmp");
        assert!(line.contains("ro,noexec,relatime shared:") && line.contains("size=128k"), "{line}");
    });
    let error = host.error(vec![change("/etc", readonly, None, Vec::new())]);
    assert_eq!(error, "mounts[0] /etc: nothing is mounted there: mount_setattr +ro +noexec: invalid argument (EINVAL)");
    let error = host.error(vec![fs("tmpfs", "/tmp"), change("/tmp", readonly, None, vec![value("size", "banana")])]);
    assert_eq!(error, "mounts[0] /tmp: fsconfig size=banana: tmpfs: Bad value for 'size' (EINVAL)");
    let error = host.error(vec![change("/none", readonly, None, Vec::new())]);
    assert_eq!(error, "mounts[0] /none: openat2 /none: no such file or directory (ENOENT)");
    // The root itself.
    host.run(vec![change("/", readonly, None, Vec::new())], || assert!(!writable("/")));
}

fn remount_after_readonly(host: &Host) {
    let mounts = vec![
        fs_as("tmpfs", "/tmp", |f| f.attr.set = MOUNT_ATTR_RDONLY),
        fs("tmpfs", "/tmp/x"),
        change("/tmp", Attr { clear: MOUNT_ATTR_RDONLY, ..Attr::default() }, None, Vec::new()),
    ];
    host.run(mounts, || assert!(writable("/tmp")));
}

/// A label changes nothing where SELinux is off, by either call that makes filesystems.
fn label(host: &Host) {
    if read_text("/proc/filesystems").contains("selinuxfs") {
        return;
    }
    let with = |path: &str, options: Vec<FsOption>| {
        fs_as("tmpfs", path, |f| {
            f.label = Some("system_u:object_r:container_file_t:s0:c1,c2".into());
            f.options = options;
        })
    };
    host.run(vec![with("/a", vec![value("size", "8k")]), with("/b", vec![flag("iversion")])], || {
        assert!(mount_line("/a").contains("size=8k"));
        mount_line("/b");
    });
    // Whoever writes the option itself is told.
    let error = host.error(vec![fs_as("tmpfs", "/a", |f| f.options = vec![value("context", "u:r:t:s0")])]);
    assert!(error.contains("Unknown parameter 'context'"), "{error}");
}

fn copy_up(host: &Host) {
    host.mkdir("rootfs/etc/deep/er");
    host.write("rootfs/etc/deep/er/file", "from the image");
    host.link("deep/er/file", "rootfs/etc/link");
    std::fs::set_permissions(host.rootfs("etc"), std::fs::Permissions::from_mode(0o1750)).unwrap();
    std::os::unix::fs::chown(host.rootfs("etc"), Some(7), Some(8)).unwrap();
    let up = fs_as("tmpfs", "/etc", |f| {
        f.copy_up = true;
        f.attr.set = MOUNT_ATTR_RDONLY;
    });
    let written = fs_as("tmpfs", "/etc/deep/er", |f| f.copy_up = true);
    host.run(vec![up, written], || {
        assert_eq!(read_text("/etc/link"), "from the image");
        let meta = std::fs::metadata("/etc").unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o1750, 7, 8));
        assert!(!writable("/etc") && writable("/etc/deep/er"));
        std::fs::write("/etc/deep/er/file", "changed").unwrap();
    });
    assert_eq!(std::fs::read_to_string(host.rootfs("etc/deep/er/file")).unwrap(), "from the image");
}

fn copy_up_given_mode(host: &Host) {
    host.write("rootfs/etc/file", "x");
    let up = fs_as("tmpfs", "/etc", |f| {
        f.copy_up = true;
        f.options = vec![value("mode", "700")];
        f.attr.set = MOUNT_ATTR_RDONLY;
    });
    host.run(vec![up], || {
        assert_eq!(std::fs::metadata("/etc").unwrap().mode() & 0o7777, 0o700);
        assert!(!writable("/etc"));
    });
}

fn in_user_namespace_all(host: &Host) {
    let plan = host.plan(vec![
        fs("proc", "/proc"),
        fs_as("tmpfs", "/dev", |f| f.options = vec![value("mode", "755")]),
        fs_as("devpts", "/dev/pts", |f| f.options = vec![flag("newinstance"), value("gid", "5")]),
        fs("mqueue", "/dev/mqueue"),
        fs_as("sysfs", "/sys", |f| f.attr.set = MOUNT_ATTR_RDONLY),
    ]);
    run(&in_user_namespace(plan), || {
        assert_eq!(std::fs::metadata("/dev").unwrap().uid(), 0);
        mount_line("/sys");
    });
    let gid = fs_as("devpts", "/tmp", |f| f.options = vec![value("gid", "70000")]);
    let error = error(&in_user_namespace(host.plan(vec![gid])));
    assert!(
        error.contains("an id in the options may have no mapping in the user namespace: fsconfig gid=70000: "),
        "{error}"
    );
}

fn host_sysfs(host: &Host) {
    let mut plan = in_user_namespace(host.plan(vec![fs_as("sysfs", "/sys", |f| f.attr.set = MOUNT_ATTR_RDONLY)]));
    plan.namespaces.network = Namespace::Inherit;
    let refused = error(&plan);
    assert!(refused.contains("needs a network namespace of its own") && refused.contains("(EPERM)"), "{refused}");
    plan.mounts[0].requirement = Requirement::BestEffort("the network namespace is the host's");
    let warnings = run(&plan, || {
        assert!(mount_line("/sys").contains("ro,"));
        assert!(Path::new("/sys/kernel").is_dir());
    });
    assert!(warnings[0].contains("the host's /sys is bound in its place"), "{warnings:?}");
}

fn too_revealing(host: &Host) {
    let none = None::<&str>;
    let covered = Path::new("/proc/driver");
    nix::mount::mount(Some("t"), covered, Some("tmpfs"), nix::mount::MsFlags::MS_RDONLY, none).unwrap();
    let error = error(&in_user_namespace(host.plan(vec![fs("proc", "/proc")])));
    assert!(error.contains("covered are /proc/driver: fsmount proc: "), "{error}");
}
