//! What is measured. A case is prepared once for each contestant, which gives a closure that does one round and returns
//! one figure for each of the case's rows. Order, repetition and statistics are the caller's.

use crate::contestant::{Contestant, Kind, Names};
use crate::place::Place;
use crate::sys;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};

/// Bind mounts in the case that has many, and mount points for them in the root file system.
pub const BINDS: usize = 100;
/// Mounts added to the host's in the case that has many.
pub const HOST_MOUNTS: usize = 1000;
/// Containers at a time in the parallel case, and containers in one of its rounds.
const WORKERS: usize = 4;
const BATCH: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// What `runc spec` writes.
    Minimal,
    /// Docker's default: seccomp, 14 capabilities, device rules, sysctls.
    Docker,
    /// Minimal with [`BINDS`] bind mounts.
    Binds,
}

impl Profile {
    pub fn config(self, place: &Place) -> Result<Value> {
        let text = match self {
            Profile::Docker => include_str!("../configs/docker.json"),
            Profile::Minimal | Profile::Binds => include_str!("../configs/minimal.json"),
        };
        let mut config: Value = serde_json::from_str(text)?;
        if self == Profile::Binds {
            let mounts = config["mounts"].as_array_mut().context("the config has mounts")?;
            for i in 0..BINDS {
                let source = place.dir.join(format!("sources/{i:03}"));
                fs::create_dir_all(&source)?;
                mounts.push(json!({
                    "destination": format!("/mnt/{i:03}"), "type": "bind", "source": source,
                    "options": ["rbind", "rprivate"],
                }));
            }
        }
        Ok(config)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Milliseconds,
    PerSecond,
}

#[derive(Clone, Copy)]
enum What {
    Run(Profile),
    RunCrowded,
    Lifecycle,
    Cycle,
    Exec(Profile),
    Parallel,
}

pub struct Case {
    /// For `--only`.
    pub name: &'static str,
    pub rows: &'static [&'static str],
    pub unit: Unit,
    what: What,
}

pub const CASES: &[Case] = &[
    Case { name: "run", rows: &["run, minimal"], unit: Unit::Milliseconds, what: What::Run(Profile::Minimal) },
    Case { name: "docker", rows: &["run, docker"], unit: Unit::Milliseconds, what: What::Run(Profile::Docker) },
    Case {
        name: "lifecycle",
        rows: &["create", "start", "state", "kill", "delete"],
        unit: Unit::Milliseconds,
        what: What::Lifecycle,
    },
    Case { name: "cycle", rows: &["create+start+wait+delete"], unit: Unit::Milliseconds, what: What::Cycle },
    Case { name: "exec", rows: &["exec, minimal"], unit: Unit::Milliseconds, what: What::Exec(Profile::Minimal) },
    Case { name: "exec-docker", rows: &["exec, docker"], unit: Unit::Milliseconds, what: What::Exec(Profile::Docker) },
    Case { name: "binds", rows: &["run, +100 binds"], unit: Unit::Milliseconds, what: What::Run(Profile::Binds) },
    Case { name: "mounts", rows: &["run, 1000 host mounts"], unit: Unit::Milliseconds, what: What::RunCrowded },
    Case { name: "parallel", rows: &["containers/s, 4 at a time"], unit: Unit::PerSecond, what: What::Parallel },
];

/// One round: a figure for each row of the case.
pub type Round<'a> = Box<dyn FnMut() -> Result<Vec<f64>> + 'a>;

impl Case {
    /// What has to hold while the case runs, for all contestants.
    pub fn surroundings(&self, place: &Place) -> Result<Option<crate::place::Crowd>> {
        match self.what {
            What::RunCrowded => place.crowd(HOST_MOUNTS).map(Some),
            _ => Ok(None),
        }
    }

    /// Each round stands for several, where one takes long.
    pub fn rounds(&self, runs: usize) -> usize {
        if self.unit == Unit::PerSecond { (runs / 10).max(3) } else { runs }
    }

