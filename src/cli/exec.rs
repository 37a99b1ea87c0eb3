//! `exec`: runs one more process in a container.

use super::args::{Flag, Matches, Operand, wrong_value};
use super::create::{CONSOLE_SOCKET, PID_FILE, PIDFD_SOCKET, PRESERVE_FDS, path, preserve_fds};
use super::{CONTAINER_ID, Command, Globals};
use crate::plan::exec::Changes;
use crate::runtime;
use crate::runtime::exec::{ExecArgs, SubCgroup, What};
use crate::security::capabilities;
use anyhow::{Context as _, Result, bail};

pub const COMMAND: Command = Command {
    name: "exec",
    about: "Run one more process in a running container",
    details: "\
The process is the container's own with the changes that the flags make, or that of
--process. What follows the container's id is the program and its arguments. The exit
code is that of the process (128 and the signal's number when a signal ended it), 255
when it could not be run.",
    flags: &[FLAGS],
    operands: &[CONTAINER_ID, PROGRAM],
    run,
};

const PROGRAM: Operand =
    Operand { name: "PROGRAM...", required: false, verbatim: true, help: "The program and its arguments" };

const CWD: Flag =
    Flag { name: "cwd", short: None, value: Some("DIR"), help: "Working directory, as the container sees it" };
const ENV: Flag =
    Flag { name: "env", short: Some('e'), value: Some("NAME=VALUE"), help: "Add a variable to the environment" };
const TTY: Flag = Flag { name: "tty", short: Some('t'), value: None, help: "Give the process a terminal" };
const USER: Flag = Flag {
    name: "user",
    short: Some('u'),
    value: Some("UID[:GID]"),
    help: "Run as this user, and with this group, by number",
};
const ADDITIONAL_GIDS: Flag = Flag {
    name: "additional-gids",
    short: Some('g'),
    value: Some("GID"),
    help: "Add a supplementary group, by number",
};
const PROCESS: Flag = Flag {
    name: "process",
    short: Some('p'),
    value: Some("FILE"),
    help: "Take the whole process from this file, in the form of config.json's 'process'",
};
const DETACH: Flag =
    Flag { name: "detach", short: Some('d'), value: None, help: "Return when the program has started" };
const PROCESS_LABEL: Flag =
    Flag { name: "process-label", short: None, value: Some("LABEL"), help: "SELinux label of the process" };
const APPARMOR: Flag =
    Flag { name: "apparmor", short: None, value: Some("PROFILE"), help: "AppArmor profile of the process" };
const NO_NEW_PRIVS: Flag = Flag {
    name: "no-new-privs",
    short: None,
    value: None,
    help: "Let the process gain no privileges by what it executes",
};
const CAP: Flag = Flag {
    name: "cap",
    short: Some('c'),
    value: Some("CAPABILITY"),
    help: "Add a capability to the bounding, effective and permitted sets",
};
const CGROUP: Flag = Flag {
    name: "cgroup",
    short: None,
    value: Some("[CONTROLLER[,...]:]PATH"),
    help: "Run it in this cgroup below the container's, which must exist",
};
const IGNORE_PAUSED: Flag = Flag {
    name: "ignore-paused",
    short: None,
    value: None,
    help: "Go on in a paused container; the process runs when that is resumed",
};

const FLAGS: &[Flag] = &[
    PROCESS,
    DETACH,
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PID_FILE,
    CWD,
    ENV,
    TTY,
    USER,
    ADDITIONAL_GIDS,
    PROCESS_LABEL,
    APPARMOR,
    NO_NEW_PRIVS,
    CAP,
    PRESERVE_FDS,
    CGROUP,
    IGNORE_PAUSED,
];

/// What a process.json says itself. `--tty` may stand beside it: Podman repeats there what the file has.
const IN_THE_FILE: &[Flag] = &[CWD, ENV, USER, ADDITIONAL_GIDS, PROCESS_LABEL, APPARMOR, NO_NEW_PRIVS, CAP];

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    let args = ExecArgs {
        id: matches.id()?.to_owned(),
        what: match path(matches, &PROCESS) {
            None => What::Changed(changes(matches)?),
            Some(file) => {
                if let Some(flag) = IN_THE_FILE.iter().find(|flag| matches.value(flag).is_some()) {
                    bail!("--{} contradicts --process: the file has it", flag.name);
                }
                if let Some(word) = matches.operand(1) {
                    bail!("unexpected argument {}: --process has the program", word.display());
                }
                What::File(file)
            }
        },
        console_socket: path(matches, &CONSOLE_SOCKET),
        pidfd_socket: path(matches, &PIDFD_SOCKET),
        pid_file: path(matches, &PID_FILE),
        detach: matches.is_set(&DETACH),
        preserve_fds: preserve_fds(matches)?,
        cgroups: cgroups(&matches.texts(&CGROUP)?)?,
        ignore_paused: matches.is_set(&IGNORE_PAUSED),
    };
    runtime::exec(&globals.context()?, &args)
}

