//! What each command costs besides time: processes, execs, syscalls, page faults and memory. Figures that hold still, so
//! three runs are enough.

use crate::cases::{Leftovers, Profile, Running, read_pid, sleeping};
use crate::complaints::Complaints;
use crate::contestant::{Contestant, Kind, Names};
use crate::place::Place;
use crate::sys::{self, Command};
use crate::table::Table;
use crate::trace::{Counts, trace};
use anyhow::Result;
use nix::errno::Errno;
use serde_json::Value;

const REPEATS: usize = 3;

/// What a command did: in a traced run, and how many page faults in an untraced one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    counts: Counts,
    faults: u64,
}

type Measured = Vec<(&'static str, Cost)>;

/// Prints a row for each command and contestant.
pub fn print(place: &Place, contestants: &[Contestant], complaints: &mut Complaints, markdown: bool) {
    println!("Cost of each command and its children, the container's payload left out:");
    let head = ["", "", "processes", "threads", "execs", "syscalls", "page faults", "peak RSS, MB"];
    let mut table = Table::new(head.map(String::from).to_vec());
    let mut all: Vec<(&Contestant, Measured)> = Vec::new();
    for who in contestants {
        let mut measured = Vec::new();
        for part in [run_minimal, run_docker, lifecycle, exec] {
            match part(place, who) {
                Ok(part) => measured.extend(part),
                Err(error) => complaints.say("costs", who, &error),
            }
        }
        all.push((who, measured));
    }
    for name in ["run, minimal", "run, docker", "create", "start", "state", "kill", "delete", "exec, minimal"] {
        let mut first = true;
        for (who, measured) in &all {
            let Some((_, cost)) = measured.iter().find(|(n, _)| *n == name) else { continue };
            let c = cost.counts;
            let mut line = vec![if first { name.to_owned() } else { String::new() }, who.name.clone()];
            line.extend([c.processes, c.threads, c.execs, c.syscalls].map(|n| n.to_string()));
            line.extend([cost.faults.to_string(), format!("{:.2}", c.peak as f64 / 1024.0)]);
            table.push(line);
            first = false;
        }
    }
    table.print(markdown);
    println!();
}

fn names(place: &Place, who: &Contestant, case: &str, config: Value) -> Result<Names> {
    let id = format!("cost-{case}-{}", who.name);
    let bundle = place.bundle(&id, config)?;
    let pid_file = bundle.join("pid");
    Ok(Names { cgroup: format!("{}/{id}", place.cgroup), id, bundle, pid_file })
}

fn faults(place: &Place, command: &Command) -> Result<u64> {
    let ended = place.run(command)?;
    place.expect_success(ended)?;
    Ok(ended.faults)
}

/// The middle one of what the command costs each time.
fn repeated(place: &Place, command: &Command) -> Result<Cost> {
    place.run(command)?;
    let mut costs = Vec::new();
    for _ in 0..REPEATS {
        costs.push(Cost { counts: trace(place, command)?, faults: faults(place, command)? });
    }
    Ok(middle(&costs))
}

/// The median of each figure by itself.
fn middle(costs: &[Cost]) -> Cost {
    let of = |figure: fn(&Cost) -> u64| {
        let mut figures: Vec<_> = costs.iter().map(figure).collect();
        figures.sort_unstable();
        figures[figures.len() / 2]
    };
    Cost {
        counts: Counts {
            processes: of(|c| c.counts.processes),
            threads: of(|c| c.counts.threads),
            execs: of(|c| c.counts.execs),
            syscalls: of(|c| c.counts.syscalls),
            peak: of(|c| c.counts.peak),
        },
        faults: of(|c| c.faults),
    }
}

fn run_minimal(place: &Place, who: &Contestant) -> Result<Measured> {
    let names = names(place, who, "run", Profile::Minimal.config(place)?)?;
    let command = who.run(place, &names, Profile::Minimal)?;
    let _leftovers = Leftovers { place, who, names: vec![names] };
    Ok(vec![("run, minimal", repeated(place, &command)?)])
}

fn run_docker(place: &Place, who: &Contestant) -> Result<Measured> {
    let names = names(place, who, "docker", Profile::Docker.config(place)?)?;
    let command = who.run(place, &names, Profile::Docker)?;
    let _leftovers = Leftovers { place, who, names: vec![names] };
    Ok(vec![("run, docker", repeated(place, &command)?)])
}

fn exec(place: &Place, who: &Contestant) -> Result<Measured> {
    let names = names(place, who, "exec", sleeping(Profile::Minimal.config(place)?))?;
    let running = Running::start(place, who, names, Profile::Minimal)?;
    let command = who.exec(place, running.names(), Profile::Minimal, running.init)?;
    Ok(vec![("exec, minimal", repeated(place, &command)?)])
}

/// Every second lifecycle is traced, the others are for the page faults.
fn lifecycle(place: &Place, who: &Contestant) -> Result<Measured> {
    if who.kind == Kind::Floor {
        return Ok(vec![]);
    }
    let names = names(place, who, "lifecycle", sleeping(Profile::Minimal.config(place)?))?;
    let pid_file = names.pid_file.clone();
    let commands = [
        ("create", who.create(place, &names)?),
        ("start", who.start(place, &names)?),
        ("state", who.state(place, &names)?),
        ("kill", who.kill(place, &names)?),
        ("delete", who.delete(place, &names)?),
    ];
    let _leftovers = Leftovers { place, who, names: vec![names] };
    let mut costs = vec![Vec::new(); commands.len()];
    for _ in 0..REPEATS {
        let (mut counts, mut faulted) = (Vec::new(), Vec::new());
        for (name, command) in &commands {
            counts.push(trace(place, command)?);
            await_end(name, &pid_file)?;
        }
        for (name, command) in &commands {
            faulted.push(faults(place, command)?);
            await_end(name, &pid_file)?;
        }
        for (cost, (counts, faults)) in costs.iter_mut().zip(counts.into_iter().zip(faulted)) {
            cost.push(Cost { counts, faults });
        }
    }
    Ok(commands.iter().zip(costs).map(|((name, _), costs)| (*name, middle(&costs))).collect())
}

/// After `kill`, the init is the harness's to wait for, unless the tracer has met its end already.
fn await_end(name: &str, pid_file: &std::path::Path) -> Result<()> {
    if name != "kill" {
        return Ok(());
    }
    match sys::wait(read_pid(pid_file)?) {
        Err(error) if error.downcast_ref() != Some(&Errno::ECHILD) => {
            Err(error.context("wait for the container's init"))
        }
        _ => Ok(()),
    }
}
