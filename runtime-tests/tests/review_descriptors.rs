//! What is open in init while the container's own paths are looked up (CVE-2024-21626): nothing of the host.

use runtime_tests::{Case, needs};
use std::process::Command;

/// The runtime's command with the host's `/` open as fd 9, as an engine that forgets close-on-exec leaves it.
fn with_host_root_open(case: &Case, command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "exec \"$0\" \"$@\" 9</"]).arg(command.get_program()).args(command.get_args());
    shell.current_dir(&case.dir);
    shell
}

/// No path through a descriptor of init's is one to a program of the host.
fn no_fd_leads_to_the_host(mut case: Case) {
    case.make_script("escaped", "echo escaped");
    let program = case.path("escaped");
    for fd in 3..40 {
        let up = "../".repeat(12);
        case.args(&[&format!("/proc/self/fd/{fd}/{up}{}", &program[1..])]);
        let command = case.bundle_command("run", &[]);
        let outcome = case.finish(with_host_root_open(&case, &command));
        assert!(!outcome.stdout.contains("escaped"), "fd {fd}");
        outcome.fails();
    }
}

#[test]
fn no_fd_leads_a_program_to_the_host() {
    no_fd_leads_to_the_host(Case::new());
}

#[test]
fn no_fd_leads_a_program_of_a_user_namespace_to_the_host() {
    let mut case = Case::new();
    case.user_namespace(100_000, 65536);
    no_fd_leads_to_the_host(case);
}

#[test]
fn no_fd_is_a_way_to_the_host_as_working_directory() {
    let mut case = Case::new();
    case.args(&["/bin/echo", "escaped"]);
    for fd in 3..40 {
        case.set("/process/cwd", runtime_tests::json!(format!("/proc/self/fd/{fd}")));
        let command = case.bundle_command("run", &[]);
        case.finish(with_host_root_open(&case, &command)).fails();
    }
}

#[test]
fn a_created_container_holds_sockets_only() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause();
    let command = case.bundle_command("create", &[]);
    case.finish(with_host_root_open(&case, &command)).ok();
    let directory = format!("/proc/{}/fd", case.pid());
    for entry in std::fs::read_dir(directory).expect("see init's fds").flatten() {
        let number: u32 = entry.file_name().to_string_lossy().parse().expect("a number");
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        assert!(number < 3 || target.to_string_lossy().starts_with("socket:"), "{number} is {}", target.display());
    }
}
