//! What `security` does to a real process: each test is a fork of its own, as root.
//!
//! Its own runner instead of the usual harness: a fork must come from a process with one thread.

use nix::sched::{CloneFlags, unshare};
use rvol_runc::plan::process::{Capabilities, IoPriority, Personality, Rlimit, Scheduler, User};
use rvol_runc::plan::seccomp::{Action, Arg, Compare, Filter, Rule};
use rvol_runc::security::procfs::Procfs;
use rvol_runc::security::{attributes, capabilities, environment, keyring, lsm, seccomp};
use rvol_runc::sys::ns::{Cloned, Parent, clone3};
use rvol_runc::sys::pidfd::End;
use rvol_runc::sys::{Errno, errno_of, exec, pidfd, process};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const TESTS: &[(&str, fn())] = &[
    ("bounding_and_other_sets_are_the_plans", bounding_and_other_sets_are_the_plans),
    ("ambient_capabilities_survive_an_exec", ambient_capabilities_survive_an_exec),
    ("capabilities_that_are_missing_only_warn", capabilities_that_are_missing_only_warn),
    ("bounding_set_cannot_be_cut_without_setpcap", bounding_set_cannot_be_cut_without_setpcap),
    ("groups_and_ids_are_set", groups_and_ids_are_set),
    ("groups_that_a_user_namespace_denies_only_warn", groups_that_a_user_namespace_denies_only_warn),
    ("ids_that_are_not_mapped_are_named", ids_that_are_not_mapped_are_named),
    ("limits_are_set_and_raising_them_explains_itself", limits_are_set_and_raising_them_explains_itself),
    ("oom_score_adj_is_written", oom_score_adj_is_written),
    ("scheduling_attributes_are_set", scheduling_attributes_are_set),
    ("personality_and_umask_are_set", personality_and_umask_are_set),
    ("stdio_belongs_to_the_user", stdio_belongs_to_the_user),
    ("session_keyring_is_new_and_searchable", session_keyring_is_new_and_searchable),
    ("home_is_read_in_the_root_only", home_is_read_in_the_root_only),
    ("procfs_is_not_fooled_by_mounts", procfs_is_not_fooled_by_mounts),
    ("procfs_falls_back_without_privileges", procfs_falls_back_without_privileges),
    ("sysctls_of_a_user_namespace_are_written", sysctls_of_a_user_namespace_are_written),
    ("filter_answers_as_the_profile_says", filter_answers_as_the_profile_says),
    ("filter_needs_privileges_or_no_new_privs", filter_needs_privileges_or_no_new_privs),
    ("filter_reaches_its_agent", filter_reaches_its_agent),
    ("real_profiles_load", real_profiles_load),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    if std::env::args().any(|a| a == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        println!("needs root\n0 passed, 0 failed, {} skipped", TESTS.len());
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| name.contains(w))) {
        let ok = in_child(test);
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        if ok { passed += 1 } else { failed += 1 }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs `test` in a fork; true if it neither panics nor dies.
fn in_child(test: impl FnOnce()) -> bool {
    match clone3(0, None, Parent::Caller).unwrap() {
        Cloned::Child => {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
            process::exit_now(i32::from(result.is_err()))
        }
        Cloned::Parent { pidfd, .. } => matches!(pidfd::wait(pidfd.as_fd()).unwrap(), End::Exited(0)),
    }
}

fn silent(warning: String) {
    panic!("unexpected warning: {warning}");
}

/// A line of `/proc/self/status`.
fn status(field: &str) -> String {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().replace('\t', " ")
}

fn user(uid: u32, gid: u32, additional_gids: &[u32]) -> User {
    User { uid, gid, umask: None, additional_gids: additional_gids.to_vec(), keep_groups: false }
}

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("security-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}

/// A mount namespace whose mounts nobody else sees.
fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
}

/// A user namespace in which only id 0 is mapped.
fn own_users() {
    unshare(CloneFlags::CLONE_NEWUSER).unwrap();
    fs::write("/proc/self/setgroups", "deny").unwrap();
    fs::write("/proc/self/uid_map", "0 0 1").unwrap();
    fs::write("/proc/self/gid_map", "0 0 1").unwrap();
}

const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;
const NET_RAW: u64 = 1 << 13;
const NOTHING: &str = "0000000000000000";

fn sets(bounding: u64, rest: u64, ambient: u64) -> Capabilities {
    let inheritable = ambient;
    Capabilities { bounding, effective: rest, permitted: rest, inheritable, ambient }
}

fn become_user(plan: &Capabilities, uid: u32, warn: &mut dyn FnMut(String)) {
    capabilities::drop_bounding(plan, warn).unwrap();
    attributes::set_ids(&user(uid, uid, &[])).unwrap();
    capabilities::apply(plan, 0, warn).unwrap();
}

fn bounding_and_other_sets_are_the_plans() {
    for uid in [0, 1000] {
        assert!(in_child(|| {
            become_user(&sets(CHOWN | KILL, CHOWN, 0), uid, &mut silent);
            assert_eq!(status("CapBnd"), "0000000000000021");
            assert_eq!(status("CapPrm"), "0000000000000001");
            assert_eq!(status("CapEff"), "0000000000000001");
            // Never raised by themselves (CVE-2022-29162).
            assert_eq!((status("CapInh").as_str(), status("CapAmb").as_str()), (NOTHING, NOTHING));
        }));
    }
}

fn ambient_capabilities_survive_an_exec() {
    become_user(&sets(KILL | NET_RAW, KILL | NET_RAW, NET_RAW), 1000, &mut silent);
    let output = Command::new("/bin/cat").arg("/proc/self/status").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for line in ["CapEff:\t0000000000002000", "CapPrm:\t0000000000002000", "CapBnd:\t0000000000002020"] {
        assert!(text.contains(line), "{text}");
    }
}

fn capabilities_that_are_missing_only_warn() {
    // As on this machine, wherever it runs: a runtime without CAP_SYS_RESOURCE.
    let resource: u64 = 1 << 24;
    let all = (1 << 41) - 1;
    become_user(&sets(all & !resource, all & !resource, 0), 0, &mut |_| {});
    let mut warnings = Vec::new();
    let plan = sets(CHOWN | resource | 1 << 60, CHOWN | resource | 1 << 60, resource);
    become_user(&plan, 1000, &mut |w| warnings.push(w));
    assert_eq!(status("CapEff"), "0000000000000001");
    assert_eq!(
        warnings,
        [
            "capabilities that this kernel does not know are left out: CAP_60",
            "capabilities that the runtime does not have are left out: CAP_SYS_RESOURCE",
        ]
    );
}

fn bounding_set_cannot_be_cut_without_setpcap() {
    become_user(&sets(u64::MAX, CHOWN, 0), 0, &mut |_| {});
    let error = capabilities::drop_bounding(&sets(CHOWN, CHOWN, 0), &mut silent).unwrap_err();
    let text = "drop CAP_DAC_OVERRIDE from the bounding set: prctl: operation not permitted (EPERM)";
    assert_eq!(format!("{error:#}"), text);
}

fn groups_and_ids_are_set() {
    let user = user(1000, 1001, &[7, 8]);
    attributes::set_groups(&user, &mut silent).unwrap();
    attributes::set_ids(&user).unwrap();
    capabilities::apply(&sets(0, 0, 0), 0, &mut silent).unwrap();
    assert_eq!(status("Uid"), "1000 1000 1000 1000");
    assert_eq!(status("Gid"), "1001 1001 1001 1001");
    assert_eq!(status("Groups"), "7 8");
    assert_eq!(status("CapPrm"), NOTHING);
    assert_eq!(errno_of(&attributes::set_ids(&self::user(0, 0, &[])).unwrap_err()), Some(Errno::EPERM));
}

fn groups_that_a_user_namespace_denies_only_warn() {
    own_users();
    attributes::set_groups(&user(0, 0, &[]), &mut silent).unwrap();
    let mut warnings = Vec::new();
    attributes::set_groups(&user(0, 0, &[5]), &mut |w| warnings.push(w)).unwrap();
    assert!(
        warnings[0].starts_with("process.user.additionalGids [5] are not set: setgroups is denied"),
        "{warnings:?}"
    );
}

fn ids_that_are_not_mapped_are_named() {
    own_users();
    let error = |user| format!("{:#}", attributes::set_ids(&user).unwrap_err());
    let text = "cannot setuid to unmapped uid 5 in user namespace: setresuid 5: invalid argument (EINVAL)";
    assert_eq!(error(user(5, 0, &[])), text);
    let text = "cannot setgid to unmapped gid 6 in user namespace: setresgid 6: invalid argument (EINVAL)";
    assert_eq!(error(user(0, 6, &[])), text);
}

fn limits_are_set_and_raising_them_explains_itself() {
    const NOFILE: u32 = 7;
    let limit = |soft, hard| [Rlimit { resource: NOFILE, soft, hard }];
    attributes::rlimits(0, &limit(100, 200)).unwrap();
    let text = fs::read_to_string("/proc/self/limits").unwrap();
    let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[3..5], ["100", "200"]);
    become_user(&sets(CHOWN, CHOWN, 0), 0, &mut |_| {});
    let error = attributes::rlimits(0, &limit(100, 300)).unwrap_err();
    let text = "set RLIMIT_NOFILE to soft 100, hard 300: the hard limit is 200 and raising it needs CAP_SYS_RESOURCE: \
                prlimit: operation not permitted (EPERM)";
    assert_eq!(format!("{error:#}"), text);
    // From outside, by pid.
    attributes::rlimits(nix::unistd::getpid().as_raw(), &limit(50, 60)).unwrap();
}

