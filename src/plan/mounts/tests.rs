use super::*;
use crate::host::CgroupMode;
use crate::plan::namespaces::{IdMap, IdMapWriter, Namespace};
use crate::plan::resources::{Cgroup, Manager};
use serde_json::{Value, json};

/// What a config is planned on.
struct Case {
    host: Host,
    namespaces: Namespaces,
    cgroup: Cgroup,
    added: Vec<AddedMount>,
}

struct Planned {
    mounts: Vec<Mount>,
    /// Of `mounts[]` only.
    lines: Vec<String>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Case {
    fn new() -> Case {
        let host = Host { kernel: (6, 12), ..Host::example() };
        let namespaces = Namespaces { mount: Namespace::New, network: Namespace::New, ..Namespaces::default() };
        let cgroup = Cgroup { path: "/demo".into(), ..Cgroup::default() };
        Case { host, namespaces, cgroup, added: Vec::new() }
    }

    fn user_namespace(mut self) -> Case {
        let range = |size| vec![IdRange { container: 0, host: 100_000, size }];
        self.namespaces.user = Namespace::New;
        self.namespaces.id_map = Some(IdMap { uid: range(1000), gid: range(5), writer: IdMapWriter::Runtime });
        self
    }

    fn plan(&self, config: Value) -> Planned {
        let spec: Spec = serde_json::from_value(config).unwrap();
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let request = Request {
            bundle: "/bundle".into(),
            volume_root: "/volumes".into(),
            mounts: self.added.clone(),
            ..Request::default()
        };
        let mounts = plan(&spec, &request, &self.namespaces, &self.cgroup, &self.host, &mut problems, &mut warnings);
        let of_mounts = mounts.iter().filter(|mount| mount.place.starts_with("mounts["));
        Planned {
            lines: of_mounts.map(Mount::to_string).collect(),
            mounts,
            problems: problems.iter().map(Problem::to_string).collect(),
            warnings,
        }
    }

    fn mounts(&self, mounts: Value) -> Planned {
        self.plan(json!({ "ociVersion": "1.2.0", "mounts": mounts }))
    }

    /// The line of a config's only mount.
    fn line(&self, mount: Value) -> String {
        let planned = self.mounts(json!([mount]));
        assert_eq!(planned.problems, [""; 0], "{mount}");
        assert_eq!(planned.lines.len(), 1, "{:?}", planned.lines);
        planned.lines[0].strip_suffix("  (mounts[0])").unwrap().to_owned()
    }

    fn problems(&self, mount: Value) -> Vec<String> {
        self.mounts(json!([mount])).problems
    }
}

#[test]
fn kinds() {
    let case = Case::new();
    for (mount, line) in [
        (json!({"destination": "/d", "source": "/s", "options": ["bind"]}), "bind  /d  /s  slave"),
        (json!({"destination": "/d", "type": "none", "source": "/s", "options": ["rbind"]}), "rbind  /d  /s  rslave"),
        // The option decides, not the type.
        (json!({"destination": "/d", "type": "tmpfs", "source": "/s", "options": ["bind"]}), "bind  /d  /s  slave"),
        (
            json!({"destination": "/d", "source": "./a//b/../c", "options": ["bind"]}),
            "bind  /d  /bundle/a/b/../c  slave",
        ),
        (
            json!({"destination": "/d", "source": "/s", "options": ["rbind", "ro", "rnosuid", "rslave"]}),
            "rbind  /d  /s  rnosuid,ro,rslave",
        ),
        (json!({"destination": "/", "source": "/s", "options": ["bind"]}), "bind  /  /s  slave"),
        (json!({"destination": "/t", "type": "tmpfs"}), "mount  /t  tmpfs tmpfs  private"),
        (
            json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                   "options": ["nosuid", "nodev", "noexec", "mode=1777", "size=65536k", "sync", "silent"]}),
            "mount  /dev/shm  tmpfs shm  nosuid,nodev,noexec,private  sync,mode=1777,size=65536k",
        ),
        (
            json!({"destination": "/t", "type": "tmpfs", "options": ["tmpcopyup"]}),
            "mount  /t  tmpfs tmpfs  private,tmpcopyup",
        ),
        (json!({"destination": "/proc", "type": "proc", "source": "proc"}), "mount  /proc  proc proc  private"),
        (json!({"destination": "/t/", "options": ["remount", "ro", "size=1m"]}), "remount  /t  ro  size=1m"),
        (json!({"destination": "/t", "options": ["remount", "bind", "rw", "rshared"]}), "remount  /t  rw,rshared"),
        (json!({"destination": "/t", "options": ["remount", "async", "nolazytime"]}), "remount  /t  async,nolazytime"),
    ] {
        assert_eq!(case.line(mount), line);
    }
}

