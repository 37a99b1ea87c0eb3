//! Hooks: the six kinds, when and where they run, what they are given.

use runtime_tests::{Case, Value, json, needs};
use std::time::{Duration, Instant};

/// Shell: sets `$pid` from the state that is read from stdin.
const PID: &str = "pid=$(sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p' <)";

const KINDS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A case in which /shared of the container is the host's `shared` directory, under the same path too, so that hooks
/// on both sides can write there.
fn case() -> Case {
    let mut case = Case::new();
    let shared = case.make_dir("shared");
    std::fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
    case.bind(&shared, "/shared", &[]);
    case
}

/// Adds a hook that runs a shell script; `$S` is the shared directory on whichever side the hook runs.
fn hook(case: &mut Case, kind: &str, script: &str) {
    let shared = if kind == "startContainer" { "/shared".to_owned() } else { case.path("shared") };
    let script = format!("S={shared}; {script}");
    case.set(&format!("/hooks/{kind}/-"), json!({ "path": "/bin/sh", "args": ["sh", "-c", script] }));
}

fn lines(case: &Case, name: &str) -> Vec<String> {
    case.read(&format!("shared/{name}")).lines().map(str::to_owned).collect()
}

/// Waits until a line is in a file of the shared directory.
#[track_caller]
fn wait_for(case: &Case, name: &str, line: &str) {
    let seen = runtime_tests::waiting::until(Duration::from_secs(10), || {
        lines(case, name).iter().any(|l| l == line).then_some(())
    });
    assert!(seen.is_some(), "no {line:?} in {name}: {:?}", lines(case, name));
}

#[test]
fn they_run_in_order_and_in_their_phase() {
    let mut case = case();
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststop"];
    for kind in kinds {
        for n in [1, 2] {
            hook(&mut case, kind, &format!("echo {kind}{n} >>$S/log"));
        }
    }
    case.script("echo program >>/shared/log; exec probe pause");
    let created = case.start_command(case.bundle_command("create", &[]));
    created.finish().ok();
    let create = ["prestart1", "prestart2", "createRuntime1", "createRuntime2", "createContainer1", "createContainer2"];
    assert_eq!(lines(&case, "log"), create);
    case.start().ok();
    wait_for(&case, "log", "program");
    assert_eq!(lines(&case, "log")[6..], ["startContainer1", "startContainer2", "program"]);
    case.kill("KILL").ok();
    case.wait_for_status("stopped");
    assert_eq!(lines(&case, "log").len(), 9);
    case.delete().ok();
    assert_eq!(lines(&case, "log")[9..], ["poststop1", "poststop2"]);
}

#[test]
fn poststart_hooks_run_before_start_returns() {
    let mut case = case();
    for n in [1, 2] {
        hook(&mut case, "poststart", &format!("sleep 0.1; echo poststart{n} >>$S/log"));
    }
    case.pause().create().ok();
    case.start().ok();
    assert_eq!(lines(&case, "log"), ["poststart1", "poststart2"]);
}

#[test]
fn run_has_them_all() {
    let mut case = case();
    for kind in KINDS {
        hook(&mut case, kind, &format!("echo {kind} >>$S/log"));
    }
    case.run().ok();
    let mut log = lines(&case, "log");
    log.sort();
    let mut kinds = KINDS.to_vec();
    kinds.sort();
    assert_eq!(log, kinds);
}

#[test]
fn poststart_runs_after_the_program_is_executed() {
    needs!(PoststartAfterProcess);
    let mut case = case();
    let script =
        format!("cat >$S/state; {}; tr '\\0' ' ' </proc/$pid/cmdline >$S/cmdline", PID.replace("<", "<$S/state"));
    hook(&mut case, "poststart", &script);
    case.args(&["/bin/sleep", "1000"]);
    case.create().ok();
    case.start().ok();
    assert_eq!(case.read("shared/cmdline").trim(), "/bin/sleep 1000");
    let state: Value = serde_json::from_str(&case.read("shared/state")).expect("the state");
    assert_eq!(state["status"], "running");
}

