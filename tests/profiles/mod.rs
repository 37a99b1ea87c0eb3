//! The seccomp profiles that engines hand out, as they stood in real bundles.

use super::{Action, Arg, Compare, Filter, Rule};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The files beside this one.
pub fn all() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/profiles");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "json")).collect()
}

/// Reads `linux.seccomp` of a bundle.
pub fn read(path: &Path) -> Filter {
    let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    Filter {
        default_action: action(&json["defaultAction"], &json["defaultErrnoRet"]),
        architectures: strings(&json["architectures"]),
        rules: json["syscalls"].as_array().unwrap().iter().map(rule).collect(),
    }
}

fn strings(json: &Value) -> Vec<String> {
    json.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn rule(json: &Value) -> Rule {
    Rule {
        names: strings(&json["names"]),
        action: action(&json["action"], &json["errnoRet"]),
        args: json["args"].as_array().map_or(vec![], |args| args.iter().map(arg).collect()),
    }
}

fn arg(json: &Value) -> Arg {
    let op = match json["op"].as_str().unwrap() {
        "SCMP_CMP_NE" => Compare::NotEqual,
        "SCMP_CMP_EQ" => Compare::Equal,
        "SCMP_CMP_MASKED_EQ" => Compare::MaskedEqual,
        other => panic!("{other}"),
    };
    Arg {
        index: json["index"].as_u64().unwrap() as u8,
        op,
        value: json["value"].as_u64().unwrap(),
        value_two: json["valueTwo"].as_u64().unwrap_or(0),
    }
}

fn action(json: &Value, errno: &Value) -> Action {
    match json.as_str().unwrap() {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(errno.as_u64().unwrap_or(1) as u16),
        other => panic!("{other}"),
    }
}
