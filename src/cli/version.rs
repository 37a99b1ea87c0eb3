//! `version` and `--version`: in the lines that Docker parses (`NAME version X`, `commit: …`).

use super::args::Matches;
use super::{Command, Globals};
use anyhow::Result;
use std::fmt::Write as _;

pub const COMMAND: Command = Command {
    name: "version",
    about: "Show the versions of the program, the runtime-spec and libseccomp",
    details: "",
    flags: &[],
    operands: &[],
    run: |_: &Globals, _: &Matches| print().map(|()| 0),
};

/// The newest runtime-spec that is carried out.
pub const SPEC: &str = "1.3.0";
/// The oldest that is accepted.
pub const SPEC_MIN: &str = "1.0.0";
pub const PROGRAM: &str = env!("CARGO_PKG_VERSION");
/// Given by the build script, where the source is a git checkout.
pub const COMMIT: Option<&str> = option_env!("RVOL_COMMIT");

pub fn print() -> Result<()> {
    super::print(&text())
}

/// The version of libseccomp that is linked in, such as `2.5.4`.
pub fn libseccomp() -> Option<String> {
    let version = libseccomp::ScmpVersion::current().ok()?;
    Some(format!("{}.{}.{}", version.major, version.minor, version.micro))
}

pub fn text() -> String {
    let mut text = format!("rvol-runc version {PROGRAM}\n");
    // Writing to a String cannot fail. No line but the first may hold the word "version".
    if let Some(commit) = COMMIT {
        _ = writeln!(text, "commit: {commit}");
    }
    _ = writeln!(text, "spec: {SPEC}");
    if let Some(version) = libseccomp() {
        _ = writeln!(text, "libseccomp: {version}");
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn docker_finds_name_and_version() {
        let text = super::text();
        let lines: Vec<_> = text.lines().filter(|line| line.contains("version")).collect();
        assert_eq!(lines, [format!("rvol-runc version {}", env!("CARGO_PKG_VERSION"))]);
        assert!(text.lines().any(|line| line == "spec: 1.3.0"), "{text}");
        assert!(text.lines().any(|line| line.starts_with("libseccomp: 2.")), "{text}");
    }
}
