//! The tests of one engine: which there are, running them on both sides, and comparing what came of it.

use crate::sandbox::{self, Side};
use crate::session::{Check, Session, Step};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs, io::Write as _};

/// One engine.
#[derive(Debug)]
pub struct Suite {
    pub name: &'static str,
    /// What has to be in PATH.
    pub programs: &'static [&'static str],
    /// Starts the engine and makes its images.
    pub start: fn(&Session) -> Check,
    /// Takes away what a test left.
    pub clean: &'static str,
    pub tests: &'static [Test],
    /// What runc 1.1.5 cannot do.
    pub ours: &'static [Test],
}

/// A test and its name.
#[derive(Debug)]
pub struct Test {
    pub name: &'static str,
    pub run: fn(&Session) -> Check,
}

/// A list of tests, each named as its function.
#[macro_export]
macro_rules! tests {
    ($($path:path),* $(,)?) => { &[$($crate::Test { name: stringify!($path), run: $path }),*] };
}

/// Runs the suite: the whole program of a test target. Arguments are parts of names of the tests to run.
pub fn main(suite: &Suite) -> ExitCode {
    if let Some(side) = sandbox::inside() {
        return inside(suite, side);
    }
    if env::var_os("RVOL_ENGINES").is_none() {
        println!("{}: skipped; make test-engines runs it", suite.name);
        return ExitCode::SUCCESS;
    }
    let missing: Vec<_> = suite.programs.iter().filter(|p| !sandbox::in_path(p)).collect();
    if !missing.is_empty() {
        eprintln!("{}: not installed: {missing:?}; make test-engines installs them", suite.name);
        return ExitCode::FAILURE;
    }
    let outcome = sandbox::both(suite.name);
    let failed = outcome.left.iter().inspect(|left| println!("{}: left behind: {left}", suite.name)).count()
        + report(suite, &outcome.theirs, &outcome.ours);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints a line for each test, and what is wrong. Returns the number of failures.
fn report(suite: &Suite, theirs: &[Value], ours: &[Value]) -> usize {
    let (mut tests, mut failures) = (0, Vec::new());
    let find = |results: &[Value], name: &str| results.iter().find(|r| r["name"] == name).cloned();
    let chosen = |name: &&str| wanted(name);
    for name in ["start"].into_iter().chain(suite.tests.iter().map(|t| t.name).filter(chosen)).chain(["nothing_left"]) {
        let fault = match (find(theirs, name), find(ours, name)) {
            (Some(theirs), Some(ours)) => fault(&theirs, &ours),
            (None, _) => Some("did not run under runc".to_owned()),
            (_, None) => Some("did not run".to_owned()),
        };
        failures.extend(verdict(suite, name, fault));
        tests += 1;
    }
    for name in suite.ours.iter().map(|t| t.name).filter(chosen) {
        if !sandbox::is_rvol() {
            println!("test {}::{name} ... skipped: only rvol-runc does this", suite.name);
            continue;
        }
        let ours = find(ours, name);
        let fault = ours.map_or_else(|| Some("did not run".to_owned()), |ours| error(&ours));
        failures.extend(verdict(suite, name, fault));
        tests += 1;
    }
    println!("{}: {} passed, {} failed", suite.name, tests - failures.len(), failures.len());
    for failure in &failures {
        println!("  {failure}");
    }
    failures.len()
}

fn verdict(suite: &Suite, name: &'static str, fault: Option<String>) -> Option<&'static str> {
    let Some(fault) = fault else {
        println!("test {}::{name} ... ok", suite.name);
        return None;
    };
    println!("test {}::{name} ... FAILED\n{fault}\n", suite.name);
    Some(name)
}

fn error(result: &Value) -> Option<String> {
    Some(result["error"].as_str()?.to_owned())
}

/// What is wrong with a test's two results.
fn fault(theirs: &Value, ours: &Value) -> Option<String> {
    match (error(theirs), error(ours)) {
        (Some(theirs), Some(ours)) if theirs == ours => return Some(format!("under runc, too: {ours}")),
        (Some(theirs), Some(ours)) => return Some(format!("under runc: {theirs}\n--- ours: {ours}")),
        (Some(theirs), None) => return Some(format!("under runc: {theirs}")),
        (None, Some(ours)) => return Some(ours),
        (None, None) => {}
    }
    let steps = |result: &Value| result["steps"].as_array().cloned().unwrap_or_default();
    let (theirs, ours) = (steps(theirs), steps(ours));
    let different = theirs.iter().zip(&ours).find(|(theirs, ours)| theirs != ours);
    match different {
        Some((theirs, ours)) => Some(difference(theirs, ours)),
        None if theirs.len() != ours.len() => Some("another number of steps than with runc".into()),
        None => None,
    }
}

/// What two steps do not have in common, by lines.
fn difference(theirs: &Value, ours: &Value) -> String {
    let mut text = format!("{}: exit code {}, with runc {}", ours["line"], ours["code"], theirs["code"]);
    let lines = |step: &Value| -> Vec<String> {
        step["stdout"].as_str().unwrap_or_default().lines().map(str::to_owned).collect()
    };
    let (theirs, ours) = (lines(theirs), lines(ours));
    for line in theirs.iter().filter(|line| !ours.contains(line)) {
        text += &format!("\n  runc: {line}");
    }
    for line in ours.iter().filter(|line| !theirs.contains(line)) {
        text += &format!("\n  ours: {line}");
    }
    if !text.contains('\n') {
        text += &format!("\n  runc: {theirs:?}\n  ours: {ours:?}");
    }
    text
}

/// True when the command line does not choose other tests.
fn wanted(name: &str) -> bool {
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
}

/// The part inside a sandbox: starts the engine, runs the tests, writes their results.
fn inside(suite: &Suite, side: Side) -> ExitCode {
    let session = Session::new();
    sandbox::set_up(&session).expect("set the sandbox up");
    let mut results = fs::File::create(sandbox::RESULTS).expect("make the file of results");
    let mut record = |name: &str, check: Check, start: Instant| {
        let steps: Vec<Value> = session.take_steps().iter().map(Step::json).collect();
        let seconds = start.elapsed().as_secs_f64();
        eprintln!("{seconds:6.2} {name} {}", if check.is_ok() { "ok" } else { "FAILED" });
        let line = json!({ "name": name, "error": check.as_ref().err(), "steps": steps, "seconds": seconds });
        writeln!(results, "{line}").expect("write a result");
        check.is_ok()
    };
    let start = Instant::now();
    if record("start", (suite.start)(&session), start) {
        let more = if side == Side::Ours { suite.ours } else { &[] };
        for test in suite.tests.iter().chain(more).filter(|t| wanted(t.name)) {
            let start = Instant::now();
            let check = (test.run)(&session).and(session.aside(suite.clean).map(drop));
            record(test.name, check, start);
        }
    }
    let start = Instant::now();
    let left = || if side == Side::Ours { sandbox::nothing_left() } else { Ok(()) };
    record("nothing_left", session.stop_daemons().and_then(|()| left()), start);
    ExitCode::SUCCESS
}
