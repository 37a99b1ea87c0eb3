//! The root filesystem itself: its path, the change of the root directory, propagation, read-only, the working directory.

use crate::kit::*;
use nix::mount::{MsFlags, mount};
use rvol_runc::plan::options::{Propagation, PropagationKind};
use rvol_runc::plan::{Plan, RootChange};
use rvol_runc::rootfs::{OpenSources, Prepared, Root};
use rvol_runc::sys::ns::unshare;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub const CASES: &[Case] = &[
    ("root_hides_the_host", hides_the_host),
    ("root_path_may_be_a_link", path_is_a_link),
    ("root_path_errors", path_errors),
    ("root_path_slash", path_slash),
    ("root_readonly", readonly),
    ("root_readonly_with_fake_proc", readonly_with_fake_proc),
    ("root_takes_its_submounts", submounts),
    ("root_propagation_shared", propagation_shared),
    ("root_propagation_slave", propagation_slave),
    ("root_propagation_private", propagation_private),
    ("root_propagation_unbindable", propagation_unbindable),
    ("root_propagation_recursive", propagation_recursive),
    ("root_never_reaches_the_host", host_untouched_when_shared),
    ("root_no_pivot", no_pivot),
    ("root_no_pivot_leaves_no_procfs_behind", no_pivot_procfs),
    ("root_in_a_joined_mount_namespace", joined),
    ("root_cwd_is_made", cwd),
];

fn names(dir: &str) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn hides_the_host(host: &Host) {
    let dir = host.dir.clone();
    host.run(Vec::new(), || {
        assert_eq!(names("/"), ["dev", "etc", "proc", "sys", "tmp"]);
        assert_eq!(mountinfo().lines().count(), 2);
        assert!(!dir.exists());
        assert_eq!(std::env::current_dir().unwrap(), Path::new("/"));
        // No way up.
        assert_eq!(names("/../../.."), ["dev", "etc", "proc", "sys", "tmp"]);
    });
}

fn path_is_a_link(host: &Host) {
    host.link("rootfs", "alias");
    host.link(".", "self");
    let mut plan = host.plan(Vec::new());
    for path in ["alias", "self/self/alias", "rootfs/", "rootfs/../alias"] {
        plan.rootfs.path = host.path(path);
        run(&plan, || assert_eq!(names("/").len(), 5));
    }
}

fn path_errors(host: &Host) {
    let mut plan = host.plan(Vec::new());
    plan.rootfs.path = host.write("file", "");
    assert_eq!(error(&plan), format!("root.path {}/file: not a directory", host.dir.display()));
    plan.rootfs.path = host.path("none");
    let shown = plan.rootfs.path.display().to_string();
    assert_eq!(
        error(&plan),
        format!("root.path {shown} does not exist: open {shown}: no such file or directory (ENOENT)")
    );
}

fn path_slash(host: &Host) {
    let mut plan = host.plan(vec![fs("tmpfs", "/mnt")]);
    plan.rootfs.path = PathBuf::from("/");
    let inside = host.dir.clone();
    run(&plan, || {
        assert!(inside.join("rootfs").is_dir(), "the host's mounts are part of this root");
        assert!(mount_line("/mnt").contains("tmpfs"));
        assert_eq!(names("/mnt").len(), 0);
    });
}

fn readonly(host: &Host) {
    let vol = host.mkdir("vol");
    let mut plan = host.plan(vec![bind(&vol, "/new/mount/point"), fs("tmpfs", "/tmp")]);
    plan.rootfs.readonly = true;
    run(&plan, || {
        assert!(!writable("/"));
        assert!(!writable("/new"));
        assert!(writable("/new/mount/point") && writable("/tmp"));
    });
    for change in [RootChange::MoveMount, RootChange::Chroot] {
        plan.root_change = change;
        run(&plan, || assert!(!writable("/") && writable("/tmp")));
    }
}

