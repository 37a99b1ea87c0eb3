//! create, start, state, kill and delete: statuses, refusals, what is left. `run` has a file of its own.

use runtime_tests::leaks::alive;
use runtime_tests::{Case, json, needs};
use std::os::unix::fs::PermissionsExt;

#[test]
fn one_life() {
    let mut case = Case::new();
    case.script("echo hello; exec probe pause");
    let running = case.start_command(case.bundle_command("create", &[]));
    let created = running.finish().ok();
    assert_eq!(case.status(), "created");
    assert_eq!(created.stdout, "", "the program must not run before start");

    case.start().ok();
    assert_eq!(case.status(), "running");
    let pid = case.pid();
    assert!(alive(pid));

    case.kill("TERM").ok();
    case.wait_for_status("stopped");
    case.delete().ok();
    case.invoke(&["state", &case.id]).fails().says("does not exist");
    case.assert_nothing_left();
}

#[test]
fn state_has_what_the_spec_requires() {
    let mut case = Case::new();
    case.pause().set("/annotations", json!({ "com.example.key": "value", "empty": "" }));
    case.create().ok();
    let state = case.state();
    assert_eq!(state["id"], case.id.as_str());
    assert_eq!(state["status"], "created");
    assert_eq!(state["bundle"], case.bundle().to_str().expect("UTF-8"));
    assert!(state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")), "{state}");
    assert!(state["pid"].as_i64().is_some_and(|p| alive(p as i32)), "{state}");
    assert_eq!(state["annotations"], json!({ "com.example.key": "value", "empty": "" }));
    case.start().ok();
    assert_eq!(case.state()["pid"], state["pid"], "the container process keeps its pid through start");
}

#[test]
fn state_of_a_stopped_container_has_no_living_pid() {
    let case = Case::new();
    case.create().ok();
    case.start().ok();
    case.wait_for_status("stopped");
    let state = case.state();
    assert!(matches!(state["pid"].as_i64(), None | Some(0)), "{state}");
}

#[test]
fn the_pid_file_holds_the_pid() {
    let mut case = Case::new();
    case.pause();
    let file = case.path("pid");
    case.create_with(&["--pid-file", &file]).ok();
    assert_eq!(case.read("pid"), case.pid().to_string(), "digits only, without a newline");
}

#[test]
fn a_relative_bundle_is_stored_as_absolute() {
    let mut case = Case::new();
    case.pause().write_config();
    let mut command = case.command();
    command.current_dir(&case.dir).args(["create", "-b", "bundle", &case.id]);
    case.finish(command).ok();
    assert_eq!(case.state()["bundle"], case.bundle().to_str().expect("UTF-8"));
}

#[test]
fn the_bundle_is_the_working_directory_by_default() {
    let mut case = Case::new();
    case.args(&["/bin/echo", "here"]).write_config();
    let mut command = case.command();
    command.current_dir(case.bundle()).args(["run", &case.id]);
    assert_eq!(case.finish(command).ok().stdout, "here\n");
}

#[test]
fn a_second_create_of_an_id_is_refused() {
    let mut case = Case::new();
    case.pause().create().ok();
    let pid = case.pid();
    case.create().fails().says("exist");
    case.run().fails().says("exist");
    assert_eq!((case.status().as_str(), case.pid()), ("created", pid), "the first one is untouched");
    case.start().ok();
    case.create().fails().says("exist");
    assert_eq!(case.pid(), pid);
}

#[test]
fn an_id_can_be_used_again_after_delete() {
    let mut case = Case::new();
    for text in ["one", "two"] {
        case.script(&format!("echo {text}"));
        let started = case.create_and_start();
        started.wait_for_line(text);
        case.wait_for_status("stopped");
        case.delete().ok();
    }
}

#[test]
fn start_needs_a_created_container() {
    let mut case = Case::new();
    case.pause().create().ok();
    case.start().ok();
    let pid = case.pid();
    case.start().fails();
    assert_eq!((case.status().as_str(), case.pid()), ("running", pid), "a refused start changes nothing");
    case.kill("KILL").ok();
    case.wait_for_status("stopped");
    case.start().fails();
}

#[test]
fn start_of_a_container_whose_init_was_killed_fails() {
    let mut case = Case::new();
    case.pause().create().ok();
    case.kill("KILL").ok();
    case.wait_for_status("stopped");
    case.start().fails();
    case.delete().ok();
}

#[test]
fn delete_refuses_a_running_container() {
    let mut case = Case::new();
    case.pause().create().ok();
    case.start().ok();
    case.delete().fails();
    assert_eq!(case.status(), "running");
}

#[test]
fn delete_ends_a_created_container() {
    let mut case = Case::new();
    case.pause().create().ok();
    let pid = case.pid();
    case.delete().ok();
    assert!(!alive(pid));
    case.assert_nothing_left();
}

#[test]
fn delete_by_force_ends_what_runs_and_can_be_repeated() {
    let mut case = Case::new();
    case.script("sleep 1000 & exec probe pause");
    case.create().ok();
    case.start().ok();
    let pid = case.pid();
    case.delete_force().ok();
    assert!(!alive(pid));
    case.assert_nothing_left();
    case.delete_force().ok();
    case.delete_force().ok();
}

#[test]
fn an_unknown_id_does_not_exist() {
    let case = Case::new();
    for words in [&["state", "nobody"][..], &["start", "nobody"], &["kill", "nobody", "TERM"], &["delete", "nobody"]] {
        case.invoke(words).fails().says("does not exist");
    }
    case.invoke(&["delete", "--force", "nobody"]).ok();
}

#[test]
fn an_id_is_required() {
    let mut case = Case::new();
    case.pause().write_config();
    let bundle = case.bundle();
    let bundle = bundle.to_str().expect("UTF-8");
    for words in [&["state"][..], &["start"], &["kill"], &["delete"], &["create", "--bundle", bundle]] {
        case.invoke(words).fails();
    }
}

#[test]
fn bad_ids_are_refused() {
    let case = Case::new();
    case.write_config();
    let bundle = case.bundle();
    let bundle = bundle.to_str().expect("UTF-8");
    for id in ["", ".", "..", "../up", "a/b", "/abs", "with space", "new\nline", "sem;colon", "ünï"] {
        case.invoke(&["create", "--bundle", bundle, id]).fails();
        case.invoke(&["state", id]).fails();
        case.invoke(&["delete", id]).fails();
    }
    assert!(!case.dir.join("up").exists());
    case.assert_nothing_left();
}

#[test]
fn kill_takes_names_and_numbers() {
    let mut case = Case::new();
    case.pause();
    let started = case.create_and_start();
    started.wait_for_line("ready");
    for (signal, number) in [("USR1", 10), ("SIGUSR2", 12), ("1", 1), ("winch", 28), ("36", 36)] {
        case.kill(signal).ok();
        started.wait_for_line(&format!("signal {number}"));
    }
    case.invoke(&["kill", &case.id]).ok();
    started.wait_for_line("signal 15");
    case.wait_for_status("stopped");
}

#[test]
fn kill_refuses_unknown_signals() {
    let mut case = Case::new();
    case.pause();
    let started = case.create_and_start();
    started.wait_for_line("ready");
    for signal in ["NOPE", "SIGNOPE", "-1", "65", "9x"] {
        case.kill(signal).fails();
    }
    assert_eq!(case.status(), "running");
    assert_eq!(started.output(), "ready\n");
}

#[test]
fn kill_needs_a_living_container() {
    let case = Case::new();
    case.create().ok();
    case.start().ok();
    case.wait_for_status("stopped");
    case.kill("KILL").fails();
    case.delete().ok();
}

#[test]
fn kill_all_reaches_every_process_without_a_pid_namespace() {
    let mut case = Case::new();
    case.without_namespace("pid").script("sleep 1000 & echo $!; sleep 1000 & exec probe pause");
    let started = case.create_and_start();
    started.wait_for_line("ready");
    let child: i32 = started.output().lines().next().and_then(|l| l.parse().ok()).expect("the child's pid");
    assert!(alive(child));
    case.invoke(&["kill", "--all", &case.id, "KILL"]).ok();
    case.wait_for_status("stopped");
    let gone = runtime_tests::waiting::until(runtime_tests::command::LIMIT, || (!alive(child)).then_some(()));
    assert!(gone.is_some(), "process {child} lives on");
    case.delete().ok();
    case.assert_nothing_left();
}

#[test]
fn delete_by_force_reaches_every_process_without_a_pid_namespace() {
    let mut case = Case::new();
    case.without_namespace("pid").script("sleep 1000 & sleep 1000 & exec probe pause");
    case.create_and_start().wait_for_line("ready");
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn the_config_is_read_once() {
    let mut case = Case::new();
    case.script("echo before");
    let created = case.start_command(case.bundle_command("create", &[]));
    created.finish().ok();
    case.script("echo after").set("/hostname", json!("other")).write_config();
    case.start().ok();
    case.wait_for_status("stopped");
    assert_eq!(case.read("command0.out"), "before\n");
}

#[test]
fn a_container_without_a_process_can_be_created_but_not_started() {
    needs!(ProcessOptional);
    let mut case = Case::new();
    case.unset("/process");
    case.create().ok();
    assert_eq!(case.status(), "created");
    case.start().fails().says("process");
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn state_on_disk_is_private() {
    let mut case = Case::new();
    case.pause().create().ok();
    let directory = case.state_root().join(&case.id);
    let mode = directory.metadata().expect("the container's directory is named by its id").permissions().mode();
    assert_eq!(mode & 0o066, 0, "nobody else may list or write {}: {mode:o}", directory.display());
}

#[test]
fn deep_state_roots_work() {
    // sun_path holds 108 bytes; engines use longer directories.
    let mut case = Case::new();
    case.pause().write_config();
    let root = case.make_dir(&["deep"; 30].join("/"));
    let bundle = case.bundle();
    let bundle = bundle.to_str().expect("UTF-8");
    case.invoke(&["--root", &root, "create", "--bundle", bundle, &case.id]).ok();
    case.invoke(&["--root", &root, "start", &case.id]).ok();
    case.invoke(&["--root", &root, "delete", "--force", &case.id]).ok();
    case.assert_nothing_left();
}

#[test]
fn roots_are_apart() {
    let mut case = Case::new();
    case.pause().create().ok();
    let other = case.make_dir("other-state");
    case.invoke(&["--root", &other, "state", &case.id]).fails().says("does not exist");
}

#[test]
fn a_failed_create_leaves_nothing() {
    let mut case = Case::new();
    case.mount("/data", "tmpfs", "tmpfs", &["size=banana"]);
    case.create().fails();
    case.assert_nothing_left();
    case.invoke(&["state", &case.id]).fails().says("does not exist");
}

#[test]
fn a_missing_program_is_named() {
    let mut case = Case::new();
    case.args(&["no-such-program"]);
    case.run().fails().says("executable file not found in $PATH").says("no-such-program");
    case.assert_nothing_left();
    case.args(&["/no/such/program"]);
    case.run().fails().says("no such file or directory").says("/no/such/program");
    case.assert_nothing_left();
    case.args(&["/etc/passwd"]);
    case.run().fails().says("permission denied").says("/etc/passwd");
    case.assert_nothing_left();
    // `run` makes the container known while init looks for the program.
    let file = case.path("pid");
    case.run_with(&["--pid-file", &file]).fails().says("permission denied").says("/etc/passwd");
    assert!(!std::path::Path::new(&file).exists(), "a pid file of a container that never was");
    case.assert_nothing_left();
}

/// The pid file is renamed into its place: a device node there would become a file.
#[test]
fn a_pid_file_replaces_nothing_but_a_file() {
    needs!(Rvol);
    let mut case = Case::new();
    let directory = case.make_dir("directory");
    let fifo = case.path("fifo");
    nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRUSR).expect("mkfifo");
    let link = case.path("link");
    std::os::unix::fs::symlink(&fifo, &link).expect("symlink");
    for path in [&directory, &fifo, &link] {
        case.pause();
        case.create_with(&["--pid-file", path]).fails().says("--pid-file").says("not a regular file");
        case.run_with(&["--detach", "--pid-file", path]).fails().says("not a regular file");
        case.assert_nothing_left();
    }
    case.started();
    for path in [&directory, &fifo, &link] {
        case.exec_with(&["--pid-file", path], &["/bin/true"]).fails().says("not a regular file");
    }
    use std::os::unix::fs::FileTypeExt;
    assert!(std::fs::metadata(&fifo).expect("stat").file_type().is_fifo());
    let file = case.make_file("file", "an old one");
    case.exec_with(&["--pid-file", &file], &["/bin/true"]).ok();
    assert_ne!(case.read("file"), "an old one");
}
