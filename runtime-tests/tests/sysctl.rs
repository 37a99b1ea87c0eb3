//! `linux.sysctl`: namespaced ones only, in both forms of the key.

use runtime_tests::{Case, json, needs};

#[test]
fn values_are_set() {
    let mut case = Case::new();
    let values = [
        ("net.ipv4.ip_forward", "1", "/proc/sys/net/ipv4/ip_forward"),
        ("net.core.somaxconn", "256", "/proc/sys/net/core/somaxconn"),
        ("kernel.shmmax", "123456", "/proc/sys/kernel/shmmax"),
        ("kernel.msgmax", "4321", "/proc/sys/kernel/msgmax"),
        ("kernel.sem", "200\t30000\t30\t120", "/proc/sys/kernel/sem"),
        ("fs.mqueue.queues_max", "99", "/proc/sys/fs/mqueue/queues_max"),
        ("net.ipv4.ping_group_range", "0\t0", "/proc/sys/net/ipv4/ping_group_range"),
    ];
    for (key, value, _) in values {
        case.config["linux"]["sysctl"][key] = json!(value);
    }
    let questions: Vec<String> = values.iter().map(|(_, _, path)| format!("read:{path}")).collect();
    let facts = case.facts(&questions.iter().map(String::as_str).collect::<Vec<_>>());
    for (key, value, path) in values {
        assert_eq!(facts.answer(&format!("read:{path}")).as_str().map(str::trim_end), Some(value), "{key}");
    }
}

#[test]
fn keys_with_slashes() {
    needs!(SysctlSlashes);
    let mut case = Case::new();
    case.set("/linux/sysctl", json!({ "net/ipv4/conf/lo/forwarding": "1" }));
    let path = "read:/proc/sys/net/ipv4/conf/lo/forwarding";
    case.facts(&[path]).expect(&[(path, "1\n")]);
}

#[test]
fn values_are_set_where_proc_sys_is_read_only() {
    let mut case = Case::new();
    case.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    let facts = case.facts(&["read:/proc/sys/net/ipv4/ip_forward", "write:/proc/sys/net/ipv4/ip_forward"]);
    facts.expect(&[("read:/proc/sys/net/ipv4/ip_forward", "1\n"), ("write:/proc/sys/net/ipv4/ip_forward", "EROFS")]);
}

#[test]
fn values_are_set_without_a_proc_in_the_container() {
    needs!(Rvol);
    let mut case = Case::new();
    case.set("/mounts", json!([])).unset("/linux/maskedPaths").unset("/linux/readonlyPaths");
    case.set("/linux/sysctl", json!({ "kernel.msgmax": "4321" })).args(&["/bin/true"]);
    case.run().ok();
}

#[test]
fn what_is_not_namespaced_is_refused() {
    let mut case = Case::new();
    for key in ["vm.swappiness", "kernel.core_pattern", "fs.file-max", "kernel.panic", "user.max_user_namespaces"] {
        case.set("/linux/sysctl", json!({ key: "1" }));
        case.run().fails().says(key);
        case.assert_nothing_left();
    }
}

#[test]
fn what_the_container_shares_with_the_host_is_refused() {
    let before = std::fs::read_to_string("/proc/sys/kernel/msgmax").expect("read a sysctl");
    let mut case = Case::new();
    case.without_namespace("ipc").set("/mounts", json!([runtime_tests::config::mount("/proc", "proc", "proc", &[])]));
    case.set("/linux/sysctl", json!({ "kernel.msgmax": "4321" }));
    case.run().fails().says("kernel.msgmax");
    case.without_namespace("network").set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    case.run().fails().says("net.ipv4.ip_forward");
    case.assert_nothing_left();
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/msgmax").expect("read a sysctl"), before);
}

#[test]
fn keys_cannot_climb_out() {
    let before = std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("read a sysctl");
    let mut case = Case::new();
    for key in
        ["net/../kernel/core_pattern", "net/ipv4/../../kernel/core_pattern", "fs.mqueue/../../kernel/core_pattern"]
    {
        case.set("/linux/sysctl", json!({ key: "evil" }));
        case.run().fails();
        case.assert_nothing_left();
    }
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("read a sysctl"), before);
}

#[test]
fn unknown_keys_and_bad_values_are_an_error() {
    let mut case = Case::new();
    for (key, value) in [("net.ipv4.no_such_key", "1"), ("net.ipv4.ip_forward", "banana")] {
        case.set("/linux/sysctl", json!({ key: value }));
        case.run().fails();
        case.assert_nothing_left();
    }
}

#[test]
fn the_hostname_by_sysctl_is_refused_or_set_for_the_container_alone() {
    let before = nix::unistd::gethostname().expect("hostname");
    let mut case = Case::new();
    case.set("/linux/sysctl", json!({ "kernel.hostname": "changed" })).args(&["/bin/true"]);
    let _ = case.run();
    assert_eq!(nix::unistd::gethostname().expect("hostname"), before);
}
