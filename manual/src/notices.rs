//! The licence texts of the crates that are linked into the binary.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Asks cargo for the crates of the workspace's own package, and returns their licences, one crate after the other.
pub fn text(target: &str) -> Result<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", target]);
    metadata.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")]);
    let output = metadata.output().context("run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("read what cargo metadata prints")?;
    let mut text = String::from("What is linked into rvol-runc, and under which licences.\n");
    for package in linked(&metadata)? {
        let field = |name: &str| package[name].as_str().unwrap_or_default();
        writeln!(text, "\n{}\n{} {}: {}", "=".repeat(80), field("name"), field("version"), field("license"))?;
        for (name, licence) in licences(Path::new(field("manifest_path")))? {
            writeln!(text, "\n--- {name} ---\n{}", licence.trim_end())?;
        }
    }
    Ok(text)
}

/// The packages that `rvol-runc` reaches through normal dependencies: no procedural macros' and build scripts' own.
fn linked(metadata: &Value) -> Result<Vec<&Value>> {
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let nodes: BTreeMap<String, Value> = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .map(|node| (node["id"].as_str().unwrap_or_default().to_owned(), node))
        .collect();
    let root = packages.iter().find(|package| package["name"] == "rvol-runc").context("rvol-runc is no package")?;
    let mut open = vec![root["id"].as_str().unwrap_or_default().to_owned()];
    let mut seen = BTreeSet::new();
    let macros: BTreeSet<&str> =
        packages.iter().filter(|package| is_macro(package)).filter_map(|package| package["id"].as_str()).collect();
    while let Some(id) = open.pop() {
        // What a procedural macro uses runs in the compiler.
        if macros.contains(id.as_str()) {
            continue;
        }
        let Some(node) = nodes.get(&id).filter(|_| seen.insert(id.clone())) else { continue };
        for dependency in list(&node["deps"]) {
            if list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()) {
                open.push(dependency["pkg"].as_str().unwrap_or_default().to_owned());
            }
        }
    }
    let is_linked = |package: &&Value| {
        let id = package["id"].as_str().unwrap_or_default();
        seen.contains(id) && package["id"] != root["id"]
    };
    Ok(packages.iter().filter(is_linked).collect())
}

fn is_macro(package: &Value) -> bool {
    let kinds = package["targets"].as_array().into_iter().flatten().flat_map(|target| target["kind"].as_array());
    kinds.flatten().any(|kind| kind == "proc-macro")
}

/// The files of a crate whose names say that they are about its licence.
fn licences(manifest: &Path) -> Result<BTreeMap<String, String>> {
    let directory = manifest.parent().context("a manifest without a directory")?;
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        let entry = entry.with_context(|| format!("read {}", directory.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let upper = name.to_ascii_uppercase();
        let about_licence = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
        if about_licence.iter().any(|word| upper.starts_with(word)) && entry.path().is_file() {
            let text = std::fs::read(entry.path()).with_context(|| format!("read {}", entry.path().display()))?;
            found.insert(name, String::from_utf8_lossy(&text).into_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_linked_crate_has_its_licence() {
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let text = super::text(&target).unwrap();
        for name in ["serde_json", "libseccomp", "nix", "clap"] {
            assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}");
        }
        for name in ["tempfile", "serde_derive", "rvol-runc"] {
            assert!(!text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}");
        }
        assert!(!text.lines().any(|line| line.ends_with(": ")), "a crate without a licence");
    }
}