#[test]
fn the_state_is_on_stdin() {
    let mut case = case();
    for kind in KINDS {
        hook(&mut case, kind, &format!("cat >$S/{kind}"));
    }
    case.pause().set("/annotations", json!({ "com.example": "value" }));
    let started = case.create_and_start();
    let pid = case.pid();
    started.wait_for_line("ready");
    case.delete_force().ok();
    for kind in KINDS {
        let text = case.read(&format!("shared/{kind}"));
        let state: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{kind}: {e}: {text:?}"));
        assert_eq!(state["id"], case.id.as_str(), "{kind}");
        assert_eq!(state["bundle"], case.bundle().to_str().expect("UTF-8"), "{kind}");
        assert_eq!(state["annotations"]["com.example"], "value", "{kind}");
        assert!(state["ociVersion"].is_string(), "{kind}");
        let expected = match kind {
            // As seen in the container.
            "createContainer" | "startContainer" => json!(1),
            "poststop" => continue,
            _ => json!(pid),
        };
        assert_eq!(state["pid"], expected, "{kind}");
    }
}

#[test]
fn the_state_names_the_phase() {
    let mut case = case();
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststop"];
    for kind in kinds {
        hook(&mut case, kind, &format!("sed -n 's/.*\"status\": *\"\\([a-z]*\\)\".*/\\1/p' >$S/{kind}"));
    }
    case.pause();
    case.create_and_start().wait_for_line("ready");
    case.delete_force().ok();
    let statuses = kinds.map(|k| case.read(&format!("shared/{k}")).trim().to_owned());
    // runc says `creating` to the first three, crun and the runtime-tools suite `created`; none says `creating` after it.
    let created = statuses.iter().position(|status| status == "created").expect("created");
    assert!(statuses[..created].iter().all(|status| status == "creating"), "{statuses:?}");
    assert!(statuses[created..4].iter().all(|status| status == "created"), "{statuses:?}");
    assert_eq!(statuses[4], "stopped");
}

#[test]
fn they_run_in_their_namespaces() {
    let mut case = case();
    for kind in KINDS {
        hook(&mut case, kind, &format!("for n in mnt net uts; do readlink /proc/self/ns/$n; done >$S/{kind}"));
    }
    case.pause();
    let started = case.create_and_start();
    started.wait_for_line("ready");
    let namespaces = |pid: &str| {
        ["mnt", "net", "uts"].map(|n| {
            std::fs::read_link(format!("/proc/{pid}/ns/{n}")).expect("read a link").to_string_lossy().into_owned()
        })
    };
    let (host, container) = (namespaces("self"), namespaces(&case.pid().to_string()));
    case.delete_force().ok();
    for kind in KINDS {
        let inside = matches!(kind, "createContainer" | "startContainer");
        assert_eq!(lines(&case, kind), if inside { &container } else { &host }.clone(), "{kind}");
    }
}

#[test]
fn create_container_hooks_see_the_hosts_files_and_start_container_hooks_the_containers() {
    let mut case = case();
    std::fs::write(case.rootfs().join("etc/marker"), "container").expect("write");
    let decoy = case.make_file("host-marker", "host");
    hook(&mut case, "createContainer", &format!("cat {decoy} >$S/createContainer"));
    hook(&mut case, "startContainer", "cat /etc/marker >$S/startContainer");
    case.run().ok();
    assert_eq!(case.read("shared/createContainer"), "host");
    assert_eq!(case.read("shared/startContainer"), "container");
}

