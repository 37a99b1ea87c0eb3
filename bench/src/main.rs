//! Measures container runtimes side by side: each round runs every contestant once, in an order drawn anew, so that what
//! the machine does meanwhile meets all of them alike. See docs/performance.md.

mod cases;
mod complaints;
mod contestant;
mod copies;
mod costs;
mod filter;
mod limits;
mod place;
mod sys;
mod table;
mod trace;

use anyhow::{Context, Result, bail};
use cases::{CASES, Case, Round, Unit};
use complaints::Complaints;
use contestant::{Contestant, Kind};
use lexopt::prelude::*;
use place::{Cgroups, Place};
use std::path::PathBuf;
use std::time::Instant;
use table::{Cell, Row, Table};

const HELP: &str = "\
Measures rvol-runc against crun, runc and the floor, those that are there. Needs root.

Usage: rvol-bench [OPTIONS]

  --runs N               rounds of each case (default 30)
  --only NAME            only this case; may be given several times (see --list)
  --runtime [NAME=]PATH  a further runtime with runc's command line; may be given several times
  --without NAME         leave this one out; may be given several times
  --cgroup v1|v2         which cgroups to use on a hybrid machine (default v1)
  --markdown             print the tables as markdown
  --list                 print the names of the cases
";

struct Options {
    runs: usize,
    only: Vec<String>,
    runtimes: Vec<String>,
    without: Vec<String>,
    cgroups: Option<Cgroups>,
    markdown: bool,
}

fn main() {
    if let Err(error) = run() {
        eprintln!("rvol-bench: {error:#}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let Some(options) = options()? else { return Ok(()) };
    sys::become_subreaper()?;
    sys::interruptible()?;
    let contestants = contestants(&options)?;
    let place = Place::new(options.cgroups)?;
    std::fs::write(place.dir.join("filter.bpf"), filter::docker())?;
    print_machine(&place, &contestants);
    measure(&place, &contestants, &options)
}

fn options() -> Result<Option<Options>> {
    let mut options =
        Options { runs: 30, only: vec![], runtimes: vec![], without: vec![], cgroups: None, markdown: false };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("runs") => options.runs = parser.value()?.parse()?,
            Long("only") => options.only.push(parser.value()?.string()?),
            Long("runtime") => options.runtimes.push(parser.value()?.string()?),
            Long("without") => options.without.push(parser.value()?.string()?),
            Long("cgroup") => {
                options.cgroups = match parser.value()?.string()?.as_str() {
                    "v1" => Some(Cgroups::V1),
                    "v2" => Some(Cgroups::V2),
                    other => bail!("--cgroup {other}: it is v1 or v2"),
                }
            }
            Long("markdown") => options.markdown = true,
            Long("list") => {
                case_names().for_each(|name| println!("{name}"));
                return Ok(None);
            }
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if let Some(unknown) = options.only.iter().find(|o| !case_names().any(|name| name == **o)) {
        bail!("no case {unknown}; there are {}", case_names().collect::<Vec<_>>().join(", "));
    }
    if options.runs == 0 {
        bail!("--runs must be at least 1");
    }
    Ok(Some(options))
}

fn case_names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|c| c.name).chain(["copies", "costs", "limits"])
}

