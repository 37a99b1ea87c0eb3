//! Device nodes, links, the console.

use crate::kit::*;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, mknod};
use rvol_runc::plan::Mount;
use rvol_runc::plan::devices::{Device, DeviceKind, MakeDevice};
use rvol_runc::plan::mounts::{CreateTarget, MountOp};
use rvol_runc::sys::mount::MOUNT_ATTR_RDONLY;
use rvol_runc::sys::tty;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

pub const CASES: &[Case] = &[
    ("device_nodes_as_described", nodes),
    ("device_that_exists_is_left_as_it_is", existing),
    ("device_that_is_another_is_an_error", another),
    ("device_bound_from_the_host", bound),
    ("device_bound_where_mknod_is_refused", mknod_refused),
    ("device_links_leave_what_is_there", links),
    ("device_work_stays_in_the_root", dev_is_a_link),
    ("console_is_the_pty", console),
    ("console_on_a_readonly_dev", console_readonly),
    ("console_refuses_traps", console_traps),
];

fn device(path: &str, kind: DeviceKind, number: (u32, u32), mode: u32, owner: (u32, u32)) -> Mount {
    let device =
        Device { kind, major: number.0, minor: number.1, mode, uid: owner.0, gid: owner.1, make: MakeDevice::Mknod };
    op(path, CreateTarget::Nothing, MountOp::Device(device))
}

fn null(path: &str) -> Mount {
    device(path, DeviceKind::Char, (1, 3), 0o666, (0, 0))
}

fn host_node(path: &str, source: &str, number: (u32, u32)) -> Mount {
    let mut mount = device(path, DeviceKind::Char, number, 0o666, (0, 0));
    if let MountOp::Device(device) = &mut mount.op {
        device.make = MakeDevice::Bind(source.into());
    }
    mount.target.create = CreateTarget::File;
    mount
}

fn link(path: &str, text: &str) -> Mount {
    op(path, CreateTarget::Nothing, MountOp::Symlink { text: text.into() })
}

fn assert_node(path: &str, rdev: (u32, u32), mode: u32, owner: (u32, u32)) {
    let meta = std::fs::symlink_metadata(path).unwrap();
    assert_eq!((libc::major(meta.rdev()), libc::minor(meta.rdev())), rdev, "{path}");
    assert_eq!((meta.mode() & 0o7777, (meta.uid(), meta.gid())), (mode, owner), "{path}");
}

fn nodes(host: &Host) {
    let mounts = vec![
        fs_as("tmpfs", "/dev", |f| f.options = vec![value("mode", "755")]),
        null("/dev/null"),
        device("/dev/deep/er/block", DeviceKind::Block, (7, 300), 0o640, (5, 6)),
        device("/elsewhere/fifo", DeviceKind::Fifo, (0, 0), 0o602, (0, 9)),
        device("/dev/full", DeviceKind::Char, (1, 7), 0o777, (0, 0)),
    ];
    // The umask must not matter.
    nix::sys::stat::umask(Mode::from_bits_truncate(0o077));
    host.run(mounts, || {
        assert_node("/dev/null", (1, 3), 0o666, (0, 0));
        assert_node("/dev/deep/er/block", (7, 300), 0o640, (5, 6));
        assert_node("/elsewhere/fifo", (0, 0), 0o602, (0, 9));
        assert_node("/dev/full", (1, 7), 0o777, (0, 0));
        assert!(std::fs::metadata("/elsewhere/fifo").unwrap().file_type().is_fifo());
        assert!(std::fs::metadata("/dev/deep/er/block").unwrap().file_type().is_block_device());
        assert_eq!(std::fs::metadata("/dev/deep").unwrap().mode() & 0o7777, 0o755);
        assert_eq!(nix::sys::stat::umask(Mode::empty()).bits(), 0o077, "the umask comes back");
        std::fs::write("/dev/null", "gone").unwrap();
    });
}

fn existing(host: &Host) {
    let path = host.rootfs("dev/null");
    mknod(&path, SFlag::S_IFCHR, Mode::S_IRUSR, libc::makedev(1, 3)).unwrap();
    let before = path.metadata().unwrap().ino();
    host.run(vec![device("/dev/null", DeviceKind::Char, (1, 3), 0o622, (3, 4))], || {
        assert_node("/dev/null", (1, 3), 0o400, (0, 0));
    });
    assert_eq!(path.metadata().unwrap().ino(), before);
}