#[test]
fn the_mounts_are_there_before_the_create_hooks() {
    let mut case = case();
    let rootfs = case.rootfs();
    for kind in ["createRuntime", "createContainer"] {
        let pid = if kind == "createContainer" { "pid=self".to_owned() } else { PID.replace(" <", "") };
        hook(&mut case, kind, &format!("{pid}; grep -c ' {}/data ' /proc/$pid/mountinfo >$S/{kind}", rootfs.display()));
    }
    case.mount("/data", "tmpfs", "tmpfs", &[]);
    case.run().ok();
    assert_eq!(case.read("shared/createContainer").trim(), "1");
    assert_eq!(case.read("shared/createRuntime").trim(), "1");
}

#[test]
fn a_create_container_hook_can_add_a_mount() {
    let mut case = case();
    let extra = case.make_dir("extra");
    case.make_file("extra/file", "added");
    let target = case.rootfs().join("data");
    hook(&mut case, "createContainer", &format!("mount --bind {extra} {}", target.display()));
    case.facts(&["read:/data/file"]).expect(&[("read:/data/file", "added")]);
}

#[test]
fn a_create_runtime_hook_can_reach_the_network_namespace() {
    let mut case = case();
    hook(
        &mut case,
        "createRuntime",
        &format!(
            "{}; nsenter -t $pid -n busybox ip addr add 10.9.8.7/32 dev lo && nsenter -t $pid -n busybox ip addr >$S/addr",
            PID.replace(" <", "")
        ),
    );
    case.run().ok();
    assert!(case.read("shared/addr").contains("10.9.8.7"));
}

#[test]
fn arguments_and_environment_are_the_configs() {
    let mut case = case();
    let shared = case.path("shared");
    let script = case.make_script(
        "script",
        &format!("tr '\\0' '\\n' </proc/$$/environ >{shared}/env; echo \"$0|$1|$2\" >{shared}/args; /bin/true"),
    );
    case.set(
        "/hooks/createRuntime/-",
        json!({ "path": script, "args": ["ignored", "one", "t w o"], "env": ["A=1", "B=b b"] }),
    );
    case.run().ok();
    assert_eq!(lines(&case, "env"), ["A=1", "B=b b"]);
    assert!(case.read("shared/args").ends_with("|one|t w o\n"));
}

/// The environment of a hook without `env`: the runtime's outside the container, that of its process inside.
#[test]
fn without_env_a_hook_has_that_of_the_runtime_or_of_the_process() {
    needs!(Rvol);
    let mut case = case();
    for kind in KINDS {
        hook(&mut case, kind, &format!("echo \"$CALLER|$OWN\" >$S/{kind}"));
    }
    case.set("/process/env/-", json!("OWN=process"));
    let mut command = case.bundle_command("run", &[]);
    command.env("CALLER", "runtime");
    case.finish(command).ok();
    for kind in KINDS {
        let expected = if kind == "startContainer" { "|process\n" } else { "runtime|\n" };
        assert_eq!(case.read(&format!("shared/{kind}")), expected, "{kind}");
    }
}

#[test]
fn an_empty_env_is_empty() {
    needs!(Rvol);
    let mut case = case();
    let script =
        case.make_script("script", &format!("/usr/bin/tr '\\0' '\\n' </proc/$$/environ >{}/env", case.path("shared")));
    case.set("/hooks/createRuntime/-", json!({ "path": script, "env": [] }));
    case.run().ok();
    assert_eq!(case.read("shared/env"), "");
}

#[test]
fn a_create_container_hook_runs_in_the_root_filesystem() {
    let mut case = case();
    std::fs::write(case.rootfs().join("marker"), "the container's").expect("write");
    hook(&mut case, "createContainer", "cat marker >$S/seen");
    case.run().ok();
    assert_eq!(case.read("shared/seen"), "the container's");
}

