//! The limits, each under its name in `linux.resources`.

use super::{Text, row};
use crate::plan::resources::limits::{BlockIo, Cpu, Cpuset, Memory, Network};
use crate::plan::resources::{Cgroup, Policy, Resources};
use std::fmt::{self, Display, Formatter};

pub fn rows(f: &mut Formatter<'_>, cgroup: &Cgroup) -> fmt::Result {
    if let Some(owner) = cgroup.owner {
        row(f, "owner", format_args!("uid {owner} of the host"))?;
    }
    let resources = &cgroup.resources;
    cpu(f, &resources.cpu, &resources.cpuset)?;
    memory(f, &resources.memory)?;
    block_io(f, &resources.block_io)?;
    maybe(f, "pids.limit", resources.pids)?;
    for huge in &resources.huge_pages {
        row(f, "hugepageLimits", format_args!("{} {}", huge.size, huge.limit))?;
    }
    network(f, &resources.network)?;
    for rdma in &resources.rdma {
        let name = format!("rdma.{}", rdma.device);
        maybe(f, &format!("{name}.hcaHandles"), rdma.handles)?;
        maybe(f, &format!("{name}.hcaObjects"), rdma.objects)?;
    }
    for (file, value) in &resources.unified {
        row(f, "unified", format_args!("{file} {}", Text(value.trim_end())))?;
    }
    devices(f, resources)
}

fn maybe(f: &mut Formatter<'_>, name: &str, value: Option<impl Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| row(f, name, value))
}

fn cpu(f: &mut Formatter<'_>, cpu: &Cpu, cpuset: &Cpuset) -> fmt::Result {
    maybe(f, "cpu.shares", cpu.shares)?;
    maybe(f, "cpu.quota", cpu.quota)?;
    maybe(f, "cpu.period", cpu.period)?;
    maybe(f, "cpu.burst", cpu.burst)?;
    maybe(f, "cpu.idle", cpu.idle.map(u8::from))?;
    maybe(f, "cpu.realtimeRuntime", cpu.realtime_runtime)?;
    maybe(f, "cpu.realtimePeriod", cpu.realtime_period)?;
    maybe(f, "cpu.cpus", cpuset.cpus.as_ref())?;
    maybe(f, "cpu.mems", cpuset.mems.as_ref())
}

fn memory(f: &mut Formatter<'_>, memory: &Memory) -> fmt::Result {
    maybe(f, "memory.limit", memory.limit)?;
    maybe(f, "memory.reservation", memory.reservation)?;
    maybe(f, "memory.swap", memory.swap)?;
    maybe(f, "memory.kernelTCP", memory.kernel_tcp)?;
    maybe(f, "memory.swappiness", memory.swappiness)?;
    maybe(f, "memory.disableOOMKiller", memory.disable_oom_killer)?;
    maybe(f, "memory.checkBeforeUpdate", memory.check_before_update.then_some(true))
}

fn block_io(f: &mut Formatter<'_>, io: &BlockIo) -> fmt::Result {
    maybe(f, "blockIO.weight", io.weight)?;
    for (name, list) in [
        ("weightDevice", &io.weight_device),
        ("throttleReadBpsDevice", &io.read_bps),
        ("throttleWriteBpsDevice", &io.write_bps),
        ("throttleReadIOPSDevice", &io.read_iops),
        ("throttleWriteIOPSDevice", &io.write_iops),
    ] {
        for device in list {
            let value = format_args!("{}:{} {}", device.major, device.minor, device.value);
            row(f, &format!("blockIO.{name}"), value)?;
        }
    }
    Ok(())
}

fn network(f: &mut Formatter<'_>, network: &Network) -> fmt::Result {
    maybe(f, "network.classID", network.class_id)?;
    for (name, priority) in &network.priorities {
        row(f, "network.priorities", format_args!("{} {priority}", Text(name)))?;
    }
    Ok(())
}

/// The rules as they work out: with the runtime's own, and without those that others make needless.
fn devices(f: &mut Formatter<'_>, resources: &Resources) -> fmt::Result {
    let policy = Policy::new(&resources.devices);
    let mut text = String::from(if policy.allow { "all" } else { "none" });
    for rules in policy.exceptions.chunk_by(|a, b| a.allow == b.allow) {
        let list: Vec<String> = rules.iter().map(|rule| rule.text()).collect();
        text += &format!(", {} {}", if rules[0].allow { "but" } else { "not" }, list.join(", "));
    }
    row(f, "devices", text)
}
