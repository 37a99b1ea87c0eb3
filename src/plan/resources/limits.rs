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
        self.limited_sections().next().is_some()
    }

    /// The sections of `linux.resources` that ask for something, without `devices`.
    pub fn limited_sections(&self) -> impl Iterator<Item = &'static str> {
        let Resources { cpu, cpuset, memory, block_io, pids, huge_pages, network, rdma, unified, devices: _ } = self;
        let sections = [
            ("cpu", is_default(cpu) && is_default(cpuset)),
            ("memory", is_default(memory)),
            ("blockIO", is_default(block_io)),
            ("pids", is_default(pids)),
            ("hugepageLimits", is_default(huge_pages)),
            ("network", is_default(network)),
            ("rdma", is_default(rdma)),
            ("unified", is_default(unified)),
        ];
        sections.into_iter().filter(|(_, is_default)| !is_default).map(|(name, _)| name)
    }
}

/// Updates.
impl Resources {
    /// These resources with what `change` sets. Per-device entries replace those of the same device.
    pub fn updated_by(&self, change: &Resources) -> Resources {
        let mut next = self.clone();
        let (cpu, c) = (&mut next.cpu, &change.cpu);
        set(&mut cpu.shares, c.shares);
        set(&mut cpu.quota, c.quota);
        set(&mut cpu.period, c.period);
        set(&mut cpu.burst, c.burst);
        set(&mut cpu.idle, c.idle);
        set(&mut cpu.realtime_runtime, c.realtime_runtime);
        set(&mut cpu.realtime_period, c.realtime_period);
        set(&mut next.cpuset.cpus, change.cpuset.cpus.clone());
        set(&mut next.cpuset.mems, change.cpuset.mems.clone());
        next.memory = self.memory.updated_by(&change.memory);
        let (io, c) = (&mut next.block_io, &change.block_io);
        set(&mut io.weight, c.weight);
        for (list, new) in [
            (&mut io.weight_device, &c.weight_device),
            (&mut io.read_bps, &c.read_bps),
            (&mut io.write_bps, &c.write_bps),
            (&mut io.read_iops, &c.read_iops),
            (&mut io.write_iops, &c.write_iops),
        ] {
            replace(list, new, |a, b| (a.major, a.minor) == (b.major, b.minor));
        }
        set(&mut next.pids, change.pids);
        replace(&mut next.huge_pages, &change.huge_pages, |a, b| a.size == b.size);
        set(&mut next.network.class_id, change.network.class_id);
        replace(&mut next.network.priorities, &change.network.priorities, |a, b| a.0 == b.0);
        replace(&mut next.rdma, &change.rdma, |a, b| a.device == b.device);
        next.unified.extend(change.unified.clone());
        if !change.devices.is_empty() {
            next.devices.clone_from(&change.devices);
        }
        next
    }

    /// Only those sections that `change` says something about, so that an update touches nothing else.
    pub fn only_sections_of(&self, change: &Resources) -> Resources {
        fn take<T: Clone + Default + PartialEq>(ours: &T, change: &T) -> T {
            if is_default(change) { T::default() } else { ours.clone() }
        }
        Resources {
            cpu: take(&self.cpu, &change.cpu),
            cpuset: take(&self.cpuset, &change.cpuset),
            memory: take(&self.memory, &change.memory),
            block_io: take(&self.block_io, &change.block_io),
            pids: take(&self.pids, &change.pids),
            huge_pages: take(&self.huge_pages, &change.huge_pages),
            network: take(&self.network, &change.network),
            rdma: take(&self.rdma, &change.rdma),
            unified: take(&self.unified, &change.unified),
            devices: take(&self.devices, &change.devices),
        }
    }
}

impl Memory {
    fn updated_by(&self, change: &Memory) -> Memory {
        let mut next = self.clone();
        set(&mut next.limit, change.limit);
        set(&mut next.reservation, change.reservation);
        set(&mut next.swap, change.swap);
        // No limit of memory takes that of memory and swap with it, unless a new one is given.
        if change.limit == Some(Limit::Max) && change.swap.is_none() {
            next.swap = None;
        }
        set(&mut next.kernel_tcp, change.kernel_tcp);
        set(&mut next.swappiness, change.swappiness);
        set(&mut next.disable_oom_killer, change.disable_oom_killer);
        next.check_before_update |= change.check_before_update;
        next
    }
}

fn set<T>(value: &mut Option<T>, change: Option<T>) {
    if change.is_some() {
        *value = change;
    }
}

fn replace<T: Clone>(list: &mut Vec<T>, new: &[T], same: impl Fn(&T, &T) -> bool) {
    list.retain(|old| !new.iter().any(|n| same(n, old)));
    list.extend_from_slice(new);
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