/// CVE-2026-115521: nothing goes through the container's own `/proc`.
fn readonly_with_fake_proc(host: &Host) {
    host.mkdir("rootfs/fake/self/fd");
    host.link("/tmp", "rootfs/fake/self/fd/3");
    let mut plan = host.plan(vec![bind(&host.rootfs("fake"), "/data")]);
    plan.mounts.retain(|m| m.target.path != Path::new("/proc"));
    std::fs::remove_dir(host.rootfs("proc")).unwrap();
    host.link("fake", "rootfs/proc");
    plan.rootfs.readonly = true;
    run(&plan, || assert!(!writable("/") && !writable("/tmp")));
}

fn submounts(host: &Host) {
    host.mkdir("rootfs/below");
    host.mount_tmpfs("rootfs/below");
    host.write("rootfs/below/file", "text");
    host.run(Vec::new(), || assert_eq!(read_text("/below/file"), "text"));
}

fn with_propagation(host: &Host, kind: PropagationKind, recursive: bool) -> Plan {
    host.remount("/", MsFlags::MS_SHARED | MsFlags::MS_REC);
    let mut plan = host.plan(vec![fs("tmpfs", "/tmp")]);
    plan.rootfs.propagation = Some(Propagation { kind, recursive });
    plan
}

/// As runtime-tools looks at it: the root is bound to a directory, then something is mounted, and seen there or not.
fn exposes() -> bool {
    for dir in ["/target", "/mount", "/test"] {
        std::fs::create_dir(dir).unwrap();
    }
    std::fs::write("/test/file", "").unwrap();
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some("/"), "/target", None::<&str>, bind, None::<&str>).unwrap();
    mount(Some("/test"), "/mount", None::<&str>, bind, None::<&str>).unwrap();
    Path::new("/target/mount/file").exists()
}

fn propagation_shared(host: &Host) {
    let before = {
        let plan = with_propagation(host, PropagationKind::Shared, false);
        let before = mountinfo();
        run(&plan, || {
            assert!(mount_line("/").contains(" shared:") && !mount_line("/").contains(" master:"));
            assert!(!mount_line("/tmp").contains(" shared:"));
            assert!(exposes());
        });
        before
    };
    assert_eq!(mountinfo(), before, "a peer group of the container's own");
}

fn propagation_slave(host: &Host) {
    let plan = with_propagation(host, PropagationKind::Slave, false);
    run(&plan, || {
        assert!(mount_line("/").contains(" master:") && !mount_line("/").contains(" shared:"));
        assert!(!exposes());
    });
}

fn propagation_private(host: &Host) {
    let plan = with_propagation(host, PropagationKind::Private, false);
    run(&plan, || {
        assert!(!mount_line("/").contains("master:") && !mount_line("/").contains("shared:"));
        assert!(!exposes());
    });
}

fn propagation_unbindable(host: &Host) {
    let mut plan = with_propagation(host, PropagationKind::Unbindable, false);
    plan.masks = vec![op("/etc", rvol_runc::plan::CreateTarget::Nothing, rvol_runc::plan::MountOp::ReadOnly)];
    run(&plan, || {
        assert!(mount_line("/").contains(" unbindable "));
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        let refused = mount(Some("/"), "/tmp", None::<&str>, bind, None::<&str>);
        assert_eq!(refused, Err(nix::errno::Errno::EINVAL));
        assert!(!writable("/etc"));
    });
}

fn propagation_recursive(host: &Host) {
    let plan = with_propagation(host, PropagationKind::Shared, true);
    run(&plan, || assert!(mount_line("/tmp").contains(" shared:")));
}

