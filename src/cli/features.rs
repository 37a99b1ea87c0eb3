//! `features`: what this runtime can do, in the structure of the runtime-spec's features.md.
//!
//! It tells of the program, not of the machine; only `supportedFlags` asks the kernel.

use super::args::Matches;
use super::{Command, Globals, print, version};
use crate::plan::{options, volume};
use crate::sys::seccomp;
use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

pub const COMMAND: Command = Command {
    name: "features",
    about: "Show what this runtime supports, as JSON",
    details: "The structure is that of the runtime-spec's features.md.",
    flags: &[],
    operands: &[],
    run,
};

fn run(_: &Globals, _: &Matches) -> Result<i32> {
    let text = serde_json::to_string_pretty(&features()).context("write features as JSON")?;
    print(&(text + "\n"))?;
    Ok(0)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: &'static [&'static str],
    mount_options: Vec<&'static str>,
    linux: Linux,
    annotations: BTreeMap<&'static str, String>,
    potentially_unsafe_config_annotations: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: &'static [&'static str],
    capabilities: Vec<String>,
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: IntelRdt,
    memory_policy: MemoryPolicy,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: &'static [&'static str],
    operators: &'static [&'static str],
    archs: &'static [&'static str],
    known_flags: Vec<&'static str>,
    supported_flags: Vec<&'static str>,
}

#[derive(Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Serialize)]
struct MemoryPolicy {
    modes: &'static [&'static str],
    flags: &'static [&'static str],
}

#[derive(Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

const HOOKS: &[&str] = &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

const NAMESPACES: &[&str] = &["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];

const SECCOMP_ACTIONS: &[&str] = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

const SECCOMP_OPERATORS: &[&str] =
    &["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"];

const SECCOMP_ARCHS: &[&str] = &[
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

const SECCOMP_FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_LOG", seccomp::FILTER_FLAG_LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", seccomp::FILTER_FLAG_SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_TSYNC", seccomp::FILTER_FLAG_TSYNC),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", seccomp::FILTER_FLAG_WAIT_KILLABLE_RECV),
];

const MEMORY_POLICY_MODES: &[&str] = &[
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

const MEMORY_POLICY_FLAGS: &[&str] = &["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

/// The same for `debug-info`.
pub fn value() -> Result<Value> {
    serde_json::to_value(features()).context("write features as JSON")
}

fn features() -> Features {
    Features {
        oci_version_min: version::SPEC_MIN,
        oci_version_max: version::SPEC,
        hooks: HOOKS,
        mount_options: mount_options(),
        linux: Linux {
            namespaces: NAMESPACES,
            capabilities: capabilities(),
            cgroup: Cgroup { v1: true, v2: true, systemd: true, systemd_user: true, rdma: false },
            seccomp: Seccomp {
                enabled: true,
                actions: SECCOMP_ACTIONS,
                operators: SECCOMP_OPERATORS,
                archs: SECCOMP_ARCHS,
                known_flags: SECCOMP_FLAGS.iter().map(|(name, _)| *name).collect(),
                supported_flags: supported_flags(),
            },
            apparmor: Enabled { enabled: true },
            selinux: Enabled { enabled: true },
            intel_rdt: IntelRdt { enabled: true, schemata: true, monitoring: true },
            memory_policy: MemoryPolicy { modes: MEMORY_POLICY_MODES, flags: MEMORY_POLICY_FLAGS },
            mount_extensions: MountExtensions { idmap: Enabled { enabled: true } },
            net_devices: Enabled { enabled: true },
        },
        annotations: annotations(),
        potentially_unsafe_config_annotations: crate::annotations::potentially_unsafe(),
    }
}

/// Those of all mounts, and those of volumes.
fn mount_options() -> Vec<&'static str> {
    let mut names: Vec<_> = options::names().into_iter().chain(volume::option_names()).collect();
    names.sort_unstable();
    names
}

/// In the order of their numbers.
fn capabilities() -> Vec<String> {
    let mut all: Vec<caps::Capability> = caps::all().into_iter().collect();
    all.sort_unstable_by_key(caps::Capability::index);
    all.iter().map(ToString::to_string).collect()
}

fn supported_flags() -> Vec<&'static str> {
    SECCOMP_FLAGS.iter().filter(|(_, flag)| seccomp::flag_supported(*flag)).map(|(name, _)| *name).collect()
}