fn another(host: &Host) {
    host.write("rootfs/dev/null", "not a device");
    host.link("/dev/null", "rootfs/dev/zero");
    mknod(&host.rootfs("dev/full"), SFlag::S_IFCHR, Mode::S_IRUSR, libc::makedev(1, 9)).unwrap();
    for (path, minor) in [("/dev/null", 3), ("/dev/zero", 5), ("/dev/full", 7)] {
        let error = host.error(vec![device(path, DeviceKind::Char, (1, minor), 0o666, (0, 0))]);
        assert_eq!(error, format!("mounts[0] {path}: a file that is not this device exists already"));
    }
    assert_eq!(std::fs::read_to_string(host.rootfs("dev/null")).unwrap(), "not a device");
}

fn bound(host: &Host) {
    host.run(vec![host_node("/dev/nothing", "/dev/null", (1, 3))], || {
        assert_eq!(std::fs::metadata("/dev/nothing").unwrap().rdev(), libc::makedev(1, 3));
        mount_line("/dev/nothing");
    });
    assert!(host.rootfs("dev/nothing").is_file());
    let error = host.error(vec![host_node("/dev/x", "/dev/null", (1, 5))]);
    assert_eq!(error, "mounts[0] /dev/x: /dev/null on the host is not the Char device 1:5");
    let error = host.error(vec![host_node("/dev/x", "/dev/nonesuch", (1, 5))]);
    assert!(error.contains("source /dev/nonesuch does not exist"), "{error}");
}

fn mknod_refused(host: &Host) {
    let mounts = vec![
        fs("tmpfs", "/dev"),
        null("/dev/null"),
        host_node("/dev/zero", "/dev/zero", (1, 5)),
        device("/dev/fifo", DeviceKind::Fifo, (0, 0), 0o644, (0, 0)),
    ];
    run(&in_user_namespace(host.plan(mounts)), || {
        std::fs::write("/dev/null", "gone").unwrap();
        mount_line("/dev/null");
        mount_line("/dev/zero");
        assert!(std::fs::metadata("/dev/fifo").unwrap().file_type().is_fifo());
    });
    let plan = in_user_namespace(
        host.plan(vec![fs("tmpfs", "/dev"), device("/dev/null", DeviceKind::Char, (1, 5), 0o666, (0, 0))]),
    );
    assert_eq!(
        error(&plan),
        "mounts[0] /dev/null: mknod is not permitted here, and the host's node cannot take its place: \
         /dev/null on the host is not the Char device 1:5"
    );
}

fn links(host: &Host) {
    host.write("rootfs/dev/stdin", "a file");
    host.link("elsewhere", "rootfs/dev/ptmx");
    let mounts =
        vec![link("/dev/fd", "/proc/self/fd"), link("/dev/stdin", "/proc/self/fd/0"), link("/dev/ptmx", "pts/ptmx")];
    host.run(mounts, || {
        assert_eq!(std::fs::read_link("/dev/fd").unwrap(), Path::new("/proc/self/fd"));
        assert_eq!(read_text("/dev/stdin"), "a file");
        assert_eq!(std::fs::read_link("/dev/ptmx").unwrap(), Path::new("elsewhere"));
    });
}

/// CVE-2026-41579: `/dev` of the image is a link to a directory of the host.
fn dev_is_a_link(host: &Host) {
    let decoy = host.mkdir("decoy");
    host.write("decoy/ptmx", "of the host");
    for text in [decoy.display().to_string(), "../../../../../../../decoy".into(), "../decoy".into()] {
        let _ = std::fs::remove_dir(host.rootfs("dev"));
        let _ = std::fs::remove_file(host.rootfs("dev"));
        host.link(&text, "rootfs/dev");
        host.run(vec![null("/dev/null"), link("/dev/ptmx", "pts/ptmx"), link("/dev/fd", "/proc/self/fd")], || {
            assert_node("/dev/null", (1, 3), 0o666, (0, 0));
        });
        assert_eq!(std::fs::read_dir(&decoy).unwrap().count(), 1);
        assert_eq!(std::fs::read_to_string(decoy.join("ptmx")).unwrap(), "of the host");
    }
}

