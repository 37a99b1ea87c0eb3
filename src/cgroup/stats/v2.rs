//! Statistics of cgroup v2.

use super::{BlkioEntry, Hugetlb, MemoryEntry, Stats, list, number, page_sizes, pairs, pressure, text};
use crate::cgroup::group::{Group, field};
use anyhow::Result;

pub fn read(group: &Group, stats: &mut Stats) -> Result<()> {
    cpu(group, stats)?;
    memory(group, stats)?;
    io(group, stats)?;
    stats.pids.current = number(group, "pids.current")?.unwrap_or(0);
    stats.pids.limit = number(group, "pids.max")?.filter(|n| *n != u64::MAX).unwrap_or(0);
    stats.cpuset.cpus = list(&text(group, "cpuset.cpus.effective")?.unwrap_or_default());
    stats.cpuset.mems = list(&text(group, "cpuset.mems.effective")?.unwrap_or_default());
    for size in page_sizes(group, "max")? {
        hugetlb(group, size, stats)?;
    }
    stats.cpu.psi = text(group, "cpu.pressure")?.map(|t| pressure(&t));
    stats.memory.psi = text(group, "memory.pressure")?.map(|t| pressure(&t));
    stats.blkio.psi = text(group, "io.pressure")?.map(|t| pressure(&t));
    Ok(())
}

fn cpu(group: &Group, stats: &mut Stats) -> Result<()> {
    let cpu = &mut stats.cpu;
    for (key, value) in text(group, "cpu.stat")?.iter().flat_map(|t| pairs(t)) {
        match key {
            "usage_usec" => cpu.usage.total = value * 1000,
            "user_usec" => cpu.usage.user = value * 1000,
            "system_usec" => cpu.usage.kernel = value * 1000,
            "nr_periods" => cpu.throttling.periods = value,
            "nr_throttled" => cpu.throttling.throttled_periods = value,
            "throttled_usec" => cpu.throttling.throttled_time = value * 1000,
            _ => {}
        }
    }
    Ok(())
}

fn memory(group: &Group, stats: &mut Stats) -> Result<()> {
    let memory = &mut stats.memory;
    let Some(raw) = text(group, "memory.stat")? else { return Ok(()) };
    memory.raw = pairs(&raw).map(|(key, value)| (key.to_string(), value)).collect();
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    memory.usage = entry(group, "memory")?;
    // How often an allocation met the limit is what v1 counted as failures.
    let events = text(group, "memory.events")?.unwrap_or_default();
    memory.usage.failcnt = field(&events, "max").and_then(|n| n.parse().ok()).unwrap_or(0);
    let swap = entry(group, "memory.swap")?;
    memory.swap = MemoryEntry {
        limit: swap.limit.saturating_add(memory.usage.limit),
        usage: swap.usage + memory.usage.usage,
        max: 0,
        failcnt: 0,
    };
    Ok(())
}

fn entry(group: &Group, prefix: &str) -> Result<MemoryEntry> {
    let read = |name: &str| number(group, &format!("{prefix}.{name}")).map(Option::unwrap_or_default);
    Ok(MemoryEntry { limit: read("max")?, usage: read("current")?, max: read("peak")?, failcnt: 0 })
}

/// Lines of `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
fn io(group: &Group, stats: &mut Stats) -> Result<()> {
    let lines = text(group, "io.stat")?.unwrap_or_default();
    for line in lines.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some((major, minor)) = words.next().and_then(|d| d.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            let (list, op) = match key {
                "rbytes" => (&mut stats.blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut stats.blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut stats.blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut stats.blkio.io_serviced_recursive, "Write"),
                _ => continue,
            };
            list.push(BlkioEntry { major, minor, op: op.into(), value });
        }
    }
    Ok(())
}

fn hugetlb(group: &Group, size: String, stats: &mut Stats) -> Result<()> {
    let usage = match number(group, &format!("hugetlb.{size}.rsvd.current"))? {
        Some(value) => value,
        None => number(group, &format!("hugetlb.{size}.current"))?.unwrap_or(0),
    };
    let events = text(group, &format!("hugetlb.{size}.events"))?.unwrap_or_default();
    let failcnt = field(&events, "max").and_then(|n| n.parse().ok()).unwrap_or(0);
    stats.hugetlb.insert(size, Hugetlb { usage, max: 0, failcnt });
    Ok(())
}
