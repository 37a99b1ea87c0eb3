//! How the binary is linked and started, and the commit that a release build is made from (`RVOL_COMMIT`), for `--version`.
//!
//! Whether the binary is static is decided by the target feature `crt-static` alone, which .cargo/config.toml asks for. Cargo
//! does not read that file when RUSTFLAGS is set, with `--manifest-path` from elsewhere, or in `cargo install`: the binary
//! is dynamic then. docs/building.md has the choices.
//!
//! The commit is from the environment, where a packager sets it; else from git, where this directory is the top of a
//! checkout; else there is none. The same commit gives the same binary. Debug builds have none, so that a commit rebuilds
//! nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

const VARIABLE: &str = "RVOL_COMMIT";

fn main() {
    for variable in [VARIABLE, "RVOL_PIE", "LIBSECCOMP_LIB_PATH", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(early_seal)");
    if let Err(error) = link() {
        println!("cargo::error={error}");
        std::process::exit(1);
    }
    let given = std::env::var(VARIABLE).ok().filter(|commit| !commit.is_empty());
    if let Some(commit) = given.or_else(from_git) {
        println!("cargo::rustc-env={VARIABLE}={commit}");
    }
}

fn link() -> Result<(), String> {
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if !features.split(',').any(|feature| feature == "crt-static") {
        let hint = "Debian: libseccomp-dev; Fedora: libseccomp-devel; Arch: libseccomp";
        let library = find("libseccomp.so").ok_or(format!("libseccomp.so is missing, to link with ({hint})"))?;
        println!("cargo::rustc-link-search=native={}", parent(&library).display());
        return Ok(());
    }
    link_static_libraries()?;
    if std::env::var("RVOL_PIE").is_ok_and(|value| value == "1") {
        return Ok(());
    }
    // Static at a fixed address and not static-pie, so that nothing has to be relocated at each start
    // (docs/performance.md). Here and not as a relocation model, which would be for every test program too.
    println!("cargo::rustc-link-arg-bins=-no-pie");
    println!("cargo::rustc-link-arg-bins=-static");
    seal_early();
    Ok(())
}

/// Names a missing static library before the linker does it in its own way, and has the binary linked anew when a library
/// changes: a security update of the system must reach it.
fn link_static_libraries() -> Result<(), String> {
    let missing = |name: &str, hint: &str| {
        format!(
            "{name} is missing, to be linked into a static binary ({hint}); \
             RUSTFLAGS='-C target-feature=-crt-static' builds a dynamic one"
        )
    };
    let c_library = || missing("libc.a", "Debian: libc6-dev; Fedora: glibc-static");
    let libc = find("libc.a").ok_or_else(c_library)?;
    let none = || missing("libseccomp.a", "Debian: libseccomp-dev; Fedora, Alpine: libseccomp-static; Arch has none");
    let libseccomp = find("libseccomp.a").ok_or_else(none)?;
    // The crate libseccomp-sys links with "-lseccomp", for which the linker prefers a shared library in the first
    // directory that has any. This directory comes first and has the static one alone.
    let directory = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?).join("static");
    let link = directory.join("libseccomp.a");
    let _ = std::fs::remove_file(&link);
    std::fs::create_dir_all(&directory).map_err(|e| format!("create {}: {e}", directory.display()))?;
    std::os::unix::fs::symlink(&libseccomp, &link).map_err(|e| format!("create {}: {e}", link.display()))?;
    println!("cargo::rustc-link-search=native={}", directory.display());
    for library in [libc, libseccomp] {
        println!("cargo::rerun-if-changed={}", library.display());
    }
    Ok(())
}

/// Where a library is: in `LIBSECCOMP_LIB_PATH`, where pkg-config says (for a build on the machine itself), or where the
/// linker would find it.
fn find(name: &str) -> Option<PathBuf> {
    let given = std::env::var_os("LIBSECCOMP_LIB_PATH").map(PathBuf::from);
    let native = std::env::var("HOST") == std::env::var("TARGET");
    let from_pkg_config = || {
        let tool = std::env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
        let directory = output(Command::new(tool).args(["--variable=libdir", "libseccomp"]))?;
        native.then(|| PathBuf::from(directory))
    };
    let in_directory = |directory: PathBuf| Some(directory.join(name)).filter(|path| path.is_file());
    let from_linker = || {
        println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
        let linker = std::env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".into());
        // A name that is not found comes back as it is.
        output(Command::new(linker).arg(format!("-print-file-name={name}")))
            .map(PathBuf::from)
            .filter(|path| path.is_absolute() && path.is_file())
    };
    given.and_then(in_directory).or_else(|| from_pkg_config().and_then(in_directory)).or_else(from_linker)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Makes `src/sys/early_seal.rs` the program's entry point, with the feature and where it has code for the processor. It
/// runs before relocation, and so only in a program with a fixed address.
fn seal_early() {
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
    output(Command::new("git").args(args))
}

/// What a command prints, if it succeeds and prints anything.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
