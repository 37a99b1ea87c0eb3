//! The fixed facts, as JSON. What cannot be read is null.

use crate::{questions, raw};
use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Map, Value, json};
use std::fs;

pub fn print(questions: &[String]) {
    let facts = collect(questions);
    crate::print_out(&facts.to_string());
}

fn collect(questions: &[String]) -> Value {
    // First of all the fds, before anything here opens one.
    let fds = fds();
    let status = read("/proc/self/status").unwrap_or_default();
    let mut facts = Map::new();
    for part in [identity(&status), attributes(&status), surroundings()] {
        if let Value::Object(part) = part {
            facts.extend(part);
        }
    }
    facts.insert("fds".into(), fds);
    facts.insert("answers".into(), questions::answer(questions));
    Value::Object(facts)
}

/// Who this process is.
fn identity(status: &str) -> Value {
    let env = std::env::vars_os().map(|(k, v)| format!("{}={}", k.to_string_lossy(), v.to_string_lossy()));
    json!({
        "args": std::env::args().collect::<Vec<_>>(),
        "env": env.collect::<Vec<_>>(),
        "cwd": std::env::current_dir().ok(),
        "pid": std::process::id(),
        "ppid": nix::unistd::getppid().as_raw(),
        "sid": nix::unistd::getsid(None).ok().map(|p| p.as_raw()),
        "pgid": nix::unistd::getpgrp().as_raw(),
        "uid": numbers(status, "Uid:"),
        "gid": numbers(status, "Gid:"),
        "groups": numbers(status, "Groups:"),
        "umask": field(status, "Umask:"),
        "caps": capabilities(status),
        "no_new_privs": numbers(status, "NoNewPrivs:").first(),
        "seccomp": numbers(status, "Seccomp:").first(),
        "uid_map": read("/proc/self/uid_map"),
        "gid_map": read("/proc/self/gid_map"),
        "setgroups": read("/proc/self/setgroups"),
    })
}

/// What the kernel keeps for this process.
fn attributes(status: &str) -> Value {
    let scheduler = raw::scheduler().ok().map(|s| {
        json!({
            "policy": s.policy, "flags": s.flags, "nice": s.nice, "priority": s.priority,
            "runtime": s.runtime, "deadline": s.deadline, "period": s.period,
        })
    });
    let io_priority = raw::syscall(libc::SYS_ioprio_get, &[1, 0]).ok();
    json!({
        "signals": { "blocked": field(status, "SigBlk:"), "ignored": field(status, "SigIgn:") },
        "dumpable": raw::prctl(libc::PR_GET_DUMPABLE, 0).ok(),
        "parent_death_signal": parent_death_signal(),
        "rlimits": rlimits(),
        "oom_score_adj": read("/proc/self/oom_score_adj").and_then(|t| t.trim().parse::<i32>().ok()),
        "personality": raw::syscall(libc::SYS_personality, &[0xffff_ffff]).ok(),
        "scheduler": scheduler,
        "io_priority": io_priority.map(|p| json!({"class": p >> 13, "level": p & 0x1fff})),
        "cpus": field(status, "Cpus_allowed_list:"),
        "memory_policy": raw::mempolicy().ok().map(|(mode, nodes)| json!({"mode": mode, "nodes": nodes})),
        "session_keyring": raw::session_keyring().ok().map(|(id, text)| json!({"id": id, "description": text})),
        "attr_current": read("/proc/self/attr/current"),
        "terminal": terminal(),
    })
}

/// Namespaces and what is in them.
fn surroundings() -> Value {
    let uname = nix::sys::utsname::uname().ok();
    let text = |s: Option<&std::ffi::OsStr>| s.map(|s| s.to_string_lossy().into_owned());
    json!({
        "namespaces": namespaces(),
        "mounts": mounts(),
        "hostname": text(uname.as_ref().map(|u| u.nodename())),
        "domainname": text(uname.as_ref().map(|u| u.domainname())),
        "machine": text(uname.as_ref().map(|u| u.machine())),
        "time_offsets": read("/proc/self/timens_offsets"),
        "clocks": { "monotonic": seconds(libc::CLOCK_MONOTONIC), "boottime": seconds(libc::CLOCK_BOOTTIME) },
        "cgroup": read("/proc/self/cgroup"),
        "interfaces": read("/proc/net/dev").map(|t| interfaces(&t)),
        "loopback_up": loopback_up(),
    })
}

fn read(path: &str) -> Option<String> {
    fs::read(path).ok().map(|b| String::from_utf8_lossy(&b).into_owned())
}

fn field(status: &str, name: &str) -> Option<String> {
    status.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned())
}

fn numbers(status: &str, name: &str) -> Vec<u64> {
    field(status, name).unwrap_or_default().split_whitespace().filter_map(|n| n.parse().ok()).collect()
}

