//! `linux.resources` as data: what is asked for, in units of the config, independent of cgroup versions.
//!
//! Everything is optional and a value of "unset" is the default, so that the same type carries an update.

use super::devices::DeviceRule;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    #[serde(skip_serializing_if = "is_default")]
    pub cpu: Cpu,
    #[serde(skip_serializing_if = "is_default")]
    pub cpuset: Cpuset,
    #[serde(skip_serializing_if = "is_default")]
    pub memory: Memory,
    #[serde(skip_serializing_if = "is_default")]
    pub block_io: BlockIo,
    /// Tasks; 0 is a limit.
    #[serde(skip_serializing_if = "is_default")]
    pub pids: Option<Limit>,
    #[serde(skip_serializing_if = "is_default")]
    pub huge_pages: Vec<HugePages>,
    #[serde(skip_serializing_if = "is_default")]
    pub network: Network,
    #[serde(skip_serializing_if = "is_default")]
    pub rdma: Vec<Rdma>,
    /// cgroup v2 files and the lines to write to them.
    #[serde(skip_serializing_if = "is_default")]
    pub unified: BTreeMap<String, String>,
    /// In the order in which they count; empty: the config has none.
    #[serde(skip_serializing_if = "is_default")]
    pub devices: Vec<DeviceRule>,
}

/// A number, or no limit. In JSON a number or `"max"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    To(u64),
    Max,
}

/// Times in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    /// Relative, 2 to 262144.
    #[serde(skip_serializing_if = "is_default")]
    pub shares: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub quota: Option<Limit>,
    #[serde(skip_serializing_if = "is_default")]
    pub period: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub burst: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub idle: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub realtime_runtime: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    pub realtime_period: Option<u64>,
}

/// Lists of numbers and ranges, such as `0-3,7`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpuset {
    #[serde(skip_serializing_if = "is_default")]
    pub cpus: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub mems: Option<String>,
}

/// Bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    #[serde(skip_serializing_if = "is_default")]
    pub limit: Option<Limit>,
    #[serde(skip_serializing_if = "is_default")]
    pub reservation: Option<Limit>,
    /// Memory and swap together.
    #[serde(skip_serializing_if = "is_default")]
    pub swap: Option<Limit>,
    #[serde(skip_serializing_if = "is_default")]
    pub kernel_tcp: Option<Limit>,
    /// 0 to 100.
    #[serde(skip_serializing_if = "is_default")]
    pub swappiness: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub disable_oom_killer: Option<bool>,
    /// A limit below the current usage is refused.
    #[serde(skip_serializing_if = "is_default")]
    pub check_before_update: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockIo {
    /// 1 to 1000.
    #[serde(skip_serializing_if = "is_default")]
    pub weight: Option<u16>,
    #[serde(skip_serializing_if = "is_default")]
    pub weight_device: Vec<PerDevice>,
    #[serde(skip_serializing_if = "is_default")]
    pub read_bps: Vec<PerDevice>,
    #[serde(skip_serializing_if = "is_default")]
    pub write_bps: Vec<PerDevice>,
    #[serde(skip_serializing_if = "is_default")]
    pub read_iops: Vec<PerDevice>,
    #[serde(skip_serializing_if = "is_default")]
    pub write_iops: Vec<PerDevice>,
}

/// A weight or a rate (0: no limit) for one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerDevice {
    pub major: u32,
    pub minor: u32,
    pub value: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugePages {
    /// As in the names of the kernel's files, such as `2MB`.
    pub size: String,
    /// Bytes.
    pub limit: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    #[serde(skip_serializing_if = "is_default")]
    pub class_id: Option<u32>,
    /// Interface and priority.
    #[serde(skip_serializing_if = "is_default")]
    pub priorities: Vec<(String, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rdma {
    pub device: String,
    pub handles: Option<u32>,
    pub objects: Option<u32>,
}

impl Resources {
    /// Something but device rules is asked for.
    pub fn has_limits(&self) -> bool {
        let Resources { cpu, cpuset, memory, block_io, pids, huge_pages, network, rdma, unified, devices: _ } = self;
        !(is_default(cpu)
            && is_default(cpuset)
            && is_default(memory)
            && is_default(block_io)
            && is_default(pids)
            && is_default(huge_pages)
            && is_default(network)
            && is_default(rdma)
            && is_default(unified))
    }
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl std::fmt::Display for Limit {
    /// As cgroup v2 writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Limit::To(value) => write!(f, "{value}"),
            Limit::Max => f.write_str("max"),
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Limit::To(value) => serializer.serialize_u64(*value),
            Limit::Max => serializer.serialize_str("max"),
        }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Limit, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Word(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(value) => Ok(Limit::To(value)),
            Form::Word(word) if word == "max" => Ok(Limit::Max),
            Form::Word(word) => Err(serde::de::Error::custom(format!("{word:?} is no limit"))),
        }
    }
}
