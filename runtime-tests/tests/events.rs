//! `events`.

use runtime_tests::cgroups::{Version, controller, is_v2_only};
use runtime_tests::command::Running;
use runtime_tests::{Case, Kind, Value, json, needs, needs_machine, runtime, waiting};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

/// Every key of every object, with the keys above it; elements of arrays are all one.
fn keys(value: &Value, place: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let place = format!("{place}/{key}");
                keys(value, &place, found);
                found.insert(place);
            }
        }
        Value::Array(array) => array.iter().for_each(|value| keys(value, &format!("{place}[]"), found)),
        _ => {}
    }
}

fn keys_of(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    keys(value, "", &mut found);
    found
}

#[test]
fn stats_of_a_running_container() {
    let mut case = Case::new();
    case.set("/linux/resources/pids/limit", json!(50)).script("while :; do :; done").create().ok();
    case.start().ok();
    // There are kernels that count by the ticks of their clock.
    let counted = || {
        let outcome = case.invoke(&["events", "--stats", &case.id]).ok();
        outcome.json()["data"]["cpu"]["usage"]["total"].as_u64().is_some_and(|n| n > 0).then_some(outcome)
    };
    let outcome = waiting::until(Duration::from_secs(20), counted).expect("the CPU's time is counted");
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome}");
    let event = outcome.json();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(case.id)));
    let data = &event["data"];
    for section in ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"] {
        assert!(data.get(section).is_some(), "no {section}: {outcome}");
    }
    if controller("pids").is_some() {
        assert_eq!(data["pids"], json!({ "current": case.pids().len(), "limit": 50 }));
    }
    if controller("memory").is_some() {
        assert!(data["memory"]["usage"]["usage"].as_u64().is_some_and(|n| n > 0), "{outcome}");
        assert!(data["memory"]["raw"].as_object().is_some_and(|raw| raw.len() > 10), "{outcome}");
    }
}

#[test]
fn the_keys_are_runcs() {
    needs!(Rvol);
    needs_machine!(Command::new("runc").arg("--version").output().is_ok(), "no runc");
    let of_v2 = controller("memory").is_some_and(|h| h.version == Version::V2);
    needs_machine!(is_v2_only() || !of_v2, "runc does not look for the memory controller in v2 beside v1");
    let mut case = Case::new();
    // Something in every counter that is left out while it is 0.
    case.set("/linux/resources/pids/limit", json!(50));
    case.script("dd if=/dev/zero of=/tmp/x bs=4096 count=64; i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; (:); echo ready; probe pause & wait");
    let started = case.create_and_start();
    started.wait_for_line("ready");
    let ours = case.invoke(&["events", "--stats", &case.id]).ok().json();
    case.delete_force().ok();

    let root = case.make_dir("runc");
    let runc = |words: &[&str]| {
        let mut command = runtime_tests::command::quiet("runc".as_ref());
        command.args(["--root", &root]).args(words).current_dir(&case.dir);
        case.finish(command)
    };
    runc(&["create", "--bundle", case.bundle().to_str().unwrap(), &case.id]).ok();
    runc(&["start", &case.id]).ok();
    let pid = runc(&["state", &case.id]).ok().json()["pid"].as_i64().unwrap();
    // Its output is lost: it is done when it sleeps with a child.
    let waits =
        || std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).is_ok_and(|c| !c.trim().is_empty());
    assert!(waiting::until(Duration::from_secs(20), || waits().then_some(())).is_some());
    let theirs = runc(&["events", "--stats", &case.id]);
    runc(&["delete", "--force", &case.id]).ok();
    let theirs = theirs.ok().json();

    let (ours, theirs) = (keys_of(&ours), keys_of(&theirs));
    // Which counters of v1 are still 0 at this moment, and so left out, is chance.
    let chance = |key: &&String| {
        key.contains("percpu")
            || key.ends_with("/failcnt")
            || key.ends_with("/max")
            || key.contains("/blkio/")
            || key.ends_with("/cache")
            || key.ends_with("/usage/usage")
    };
    let missing: Vec<&String> = theirs.difference(&ours).filter(|k| !chance(k)).collect();
    assert!(missing.is_empty(), "runc has also {missing:?}");
    // runc 1.1 knows nothing of pressure, and of the cpusets of v2.
    let known = |key: &&String| {
        key.contains("/psi") || key.contains("hugetlb") || (is_v2_only() && key.starts_with("/data/cpuset/"))
    };
    let more: Vec<&String> = ours.difference(&theirs).filter(|k| !chance(k) && !known(k)).collect();
    assert!(more.is_empty(), "runc has not {more:?}");
}

#[test]
fn statistics_come_at_intervals_until_the_container_ends() {
    let mut case = Case::new();
    case.pause().create().ok();
    case.start().ok();
    let begin = Instant::now();
    let mut command = case.command();
    command.args(["events", "--interval", "300ms", &case.id]);
    let running = case.start_command(command);
    let lines = || running.stdout().lines().count();
    assert!(waiting::until(Duration::from_secs(20), || (lines() >= 3).then_some(())).is_some());
    assert!(begin.elapsed() >= Duration::from_millis(900), "three in {:?}", begin.elapsed());
    for line in running.stdout().lines() {
        let event: Value = line.parse().expect("a JSON object a line");
        assert_eq!(event["type"], "stats");
    }
    case.kill("KILL").ok();
    case.wait_for_status("stopped");
    // runc waits for the end of the cgroup.
    case.delete().ok();
    let outcome = running.finish();
    assert_eq!(outcome.code(), 0, "{outcome}");
}

