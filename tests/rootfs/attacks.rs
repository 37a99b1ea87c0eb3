//! Images and neighbours that mean harm: whatever they do, nothing outside the root filesystem is made or mounted over.

use crate::kit::*;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use rvol_runc::plan::mounts::{CreateTarget, MountOp, Symlinks};
use rvol_runc::rootfs::target::{Make, open_or_make};
use rvol_runc::sys::ns::{Cloned, Parent, clone3};
use rvol_runc::sys::{pidfd, process};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

pub const CASES: &[Case] = &[
    ("attack_links_to_the_host", links_to_the_host),
    ("attack_links_out_of_a_volume", links_out_of_a_volume),
    ("attack_exchange_while_resolving", exchange_while_resolving),
    ("attack_exchange_while_making", exchange_while_making),
    ("attack_exchange_during_container_creation", exchange_during_creation),
    ("attack_magic_links", magic_links),
];

/// A directory of the host that nothing may touch.
struct Decoy {
    dir: PathBuf,
}

impl Decoy {
    fn new(host: &Host) -> Decoy {
        let dir = host.mkdir("decoy");
        host.mkdir("decoy/sub");
        host.write("decoy/file", "of the host");
        Decoy { dir }
    }

    fn text(&self) -> String {
        self.dir.display().to_string()
    }

    fn assert_untouched(&self) {
        let mut names: Vec<_> = std::fs::read_dir(&self.dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["file", "sub"]);
        assert_eq!(std::fs::read_dir(self.dir.join("sub")).unwrap().count(), 0);
        assert_eq!(std::fs::read_to_string(self.dir.join("file")).unwrap(), "of the host");
    }
}

/// CVE-2019-18837 and its kin.
fn links_to_the_host(host: &Host) {
    let decoy = Decoy::new(host);
    let file = host.write("source", "mounted");
    let vol = host.mkdir("vol");
    for text in [decoy.text(), format!("../../../../../../../../..{}", decoy.text()), format!("/{}", decoy.text())] {
        std::fs::remove_dir_all(host.rootfs("etc")).unwrap();
        host.link(&text, "rootfs/etc");
        host.link(&format!("{text}/file"), "rootfs/tmp/file");
        let mounts = vec![
            bind(&file, "/etc/made"),
            bind(&file, "/etc/file"),
            bind(&vol, "/etc/sub"),
            bind(&vol, "/etc/new/deep"),
            bind(&file, "/tmp/file"),
            fs("tmpfs", "/etc/tmp"),
            op("/etc/fifo/link", CreateTarget::Nothing, MountOp::Symlink { text: "x".into() }),
        ];
        let before = mountinfo();
        host.run(mounts, || assert_eq!(read_text("/etc/made"), "mounted"));
        assert_eq!(mountinfo(), before);
        decoy.assert_untouched();
        std::fs::remove_file(host.rootfs("etc")).unwrap();
        std::fs::remove_file(host.rootfs("tmp/file")).unwrap();
        std::fs::create_dir(host.rootfs("etc")).unwrap();
    }
}

fn links_out_of_a_volume(host: &Host) {
    let decoy = Decoy::new(host);
    let vol = host.mkdir("vol");
    host.link(&decoy.text(), "vol/out");
    host.link("../../../../decoy", "vol/up");
    host.run(vec![bind(&vol, "/data"), bind(&vol, "/data/out/x"), bind(&vol, "/data/up/x")], || {
        assert!(Path::new("/decoy/x").exists());
    });
    decoy.assert_untouched();
}

/// Runs `body` while another process keeps exchanging two names.
fn while_exchanging(one: &Path, other: &Path, body: impl FnOnce()) {
    let (stop_read, stop) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK).unwrap();
    let child = match clone3(0, None, Parent::Caller).unwrap() {
        Cloned::Child => {
            drop(stop);
            while nix::unistd::read(&stop_read, &mut [0]) == Err(nix::errno::Errno::EAGAIN) {
                for _ in 0..100 {
                    let _ = renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE);
                }
            }
            process::exit_now(0)
        }
        Cloned::Parent { pidfd, .. } => pidfd,
    };
    body();
    drop(stop);
    pidfd::wait(child.as_fd()).unwrap();
}

