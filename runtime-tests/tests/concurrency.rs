//! Many commands on one container at a time.

use runtime_tests::command::{Outcome, Running};
use runtime_tests::{Case, json, needs};
use std::process::Command;

/// Starts all commands at once and returns how they ended.
#[track_caller]
fn together(case: &Case, commands: Vec<Command>) -> Vec<Outcome> {
    let running: Vec<Running> = commands.into_iter().map(|c| case.start_command(c)).collect();
    running.into_iter().map(Running::finish).collect()
}

fn succeeded(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|o| o.succeeded()).count()
}

#[test]
fn of_many_creates_of_one_id_one_wins() {
    needs!(ConcurrentCreate);
    let mut case = Case::new();
    case.pause();
    let outcomes = together(&case, (0..50).map(|_| case.bundle_command("create", &[])).collect());
    assert_eq!(succeeded(&outcomes), 1);
    for loser in outcomes.iter().filter(|o| !o.succeeded()) {
        assert!(loser.stderr.contains("exist"), "{loser}");
    }
    assert_eq!(case.status(), "created", "the winner is whole");
    case.start().ok();
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn many_containers_at_once() {
    let mut case = Case::new();
    case.args(&["/bin/echo", "hello"]).write_config();
    let bundle = case.bundle();
    let commands = (0..20).map(|n| {
        let id = format!("{}-{n}", case.id);
        case.also_delete(&id);
        let mut command = case.command();
        command.arg("run").arg("--bundle").arg(&bundle).arg(id);
        command
    });
    let mut case_commands: Vec<Command> = commands.collect();
    // One cgroup for all would be in each other's way.
    case.unset("/linux/cgroupsPath").write_config();
    let outcomes = together(&case, std::mem::take(&mut case_commands));
    for outcome in &outcomes {
        assert_eq!((outcome.code(), outcome.stdout.as_str()), (0, "hello\n"), "{outcome}");
    }
    case.assert_nothing_left();
}

#[test]
fn many_kills_deletes_and_states() {
    let mut case = Case::new();
    case.pause();
    case.create_and_start().wait_for_line("ready");
    let mut commands = Vec::new();
    for _ in 0..10 {
        for words in [
            &["kill", &case.id, "KILL"][..],
            &["delete", "--force", &case.id],
            &["state", &case.id],
            &["start", &case.id],
        ] {
            let mut command = case.command();
            command.args(words);
            commands.push(command);
        }
    }
    for outcome in together(&case, commands) {
        assert!(!outcome.stderr.contains("panic"), "{outcome}");
        if outcome.line.contains("delete") {
            assert!(outcome.succeeded(), "{outcome}");
        }
        if outcome.line.contains(" start ") {
            assert!(!outcome.succeeded(), "{outcome}");
        }
    }
    case.invoke(&["state", &case.id]).fails().says("does not exist");
    case.assert_nothing_left();
}

#[test]
fn of_many_starts_one_wins() {
    needs!(ConcurrentStart);
    let mut case = Case::new();
    case.pause().create().ok();
    let commands = (0..20).map(|_| {
        let mut command = case.command();
        command.args(["start", &case.id]);
        command
    });
    let outcomes = together(&case, commands.collect());
    assert_eq!(succeeded(&outcomes), 1);
    assert_eq!(case.status(), "running");
}

#[test]
fn state_while_others_create_and_delete() {
    let mut case = Case::new();
    case.pause();
    for _ in 0..5 {
        let create = case.start_command(case.bundle_command("create", &[]));
        let states: Vec<Outcome> = (0..10).map(|_| case.invoke(&["state", &case.id])).collect();
        create.finish().ok();
        for state in states.iter().filter(|s| s.succeeded()) {
            let status = state.json()["status"].clone();
            assert!([json!("creating"), json!("created"), json!("stopped")].contains(&status), "{state}");
        }
        case.delete_force().ok();
    }
    case.assert_nothing_left();
}

#[test]
fn delete_by_force_while_create_works() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause();
    for _ in 0..20 {
        let create = case.start_command(case.bundle_command("create", &[]));
        let delete = {
            let mut command = case.command();
            command.args(["delete", "--force", &case.id]);
            case.start_command(command)
        };
        create.finish();
        delete.finish().ok();
        case.delete_force().ok();
        case.assert_nothing_left();
    }
}
