//! From resources to unit properties (systemd.resource-control(5)): pure, and beside the list of writes.
//!
//! systemd writes what it has properties for, and writes it again whenever it reloads; so every such value has to be
//! the one that goes into the file.

use crate::cgroup::resources::{io_weight, swap, weight_of_shares};
use crate::plan::resources::devices::{DeviceRule, DeviceType, Policy};
use crate::plan::resources::limits::{Cpu, Limit, PerDevice, Resources};
use crate::plan::resources::property::Value;
use crate::plan::resources::unit::{Property, Unit};

/// Which controllers systemd uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// v1, also where a cgroup v2 stands beside it.
    V1,
    V2,
}

/// systemd's "infinity".
const INFINITY: u64 = u64::MAX;
const SECOND: u64 = 1_000_000;
/// systemd counts the CPU quota in whole percent of a second.
const PERCENT: u64 = SECOND / 100;
const DEFAULT_PERIOD: u64 = 100_000;

fn property(name: &str, value: Value) -> Property {
    Property { name: name.into(), value }
}

fn number(name: &str, value: u64) -> Property {
    property(name, Value::U64(value))
}

fn limit(name: &str, limit: Limit) -> Property {
    match limit {
        Limit::To(value) => number(name, value),
        Limit::Max => number(name, INFINITY),
    }
}

/// What the unit is, without limits. `pid` is in a scope from the beginning; a slice has no processes for systemd.
pub fn of_unit(unit: &Unit, mode: Mode, pid: i32) -> Vec<Property> {
    let stem = unit.name.rsplit_once('.').map_or(unit.name.as_str(), |(stem, _)| stem);
    let mut all = vec![property("Description", Value::text(format!("rvol-runc container {stem}")))];
    if unit.is_slice() {
        all.push(property("Wants", Value::Array("s".into(), vec![Value::text(&*unit.slice)])));
    } else {
        all.push(property("Slice", Value::text(&*unit.slice)));
        all.push(property("Delegate", Value::Bool(true)));
        all.push(property("PIDs", Value::Array("u".into(), vec![Value::U32(pid.unsigned_abs())])));
    }
    let io = if mode == Mode::V1 { "BlockIOAccounting" } else { "IOAccounting" };
    for name in ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"] {
        all.push(property(name, Value::Bool(true)));
    }
    // With the default ones a scope cannot start early in a boot, nor outlive the beginning of a shutdown.
    all.push(property("DefaultDependencies", Value::Bool(false)));
    all
}

/// The limits; what systemd has no property for is left out.
pub fn of_resources(resources: &Resources, mode: Mode) -> Vec<Property> {
    let mut all = Vec::new();
    match mode {
        Mode::V1 => v1(resources, &mut all),
        Mode::V2 => self::v2(resources, &mut all),
    }
    if let Some((per_second, period)) = quota(&resources.cpu) {
        all.extend(period.map(|p| number("CPUQuotaPeriodUSec", p)));
        all.push(number("CPUQuotaPerSecUSec", per_second));
    }
    if let Some(pids) = resources.pids {
        // 0 is none for systemd; the file gets the 0.
        all.push(limit("TasksMax", if pids == Limit::To(0) { Limit::To(1) } else { pids }));
    }
    let sets = [("AllowedCPUs", &resources.cpuset.cpus), ("AllowedMemoryNodes", &resources.cpuset.mems)];
    for (name, list) in sets {
        all.extend(list.as_deref().and_then(bits).map(|bits| property(name, Value::bytes(&bits))));
    }
    if mode == Mode::V2 {
        unified(resources, &mut all);
    }
    all
}

fn v1(resources: &Resources, all: &mut Vec<Property>) {
    all.extend(resources.memory.limit.map(|l| limit("MemoryLimit", l)));
    all.extend(resources.cpu.shares.map(|s| number("CPUShares", s)));
    let io = &resources.block_io;
    all.extend(io.weight.map(|w| number("BlockIOWeight", w.into())));
    per_device("BlockIODeviceWeight", &io.weight_device, |w| w, all);
    per_device("BlockIOReadBandwidth", &io.read_bps, unlimited_if_zero, all);
    per_device("BlockIOWriteBandwidth", &io.write_bps, unlimited_if_zero, all);
}