fn oom_score_adj_is_written() {
    let read = || fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().to_owned();
    attributes::oom_score_adj(&Procfs::open().unwrap(), None, 300).unwrap();
    assert_eq!(read(), "300");
    attributes::oom_score_adj(&Procfs::host(), Some(nix::unistd::getpid().as_raw()), 400).unwrap();
    assert_eq!(read(), "400");
    become_user(&sets(CHOWN, CHOWN, 0), 0, &mut |_| {});
    let error = format!("{:#}", attributes::oom_score_adj(&Procfs::host(), None, -999).unwrap_err());
    assert!(
        error.starts_with("set oomScoreAdj -999 (going below the present value needs CAP_SYS_RESOURCE): "),
        "{error}"
    );
    assert!(error.ends_with("permission denied (EACCES)"), "{error}");
}

fn scheduling_attributes_are_set() {
    const BATCH: u32 = 3;
    let batch = Scheduler { policy: BATCH, nice: 5, priority: 0, flags: 0, runtime: 0, deadline: 0, period: 0 };
    attributes::scheduler(&batch).unwrap();
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // proc_pid_stat(5): nice is field 19 and the policy 41, the state after the name being 3.
    assert_eq!((fields[19 - 3], fields[41 - 3]), ("5", "3"));
    attributes::io_priority(&IoPriority { class: 2, level: 6 }).unwrap();
    let pid = std::process::id().to_string();
    let output = Command::new("ionice").args(["-p", &pid]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "best-effort: prio 6");
    attributes::cpu_affinity(0, &[0]).unwrap();
    assert_eq!(status("Cpus_allowed_list"), "0");
    let error = format!("{:#}", attributes::cpu_affinity(0, &[4000]).unwrap_err());
    assert_eq!(error, "sched_setaffinity [4000]: invalid argument (EINVAL)");
}

