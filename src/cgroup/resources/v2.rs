//! The files of cgroup v2, and how values of the config, which are v1's, become theirs.

use super::Sink;
use crate::plan::resources::limits::{Limit, Memory, Resources};
use std::collections::BTreeMap;

const DEFAULT_PERIOD: u64 = 100_000;

pub fn cpu(resources: &Resources, sink: &mut Sink) {
    let cpu = &resources.cpu;
    if let Some(idle) = cpu.idle {
        sink.put("idle", "cpu.idle", u8::from(idle));
    }
    // An idle group has the lowest weight there is, and the kernel refuses another.
    if let Some(shares) = cpu.shares.filter(|_| cpu.idle != Some(true)) {
        sink.put("shares", "cpu.weight", weight_of_shares(shares));
    }
    if cpu.quota.is_some() || cpu.period.is_some() {
        let name = if cpu.quota.is_some() { "quota" } else { "period" };
        let value = format!("{} {}", cpu.quota.unwrap_or(Limit::Max), cpu.period.unwrap_or(DEFAULT_PERIOD));
        sink.put(name, "cpu.max", value);
    }
    if let Some(burst) = cpu.burst {
        sink.put("burst", "cpu.max.burst", burst);
    }
    for (name, asked) in
        [("realtimeRuntime", cpu.realtime_runtime.is_some()), ("realtimePeriod", cpu.realtime_period.is_some())]
    {
        if asked {
            sink.problem(name, "cgroup v2 has no limits of realtime scheduling");
        }
    }
}

/// Shares of 2, 1024 and 262144 are weights of 1, 100 and 10000, and between them runs a parabola in the logarithms.
pub fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            10f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0).ceil() as u64
        }
    }
}

pub fn cpuset(resources: &Resources, sink: &mut Sink) {
    super::v1::cpuset(resources, sink);
}

pub fn memory(resources: &Resources, sink: &mut Sink) {
    let memory = &resources.memory;
    if let Some(limit) = memory.limit {
        let write = sink.put("limit", "memory.max", limit);
        if let (Limit::To(limit), true) = (limit, memory.check_before_update) {
            write.not_below = Some(("memory.current", limit));
        }
    }
    match swap(memory) {
        Ok(None) => {}
        Ok(Some(swap)) => {
            let write = sink.put("swap", "memory.swap.max", swap);
            if matches!(swap, Limit::Max | Limit::To(0)) {
                write.best_effort("the kernel may not account swap");
            }
        }
        Err(message) => sink.problem("swap", message),
    }
    if let Some(reservation) = memory.reservation {
        sink.put("reservation", "memory.low", reservation);
    }
    let unsupported = [
        ("swappiness", memory.swappiness.is_some()),
        ("disableOOMKiller", memory.disable_oom_killer == Some(true)),
        ("kernelTCP", memory.kernel_tcp.is_some()),
    ];
    for (name, _) in unsupported.iter().filter(|(_, asked)| *asked) {
        sink.problem(name, "cgroup v2 has nothing like it");
    }
}

/// The limit of swap alone, of a limit of memory and swap together.
pub fn swap(memory: &Memory) -> Result<Option<Limit>, &'static str> {
    match (memory.swap, memory.limit) {
        // As in v1, where no memory limit means that there is none for both together.
        (None, Some(Limit::Max)) => Ok(Some(Limit::Max)),
        (None, _) => Ok(None),
        (Some(Limit::Max), _) => Ok(Some(Limit::Max)),
        (Some(Limit::To(both)), Some(Limit::To(limit))) => {
            both.checked_sub(limit).map(|swap| Some(Limit::To(swap))).ok_or("is below the memory limit")
        }
        (Some(Limit::To(_)), _) => Err("is memory and swap together, which needs a memory limit"),
    }
}

pub fn block_io(resources: &Resources, sink: &mut Sink) {
    let io = &resources.block_io;
    if let Some(weight) = io.weight {
        sink.put("weight", "io.bfq.weight", weight).or("io.weight", io_weight(u64::from(weight)));
    }
    for (index, d) in io.weight_device.iter().enumerate() {
        let line = |weight: u64| format!("{}:{} {weight}", d.major, d.minor);
        let place = format!("weightDevice[{index}].weight");
        sink.put(&place, "io.bfq.weight", line(d.value)).or("io.weight", line(io_weight(d.value)));
    }
    let rates = [
        (&io.read_bps, "throttleReadBpsDevice", "rbps"),
        (&io.write_bps, "throttleWriteBpsDevice", "wbps"),
        (&io.read_iops, "throttleReadIOPSDevice", "riops"),
        (&io.write_iops, "throttleWriteIOPSDevice", "wiops"),
    ];
    // One line for each device, with all its keys.
    let mut lines: BTreeMap<(u32, u32), (&str, String)> = BTreeMap::new();
    for (list, name, key) in rates {
        for d in list {
            let limit = if d.value == 0 { Limit::Max } else { Limit::To(d.value) };
            let line = lines.entry((d.major, d.minor)).or_insert((name, format!("{}:{}", d.major, d.minor)));
            line.1 += &format!(" {key}={limit}");
        }
    }
    for (name, line) in lines.into_values() {
        sink.put(name, "io.max", line);
    }
}

/// blkio's range of 10 to 1000 onto io's of 1 to 10000.
pub fn io_weight(weight: u64) -> u64 {
    1 + weight.saturating_sub(10) * 9999 / 990
}

pub fn pids(resources: &Resources, sink: &mut Sink) {
    if let Some(limit) = resources.pids {
        let write = sink.put("limit", "pids.max", limit);
        // The container's process is forked into the cgroup, so it has to be there before it may no longer be.
        write.late = limit == Limit::To(0);
    }
}

pub fn huge_pages(resources: &Resources, sink: &mut Sink) {
    for (index, huge) in resources.huge_pages.iter().enumerate() {
        let place = format!("[{index}].limit");
        sink.put(&place, format!("hugetlb.{}.max", huge.size), huge.limit);
        let write = sink.put(&place, format!("hugetlb.{}.rsvd.max", huge.size), huge.limit);
        write.best_effort("the kernel may not limit reservations");
    }
}

pub fn rdma(resources: &Resources, sink: &mut Sink) {
    for rdma in &resources.rdma {
        let handles = rdma.handles.map(|n| format!(" hca_handle={n}")).unwrap_or_default();
        let objects = rdma.objects.map(|n| format!(" hca_object={n}")).unwrap_or_default();
        sink.put(&rdma.device, "rdma.max", format!("{}{handles}{objects}", rdma.device));
    }
}

/// The keys are file names; each line of a value is a write of its own, as the kernel parses one line at a time.
pub fn unified(resources: &Resources, sink: &mut Sink) {
    for (file, value) in &resources.unified {
        let controller = file.split('.').next().unwrap_or_default();
        if controller != "cgroup" && !file.ends_with(".pressure") {
            sink.need(controller, file);
        }
        for line in value.lines().filter(|l| !l.trim().is_empty()) {
            sink.put(file, file.as_str(), line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        let known = [
            (2, 1),
            (3, 2),
            (100, 17),
            (512, 59),
            (1024, 100),
            (1025, 101),
            (2048, 174),
            (10_000, 627),
            (262_144, 10_000),
        ];
        for (shares, weight) in known {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        assert!((2..=262_144).map(weight_of_shares).is_sorted());
    }

    #[test]
    fn io_weights_keep_their_ends() {
        assert_eq!([1, 10, 500, 1000].map(io_weight), [1, 1, 4950, 10_000]);
    }
}
