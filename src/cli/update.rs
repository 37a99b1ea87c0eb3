//! `update`: new limits for a container.

use super::args::{Flag, Matches, wrong_value};
use super::{CONTAINER_ID, Command, Globals, size};
use crate::runtime::{self, Change};
use crate::sys::Call;
use crate::{bundle, log};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::fs::File;

pub const COMMAND: Command = Command {
    name: "update",
    about: "Set new limits for a container",
    details: "\
What is not named stays as it is. Sizes are numbers of bytes, or have a unit: 64m, 1.5GiB.

With --resources the limits are read from a file, or from standard input ('-'): the
JSON object that is linux.resources in a config, of which every part may be left out.

    {\"memory\": {\"limit\": 67108864}, \"pids\": {\"limit\": 20}}",
    flags: &[&[RESOURCES], LIMITS, &[KERNEL_MEMORY, KERNEL_MEMORY_TCP, L3_CACHE_SCHEMA, MEM_BW_SCHEMA]],
    operands: &[CONTAINER_ID],
    run,
};

const RESOURCES: Flag = Flag {
    name: "resources",
    short: Some('r'),
    value: Some("FILE"),
    help: "Read the limits from this file as JSON, from standard input if it is -",
};
const KERNEL_MEMORY: Flag = limit("kernel-memory", "SIZE", "Ignored: Linux has no such limit any more");
const KERNEL_MEMORY_TCP: Flag = limit("kernel-memory-tcp", "SIZE", "Ignored, as in runc");
const L3_CACHE_SCHEMA: Flag = limit("l3-cache-schema", "SCHEMA", "Intel RDT: share of the L3 cache, such as L3:0=ff");
const MEM_BW_SCHEMA: Flag = limit("mem-bw-schema", "SCHEMA", "Intel RDT: memory bandwidth, such as MB:0=70");

const fn limit(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, short: None, value: Some(value), help }
}

const LIMITS: &[Flag] = &[
    limit("blkio-weight", "WEIGHT", "Share of disk time, 10 to 1000"),
    limit("cpu-period", "USEC", "Period in which --cpu-quota holds"),
    limit("cpu-quota", "USEC", "CPU time in each period; -1: no limit"),
    limit("cpu-burst", "USEC", "CPU time that may be saved up for later periods"),
    limit("cpu-share", "N", "Share of CPU time beside other containers, 2 to 262144"),
    limit("cpu-rt-period", "USEC", "Period in which --cpu-rt-runtime holds"),
    limit("cpu-rt-runtime", "USEC", "CPU time of realtime processes in each period"),
    limit("cpu-idle", "0|1", "1: CPU time that nobody else wants, and no other"),
    limit("cpuset-cpus", "LIST", "CPUs to run on, such as 0-3,7"),
    limit("cpuset-mems", "LIST", "Memory nodes to use"),
    limit("memory", "SIZE", "Memory; -1: no limit"),
    limit("memory-reservation", "SIZE", "Memory that is left when memory is short"),
    limit("memory-swap", "SIZE", "Memory and swap together; -1: no limit of swap"),
    limit("pids-limit", "N", "Number of tasks; -1: no limit"),
];

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Size,
    Text,
}

