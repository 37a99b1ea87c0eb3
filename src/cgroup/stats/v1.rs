//! Statistics of cgroup v1, controller by controller.

use super::{BlkioEntry, Hugetlb, MemoryEntry, Stats, list, number, page_sizes, pairs, text};
use crate::cgroup::group::Group;
use anyhow::Result;

/// `USER_HZ`, in which cpuacct.stat counts: 100 on every architecture that Linux has now.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

pub fn read(controller: &str, group: &Group, stats: &mut Stats) -> Result<()> {
    match controller {
        "cpu" => cpu(group, stats),
        "cpuacct" => cpuacct(group, stats),
        "cpuset" => cpuset(group, stats),
        "memory" => memory(group, stats),
        "pids" => pids(group, stats),
        "blkio" => blkio(group, stats),
        "hugetlb" => hugetlb(group, stats),
        _ => Ok(()),
    }
}

fn cpu(group: &Group, stats: &mut Stats) -> Result<()> {
    for (key, value) in text(group, "cpu.stat")?.iter().flat_map(|t| pairs(t)) {
        match key {
            "nr_periods" => stats.cpu.throttling.periods = value,
            "nr_throttled" => stats.cpu.throttling.throttled_periods = value,
            "throttled_time" => stats.cpu.throttling.throttled_time = value,
            _ => {}
        }
    }
    Ok(())
}

fn cpuacct(group: &Group, stats: &mut Stats) -> Result<()> {
    let usage = &mut stats.cpu.usage;
    for (key, value) in text(group, "cpuacct.stat")?.iter().flat_map(|t| pairs(t)) {
        match key {
            "user" => usage.user = value * NANOSECONDS_PER_TICK,
            "system" => usage.kernel = value * NANOSECONDS_PER_TICK,
            _ => {}
        }
    }
    usage.total = number(group, "cpuacct.usage")?.unwrap_or(usage.total);
    let percpu = text(group, "cpuacct.usage_percpu")?.unwrap_or_default();
    usage.percpu = percpu.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
    // Lines of "cpu user system" below a header.
    for line in text(group, "cpuacct.usage_all")?.unwrap_or_default().lines().skip(1) {
        let mut numbers = line.split_ascii_whitespace().skip(1).filter_map(|n| n.parse::<u64>().ok());
        usage.percpu_user.extend(numbers.next());
        usage.percpu_kernel.extend(numbers.next());
    }
    Ok(())
}

fn cpuset(group: &Group, stats: &mut Stats) -> Result<()> {
    let set = &mut stats.cpuset;
    set.cpus = list(&text(group, "cpuset.cpus")?.unwrap_or_default());
    set.mems = list(&text(group, "cpuset.mems")?.unwrap_or_default());
    for (file, field) in [
        ("cpuset.cpu_exclusive", &mut set.cpu_exclusive),
        ("cpuset.mem_hardwall", &mut set.mem_hardwall),
        ("cpuset.mem_exclusive", &mut set.mem_exclusive),
        ("cpuset.memory_migrate", &mut set.memory_migrate),
        ("cpuset.memory_spread_page", &mut set.memory_spread_page),
        ("cpuset.memory_spread_slab", &mut set.memory_spread_slab),
        ("cpuset.memory_pressure", &mut set.memory_pressure),
        ("cpuset.sched_load_balance", &mut set.sched_load_balance),
    ] {
        *field = number(group, file)?.unwrap_or(0);
    }
    let level = text(group, "cpuset.sched_relax_domain_level")?.unwrap_or_default();
    set.sched_relax_domain_level = level.trim().parse().unwrap_or(-1);
    Ok(())
}

fn memory(group: &Group, stats: &mut Stats) -> Result<()> {
    let memory = &mut stats.memory;
    let raw = text(group, "memory.stat")?.unwrap_or_default();
    memory.raw = pairs(&raw).map(|(key, value)| (key.to_string(), value)).collect();
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    memory.usage = entry(group, "memory")?;
    memory.swap = entry(group, "memory.memsw")?;
    memory.kernel = entry(group, "memory.kmem")?;
    memory.kernel_tcp = entry(group, "memory.kmem.tcp")?;
    Ok(())
}

fn entry(group: &Group, prefix: &str) -> Result<MemoryEntry> {
    let read = |name: &str| number(group, &format!("{prefix}.{name}")).map(Option::unwrap_or_default);
    Ok(MemoryEntry {
        limit: read("limit_in_bytes")?,
        usage: read("usage_in_bytes")?,
        max: read("max_usage_in_bytes")?,
        failcnt: read("failcnt")?,
    })
}

fn pids(group: &Group, stats: &mut Stats) -> Result<()> {
    stats.pids.current = number(group, "pids.current")?.unwrap_or(0);
    stats.pids.limit = number(group, "pids.max")?.filter(|n| *n != u64::MAX).unwrap_or(0);
    Ok(())
}

/// The counters of the scheduler if it has some, else those of the throttling layer.
fn blkio(group: &Group, stats: &mut Stats) -> Result<()> {
    for kind in ["bfq.", "throttle."] {
        let read = |name: &str| text(group, &format!("blkio.{kind}{name}_recursive"));
        let (Some(bytes), Some(serviced)) = (read("io_service_bytes")?, read("io_serviced")?) else { continue };
        let (bytes, serviced) = (blkio_entries(&bytes), blkio_entries(&serviced));
        if !serviced.is_empty() {
            stats.blkio.io_service_bytes_recursive = bytes;
            stats.blkio.io_serviced_recursive = serviced;
            return Ok(());
        }
    }
    Ok(())
}

/// Lines of `8:0 Read 4096`; the last one, a sum over all devices, is left out.
fn blkio_entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let op = words.next()?.to_string();
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op,
            value: words.next()?.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

fn hugetlb(group: &Group, stats: &mut Stats) -> Result<()> {
    for size in page_sizes(group, "limit_in_bytes")? {
        let read = |name: &str| {
            let reserved = number(group, &format!("hugetlb.{size}.rsvd.{name}"))?;
            Ok::<u64, anyhow::Error>(match reserved {
                Some(value) => value,
                None => number(group, &format!("hugetlb.{size}.{name}"))?.unwrap_or(0),
            })
        };
        let entry =
            Hugetlb { usage: read("usage_in_bytes")?, max: read("max_usage_in_bytes")?, failcnt: read("failcnt")? };
        stats.hugetlb.insert(size, entry);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_not_a_device() {
        let entries = blkio_entries("8:0 Read 4096\n8:0 Write 0\nTotal 4096\n");
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0], BlkioEntry { major: 8, minor: 0, op: "Read".into(), value: 4096 });
    }
}
