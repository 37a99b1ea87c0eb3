//! `linux.netDevices`: interfaces of the host's network namespace (here one of the test's thread) that move in.

use nix::sched::{CloneFlags, unshare};
use runtime_tests::{Case, json, needs};
use std::process::Command;

/// Runs a test in a thread with a network namespace of its own, in which there is a pair of interfaces.
fn in_own_network(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace");
            ip(&["link", "add", "veth-a", "type", "veth", "peer", "name", "veth-b"]);
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

#[track_caller]
fn ip(words: &[&str]) {
    let out = Command::new("ip").args(words).output().expect("run ip (apt-get install iproute2)");
    assert!(out.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn exists(name: &str) -> bool {
    Command::new("ip").args(["link", "show", name]).output().is_ok_and(|o| o.status.success())
}

#[test]
fn an_interface_moves_in() {
    needs!(NetDevices);
    in_own_network(|| {
        let mut case = Case::new();
        case.set("/linux/netDevices", json!({ "veth-a": {} }));
        let facts = case.facts(&[]);
        assert!(
            facts["interfaces"].as_array().is_some_and(|l| l.contains(&json!("veth-a"))),
            "{:?}",
            facts["interfaces"]
        );
    });
}

#[test]
fn it_gets_a_new_name_its_addresses_and_goes_up() {
    needs!(NetDevices);
    in_own_network(|| {
        ip(&["address", "add", "10.9.8.7/24", "dev", "veth-a"]);
        ip(&["address", "add", "fd00:9::7/64", "dev", "veth-a", "nodad"]);
        let mut case = Case::new();
        case.set("/linux/netDevices", json!({ "veth-a": { "name": "inside0" } }));
        case.mount("/sys", "sysfs", "sysfs", &["ro"]);
        let facts =
            case.facts(&["read:/sys/class/net/inside0/flags", "read:/proc/net/fib_trie", "read:/proc/net/if_inet6"]);
        let flags = facts.answer("read:/sys/class/net/inside0/flags").as_str().unwrap_or_default();
        let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).expect("flags");
        assert_eq!(flags & 1, 1, "it is up");
        assert!(facts.answer("read:/proc/net/fib_trie").as_str().is_some_and(|t| t.contains("10.9.8.7")));
        let six = facts.answer("read:/proc/net/if_inet6").as_str().unwrap_or_default();
        assert!(six.contains("fd000009000000000000000000000007"), "{six}");
    });
}

#[test]
fn it_is_gone_from_the_host_while_the_container_lives() {
    needs!(NetDevices);
    in_own_network(|| {
        let mut case = Case::new();
        case.set("/linux/netDevices", json!({ "veth-a": {} })).pause();
        case.create_and_start().wait_for_line("ready");
        assert!(!exists("veth-a"));
        assert!(exists("veth-b"));
    });
}

#[test]
fn a_missing_interface_is_an_error() {
    needs!(NetDevices);
    in_own_network(|| {
        let mut case = Case::new();
        case.set("/linux/netDevices", json!({ "no-such-if": {} }));
        case.run().fails().says("no-such-if");
        case.assert_nothing_left();
    });
}

#[test]
fn a_name_that_is_taken_is_an_error() {
    needs!(NetDevices);
    in_own_network(|| {
        let mut case = Case::new();
        case.set("/linux/netDevices", json!({ "veth-a": { "name": "lo" } }));
        case.run().fails();
        case.assert_nothing_left();
        assert!(exists("veth-a"), "it stays with the host");
    });
}

#[test]
fn a_name_may_be_a_template() {
    needs!(NetDevices);
    in_own_network(|| {
        let mut case = Case::new();
        case.set("/linux/netDevices", json!({ "veth-a": { "name": "eth%d" } }));
        let facts = case.facts(&[]);
        assert!(
            facts["interfaces"].as_array().is_some_and(|l| l.contains(&json!("eth0"))),
            "{:?}",
            facts["interfaces"]
        );
    });
}

#[test]
fn it_needs_a_network_namespace_and_good_names() {
    needs!(NetDevices);
    in_own_network(|| {
        let mut case = Case::new();
        for (name, new) in
            [("veth-a", "a-name-that-is-too-long"), ("veth-a", "with/slash"), ("veth-a", ".."), ("", "x")]
        {
            case.set("/linux/netDevices", json!({ name: { "name": new } }));
            case.run().fails().says("linux.netDevices");
            case.assert_nothing_left();
        }
        case.without_namespace("network").set("/linux/netDevices", json!({ "veth-a": {} }));
        case.run().fails().says("linux.netDevices");
        assert!(exists("veth-a"));
    });
}