fn personality_and_umask_are_set() {
    attributes::umask(&user(0, 0, &[]));
    assert_eq!(status("Umask"), "0022");
    attributes::umask(&User { umask: Some(0o77), ..User::default() });
    assert_eq!(status("Umask"), "0077");
    let machine = || String::from_utf8(Command::new("uname").arg("-m").output().unwrap().stdout).unwrap();
    let native = machine();
    attributes::personality(Personality::Linux32).unwrap();
    assert_eq!(fs::read_to_string("/proc/self/personality").unwrap().trim(), "00000008");
    attributes::personality(Personality::Linux).unwrap();
    assert_eq!(machine(), native);
}

fn stdio_belongs_to_the_user() {
    let directory = directory("stdio");
    let file = fs::File::create(directory.join("out")).unwrap();
    let null = fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    nix::unistd::dup2_stdin(&null).unwrap();
    nix::unistd::dup2_stdout(&file).unwrap();
    use std::os::unix::fs::MetadataExt;
    let owner = null.metadata().unwrap().uid();
    attributes::own_stdio(&user(1000, 1000, &[])).unwrap();
    assert_eq!(file.metadata().unwrap().uid(), 1000);
    assert_eq!(null.metadata().unwrap().uid(), owner);
    fs::remove_dir_all(&directory).unwrap();
}

