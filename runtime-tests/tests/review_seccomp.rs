//! Filters that allow less than init needs before it executes the program.

use runtime_tests::{Case, json, needs};

/// Everything that init does between the change of root and execve, refused.
const OF_INIT: [&str; 28] = [
    "accept4",
    "capget",
    "capset",
    "chdir",
    "clone3",
    "close_range",
    "connect",
    "faccessat2",
    "fchown",
    "fstat",
    "getcwd",
    "getsockopt",
    "listen",
    "openat2",
    "poll",
    "read",
    "recvfrom",
    "recvmsg",
    "rt_sigaction",
    "rt_sigprocmask",
    "sendmsg",
    "setgroups",
    "setresgid",
    "setresuid",
    "setsid",
    "socket",
    "umask",
    "waitid",
];

fn refused_from_init(case: &mut Case) {
    let rule = json!([{ "names": OF_INIT, "action": "SCMP_ACT_KILL_PROCESS" }]);
    case.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule }));
}

#[test]
fn a_filter_need_not_allow_what_init_does() {
    needs!(Rvol);
    for no_new_privileges in [true, false] {
        for uid in [0, 1000] {
            let mut case = Case::new();
            refused_from_init(&mut case);
            case.set("/process/noNewPrivileges", json!(no_new_privileges)).set("/process/user/uid", json!(uid));
            case.args(&["/bin/true"]).run().ok();
        }
    }
}

#[test]
fn nothing_is_left_of_the_right_to_load_a_filter() {
    needs!(Rvol);
    const SYS_ADMIN: u64 = 21;
    for uid in [0, 1000] {
        for capabilities in [true, false] {
            let mut case = Case::new();
            let rule = json!([{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }]);
            case.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule }));
            case.set("/process/noNewPrivileges", json!(false)).set("/process/user/uid", json!(uid));
            if !capabilities {
                case.unset("/process/capabilities");
            }
            let facts = case.facts(&[]);
            assert_eq!(facts["seccomp"], json!(2));
            for set in ["effective", "permitted", "inheritable", "ambient"] {
                assert!(!facts.caps(set).contains(&SYS_ADMIN), "uid {uid} {set}");
            }
        }
    }
}
