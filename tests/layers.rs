//! The layers of docs/architecture.md, held against the `use crate::` lines; and `unsafe` only in `sys`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Module and what of ours it may import.
const LAYERS: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("annotations", &[]),
    ("clock", &[]),
    ("log", &["clock", "sys"]),
    ("trace", &["sys"]),
    ("host", &["sys"]),
    ("bundle", &["plan", "sys"]),
    ("plan", &["annotations", "bundle", "host"]),
    ("state", &["plan"]),
    ("ipc", &["sys"]),
    ("store", &["holder", "ipc", "state", "sys"]),
    ("holder", &["sys"]),
    ("hooks", &["plan", "sys"]),
    ("rootfs", &["plan", "sys"]),
    ("cgroup", &["host", "plan", "sys"]),
    ("security", &["ipc", "plan", "sys"]),
    ("network", &["plan", "sys"]),
    ("rdt", &["plan", "sys"]),
    ("criu", &["sys"]),
    ("volumes", &["clock", "holder", "plan", "rootfs", "sys"]),
    ("init", &["cgroup", "hooks", "ipc", "network", "plan", "rootfs", "security", "state", "sys", "trace"]),
    (
        "runtime",
        &[
            "annotations",
            "bundle",
            "cgroup",
            "clock",
            "criu",
            "holder",
            "hooks",
            "host",
            "init",
            "ipc",
            "log",
            "network",
            "plan",
            "rdt",
            "rootfs",
            "security",
            "state",
            "store",
            "sys",
            "trace",
            "volumes",
        ],
    ),
    (
        "cli",
        &[
            "annotations",
            "bundle",
            "host",
            "log",
            "plan",
            "runtime",
            "security",
            "state",
            "store",
            "sys",
            "trace",
            "volumes",
        ],
    ),
    ("fuzzing", &["bundle", "criu", "host", "ipc", "network", "plan", "runtime", "security", "store", "volumes"]),
];

fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// The first path segments after each `crate::` of a line, groups (`crate::{a, b::c}`) included.
fn imports(line: &str) -> Vec<String> {
    let name = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    line.match_indices("crate::")
        .flat_map(|(at, _)| {
            let rest = &line[at + "crate::".len()..];
            let mut depth = 0;
            match rest.strip_prefix('{') {
                None => vec![name(rest)],
                Some(group) => group
                    .split(|c: char| {
                        depth += i32::from(c == '{') - i32::from(c == '}');
                        c == ',' && depth == 0
                    })
                    .map(|part| name(part.trim()))
                    .collect(),
            }
        })
        .filter(|n| !n.is_empty())
        .collect()
}

#[test]
fn nobody_imports_upwards() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let module = relative.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        let allowed = layers.get(module).unwrap_or_else(|| panic!("{module} has no layer; give it one here"));
        let text = std::fs::read_to_string(&file).unwrap();
        // A unit test may look anywhere.
        let code = text.split("#[cfg(test)]").next().unwrap();
        let statements = code.split(';').map(|s| s.split_whitespace().collect::<Vec<_>>().join(" "));
        for import in statements.flat_map(|s| imports(&s)) {
            let known = layers.contains_key(import.as_str());
            if known && import != module && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{} imports {import}", relative.display()));
            }
        }
        if module != "sys" && code.lines().any(|l| !l.trim_start().starts_with("//") && l.contains("unsafe ")) {
            wrong.push(format!("{} has unsafe code", relative.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
