//! The Debian package: what is in it, and that it runs.

use std::path::{Path, PathBuf};
use std::process::Command;

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_package_installs_binary_pages_and_completions() {
    let Some(binary) = std::env::var_os("RVOL_RUNC_BIN") else {
        return eprintln!("skipped: RVOL_RUNC_BIN names no binary to pack");
    };
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        return eprintln!("skipped: there is no dpkg-deb here");
    }
    let dir = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/deb.sh");
    let manual = env!("CARGO_BIN_EXE_rvol-manual");
    let package = PathBuf::from(output(Command::new(script).arg(binary).arg(manual).arg(dir.path())).trim());

    let field = |name: &str| output(Command::new("dpkg-deb").arg("-f").arg(&package).arg(name)).trim().to_owned();
    assert_eq!(field("Package"), "rvol-runc");
    assert_eq!(field("Version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(field("Depends"), "", "the binary is static");

    let tree = dir.path().join("tree");
    output(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&tree));
    for file in [
        "share/man/man8/rvol-runc.8.gz",
        "share/man/man8/rvol-runc-volume-create.8.gz",
        "share/bash-completion/completions/rvol-runc",
        "share/zsh/vendor-completions/_rvol-runc",
        "share/fish/vendor_completions.d/rvol-runc.fish",
        "share/doc/rvol-runc/copyright",
        "share/doc/rvol-runc/volumes.md",
    ] {
        assert!(tree.join("usr").join(file).is_file(), "{file}");
    }
    let version = output(Command::new(tree.join("usr/bin/rvol-runc")).arg("--version"));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
}