    /// None if the contestant has nothing to measure here.
    pub fn prepare<'a>(&self, place: &'a Place, who: &'a Contestant) -> Result<Option<Round<'a>>> {
        let runtime_only = matches!(self.what, What::Lifecycle | What::Cycle);
        if runtime_only && who.kind == Kind::Floor {
            return Ok(None);
        }
        match self.what {
            What::Run(profile) => self.run(place, who, profile),
            What::RunCrowded => self.run(place, who, Profile::Minimal),
            What::Lifecycle => self.lifecycle(place, who),
            What::Cycle => self.cycle(place, who),
            What::Exec(profile) => self.exec(place, who, profile),
            What::Parallel => self.parallel(place, who),
        }
        .map(Some)
    }

    fn names(&self, place: &Place, who: &Contestant, worker: usize, config: Value) -> Result<Names> {
        let id = format!("bench-{}-{}-{worker}", self.name, who.name);
        let bundle = place.bundle(&id, config)?;
        let pid_file = bundle.join("pid");
        Ok(Names { cgroup: format!("{}/{id}", place.cgroup), id, bundle, pid_file })
    }

    fn run<'a>(&self, place: &'a Place, who: &'a Contestant, profile: Profile) -> Result<Round<'a>> {
        let names = self.names(place, who, 0, profile.config(place)?)?;
        let command = who.run(place, &names, profile)?;
        let leftovers = Leftovers { place, who, names: vec![names] };
        Ok(Box::new(move || {
            let _ = &leftovers;
            Ok(vec![place.timed(&command)?])
        }))
    }

    fn lifecycle<'a>(&self, place: &'a Place, who: &'a Contestant) -> Result<Round<'a>> {
        let names = self.names(place, who, 0, sleeping(Profile::Minimal.config(place)?))?;
        let (create, start) = (who.create(place, &names)?, who.start(place, &names)?);
        let (state, kill, delete) = (who.state(place, &names)?, who.kill(place, &names)?, who.delete(place, &names)?);
        let pid_file = names.pid_file.clone();
        let leftovers = Leftovers { place, who, names: vec![names] };
        Ok(Box::new(move || {
            let _ = &leftovers;
            let created = place.timed(&create)?;
            let init = read_pid(&pid_file)?;
            let mut times = vec![created, place.timed(&start)?, place.timed(&state)?, place.timed(&kill)?];
            sys::wait(init).context("wait for the container's init")?;
            times.push(place.timed(&delete)?);
            Ok(times)
        }))
    }

    fn cycle<'a>(&self, place: &'a Place, who: &'a Contestant) -> Result<Round<'a>> {
        let names = self.names(place, who, 0, Profile::Minimal.config(place)?)?;
        let (create, start) = (who.create(place, &names)?, who.start(place, &names)?);
        let delete = who.delete(place, &names)?;
        let pid_file = names.pid_file.clone();
        let leftovers = Leftovers { place, who, names: vec![names] };
        Ok(Box::new(move || {
            let _ = &leftovers;
            let begin = Instant::now();
            place.timed(&create)?;
            let init = read_pid(&pid_file)?;
            place.timed(&start)?;
            sys::wait(init).context("wait for the container's init")?;
            place.timed(&delete)?;
            Ok(vec![begin.elapsed().as_secs_f64() * 1000.0])
        }))
    }

    fn exec<'a>(&self, place: &'a Place, who: &'a Contestant, profile: Profile) -> Result<Round<'a>> {
        let names = self.names(place, who, 0, sleeping(profile.config(place)?))?;
        let running = Running::start(place, who, names, profile)?;
        let command = who.exec(place, running.names(), profile, running.init)?;
        Ok(Box::new(move || {
            let _ = &running;
            Ok(vec![place.timed(&command)?])
        }))
    }

