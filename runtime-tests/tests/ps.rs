//! `ps`.

use runtime_tests::{Case, json, needs, needs_machine};
use std::path::Path;

/// The words in a column of a table.
fn column(table: &str, title: &str) -> Vec<String> {
    let mut lines = table.lines();
    let header = lines.next().unwrap_or_default();
    let index = header.split_whitespace().position(|t| t == title).unwrap_or_else(|| panic!("no {title}: {table}"));
    lines.map(|line| line.split_whitespace().nth(index).unwrap_or_default().to_owned()).collect()
}

fn sorted(pids: &[i32]) -> Vec<String> {
    let mut text: Vec<String> = pids.iter().map(i32::to_string).collect();
    text.sort();
    text
}

fn have_ps() -> bool {
    Path::new("/bin/ps").exists() || Path::new("/usr/bin/ps").exists()
}

#[test]
fn json_is_an_array_of_pids() {
    let mut case = Case::new();
    case.script("sleep 1000 & exec probe pause");
    case.create_and_start().wait_for_line("ready");
    let outcome = case.invoke(&["ps", "--format", "json", &case.id]).ok();
    let pids: Vec<i64> = outcome.json().as_array().expect("an array").iter().filter_map(|p| p.as_i64()).collect();
    assert_eq!(pids.len(), 2, "{outcome}");
    assert!(pids.contains(&i64::from(case.pid())), "{outcome}");
    assert_eq!(outcome.stdout.lines().count(), 1, "one line: {outcome}");
    let short = case.invoke(&["ps", "-f", "json", &case.id]).ok();
    assert_eq!(short.json(), outcome.json());
}

#[test]
fn a_created_container_has_its_init() {
    let mut case = Case::new();
    case.pause().create().ok();
    assert_eq!(case.invoke(&["ps", "-f", "json", &case.id]).ok().json(), json!([case.pid()]));
}

#[test]
fn processes_of_the_containers_own_cgroups_count() {
    let mut case = Case::new();
    case.script("sleep 1000 & exec probe pause");
    case.create_and_start().wait_for_line("ready");
    let pids = case.pids();
    let child = *pids.iter().find(|pid| **pid != case.pid()).expect("the child");
    // As a container with a writable cgroup would do.
    let text = std::fs::read_to_string(format!("/proc/{child}/cgroup")).expect("its cgroups");
    let mut moved = 0;
    for line in text.lines().filter(|line| line.contains(&case.token)) {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next().expect("controllers"), parts.next().expect("a path"));
        let name = names.strip_prefix("name=").unwrap_or(names);
        // In cpuset and without its values it takes nobody.
        if name.contains("cpuset") {
            continue;
        }
        let unified = if Path::new("/sys/fs/cgroup/unified").exists() { "unified" } else { "" };
        let hierarchy = Path::new("/sys/fs/cgroup").join(if name.is_empty() { unified } else { name });
        let sub = hierarchy.join(path.trim_start_matches('/')).join("sub");
        std::fs::create_dir(&sub).expect("make a cgroup below the container's");
        std::fs::write(sub.join("cgroup.procs"), child.to_string()).expect("move the child");
        moved += 1;
    }
    assert!(moved > 0, "{text}");
    assert_eq!(case.pids(), pids);
    case.delete_force().ok();
    case.assert_nothing_left();
}

#[test]
fn a_table_has_the_header_and_the_containers_lines() {
    needs_machine!(have_ps(), "no ps");
    let mut case = Case::new();
    case.script("sleep 1000 & exec probe pause");
    case.create_and_start().wait_for_line("ready");
    let full = case.invoke(&["ps", &case.id]).ok();
    for table in [&full, &case.invoke(&["ps", "--format", "table", &case.id]).ok()] {
        assert!(table.stdout.starts_with("UID "), "as ps -ef: {table}");
        let mut pids = column(&table.stdout, "PID");
        pids.sort();
        assert_eq!(pids, sorted(&case.pids()));
    }
}

#[test]
fn options_after_the_id_are_those_of_ps() {
    needs_machine!(have_ps(), "no ps");
    let mut case = Case::new();
    case.script("sleep 1000 & exec probe pause");
    case.create_and_start().wait_for_line("ready");
    for options in [&["-e", "-o", "pid,comm"][..], &["-eopid,comm"], &["axo", "pid,comm"]] {
        let words: Vec<&str> = ["ps", &case.id].iter().chain(options).copied().collect();
        let table = case.invoke(&words).ok();
        assert_eq!(column(&table.stdout, "PID").len(), 2, "{table}");
        assert!(column(&table.stdout, "COMMAND").contains(&"sleep".to_owned()), "{table}");
    }
    // Short and long flags that this program has too go to ps all the same.
    case.invoke(&["ps", &case.id, "-f", "-e"]).ok();
    case.invoke(&["ps", &case.id, "-e", "-o", "comm"]).fails().says("couldn't find PID field in ps output");
    case.invoke(&["ps", &case.id, "--no-such-option"]).fails();
}

#[test]
fn what_cannot_be_shown_is_an_error() {
    let mut case = Case::new();
    case.invoke(&["ps", &case.id]).fails().says("does not exist");
    case.pause().create().ok();
    case.invoke(&["ps", "--format", "xml", &case.id]).fails();
}

#[test]
fn a_stopped_container_has_no_processes() {
    let case = Case::new();
    case.create().ok();
    case.start().ok();
    case.wait_for_status("stopped");
    let json = case.invoke(&["ps", "-f", "json", &case.id]).ok().json();
    assert!(json.is_null() || json == json!([]), "{json}");
}

#[test]
fn without_a_cgroup_nothing_is_known() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause().unset("/linux/cgroupsPath").write_config();
    let mut command = case.command();
    command.args(["--cgroup-manager=disabled", "create", "--bundle"]).arg(case.bundle()).arg(&case.id);
    case.finish(command).ok();
    case.invoke(&["ps", &case.id]).fails().says("the container has no cgroup of its own");
    case.invoke(&["ps", "-f", "json", &case.id, "-e"]).fails().says("options of ps(1) are for a table");
}
