//! How the binary is linked and started, and the commit that a release build is made from (`RVOL_COMMIT`), for `--version`.
//!
//! From the environment, where a packager sets it; else from git, where this directory is the top of a checkout; else
//! not at all. The same commit gives the same binary. Debug builds have none, so that a commit rebuilds nothing.

use std::path::Path;
use std::process::Command;

const VARIABLE: &str = "RVOL_COMMIT";

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-changed=build.rs");
    // Static at a fixed address and not static-pie, so that nothing has to be relocated at each start
    // (docs/performance.md). Here and not as a relocation model, which would be for every test program too.
    println!("cargo::rustc-link-arg-bins=-no-pie");
    println!("cargo::rustc-link-arg-bins=-static");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|v| v == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        // What commands touch lies together: fewer pages are mapped (docs/performance.md).
        let script = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("link/hot.ld");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
        println!("cargo::rerun-if-changed={}", script.display());
    }
    println!("cargo::rustc-check-cfg=cfg(own_start)");
    if has_known_glibc() {
        println!("cargo::rustc-cfg=own_start");
    }
    let given = std::env::var(VARIABLE).ok().filter(|commit| !commit.is_empty());
    if let Some(commit) = given.or_else(from_git) {
        println!("cargo::rustc-env={VARIABLE}={commit}");
    }
}

/// Whether the C library that is linked in is the one whose start code `src/sys/start.rs` takes the place of. Its functions
/// are glibc's private ones: another version may have others.
fn has_known_glibc() -> bool {
    const KNOWN: &[u8] = b"stable release version 2.36.\n";
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|v| v == value);
    if !is("CARGO_CFG_TARGET_ARCH", "x86_64") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return false;
    }
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let linker = std::env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".into());
    let Ok(output) = Command::new(linker).arg("-print-file-name=libc.a").output() else { return false };
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    println!("cargo::rerun-if-changed={path}");
    let archive = std::fs::read(&path).unwrap_or_default();
    archive.windows(KNOWN.len()).any(|bytes| bytes == KNOWN)
}

fn from_git() -> Option<String> {
    if std::env::var("PROFILE").ok()? != "release" {
        return None;
    }
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(".").canonicalize().ok()? {
        return None;
    }
    // The log of HEAD grows with each commit and checkout.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists());
    for path in ["src", "Cargo.toml", "Cargo.lock"].into_iter().map(str::to_owned).chain(log) {
        println!("cargo::rerun-if-changed={path}");
    }
    git(&["describe", "--always", "--long", "--dirty", "--abbrev=12"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
