//! Completion in the real shells: bash, zsh and fish, each on a terminal, with nothing of the user's configuration.

use runtime_tests::console::Terminal;
use runtime_tests::{Case, needs, raw};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

/// The lines that are typed before a TAB, and what the line has to become or what has to be offered.
const LINES: &[(&str, &str)] = &[
    ("rvol-runc volume cr", "rvol-runc volume create "),
    ("rvol-runc create --bu", "rvol-runc create --bundle "),
    ("rvol-runc --volume-root $VOLUMES volume rm first-vol", "volume rm first-volume-of-the-test "),
    ("rvol-runc --root $STATE kill completion-t", "kill completion-test-container "),
    ("rvol-runc --root $STATE kill completion-test-container WINC", "container WINCH "),
    ("rvol-runc --log-format js", "--log-format json "),
    ("rvol-runc --log-format=js", "--log-format=json "),
    ("rvol-runc checkpoint --manage-cgroups-mode=stri", "--manage-cgroups-mode=strict "),
    ("rvol-runc plan $DIR/only-direct", "/only-directory/"),
    ("rvol-runc create --bundle=$DIR/only-direct", "/only-directory/"),
    ("rvol-runc volume export -o $DIR/only-arch", "/only-archive "),
];

/// A shell that is not installed is skipped, with the reason.
fn has(shell: &str) -> bool {
    let found = Command::new(shell).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        runtime_tests::features::skip(&format!("{shell} is not installed"));
    }
    found.is_ok()
}

/// A case with a container, a volume, a directory and a file, whose names the lines begin.
fn case() -> Case {
    let case = Case::without_rootfs();
    // An entry of the state directory is enough: completing opens no record.
    case.make_dir("state-to-complete/completion-test-container");
    case.make_dir("volumes-to-complete/first-volume-of-the-test/_data");
    case.make_dir("only-directory");
    case.make_file("only-archive", "");
    case.make_dir("bin");
    std::os::unix::fs::symlink(case.command().get_program(), case.path("bin/rvol-runc")).expect("link the runtime");
    case
}

fn script(case: &Case, shell: &str) -> String {
    let script = case.invoke(&["completion", shell]).ok().stdout;
    case.make_file(&format!("script.{shell}"), &script)
}

fn filled(case: &Case, text: &str) -> String {
    text.replace("$VOLUMES", &case.path("volumes-to-complete"))
        .replace("$STATE", &case.path("state-to-complete"))
        .replace("$DIR", case.path("").trim_end_matches('/'))
}

/// The shell on a terminal that is wide enough for every line.
fn on_terminal(case: &Case, shell: &str, args: &[&str]) -> (Terminal, std::process::Child) {
    let pty = nix::pty::openpty(None, None).expect("open a terminal");
    raw::set_window_size(std::os::fd::AsFd::as_fd(&pty.master), 50, 1000).expect("set the terminal's size");
    let slave = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("duplicate the terminal"));
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg(shell).args(args).current_dir(case.path(""));
    let path = format!("{}:{}", case.path("bin"), std::env::var("PATH").unwrap_or_default());
    command.env_clear().env("PATH", path).env("HOME", case.path("")).env("TERM", "dumb").env("LC_ALL", "C.UTF-8");
    command.stdin(slave(&pty.slave)).stdout(slave(&pty.slave)).stderr(slave(&pty.slave));
    let child = command.spawn().expect("start the shell");
    drop(pty.slave);
    (Terminal::new(pty.master), child)
}

/// Types each line and a TAB, and wants the line as it has to become on the terminal. ^U empties the line again.
fn complete_lines(case: &Case, mut terminal: Terminal, mut child: std::process::Child) {
    for (typed, expected) in LINES {
        let typed = filled(case, typed);
        terminal.type_in(&format!("{typed}\t"));
        terminal.read_until(expected);
        terminal.type_in("\x15");
    }
    terminal.type_in("exit\n");
    child.wait().expect("wait for the shell");
}

#[test]
fn bash_completes() {
    needs!(Rvol);
    if !has("bash") {
        return;
    }
    let case = case();
    let script = script(&case, "bash");
    let (mut terminal, child) = on_terminal(&case, "bash", &["--norc", "--noprofile", "-i"]);
    terminal.type_in(&format!("PS1='> '; bind 'set enable-bracketed-paste off'; . {script}; echo 'rea'dy\n"));
    terminal.read_until("ready");
    complete_lines(&case, terminal, child);
}

#[test]
fn zsh_completes() {
    needs!(Rvol);
    if !has("zsh") {
        return;
    }
    let case = case();
    let script = script(&case, "zsh");
    let (mut terminal, child) = on_terminal(&case, "zsh", &["-f", "-i"]);
    let setup = "PS1='> '; unsetopt zle_bracketed_paste; autoload -U compinit; compinit -u -D";
    terminal.type_in(&format!("{setup}; . {script}; echo 'rea'dy\n"));
    terminal.read_until("ready");
    complete_lines(&case, terminal, child);
}

/// Installed, the file is autoloaded by compinit and not sourced.
#[test]
fn zsh_completes_from_its_function_path() {
    needs!(Rvol);
    if !has("zsh") {
        return;
    }
    let case = case();
    let functions = case.make_dir("functions");
    std::fs::rename(script(&case, "zsh"), format!("{functions}/_rvol-runc")).expect("move the script");
    let (mut terminal, child) = on_terminal(&case, "zsh", &["-f", "-i"]);
    let setup = format!("PS1='> '; fpath=({functions} $fpath); autoload -U compinit; compinit -u -D");
    terminal.type_in(&format!("{setup}; echo 'rea'dy\n"));
    terminal.read_until("ready");
    complete_lines(&case, terminal, child);
}

/// fish says itself what it would offer, without a terminal.
#[test]
fn fish_completes() {
    needs!(Rvol);
    if !has("fish") {
        return;
    }
    let case = case();
    let script = script(&case, "fish");
    for (typed, expected) in LINES {
        let typed = filled(&case, typed);
        let mut fish = runtime_tests::command::quiet("fish".as_ref());
        let path = format!("{}:{}", case.path("bin"), std::env::var("PATH").unwrap_or_default());
        fish.env("HOME", case.path("")).env("PATH", path);
        fish.args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]", &script, &typed]);
        let offered = case.finish(fish).ok().stdout;
        let word = expected.trim_end().rsplit([' ', '/']).find(|word| !word.is_empty()).expect("a word");
        assert!(offered.lines().any(|line| line.contains(word)), "{typed}: no {word} in {offered:?}");
        assert_eq!(offered.lines().count(), 1, "{typed}: {offered:?}");
    }
}

#[test]
fn another_shell_is_an_error() {
    needs!(Rvol);
    let case = Case::without_rootfs();
    case.invoke(&["completion", "tcsh"]).fails().says("unknown shell; the scripts are for bash, zsh and fish");
    case.invoke(&["completion"]).fails().says("bash|zsh|fish is missing");
    case.invoke(&["completion", "bash", "more"]).fails().says("unexpected argument more");
}
