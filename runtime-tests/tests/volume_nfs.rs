//! Volumes on a real server of NFS. Where the kernel has none, these tests are skipped; user-mode Linux has one.

use runtime_tests::host_mounts::{in_own_mounts, is_mounted};
use runtime_tests::nfs::Server;
use runtime_tests::{Case, needs};
use std::fs;
use std::time::{Duration, Instant};

const OPTIONS: &str = "o=addr=127.0.0.1,rw,vers=4.2,soft,timeo=20,retrans=1";

fn make(case: &Case, name: &str, device: &str, options: &str) {
    let device = format!("device={device}");
    case.volume(&["create", "-o", "type=nfs", "-o", &device, "-o", options, name]).ok();
}

#[test]
fn containers_share_an_export() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        let export = case.dir.join("export");
        fs::create_dir_all(export.join("sub")).expect("mkdir");
        fs::write(export.join("sub/host"), "from the server\n").expect("write");
        fs::write(case.rootfs().join("data/image"), "").expect("write");
        let Some(_server) = Server::start(&export) else { return };
        make(&case, "shared", ":/", OPTIONS);
        make(&case, "part", ":/sub", OPTIONS);
        case.script(
            "ls /data; cat /data/sub/host; echo from a container > /data/new; grep ' /data ' /proc/self/mountinfo",
        );
        let out = case.run_with(&["-v", "shared:/data"]).ok().stdout;
        assert!(out.starts_with("sub\nfrom the server\n"), "nothing is copied up: {out}");
        assert!(out.contains("- nfs4 :/ ") && out.contains("addr=127.0.0.1"), "{out}");
        assert_eq!(fs::read_to_string(export.join("new")).expect("read"), "from a container\n");
        let data = case.data("shared");
        let data = data.to_str().expect("UTF-8");
        assert!(!is_mounted(data), "unmounted after the last");
        // Two at a time have one mount, which stays until the second goes.
        case.pause();
        let second = case.other_id("second");
        case.create_with(&["-v", "shared:/data", "-v", "part:/part:ro"]).ok();
        case.finish(case.other("create", &second, &["-v", "shared:/data"])).ok();
        case.delete_force().ok();
        assert!(is_mounted(data));
        case.invoke(&["delete", "--force", &second]).ok();
        assert!(!is_mounted(data));
        for name in ["shared", "part"] {
            case.volume(&["rm", name]).ok();
        }
        assert!(export.join("new").exists(), "what the server keeps, stays");
    });
}

#[test]
fn what_a_server_refuses_is_told() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        let export = case.dir.join("export");
        fs::create_dir(&export).expect("mkdir");
        let Some(_server) = Server::start(&export) else { return };
        make(&case, "nowhere", ":/nowhere", OPTIONS);
        case.args(&["/bin/true"]);
        let out = case.run_with(&["-v", "nowhere:/data"]).fails().says("volume nowhere: failed to mount local volume");
        assert!(out.stderr.contains("(ENOENT)"), "{out}");
        // Nobody listens there: with `soft` there is an end to trying, and nothing is left of it.
        make(&case, "dead", ":/", &format!("{OPTIONS},port=2050"));
        let begin = Instant::now();
        let out = case.run_with(&["-v", "dead:/data"]).fails().says("volume dead: failed to mount local volume");
        assert!(begin.elapsed() < Duration::from_secs(35), "{out}");
        for name in ["nowhere", "dead"] {
            assert_eq!(case.users(name), [""; 0]);
            case.volume(&["rm", name]).ok();
        }
    });
}

/// A container goes, although its server is dead and `soft` was not asked for; nor does anybody else wait.
#[test]
fn a_dead_server_holds_no_delete_up() {
    needs!(Rvol);
    in_own_mounts(|| {
        let mut case = Case::new();
        let export = case.dir.join("export");
        fs::create_dir(&export).expect("mkdir");
        let Some(server) = Server::start(&export) else { return };
        make(&case, "hard", ":/", "o=addr=127.0.0.1,vers=4.2,timeo=20,retrans=1");
        case.pause();
        case.create_with(&["-v", "hard:/data"]).ok();
        server.stop();
        let begin = Instant::now();
        case.volume(&["prune", "-af"]).ok();
        case.invoke(&["gc"]).ok();
        assert_eq!(case.users("hard"), [case.id.as_str()]);
        case.delete_force().ok();
        assert!(begin.elapsed() < Duration::from_secs(35));
        assert_eq!(case.users("hard"), [""; 0]);
        assert!(!is_mounted(case.data("hard").to_str().expect("UTF-8")));
        case.volume(&["rm", "hard"]).ok();
    });
}