fn session_keyring_is_new_and_searchable() {
    const SESSION: i32 = -3;
    let (procfs, labels) = (Procfs::open().unwrap(), lsm::Labels::default());
    for (id, searchable, bit) in
        [("test1", keyring::Searchable::ByUser, 0x0008_0000), ("test2", keyring::Searchable::ByOthers, 0x8)]
    {
        match keyring::join(id, searchable, &labels, &procfs, &mut silent) {
            Ok(()) => {}
            // Somewhere around us a filter forbids it.
            Err(error) if errno_of(&error) == Some(Errno::EPERM) => return println!("  (keyctl is forbidden here)"),
            Err(error) => panic!("{error:#}"),
        }
        let key = process::describe_key(SESSION).unwrap();
        assert!(key.ends_with(&format!(";_ses.{id}")), "{key}");
        let permissions = u32::from_str_radix(key.split(';').nth(3).unwrap(), 16).unwrap();
        assert_eq!(permissions & bit, bit, "{key}");
    }
}

fn home_is_read_in_the_root_only() {
    let root = directory("home");
    fs::create_dir_all(root.join("etc")).unwrap();
    let passwd = root.join("etc/passwd");
    let home = |prepare: &dyn Fn()| {
        let _ = fs::remove_file(&passwd);
        prepare();
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let (mut reader, mut writer) = (fs::File::from(reader), fs::File::from(writer));
        assert!(in_child(|| {
            nix::unistd::chroot(&root).unwrap();
            nix::unistd::chdir("/").unwrap();
            let mut warnings = Vec::new();
            let env = environment::variables(&[], 1234, &mut |w| warnings.push(w)).unwrap();
            std::io::Write::write_all(&mut writer, format!("{} {warnings:?}", env[0]).as_bytes()).unwrap();
        }));
        drop(writer);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        text
    };
    let entry = "user:x:1234:1234::/home/user:/bin/sh\n";
    assert_eq!(home(&|| fs::write(&passwd, entry).unwrap()), "HOME=/home/user []");
    assert_eq!(home(&|| {}), "HOME=/ []");
    // A link counts from the container's root.
    fs::write(root.join("inside"), entry).unwrap();
    assert_eq!(home(&|| symlink("/../../inside", &passwd).unwrap()), "HOME=/home/user []");
    assert_eq!(home(&|| symlink("/etc/hostname", &passwd).unwrap()), "HOME=/ []");
    // Neither a fifo nor a directory is waited for or read.
    let refused = "HOME=/ [\"HOME is set to /: /etc/passwd is not a regular file\"]";
    assert_eq!(home(&|| nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::S_IRWXU).unwrap()), refused);
    fs::remove_file(&passwd).unwrap();
    assert_eq!(home(&|| fs::create_dir(&passwd).unwrap()), refused);
    fs::remove_dir_all(&root).unwrap();
}