#[test]
fn problems_have_their_place() {
    let case = Case::new();
    for (mount, problems) in [
        (json!({"destination": "/d"}), vec!["mounts[0].type: is missing"]),
        (json!({"destination": "/d", "type": ""}), vec!["mounts[0].type: is missing"]),
        (json!({"destination": "", "type": "tmpfs"}), vec!["mounts[0].destination: is missing"]),
        (json!({"destination": "/d", "type": "bind", "source": "/s"}), vec!["mounts[0].options: a bind mount needs"]),
        (json!({"destination": "/d", "type": "none", "source": "/s", "options": ["ro"]}), vec!["mounts[0].options: "]),
        (json!({"destination": "/d", "options": ["bind"]}), vec!["mounts[0].source: is missing"]),
        (json!({"destination": "/d", "source": "", "options": ["bind"]}), vec!["mounts[0].source: is missing"]),
        (
            json!({"destination": "/d", "source": "/s", "options": ["bind", "lowerdir=1,upperdir=7", "nocopies"]}),
            vec!["mounts[0].options[1]: `lowerdir=1,upperdir=7` is not", "mounts[0].options[2]: `nocopies` is not"],
        ),
        (
            json!({"destination": "/d", "source": "/s", "options": ["bind", "tmpcopyup"]}),
            vec!["mounts[0].options[1]: "],
        ),
        (json!({"destination": "/d", "type": "proc", "options": ["tmpcopyup"]}), vec!["mounts[0].options[0]: "]),
        (json!({"destination": "/d", "options": ["remount", "bind", "x"]}), vec!["mounts[0].options[2]: "]),
        (json!({"destination": "/d", "options": ["remount", "idmap"]}), vec!["mounts[0].options[1]: "]),
        (
            json!({"destination": "/d", "type": "volume", "source": "v", "options": ["ro"]}),
            vec!["mounts[0].source: volume name is too short"],
        ),
        (
            json!({"destination": "/d", "type": "volume", "source": "/v", "options": ["ro"]}),
            vec!["mounts[0].source: is a path: a volume has a name; use type `bind`"],
        ),
        (
            json!({"destination": "/d", "type": "volume", "options": ["size=1m", "subpath=a", "copy=x", "nocreate"]}),
            vec![
                "mounts[0].options[0]: `size=1m` is not an option of a volume",
                "mounts[0].options[2]: `x` is none of",
                "mounts[0].options: must not set Subpath when using anonymous volumes",
                "mounts[0].options: `nocreate` needs",
            ],
        ),
        (json!({"destination": "/proc", "type": "tmpfs"}), vec!["mounts[0].destination: only procfs"]),
        (json!({"destination": "/x/../proc/", "type": "cgroup"}), vec!["mounts[0].destination: only procfs"]),
        (
            json!({"destination": "/x/../proc/", "source": "/y", "options": ["bind"]}),
            vec!["mounts[0].destination: leads to /proc by `..`"],
        ),
        (
            json!({"destination": "/proc/sys", "source": "/s", "options": ["bind"]}),
            vec!["mounts[0].destination: nothing may be mounted inside /proc"],
        ),
        (
            json!({"destination": "/d\u{0}", "type": "t\u{0}", "source": "\u{0}", "options": ["a\u{0}"]}),
            vec!["mounts[0].destination: ", "mounts[0].type: ", "mounts[0].source: ", "mounts[0].options[0]: "],
        ),
    ] {
        let found = case.problems(mount.clone());
        assert_eq!(found.len(), problems.len(), "{mount}: {found:?}");
        for (found, start) in found.iter().zip(problems) {
            assert!(found.starts_with(start), "{mount}: {found}");
        }
    }
}

