//! `spec`: writes a config.json to start from.

use super::args::{Flag, Matches};
use super::create::BUNDLE;
use super::{Command, Globals};
use anyhow::{Context as _, Result};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{getegid, geteuid};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

pub const COMMAND: Command = Command {
    name: "spec",
    about: "Write a config.json to start from",
    details: "\
It runs 'sh' in a read-only root filesystem with few capabilities.
Edit process.args and what else you need.",
    flags: &[&[BUNDLE, ROOTLESS]],
    operands: &[],
    run,
};

const ROOTLESS: Flag =
    Flag { name: "rootless", short: None, value: None, help: "Write it for the user who calls this, not for root" };

/// What `spec` writes for root on a machine with cgroup v1.
const TEMPLATE: &str = include_str!("spec.json");

fn run(_: &Globals, matches: &Matches) -> Result<i32> {
    let cgroup2 = statfs("/sys/fs/cgroup").is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC);
    let ids = matches.is_set(&ROOTLESS).then(|| (geteuid().as_raw(), getegid().as_raw()));
    let text = example(cgroup2, ids)?;
    let path = matches.value(&BUNDLE).map(Path::new).unwrap_or(Path::new("")).join("config.json");
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => anyhow::anyhow!("{} exists; remove it first", path.display()),
        _ => anyhow::Error::from(error).context(format!("create {}", path.display())),
    })?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))?;
    Ok(0)
}

/// The parts of the template in the order in which they are written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    oci_version: String,
    process: Value,
    root: Value,
    hostname: String,
    mounts: Vec<Value>,
    linux: Value,
}

/// The text of an example config; `rootless` gives the ids that are root in the container.
fn example(cgroup2: bool, rootless: Option<(u32, u32)>) -> Result<String> {
    let mut config: Config = serde_json::from_str(TEMPLATE).context("read template")?;
    if cgroup2 {
        push(&mut config.linux["namespaces"], json!({"type": "cgroup"}));
    }
    if let Some((uid, gid)) = rootless {
        make_rootless(&mut config, uid, gid);
    }
    let mut text = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    config.serialize(&mut serde_json::Serializer::with_formatter(&mut text, tabs)).context("write as JSON")?;
    Ok(String::from_utf8(text)? + "\n")
}

/// A user has one id of his own, no cgroup to set limits in, and cannot make a network namespace that leads anywhere;
/// the kernel lets nobody mount a sysfs who does not own the network namespace.
fn make_rootless(config: &mut Config, uid: u32, gid: u32) {
    retain(&mut config.linux["namespaces"], |namespace| namespace["type"] != "network");
    push(&mut config.linux["namespaces"], json!({"type": "user"}));
    config.linux["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
    config.linux["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
    if let Some(linux) = config.linux.as_object_mut() {
        linux.remove("resources");
    }
    for mount in &mut config.mounts {
        if mount["destination"] == "/sys" {
            mount["type"] = "none".into();
            mount["source"] = "/sys".into();
            mount["options"] = json!(["rbind", "nosuid", "noexec", "nodev", "ro"]);
        }
        let names_id = |option: &Value| option.as_str().is_some_and(|o| o.starts_with("uid=") || o.starts_with("gid="));
        if mount.get("options").is_some() {
            retain(&mut mount["options"], |option| !names_id(option));
        }
    }
}

fn push(array: &mut Value, value: Value) {
    array.as_array_mut().expect("an array in the template").push(value);
}

fn retain(array: &mut Value, keep: impl Fn(&Value) -> bool) {
    array.as_array_mut().expect("an array in the template").retain(keep);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command as Process;

    /// What runc 1.5 wrote on a machine with cgroup v1, where it differs from the runc that is installed.
    fn as_runc_15(mut config: Value) -> Value {
        config["ociVersion"] = "1.3.0".into();
        config["hostname"] = "rvol-runc".into();
        let capabilities = config["process"]["capabilities"].as_object_mut().unwrap();
        capabilities.remove("ambient");
        capabilities.remove("inheritable");
        config
    }

    #[test]
    fn the_same_as_runc_writes() {
        let dir = std::env::temp_dir().join(format!("rvol-runc-spec-{}", std::process::id()));
        for flags in [&[][..], &["--rootless"][..]] {
            std::fs::create_dir(&dir).unwrap();
            let runc = Process::new("runc").arg("spec").args(flags).arg("--bundle").arg(&dir).status();
            let theirs =
                runc.is_ok_and(|status| status.success()).then(|| std::fs::read(dir.join("config.json")).unwrap());
            std::fs::remove_dir_all(&dir).unwrap();
            let Some(theirs) = theirs else {
                eprintln!("skipped: runc is not installed");
                return;
            };
            let theirs = as_runc_15(serde_json::from_slice(&theirs).unwrap());
            let cgroup2 = theirs["linux"]["namespaces"].as_array().unwrap().contains(&json!({"type": "cgroup"}));
            let ids = (!flags.is_empty()).then(|| (geteuid().as_raw(), getegid().as_raw()));
            let ours: Value = serde_json::from_str(&example(cgroup2, ids).unwrap()).unwrap();
            assert_eq!(ours, theirs, "spec {flags:?}");
        }
    }

    #[test]
    fn no_capability_is_inheritable_or_ambient() {
        let config: Value = serde_json::from_str(&example(true, Some((1000, 1000))).unwrap()).unwrap();
        let sets: Vec<&String> = config["process"]["capabilities"].as_object().unwrap().keys().collect();
        assert_eq!(sets, ["bounding", "effective", "permitted"]);
        assert_eq!(config["linux"]["uidMappings"], json!([{"containerID": 0, "hostID": 1000, "size": 1}]));
        assert_eq!(config["linux"]["resources"], Value::Null);
    }

    #[test]
    fn indented_with_tabs_and_readable_by_ourselves() {
        let text = example(false, None).unwrap();
        assert!(text.starts_with("{\n\t\"ociVersion\": \"1.3.0\",\n"));
        assert!(serde_json::from_str::<oci_spec::runtime::Spec>(&text).is_ok());
    }
}