fn v2(resources: &Resources, all: &mut Vec<Property>) {
    all.extend(resources.memory.limit.map(|l| limit("MemoryMax", l)));
    // A swap limit that cannot be is refused by those who make the list of writes.
    all.extend(swap(&resources.memory).ok().flatten().map(|l| limit("MemorySwapMax", l)));
    all.extend(resources.memory.reservation.map(|l| limit("MemoryLow", l)));
    // A weight of 0 is how `cpu.idle` is said, since systemd 252.
    let idle = (resources.cpu.idle == Some(true)).then_some(0);
    let weight = idle.or(resources.cpu.shares.map(weight_of_shares));
    all.extend(weight.map(|w| number("CPUWeight", w)));
    let io = &resources.block_io;
    all.extend(io.weight.map(|w| number("IOWeight", io_weight(w.into()))));
    per_device("IODeviceWeight", &io.weight_device, io_weight, all);
    for (name, list) in [
        ("IOReadBandwidthMax", &io.read_bps),
        ("IOWriteBandwidthMax", &io.write_bps),
        ("IOReadIOPSMax", &io.read_iops),
        ("IOWriteIOPSMax", &io.write_iops),
    ] {
        per_device(name, list, unlimited_if_zero, all);
    }
}

/// The weights of disks where the scheduler bfq has a file for them (v2): systemd writes 1 to 1000 there for its 1 to
/// 10000, with 100 in the middle of both (`BFQ_WEIGHT` of its cgroup-util.h, since 245).
pub fn of_bfq(resources: &Resources) -> Vec<Property> {
    let weight = |bfq: u64| if bfq <= 100 { bfq } else { 100 + (bfq - 100) * 11 };
    let io = &resources.block_io;
    let mut all: Vec<Property> = io.weight.map(|w| number("IOWeight", weight(w.into()))).into_iter().collect();
    per_device("IODeviceWeight", &io.weight_device, weight, &mut all);
    all
}

fn unlimited_if_zero(rate: u64) -> u64 {
    if rate == 0 { INFINITY } else { rate }
}

fn per_device(name: &str, list: &[PerDevice], value: impl Fn(u64) -> u64, all: &mut Vec<Property>) {
    let node = |d: &PerDevice| Value::text(format!("/dev/block/{}:{}", d.major, d.minor));
    let entries: Vec<_> = list.iter().map(|d| Value::Tuple(vec![node(d), Value::U64(value(d.value))])).collect();
    if !entries.is_empty() {
        all.push(property(name, Value::Array("(st)".into(), entries)));
    }
}

/// Microseconds of CPU in each second, in whole percent upwards, and the period if there is one.
fn quota(cpu: &Cpu) -> Option<(u64, Option<u64>)> {
    let period = cpu.period;
    let per_second = match cpu.quota {
        None => period.map(|_| INFINITY)?,
        Some(Limit::Max) => INFINITY,
        Some(Limit::To(quota)) => {
            let exact = u128::from(quota) * u128::from(SECOND) / u128::from(period.unwrap_or(DEFAULT_PERIOD).max(1));
            u64::try_from(exact).ok()?.checked_next_multiple_of(PERCENT)?
        }
    };
    Some((per_second, period))
}

/// The resources with a CPU quota as systemd can have it, for the file to say the same.
pub fn rounded(resources: &Resources) -> Resources {
    let mut resources = resources.clone();
    let (Some(Limit::To(given)), Some((per_second, period))) = (resources.cpu.quota, quota(&resources.cpu)) else {
        return resources;
    };
    let quota = u128::from(per_second) * u128::from(period.unwrap_or(DEFAULT_PERIOD)) / u128::from(SECOND);
    resources.cpu.quota = Some(Limit::To(u64::try_from(quota).unwrap_or(given)));
    resources
}

/// `0-2,8` as a bit mask, the lowest byte first; `None` for forms that systemd has not.
fn bits(list: &str) -> Option<Vec<u8>> {
    const MOST: usize = 1 << 16;
    let mut bits = Vec::new();
    for range in list.split(',').map(str::trim).filter(|r| !r.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        for bit in first..=last {
            if bits.len() <= bit / 8 {
                bits.resize(bit / 8 + 1, 0);
            }
            bits[bit / 8] |= 1 << (bit % 8);
        }
    }
    (!bits.is_empty()).then_some(bits)
}