    /// Four containers at a time: as one ends, the next begins in its bundle and cgroup.
    fn parallel<'a>(&self, place: &'a Place, who: &'a Contestant) -> Result<Round<'a>> {
        let mut workers = Vec::new();
        for worker in 0..WORKERS {
            workers.push(self.names(place, who, worker, Profile::Minimal.config(place)?)?);
        }
        let commands =
            workers.iter().map(|names| who.run(place, names, Profile::Minimal)).collect::<Result<Vec<_>>>()?;
        let leftovers = Leftovers { place, who, names: workers };
        Ok(Box::new(move || {
            let _ = &leftovers;
            let begin = Instant::now();
            let mut running = Vec::with_capacity(WORKERS);
            for command in &commands {
                running.push(place.spawn(command)?);
            }
            let (mut begun, mut failure) = (WORKERS, None);
            while running.iter().any(|pid| *pid != 0) {
                let ended = sys::wait(-1)?;
                let Some(worker) = running.iter().position(|pid| *pid == ended.pid) else { continue };
                running[worker] = 0;
                if ended.code != 0 {
                    failure = Some(ended);
                } else if begun < BATCH && failure.is_none() {
                    begun += 1;
                    running[worker] = place.spawn(&commands[worker])?;
                }
            }
            if let Some(ended) = failure {
                place.expect_success(ended)?;
            }
            Ok(vec![BATCH as f64 / begin.elapsed().as_secs_f64()])
        }))
    }
}

/// Makes the container's process last.
pub fn sleeping(mut config: Value) -> Value {
    config["process"]["args"] = json!(["/bin/sleep", "1000"]);
    config
}

pub fn read_pid(file: &std::path::Path) -> Result<i32> {
    let text = fs::read_to_string(file).with_context(|| format!("read pid file {}", file.display()))?;
    text.trim().parse().with_context(|| format!("parse pid file {}", file.display()))
}

/// Removes, when a case is over, the containers that a failed round may have left.
pub struct Leftovers<'a> {
    pub place: &'a Place,
    pub who: &'a Contestant,
    pub names: Vec<Names>,
}

impl Drop for Leftovers<'_> {
    fn drop(&mut self) {
        for names in &self.names {
            // Mostly there is nothing and the command fails; what it cannot remove goes with Place's tmpfs.
            if let Ok(Some(command)) = self.who.delete_by_force(self.place, names) {
                let _ = self.place.run(&command);
            }
            if let Err(error) = self.place.sweep(&names.cgroup) {
                eprintln!("rvol-bench: {error:#}");
            }
        }
        self.place.take_stderr();
    }
}

/// A container that sleeps.
pub struct Running<'a> {
    pub init: i32,
    /// The floor's command in the foreground, if it is one.
    foreground: Option<i32>,
    leftovers: Leftovers<'a>,
}

impl<'a> Running<'a> {
    /// The config must be one of [`sleeping`].
    pub fn start(place: &'a Place, who: &'a Contestant, names: Names, profile: Profile) -> Result<Running<'a>> {
        let mut running =
            Running { init: 0, foreground: None, leftovers: Leftovers { place, who, names: vec![names] } };
        let names = running.names();
        match who.kind {
            Kind::Runtime => {
                place.timed(&who.create(place, names)?)?;
                running.init = read_pid(&running.names().pid_file)?;
                place.timed(&who.start(place, running.names())?)?;
            }
            Kind::Floor => {
                let pid = place.spawn(&who.floor_run(place, names, profile, &["/bin/sleep", "1000"])?)?;
                running.foreground = Some(pid);
                running.init = wait_for_payload(place, pid)?;
            }
        }
        Ok(running)
    }

    pub fn names(&self) -> &Names {
        &self.leftovers.names[0]
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let kill = |pid| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        if self.init > 0 {
            // An init that has died already is waited for all the same.
            let _ = kill(self.init);
            let _ = sys::wait(self.foreground.unwrap_or(self.init));
        }
    }
}

/// The floor has no `create` that returns when the container stands: look until its child is the payload.
fn wait_for_payload(place: &Place, pid: i32) -> Result<i32> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(5) {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let child = children.split_whitespace().next().and_then(|c| c.parse().ok());
        if let Some(init) = child.filter(|init| place.is_payload(*init)) {
            return Ok(init);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("the floor's container did not come up: {}", place.take_stderr())
}
