//! Each rule as a row: what is changed in a correct config, and the problems that must be reported.

mod linux;
mod process;
mod top;

use super::{Plan, Problem, Request};
use crate::bundle::Bundle;
use crate::host::Host;
use serde_json::{Value, json};
use std::path::PathBuf;

/// A config without fault.
fn config() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "root": { "path": "rootfs" },
        "hostname": "box",
        "process": { "user": { "uid": 0, "gid": 0 }, "cwd": "/", "args": ["sh"], "env": ["PATH=/bin"] },
        "linux": { "namespaces": [
            { "type": "pid" }, { "type": "mount" }, { "type": "uts" }, { "type": "ipc" }, { "type": "network" }
        ] }
    })
}

/// `base` with `patch` merged into it: objects member by member, null removes, anything else replaces (RFC 7386).
fn merge(base: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *base = patch.clone();
        return;
    };
    if !base.is_object() {
        *base = json!({});
    }
    let Some(object) = base.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            object.remove(name);
        } else {
            merge(object.entry(name).or_insert(Value::Null), value);
        }
    }
}

fn request() -> Request {
    Request { id: "c1".into(), bundle: "/bundle".into(), ..Request::default() }
}

fn plan_on(host: &Host, patch: &Value) -> Result<Plan, Vec<Problem>> {
    let mut config = config();
    merge(&mut config, patch);
    let bundle = Bundle::from_json(PathBuf::from("/bundle"), config.to_string().as_bytes()).unwrap();
    Plan::new(&bundle, &request(), host)
}

/// The plan of the config with `patch`, which must be without fault.
fn planned(patch: Value) -> Plan {
    plan_on(&Host::example(), &patch).unwrap_or_else(|problems| panic!("{patch}: {}", list(&problems)))
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("{p}\n")).collect()
}

/// Rows of a patch and the problems it must give, in any order.
fn check(rows: &[(Value, &[&str])]) {
    check_on(&Host::example(), rows);
}

fn check_on(host: &Host, rows: &[(Value, &[&str])]) {
    for (patch, expected) in rows {
        let mut found = match plan_on(host, patch) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(Problem::to_string).collect(),
        };
        let mut expected = expected.to_vec();
        found.sort();
        expected.sort_unstable();
        assert_eq!(found, expected, "{patch}");
    }
}
