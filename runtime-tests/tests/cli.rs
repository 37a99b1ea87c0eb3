//! What the commands print: version, help, features, spec, list, plan.

use runtime_tests::{Case, Value, json, needs};
use std::process::Command;

#[test]
fn version() {
    let case = Case::without_rootfs();
    for flag in ["--version", "-v"] {
        let out = case.invoke(&[flag]).ok();
        // Docker looks for the first line with "version" and those that start with "commit:".
        assert!(out.stdout.lines().next().is_some_and(|l| l.contains(" version ")), "{out}");
        assert!(out.stdout.lines().any(|l| l.starts_with("spec: 1.")), "{out}");
    }
}

#[test]
fn version_names_the_commit() {
    needs!(Rvol);
    let case = Case::without_rootfs();
    let out = case.invoke(&["--version"]).ok();
    assert!(out.stdout.starts_with("rvol-runc version "), "{out}");
    assert!(out.stdout.lines().any(|l| l.starts_with("commit: ")), "{out}");
    assert!(out.stdout.contains("spec: 1.3.0"), "{out}");
}

#[test]
fn help() {
    let case = Case::without_rootfs();
    let out = case.invoke(&["--help"]).ok();
    for command in ["create", "start", "state", "kill", "delete", "run", "list", "spec", "features"] {
        assert!(out.stdout.contains(command), "{command}: {out}");
        let own = case.invoke(&[command, "--help"]).ok();
        assert!(own.stdout.to_lowercase().contains("usage"), "{own}");
    }
}

#[track_caller]
fn features() -> Value {
    Case::without_rootfs().invoke(&["features"]).ok().json()
}

#[track_caller]
fn assert_has(features: &Value, pointer: &str, wanted: &[&str]) {
    let list = features.pointer(pointer).and_then(Value::as_array);
    let list: Vec<&str> = list.into_iter().flatten().filter_map(Value::as_str).collect();
    for item in wanted {
        assert!(list.contains(item), "{pointer} lacks {item}: {list:?}");
    }
}

#[test]
fn features_that_engines_look_for() {
    needs!(Features);
    let features = features();
    let hooks = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    assert_has(&features, "/hooks", &hooks);
    // dockerd makes `ro` recursive only where it finds rro.
    assert_has(&features, "/mountOptions", &["rro", "rbind", "ro", "rw", "rprivate", "rshared", "rslave", "tmpcopyup"]);
    assert_has(&features, "/linux/namespaces", &["pid", "network", "mount", "ipc", "uts", "user", "cgroup"]);
    assert_has(&features, "/linux/capabilities", &["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"]);
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    assert_eq!(features["linux"]["cgroup"]["v1"], true);
    assert_eq!(features["linux"]["cgroup"]["v2"], true);
}

#[test]
fn features_are_complete() {
    needs!(Rvol);
    let features = features();
    assert_eq!((&features["ociVersionMin"], &features["ociVersionMax"]), (&json!("1.0.0"), &json!("1.3.0")));
    let table = "async atime bind defaults dev diratime dirsync exec idmap iversion lazytime loud noatime nodev nodiratime \
        noexec noiversion nolazytime norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime \
        remount rexec ridmap rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate \
        rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid \
        symfollow sync tmpcopyup unbindable";
    assert_has(&features, "/mountOptions", &table.split_whitespace().collect::<Vec<_>>());
    assert_has(&features, "/linux/namespaces", &["time"]);
    let flags = [
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ];
    assert_has(&features, "/linux/seccomp/knownFlags", &flags);
    let actions = [
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_TRAP",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",
    ];
    assert_has(&features, "/linux/seccomp/actions", &actions);
    let operators = [
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_MASKED_EQ",
    ];
    assert_has(&features, "/linux/seccomp/operators", &operators);
    assert_has(
        &features,
        "/linux/seccomp/archs",
        &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"],
    );
    assert_has(&features, "/linux/memoryPolicy/modes", &["MPOL_DEFAULT", "MPOL_BIND", "MPOL_WEIGHTED_INTERLEAVE"]);
    assert_has(&features, "/linux/memoryPolicy/flags", &["MPOL_F_STATIC_NODES"]);
    for pointer in [
        "/linux/apparmor/enabled",
        "/linux/selinux/enabled",
        "/linux/intelRdt/enabled",
        "/linux/intelRdt/schemata",
        "/linux/intelRdt/monitoring",
        "/linux/mountExtensions/idmap/enabled",
        "/linux/netDevices/enabled",
    ] {
        assert_eq!(features.pointer(pointer), Some(&json!(true)), "{pointer}");
    }
}

/// An engine shows these to its users, or refuses them in images: whatever the program acts upon is listed.
#[test]
fn features_names_every_annotation_that_has_an_effect() {
    needs!(Rvol);
    let annotations = [
        "io.kubernetes.cri-o.ContainerType",
        "io.kubernetes.cri-o.Labels",
        "io.kubernetes.cri-o.SandboxID",
        "io.kubernetes.cri.container-type",
        "io.kubernetes.cri.sandbox-id",
        "io.kubernetes.cri.sandbox-namespace",
        "org.criu.config",
        "org.systemd.property.",
        "run.oci.keep_original_groups",
        "rvol.image-volumes",
        "rvol.volumes",
        "rvol.volumes-from",
    ];
    assert_eq!(features()["potentiallyUnsafeConfigAnnotations"], json!(annotations));
}