/// The subject first, as the ratios are relative to it; the floor last. Who is missing is named.
fn contestants(options: &Options) -> Result<Vec<Contestant>> {
    let here = std::env::current_exe()?;
    let beside = |name: &str| Some(here.with_file_name(name)).filter(|p| p.exists());
    let mut found = Vec::new();
    let mut add = |name: &str, kind, path: Option<PathBuf>, hint: &str| {
        if options.without.iter().any(|w| w == name) {
            return;
        }
        match path {
            Some(path) => found.push(Contestant::new(name, kind, &path)),
            None => println!("{name}: left out, {hint}"),
        }
    };
    add("rvol-runc", Kind::Runtime, beside("rvol-runc"), "not built: cargo build --release");
    for runtime in &options.runtimes {
        let path = PathBuf::from(runtime.split_once('=').map_or(runtime.as_str(), |(_, path)| path));
        let path = path.canonicalize().with_context(|| format!("--runtime {runtime}"))?;
        let name = runtime.split_once('=').map_or_else(
            || path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            |(name, _)| name.to_owned(),
        );
        add(&name, Kind::Runtime, Some(path), "");
    }
    add("crun", Kind::Runtime, in_path("crun"), "not installed");
    add("runc", Kind::Runtime, in_path("runc"), "not installed");
    add("floor", Kind::Floor, beside("rvol-floor"), "not built: cargo build --release -p rvol-bench --bins");
    if found.is_empty() {
        bail!("nothing to measure");
    }
    Ok(found)
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn print_machine(place: &Place, contestants: &[Contestant]) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model =
        cpu.lines().find_map(|l| l.strip_prefix("model name")).map_or("", |m| m.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("Linux {}, {cores} cores, {model}, cgroup {:?}", read("/proc/sys/kernel/osrelease").trim(), place.cgroups);
    println!("load average at the start: {}", read("/proc/loadavg").trim());
    for contestant in contestants {
        println!("{}: {}", contestant.name, contestant.version());
    }
    println!();
}

fn measure(place: &Place, contestants: &[Contestant], options: &Options) -> Result<()> {
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|o| o == name);
    let names: Vec<String> = contestants.iter().map(|c| c.name.clone()).collect();
    let mut order = Shuffle(0x9e37_79b9_7f4a_7c15);
    let mut complaints = Complaints::default();
    let mut rows = Vec::new();
    for case in CASES.iter().filter(|c| wanted(c.name)) {
        let begin = Instant::now();
        let measured = measure_case(case, place, contestants, options.runs, &mut order, &mut complaints)?;
        eprintln!("{}: {:.1} s", case.name, begin.elapsed().as_secs_f64());
        rows.extend(measured);
    }
    if !rows.is_empty() {
        println!("Median (90th percentile) of {} rounds, in ms where not said otherwise;", options.runs);
        println!("columns with a slash: the median of {} divided by that one's.", names[0]);
        Table::of_figures("", &names, &rows).print(options.markdown);
        println!();
    }
    if wanted("copies") && contestants[0].name == "rvol-runc" {
        copies::print(place, &contestants[0], &mut complaints, options.markdown);
    }
    if wanted("costs") {
        costs::print(place, contestants, &mut complaints, options.markdown);
    }
    if wanted("limits") {
        limits::print(place, contestants, &mut complaints, options.markdown);
    }
    Ok(())
}

/// Two rounds to warm up, then the rounds that count.
fn measure_case(
    case: &Case,
    place: &Place,
    contestants: &[Contestant],
    runs: usize,
    order: &mut Shuffle,
    complaints: &mut Complaints,
) -> Result<Vec<Row>> {
    let _surroundings = case.surroundings(place)?;
    let mut rounds: Vec<Option<Round>> = Vec::new();
    let mut cells: Vec<Vec<Cell>> = Vec::new();
    for contestant in contestants {
        let (round, cell) = match case.prepare(place, contestant) {
            Ok(Some(round)) => (Some(round), Cell::Figures(Vec::new())),
            Ok(None) => (None, Cell::None),
            Err(error) => {
                complaints.say(case.name, contestant, &error);
                (None, Cell::Failed)
            }
        };
        rounds.push(round);
        cells.push(vec![cell; case.rows.len()]);
    }
    const WARM_UP: usize = 2;
    for i in 0..WARM_UP + case.rounds(runs) {
        for who in order.of(contestants.len()) {
            if sys::interrupted() {
                bail!("interrupted");
            }
            let Some(round) = &mut rounds[who] else { continue };
            match round() {
                Ok(_) if i < WARM_UP => {}
                Ok(figures) => {
                    for (cell, figure) in cells[who].iter_mut().zip(figures) {
                        if let Cell::Figures(all) = cell {
                            all.push(figure);
                        }
                    }
                }
                Err(error) => {
                    complaints.say(case.name, &contestants[who], &error);
                    rounds[who] = None;
                    cells[who].fill(Cell::Failed);
                }
            }
        }
    }
    let row = |(r, name): (usize, &&str)| Row {
        name: (*name).to_owned(),
        higher_is_better: case.unit == Unit::PerSecond,
        cells: cells.iter().map(|c| c[r].clone()).collect(),
    };
    Ok(case.rows.iter().enumerate().map(row).collect())
}

/// A new order each time, the same ones in every run of the program.
struct Shuffle(u64);

impl Shuffle {
    fn of(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for i in (1..count).rev() {
            // xorshift64
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            order.swap(i, (self.0 % (i as u64 + 1)) as usize);
        }
        order
    }
}
