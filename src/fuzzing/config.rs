//! What callers and engines write: config.json, process.json, resources, seccomp profiles, flags for volumes.

use super::told;
use crate::bundle::{self, Bundle, LoadError, ProcessFile};
use crate::host::{CgroupMode, Host};
use crate::plan::exec::Template;
use crate::plan::mounts::AddedMount;
use crate::plan::resources::Manager;
use crate::plan::{Plan, Problem, Problems, Request};
use crate::security::seccomp;
use crate::volumes::grammar;
use serde_json::{Value, json};
use std::path::{Component, Path, PathBuf};

/// config.json becomes a plan that can be printed and a filter that compiles, or problems with a place.
pub fn config(text: &[u8]) {
    let bundle = match Bundle::from_json("/bundle".into(), text) {
        Ok(bundle) => bundle,
        Err(error) => return refused(error),
    };
    for host in hosts() {
        match Plan::new(&bundle, &request(), &host) {
            Ok(plan) => check_plan(&plan),
            Err(problems) => shown(problems),
        }
    }
}

fn check_plan(plan: &Plan) {
    assert!(!plan.to_string().is_empty());
    if let Some(filter) = plan.seccomp.as_ref().map(|seccomp| &seccomp.filter) {
        seccomp::check_compiled(filter);
    }
    // What `create` keeps of it for `exec` can be read again.
    let template = Template::of(plan);
    let text = serde_json::to_vec(&template).expect("a template is JSON");
    assert_eq!(serde_json::from_slice::<Template>(&text).expect("a template can be read"), template);
}

/// `linux.seccomp` alone, in a config that has nothing else wrong.
pub fn seccomp(text: &[u8]) {
    let Ok(profile) = serde_json::from_slice::<Value>(text) else { return };
    let config = json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs" },
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["x"], "cwd": "/" },
        "linux": { "seccomp": profile },
    });
    let Ok(bundle) = Bundle::from_json("/bundle".into(), config.to_string().as_bytes()) else { return };
    let [host, _] = hosts();
    match Plan::new(&bundle, &request(), &host) {
        Ok(plan) => check_plan(&plan),
        Err(problems) => shown(problems),
    }
}

/// The file of `exec --process` becomes a process, or problems; with a container's own process and without one.
pub fn process(text: &[u8]) {
    let file = match ProcessFile::from_json(text) {
        Ok(file) => file,
        Err(error) => return refused(error),
    };
    let own =
        br#"{"ociVersion":"1.0.2","root":{"path":"r"},"process":{"user":{"uid":1,"gid":1},"args":["x"],"cwd":"/"}}"#;
    let bundle = Bundle::from_json("/bundle".into(), own).expect("our own config");
    let [host, _] = hosts();
    let template = Template::of(&Plan::new(&bundle, &request(), &host).expect("our own config"));
    for template in [Template { process: None, ..template.clone() }, template] {
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        template.from_file(&file.process, &mut problems, &mut warnings);
        assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
    }
}

/// The resources of `update` become limits, or problems.
pub fn resources(text: &[u8]) {
    let Some(value) = told(bundle::read_resources(text)) else { return };
    if let Some((resources, _warnings)) = told(bundle::resources(value)) {
        let text = serde_json::to_vec(&resources).expect("resources are JSON");
        let read: crate::plan::resources::Resources = serde_json::from_slice(&text).expect("resources can be read");
        assert_eq!(read, resources);
    }
}

/// The texts of `-v`, `--mount`, `--tmpfs`, `--volumes-from` and `--image-volume`: each is a mount with a clean absolute
/// destination, or refused with a reason.
pub fn volume_flags(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (cwd, place) = (Path::new("/work"), || "flag".to_owned());
    let read = [
        grammar::volume(text, cwd, place()),
        grammar::mount(text, cwd, place()),
        grammar::tmpfs(text, place()),
        grammar::image_volume(text, place()),
    ];
    for mount in read.into_iter().filter_map(told) {
        check_destination(&mount);
    }
    told(grammar::VolumesFrom::parse(text));
}

fn check_destination(mount: &AddedMount) {
    let destination = Path::new(&mount.destination);
    assert!(destination.is_absolute(), "{destination:?}");
    assert!(!destination.components().any(|part| part == Component::ParentDir), "{destination:?}");
}

fn refused(error: LoadError) {
    match error {
        LoadError::Shape(problems) => shown(problems),
        LoadError::File(error) => assert!(!format!("{error:#}").is_empty()),
    }
}

/// What is refused names a place and a reason.
fn shown(problems: Vec<Problem>) {
    assert!(!problems.is_empty());
    assert!(!Problems(problems).to_string().is_empty());
}

fn request() -> Request {
    Request {
        id: "fuzz".into(),
        bundle: "/bundle".into(),
        no_pivot: false,
        no_new_keyring: false,
        cgroup_manager: Manager::Cgroupfs,
        mounts: Vec::new(),
        volume_root: PathBuf::from("/volumes"),
    }
}

/// Root on cgroup v2, and a user on cgroup v1.
fn hosts() -> [Host; 2] {
    let root = Host {
        kernel: (6, 12),
        uid: 0,
        gid: 0,
        in_user_namespace: false,
        cgroup: CgroupMode::Unified,
        cgroup_root: "/sys/fs/cgroup".into(),
        has_user_systemd: false,
    };
    let hierarchies = ["cpu", "cpuset", "devices", "memory", "pids"].map(String::from).to_vec();
    let cgroup = CgroupMode::Legacy { hierarchies, hybrid: true };
    let user = Host { uid: 1000, gid: 1000, in_user_namespace: true, cgroup, has_user_systemd: true, ..root.clone() };
    [root, user]
}