#[test]
fn all_problems_at_once_and_the_rest_is_planned() {
    let planned = Case::new().mounts(json!([
        {"destination": "/a"},
        {"destination": "/b", "type": "tmpfs"},
        {"destination": "/c", "options": ["bind"]},
    ]));
    assert_eq!(planned.problems.len(), 2);
    assert_eq!(planned.lines, ["mount  /b  tmpfs tmpfs  private  (mounts[1])"]);
}

#[test]
fn a_relative_destination_is_taken_from_the_root() {
    let planned = Case::new().mounts(json!([{"destination": "a/../data", "type": "tmpfs"}]));
    assert_eq!(planned.lines, ["mount  /a/../data  tmpfs tmpfs  private  (mounts[0])"]);
    let warning = "mounts[0].destination: `a/../data` is relative, which is deprecated; it is taken as /a/../data";
    assert_eq!(planned.warnings, [warning]);
}

#[test]
fn flags_of_the_superblock_do_nothing_on_a_bind() {
    let planned = Case::new().mounts(json!([
        {"destination": "/d", "source": "/s", "options": ["bind", "sync", "async", "lazytime", "nomand"]},
    ]));
    assert_eq!(planned.problems, [""; 0]);
    assert_eq!(planned.warnings.len(), 1);
    assert!(planned.warnings[0].starts_with("mounts[0].options[3]: `lazytime`"), "{:?}", planned.warnings);
}

#[test]
fn parameters_of_a_tmpfs_do_nothing_on_a_bind() {
    let bind = |options: &[&str]| {
        let options: Vec<&str> = [&["bind"], options].concat();
        Case::new().mounts(json!([{"destination": "/d", "source": "/s", "options": options}]))
    };
    let planned = bind(&["mode=755,size=1k", "ro"]);
    assert_eq!(planned.problems, [""; 0]);
    assert_eq!(
        planned.warnings,
        ["mode", "size"]
            .map(|key| { format!("mounts[0].options[1]: `{key}=` is for tmpfs and has no effect on a bind mount") })
    );
    // A misspelt flag must not be.
    for other in ["nosiud", "size", "context=u:r:t:s0", "lowerdir=/a"] {
        let problems = bind(&["size=1k", other]).problems;
        assert_eq!(problems, [format!("mounts[0].options[2]: `{other}` is not an option of a bind mount")]);
    }
}

/// Podman leaves them in config.json.
#[test]
fn an_engines_words_change_nothing_on_a_bind() {
    for word in ["z", "Z", "U", "copy", "nocopy"] {
        let entry = json!([{"destination": "/d", "source": "/s", "options": ["bind", word, "ro"]}]);
        let planned = Case::new().mounts(entry);
        assert_eq!((planned.problems.len(), planned.warnings.len()), (0, 0), "{word}");
    }
}

#[test]
fn read_only_filesystems() {
    let case = Case::new();
    for (fstype, line) in [
        // Of its own: the superblock too.
        ("ext4", "mount  /d  ext4 ext4  ro,private  ro"),
        ("overlay", "mount  /d  overlay overlay  ro,private  ro"),
        // Perhaps the host's, or shared with the rest of a pod.
        ("sysfs", "mount  /d  sysfs sysfs  ro,private"),
        ("mqueue", "mount  /d  mqueue mqueue  ro,private"),
        ("cgroup2", "mount  /d  cgroup2 cgroup2  ro,private"),
        ("devtmpfs", "mount  /d  devtmpfs devtmpfs  ro,private"),
        ("tmpfs", "mount  /d  tmpfs tmpfs  ro,private"),
    ] {
        assert_eq!(case.line(json!({"destination": "/d", "type": fstype, "options": ["rro"]})), line);
    }
}

