//! The Debian package: what is in it, that it runs, and that lintian finds no error.

use std::path::{Path, PathBuf};
use std::process::Command;

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The package made of the binary under test; `None`, with a reason, where it cannot be made.
fn package(dir: &Path) -> Option<PathBuf> {
    let Some(binary) = std::env::var_os("RVOL_RUNC_BIN") else {
        eprintln!("skipped: RVOL_RUNC_BIN names no binary to pack");
        return None;
    };
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        eprintln!("skipped: there is no dpkg-deb here");
        return None;
    }
    let stage = dir.join("stage");
    output(Command::new("install").args(["-D", "-m", "0755"]).arg(binary).arg(stage.join("bin/rvol-runc")));
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    output(Command::new(env!("CARGO_BIN_EXE_rvol-manual")).arg(&stage).arg(target));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/deb.sh");
    let mut pack = Command::new(script);
    pack.arg(&stage).arg(dir).env("SOURCE_DATE_EPOCH", "1796083200");
    Some(PathBuf::from(output(&mut pack).trim()))
}

#[test]
fn the_package_installs_binary_pages_completions_and_units() {
    let dir = tempfile::tempdir().unwrap();
    let Some(package) = package(dir.path()) else { return };
    let field = |name: &str| output(Command::new("dpkg-deb").arg("-f").arg(&package).arg(name)).trim().to_owned();
    assert_eq!(field("Package"), "rvol-runc");
    assert_eq!(field("Version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(field("Depends"), "", "the binary is static");
    for source in ["glibc (= ", "libseccomp (= "] {
        assert!(field("Built-Using").contains(source), "{}", field("Built-Using"));
    }

    let tree = dir.path().join("tree");
    output(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&tree));
    for file in [
        "usr/share/man/man8/rvol-runc.8.gz",
        "usr/share/man/man8/rvol-runc-volume-create.8.gz",
        "usr/share/bash-completion/completions/rvol-runc",
        "usr/share/zsh/vendor-completions/_rvol-runc",
        "usr/share/fish/vendor_completions.d/rvol-runc.fish",
        "usr/share/doc/rvol-runc/copyright",
        "usr/share/doc/rvol-runc/changelog.gz",
        "usr/share/doc/rvol-runc/NOTICES.gz",
        "usr/share/doc/rvol-runc/volumes.md",
        "etc/apparmor.d/rvol-runc",
        "lib/systemd/system/rvol-runc-gc.service",
        "lib/systemd/system/rvol-runc-backup.timer",
        "usr/lib/rvol-runc/backup-volumes",
    ] {
        assert!(tree.join(file).is_file(), "{file}");
    }
    let version = output(Command::new(tree.join("usr/bin/rvol-runc")).arg("--version"));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
}

#[test]
fn lintian_finds_no_error() {
    if Command::new("lintian").arg("--version").output().is_err() {
        return eprintln!("skipped: there is no lintian here");
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(package) = package(dir.path()) else { return };
    let mut lintian = Command::new("lintian");
    let report = lintian.args(["--allow-root", "--fail-on", "error", "--tag-display-limit", "0"]).arg(package).output();
    let report = report.unwrap();
    let text = String::from_utf8_lossy(&report.stdout);
    // A debug build is not stripped; what is released is.
    let errors: Vec<_> =
        text.lines().filter(|line| line.starts_with("E:") && !line.contains("unstripped-binary")).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// The script of the backup timer: complete archives of every volume, old ones removed, a failure reported.
#[test]
fn the_backup_has_an_archive_of_every_volume() {
    let Some(binary) = std::env::var_os("RVOL_RUNC_BIN") else {
        return eprintln!("skipped: RVOL_RUNC_BIN names no binary");
    };
    let dir = tempfile::tempdir().unwrap();
    let (volumes, backups) = (dir.path().join("volumes"), dir.path().join("backups"));
    let rvol = |args: &[&str]| output(Command::new(&binary).args(args).env("RVOL_VOLUME_ROOT", &volumes));
    rvol(&["volume", "create", "first"]);
    rvol(&["volume", "create", "second"]);
    std::fs::write(volumes.join("first/_data/file"), "content").unwrap();
    let old = backups.join("2020-01-01");
    std::fs::create_dir_all(&old).unwrap();
    output(Command::new("touch").args(["-d", "2020-01-01"]).arg(&old));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd/backup-volumes");
    let backup = |keep: &str| {
        let mut backup = Command::new(&script);
        backup.env("RVOL_RUNC", &binary).env("RVOL_VOLUME_ROOT", &volumes);
        backup.env("BACKUP_DIR", &backups).env("BACKUP_KEEP", keep).output().unwrap()
    };
    let refused = backup("a week");
    assert!(!refused.status.success() && old.exists(), "{refused:?}");
    let done = backup("14");
    assert!(done.status.success(), "{done:?}");
    let days: Vec<_> = std::fs::read_dir(&backups).unwrap().map(|day| day.unwrap().path()).collect();
    assert_eq!(days.len(), 1, "the old backup is gone: {days:?}");
    let listed = output(Command::new("tar").arg("-tf").arg(days[0].join("first.tar")));
    assert!(listed.contains("file"), "{listed}");
    assert!(days[0].join("second.tar").is_file() && !days[0].join("second.tar.new").exists());
}