fn with_devpts() -> Vec<Mount> {
    let devpts = fs_as("devpts", "/dev/pts", |f| f.options = vec![value("ptmxmode", "0666")]);
    vec![fs("tmpfs", "/dev"), devpts]
}

fn console(host: &Host) {
    let plan = host.plan(with_devpts());
    run_with(
        &plan,
        |root| {
            let master = root.open_ptmx().unwrap();
            let slave = tty::open_peer(master.as_fd()).unwrap();
            root.bind_console(slave.as_fd()).unwrap();
            std::mem::forget(master);
        },
        || {
            let console = std::fs::metadata("/dev/console").unwrap();
            assert_eq!((libc::major(console.rdev()), libc::minor(console.rdev())), (136, 0));
            assert!(mount_line("/dev/console").contains("- devpts"));
            assert_eq!(console.ino(), std::fs::metadata("/dev/pts/0").unwrap().ino());
        },
    );
    run_with(&host.plan(Vec::new()), |root| assert!(root.open_ptmx().is_err()), || {});
}

/// A `/dev` that is to be read-only has its devices, the console and process.cwd all the same.
fn console_readonly(host: &Host) {
    let readonly = |path: &str| fs_as("tmpfs", path, |f| f.attr.set = MOUNT_ATTR_RDONLY);
    let pts = fs_as("devpts", "/dev/pts", |f| f.options = vec![value("ptmxmode", "0666")]);
    let mut plan = host.plan(vec![readonly("/dev"), pts, null("/dev/null"), readonly("/work"), readonly("/other")]);
    plan.process = Some(process("/work/deep", true));
    for masked in [false, true] {
        if masked {
            plan.masks = vec![op("/dev/null", CreateTarget::Nothing, MountOp::ReadOnly)];
        }
        run_with(
            &plan,
            |root| {
                root.make_cwd(Path::new("/work/deep")).unwrap();
                let master = root.open_ptmx().unwrap();
                root.bind_console(tty::open_peer(master.as_fd()).unwrap().as_fd()).unwrap();
                std::mem::forget(master);
            },
            || {
                assert!(mount_line("/dev/console").contains("- devpts"));
                for dir in ["/dev", "/work", "/work/deep", "/other"] {
                    assert!(!writable(dir), "{dir}");
                }
            },
        );
    }
}

/// CVE-2026-88264 and CVE-2025-52565.
fn console_traps(host: &Host) {
    let decoy = host.write("decoy", "of the host");
    let refused = |plan: &rvol_runc::plan::Plan, text: &str| {
        run_with(
            plan,
            |root| {
                let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
                let master = nix::fcntl::open("/dev/ptmx", flags, Mode::empty()).unwrap();
                let slave = tty::open_peer(master.as_fd()).unwrap();
                let error = root.bind_console(slave.as_fd()).unwrap_err();
                assert!(format!("{error:#}").contains(text), "{error:#}");
            },
            || {},
        );
    };
    host.link(decoy.to_str().unwrap(), "rootfs/dev/console");
    refused(&host.plan(Vec::new()), "/dev/console is neither a file nor a device");
    std::fs::remove_file(host.rootfs("dev/console")).unwrap();
    host.mkdir("rootfs/dev/console");
    refused(&host.plan(Vec::new()), "/dev/console is neither a file nor a device");
    assert_eq!(std::fs::read_to_string(&decoy).unwrap(), "of the host");
    // A directory that only looks like devpts.
    let fake = host.mkdir("fake");
    host.link("/proc/sys/kernel/core_pattern", "fake/ptmx");
    let plan = host.plan(vec![bind(&fake, "/dev/pts")]);
    let opened = |root: &rvol_runc::rootfs::Root| {
        let error = root.open_ptmx().unwrap_err();
        assert_eq!(error.to_string(), "/dev/pts is not a devpts, so there can be no terminal");
    };
    run_with(&plan, opened, || {});
}