#[test]
fn masks_lie_on_top() {
    let config = json!({
        "ociVersion": "1.2.0",
        "linux": {
            "maskedPaths": ["/proc/kcore", "/proc//./kcore/", "/sys/firmware", "/proc/../proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
        },
    });
    let spec: Spec = serde_json::from_value(config).unwrap();
    let lines: Vec<_> = masks(&spec).iter().map(Mount::to_string).collect();
    assert_eq!(
        lines,
        [
            "readonly  /proc/sys  (linux.readonlyPaths[0])",
            "mask  /proc/kcore  (linux.maskedPaths[0])",
            "mask  /sys/firmware  (linux.maskedPaths[2])",
            // The same file unless /proc is a link, which only the kernel sees.
            "mask  /proc/../proc/kcore  (linux.maskedPaths[3])",
        ]
    );
}

#[test]
fn masked_paths_are_absolute() {
    let linux = json!({"maskedPaths": ["/a", "b"], "readonlyPaths": ["", "/\u{0}"]});
    let problems = Case::new().plan(json!({"ociVersion": "1.2.0", "linux": linux})).problems;
    assert_eq!(
        problems,
        [
            "linux.readonlyPaths[0]: is not an absolute path",
            "linux.readonlyPaths[1]: holds a NUL byte",
            "linux.maskedPaths[1]: is not an absolute path",
        ]
    );
}

#[test]
fn links_are_refused_where_procfs_and_sysfs_go() {
    let planned = Case::new().mounts(json!([
        {"destination": "/proc", "type": "proc"},
        {"destination": "/sys", "type": "sysfs"},
        {"destination": "/tmp", "type": "tmpfs"},
        {"destination": "/b", "source": "/s", "options": ["bind"]},
    ]));
    let symlinks: Vec<_> = planned.mounts[..4].iter().map(|mount| mount.target.symlinks).collect();
    assert_eq!(symlinks, [Symlinks::Refuse, Symlinks::Refuse, Symlinks::Follow, Symlinks::Follow]);
    let create: Vec<_> = planned.mounts[..4].iter().map(|mount| mount.target.create).collect();
    assert_eq!(create[3], CreateTarget::LikeSource);
    assert!(create[..3].iter().all(|create| *create == CreateTarget::Directory));
}

#[test]
fn labels() {
    let mounts = ["tmpfs", "devpts", "overlay", "proc", "sysfs", "mqueue", "cgroup2"]
        .map(|fstype| json!({"destination": format!("/{fstype}"), "type": fstype}));
    let config = json!({"ociVersion": "1.2.0", "mounts": mounts, "linux": {"mountLabel": "u:r:t:s0:c1,c2"}});
    let labelled: Vec<_> =
        Case::new().plan(config).lines.iter().map(|line| line.contains("label=u:r:t:s0:c1,c2")).collect();
    assert_eq!(labelled, [true, true, true, false, false, false, false]);
}

#[test]
fn a_context_of_its_own_takes_the_place_of_the_mount_label() {
    let mounts = json!([
        {"destination": "/a", "type": "tmpfs", "options": ["context=\"u:r:own:s0:c1,c2\""]},
        {"destination": "/b", "type": "tmpfs", "options": ["rootcontext=u:r:own:s0"]},
    ]);
    let config = json!({"ociVersion": "1.2.0", "mounts": mounts, "linux": {"mountLabel": "u:r:t:s0"}});
    let lines = Case::new().plan(config).lines;
    assert!(lines[0].contains("context=u:r:own:s0:c1,c2") && !lines[0].contains("label="), "{}", lines[0]);
    assert!(lines[1].contains("label=u:r:t:s0"), "{}", lines[1]);
}

#[test]
fn id_maps() {
    let case = Case::new();
    let maps = |uid: Value, gid: Value, options: &[&str]| {
        let mut options = options.to_vec();
        options.push("bind");
        json!({"destination": "/d", "source": "/s", "options": options, "uidMappings": uid, "gidMappings": gid})
    };
    let range = |host: u32, size: u32| json!([{"containerID": 0, "hostID": host, "size": size}]);
    let none = Value::Null;
    assert_eq!(
        case.line(maps(range(5, 1), range(6, 2), &["ridmap"])),
        "bind  /d  /s  slave,ridmap=uids=0:5:1;gids=0:6:2"
    );
    // Without the option too, and not recursive then.
    assert_eq!(case.line(maps(range(5, 1), range(6, 2), &[])), "bind  /d  /s  slave,idmap=uids=0:5:1;gids=0:6:2");
    let own = case.line(maps(none.clone(), none.clone(), &["idmap=uids=0-5-1;gids=0-6-1"]));
    assert_eq!(own, "bind  /d  /s  slave,idmap=uids=0:5:1;gids=0:6:1");
    for (mount, problem) in [
        (maps(none.clone(), none.clone(), &["idmap"]), "mounts[0].options[0]: an id-mapped mount needs"),
        (maps(json!([]), json!([]), &["ridmap"]), "mounts[0].options[0]: an id-mapped mount needs"),
        (maps(range(5, 1), none.clone(), &["idmap"]), "mounts[0].uidMappings: needs gidMappings"),
        (maps(none.clone(), range(5, 1), &[]), "mounts[0].gidMappings: needs uidMappings"),
        (maps(range(5, 0), range(5, 1), &[]), "mounts[0].uidMappings[0].size: must not be 0"),
        (maps(range(5, 1), range(u32::MAX, 1), &[]), "mounts[0].gidMappings[0].hostID: 4294967295 and"),
        (maps(none.clone(), none.clone(), &["idmap=x"]), "mounts[0].options[0]: `x`"),
    ] {
        let problems = case.problems(mount);
        assert!(problems.len() == 1 && problems[0].starts_with(problem), "{problem}: {problems:?}");
    }
}

#[test]
fn the_mapping_of_the_container_is_shared() {
    let case = Case::new().user_namespace();
    let mut mount = json!({"destination": "/d", "source": "/s", "options": ["rbind", "idmap"]});
    assert_eq!(case.line(mount.clone()), "rbind  /d  /s  rslave,idmap=container");
    // The same ranges, written out.
    mount["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    mount["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 5}]);
    assert_eq!(case.line(mount.clone()), "rbind  /d  /s  rslave,idmap=container");
    mount["gidMappings"][0]["size"] = json!(6);
    assert_eq!(case.line(mount.clone()), "rbind  /d  /s  rslave,idmap=uids=0:100000:1000;gids=0:100000:6");
    let mut joined = Case::new();
    joined.namespaces.user = Namespace::Join("/proc/1/ns/user".into());
    let mount = json!({"destination": "/d", "source": "/s", "options": ["bind", "idmap"]});
    assert_eq!(joined.line(mount), "bind  /d  /s  slave,idmap=container");
}