fn mount(source: &str, target: &str, kind: Option<&str>, flags: nix::mount::MsFlags) {
    nix::mount::mount(Some(source), target, kind, flags, None::<&str>).unwrap();
}

fn procfs_is_not_fooled_by_mounts() {
    own_mounts();
    let decoy = directory("decoy").join("file");
    fs::write(&decoy, "untouched").unwrap();
    let pid = std::process::id();
    mount(decoy.to_str().unwrap(), &format!("/proc/{pid}/comm"), None, nix::mount::MsFlags::MS_BIND);
    // The plain path is fooled, ours is not; the host's /proc refuses.
    fs::write("/proc/self/comm", "fooled").unwrap();
    assert_eq!(fs::read_to_string(&decoy).unwrap(), "fooled");
    fs::write(&decoy, "untouched").unwrap();
    let procfs = Procfs::open().unwrap();
    procfs.write("self/comm", b"renamed").unwrap();
    assert_eq!(procfs.read("self/comm").unwrap(), b"renamed\n");
    assert_eq!(errno_of(&Procfs::host().write("self/comm", b"x").unwrap_err()), Some(Errno::EXDEV));
    // Another filesystem at /proc.
    mount("tmpfs", "/proc", Some("tmpfs"), nix::mount::MsFlags::empty());
    Procfs::open().unwrap().write("self/comm", b"again").unwrap();
    let error = Procfs::host().read("self/comm").unwrap_err().to_string();
    assert_eq!(error, "/proc is not the root of a procfs");
    assert_eq!(fs::read_to_string(&decoy).unwrap(), "untouched");
    fs::remove_dir_all(decoy.parent().unwrap()).unwrap();
}

fn procfs_falls_back_without_privileges() {
    become_user(&sets(0, 0, 0), 1000, &mut |_| {});
    // As after a fork from a runtime that anybody may look at; set_ids has made us non-dumpable.
    process::set_dumpable(true).unwrap();
    let procfs = Procfs::open().unwrap();
    procfs.write("self/comm", b"poor").unwrap();
    assert_eq!(procfs.read("thread-self/comm").unwrap(), b"poor\n");
    assert_eq!(errno_of(&procfs.write_sysctl("kernel/domainname", "x").unwrap_err()), Some(Errno::EACCES));
}

fn sysctls_of_a_user_namespace_are_written() {
    // As the init of a container with its own user namespace: PID 1, not dumpable, the ids mapped.
    process::set_dumpable(true).unwrap();
    own_users();
    process::set_dumpable(false).unwrap();
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET).unwrap();
    assert!(in_child(|| {
        let procfs = Procfs::open().unwrap();
        procfs.write_sysctl("net/ipv4/ip_unprivileged_port_start", "7").unwrap();
        assert_eq!(procfs.read("sys/net/ipv4/ip_unprivileged_port_start").unwrap(), b"7\n");
        assert!(String::from_utf8(procfs.read("self/status").unwrap()).unwrap().contains("\nNSpid:"));
    }));
}

fn rule(names: &[&str], action: Action) -> Rule {
    Rule { names: names.iter().map(|n| n.to_string()).collect(), action, args: vec![] }
}

fn filter(default_action: Action, rules: Vec<Rule>) -> Filter {
    Filter { default_action, architectures: vec![], rules }
}

