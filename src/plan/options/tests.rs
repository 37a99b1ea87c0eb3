use super::*;
use libc::*;

/// config.md 1.3.0, "Linux mount options": every option string with MUST, SHOULD or MAY; and `rnodev`, which the
/// table forgets.
const SPEC: &str = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev \
    nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind \
    rdev rdiratime relatime remount rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid \
    rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared \
    silent slave strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap rnodev";

fn parse(list: &str) -> Options {
    Options::parse(&list.split(' ').map(str::to_owned).collect::<Vec<_>>())
}

#[test]
fn every_option_of_the_spec_is_known() {
    let names = names();
    for option in SPEC.split_whitespace() {
        assert!(names.contains(&option), "{option}");
        assert_eq!(parse(option).data, [], "{option}");
    }
}

#[test]
fn each_name_stands_once() {
    let mut names = names();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

/// What each attribute option does, alone and after another: set, clear, recursive set, recursive clear.
#[test]
fn attributes() {
    const R: u64 = MOUNT_ATTR_RDONLY;
    const T: u64 = MOUNT_ATTR__ATIME;
    const NO: u64 = MOUNT_ATTR_NOATIME;
    const STRICT: u64 = MOUNT_ATTR_STRICTATIME;
    #[rustfmt::skip]
    let cases: &[(&str, [u64; 4])] = &[
        ("ro",                        [R, 0, 0, 0]),
        ("rw",                        [0, R, 0, 0]),
        ("nosuid",                    [MOUNT_ATTR_NOSUID, 0, 0, 0]),
        ("suid",                      [0, MOUNT_ATTR_NOSUID, 0, 0]),
        ("nodev",                     [MOUNT_ATTR_NODEV, 0, 0, 0]),
        ("dev",                       [0, MOUNT_ATTR_NODEV, 0, 0]),
        ("noexec",                    [MOUNT_ATTR_NOEXEC, 0, 0, 0]),
        ("exec",                      [0, MOUNT_ATTR_NOEXEC, 0, 0]),
        ("nosymfollow",               [MOUNT_ATTR_NOSYMFOLLOW, 0, 0, 0]),
        ("symfollow",                 [0, MOUNT_ATTR_NOSYMFOLLOW, 0, 0]),
        ("nodiratime",                [MOUNT_ATTR_NODIRATIME, 0, 0, 0]),
        ("diratime",                  [0, MOUNT_ATTR_NODIRATIME, 0, 0]),
        ("noatime",                   [NO, T, 0, 0]),
        ("strictatime",               [STRICT, T, 0, 0]),
        ("relatime",                  [0, T, 0, 0]),
        ("atime",                     [0, T, 0, 0]),
        ("nostrictatime",             [0, T, 0, 0]),
        ("norelatime",                [0, 0, 0, 0]),
        ("rro",                       [0, 0, R, 0]),
        ("rrw",                       [0, 0, 0, R]),
        ("rnoatime",                  [0, 0, NO, T]),
        ("rstrictatime",              [0, 0, STRICT, T]),
        ("ratime",                    [0, 0, 0, T]),
        ("rnosuid rnodev rnoexec",    [0, 0, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, 0]),
        ("rsuid rdev rexec",          [0, 0, 0, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC]),
        ("rnosymfollow rnodiratime",  [0, 0, MOUNT_ATTR_NOSYMFOLLOW | MOUNT_ATTR_NODIRATIME, 0]),
        ("rsymfollow rdiratime",      [0, 0, 0, MOUNT_ATTR_NOSYMFOLLOW | MOUNT_ATTR_NODIRATIME]),
        // The later wins.
        ("ro rw",                     [0, R, 0, 0]),
        ("rw ro",                     [R, 0, 0, 0]),
        ("rro rrw",                   [0, 0, 0, R]),
        ("noatime strictatime",       [STRICT, T, 0, 0]),
        ("strictatime noatime",       [NO, T, 0, 0]),
        ("noatime relatime",          [0, T, 0, 0]),
        // A negated mode takes back only itself.
        ("noatime atime",             [0, T, 0, 0]),
        ("strictatime atime",         [STRICT, T, 0, 0]),
        ("strictatime nostrictatime", [0, T, 0, 0]),
        ("noatime nostrictatime",     [NO, T, 0, 0]),
        ("relatime norelatime",       [0, 0, 0, 0]),
        ("noatime norelatime",        [NO, T, 0, 0]),
        // The tree includes the mount; what comes after it holds for the mount alone.
        ("rw rro",                    [0, 0, R, 0]),
        ("ro rrw",                    [0, 0, 0, R]),
        ("rro rw",                    [0, R, R, 0]),
        ("noatime rstrictatime",      [0, 0, STRICT, T]),
        ("rnoatime strictatime",      [STRICT, T, NO, T]),
        ("defaults",                  [0, 0, 0, 0]),
    ];
    for (list, [set, clear, recursive_set, recursive_clear]) in cases {
        let attr = Attr { set: *set, clear: *clear, recursive_set: *recursive_set, recursive_clear: *recursive_clear };
        assert_eq!(parse(list).attr, attr, "{list}");
    }
}

#[test]
fn a_new_mount_has_nothing_to_clear() {
    for (list, set) in [
        ("rro", MOUNT_ATTR_RDONLY),
        ("rro rw", 0),
        ("rw", 0),
        ("rnoatime strictatime", MOUNT_ATTR_STRICTATIME),
        ("rnoatime relatime nosuid", MOUNT_ATTR_NOSUID),
    ] {
        assert_eq!(parse(list).attr.of_new_mount(), Attr { set, ..Attr::default() }, "{list}");
    }
}

#[test]
fn propagation_binds_and_the_rest() {
    use PropagationKind::*;
    for (list, kind, recursive) in [
        ("shared", Shared, false),
        ("rshared", Shared, true),
        ("slave", Slave, false),
        ("rslave", Slave, true),
        ("private", Private, false),
        ("rprivate", Private, true),
        ("unbindable", Unbindable, false),
        ("runbindable", Unbindable, true),
        ("rprivate rslave", Slave, true),
    ] {
        let wanted = Propagation { kind, recursive };
        assert_eq!(parse(list).propagation, Some(wanted), "{list}");
        let last = list.rsplit(' ').next().unwrap();
        assert_eq!(propagation(last), Some(wanted));
        assert_eq!(wanted.to_string(), last);
    }
    assert_eq!(propagation("ro"), None);
    assert_eq!(parse("bind").bind, Some(BindOption::Mount));
    assert_eq!(parse("rbind").bind, Some(BindOption::Tree));
    assert_eq!(parse("rbind bind").bind, Some(BindOption::Tree));
    assert!(parse("remount").remount);
    assert_eq!(parse("ro tmpcopyup").copy_up, Some(1));
    assert_eq!(parse("ridmap").idmap, Some(IdMapOption { index: 0, recursive: true, ranges: None }));
    let ranges = Some("uids=0-1-2;gids=@3-4-5".to_owned());
    assert_eq!(
        parse("ro idmap=uids=0-1-2;gids=@3-4-5").idmap,
        Some(IdMapOption { index: 1, recursive: false, ranges })
    );
}

#[test]
fn superblock_flags() {
    let flags = |list: &str| parse(list).superblock.iter().map(|f| (f.index, f.name, f.on)).collect::<Vec<_>>();
    assert_eq!(flags("sync ro dirsync"), [(0, "sync", true), (2, "dirsync", true)]);
    assert_eq!(flags("sync async"), [(1, "async", false)]);
    assert_eq!(flags("nolazytime lazytime"), [(1, "lazytime", true)]);
    assert_eq!(flags("mand nomand mand"), [(2, "mand", true)]);
    assert_eq!(flags("iversion noiversion"), [(1, "noiversion", false)]);
    assert_eq!(flags("silent loud"), []);
}

#[test]
fn the_rest_is_for_the_filesystem() {
    let flag = |name: &str| FsOption::Flag(name.into());
    let value = |key: &str, value: &str| FsOption::Value(key.into(), value.into());
    for (list, data) in [
        ("ro size=64k mode=", vec![(1, value("size", "64k")), (2, value("mode", ""))]),
        ("newinstance", vec![(0, flag("newinstance"))]),
        ("acl", vec![(0, flag("acl"))]),
        ("nosuid,size=1m,,ro x", vec![(0, value("size", "1m")), (1, flag("x"))]),
        (r"lowerdir=a\,b:c,index=off", vec![(0, value("lowerdir", r"a\,b:c")), (0, value("index", "off"))]),
        (r#"context="u:r:t:s0:c1,c2",mode=1"#, vec![(0, value("context", "u:r:t:s0:c1,c2")), (0, value("mode", "1"))]),
        ("idmapped", vec![(0, flag("idmapped"))]),
        ("ro=vfs", vec![(0, value("ro", "vfs"))]),
    ] {
        assert_eq!(parse(list).data, data, "{list}");
    }
}

#[test]
fn names_of_attributes() {
    for list in ["ro nosuid nodev noexec nosymfollow nodiratime noatime", "rw suid strictatime", "rro rnoatime rw"] {
        assert_eq!(parse(list).attr.names().join(" "), list);
    }
}