fn changes(matches: &Matches) -> Result<Changes> {
    let args: Vec<String> = matches.operands()?.into_iter().skip(1).map(String::from).collect();
    if args.is_empty() {
        bail!("exec args cannot be empty: name a program after the container, or a file with --process");
    }
    let text = |flag| Ok::<_, anyhow::Error>(matches.text(flag)?.filter(|t| !t.is_empty()).map(String::from));
    let mut capabilities = 0;
    for name in matches.texts(&CAP)? {
        capabilities |= 1 << capabilities::number(name).context("--cap")?;
    }
    Ok(Changes {
        args,
        terminal: matches.is_set(&TTY),
        cwd: path(matches, &CWD),
        env: matches.texts(&ENV)?.into_iter().map(String::from).collect(),
        user: text(&USER)?.map(|user| parse_user(&user)).transpose()?,
        additional_gids: matches
            .texts(&ADDITIONAL_GIDS)?
            .into_iter()
            // Several may be joined, as runc takes them.
            .flat_map(|list| list.split(','))
            .map(|gid| parse_id(gid).ok_or_else(|| wrong_value(&ADDITIONAL_GIDS, gid.as_ref(), "is not a group id")))
            .collect::<Result<_>>()?,
        apparmor_profile: text(&APPARMOR)?,
        selinux_label: text(&PROCESS_LABEL)?,
        no_new_privileges: matches.value(&NO_NEW_PRIVS).map(|value| value != "false"),
        capabilities,
    })
}

/// `UID[:GID]` in decimal digits and nothing else: what is misread here runs as another user (CVE-2026-30892).
fn parse_user(text: &str) -> Result<(u32, Option<u32>)> {
    let (uid, gid) = match text.split_once(':') {
        None => (text, None),
        Some((uid, gid)) => (uid, Some(gid)),
    };
    let bad = |what: &str, id: &str| wrong_value(&USER, text.as_ref(), &format!("bad {what}: {id:?} is not a number"));
    let uid = parse_id(uid).ok_or_else(|| bad("uid", uid))?;
    let gid = gid.map(|gid| parse_id(gid).ok_or_else(|| bad("gid", gid))).transpose()?;
    Ok((uid, gid))
}

/// 4294967295 stands for no id (-1) in the kernel.
fn parse_id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|id| *id != u32::MAX)
}

/// Each controller once; without one there is one cgroup for all.
fn cgroups(texts: &[&str]) -> Result<Vec<SubCgroup>> {
    let mut seen = Vec::new();
    for text in texts {
        let Some((controllers, _)) = text.split_once(':') else {
            if texts.len() > 1 {
                bail!("invalid --cgroup argument: {text} (missing <controller>: prefix)");
            }
            continue;
        };
        for controller in controllers.split(',') {
            if controller.is_empty() {
                bail!("invalid --cgroup argument: {text} (empty <controller> prefix)");
            }
            if seen.contains(&controller) {
                bail!("invalid --cgroup argument(s): controller {controller} specified multiple times");
            }
            seen.push(controller);
        }
    }
    texts.iter().map(|text| SubCgroup::parse(text).context("--cgroup")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        assert_eq!(parse_user("1").unwrap(), (1, None));
        assert_eq!(parse_user("1:2").unwrap(), (1, Some(2)));
        assert_eq!(parse_user("4294967294:0").unwrap(), (4_294_967_294, Some(0)));
        let bad = [
            "",
            ":",
            "1:",
            ":2",
            "+1",
            "-1",
            "0x1",
            " 1",
            "1 ",
            "1:2:3",
            "1,2",
            "root",
            "4294967295",
            "4294967296",
            "1:x",
        ];
        for text in bad {
            let error = parse_user(text).unwrap_err().to_string();
            assert!(error.contains("bad uid") || error.contains("bad gid"), "{text}: {error}");
        }
    }

    #[test]
    fn cgroups_are_below_the_containers() {
        assert_eq!(cgroups(&["a/b"]).unwrap().len(), 1);
        assert_eq!(cgroups(&["cpu,cpuacct:a", "memory:/b"]).unwrap().len(), 2);
        for (texts, error) in [
            (&["a", "b"][..], "missing <controller>: prefix"),
            (&[":a"], "empty <controller> prefix"),
            (&["cpu:a", "cpu:b"], "specified multiple times"),
            (&["../x"], "must not contain '..'"),
            (&["cpu:a/../../b"], "must not contain '..'"),
        ] {
            assert!(format!("{:#}", cgroups(texts).unwrap_err()).contains(error), "{texts:?}");
        }
    }
}