#[test]
fn ids_in_options_must_be_mapped() {
    let devpts = json!({"destination": "/dev/pts", "type": "devpts", "options": ["newinstance", "gid=5", "uid=999"]});
    assert_eq!(Case::new().problems(devpts.clone()), [""; 0]);
    assert_eq!(
        Case::new().user_namespace().problems(devpts),
        ["mounts[0].options[1]: the container's user namespace does not map gid 5"]
    );
}

#[test]
fn sysfs_of_another_network_namespace_is_bound() {
    let sysfs = |options: &[&str]| json!({"destination": "/sys", "type": "sysfs", "options": options});
    let mut case = Case::new().user_namespace();
    assert_eq!(case.line(sysfs(&["nosuid", "ro"])), "mount  /sys  sysfs sysfs  ro,nosuid,private");
    case.namespaces.network = Namespace::Inherit;
    let planned = case.mounts(json!([sysfs(&["nosuid", "ro"])]));
    assert_eq!(planned.lines, ["rbind  /sys  /sys  rro,rnosuid,rprivate  (mounts[0])"]);
    assert!(planned.warnings[0].starts_with("mounts[0]: sysfs cannot be mounted"), "{:?}", planned.warnings);
    // Never writable: the kernel says no.
    assert_eq!(case.line(sysfs(&["nosuid"])), "mount  /sys  sysfs sysfs  nosuid,private");
    // Nothing is known of a namespace that is joined, or that of a runtime in a user namespace.
    case.namespaces.network = Namespace::Join("/proc/1/ns/net".into());
    let may_fail = |case: &Case| case.mounts(json!([sysfs(&["ro"])])).mounts[0].requirement != Requirement::Must;
    assert!(may_fail(&case));
    case.namespaces.network = Namespace::New;
    assert!(!may_fail(&case));
    case = Case::new();
    assert!(!may_fail(&case));
    case.namespaces.network = Namespace::Inherit;
    case.host.in_user_namespace = true;
    assert!(may_fail(&case));
}