/// The five sets as lists of capability numbers.
fn capabilities(status: &str) -> Value {
    let set = |name| {
        let bits = field(status, name).and_then(|h| u64::from_str_radix(&h, 16).ok())?;
        Some((0..64).filter(|n| bits >> n & 1 == 1).collect::<Vec<u32>>())
    };
    json!({
        "inheritable": set("CapInh:"), "permitted": set("CapPrm:"), "effective": set("CapEff:"),
        "bounding": set("CapBnd:"), "ambient": set("CapAmb:"),
    })
}

fn parent_death_signal() -> Option<i32> {
    nix::sys::prctl::get_pdeathsig().ok().map(|s| s.map_or(0, |s| s as i32))
}

fn rlimits() -> Value {
    const ALL: [(&str, Resource); 16] = [
        ("RLIMIT_AS", Resource::RLIMIT_AS),
        ("RLIMIT_CORE", Resource::RLIMIT_CORE),
        ("RLIMIT_CPU", Resource::RLIMIT_CPU),
        ("RLIMIT_DATA", Resource::RLIMIT_DATA),
        ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE),
        ("RLIMIT_LOCKS", Resource::RLIMIT_LOCKS),
        ("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK),
        ("RLIMIT_MSGQUEUE", Resource::RLIMIT_MSGQUEUE),
        ("RLIMIT_NICE", Resource::RLIMIT_NICE),
        ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE),
        ("RLIMIT_NPROC", Resource::RLIMIT_NPROC),
        ("RLIMIT_RSS", Resource::RLIMIT_RSS),
        ("RLIMIT_RTPRIO", Resource::RLIMIT_RTPRIO),
        ("RLIMIT_RTTIME", Resource::RLIMIT_RTTIME),
        ("RLIMIT_SIGPENDING", Resource::RLIMIT_SIGPENDING),
        ("RLIMIT_STACK", Resource::RLIMIT_STACK),
    ];
    let mut limits = Map::new();
    for (name, resource) in ALL {
        if let Ok((soft, hard)) = getrlimit(resource) {
            limits.insert(name.into(), json!([soft, hard]));
        }
    }
    Value::Object(limits)
}

/// Number of each open fd and what it points to.
fn fds() -> Value {
    let Ok(directory) = fs::read_dir("/proc/self/fd") else { return Value::Null };
    let mut fds = Map::new();
    for entry in directory.flatten() {
        let target = fs::read_link(entry.path()).map(|t| t.to_string_lossy().into_owned()).unwrap_or_default();
        // The fd of this very listing.
        if target.starts_with("/proc/") && target.ends_with("/fd") {
            continue;
        }
        fds.insert(entry.file_name().to_string_lossy().into_owned(), target.into());
    }
    Value::Object(fds)
}

fn namespaces() -> Value {
    let Ok(directory) = fs::read_dir("/proc/self/ns") else { return Value::Null };
    let mut namespaces = Map::new();
    for entry in directory.flatten() {
        if let Ok(link) = fs::read_link(entry.path()) {
            namespaces.insert(entry.file_name().to_string_lossy().into_owned(), link.to_string_lossy().into());
        }
    }
    Value::Object(namespaces)
}

/// /proc/self/mountinfo, a line an object.
fn mounts() -> Value {
    let Some(text) = read("/proc/self/mountinfo") else { return Value::Null };
    text.lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.splitn(3, ' ').collect();
            Some(json!({
                "id": left[0], "parent": left[1], "device": left[2], "root": left[3], "target": left[4],
                "options": left[5].split(',').collect::<Vec<_>>(), "propagation": &left[6..],
                "type": right[0], "source": right[1],
                "super": right.get(2).unwrap_or(&"").split(',').collect::<Vec<_>>(),
            }))
        })
        .collect()
}

fn seconds(clock: libc::clockid_t) -> Option<i64> {
    nix::time::clock_gettime(nix::time::ClockId::from_raw(clock)).ok().map(|t| t.tv_sec())
}

fn terminal() -> Value {
    let stdio: Vec<Value> = (0..3).map(|fd| raw::window_size(fd).ok().map(|(r, c)| json!([r, c])).into()).collect();
    json!({ "stdio": stdio, "controlling": fs::OpenOptions::new().read(true).write(true).open("/dev/tty").is_ok() })
}

fn loopback_up() -> bool {
    let up = nix::net::if_::InterfaceFlags::IFF_UP;
    nix::ifaddrs::getifaddrs().is_ok_and(|mut list| list.any(|i| i.interface_name == "lo" && i.flags.contains(up)))
}

fn interfaces(text: &str) -> Vec<String> {
    text.lines().skip(2).filter_map(|l| l.split(':').next()).map(|n| n.trim().to_owned()).collect()
}
