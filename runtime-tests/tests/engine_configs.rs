//! The configs that engines really write (`tests/configs`), with this test's root filesystem and directories in place
//! of theirs.

use runtime_tests::{Case, Facts, Value, json, needs, needs_machine};
use std::fs;
use std::path::Path;

/// The config of that name, made to run here: nothing of the engine's machine is left in it but its wishes.
fn engine(name: &str) -> Case {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/configs");
    let text = fs::read_to_string(configs.join(format!("{name}.json"))).expect("read the engine's config");
    let mut case = Case::new();
    case.config = serde_json::from_str(&text).expect("JSON");
    let cgroup = format!("/{}", case.token);
    case.set("/root/path", json!("rootfs")).set("/linux/cgroupsPath", json!(cgroup));
    // The engine's network hook, and limits, which have tests of their own.
    case.unset("/hooks").unset("/linux/resources");
    let sources = stand_ins(&case);
    for (at, source) in sources {
        case.set(&format!("/mounts/{at}/source"), json!(source));
    }
    for namespace in case.config["linux"]["namespaces"].as_array_mut().expect("namespaces") {
        namespace.as_object_mut().expect("an object").remove("path");
    }
    // rshared asks for a shared mount of the host, which this one is not.
    for mount in case.config["mounts"].as_array_mut().expect("mounts") {
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|o| o != "rshared");
        }
    }
    let map = case.config["linux"]["uidMappings"][0]["hostID"].as_u64();
    if let Some(root) = map {
        runtime_tests::case::chown_tree(&case.rootfs(), root as u32);
    }
    case.set("/process/terminal", json!(false)).args(&["/bin/probe", "facts"]);
    case
}

/// For each bind mount whose source is of another machine a directory or file of this case.
fn stand_ins(case: &Case) -> Vec<(usize, String)> {
    let mut made = Vec::new();
    for (at, mount) in case.config["mounts"].as_array().expect("mounts").iter().enumerate() {
        let source = mount["source"].as_str().unwrap_or_default();
        if mount["type"] != "bind" || !source.starts_with('/') || source.starts_with("/sys") {
            continue;
        }
        let name = source.rsplit('/').next().unwrap_or_default();
        let file = ["hosts", "hostname", "resolv.conf", ".containerenv"].contains(&name);
        let own = format!("source-{at}");
        made.push((at, if file { case.make_file(&own, "") } else { case.make_dir(&own) }));
    }
    made
}

#[track_caller]
fn run(case: &Case) -> Facts {
    let out = case.run().ok();
    case.assert_nothing_left();
    Facts::of(&out)
}

/// What every one of them must give: its mounts, its user, its environment.
#[track_caller]
fn check(name: &str) -> Facts {
    let case = engine(name);
    let facts = run(&case);
    for mount in case.config["mounts"].as_array().expect("mounts") {
        let destination = mount["destination"].as_str().expect("a destination");
        assert!(facts.has_mount(destination), "{name}: {destination}: {:?}", facts.mount_points());
    }
    let user = &case.config["process"]["user"];
    assert_eq!(facts["uid"][0], user["uid"], "{name}");
    let groups = user["additionalGids"].clone();
    assert_eq!(facts["groups"], if groups.is_null() { json!([]) } else { groups }, "{name}");
    for entry in case.config["process"]["env"].as_array().expect("env") {
        assert!(facts["env"].as_array().is_some_and(|e| e.contains(entry)), "{name}: {entry}");
    }
    assert_eq!(facts["no_new_privs"], u64::from(case.config["process"]["noNewPrivileges"] == true), "{name}");
    let filtered = case.config["linux"]["seccomp"].is_object();
    assert_eq!(facts["seccomp"], if filtered { json!(2) } else { json!(0) }, "{name}");
    facts
}

#[test]
fn docker() {
    let facts = check("docker-default");
    assert_eq!(facts.caps("effective").len(), 14);
}

#[test]
fn docker_with_a_volume_a_terminal_and_limits() {
    check("docker-anon-volume");
    check("docker-limits");
    check("docker-tty");
}

#[test]
fn docker_privileged() {
    needs!(UngrantableCapabilities);
    assert!(check("docker-privileged").caps("effective").len() > 30);
}

#[test]
fn containerd() {
    check("ctr-default");
    check("ctr-seccomp");
}

#[test]
fn containerd_privileged() {
    needs!(UngrantableCapabilities);
    check("ctr-privileged");
}

#[test]
fn kubernetes() {
    check("cri-sandbox");
    check("cri-container");
}

#[test]
fn kubernetes_privileged() {
    needs!(UngrantableCapabilities);
    check("cri-privileged");
}

#[test]
fn podman() {
    check("podman-default");
    check("podman-kube");
}

#[test]
fn podman_for_systemd() {
    needs_machine!(Path::new("/sys/fs/cgroup/systemd").exists(), "the config is for a machine with cgroup v1");
    check("podman-systemd");
}

#[test]
fn podman_privileged() {
    needs!(UngrantableCapabilities);
    check("podman-privileged");
}

#[test]
fn podman_with_a_user_namespace() {
    let facts = check("podman-userns");
    assert_eq!(facts["uid"], json!([0, 0, 0, 0]));
}

#[test]
fn buildah() {
    check("buildah-bud");
}

#[test]
fn every_config_is_covered_here() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/configs");
    let names = fs::read_dir(configs).expect("list").flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    let this = include_str!("engine_configs.rs");
    // An unprivileged user's is like tests/rootless.rs; volumes are a later part.
    let elsewhere = ["podman-rootless.json", "ctr-type-volume.json"];
    let missing: Vec<String> =
        names.filter(|n| !elsewhere.contains(&n.as_str()) && !this.contains(n.trim_end_matches(".json"))).collect();
    assert_eq!(Value::from(missing), json!([]));
}