fn cgroup_mount() -> Value {
    json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "ro"]})
}

#[test]
fn cgroup_v2() {
    let mut case = Case::new();
    assert_eq!(case.line(cgroup_mount()), "bind  /sys/fs/cgroup  /sys/fs/cgroup  ro,nosuid,private");
    case.namespaces.cgroup = Namespace::New;
    assert_eq!(case.line(cgroup_mount()), "mount  /sys/fs/cgroup  cgroup2 cgroup  ro,nosuid,private");
}

#[test]
fn cgroup_v1() {
    let mut case = Case::new();
    let hierarchies = ["memory", "cpu,cpuacct", "systemd"].map(String::from).to_vec();
    case.host.cgroup = CgroupMode::Legacy { hierarchies, hybrid: true };
    let without_place = |case: &Case| -> Vec<String> {
        case.mounts(json!([cgroup_mount()])).lines.iter().map(|line| line.replace("  (mounts[0])", "")).collect()
    };
    const LIMITS: &str = "  best effort: the hierarchy has no controller that limits the container";
    let unified = |line: &str| format!("{line}{LIMITS}");
    assert_eq!(
        without_place(&case),
        [
            "mount  /sys/fs/cgroup  tmpfs tmpfs  ro,nosuid,private  mode=755,size=1024k".to_owned(),
            "bind  /sys/fs/cgroup/memory  /sys/fs/cgroup/memory/demo  ro,nosuid,private".to_owned(),
            "bind  /sys/fs/cgroup/cpu,cpuacct  /sys/fs/cgroup/cpu,cpuacct/demo  ro,nosuid,private".to_owned(),
            unified("bind  /sys/fs/cgroup/systemd  /sys/fs/cgroup/systemd/demo  ro,nosuid,private"),
            unified("bind  /sys/fs/cgroup/unified  /sys/fs/cgroup/unified/demo  ro,nosuid,private"),
            "symlink  /sys/fs/cgroup/cpu -> cpu,cpuacct".to_owned(),
            "symlink  /sys/fs/cgroup/cpuacct -> cpu,cpuacct".to_owned(),
        ]
    );
    case.namespaces.cgroup = Namespace::New;
    assert_eq!(
        without_place(&case)[1..5],
        [
            "mount  /sys/fs/cgroup/memory  cgroup cgroup  ro,nosuid,private  memory".to_owned(),
            "mount  /sys/fs/cgroup/cpu,cpuacct  cgroup cgroup  ro,nosuid,private  cpu,cpuacct".to_owned(),
            unified("mount  /sys/fs/cgroup/systemd  cgroup cgroup  ro,nosuid,private  none,name=systemd"),
            unified("mount  /sys/fs/cgroup/unified  cgroup2 cgroup  ro,nosuid,private"),
        ]
    );
}

#[test]
fn cgroups_that_are_not_there() {
    let mut case = Case::new();
    case.host.cgroup = CgroupMode::None;
    let planned = case.mounts(json!([cgroup_mount()]));
    assert_eq!(planned.lines, ["mask  /sys/fs/cgroup  (mounts[0])"]);
    assert_eq!(planned.warnings.len(), 1);

    case.host.cgroup = CgroupMode::Legacy { hierarchies: vec!["pids".into()], hybrid: false };
    case.cgroup.manager = Manager::Disabled;
    let planned = case.mounts(json!([cgroup_mount()]));
    assert_eq!(planned.lines.len(), 1);
    assert_eq!(planned.warnings.len(), 1);

    case.cgroup.manager = Manager::Cgroupfs;
    case.host.uid = 1000;
    let planned = case.mounts(json!([cgroup_mount()]));
    assert!(planned.lines[1].contains("best effort: a rootless runtime"), "{:?}", planned.lines);
    // All of it is read-only: the writable part of CVE-2023-25809.
    assert!(planned.lines[1].contains("  ro,nosuid,private"), "{:?}", planned.lines);
}