/// What a caller ignores (nohup, a service manager) is not ignored in hooks.
#[test]
fn no_signal_is_ignored_in_hooks() {
    needs!(Rvol);
    let mut case = case();
    for kind in KINDS {
        hook(&mut case, kind, &format!("grep SigIgn /proc/self/status >$S/{kind}"));
    }
    case.write_config();
    let run = case.bundle_command("run", &[]);
    let mut command = runtime_tests::command::quiet("/bin/sh".as_ref());
    command.args(["-c", "trap '' HUP TERM USR1; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    case.finish(command).ok();
    for kind in KINDS {
        let seen = case.read(&format!("shared/{kind}"));
        let mask = seen.trim().strip_prefix("SigIgn:\t").and_then(|text| u64::from_str_radix(text, 16).ok());
        // A shell may ignore others by itself.
        let callers = [libc::SIGHUP, libc::SIGTERM, libc::SIGUSR1].map(|signal| 1u64 << (signal - 1));
        assert_eq!(mask.expect("a mask") & callers.iter().sum::<u64>(), 0, "{kind}: {seen}");
    }
}

#[test]
fn argv_0_is_the_configs() {
    let mut case = case();
    let shared = case.path("shared");
    let script = format!("tr '\\0' '|' </proc/$$/cmdline | head -c 8 >{shared}/cmdline; exit 0");
    case.set("/hooks/createRuntime/-", json!({ "path": "/bin/sh", "args": ["other", "-c", script] }));
    case.run().ok();
    assert_eq!(case.read("shared/cmdline"), "other|-c");
}

#[test]
fn a_hook_need_not_read_the_state() {
    // More than a pipe holds.
    let mut case = case();
    case.set("/annotations", json!({ "large": "x".repeat(300_000) }));
    for kind in KINDS {
        hook(&mut case, kind, "exec </dev/null; echo done >>$S/log");
        hook(&mut case, kind, "sleep 0.1; wc -c >$S/size");
    }
    case.run().ok();
    assert_eq!(lines(&case, "log").len(), 6);
    assert!(case.read("shared/size").trim().parse::<u32>().is_ok_and(|n| n > 300_000));
}

#[test]
fn a_hook_may_write_a_lot() {
    let mut case = case();
    hook(
        &mut case,
        "createRuntime",
        "head -c 1000000 /dev/zero | tr '\\0' x; head -c 1000000 /dev/zero | tr '\\0' y >&2",
    );
    case.args(&["/bin/echo", "hello"]);
    let out = case.run().ok();
    assert!(out.stdout.ends_with("hello\n"));
}

#[test]
fn timeouts_end_a_hook() {
    let mut case = case();
    let shared = case.path("shared");
    let script = format!("echo $$ >{shared}/pid; exec sleep 1000");
    case.set("/hooks/createRuntime/-", json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 1 }));
    let start = Instant::now();
    case.create().fails();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let pid: i32 = case.read("shared/pid").trim().parse().expect("the hook's pid");
    assert!(!runtime_tests::leaks::alive(pid), "the hook is killed");
    case.assert_nothing_left();
}

#[test]
fn bad_hooks_are_refused() {
    needs!(Rvol);
    let mut case = case();
    for (bad, place) in [
        (json!({ "path": "relative" }), "hooks.prestart[0].path"),
        (json!({ "path": "/bin/true", "timeout": 0 }), "hooks.prestart[0].timeout"),
        (json!({ "path": "/bin/true", "timeout": -1 }), "hooks.prestart[0].timeout"),
    ] {
        case.set("/hooks", json!({ "prestart": [bad] }));
        case.create().fails().says(place);
        case.assert_nothing_left();
    }
}

#[test]
fn state_says_creating_meanwhile() {
    needs!(Rvol);
    let mut case = case();
    hook(&mut case, "createRuntime", "while ! test -e $S/go; do sleep 0.02; done");
    let running = case.start_command(case.bundle_command("create", &[]));
    let creating = runtime_tests::waiting::until(Duration::from_secs(10), || {
        let state = case.invoke(&["state", &case.id]);
        (state.succeeded() && state.json()["status"] == "creating").then_some(())
    });
    case.make_file("shared/go", "");
    running.finish().ok();
    assert!(creating.is_some(), "state never said creating");
    assert_eq!(case.status(), "created");
}
