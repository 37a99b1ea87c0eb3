//! strace around a command: counting its syscalls, and making one of them fail or be the last.

use crate::command;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Panics, with what to do, when strace is missing.
fn program() -> &'static Path {
    let places = ["/usr/bin/strace", "/bin/strace", "/usr/local/bin/strace"].map(Path::new);
    places.into_iter().find(|p| p.is_file()).expect("this test needs strace (apt-get install strace)")
}

/// `strace -f -D <options> -o <output> <command>`: the tracer runs aside, so that the exit status is the command's own
/// and the command ends when it ends, however long the container lives that it leaves behind.
pub fn traced(command: &Command, options: &[&str], output: &str) -> Command {
    let mut strace = command::quiet(program());
    strace.args(["-f", "-D", "-qq", "-o", output]).args(options).arg("--");
    strace.arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        strace.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace
}

/// One syscall of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub pid: u32,
    pub name: String,
    /// The rest of the line: arguments and result.
    pub rest: String,
}

/// The calls of an output file of `strace -f -o`, resumed and signal lines left out.
pub fn calls(text: &str) -> Vec<Call> {
    text.lines().filter_map(call).collect()
}

fn call(line: &str) -> Option<Call> {
    let (pid, rest) = line.split_once(' ')?;
    let rest = rest.trim_start();
    let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    let rest = rest.strip_prefix(&name)?;
    (rest.starts_with('(') && !name.is_empty()).then(|| Call {
        pid: pid.parse().unwrap_or(0),
        name: name.clone(),
        rest: rest.to_owned(),
    })
}

/// For each syscall's name the largest number of calls by one process: how far strace's `when=` can count.
pub fn counts(calls: &[Call]) -> BTreeMap<String, u32> {
    let mut by_process: BTreeMap<(u32, &str), u32> = BTreeMap::new();
    for call in calls {
        *by_process.entry((call.pid, &call.name)).or_default() += 1;
    }
    let mut counts = BTreeMap::new();
    for ((_, name), count) in by_process {
        let most = counts.entry(name.to_owned()).or_insert(0);
        *most = count.max(*most);
    }
    counts
}

/// Takes about `wanted` of the points, evenly, the first of each name among them; all of them when the environment
/// variable `RUNTIME_TESTS_FULL` is set.
pub fn sample(counts: &BTreeMap<String, u32>, wanted: usize) -> Vec<(String, u32)> {
    let all: Vec<(String, u32)> = counts.iter().flat_map(|(n, c)| (1..=*c).map(move |k| (n.clone(), k))).collect();
    if std::env::var_os("RUNTIME_TESTS_FULL").is_some() || all.len() <= wanted {
        return all;
    }
    let step = all.len().div_ceil(wanted);
    all.into_iter().enumerate().filter(|(i, (_, k))| *k == 1 || i % step == 0).map(|(_, point)| point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed() {
        let text = "12 openat(3, \"x\", O_RDONLY) = 4\n12 <... read resumed>) = 1\n13 +++ exited with 0 +++\n13 openat(3) = 1\n\
                    12  openat(1) = 2\n13 --- SIGCHLD {} ---\n";
        let calls = calls(text);
        assert_eq!(calls.len(), 3);
        assert_eq!(calls[0], Call { pid: 12, name: "openat".into(), rest: "(3, \"x\", O_RDONLY) = 4".into() });
        assert_eq!(counts(&calls), [("openat".to_owned(), 2)].into());
    }

    #[test]
    fn samples_keep_the_first_of_each() {
        let counts = [("a".to_owned(), 50), ("b".to_owned(), 1)].into();
        let sample = sample(&counts, 10);
        assert!(sample.contains(&("a".into(), 1)) && sample.contains(&("b".into(), 1)));
        assert!(sample.len() <= 12);
    }
}
