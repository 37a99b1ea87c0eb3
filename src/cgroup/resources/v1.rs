//! The files of cgroup v1.

use super::Sink;
use crate::plan::resources::limits::{Limit, PerDevice, Resources};

/// v1 writes "no limit" as -1.
fn number(limit: Limit) -> String {
    match limit {
        Limit::To(value) => value.to_string(),
        Limit::Max => "-1".into(),
    }
}

pub fn cpu(resources: &Resources, sink: &mut Sink) {
    let cpu = &resources.cpu;
    if let Some(idle) = cpu.idle {
        sink.put("idle", "cpu.idle", u8::from(idle));
    }
    // An idle group has the lowest weight there is, and the kernel refuses another.
    if let Some(shares) = cpu.shares.filter(|_| cpu.idle != Some(true)) {
        sink.put("shares", "cpu.shares", shares);
    }
    if let Some(period) = cpu.period {
        sink.put("period", "cpu.cfs_period_us", period);
    }
    if let Some(quota) = cpu.quota {
        sink.put("quota", "cpu.cfs_quota_us", number(quota));
    }
    if let Some(burst) = cpu.burst {
        sink.put("burst", "cpu.cfs_burst_us", burst);
    }
    if let Some(period) = cpu.realtime_period {
        sink.put("realtimePeriod", "cpu.rt_period_us", period);
    }
    if let Some(runtime) = cpu.realtime_runtime {
        sink.put("realtimeRuntime", "cpu.rt_runtime_us", runtime);
    }
}

pub fn cpuset(resources: &Resources, sink: &mut Sink) {
    if let Some(cpus) = &resources.cpuset.cpus {
        sink.put("cpus", "cpuset.cpus", cpus);
    }
    if let Some(mems) = &resources.cpuset.mems {
        sink.put("mems", "cpuset.mems", mems);
    }
}

pub fn memory(resources: &Resources, sink: &mut Sink) {
    let memory = &resources.memory;
    if let Some(limit) = memory.limit {
        sink.put("limit", "memory.limit_in_bytes", number(limit));
    }
    match (memory.swap, memory.limit) {
        (Some(swap), _) => {
            sink.put("swap", "memory.memsw.limit_in_bytes", number(swap));
        }
        // Without a memory limit there is no limit of memory and swap together either.
        (None, Some(Limit::Max)) => {
            let write = sink.put("limit", "memory.memsw.limit_in_bytes", number(Limit::Max));
            write.best_effort("the kernel may not account swap");
        }
        (None, _) => {}
    }
    if let Some(reservation) = memory.reservation {
        sink.put("reservation", "memory.soft_limit_in_bytes", number(reservation));
    }
    if let Some(limit) = memory.kernel_tcp {
        sink.put("kernelTCP", "memory.kmem.tcp.limit_in_bytes", number(limit));
    }
    if let Some(disable) = memory.disable_oom_killer {
        sink.put("disableOOMKiller", "memory.oom_control", u8::from(disable));
    }
    if let Some(swappiness) = memory.swappiness {
        sink.put("swappiness", "memory.swappiness", swappiness);
    }
}

pub fn block_io(resources: &Resources, sink: &mut Sink) {
    let io = &resources.block_io;
    if let Some(weight) = io.weight {
        sink.put("weight", "blkio.weight", weight).or("blkio.bfq.weight", weight);
    }
    let line = |d: &PerDevice| format!("{}:{} {}", d.major, d.minor, d.value);
    for (index, device) in io.weight_device.iter().enumerate() {
        let place = format!("weightDevice[{index}].weight");
        sink.put(&place, "blkio.weight_device", line(device)).or("blkio.bfq.weight_device", line(device));
    }
    let rates = [
        (&io.read_bps, "throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
        (&io.write_bps, "throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
        (&io.read_iops, "throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
        (&io.write_iops, "throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
    ];
    for (list, name, file) in rates {
        for (index, device) in list.iter().enumerate() {
            sink.put(&format!("{name}[{index}]"), file, line(device));
        }
    }
}

pub fn pids(resources: &Resources, sink: &mut Sink) {
    if let Some(limit) = resources.pids {
        sink.put("limit", "pids.max", limit);
    }
}

pub fn huge_pages(resources: &Resources, sink: &mut Sink) {
    for (index, huge) in resources.huge_pages.iter().enumerate() {
        let place = format!("[{index}].limit");
        sink.put(&place, format!("hugetlb.{}.limit_in_bytes", huge.size), huge.limit);
        let write = sink.put(&place, format!("hugetlb.{}.rsvd.limit_in_bytes", huge.size), huge.limit);
        write.best_effort("the kernel may not limit reservations");
    }
}

pub fn rdma(resources: &Resources, sink: &mut Sink) {
    super::v2::rdma(resources, sink);
}

pub fn net_cls(resources: &Resources, sink: &mut Sink) {
    if let Some(id) = resources.network.class_id {
        sink.put("classID", "net_cls.classid", id);
    }
}

pub fn net_prio(resources: &Resources, sink: &mut Sink) {
    for (index, (name, priority)) in resources.network.priorities.iter().enumerate() {
        sink.put(&format!("priorities[{index}]"), "net_prio.ifpriomap", format!("{name} {priority}"));
    }
}
