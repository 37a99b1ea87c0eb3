//! Masked and read-only paths.

use crate::kit::*;
use rvol_runc::plan::Mount;
use rvol_runc::plan::mounts::{CreateTarget, MountOp};
use rvol_runc::sys::mount::MOUNT_ATTR_NOSUID;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub const CASES: &[Case] = &[
    ("mask_hides_directories_and_files", hides),
    ("mask_skips_what_is_missing", missing),
    ("mask_of_procfs_files", of_procfs),
    ("mask_uses_the_real_null_device", real_null),
    ("mask_through_links_stays_inside", through_links),
    ("mask_in_a_user_namespace", user_namespace),
    ("readonly_paths", readonly),
    ("readonly_keeps_other_flags", readonly_keeps),
    ("readonly_root_path", readonly_root),
    ("mask_among_the_mounts", among_the_mounts),
];

fn mask(path: &str) -> Mount {
    op(path, CreateTarget::Nothing, MountOp::Mask)
}

fn readonly_path(path: &str) -> Mount {
    op(path, CreateTarget::Nothing, MountOp::ReadOnly)
}

fn run_masked(host: &Host, mounts: Vec<Mount>, masks: Vec<Mount>, inside: impl FnOnce()) {
    let mut plan = host.plan(mounts);
    plan.masks = masks;
    run(&plan, inside);
}

fn hides(host: &Host) {
    for dir in ["a", "b", "c"] {
        host.mkdir(&format!("rootfs/secret/{dir}"));
        host.write(&format!("rootfs/secret/{dir}/file"), "secret");
    }
    host.write("rootfs/key", "secret");
    host.write("rootfs/key2", "secret");
    let masks = ["/secret/a", "/secret/b", "/key", "/key2", "/secret/b"].map(mask).to_vec();
    run_masked(host, Vec::new(), masks, || {
        for dir in ["/secret/a", "/secret/b"] {
            assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
            assert!(!writable(dir));
            let line = mount_line(dir);
            assert!(line.contains("ro,nosuid,nodev,noexec") && line.contains("- tmpfs"), "{line}");
        }
        // One empty directory for all.
        let device = |path: &str| std::fs::metadata(path).unwrap().dev();
        assert_eq!(device("/secret/a"), device("/secret/b"));
        assert_eq!(read_text("/key"), "");
        assert_eq!(std::fs::metadata("/key2").unwrap().rdev(), libc::makedev(1, 3));
        assert_eq!(read_text("/secret/c/file"), "secret");
    });
    assert_eq!(std::fs::read_to_string(host.rootfs("secret/a/file")).unwrap(), "secret");
}

fn missing(host: &Host) {
    host.write("rootfs/file", "");
    let masks = vec![mask("/none"), mask("/file/below"), readonly_path("/none/too"), readonly_path("/file/below")];
    run_masked(host, Vec::new(), masks, || assert_eq!(mountinfo().lines().count(), 2));
    host.link("loop", "rootfs/loop");
    let mut plan = host.plan(Vec::new());
    plan.masks = vec![mask("/loop")];
    assert!(error(&plan).starts_with("mounts[0] /loop: openat2 /loop: "), "any other failure is one");
}

fn of_procfs(host: &Host) {
    let masks = vec![mask("/proc/kcore"), mask("/proc/scsi"), mask("/proc/keys"), readonly_path("/proc/sys")];
    run_masked(host, Vec::new(), masks, || {
        assert_eq!(read_text("/proc/keys"), "");
        assert!(mount_line("/proc/sys").contains("ro,"));
        let written = std::fs::write("/proc/sys/kernel/hostname", "x").unwrap_err();
        assert_eq!(written.raw_os_error(), Some(libc::EROFS));
    });
}