/// It waits for something to happen.
fn is_in_poll(running: &Running) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{}/syscall", running.pid())).unwrap_or_default();
    text.split(' ').next().and_then(|n| n.parse().ok()).is_some_and(|number: i64| WAITS.contains(&number))
}

#[test]
fn the_end_of_the_process_is_the_end() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause().create().ok();
    case.start().ok();
    let mut command = case.command();
    command.args(["events", "--interval", "1h", &case.id]);
    let running = case.start_command(command);
    // It would be refused after the end.
    assert!(
        waiting::until(Duration::from_secs(20), || is_in_poll(&running).then_some(())).is_some(),
        "it does not wait"
    );
    case.kill("KILL").ok();
    let outcome = running.finish_within(Duration::from_secs(20)).ok();
    assert_eq!(outcome.stdout, "");
}

#[test]
fn a_created_container_has_statistics() {
    let mut case = Case::new();
    case.pause().create().ok();
    assert_eq!(case.invoke(&["events", "--stats", &case.id]).ok().json()["type"], "stats");
}

/// The system calls in which one waits for something to happen.
#[cfg(target_arch = "x86_64")]
const WAITS: [i64; 4] = [libc::SYS_poll, libc::SYS_ppoll, libc::SYS_epoll_wait, libc::SYS_epoll_pwait];
#[cfg(not(target_arch = "x86_64"))]
const WAITS: [i64; 2] = [libc::SYS_ppoll, libc::SYS_epoll_pwait];

#[test]
fn out_of_memory_is_told_at_once() {
    needs_machine!(controller("memory").is_some(), "no memory controller");
    let mut case = Case::new();
    case.set("/linux/resources/memory", json!({ "limit": 8 << 20, "swap": 8 << 20 }));
    // The first process survives its greedy child.
    case.script(
        "trap 'x=a; while :; do x=$x$x; done & wait $!; echo killed' USR1; echo ready; while :; do sleep 0.1; done",
    );
    let started = case.create_and_start();
    started.wait_for_line("ready");
    let mut command = case.command();
    command.args(["events", "--interval", "1h", &case.id]);
    let running = case.start_command(command);
    // It tells of what comes after it began to watch: its fds show that it has.
    let watches = || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", running.pid())).ok()?;
        let links: Vec<String> = fds
            .flatten()
            .filter_map(|fd| Some(std::fs::read_link(fd.path()).ok()?.to_string_lossy().into_owned()))
            .collect();
        let call = std::fs::read_to_string(format!("/proc/{}/syscall", running.pid())).unwrap_or_default();
        let number = call.split(' ').next().and_then(|n| n.parse::<i64>().ok());
        let waits = number.is_some_and(|n| WAITS.contains(&n)) || runtime().kind != Kind::Rvol;
        let watched = ["eventfd", "memory.events", "inotify"];
        (waits && links.iter().any(|l| watched.iter().any(|w| l.contains(w)))).then_some(())
    };
    assert!(waiting::until(Duration::from_secs(10), watches).is_some(), "it does not watch");
    case.kill("USR1").ok();
    started.wait_for_line("killed");
    let seen = waiting::until(Duration::from_secs(20), || (!running.stdout().is_empty()).then_some(()));
    assert!(seen.is_some(), "no event");
    let event: Value = running.stdout().lines().next().unwrap().parse().unwrap();
    assert_eq!(event, json!({ "type": "oom", "id": case.id }));
    case.kill("KILL").ok();
    case.wait_for_status("stopped");
    case.delete().ok();
    running.finish().ok();
}

#[test]
fn the_death_of_the_first_process_for_want_of_memory_is_told() {
    needs!(Rvol);
    needs_machine!(controller("memory").is_some(), "no memory controller");
    let mut case = Case::new();
    case.set("/linux/resources/memory", json!({ "limit": 8 << 20, "swap": 8 << 20 }));
    case.script("x=a; while :; do x=$x$x; done").create().ok();
    let mut command = case.command();
    command.args(["events", "--interval", "200ms", &case.id]);
    let running = case.start_command(command);
    running.wait_for_line("stats");
    case.start().ok();
    let outcome = running.finish().ok();
    assert!(outcome.stdout.lines().last().is_some_and(|line| line.contains("\"oom\"")), "{outcome}");
}

#[test]
fn who_reads_no_more_ends_it() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause().create().ok();
    case.start().ok();
    let mut command = case.command();
    command.args(["events", "--interval", "50ms", &case.id]).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("start events");
    drop(child.stdout.take());
    let status = waiting::until(Duration::from_secs(20), || child.try_wait().expect("wait"));
    assert!(status.is_some_and(|s| s.success()), "{status:?}");
}

#[test]
fn refusals() {
    let mut case = Case::new();
    case.invoke(&["events", "--stats", &case.id]).fails().says("does not exist");
    case.pause().create().ok();
    case.start().ok();
    for interval in ["0", "0s", "-1s"] {
        case.invoke(&["events", "--interval", interval, &case.id]).fails().says("interval must be greater than 0");
    }
    for interval in ["5", "fast", ""] {
        case.invoke(&["events", "--interval", interval, &case.id]).fails();
    }
    case.kill("KILL").ok();
    case.wait_for_status("stopped");
    case.invoke(&["events", "--stats", &case.id]).fails().says("is not running");
    case.invoke(&["events", &case.id]).fails().says("is not running");
}
