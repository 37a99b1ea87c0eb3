//! Which binary is under test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The runtime's family, which decides what a test may expect of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// rvol-runc: everything is expected.
    Rvol,
    Runc,
    Crun,
    /// Any other: everything is expected too.
    Other,
}

#[derive(Debug)]
pub struct Runtime {
    pub path: PathBuf,
    pub kind: Kind,
    /// Major, minor, patch as `--version` says; zeros where it says nothing.
    pub version: (u32, u32, u32),
}

/// The binary under test, found (or built) once in this process: `RUNTIME`, else `RVOL_RUNC_BIN`, else `cargo build`.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let (path, named) = match (std::env::var_os("RUNTIME"), std::env::var_os("RVOL_RUNC_BIN")) {
            (Some(name), _) if !name.is_empty() => (in_path(Path::new(&name)), true),
            (_, Some(path)) if !path.is_empty() => (PathBuf::from(path), false),
            _ => (build(), false),
        };
        let path = path.canonicalize().unwrap_or_else(|e| panic!("runtime {}: {e}", path.display()));
        let version = Command::new(&path).arg("--version").output();
        let text = version.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        Runtime { kind: if named { kind(&path, &text) } else { Kind::Rvol }, version: version_of(&text), path }
    })
}

fn kind(path: &Path, version: &str) -> Kind {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match () {
        () if name.contains("rvol") || version.contains("rvol") => Kind::Rvol,
        () if version.starts_with("runc ") => Kind::Runc,
        () if version.starts_with("crun ") => Kind::Crun,
        () => Kind::Other,
    }
}

fn version_of(text: &str) -> (u32, u32, u32) {
    let version = text.split_whitespace().find(|w| w.starts_with(|c: char| c.is_ascii_digit())).unwrap_or_default();
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

fn in_path(name: &Path) -> PathBuf {
    if name.components().count() > 1 {
        return name.to_owned();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|d| d.join(name)).find(|p| p.is_file());
    found.unwrap_or_else(|| panic!("RUNTIME={}: not found in PATH", name.display()))
}

/// Builds the release binary, which is what users get and what the budgets are about, and returns its path.
fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--package", "rvol-runc", "--bin", "rvol-runc", "--message-format=json"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate sits in the workspace"))
        .stderr(Stdio::inherit())
        .output()
        .expect("run cargo");
    assert!(output.status.success(), "cargo build --release -p rvol-runc failed");
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = messages
        .lines()
        .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok())
        .find_map(|m| m["executable"].as_str().map(PathBuf::from));
    executable.expect("cargo names the binary that it built")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version_of("runc version 1.1.5+ds1\ncommit: 1"), (1, 1, 5));
        assert_eq!(version_of("crun version 1.29\n"), (1, 29, 0));
        assert_eq!(version_of(""), (0, 0, 0));
    }
}
