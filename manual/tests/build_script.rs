//! build.rs, run as cargo would, with an environment and a linker of the test's: what it decides about the link.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Script {
    dir: tempfile::TempDir,
    program: PathBuf,
}

impl Script {
    fn new() -> Script {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("build-script");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build.rs");
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
        let compiled = Command::new(rustc).args(["--edition=2024", "-o"]).arg(&program).arg(source).output().unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        Script { dir, program }
    }

    /// `has` are the libraries that the linker finds; pkg-config is not there.
    fn run(&self, has: &[&str], environment: &[(&str, &str)]) -> Output {
        let path = |name: &str| self.dir.path().join(name);
        let found: String =
            has.iter().map(|name| format!("*={name}) echo {}/{name} ;;", self.dir.path().display())).collect();
        for name in has {
            std::fs::write(path(name), "").unwrap();
        }
        let linker = path("linker");
        std::fs::write(&linker, format!("#!/bin/sh\ncase $1 in {found} *) echo \"${{1#*=}}\" ;; esac\n")).unwrap();
        assert!(Command::new("chmod").arg("+x").arg(&linker).status().unwrap().success());
        // By sh, so that the kernel never finds the script still open for writing in a fork of another test.
        let wrapper = ["HOST", "TARGET"].map(|name| (name, "x86_64-unknown-linux-gnu"));
        let mut script = Command::new(&self.program);
        script.current_dir(self.dir.path()).env_clear().env("PATH", "/usr/bin:/bin").env("OUT_DIR", self.dir.path());
        script.env("PKG_CONFIG", "/nonexistent/pkg-config").env("RUSTC_LINKER", &linker).env("PROFILE", "debug");
        script.envs(wrapper).env("CARGO_CFG_TARGET_ARCH", "x86_64").env("CARGO_CFG_TARGET_ENV", "gnu");
        script.env("CARGO_FEATURE_EARLY_SEAL", "1").envs(environment.iter().copied());
        script.output().unwrap()
    }
}

const STATIC: (&str, &str) = ("CARGO_CFG_TARGET_FEATURE", "fxsr,crt-static,sse");
const DYNAMIC: (&str, &str) = ("CARGO_CFG_TARGET_FEATURE", "fxsr,sse");

#[track_caller]
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_static_binary_has_a_fixed_address_and_the_static_library_first() {
    let script = Script::new();
    let output = script.run(&["libc.a", "libseccomp.a"], &[STATIC]);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for line in
        ["rustc-link-arg-bins=-no-pie", "rustc-link-arg-bins=-static", "rustc-link-arg-bins=-Wl,-e,rvol_runc_entry"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    let directory = script.dir.path().join("static");
    assert!(text.contains(&format!("rustc-link-search=native={}", directory.display())), "{text}");
    let only: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(only, ["libseccomp.a"], "a shared library there would be preferred");
    // A security update of the library is noticed.
    for library in ["libc.a", "libseccomp.a"] {
        let line = format!("cargo::rerun-if-changed={}", script.dir.path().join(library).display());
        assert!(text.contains(&line), "{line}: {text}");
    }
}

/// Without .cargo/config.toml the compiler links dynamically: -static would make a program that crashes at its start.
#[test]
fn a_dynamic_binary_is_left_to_the_compiler() {
    let script = Script::new();
    let output = script.run(&["libseccomp.so"], &[DYNAMIC]);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("link-arg") && !text.contains("cfg=early_seal"), "{text}");
}

#[test]
fn a_position_independent_static_binary_on_demand() {
    let script = Script::new();
    let output = script.run(&["libc.a", "libseccomp.a"], &[STATIC, ("RVOL_PIE", "1")]);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("link-arg") && !text.contains("rustc-cfg=early_seal"), "{text}");
}

#[test]
fn a_missing_library_is_named_with_its_package() {
    let script = Script::new();
    for (has, feature, expected) in [
        (
            &["libc.a"][..],
            STATIC,
            "libseccomp.a is missing, to be linked into a static binary (Debian: libseccomp-dev;",
        ),
        (&["libseccomp.a"], STATIC, "libc.a is missing, to be linked into a static binary (Debian: libc6-dev;"),
        (&[], DYNAMIC, "libseccomp.so is missing, to link with (Debian: libseccomp-dev;"),
    ] {
        let output = Script::new().run(has, &[feature]);
        assert!(!output.status.success(), "{expected}");
        assert!(text(&output).contains(&format!("cargo::error={expected}")), "{expected}: {}", text(&output));
    }
    drop(script);
}
