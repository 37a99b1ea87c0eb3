//! From the config's `linux.resources` to [`Resources`], with every value that the spec or the kernel's rules forbid.
//!
//! Engines send 0 for "not set" in memory, shares, quota and period, and runc takes it so; `pids.limit` 0 is a limit.

use super::devices::{Access, DeviceRule, DeviceType};
use super::limits::{BlockIo, Cpu, Cpuset, HugePages, Limit, Memory, Network, PerDevice, Rdma, Resources};
use crate::plan::Problem;
use oci_spec::runtime as oci;

/// Reads resources that stand at `place` (`linux.resources`, or empty for a file of its own).
pub fn read(
    place: &str,
    resources: &oci::LinuxResources,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Resources {
    let place = if place.is_empty() { String::new() } else { format!("{place}.") };
    let mut reader = Reader { place, problems, warnings };
    let mut result = Resources::default();
    if let Some(cpu) = resources.cpu() {
        result.cpu = reader.cpu(cpu);
        result.cpuset = reader.cpuset(cpu);
    }
    if let Some(memory) = resources.memory() {
        result.memory = reader.memory(memory);
    }
    if let Some(block_io) = resources.block_io() {
        result.block_io = reader.block_io(block_io);
    }
    result.pids = resources.pids().map(|pids| limit_or_unlimited(pids.limit()));
    for (index, huge) in resources.hugepage_limits().iter().flatten().enumerate() {
        result.huge_pages.extend(reader.huge_pages(index, huge));
    }
    if let Some(network) = resources.network() {
        result.network = reader.network(network);
    }
    for (device, limits) in resources.rdma().iter().flatten() {
        result.rdma.extend(reader.rdma(device, limits));
    }
    result.rdma.sort_by(|a, b| a.device.cmp(&b.device));
    for (file, value) in resources.unified().iter().flatten() {
        if reader.unified(file) {
            result.unified.insert(file.clone(), value.clone());
        }
    }
    for (index, rule) in resources.devices().iter().flatten().enumerate() {
        result.devices.extend(reader.device(index, rule));
    }
    result
}

struct Reader<'a> {
    place: String,
    problems: &'a mut Vec<Problem>,
    warnings: &'a mut Vec<String>,
}

fn limit_or_unlimited(value: i64) -> Limit {
    u64::try_from(value).map_or(Limit::Max, Limit::To)
}

fn unless_zero(value: Option<u64>) -> Option<u64> {
    value.filter(|v| *v != 0)
}