/// CVE-2025-31133: the container's `/dev/null` is a link to what the mask would then show.
fn real_null(host: &Host) {
    let dev = host.mkdir("dev");
    host.link("/proc/sys/kernel/core_pattern", "dev/null");
    host.write("rootfs/key", "secret");
    run_masked(host, vec![bind(&dev, "/dev")], vec![mask("/key")], || {
        assert_eq!(std::fs::metadata("/key").unwrap().rdev(), libc::makedev(1, 3));
    });
    // And a host without a null device is no reason to leave something unmasked.
    let fake = host.write("fake", "");
    nix::mount::mount(Some(&fake), "/dev/null", None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>).unwrap();
    let mut plan = host.plan(Vec::new());
    plan.masks = vec![mask("/key")];
    assert_eq!(error(&plan), "mounts[0] /key: /dev/null of the host is not the null device");
}

fn through_links(host: &Host) {
    let decoy = host.mkdir("decoy");
    host.write("decoy/file", "of the host");
    host.link(decoy.to_str().unwrap(), "rootfs/out");
    host.mkdir("rootfs/real");
    host.link("/real", "rootfs/alias");
    run_masked(host, Vec::new(), vec![mask("/out"), readonly_path("/out"), mask("/alias")], || {
        mount_line("/real");
        assert_eq!(mountinfo().lines().count(), 3);
    });
}

fn user_namespace(host: &Host) {
    host.write("rootfs/key", "secret");
    host.mkdir("rootfs/secret");
    let mut plan = host.plan(Vec::new());
    plan.masks =
        vec![mask("/key"), mask("/secret"), mask("/proc/keys"), readonly_path("/proc/sys"), readonly_path("/etc")];
    run(&in_user_namespace(plan), || {
        assert_eq!(read_text("/key"), "");
        assert!(!writable("/secret") && !writable("/etc"));
        assert!(mount_line("/proc/sys").contains("ro,"));
    });
}

fn readonly(host: &Host) {
    host.mkdir("rootfs/data/sub");
    host.write("rootfs/file", "text");
    let mounts = vec![fs("tmpfs", "/data/sub")];
    run_masked(host, mounts, vec![readonly_path("/data"), readonly_path("/file")], || {
        assert!(!writable("/data"));
        assert!(writable("/data/sub"), "mounts below are as they were");
        let written = std::fs::write("/file", "x").unwrap_err();
        assert_eq!(written.raw_os_error(), Some(libc::EROFS));
        assert!(writable("/"));
    });
}

fn readonly_keeps(host: &Host) {
    let mounts = vec![fs_as("tmpfs", "/data", |f| f.attr.set = MOUNT_ATTR_NOSUID)];
    run_masked(host, mounts, vec![readonly_path("/data")], || {
        assert!(mount_line("/data").contains("ro,nosuid"));
    });
}

fn readonly_root(host: &Host) {
    run_masked(host, vec![fs("tmpfs", "/tmp")], vec![readonly_path("/")], || {
        assert!(!writable("/") && writable("/tmp"));
        assert!(Path::new("/proc/self").exists());
    });
}

/// In `plan.mounts` they take effect where they stand: what comes later is made on top of the cover.
fn among_the_mounts(host: &Host) {
    host.mkdir("rootfs/secret");
    host.write("rootfs/secret/key", "secret");
    host.write("rootfs/file", "secret");
    let node = |path: &str| op(path, CreateTarget::Nothing, MountOp::Symlink { text: "/tmp".into() });
    let mounts = vec![node("/secret/before"), mask("/secret"), mask("/file"), mask("/none"), readonly_path("/etc")];
    host.run(mounts, || {
        assert_eq!(std::fs::read_dir("/secret").unwrap().count(), 0);
        assert_eq!(read_text("/file"), "");
        assert!(!writable("/etc"));
    });
    assert!(host.rootfs("secret/before").is_symlink());
    let error = host.error(vec![node("/secret/before"), mask("/secret"), node("/secret/after")]);
    assert_eq!(error, "mounts[0] /secret/after: symlinkat /secret/after: read-only file system (EROFS)");
    assert!(!host.rootfs("secret/after").is_symlink());
}