#[test]
fn every_mount_option_that_features_names_is_taken() {
    needs!(Rvol);
    let features = features();
    let mut case = Case::new();
    let source = case.make_dir("source");
    let options = features["mountOptions"].as_array().expect("options").iter().filter_map(Value::as_str);
    // A remount needs something to change, an idmap its mappings.
    let special = ["remount", "idmap", "ridmap", "tmpcopyup"];
    let of_volumes = ["copy", "driver", "driver-opt", "label", "nocopy", "nocreate", "subpath"];
    for (n, option) in options.filter(|o| !special.contains(o) && !of_volumes.contains(o)).enumerate() {
        case.mount(&format!("/data/{n}"), "none", &source, &["rbind", option]);
    }
    case.run().ok();
}

#[test]
fn spec_writes_a_config_that_runs() {
    let mut case = Case::new();
    let spec = |case: &Case| {
        let mut command = case.command();
        command.current_dir(case.bundle()).arg("spec");
        case.finish(command)
    };
    spec(&case).ok();
    let text = case.read("bundle/config.json");
    case.config = serde_json::from_str(&text).expect("JSON");
    assert_eq!(case.config["root"]["path"], "rootfs");
    // It does not overwrite.
    spec(&case).fails().says("exist");
    assert_eq!(case.read("bundle/config.json"), text);
    let cgroup = format!("/{}", case.token);
    case.set("/process/terminal", json!(false)).set("/linux/cgroupsPath", json!(cgroup)).args(&["/bin/echo", "hello"]);
    assert_eq!(case.run().ok().stdout, "hello\n");
}

#[test]
fn spec_takes_a_bundle() {
    let case = Case::without_rootfs();
    let bundle = case.bundle();
    case.invoke(&["spec", "--bundle", bundle.to_str().expect("UTF-8")]).ok();
    assert!(bundle.join("config.json").is_file());
}

#[test]
fn spec_for_rootless() {
    let case = Case::without_rootfs();
    let bundle = case.bundle();
    case.invoke(&["spec", "--rootless", "-b", bundle.to_str().expect("UTF-8")]).ok();
    let spec: Value = serde_json::from_str(&case.read("bundle/config.json")).expect("JSON");
    let namespaces = spec["linux"]["namespaces"].as_array().expect("namespaces");
    assert!(namespaces.iter().any(|n| n["type"] == "user"));
    assert_eq!(spec["linux"]["uidMappings"][0]["size"], 1);
}

#[test]
fn list_as_a_table() {
    let mut case = Case::new();
    let empty = case.invoke(&["list"]).ok();
    let header: Vec<&str> = empty.stdout.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(header, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    case.pause().create().ok();
    let out = case.invoke(&["list"]).ok();
    let row: Vec<&str> = out.stdout.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(
        row[..4],
        [&case.id, &case.pid().to_string(), "created", case.bundle().to_str().expect("UTF-8")],
        "{out}"
    );
    assert_eq!(row[5], "root");
}

#[test]
fn list_of_ids() {
    let mut case = Case::new();
    assert_eq!(case.invoke(&["list", "-q"]).ok().stdout, "");
    case.pause().create().ok();
    assert_eq!(case.invoke(&["list", "-q"]).ok().stdout, format!("{}\n", case.id));
    assert_eq!(case.invoke(&["list", "--quiet"]).ok().stdout, format!("{}\n", case.id));
}

#[test]
fn list_as_json() {
    let mut case = Case::new();
    let empty = case.invoke(&["list", "-f", "json"]).ok().json();
    assert!(empty.is_null() || empty == json!([]), "{empty}");
    case.pause().set("/annotations", json!({ "key": "value" })).create().ok();
    let list = case.invoke(&["list", "--format", "json"]).ok().json();
    let entry = &list[0];
    assert_eq!(entry["id"], case.id.as_str());
    assert_eq!(entry["status"], "created");
    assert_eq!(entry["pid"], case.pid());
    assert_eq!(entry["annotations"]["key"], "value");
    assert!(entry["created"].is_string() && entry["bundle"].is_string() && entry["rootfs"].is_string());
    case.invoke(&["list", "-f", "xml"]).fails();
}

#[test]
fn list_survives_a_broken_entry() {
    let mut case = Case::new();
    case.pause().create().ok();
    std::fs::create_dir(case.state_root().join("broken")).expect("mkdir");
    std::fs::write(case.state_root().join("stray-file"), "").expect("write");
    let out = case.invoke(&["list", "-q"]).ok();
    assert!(out.stdout.contains(&case.id), "{out}");
}

#[test]
fn debug_logs() {
    let case = Case::new();
    let log = case.path("log");
    let bundle = case.bundle();
    case.write_config();
    let words = ["--debug", "--log", &log, "run", "--bundle", bundle.to_str().expect("UTF-8"), &case.id];
    case.invoke(&words).ok();
    assert!(!case.read("log").is_empty());
}

#[test]
fn a_warning_goes_to_the_log() {
    needs!(Rvol);
    let mut case = Case::new();
    case.caps(&["CAP_MADE_UP"]).write_config();
    let log = case.path("log");
    let bundle = case.bundle();
    let bundle = bundle.to_str().expect("UTF-8");
    case.invoke(&["--log", &log, "--log-format", "json", "run", "--bundle", bundle, &case.id]).ok();
    let text = case.read("log");
    let warning = text.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()).find(|r| r["level"] == "warning");
    assert!(warning.is_some_and(|w| w["msg"].as_str().is_some_and(|m| m.contains("CAP_MADE_UP"))), "{text}");
}

