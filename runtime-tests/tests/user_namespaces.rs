//! User namespaces: mappings, owners, devices and mounts in them, joining.

use runtime_tests::{Case, Facts, json, needs};

const HOST: u32 = 200_000;

fn case() -> Case {
    let mut case = Case::new();
    case.user_namespace(HOST, 65536);
    case
}

#[test]
fn ids_are_mapped() {
    let mut case = case();
    let facts = case.facts(&["stat:/bin/busybox", "stat:/"]);
    let line =
        |text: &serde_json::Value| text.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(line(&facts["uid_map"]), format!("0 {HOST} 65536"));
    assert_eq!(line(&facts["gid_map"]), format!("0 {HOST} 65536"));
    assert_eq!(facts["setgroups"], "allow\n");
    assert_eq!(facts["uid"], json!([0, 0, 0, 0]));
    assert_eq!(facts.answer("stat:/bin/busybox")["uid"], 0);
}

#[test]
fn several_ranges() {
    let mut case = case();
    let ranges = json!([
        { "containerID": 0, "hostID": HOST, "size": 1000 },
        { "containerID": 1000, "hostID": 300_000, "size": 1 },
        { "containerID": 1001, "hostID": HOST + 1001, "size": 64000 },
    ]);
    case.set("/linux/uidMappings", ranges.clone()).set("/linux/gidMappings", ranges);
    case.set("/process/user", json!({ "uid": 1000, "gid": 1000, "additionalGids": [5, 1001] }));
    case.script("exec probe pause");
    case.create_and_start().wait_for_line("ready");
    let status = std::fs::read_to_string(format!("/proc/{}/status", case.pid())).expect("read status");
    assert!(status.contains("Uid:\t300000\t300000\t300000\t300000"), "{status}");
    assert!(status.contains(&format!("Groups:\t{} {}", HOST + 5, HOST + 1001)), "{status}");
}

