//! A criu that can dump on this machine: Debian 12's cannot on newer kernels.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A `PATH` whose criu has dumped a process of ours just now, or why there is none: the machine's own criu, or the one
/// that `runtime-tests/criu.py` has unpacked in `target/criu`.
pub fn path() -> &'static Result<OsString, String> {
    static PATH: OnceLock<Result<OsString, String>> = OnceLock::new();
    PATH.get_or_init(|| {
        let own = std::env::var_os("PATH").unwrap_or_default();
        let unpacked = unpacked().join("bin");
        let with_unpacked = std::env::join_paths(std::iter::once(unpacked.clone()).chain(std::env::split_paths(&own)));
        let paths = [Some(own), with_unpacked.ok().filter(|_| unpacked.join("criu").exists())];
        let mut reasons = Vec::new();
        for path in paths.into_iter().flatten() {
            match probe(&path) {
                Ok(()) => return Ok(path),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(reasons.join("; "))
    })
}

/// What criu needs in its environment here. It sets hardware breakpoints, for which the kernel rewrites its scheduler's
/// code, and that ends in a panic on two CPUs that qemu emulates: 130 is criu's own switch to do without.
pub fn environment() -> Option<(&'static str, &'static str)> {
    let emulated = fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("QEMU TCG"));
    emulated.then_some(("CRIU_FAULT", "130"))
}

/// Where `runtime-tests/criu.py` unpacks one.
fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/criu")
}

/// Puts the unpacked criu into a sandbox's `bin`, if it is the one that can dump; `seen` is the sandbox's directory as it
/// is seen inside.
pub fn install(sandbox: &Path, seen: &str) {
    let criu = unpacked();
    if !path().as_ref().is_ok_and(|path| std::env::split_paths(path).next() == Some(criu.join("bin"))) {
        return;
    }
    let copied = Command::new("cp").arg("-r").arg(criu.join("root")).arg(sandbox.join("criu")).status();
    assert!(copied.is_ok_and(|status| status.success()), "copy criu to {}", sandbox.display());
    let wrapper = fs::read_to_string(criu.join("bin/criu")).expect("read criu's wrapper");
    let line = |line: &str| match line.starts_with("root=") {
        true => format!("root={seen}/criu\n"),
        false => format!("{line}\n"),
    };
    let file = sandbox.join("bin/criu");
    fs::write(&file, wrapper.lines().map(line).collect::<String>()).expect("write criu's wrapper");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("make it executable");
}

/// Dumps a process that does nothing.
fn probe(path: &OsString) -> Result<(), String> {
    let Some(criu) = std::env::split_paths(path).map(|dir| dir.join("criu")).find(|file| file.is_file()) else {
        return Err("there is no criu".into());
    };
    let directory = std::env::temp_dir().join(format!("rvt-criu-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).map_err(|e| format!("make {}: {e}", directory.display()))?;
    let dumped = dump(&criu, &directory);
    let _ = fs::remove_dir_all(&directory);
    dumped.map_err(|reason| format!("{} cannot dump a process: {reason}", criu.display()))
}

fn dump(criu: &PathBuf, directory: &Path) -> Result<(), String> {
    let null = || Stdio::null();
    let mut sleeper = Command::new("setsid")
        .args(["sleep", "1000"])
        .stdin(null())
        .stdout(null())
        .stderr(null())
        .spawn()
        .map_err(|e| format!("setsid: {e}"))?;
    // Until it is what it shall be.
    let is_ready = || fs::read(format!("/proc/{}/cmdline", sleeper.id())).is_ok_and(|line| line.starts_with(b"sleep"));
    crate::waiting::until(crate::command::LIMIT, || is_ready().then_some(()));
    let output = Command::new(criu)
        .args(["dump", "-v1", "-o", "dump.log", "-t", &sleeper.id().to_string(), "-D"])
        .arg(directory)
        .envs(environment())
        .stdin(null())
        .output();
    let _ = sleeper.kill();
    let _ = sleeper.wait();
    let output = output.map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let log = fs::read_to_string(directory.join("dump.log")).unwrap_or_default();
    Err(log.lines().find(|line| !line.contains("RLIMIT_NOFILE")).unwrap_or("no word in its log").to_owned())
}

/// Ends the test here, with a printed reason, where no criu can dump; else the `PATH` to call the runtime with.
#[macro_export]
macro_rules! needs_criu {
    () => {
        match $crate::criu::path() {
            Ok(path) => path,
            Err(reason) => {
                $crate::features::skip(reason);
                return;
            }
        }
    };
}
