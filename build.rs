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
    seal_early();
    let given = std::env::var(VARIABLE).ok().filter(|commit| !commit.is_empty());
    if let Some(commit) = given.or_else(from_git) {
        println!("cargo::rustc-env={VARIABLE}={commit}");
    }
}

/// Makes `src/sys/early_seal.rs` the program's entry point, with the feature and where it has code for the processor.
fn seal_early() {
    println!("cargo::rustc-check-cfg=cfg(early_seal)");
    let is = |name: &str, values: &[&str]| std::env::var(name).is_ok_and(|v| values.contains(&v.as_str()));
    if std::env::var_os("CARGO_FEATURE_EARLY_SEAL").is_some()
        && is("CARGO_CFG_TARGET_ARCH", &["x86_64", "aarch64"])
        && is("CARGO_CFG_TARGET_ENV", &["gnu"])
    {
        println!("cargo::rustc-cfg=early_seal");
        println!("cargo::rustc-link-arg-bins=-Wl,-e,rvol_runc_entry");
    }
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