/// Where in the resources the value of a flag stands.
fn meaning(flag: &Flag) -> (&'static str, &'static str, Kind) {
    match flag.name {
        "blkio-weight" => ("blockIO", "weight", Kind::Number),
        "cpu-period" => ("cpu", "period", Kind::Number),
        "cpu-quota" => ("cpu", "quota", Kind::Number),
        "cpu-burst" => ("cpu", "burst", Kind::Number),
        "cpu-share" => ("cpu", "shares", Kind::Number),
        "cpu-rt-period" => ("cpu", "realtimePeriod", Kind::Number),
        "cpu-rt-runtime" => ("cpu", "realtimeRuntime", Kind::Number),
        "cpu-idle" => ("cpu", "idle", Kind::Number),
        "cpuset-cpus" => ("cpu", "cpus", Kind::Text),
        "cpuset-mems" => ("cpu", "mems", Kind::Text),
        "memory" => ("memory", "limit", Kind::Size),
        "memory-reservation" => ("memory", "reservation", Kind::Size),
        "memory-swap" => ("memory", "swap", Kind::Size),
        _ => ("pids", "limit", Kind::Number),
    }
}

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    for flag in [&KERNEL_MEMORY, &KERNEL_MEMORY_TCP] {
        if matches.value(flag).is_some_and(|value| !value.is_empty()) {
            log::warn(format_args!("Kernel memory settings are ignored and will be removed: --{}", flag.name));
        }
    }
    let limits = limits(matches)?;
    let value = match matches.text(&RESOURCES)?.filter(|file| !file.is_empty()) {
        None => limits,
        Some(_) if limits != json!({}) => bail!("--resources: no other limit can be given beside it"),
        Some("-") => bundle::read_resources(std::io::stdin().lock())?,
        Some(file) => bundle::read_resources(File::open(file).call(|| format!("open {file}"))?)?,
    };
    let (resources, warnings) = bundle::resources(value)?;
    warnings.iter().for_each(|warning| log::warn(format_args!("{warning}")));
    let schema = |flag: &Flag| Ok::<_, anyhow::Error>(matches.text(flag)?.map(str::to_owned));
    let change =
        Change { resources, l3_cache_schema: schema(&L3_CACHE_SCHEMA)?, mem_bw_schema: schema(&MEM_BW_SCHEMA)? };
    runtime::update(&globals.context()?, matches.id()?, &change)?;
    Ok(0)
}

/// The flags as resources. An empty value is none, as in runc.
fn limits(matches: &Matches) -> Result<Value> {
    let mut resources = json!({});
    for flag in LIMITS {
        let Some(text) = matches.text(flag)?.filter(|text| !text.is_empty()) else { continue };
        let (section, name, kind) = meaning(flag);
        resources[section][name] = match kind {
            Kind::Text => json!(text),
            Kind::Number => number(text).ok_or_else(|| wrong_value(flag, text.as_ref(), "is not a number"))?,
            Kind::Size if text == "-1" => json!(-1),
            Kind::Size => match size::parse(text) {
                Some(bytes) => json!(bytes),
                None => return Err(wrong_value(flag, text.as_ref(), "is not a size such as 64m or 1.5GiB")),
            },
        };
    }
    Ok(resources)
}

fn number(text: &str) -> Option<Value> {
    text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::super::COMMANDS;
    use super::super::args::{Action, Words};
    use super::*;

    fn limits_of(line: &str) -> Result<Value> {
        let mut words = Words::new(line.split_whitespace().map(Into::into), COMMANDS);
        let (_, first) = words.globals().unwrap();
        let Action::Run(_, matches) = words.action(first).unwrap() else { panic!("{line}") };
        limits(&matches)
    }

    #[test]
    fn flags_become_resources() {
        let line = "update --blkio-weight 500 --cpu-period 50000 --cpu-quota -1 --cpu-burst 10 --cpu-share=512 \
            --cpu-rt-period 1000000 --cpu-rt-runtime 950000 --cpu-idle 1 --cpuset-cpus 0-1 --cpuset-mems 0 \
            --memory 1.5m --memory-reservation 64KiB --memory-swap -1 --pids-limit 0 demo";
        let expected = json!({
            "blockIO": { "weight": 500 },
            "cpu": { "period": 50000, "quota": -1, "burst": 10, "shares": 512, "realtimePeriod": 1_000_000,
                "realtimeRuntime": 950_000, "idle": 1, "cpus": "0-1", "mems": "0" },
            "memory": { "limit": 1_572_864, "reservation": 65536, "swap": -1 },
            "pids": { "limit": 0 },
        });
        assert_eq!(limits_of(line).unwrap(), expected);
        assert_eq!(limits_of("update --memory= --cpu-share= demo").unwrap(), json!({}));
    }

    #[test]
    fn values_that_are_none_are_named() {
        for (line, expected) in [
            ("update --cpu-share x demo", "--cpu-share x: is not a number"),
            ("update --memory 12q demo", "--memory 12q: is not a size such as 64m or 1.5GiB"),
            ("update --memory -2 demo", "--memory -2: is not a size such as 64m or 1.5GiB"),
            ("update --pids-limit 1.5 demo", "--pids-limit 1.5: is not a number"),
        ] {
            assert_eq!(limits_of(line).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn every_limit_has_its_own_meaning() {
        let meanings: std::collections::BTreeSet<_> = LIMITS.iter().map(|f| (meaning(f).0, meaning(f).1)).collect();
        assert_eq!(meanings.len(), LIMITS.len());
    }
}
