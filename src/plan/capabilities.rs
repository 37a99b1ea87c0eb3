//! `process.capabilities`: from names to bit sets that the kernel grants.

use super::process::Capabilities;
use oci_spec::runtime::{Capability, LinuxCapabilities};

/// `process.capabilities`. What the kernel would refuse is left out with a warning: "Runtimes SHOULD NOT fail if the
/// container configuration requests capabilities that cannot be granted", config.md.
pub fn plan(config: &LinuxCapabilities, warnings: &mut Vec<String>) -> Capabilities {
    let set = |names: &Option<oci_spec::runtime::Capabilities>| {
        names.iter().flatten().fold(0, |bits, capability| bits | 1 << number(*capability))
    };
    let (bounding, permitted) = (set(config.bounding()), set(config.permitted()));
    let mut keep = |name: &str, wanted: u64, allowed: u64, why: &str| {
        let left_out: Vec<&str> =
            NAMES.iter().enumerate().filter(|(bit, _)| (wanted & !allowed) >> bit & 1 == 1).map(|(_, n)| *n).collect();
        if !left_out.is_empty() {
            warnings.push(format!("process.capabilities.{name}: not {why}, and left out: {}", left_out.join(", ")));
        }
        wanted & allowed
    };
    let effective = keep("effective", set(config.effective()), permitted, "in permitted");
    let inheritable = keep("inheritable", set(config.inheritable()), bounding, "in bounding");
    let ambient = keep("ambient", set(config.ambient()), permitted & inheritable, "in both permitted and inheritable");
    Capabilities { bounding, effective, inheritable, permitted, ambient }
}

/// By number, capabilities(7) and `<linux/capability.h>`.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

fn number(capability: Capability) -> u32 {
    match capability {
        Capability::Chown => 0,
        Capability::DacOverride => 1,
        Capability::DacReadSearch => 2,
        Capability::Fowner => 3,
        Capability::Fsetid => 4,
        Capability::Kill => 5,
        Capability::Setgid => 6,
        Capability::Setuid => 7,
        Capability::Setpcap => 8,
        Capability::LinuxImmutable => 9,
        Capability::NetBindService => 10,
        Capability::NetBroadcast => 11,
        Capability::NetAdmin => 12,
        Capability::NetRaw => 13,
        Capability::IpcLock => 14,
        Capability::IpcOwner => 15,
        Capability::SysModule => 16,
        Capability::SysRawio => 17,
        Capability::SysChroot => 18,
        Capability::SysPtrace => 19,
        Capability::SysPacct => 20,
        Capability::SysAdmin => 21,
        Capability::SysBoot => 22,
        Capability::SysNice => 23,
        Capability::SysResource => 24,
        Capability::SysTime => 25,
        Capability::SysTtyConfig => 26,
        Capability::Mknod => 27,
        Capability::Lease => 28,
        Capability::AuditWrite => 29,
        Capability::AuditControl => 30,
        Capability::Setfcap => 31,
        Capability::MacOverride => 32,
        Capability::MacAdmin => 33,
        Capability::Syslog => 34,
        Capability::WakeAlarm => 35,
        Capability::BlockSuspend => 36,
        Capability::AuditRead => 37,
        Capability::Perfmon => 38,
        Capability::Bpf => 39,
        Capability::CheckpointRestore => 40,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[test]
    fn names_and_numbers_agree() {
        for (i, name) in NAMES.iter().enumerate() {
            let capability = Capability::deserialize(serde_json::json!(name)).unwrap();
            assert_eq!(number(capability), i as u32, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_granted_is_left_out() {
        let config = serde_json::json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_CHOWN", "CAP_BPF", "CAP_SYSLOG"], "inheritable": ["CAP_CHOWN", "CAP_NET_RAW"],
            "ambient": ["CAP_CHOWN", "CAP_KILL"],
        });
        let mut warnings = Vec::new();
        let sets = plan(&LinuxCapabilities::deserialize(config).unwrap(), &mut warnings);
        let expected =
            Capabilities { bounding: 0b10_0001, permitted: 0b10_0001, effective: 1, inheritable: 1, ambient: 1 };
        assert_eq!(sets, expected);
        assert_eq!(
            warnings,
            [
                "process.capabilities.effective: not in permitted, and left out: CAP_SYSLOG, CAP_BPF",
                "process.capabilities.inheritable: not in bounding, and left out: CAP_NET_RAW",
                "process.capabilities.ambient: not in both permitted and inheritable, and left out: CAP_KILL",
            ]
        );
    }
}