fn path_of(fd: impl AsFd) -> PathBuf {
    let number = std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd());
    std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap()
}

/// CVE-2021-30465: what is found is always inside.
fn exchange_while_resolving(host: &Host) {
    let decoy = Decoy::new(host);
    host.mkdir("rootfs/vol/dir/sub");
    host.link(&decoy.text(), "rootfs/vol/link");
    let root = File::open(host.path("rootfs")).unwrap();
    let inside = host.path("rootfs");
    let mut seen = std::collections::BTreeMap::<bool, u32>::new();
    while_exchanging(&host.rootfs("vol/dir"), &host.rootfs("vol/link"), || {
        for _ in 0..3000 {
            let found = open_or_make(root.as_fd(), Path::new("/vol/dir/sub"), Symlinks::Follow, || Ok(Make::Directory));
            if let Ok(fd) = &found {
                let path = path_of(fd);
                assert!(path.starts_with(&inside), "{path:?}");
            }
            *seen.entry(found.is_ok()).or_default() += 1;
        }
    });
    assert!(seen[&true] > 0, "{seen:?}");
    decoy.assert_untouched();
}

/// CVE-2024-45310: what is made is always inside.
fn exchange_while_making(host: &Host) {
    let decoy = Decoy::new(host);
    host.mkdir("rootfs/vol/dir");
    host.link(&decoy.text(), "rootfs/vol/link");
    let root = File::open(host.path("rootfs")).unwrap();
    let mut made = 0;
    while_exchanging(&host.rootfs("vol/dir"), &host.rootfs("vol/link"), || {
        for i in 0..3000 {
            let (path, make) = if i % 2 == 0 {
                (format!("/vol/dir/{i}/a/b"), Make::Directory)
            } else {
                (format!("/vol/dir/{i}"), Make::File)
            };
            made += u32::from(open_or_make(root.as_fd(), Path::new(&path), Symlinks::Follow, || Ok(make)).is_ok());
        }
    });
    assert!(made > 100, "{made}");
    decoy.assert_untouched();
}

fn exchange_during_creation(host: &Host) {
    let decoy = Decoy::new(host);
    let vol = host.mkdir("vol");
    host.mkdir("vol/dir/sub");
    host.link(&decoy.text(), "vol/link");
    let file = host.write("source", "mounted");
    let mut plan = host.plan(vec![
        fs("proc", "/proc"),
        bind(&vol, "/data"),
        bind(&file, "/data/dir/made"),
        bind(&vol, "/data/dir/sub"),
    ]);
    plan.masks = vec![
        op("/data/dir/sub", CreateTarget::Nothing, MountOp::ReadOnly),
        op("/data/dir", CreateTarget::Nothing, MountOp::Mask),
    ];
    let before = mountinfo();
    while_exchanging(&vol.join("dir"), &vol.join("link"), || {
        for _ in 0..150 {
            // Either it works or it says why; the kit panics on anything else.
            let _ = attempt(&plan, || {
                let roots: Vec<String> = mountinfo().lines().map(|l| l.split(' ').nth(3).unwrap().into()).collect();
                assert!(roots.iter().all(|root| !root.starts_with("/decoy")), "{roots:?}");
            });
            assert_eq!(mountinfo(), before);
            decoy.assert_untouched();
        }
    });
}

/// Links of procfs lead anywhere the process can go: they are refused, or read as mere text.
fn magic_links(host: &Host) {
    let decoy = Decoy::new(host);
    let vol = host.mkdir("vol");
    let outside = File::open(&decoy.dir).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&outside);
    host.link(&format!("/proc/1/fd/{number}"), "rootfs/etc/magic");
    for path in ["/etc/magic/sub", "/etc/magic", "/etc/magic/new"] {
        let error = attempt(&host.plan(vec![fs("proc", "/proc"), bind(&vol, path)]), || {}).unwrap_err();
        assert!(error.starts_with(&format!("mounts[0] {path}: ")), "{error}");
    }
    decoy.assert_untouched();
}
