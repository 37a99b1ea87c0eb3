//! What a container uses, in the JSON form of `runc events --stats`.
//!
//! The kernel's two versions of cgroups are brought into one shape, which has v1's units: nanoseconds, and swap that
//! includes memory.

mod v1;
mod v2;

use super::group::Group;
use super::record::{Record, Version};
use crate::sys::{Call, Errno};
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stats {
    pub cpu: Cpu,
    pub cpuset: Cpuset,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Blkio,
    /// By page size, such as `2MB`.
    pub hugetlb: BTreeMap<String, Hugetlb>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cpu {
    pub usage: CpuUsage,
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "is_default")]
    pub total: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    #[serde(skip_serializing_if = "is_default")]
    pub periods: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub throttled_periods: u64,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub throttled_time: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cpuset {
    #[serde(skip_serializing_if = "is_default")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Memory {
    #[serde(skip_serializing_if = "is_default")]
    pub cache: u64,
    pub usage: MemoryEntry,
    /// Memory and swap.
    pub swap: MemoryEntry,
    pub kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat`.
    #[serde(skip_serializing_if = "is_default")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct MemoryEntry {
    /// 2^64 - 1 for none on v2.
    pub limit: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub max: u64,
    pub failcnt: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pids {
    #[serde(skip_serializing_if = "is_default")]
    pub current: u64,
    /// 0 for none.
    #[serde(skip_serializing_if = "is_default")]
    pub limit: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    #[serde(skip_serializing_if = "is_default")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "is_default")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BlkioEntry {
    #[serde(skip_serializing_if = "is_default")]
    pub major: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub minor: u64,
    pub op: String,
    #[serde(skip_serializing_if = "is_default")]
    pub value: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Hugetlb {
    #[serde(skip_serializing_if = "is_default")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub max: u64,
    pub failcnt: u64,
}

/// Pressure stall information.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pressure {
    pub some: Stall,
    pub full: Stall,
}

/// Percent of the time in which tasks had to wait, and the whole time in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stall {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Record {
    /// Reads all statistics that the container's hierarchies have.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        // cgroup v2 counts CPU time also where the controllers are in v1, which then has the last word.
        for version in [Version::V2, Version::V1] {
            for member in self.hierarchies.iter().filter(|h| h.version == version) {
                let Some(group) = self.group(member)? else { continue };
                match version {
                    Version::V2 => v2::read(&group, &mut stats)?,
                    Version::V1 => {
                        for controller in member.directory.split(',') {
                            v1::read(controller, &group, &mut stats)?;
                        }
                    }
                }
            }
        }
        Ok(stats)
    }
}

/// The text of a file; `None` when this kernel or hierarchy has it not, or the cgroup is gone.
fn text(group: &Group, file: &str) -> Result<Option<String>> {
    match group.read(file) {
        Ok(text) => Ok(Some(text)),
        Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => Ok(None),
        Err(e) => Err(e).call(|| format!("read {}/{file}", group.shown().display())),
    }
}

/// A file that holds one number, or `max`.
fn number(group: &Group, file: &str) -> Result<Option<u64>> {
    let Some(text) = text(group, file)? else { return Ok(None) };
    parse(&text).map(Some).with_context(|| format!("{}/{file}", group.shown().display()))
}

fn parse(text: &str) -> Result<u64> {
    match text.trim() {
        "max" => Ok(u64::MAX),
        number => number.parse().with_context(|| format!("{number:?} is not a number")),
    }
}

/// Lines of `key value`.
fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| line.split_once(' ')).filter_map(|(k, v)| Some((k, v.trim().parse().ok()?)))
}

/// `0-2,5` as numbers.
fn list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.trim().parse().ok()?..=to.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
fn pressure(text: &str) -> Pressure {
    let stall = |kind: &str| {
        let mut stall = Stall::default();
        let line = text.lines().find_map(|l| l.strip_prefix(kind)).unwrap_or_default();
        for (key, value) in line.split_ascii_whitespace().filter_map(|f| f.split_once('=')) {
            let share = || value.parse().unwrap_or_default();
            match key {
                "avg10" => stall.avg10 = share(),
                "avg60" => stall.avg60 = share(),
                "avg300" => stall.avg300 = share(),
                "total" => stall.total = value.parse().unwrap_or_default(),
                _ => {}
            }
        }
        stall
    };
    Pressure { some: stall("some "), full: stall("full ") }
}

/// The page sizes of the kernel, from the names of its files `hugetlb.SIZE.SUFFIX`.
fn page_sizes(group: &Group, suffix: &str) -> Result<Vec<String>> {
    let Some(directory) = super::tree::open(group.root(), group.path())? else { return Ok(Vec::new()) };
    let mut sizes = Vec::new();
    let mut directory = nix::dir::Dir::from_fd(directory).call(|| "open cgroup".into())?;
    for entry in directory.iter() {
        let entry = entry.call(|| format!("read {}", group.shown().display()))?;
        let name = entry.file_name().to_string_lossy();
        let size = name.strip_prefix("hugetlb.").and_then(|n| n.strip_suffix(suffix)).and_then(|n| n.strip_suffix('.'));
        sizes.extend(size.filter(|s| !s.contains('.')).map(String::from));
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_forms_are_read() {
        assert_eq!(list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(list("\n"), [0u16; 0]);
        assert_eq!(parse("max\n").unwrap(), u64::MAX);
        let p = pressure(
            "some avg10=1.50 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.25 total=5\n",
        );
        assert_eq!((p.some.avg10, p.some.total, p.full.avg300, p.full.total), (1.5, 77, 0.25, 5));
    }

    #[test]
    fn json_is_that_of_runc() {
        let stats = Stats {
            pids: Pids { current: 1, limit: 0 },
            blkio: Blkio {
                io_serviced_recursive: vec![BlkioEntry { major: 8, minor: 0, op: "Read".into(), value: 3 }],
                ..Blkio::default()
            },
            ..Stats::default()
        };
        let json = serde_json::to_value(&stats).unwrap();
        assert_eq!(json["cpu"], serde_json::json!({ "usage": { "kernel": 0, "user": 0 }, "throttling": {} }));
        assert_eq!(json["pids"], serde_json::json!({ "current": 1 }));
        assert_eq!(json["blkio"]["ioServicedRecursive"][0]["op"], "Read");
        assert_eq!(json["cpuset"]["sched_relax_domain_level"], 0);
    }
}