impl Reader<'_> {
    fn problem(&mut self, place: impl std::fmt::Display, message: impl Into<String>) {
        self.problems.push(Problem { place: format!("{}{place}", self.place), message: message.into() });
    }

    fn cpu(&mut self, cpu: &oci::LinuxCpu) -> Cpu {
        let quota = cpu.quota().filter(|q| *q != 0).map(limit_or_unlimited);
        if let (Some(Limit::To(quota)), Some(burst)) = (quota, cpu.burst())
            && burst > quota
        {
            self.problem("cpu.burst", format!("{burst} is larger than the quota, {quota}"));
        }
        let idle = match cpu.idle() {
            None => None,
            Some(0) => Some(false),
            Some(1) => Some(true),
            Some(other) => {
                self.problem("cpu.idle", format!("{other} is neither 0 nor 1"));
                None
            }
        };
        Cpu {
            shares: unless_zero(cpu.shares()),
            quota,
            period: unless_zero(cpu.period()),
            burst: cpu.burst(),
            idle,
            realtime_runtime: cpu.realtime_runtime().filter(|v| *v != 0),
            realtime_period: unless_zero(cpu.realtime_period()),
        }
    }

    fn cpuset(&mut self, cpu: &oci::LinuxCpu) -> Cpuset {
        let mut list = |name: &str, value: &Option<String>| {
            let value = value.as_deref().map(str::trim).filter(|v| !v.is_empty())?;
            let ok = |c: char| c.is_ascii_digit() || ",-:/".contains(c);
            if !value.chars().all(ok) {
                self.problem(format_args!("cpu.{name}"), format!("{value:?} is not a list of numbers and ranges"));
            }
            Some(value.to_string())
        };
        Cpuset { cpus: list("cpus", cpu.cpus()), mems: list("mems", cpu.mems()) }
    }

    fn memory(&mut self, memory: &oci::LinuxMemory) -> Memory {
        let mut bytes = |name: &str, value: Option<i64>| match value {
            None | Some(0) => None,
            Some(-1) => Some(Limit::Max),
            Some(value) if value < 0 => {
                self.problem(format_args!("memory.{name}"), format!("{value} is neither a number of bytes nor -1"));
                None
            }
            Some(value) => Some(limit_or_unlimited(value)),
        };
        let limit = bytes("limit", memory.limit());
        let reservation = bytes("reservation", memory.reservation());
        let swap = bytes("swap", memory.swap());
        let kernel_tcp = bytes("kernelTCP", memory.kernel_tcp());
        if let (Some(Limit::To(limit)), Some(Limit::To(swap))) = (limit, swap)
            && swap < limit
        {
            self.problem("memory.swap", format!("{swap} is memory and swap together, but below the limit, {limit}"));
        }
        if let Some(value) = memory.swappiness().filter(|v| *v > 100) {
            self.problem("memory.swappiness", format!("{value} is not in the range of 0 to 100"));
        }
        let kernel = memory.kernel();
        if kernel.is_some_and(|v| v > 0) {
            self.warnings.push(format!("{}memory.kernel: ignored, Linux has no such limit since 5.16", self.place));
        }
        if memory.use_hierarchy() == Some(false) {
            self.warnings.push(format!("{}memory.useHierarchy: ignored, it is always on since Linux 5.11", self.place));
        }
        Memory {
            limit,
            reservation,
            swap,
            kernel_tcp,
            swappiness: memory.swappiness(),
            disable_oom_killer: memory.disable_oom_killer(),
            check_before_update: memory.check_before_update().unwrap_or(false),
        }
    }

    fn block_io(&mut self, block_io: &oci::LinuxBlockIo) -> BlockIo {
        let weight = block_io.weight().filter(|w| *w != 0);
        self.weight("blockIO.weight", weight);
        self.leaf_weight("blockIO.leafWeight", block_io.leaf_weight());
        let mut weight_device = Vec::new();
        for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
            let place = format!("blockIO.weightDevice[{index}]");
            if device.weight().is_none() && device.leaf_weight().is_none() {
                self.problem(&place, "has neither weight nor leafWeight");
            }
            self.leaf_weight(&format!("{place}.leafWeight"), device.leaf_weight());
            self.weight(&format!("{place}.weight"), device.weight());
            let weight = device.weight().map(u64::from);
            weight_device
                .extend(weight.and_then(|value| self.per_device(&place, device.major(), device.minor(), value)));
        }
        let mut rates = |name: &str, list: &Option<Vec<oci::LinuxThrottleDevice>>| {
            let entries = list.iter().flatten().enumerate();
            let place = |index: usize| format!("blockIO.{name}[{index}]");
            entries.filter_map(|(i, d)| self.per_device(&place(i), d.major(), d.minor(), d.rate())).collect()
        };
        BlockIo {
            weight,
            read_bps: rates("throttleReadBpsDevice", block_io.throttle_read_bps_device()),
            write_bps: rates("throttleWriteBpsDevice", block_io.throttle_write_bps_device()),
            read_iops: rates("throttleReadIOPSDevice", block_io.throttle_read_iops_device()),
            write_iops: rates("throttleWriteIOPSDevice", block_io.throttle_write_iops_device()),
            weight_device,
        }
    }

    fn weight(&mut self, place: &str, weight: Option<u16>) {
        if let Some(weight) = weight.filter(|w| !(1..=1000).contains(w)) {
            self.problem(place, format!("{weight} is not in the range of 1 to 1000"));
        }
    }

    fn leaf_weight(&mut self, place: &str, weight: Option<u16>) {
        if weight.is_some_and(|w| w != 0) {
            self.problem(place, "cannot be set: it belongs to the CFQ scheduler, which Linux has not since 5.0");
        }
    }

    fn per_device(&mut self, place: &str, major: i64, minor: i64, value: u64) -> Option<PerDevice> {
        match (u32::try_from(major), u32::try_from(minor)) {
            (Ok(major), Ok(minor)) => Some(PerDevice { major, minor, value }),
            _ => {
                self.problem(place, format!("{major}:{minor} is not a device number"));
                None
            }
        }
    }

    fn huge_pages(&mut self, index: usize, huge: &oci::LinuxHugepageLimit) -> Option<HugePages> {
        let size = huge.page_size();
        let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit)).unwrap_or_default();
        if number.is_empty() || number.starts_with('0') || !number.bytes().all(|b| b.is_ascii_digit()) {
            let message = format!("{size:?} does not have the form 64KB, 2MB or 1GB");
            self.problem(format_args!("hugepageLimits[{index}].pageSize"), message);
            return None;
        }
        match u64::try_from(huge.limit()) {
            Ok(limit) => Some(HugePages { size: size.clone(), limit }),
            Err(_) => {
                let message = format!("{} is not a number of bytes", huge.limit());
                self.problem(format_args!("hugepageLimits[{index}].limit"), message);
                None
            }
        }
    }

    fn network(&mut self, network: &oci::LinuxNetwork) -> Network {
        let mut priorities = Vec::new();
        for (index, entry) in network.priorities().iter().flatten().enumerate() {
            self.word(format!("network.priorities[{index}].name"), entry.name());
            priorities.push((entry.name().clone(), entry.priority()));
        }
        Network { class_id: network.class_id(), priorities }
    }

    fn rdma(&mut self, device: &str, limits: &oci::LinuxRdma) -> Option<Rdma> {
        self.word(format!("rdma.{device}"), device);
        if limits.hca_handles().is_none() && limits.hca_objects().is_none() {
            self.problem(format_args!("rdma.{device}"), "has neither hcaHandles nor hcaObjects");
            return None;
        }
        Some(Rdma { device: device.into(), handles: limits.hca_handles(), objects: limits.hca_objects() })
    }

    /// A name that is written between blanks.
    fn word(&mut self, place: String, name: &str) {
        if name.is_empty() || name.contains(char::is_whitespace) || name.contains('\0') {
            self.problem(place, format!("{name:?} is not a name"));
        }
    }

    /// A key becomes a file name in the container's cgroup, and nothing else (GHSA-5g49-rx9x-qfc6).
    fn unified(&mut self, file: &str) -> bool {
        let place = format!("unified.{file}");
        let ok = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !file.chars().all(ok) || file.starts_with('.') || !file.contains('.') {
            self.problem(place, "is not the name of a cgroup file");
            return false;
        }
        if ["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze"].contains(&file) {
            self.problem(place, "moves or stops processes and sets no limit");
            return false;
        }
        true
    }

    fn device(&mut self, index: usize, rule: &oci::LinuxDeviceCgroup) -> Option<DeviceRule> {
        let place = format!("devices[{index}]");
        let kind = match rule.typ() {
            None | Some(oci::LinuxDeviceType::A) => DeviceType::All,
            Some(oci::LinuxDeviceType::C) => DeviceType::Char,
            Some(oci::LinuxDeviceType::B) => DeviceType::Block,
            Some(other) => {
                self.problem(format_args!("{place}.type"), format!("{:?} is none of a, b and c", other.as_str()));
                return None;
            }
        };
        let mut number = |name: &str, value: Option<i64>| match value {
            // -1 is how engines written in Go say "all".
            None | Some(-1) => Some(None),
            Some(value) => match u32::try_from(value) {
                Ok(value) => Some(Some(value)),
                Err(_) => {
                    self.problem(format_args!("{place}.{name}"), format!("{value} is not a device number"));
                    None
                }
            },
        };
        let (major, minor) = (number("major", rule.major())?, number("minor", rule.minor())?);
        let text = rule.access().as_deref().filter(|a| !a.is_empty());
        let Some(access) = text.map_or(Some(Access::ALL), Access::parse) else {
            let message = format!("{:?} is not a composition of r, w and m", text.unwrap_or_default());
            self.problem(format_args!("{place}.access"), message);
            return None;
        };
        Some(DeviceRule { allow: rule.allow(), kind, major, minor, access })
    }
}
