//! Propagation between host and container, of binds and of the root, in both directions.

use nix::mount::MsFlags;
use runtime_tests::host_mounts::{in_own_mounts, is_mounted, is_mounted_in};
use runtime_tests::{Case, json, needs};

/// A started container with a bind of a shared mount of the host at /data, which mounted a tmpfs at /data/inner itself.
struct Pair {
    case: Case,
    source: String,
    pid: i32,
}

impl Pair {
    #[track_caller]
    fn new(propagation: MsFlags, options: &[&str]) -> Pair {
        Pair::from(Case::new(), propagation, options)
    }

    #[track_caller]
    fn from(mut case: Case, propagation: MsFlags, options: &[&str]) -> Pair {
        let source = case.make_mount("source", propagation);
        case.make_dir("source/inner");
        case.make_dir("source/outer");
        case.mount("/data", "none", &source, &[&["rbind"], options].concat());
        case.caps(&["CAP_SYS_ADMIN"]).script("mount -t tmpfs none /data/inner && exec probe pause");
        let started = case.create_and_start();
        started.wait_for_line("ready");
        let pid = case.pid();
        Pair { case, source, pid }
    }

    /// Whether a mount that the host makes now reaches the container.
    fn receives(&self) -> bool {
        self.case.host_tmpfs(&format!("{}/outer", self.source), MsFlags::empty());
        is_mounted_in(self.pid, "/data/outer")
    }

    /// Whether the container's mount has reached the host.
    fn sends(&self) -> bool {
        let inner = format!("{}/inner", self.source);
        let sent = is_mounted(&inner);
        if sent {
            self.case.expect_host_mount(inner);
        }
        sent
    }
}

#[test]
fn private_binds_neither_send_nor_receive() {
    in_own_mounts(|| {
        for option in ["private", "rprivate"] {
            let pair = Pair::new(MsFlags::MS_SHARED, &[option]);
            assert_eq!((pair.sends(), pair.receives()), (false, false), "{option}");
        }
    });
}

#[test]
fn slave_binds_receive() {
    in_own_mounts(|| {
        for option in ["slave", "rslave"] {
            let pair = Pair::new(MsFlags::MS_SHARED, &[option]);
            assert_eq!((pair.sends(), pair.receives()), (false, true), "{option}");
        }
    });
}

#[test]
fn shared_binds_in_a_shared_root_send_and_receive() {
    // With the root's propagation that Docker writes beside such a bind.
    in_own_mounts(|| {
        for option in ["shared", "rshared"] {
            let mut case = Case::new();
            case.set("/linux/rootfsPropagation", json!("rshared"));
            let pair = Pair::from(case, MsFlags::MS_SHARED, &[option]);
            assert_eq!((pair.sends(), pair.receives()), (true, true), "{option}");
        }
    });
}

#[test]
fn binds_never_send_by_default() {
    in_own_mounts(|| {
        let pair = Pair::new(MsFlags::MS_SHARED, &[]);
        assert!(!pair.sends());
    });
}

#[test]
fn binds_of_private_mounts_are_apart_whatever_is_asked() {
    in_own_mounts(|| {
        let pair = Pair::new(MsFlags::MS_PRIVATE, &["rslave"]);
        assert_eq!((pair.sends(), pair.receives()), (false, false));
    });
}

#[test]
fn propagation_types_as_mountinfo_shows_them() {
    let mut case = Case::new();
    for option in ["private", "unbindable", "shared"] {
        case.mount(&format!("/data/{option}"), "tmpfs", "tmpfs", &[option]);
    }
    let source = case.make_dir("source");
    case.bind(&source, "/data/bind-unbindable", &["unbindable"]).bind(&source, "/data/bind-private", &["private"]);
    let facts = case.facts(&[]);
    assert_eq!(facts.mount("/data/private").propagation(), "private");
    assert_eq!(facts.mount("/data/unbindable").propagation(), "unbindable");
    assert_eq!(facts.mount("/data/shared").propagation(), "shared");
    assert_eq!(facts.mount("/data/bind-private").propagation(), "private");
    assert_eq!(facts.mount("/data/bind-unbindable").propagation(), "unbindable");
}