/// The files of `unified` that systemd has properties for.
fn unified(resources: &Resources, all: &mut Vec<Property>) {
    let file = |name: &str| resources.unified.get(name).map(|v| v.trim());
    let parse = |text: &str| if text == "max" { Some(Limit::Max) } else { text.parse().ok().map(Limit::To) };
    for (name, key) in [
        ("MemoryMin", "memory.min"),
        ("MemoryLow", "memory.low"),
        ("MemoryHigh", "memory.high"),
        ("MemoryMax", "memory.max"),
        ("MemorySwapMax", "memory.swap.max"),
        ("MemoryZSwapMax", "memory.zswap.max"),
    ] {
        all.extend(file(key).and_then(parse).map(|l| limit(name, l)));
    }
    let pids = file("pids.max").and_then(parse);
    all.extend(pids.map(|l| limit("TasksMax", if l == Limit::To(0) { Limit::To(1) } else { l })));
    let idle = file("cpu.idle") == Some("1");
    let weight = if idle { Some(0) } else { file("cpu.weight").and_then(|v| v.parse().ok()) };
    all.extend(weight.map(|w| number("CPUWeight", w)));
    if let Some((per_second, period)) = file("cpu.max").and_then(max_of_cpu).and_then(|cpu| quota(&cpu)) {
        all.extend(period.map(|p| number("CPUQuotaPeriodUSec", p)));
        all.push(number("CPUQuotaPerSecUSec", per_second));
    }
    for (name, key) in [("AllowedCPUs", "cpuset.cpus"), ("AllowedMemoryNodes", "cpuset.mems")] {
        all.extend(file(key).and_then(bits).map(|bits| property(name, Value::bytes(&bits))));
    }
    let weight = file("io.weight").map(|v| v.strip_prefix("default ").unwrap_or(v)).and_then(|v| v.parse().ok());
    all.extend(weight.map(|w| number("IOWeight", w)));
}

/// `50000 100000` of `cpu.max`.
fn max_of_cpu(text: &str) -> Option<Cpu> {
    let mut words = text.split_ascii_whitespace();
    let quota = match words.next()? {
        "max" => Limit::Max,
        number => Limit::To(number.parse().ok()?),
    };
    let period = words.next().map(str::parse).transpose().ok()?.or(Some(DEFAULT_PERIOD));
    Some(Cpu { quota: Some(quota), period, ..Cpu::default() })
}

/// What can be set when a unit starts and never again.
pub fn at_start(resources: &Resources, mode: Mode) -> Option<Property> {
    let policy = match resources.unified.get("memory.oom.group").filter(|_| mode == Mode::V2)?.trim() {
        "0" => "continue",
        "1" => "kill",
        _ => return None,
    };
    Some(property("OOMPolicy", Value::text(policy)))
}

/// The device policy, as far as a list of what is allowed can say it: the list is emptied first, for an update.
///
/// What it cannot say our own program (v2) or files (v1) say. v1 has one list for both of us, so there systemd's must
/// not allow more; on v2 it then allows all, since both programs must agree.
pub fn of_devices(policy: &Policy, mode: Mode) -> Vec<Property> {
    let empty = property("DeviceAllow", Value::Array("(ss)".into(), Vec::new()));
    let policy_is = |word: &str| property("DevicePolicy", Value::text(word));
    let whole: Option<Vec<Value>> = policy.exceptions.iter().map(allowed).collect();
    let list = match (policy.allow, whole, mode) {
        (true, Some(exceptions), _) if exceptions.is_empty() => return vec![empty, policy_is("auto")],
        (false, Some(list), _) => list,
        (_, _, Mode::V2) => return vec![empty, policy_is("auto")],
        (true, _, Mode::V1) => Vec::new(),
        (false, None, Mode::V1) => policy.exceptions.iter().filter_map(allowed).collect(),
    };
    let mut all = vec![empty, policy_is("strict")];
    if !list.is_empty() {
        all.push(property("DeviceAllow", Value::Array("(ss)".into(), list)));
    }
    all
}

fn allowed(rule: &DeviceRule) -> Option<Value> {
    let word = match rule.kind {
        DeviceType::Block => "block",
        DeviceType::Char => "char",
        DeviceType::All => return None,
    };
    let node = match (rule.major, rule.minor) {
        (None, None) => format!("{word}-*"),
        (Some(major), None) => format!("{word}-{major}"),
        (Some(major), Some(minor)) => format!("/dev/{word}/{major}:{minor}"),
        (None, Some(_)) => return None,
    };
    rule.allow.then(|| Value::Tuple(vec![Value::text(node), Value::text(rule.access.to_string())]))
}