#[test]
fn cgroup_takes_no_options_of_its_own() {
    let mut mount = cgroup_mount();
    mount["options"] = json!(["memory_recursiveprot", "idmap", "tmpcopyup"]);
    let mut case = Case::new();
    assert_eq!(case.problems(mount.clone()).len(), 3);
    case.namespaces.cgroup = Namespace::New;
    assert_eq!(case.problems(mount).len(), 2);
}

#[test]
fn volumes_are_binds_of_their_data() {
    let planned = Case::new().mounts(json!([
        {"destination": "/a", "type": "volume", "source": "data", "options": ["ro"]},
        {"destination": "/b", "type": "volume", "source": "data", "options": ["rrw", "ro", "bind", "rslave", "nodev"]},
        {"destination": "/c", "type": "volume", "options": ["ro,nocopy", "driver-opt=o=size=1m,uid=3", "label=a=b"]},
        {"destination": "/d", "type": "volume", "source": "data", "options": ["subpath=x/y", "nocreate", "copy=once"]},
    ]));
    assert_eq!(
        planned.lines,
        [
            "rbind  /a  volume data  rro,rprivate  (mounts[0])",
            "bind  /b  volume data  rrw,ro,nodev,rslave  (mounts[1])",
            "rbind  /c  new volume copy=none driver-opt=o=size=1m,uid=3 label=a=b  rro,rprivate  (mounts[2])",
            "rbind  /d  volume data copy=once subpath=x/y nocreate  rprivate  (mounts[3])",
        ]
    );
    let MountOp::Bind(bind) = &planned.mounts[3].op else { panic!("no bind") };
    assert_eq!(bind.source, Path::new("/volumes/data/_data/x/y"));
}

fn added(kind: &str, source: Option<&str>, destination: &str) -> AddedMount {
    let options = if kind == "bind" { vec!["rbind".to_owned()] } else { Vec::new() };
    AddedMount {
        place: format!("-v {destination}"),
        destination: destination.into(),
        kind: kind.into(),
        source: source.map(Into::into),
        options,
        ..AddedMount::default()
    }
}

#[test]
fn added_mounts_find_their_place() {
    let mut case = Case::new();
    let image = AddedMount { precedence: Precedence::Yields, ..added("volume", None, "/free") };
    case.added = vec![
        added("bind", Some("/s"), "/a/b/"),
        added("volume", Some("data"), "/x"),
        added("volume", Some("data"), "/new"),
        image.clone(),
        AddedMount { destination: "/x".into(), ..image },
    ];
    let planned = case.mounts(json!([
        {"destination": "/a/b", "type": "tmpfs"},
        {"destination": "/x/y", "type": "tmpfs"},
    ]));
    let lines: Vec<String> = planned.mounts.iter().take(5).map(Mount::to_string).collect();
    assert_eq!(
        lines,
        [
            "rbind  /a/b  /s  rprivate  (-v /a/b/)",
            "rbind  /x  volume data  rprivate  (-v /x)",
            "mount  /x/y  tmpfs tmpfs  private  (mounts[1])",
            "rbind  /new  volume data  rprivate  (-v /new)",
            "rbind  /free  new volume  rprivate  (-v /free)",
        ]
    );
    let mut dev = Case::new();
    dev.added = vec![added("bind", Some("/dev"), "/dev")];
    let planned =
        dev.mounts(json!([{"destination": "/dev", "type": "tmpfs"}, {"destination": "/dev/pts", "type": "devpts"}]));
    assert_eq!(planned.mounts[0].to_string(), "rbind  /dev  /dev  rprivate  (-v /dev)");
    assert!(!planned.mounts.iter().any(|mount| mount.target.path == Path::new("/dev/pts")));
    let mut root = Case::new();
    root.added = vec![added("bind", Some("/s"), "/x/..")];
    assert_eq!(root.mounts(json!([])).problems, ["-v /x/..: invalid specification: destination can't be '/'"]);
}