#[test]
fn recursive_propagation_reaches_the_mounts_below() {
    in_own_mounts(|| {
        let mut case = Case::new();
        let tree = case.make_mount("tree", MsFlags::MS_SHARED);
        case.host_tmpfs(&format!("{tree}/sub"), MsFlags::empty());
        for option in ["slave", "rslave", "rprivate", "runbindable", "rshared"] {
            case.mount(&format!("/data/{option}"), "none", &tree, &["rbind", option]);
        }
        let facts = case.facts(&[]);
        for (option, top, below) in [
            ("rslave", "slave", "slave"),
            ("rprivate", "private", "private"),
            ("runbindable", "unbindable", "unbindable"),
            ("rshared", "shared", "shared"),
        ] {
            // A shared mount that is also a slave takes and gives, but not with the host's.
            let kind = |target: String| facts.mount(&target).propagation().replace("slave+shared", "shared");
            assert_eq!(kind(format!("/data/{option}")), top, "{option}");
            assert_eq!(kind(format!("/data/{option}/sub")), below, "{option}");
        }
        assert_eq!(facts.mount("/data/slave").propagation(), "slave");
    });
}

#[test]
fn several_propagation_options() {
    // As kubelet and others write them; the last one of a kind holds.
    let mut case = Case::new();
    let source = case.make_dir("source");
    case.mount("/data", "none", &source, &["rbind", "rprivate", "rw"]);
    case.mount("/x", "none", &source, &["rbind", "private", "unbindable"]);
    let facts = case.facts(&[]);
    assert_eq!(facts.mount("/data").propagation(), "private");
    assert_eq!(facts.mount("/x").propagation(), "unbindable");
}

/// The propagation of the root for a value of `linux.rootfsPropagation`.
#[track_caller]
fn root_propagation(value: &str) -> String {
    let mut case = Case::new();
    case.set("/linux/rootfsPropagation", json!(value));
    case.facts(&[]).mount("/").propagation()
}

#[test]
fn the_roots_propagation() {
    needs!(RootPropagation);
    in_own_mounts(|| {
        assert_eq!(root_propagation("private"), "private");
        assert_eq!(root_propagation("shared"), "shared");
        assert_eq!(root_propagation("unbindable"), "unbindable");
    });
}

#[test]
fn the_roots_propagation_with_r() {
    needs!(RootPropagation);
    // Not in the spec's list, but what engines write.
    in_own_mounts(|| {
        assert_eq!(root_propagation("rprivate"), "private");
        assert_eq!(root_propagation("rshared"), "shared");
    });
}

#[test]
fn bad_root_propagation_is_refused() {
    let mut case = Case::new();
    case.set("/linux/rootfsPropagation", json!("sideways"));
    case.run().fails().says("rootfsPropagation");
    case.assert_nothing_left();
}

#[test]
fn a_slave_root_receives() {
    needs!(RootPropagation);
    in_own_mounts(|| {
        for value in ["slave", "rslave"] {
            let mut case = Case::new();
            let root = case.make_mount("bundle/rootfs", MsFlags::MS_SHARED);
            case.set("/linux/rootfsPropagation", json!(value)).pause();
            case.create_and_start().wait_for_line("ready");
            case.host_tmpfs(&format!("{root}/data"), MsFlags::empty());
            assert!(is_mounted_in(case.pid(), "/data"), "{value}");
        }
    });
}

#[test]
fn a_shared_root_sends_nothing_to_the_host() {
    in_own_mounts(|| {
        let mut case = Case::new();
        case.set("/linux/rootfsPropagation", json!("shared")).caps(&["CAP_SYS_ADMIN"]);
        case.script("mount -t tmpfs none /data && exec probe pause");
        case.create_and_start().wait_for_line("ready");
        assert!(!is_mounted(case.rootfs().join("data").to_str().expect("UTF-8")));
    });
}

#[test]
fn nothing_leaks_from_a_shared_host() {
    // As on a machine with systemd: / is shared. The mounts of create must not come through, whatever the root's value.
    in_own_mounts(|| {
        runtime_tests::host_mounts::set_propagation("/".as_ref(), MsFlags::MS_SHARED | MsFlags::MS_REC);
        for value in [None, Some("rshared"), Some("rslave"), Some("private")] {
            let mut case = Case::new();
            if let Some(value) = value {
                case.set("/linux/rootfsPropagation", json!(value));
            }
            let source = case.make_dir("source");
            case.mount("/data", "none", &source, &["rbind", "rprivate"]).pause();
            case.create_and_start().wait_for_line("ready");
            assert_eq!(runtime_tests::leaks::mounts(&case.token), Vec::<std::path::PathBuf>::new(), "{value:?}");
        }
    });
}

#[test]
fn nothing_leaks_when_create_fails_on_a_shared_host() {
    in_own_mounts(|| {
        runtime_tests::host_mounts::set_propagation("/".as_ref(), MsFlags::MS_SHARED | MsFlags::MS_REC);
        let mut case = Case::new();
        case.set("/linux/rootfsPropagation", json!("rshared")).mount("/data", "tmpfs", "tmpfs", &["size=banana"]);
        case.create().fails();
        case.assert_nothing_left();
    });
}