#[test]
fn root_is_not_the_hosts() {
    let mut case = case();
    case.caps(&["CAP_SYS_ADMIN", "CAP_SYS_TIME", "CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
    let secret = case.make_file("secret", "secret");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
    case.bind(&secret, "/secret", &[]);
    let facts = case.facts(&[
        "read:/secret",
        "mknod:/tmp/node",
        "write:/proc/sysrq-trigger",
        "write:/proc/sys/kernel/core_pattern",
    ]);
    assert_eq!(facts.answer("read:/secret"), "!EACCES");
    assert_eq!(facts.answer("mknod:/tmp/node"), "EPERM");
    assert_ne!(facts.answer("write:/proc/sys/kernel/core_pattern"), "ok");
}

#[test]
fn the_default_filesystems_and_devices_work() {
    let mut case = case();
    let facts = case.facts(&[
        "stat:/dev/null",
        "write:/dev/null",
        "write:/dev/full",
        "open:/dev/ptmx",
        "stat:/dev/mqueue",
        "create:/dev/shm/x",
        "create:/dev/mqueue/x",
    ]);
    let null = facts.answer("stat:/dev/null");
    assert_eq!((&null["type"], &null["major"], &null["minor"]), (&json!("char"), &json!(1), &json!(3)));
    facts.expect(&[("write:/dev/null", "ok"), ("open:/dev/ptmx", "ok"), ("create:/dev/shm/x", "ok")]);
    assert_eq!(facts.mount("/dev/pts").fstype(), "devpts");
    assert_eq!(facts.answer("stat:/dev/mqueue")["uid"], 0, "the queue filesystem is the container's, not nobody's");
    facts.expect(&[("create:/dev/mqueue/x", "ok")]);
}

#[test]
fn namespaces_belong_to_the_new_user_namespace() {
    let mut case = case();
    case.caps(&["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]);
    let facts = case.facts(&["sethostname:changed", "mount:/data"]);
    facts.expect(&[("sethostname:changed", "ok"), ("mount:/data", "ok")]);
    assert_eq!(facts["loopback_up"], true);
}

#[test]
fn stdio_can_be_opened_again() {
    let mut case = case();
    case.script("echo out >/dev/stdout; echo err >/dev/stderr; cat </dev/stdin");
    let input = case.make_file("input", "in\n");
    let mut command = case.bundle_command("run", &[]);
    command.stdin(std::fs::File::open(input).expect("open"));
    // A pipe is what the runtime must give to the container's user; files of the host keep their owner.
    let out = case.finish(command);
    assert!(out.code() == 0 || out.stderr.to_lowercase().contains("permission denied"), "{out}");
}

#[test]
fn a_read_only_bind_of_a_locked_mount() {
    needs!(LockedFlags);
    // Flags that a user namespace may not clear must not make a plain `ro` fail.
    runtime_tests::host_mounts::in_own_mounts(|| {
        use nix::mount::MsFlags;
        let mut case = case();
        let source = case.path("source");
        case.host_tmpfs(&source, MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC);
        case.make_file("source/file", "text");
        case.bind(&source, "/data", &["ro"]);
        let facts = case.facts(&["read:/data/file", "create:/data/x"]);
        facts.expect(&[("read:/data/file", "text"), ("create:/data/x", "EROFS")]);
        assert!(facts.mount("/data").has("nosuid"));
    });
}

#[test]
fn a_read_only_root() {
    let mut case = case();
    case.set("/root/readonly", json!(true));
    case.facts(&["create:/x"]).expect(&[("create:/x", "EROFS")]);
}

#[test]
fn masked_and_read_only_paths() {
    let mut case = case();
    case.caps(&["CAP_NET_ADMIN"]);
    let facts = case.facts(&["read:/proc/keys", "list:/sys/firmware", "write:/proc/sys/net/ipv4/ip_forward"]);
    facts.expect(&[("read:/proc/keys", "")]);
    assert_eq!(facts.answer("list:/sys/firmware"), &json!([]));
    assert_eq!(facts.answer("write:/proc/sys/net/ipv4/ip_forward"), "EROFS");
}

#[test]
fn a_user_of_the_container() {
    let mut case = case();
    case.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let facts = case.facts(&[]);
    assert_eq!(facts["uid"], json!([1000, 1000, 1000, 1000]));
    assert!(facts.caps("effective").is_empty());
}

#[test]
fn mappings_are_required() {
    let mut case = Case::new();
    case.namespace("user");
    case.run().fails();
    case.assert_nothing_left();
}

#[test]
fn mappings_need_a_user_namespace() {
    needs!(Rvol);
    let mut case = Case::new();
    case.set("/linux/uidMappings", json!([{ "containerID": 0, "hostID": HOST, "size": 10 }]));
    case.run().fails().says("linux.uidMappings");
    case.assert_nothing_left();
}

#[test]
fn a_user_without_a_mapping_is_refused() {
    let mut case = case();
    case.set("/process/user", json!({ "uid": 70_000, "gid": 0 }));
    case.run().fails();
    case.assert_nothing_left();
}

#[test]
fn bad_mappings_are_refused() {
    let mut case = case();
    for mapping in [
        json!([{ "containerID": 0, "hostID": HOST, "size": 0 }]),
        json!([{ "containerID": 1, "hostID": HOST, "size": 10 }, { "containerID": 5, "hostID": 400_000, "size": 10 }]),
        json!([{ "containerID": 0, "hostID": 4_294_967_290u32, "size": 100 }]),
    ] {
        case.set("/linux/uidMappings", mapping);
        case.run().fails();
        case.assert_nothing_left();
    }
}

#[test]
fn very_many_mappings_are_a_clean_error() {
    // CVE-2021-43784: a length that overflows 16 bits. The kernel takes 340 ranges.
    let mut case = case();
    let ranges: Vec<_> = (0..5000).map(|n| json!({ "containerID": n, "hostID": HOST + n, "size": 1 })).collect();
    case.set("/linux/uidMappings", json!(ranges));
    case.run().fails();
    case.assert_nothing_left();
}

#[test]
fn joining_a_user_namespace() {
    needs!(JoinUserNamespace);
    let mut owner = case();
    owner.pause();
    owner.create_and_start().wait_for_line("ready");
    let pid = owner.pid();
    let mut case = case();
    for (kind, file) in [("user", "user"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        case.join_namespace(kind, &format!("/proc/{pid}/ns/{file}"));
    }
    case.unset("/hostname").unset("/linux/uidMappings").unset("/linux/gidMappings");
    let facts = case.facts(&["stat:/bin/busybox"]);
    assert_eq!(facts["hostname"], "box");
    assert_eq!(facts["uid"], json!([0, 0, 0, 0]));
    assert_eq!(facts.answer("stat:/bin/busybox")["uid"], 0);
    let link = std::fs::read_link(format!("/proc/{pid}/ns/user")).expect("read the link");
    assert_eq!(facts.namespace("user"), link.to_string_lossy());
}

#[test]
fn a_device_list_is_bound_where_mknod_is_not_allowed() {
    let mut case = case();
    case.set("/linux/devices", json!([{ "path": "/dev/fuse-copy", "type": "c", "major": 1, "minor": 5 }]));
    let out = {
        case.args(&["/bin/probe", "facts", "stat:/dev/fuse-copy"]);
        case.run()
    };
    if out.succeeded() {
        assert_eq!(Facts::of(&out).answer("stat:/dev/fuse-copy")["minor"], 5);
    } else {
        // Bound from the host's path of the same name, which does not exist here: then the error says so.
        assert!(out.stderr.contains("fuse-copy"), "{out}");
    }
}
