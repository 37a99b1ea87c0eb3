//! AppArmor profiles, and SELinux labels of processes and mounts, where the kernel has the module. `make test-vm` has a
//! guest for each: `uml` has AppArmor, `selinux` has Debian's SELinux policy (permissive, so that what is
//! checked is which label everything has, and not what the policy forbids).

use runtime_tests::machine::{has_apparmor, has_selinux};
use runtime_tests::{Case, json, needs_machine};
use std::io::Write;
use std::process::{Command, Stdio};

// --- AppArmor

const NO_APPARMOR: &str = "needs a kernel with AppArmor, and apparmor_parser";

/// A loaded profile, removed from the kernel at the end.
struct Profile {
    name: String,
}

impl Profile {
    /// Allows everything but reading `/data/<denied>`.
    fn load(case: &Case, denied: &str) -> Profile {
        let directory = case.bundle();
        let unique = directory.parent().and_then(|d| d.file_name()).expect("a case has a directory").to_string_lossy();
        let profile = Profile { name: format!("rvt-{unique}-{denied}") };
        profile.parser("--replace", denied);
        profile
    }

    fn parser(&self, action: &str, denied: &str) {
        let text = format!(
            "abi <abi/4.0>,\nprofile {} flags=(attach_disconnected,mediate_deleted) {{\n  file,\n  capability,\n  \
             mount,\n  umount,\n  pivot_root,\n  signal,\n  ptrace,\n  unix,\n  network,\n  deny /data/{denied} r,\n}}\n",
            self.name
        );
        let mut child = Command::new("apparmor_parser")
            .args([action, "--skip-cache", "--quiet"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start apparmor_parser");
        child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("write the profile");
        let done = child.wait_with_output().expect("wait for apparmor_parser");
        assert!(done.status.success(), "{action}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// What `/proc/self/attr/current` says of a process with this profile.
    fn enforced(&self) -> String {
        format!("{} (enforce)\n", self.name)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parser("--remove", "any");
    }
}

/// A case with the files `/data/first` and `/data/second`.
fn with_data() -> Case {
    let case = Case::new();
    for name in ["first", "second"] {
        std::fs::write(case.rootfs().join("data").join(name), name).expect("write a file");
    }
    case
}

const CURRENT: [&str; 2] = ["/bin/cat", "/proc/self/attr/current"];

#[test]
fn an_apparmor_profile_is_enforced() {
    needs_machine!(has_apparmor(), NO_APPARMOR);
    let mut case = with_data();
    let profile = Profile::load(&case, "first");
    case.set("/process/apparmorProfile", json!(profile.name));
    case.script("cat /proc/self/attr/current; cat /data/second; cat /data/first && echo; echo");
    let out = case.run().ok();
    assert_eq!(out.stdout, format!("{}second\n", profile.enforced()), "{out}");
}

#[test]
fn exec_keeps_the_apparmor_profile_of_the_container() {
    needs_machine!(has_apparmor(), NO_APPARMOR);
    let mut case = with_data();
    let profile = Profile::load(&case, "first");
    case.set("/process/apparmorProfile", json!(profile.name)).started();
    assert_eq!(case.exec(&CURRENT).ok().stdout, profile.enforced());
    case.exec(&["/bin/cat", "/data/first"]).fails();
    // The file of `exec --process` names no profile, as Docker's and Podman's often do not.
    let without = case.exec_process(json!({ "args": CURRENT }), &[]).ok();
    assert_eq!(without.stdout, profile.enforced());
    let empty = case.exec_process(json!({ "args": CURRENT, "apparmorProfile": "" }), &[]).ok();
    assert_eq!(empty.stdout, profile.enforced());
    case.exec_process(json!({ "args": ["/bin/cat", "/data/first"] }), &[]).fails();
}

#[test]
fn exec_takes_the_apparmor_profile_that_it_is_given() {
    needs_machine!(has_apparmor(), NO_APPARMOR);
    let mut case = with_data();
    let (first, second) = (Profile::load(&case, "first"), Profile::load(&case, "second"));
    case.set("/process/apparmorProfile", json!(first.name)).started();
    assert_eq!(case.exec_with(&["--apparmor", &second.name], &CURRENT).ok().stdout, second.enforced());
    let file = case.exec_process(json!({ "args": CURRENT, "apparmorProfile": second.name }), &[]).ok();
    assert_eq!(file.stdout, second.enforced());
}

#[test]
fn a_container_without_an_apparmor_profile_is_unconfined() {
    needs_machine!(has_apparmor(), NO_APPARMOR);
    for profile in [json!(null), json!(""), json!("unconfined")] {
        let mut case = Case::new();
        case.set("/process/apparmorProfile", profile.clone()).args(&CURRENT);
        assert_eq!(case.run().ok().stdout, "unconfined\n", "{profile}");
    }
}

#[test]
fn an_apparmor_profile_that_is_not_loaded_is_an_error() {
    needs_machine!(has_apparmor(), NO_APPARMOR);
    let mut case = Case::new();
    case.set("/process/apparmorProfile", json!("rvt-not-loaded"));
    case.run().fails().says("rvt-not-loaded").says("is it loaded?");
    case.assert_nothing_left();
    case.unset("/process/apparmorProfile").started();
    case.exec_with(&["--apparmor", "rvt-not-loaded"], &["/bin/true"]).fails().says("is it loaded?");
}

// --- SELinux

const NO_SELINUX: &str = "needs a kernel with SELinux and a loaded policy that knows container_t";

const LABEL: &str = "system_u:system_r:container_t:s0:c1,c2";
const OTHER_LABEL: &str = "system_u:system_r:container_t:s0:c3,c4";
const MOUNT_LABEL: &str = "system_u:object_r:container_file_t:s0:c1,c2";

/// The label that a process printed of itself; the kernel ends it with a zero byte.
fn label_in(output: &str) -> &str {
    output.trim_end_matches(['\0', '\n'])
}

fn labelled() -> Case {
    let mut case = Case::new();
    case.set("/process/selinuxLabel", json!(LABEL)).set("/linux/mountLabel", json!(MOUNT_LABEL));
    case
}

#[test]
fn an_selinux_label_is_that_of_the_process() {
    needs_machine!(has_selinux(), NO_SELINUX);
    let mut case = labelled();
    case.args(&CURRENT);
    assert_eq!(label_in(&case.run().ok().stdout), LABEL);
}

#[test]
fn exec_keeps_the_selinux_label_of_the_container() {
    needs_machine!(has_selinux(), NO_SELINUX);
    let mut case = labelled();
    case.started();
    assert_eq!(label_in(&case.exec(&CURRENT).ok().stdout), LABEL);
    let without = case.exec_process(json!({ "args": CURRENT }), &[]).ok();
    assert_eq!(label_in(&without.stdout), LABEL);
    let empty = case.exec_process(json!({ "args": CURRENT, "selinuxLabel": "" }), &[]).ok();
    assert_eq!(label_in(&empty.stdout), LABEL);
}

#[test]
fn exec_takes_the_selinux_label_that_it_is_given() {
    needs_machine!(has_selinux(), NO_SELINUX);
    let mut case = labelled();
    case.started();
    let flag = case.exec_with(&["--process-label", OTHER_LABEL], &CURRENT).ok();
    assert_eq!(label_in(&flag.stdout), OTHER_LABEL);
    let file = case.exec_process(json!({ "args": CURRENT, "selinuxLabel": OTHER_LABEL }), &[]).ok();
    assert_eq!(label_in(&file.stdout), OTHER_LABEL);
}

#[test]
fn an_selinux_label_that_the_policy_does_not_know_is_an_error() {
    needs_machine!(has_selinux(), NO_SELINUX);
    let mut case = Case::new();
    case.set("/process/selinuxLabel", json!("system_u:system_r:no_such_type_t:s0"));
    case.run().fails().says("no_such_type_t");
    case.assert_nothing_left();
}

/// The line of a mount point in the mountinfo of a container that printed it.
fn mountinfo<'a>(output: &'a str, target: &str) -> &'a str {
    let found = output.lines().find(|line| line.split(' ').nth(4) == Some(target));
    found.unwrap_or_else(|| panic!("nothing is mounted at {target}: {output}"))
}

/// What the runtime makes for the container has the mount label; what it binds keeps the labels of its files.
#[test]
fn mounts_that_are_made_have_the_mount_label() {
    needs_machine!(has_selinux(), NO_SELINUX);
    let mut case = labelled();
    let source = case.make_dir("source");
    case.mount("/tmp", "tmpfs", "tmpfs", &["mode=1777"]).bind(&source, "/data", &["rw"]);
    case.script("cat /proc/self/mountinfo");
    let out = case.run().ok().stdout;
    for target in ["/tmp", "/dev", "/dev/pts", "/dev/shm"] {
        assert!(mountinfo(&out, target).contains(&format!("context=\"{MOUNT_LABEL}\"")), "{target}: {out}");
    }
    assert!(!mountinfo(&out, "/data").contains("context="), "{out}");
}

#[test]
fn a_mount_entry_may_name_its_own_selinux_context() {
    needs_machine!(has_selinux(), NO_SELINUX);
    const OWN: &str = "system_u:object_r:container_file_t:s0:c5,c6";
    // In quotes, as Podman writes it: a bare comma ends an option.
    let mut case = labelled();
    case.mount("/data", "tmpfs", "tmpfs", &[&format!("context=\"{OWN}\"")]).script("cat /proc/self/mountinfo");
    let out = case.run().ok().stdout;
    assert!(mountinfo(&out, "/data").contains(&format!("context=\"{OWN}\"")), "{out}");
}