/// The plan of the case, by a user without any privilege.
fn plan(case: &Case, flags: &[&str]) -> Command {
    case.write_config();
    let runtime = case.dir.join("runtime-for-all");
    if !runtime.exists() {
        std::fs::copy(&runtime_tests::runtime().path, &runtime).expect("copy the runtime");
    }
    let mut command = runtime_tests::command::quiet("setpriv".as_ref());
    command.args(["--reuid", "4242", "--regid", "4242", "--clear-groups", "--"]).arg(runtime).arg("plan");
    command.args(flags).arg(case.bundle());
    command
}

#[test]
fn plan_says_what_create_does() {
    needs!(Rvol);
    let mut case = Case::new();
    case.bind("/etc", "/data/etc", &["ro", "nosuid", "rslave"]).mount("/data/tmp", "tmpfs", "tmpfs", &["size=1m"]);
    case.set("/linux/devices", json!([{ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229 }]));
    case.set("/hooks/createRuntime", json!([{ "path": "/bin/true" }]))
        .set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    case.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW" }));
    let out = case.finish(plan(&case, &[])).ok();
    for text in [
        "/data/etc",
        "/etc",
        "slave",
        "/data/tmp",
        "size=1m",
        "/dev/fuse",
        "/bin/true",
        "ip_forward",
        "/proc/keys",
        "/proc/sys",
        "CAP_KILL",
        "seccomp",
        "pid",
        "box",
    ] {
        assert!(out.stdout.contains(text), "{text}: {out}");
    }
    let at = |text: &str| out.stdout.find(text).unwrap_or_default();
    assert!(at("/data/etc") < at("/data/tmp"), "in order: {out}");
}

#[test]
fn plan_as_json() {
    needs!(Rvol);
    let mut case = Case::new();
    case.bind("/etc", "/data/etc", &["ro"]);
    let plan = case.finish(plan(&case, &["--format", "json"])).ok().json();
    let mounts = plan["mounts"].as_array().expect("mounts");
    assert!(mounts.iter().any(|m| m["target"]["path"] == "/data/etc"), "{plan}");
    assert_eq!(plan["hostname"], "box");
}

#[test]
fn plan_does_nothing() {
    needs!(Rvol);
    let mut case = Case::new();
    case.bind("/no/such/source", "/made/up", &[]);
    case.finish(plan(&case, &[])).ok();
    assert!(!case.rootfs().join("made").exists());
    assert_eq!(std::fs::read_dir(case.state_root()).expect("list").count(), 0);
    case.assert_nothing_left();
}

#[test]
fn plan_refuses_what_create_refuses() {
    needs!(Rvol);
    let mut case = Case::new();
    case.set("/process/cwd", json!("relative")).set("/linux/maskedPaths", json!(["relative"]));
    let planned = case.finish(plan(&case, &[])).fails();
    let created = case.create().fails();
    for place in ["process.cwd", "linux.maskedPaths[0]"] {
        assert!(planned.stderr.contains(place) && created.stderr.contains(place), "{planned}\n{created}");
    }
}

#[test]
fn trace_shows_where_the_time_goes() {
    needs!(Rvol);
    let mut case = Case::new();
    case.args(&["/bin/echo", "hello"]).write_config();
    let bundle = case.bundle();
    let words = ["--trace", "run", "--bundle", bundle.to_str().expect("UTF-8"), &case.id];
    let outcome = case.invoke(&words).ok();
    assert_eq!(outcome.stdout, "hello\n");
    let lines: Vec<Vec<&str>> = outcome.stderr.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["at/µs", "took/µs", "process", "phase"]);
    // Moments in order; each phase but the last of each process with what it took.
    let at = |line: &Vec<&str>| line[0].parse::<u64>().expect("a number");
    assert!(lines[1..].windows(2).all(|pair| at(&pair[0]) <= at(&pair[1])), "{}", outcome.stderr);
    let find = |process: &str, phase: &str| {
        lines[1..].iter().position(|line| line.contains(&process) && line.join(" ").ends_with(phase))
    };
    for (process, phase) in [("runtime", "begin again, sealed"), ("runtime", "make the cgroup"), ("init", "mount")] {
        assert!(find(process, phase).is_some(), "{process} {phase}: {}", outcome.stderr);
    }
    assert!(find("runtime", "clone init") < find("init", "change the root"), "{}", outcome.stderr);
    assert_eq!(case.run().ok().stderr, "", "without the flag there is none");
}