fn filter_answers_as_the_profile_says() {
    let everything = ["read", "write", "exit_group", "munmap", "mmap", "brk", "close", "getcwd", "gettid", "futex"];
    let mut rules = vec![rule(&["mkdir", "no_such_call"], Action::Errno(77)), rule(&["sigaltstack"], Action::Allow)];
    rules.push(rule(&everything, Action::Allow));
    rules.push(rule(&["rt_sigprocmask", "rt_sigaction", "madvise", "mprotect"], Action::Allow));
    let program = seccomp::compile(&filter(Action::Errno(88), rules)).unwrap();
    seccomp::load(&program, 0).unwrap();
    std::env::current_dir().unwrap();
    let code = |result: std::io::Result<()>| result.unwrap_err().raw_os_error();
    assert_eq!(code(fs::create_dir("/tmp")), Some(77));
    assert_eq!(code(fs::rename("/a", "/b")), Some(88));
    // openat2 has a larger number than anything that the profile names.
    let newer = nix::fcntl::openat2(std::io::stdin().as_fd(), "x", nix::fcntl::OpenHow::new()).unwrap_err();
    assert_eq!(newer, Errno::ENOSYS);
}

fn filter_needs_privileges_or_no_new_privs() {
    let program = seccomp::compile(&filter(Action::Allow, vec![rule(&["mkdir"], Action::Errno(1))])).unwrap();
    become_user(&sets(0, 0, 0), 1000, &mut |_| {});
    let error = format!("{:#}", seccomp::load(&program, 0).unwrap_err());
    assert!(
        error.ends_with("(needs noNewPrivileges or CAP_SYS_ADMIN): seccomp: permission denied (EACCES)"),
        "{error}"
    );
    process::set_no_new_privileges().unwrap();
    assert!(
        format!("{:#}", seccomp::load(&program, 1 << 20).unwrap_err()).contains("a flag or the program is not known")
    );
    seccomp::load(&program, 1).unwrap();
    assert_eq!(status("Seccomp"), "2");
}

fn filter_reaches_its_agent() {
    let directory = directory("agent");
    let path = directory.join("agent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let contained = || {
        let program = seccomp::compile(&filter(Action::Allow, vec![rule(&["mkdir"], Action::Notify)])).unwrap();
        let fd = seccomp::load_with_listener(&program, 1).unwrap();
        let state = seccomp::notify::ContainerProcessState::new("1.3.0", 1, "", &()).json().unwrap();
        seccomp::notify::send(&path, fd.as_fd(), &state).unwrap();
        assert_eq!(fs::create_dir("/tmp").unwrap_err().raw_os_error(), Some(123));
    };
    let agent = || {
        let (stream, _) = listener.accept().unwrap();
        let fd = receive_fd(&stream);
        let request = libseccomp::ScmpNotifReq::receive(fd).unwrap();
        libseccomp::ScmpNotifResp::new_error(request.id, -123, libseccomp::ScmpNotifRespFlags::empty())
            .respond(fd)
            .unwrap();
    };
    let Cloned::Parent { pidfd: child, .. } = clone3(0, None, Parent::Caller).unwrap() else {
        let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(contained)).is_ok();
        process::exit_now(i32::from(!ok))
    };
    agent();
    assert!(matches!(pidfd::wait(child.as_fd()).unwrap(), End::Exited(0)));
    fs::remove_dir_all(&directory).unwrap();
}

fn receive_fd(stream: &std::os::unix::net::UnixStream) -> i32 {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::AsRawFd;
    let mut buffer = [0u8; 4096];
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut slices = [std::io::IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::empty()).unwrap();
    let Some(ControlMessageOwned::ScmRights(fds)) = message.cmsgs().unwrap().next() else { panic!("no fd") };
    fds[0]
}

fn real_profiles_load() {
    for path in profiles::all() {
        let program = seccomp::compile(&profiles::read(&path)).unwrap();
        assert!(in_child(|| {
            process::set_no_new_privileges().unwrap();
            seccomp::load(&program, 0).unwrap();
            // Nothing that a simple program needs is refused.
            let error = Command::new("/bin/true").exec();
            panic!("{}: {error}", path.display());
        }));
    }
    // The end of the process as such is one of the things that a filter must let through.
    exec::close_others(3, &[]).unwrap();
}

#[path = "profiles/mod.rs"]
mod profiles;