fn host_untouched_when_shared(host: &Host) {
    host.mkdir("rootfs/below");
    host.mount_tmpfs("rootfs/below");
    host.remount("/", MsFlags::MS_SHARED | MsFlags::MS_REC);
    let before = mountinfo();
    let mut plan = host.plan(vec![fs("tmpfs", "/below/x"), fs("tmpfs", "/tmp"), fs("tmpfs", "/")]);
    let kinds =
        [PropagationKind::Shared, PropagationKind::Slave, PropagationKind::Private, PropagationKind::Unbindable];
    for kind in kinds {
        for change in [RootChange::PivotRoot, RootChange::MoveMount] {
            plan.rootfs.propagation = Some(Propagation { kind, recursive: kind == PropagationKind::Shared });
            plan.root_change = change;
            run(&plan, || {
                let _ = std::fs::create_dir("/more");
                mount(Some("t"), "/more", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
            });
            assert_eq!(mountinfo(), before, "{kind:?} {change:?}");
        }
    }
    plan.rootfs.propagation = None;
    run(&plan, || {});
    assert_eq!(mountinfo(), before);
}

fn no_pivot(host: &Host) {
    let mut plan = host.plan(vec![fs("tmpfs", "/tmp")]);
    plan.root_change = RootChange::MoveMount;
    let dir = host.dir.clone();
    run(&plan, || {
        assert_eq!(names("/"), ["dev", "etc", "proc", "sys", "tmp"]);
        assert!(!dir.exists());
        assert!(mount_line("/tmp").contains("- tmpfs"));
    });
}

fn no_pivot_procfs(host: &Host) {
    let mut plan = host.plan(Vec::new());
    plan.root_change = RootChange::MoveMount;
    let elsewhere = host.mkdir("a procfs");
    mount(Some("proc"), &elsewhere, Some("proc"), MsFlags::empty(), None::<&str>).unwrap();
    // The kernel gives a user namespace below ours a new procfs if any whole one is in the mount namespace, whether it
    // can be reached or not. Ours is covered.
    let mounting = || {
        mount(Some("t"), "/proc/driver", Some("tmpfs"), MsFlags::MS_RDONLY, None::<&str>).unwrap();
        let spaces = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID;
        let status = in_child(spaces as u64, || {
            let made = mount(Some("p"), "/tmp", Some("proc"), MsFlags::empty(), None::<&str>);
            assert_eq!(made, Err(nix::errno::Errno::EPERM));
        });
        assert_eq!(status, 0);
    };
    run(&plan, mounting);
    // Locked mounts, which cannot be taken away.
    let mut plan = in_user_namespace(plan);
    run(&plan, mounting);
    // And where the root filesystem could only be attached to the top.
    plan.rootfs.path = host.mkdir("closed").join("rootfs");
    std::fs::rename(host.path("rootfs"), &plan.rootfs.path).unwrap();
    std::fs::set_permissions(host.path("closed"), std::fs::Permissions::from_mode(0o700)).unwrap();
    run(&plan, mounting);
}

/// The sources are the runtime's; what is attached is attached in the namespace that was joined.
fn joined(host: &Host) {
    let vol = host.mkdir("vol");
    host.write("vol/file", "text");
    let plan = host.plan(vec![bind(&vol, "/data")]);
    for other in [host.dir.clone(), host.path("none of it")] {
        let _ = std::fs::create_dir(&other);
        let before = mountinfo();
        let status = in_child(0, || {
            let prepared = Prepared::cloned(&plan, OpenSources::new(), &mut |text| panic!("{text}")).unwrap();
            unshare(libc::CLONE_NEWNS as u64).unwrap();
            if other != host.dir {
                // A namespace in which the root filesystem has no path.
                nix::mount::umount2(&host.dir, nix::mount::MntFlags::MNT_DETACH).unwrap();
            }
            let mut root = Root::enter(&plan, prepared).unwrap();
            root.mount_all(&plan, &mut |warning| panic!("{warning}")).unwrap();
            root.pivot(&plan).unwrap();
            assert_eq!(read_text("/data/file"), "text");
        });
        assert_eq!(status, 0);
        assert_eq!(mountinfo(), before);
    }
}

fn cwd(host: &Host) {
    let decoy = host.mkdir("decoy");
    host.link(decoy.to_str().unwrap(), "rootfs/out");
    let plan = host.plan(Vec::new());
    run_with(
        &plan,
        |root| {
            root.make_cwd(Path::new("/work/deep")).unwrap();
            root.make_cwd(Path::new("/etc")).unwrap();
            root.make_cwd(Path::new("/out/in")).unwrap();
        },
        || assert!(Path::new("/work/deep").is_dir()),
    );
    assert_eq!(std::fs::read_dir(&decoy).unwrap().count(), 0);
    // Preparing alone leaves nothing, not even an open mount.
    let before = mountinfo();
    drop(Prepared::cloned(&plan, OpenSources::new(), &mut |text| panic!("{text}")).unwrap());
    assert_eq!(mountinfo(), before);
}