fn annotations() -> BTreeMap<&'static str, String> {
    let known = [
        // runc's name, which engines look for. Whether criu is there is seen when it is called.
        ("org.opencontainers.runc.checkpoint.enabled", Some("true".to_owned())),
        ("io.rvol-runc.version", Some(version::PROGRAM.to_owned())),
        ("io.rvol-runc.commit", version::COMMIT.map(str::to_owned)),
        ("io.github.seccomp.libseccomp.version", version::libseccomp()),
    ];
    known.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn strings<'a>(value: &'a Value, pointer: &str) -> Vec<&'a str> {
        value.pointer(pointer).unwrap().as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
    }

    #[test]
    fn every_section_of_the_spec_is_there() {
        let value = serde_json::to_value(features()).unwrap();
        assert_eq!(value["ociVersionMin"], "1.0.0");
        assert_eq!(value["ociVersionMax"], "1.3.0");
        let sections = ["/hooks", "/mountOptions", "/linux", "/annotations", "/potentiallyUnsafeConfigAnnotations"];
        assert!(sections.iter().all(|section| value.pointer(section).is_some()));
        let linux: Vec<&str> = value["linux"].as_object().unwrap().keys().map(String::as_str).collect();
        let expected = [
            "apparmor",
            "capabilities",
            "cgroup",
            "intelRdt",
            "memoryPolicy",
            "mountExtensions",
            "namespaces",
            "netDevices",
            "seccomp",
            "selinux",
        ];
        assert_eq!(linux, expected);
        let parsed: oci_spec::runtime::Features = serde_json::from_value(value).unwrap();
        assert!(parsed.linux().as_ref().is_some_and(|linux| linux.seccomp().is_some()));
    }

    /// Reads each name as the config's reader does.
    fn all_known<T: serde::de::DeserializeOwned>(names: &[&str]) {
        for name in names {
            assert!(serde_json::from_value::<T>(Value::from(*name)).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_is_named_is_recognised() {
        use oci_spec::runtime as spec;
        all_known::<spec::LinuxNamespaceType>(NAMESPACES);
        all_known::<spec::LinuxSeccompAction>(SECCOMP_ACTIONS);
        all_known::<spec::LinuxSeccompOperator>(SECCOMP_OPERATORS);
        all_known::<spec::Arch>(SECCOMP_ARCHS);
        all_known::<spec::LinuxSeccompFilterFlag>(&SECCOMP_FLAGS.map(|(name, _)| name));
        all_known::<spec::MemoryPolicyModeType>(MEMORY_POLICY_MODES);
        all_known::<spec::MemoryPolicyFlagType>(MEMORY_POLICY_FLAGS);
        for arch in SECCOMP_ARCHS {
            assert!(arch.parse::<libseccomp::ScmpArch>().is_ok(), "{arch}");
        }
    }

    #[test]
    fn docker_finds_the_option_that_makes_its_ro_recursive() {
        let value = serde_json::to_value(features()).unwrap();
        let options = strings(&value, "/mountOptions");
        assert!(options.is_sorted());
        for option in ["rro", "ro", "rbind", "idmap", "tmpcopyup", "nosymfollow", "lazytime", "silent"] {
            assert!(options.contains(&option), "{option}");
        }
    }

    #[test]
    fn names_are_those_of_the_kernel_and_the_spec() {
        let value = serde_json::to_value(features()).unwrap();
        let capabilities = strings(&value, "/linux/capabilities");
        assert_eq!(capabilities.len(), 41);
        assert_eq!((capabilities[0], capabilities[40]), ("CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"));
        let known = strings(&value, "/linux/seccomp/knownFlags");
        assert!(strings(&value, "/linux/seccomp/supportedFlags").iter().all(|flag| known.contains(flag)));
        assert_eq!(
            value["linux"]["intelRdt"],
            serde_json::json!({"enabled": true, "schemata": true, "monitoring": true})
        );
    }
}
