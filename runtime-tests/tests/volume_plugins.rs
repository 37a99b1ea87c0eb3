//! Volumes of plugins: a real one, in a process of its own, that also misbehaves.

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use runtime_tests::command::Running;
use runtime_tests::host_mounts::in_own_mounts;
use runtime_tests::{Case, Outcome, command, json, needs, needs_machine, runtime};
use std::fs;
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A test with directories for plugins of its own. What else there is in /run and /etc stays.
fn among_plugins(test: impl FnOnce(Case) + Send) {
    in_own_mounts(|| {
        let case = Case::new();
        let run = case.make_dir("run");
        mount(Some("test"), run.as_str(), Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a tmpfs");
        for entry in fs::read_dir("/run").expect("list /run").flatten() {
            if entry.path().is_dir() && entry.file_name() != "docker" {
                let own = Path::new(&run).join(entry.file_name());
                fs::create_dir(&own).expect("mkdir");
                let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
                mount(Some(&entry.path()), &own, None::<&str>, flags, None::<&str>).expect("bind");
            }
        }
        mount(Some(run.as_str()), "/run", None::<&str>, MsFlags::MS_MOVE, None::<&str>).expect("a /run of our own");
        for dir in ["/run/docker/plugins", "/run/upper", "/run/work"] {
            fs::create_dir_all(dir).expect("mkdir");
        }
        let options = "lowerdir=/etc,upperdir=/run/upper,workdir=/run/work";
        mount(Some("test"), "/etc", Some("overlay"), MsFlags::empty(), Some(options)).expect("an /etc of our own");
        fs::create_dir_all("/etc/docker/plugins").expect("mkdir");
        test(case);
    });
}

/// A plugin that runs until it is dropped.
struct Plugin {
    running: Option<Running>,
    dir: PathBuf,
}

impl Plugin {
    /// One called `name`, with its socket where Docker looks first.
    fn start(case: &Case, name: &str, words: &[&str]) -> Plugin {
        Plugin::at(case, &format!("/run/docker/plugins/{name}.sock"), name, words)
    }

    fn at(case: &Case, socket: &str, name: &str, words: &[&str]) -> Plugin {
        let dir = PathBuf::from(case.make_dir(&format!("plugin-{name}")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_volume-plugin"));
        command.arg(socket).arg(&dir).args(words);
        let running = Running::start(command, &case.dir, &format!("plugin-{name}"));
        running.wait_for_line("ready");
        Plugin { running: Some(running), dir }
    }

    /// The calls to it, without the greetings and what only asks.
    fn calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let asks = ["Plugin.Activate", "VolumeDriver.Capabilities", "VolumeDriver.Get", "VolumeDriver.List"];
        log.lines().filter(|line| !asks.iter().any(|ask| line.starts_with(ask))).map(str::to_owned).collect()
    }

    fn forget_calls(&self) {
        let _ = fs::remove_file(self.dir.join("log"));
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.signal(Signal::SIGKILL);
            running.wait_within(command::LIMIT);
        }
    }
}

/// A command with a short limit for plugins.
#[track_caller]
fn impatient(case: &Case, words: &[&str]) -> Outcome {
    let mut command = case.command();
    command.env("RVOL_VOLUME_PLUGIN_TIMEOUT", "0.5").args(words);
    let start = Instant::now();
    let outcome = case.finish(command);
    assert!(start.elapsed() < Duration::from_secs(15), "took {:?}: {outcome}", start.elapsed());
    outcome
}

/// The id in a call of Mount or Unmount.
fn id_of(call: &str) -> String {
    let json = call.split_once(' ').map(|(_, json)| json).unwrap_or_default();
    let request: serde_json::Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{call}: {e}"));
    request["ID"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_whole_life() {
    needs!(Rvol);
    for words in [&["scope=global", "has=older"][..], &["scope=global", "has=older", "chunked"]] {
        among_plugins(|mut case| {
            let plugin = Plugin::start(&case, "shop", words);
            case.volume(&["create", "-d", "shop", "-o", "size=3", "-o", "kind=x", "--label", "a=b", "goods"]).ok();
            case.volume(&["create", "-d", "shop", "-o", "size=3", "-o", "kind=x", "--label", "a=b", "goods"]).ok();
            let create = r#"VolumeDriver.Create {"Name":"goods","Opts":{"kind":"x","size":"3"}}"#;
            assert_eq!(plugin.calls(), [create]);
            let shown = case.volume(&["inspect", "goods"]).ok().json();
            let expected = json!([{
                "CreatedAt": "2026-01-02T03:04:05Z", "Driver": "shop", "Labels": {"a": "b"}, "Mountpoint": "",
                "Name": "goods", "Options": {"kind": "x", "size": "3"}, "Scope": "global", "Status": {"users": 0},
            }]);
            assert_eq!(shown, expected);
            case.volume(&["create", "plain"]).ok();
            let list = "DRIVER    VOLUME NAME\nshop      goods\nshop      older\nlocal     plain\n";
            assert_eq!(case.volume(&["ls"]).ok().stdout, list);
            assert_eq!(case.volume(&["ls", "-q", "-f", "driver=shop"]).ok().stdout, "goods\nolder\n");

            plugin.forget_calls();
            fs::write(case.rootfs().join("data/image"), "").expect("write");
            case.script("ls -A /data; echo inside > /data/file; exec probe pause");
            case.create_with(&["-v", "goods:/data"]).ok();
            case.start().ok();
            let mounts = case.invoke(&["mounts", &case.id]).ok().json();
            let own = mounts.as_array().expect("a list").iter().find(|mount| mount["Name"] == "goods").expect("ours");
            assert_eq!((&own["Driver"], &own["Source"]), (&json!("shop"), &json!(plugin.dir.join("goods"))));
            let shown = case.volume(&["inspect", "goods"]).ok().json();
            assert_eq!(shown[0]["Mountpoint"], json!(plugin.dir.join("goods")));
            assert_eq!(shown[0]["Status"]["users"], 1);
            let second = case.other_id("second");
            case.script("while [ ! -e /data/file ]; do sleep 0.05; done; cat /data/file");
            let out = case.finish(case.other("run", &second, &["-v", "goods:/data:ro"])).ok();
            assert_eq!(out.stdout, "inside\n");
            assert_eq!(fs::read_to_string(plugin.dir.join("goods/file")).expect("read"), "inside\n");
            assert!(!plugin.dir.join("goods/image").exists(), "nothing is copied into it");
            case.volume(&["rm", "goods"]).fails().says("volume is in use");
            case.delete_force().ok();
            let calls = plugin.calls();
            let ids: Vec<String> = calls.iter().map(|call| id_of(call)).collect();
            assert!(ids.iter().all(|id| id.len() == 64), "{calls:?}");
            assert!(ids[0] == ids[3] && ids[1] == ids[2] && ids[0] != ids[1], "{calls:?}");
            let methods: Vec<&str> = calls.iter().filter_map(|call| call.split(' ').next()).collect();
            let [mount, unmount] = ["VolumeDriver.Mount", "VolumeDriver.Unmount"];
            assert_eq!(methods, [mount, mount, unmount, unmount]);

            case.volume(&["rename", "goods", "wares"]).fails().says("plugin shop knows it by this name");
            case.volume(&["clone", "goods", "wares"]).fails().says("only its driver can copy it");
            case.volume(&["prune", "-af"]).ok();
            assert!(case.volume(&["df"]).ok().stdout.contains("goods         0         N/A"));
            assert_eq!(case.volume_names(), ["goods", "older"]);
            case.volume(&["rm", "goods"]).ok();
            assert_eq!(plugin.calls().last().map(String::as_str), Some(r#"VolumeDriver.Remove {"Name":"goods"}"#));
            assert_eq!(case.volume_names(), ["older"]);
            // What the plugin has besides.
            assert_eq!(case.volume(&["inspect", "-f", "{{.Driver}} {{.Scope}}", "older"]).ok().stdout, "shop global\n");
            case.volume(&["rm", "older"]).ok();
            assert_eq!(case.volume_names(), [""; 0]);
            case.volume(&["inspect", "older"]).fails().says("get older: no such volume");
            drop(plugin);
            case.assert_nothing_left();
        });
    }
}

#[test]
fn one_volume_at_two_places_is_mounted_once() {
    needs!(Rvol);
    among_plugins(|mut case| {
        let plugin = Plugin::start(&case, "shop", &["has=goods"]);
        case.mount("/data", "volume", "goods", &["driver=shop"]);
        case.mount("/tmp", "volume", "goods", &["driver=shop", "ro"]);
        case.script("echo x > /data/file; cat /tmp/file");
        assert_eq!(case.run().ok().stdout, "x\n");
        let calls = plugin.calls();
        let methods: Vec<&str> = calls.iter().filter_map(|call| call.split(' ').next()).collect();
        // It had the volume, so there is no Create.
        assert_eq!(methods, ["VolumeDriver.Mount", "VolumeDriver.Path", "VolumeDriver.Unmount"]);
        assert_eq!(id_of(&calls[0]), id_of(&calls[2]));
        assert_eq!(case.users("goods"), [""; 0]);
    });
}

/// A port of this host that leads to a socket, for as long as the test program runs.
fn relay(socket: &str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
    let (port, socket) = (listener.local_addr().expect("an address").port(), socket.to_owned());
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = UnixStream::connect(&socket).expect("connect");
            let (mut from, mut to) = (near.try_clone().expect("dup"), far.try_clone().expect("dup"));
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            // Until the plugin closes its end.
            let (mut from, mut to) = (far, near);
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        }
    });
    port
}

#[test]
fn plugins_are_found_where_docker_finds_them() {
    needs!(Rvol);
    among_plugins(|case| {
        let nested = "/run/docker/plugins/nested";
        fs::create_dir(nested).expect("mkdir");
        let _nested = Plugin::at(&case, &format!("{nested}/nested.sock"), "nested", &[]);
        let socket = case.path("elsewhere.sock");
        let _elsewhere = Plugin::at(&case, &socket, "elsewhere", &[]);
        let describe = |file: &str, text: &str| fs::write(format!("/etc/docker/plugins/{file}"), text).expect("write");
        describe("described.spec", &format!("unix://{socket}\n"));
        describe("json.json", &json!({"Name": "json", "Addr": format!("unix://{socket}")}).to_string());
        for name in ["nested", "described", "json"] {
            case.volume(&["create", "-d", name, &format!("of-{name}")]).ok();
        }
        let port = relay(&socket);
        describe("near.spec", &format!("tcp://127.0.0.1:{port}"));
        case.volume(&["create", "-d", "near", "of-near"]).ok();
        assert_eq!(case.volume(&["inspect", "-f", "{{.Driver}} {{.Status.users}}", "of-near"]).ok().stdout, "near 0\n");
        case.volume(&["rm", "of-near"]).ok();
        fs::remove_file("/etc/docker/plugins/near.spec").expect("remove");
        describe("tls.spec", "https://127.0.0.1:1");
        describe("odd.spec", "/run/x.sock");
        describe("bad.json", "{");
        describe("gone.spec", "unix:///run/gone.sock");
        describe("far.spec", "tcp://127.0.0.1:1");
        drop(UnixListener::bind("/run/docker/plugins/dead.sock").expect("bind"));
        for (name, why) in [
            ("none", "error looking up volume plugin none: plugin \"none\" not found"),
            ("../../x", "not found"),
            ("vieux/sshfs:latest", "not found"),
            ("tls", "plugins behind TLS are not supported"),
            ("odd", "Unknown protocol"),
            ("bad", "bad.json: not the description of a plugin"),
            ("gone", "plugin gone: Plugin.Activate: connect /run/gone.sock: no such file or directory"),
            ("dead", "plugin dead: Plugin.Activate: connect /run/docker/plugins/dead.sock: connection refused"),
            ("far", "connect 127.0.0.1:1: connection refused"),
        ] {
            let out = case.volume(&["create", "-d", name, "data"]).fails().says(why);
            assert!(out.stderr.contains(&format!("error looking up volume plugin {name}")), "{out}");
        }
        let _network = Plugin::start(&case, "network", &["kind=NetworkDriver"]);
        let why = "Plugin does not implement the requested driver: plugin=\"network\", requested implementation=\"VolumeDriver\"";
        case.volume(&["create", "-d", "network", "data"]).fails().says(why);
        // The list has what there is, and a warning for each that does not answer.
        let out = case.volume(&["ls", "-q"]).ok();
        assert_eq!(out.stdout, "of-described\nof-json\nof-nested\n", "{out}");
        assert!(out.stderr.contains("plugin dead") && !out.stderr.contains("network"), "{out}");
        assert_eq!(case.debris(), [""; 0]);
    });
}

#[test]
fn what_a_plugin_does_wrong_is_told() {
    needs!(Rvol);
    let cases: [(&[&str], &str); 13] = [
        (&["error=Mount:the tape is torn"], "plugin bad: VolumeDriver.Mount: the tape is torn"),
        (&["status=Mount:it broke"], "plugin bad: VolumeDriver.Mount: it broke"),
        (&["nonsense=Mount"], "plugin bad: VolumeDriver.Mount: the answer is not HTTP"),
        (&["json=Mount:hello"], "plugin bad: VolumeDriver.Mount: the answer is not the JSON of a plugin"),
        (&["json=Mount:[]"], "the answer is not the JSON of a plugin"),
        (&["close=Mount"], "plugin bad: VolumeDriver.Mount: the connection was closed without an answer"),
        (&["hang=Mount"], "plugin bad: VolumeDriver.Mount: timed out after 0.5 s"),
        (&["trickle=Mount"], "plugin bad: VolumeDriver.Mount: timed out after 0.5 s"),
        (&["json=Mount:{}"], "VolumeDriver.Mount: the mountpoint \"\" is not an absolute path"),
        (&["at=relative/path"], "VolumeDriver.Mount: the mountpoint \"relative/path\" is not an absolute path"),
        (&["at=/no/such/place"], "the mountpoint that plugin bad gave: open /no/such/place: no such file or directory"),
        (&["hang=Activate"], "error looking up volume plugin bad: plugin bad: Plugin.Activate: timed out"),
        (&["json=Activate:{\"Implements\":null}"], "Plugin does not implement the requested driver"),
    ];
    among_plugins(|mut case| {
        case.args(&["/bin/true"]);
        let good = Plugin::start(&case, "bad", &["has=data"]);
        case.volume(&["create", "-d", "bad", "data"]).ok();
        drop(good);
        for (words, why) in cases {
            fs::remove_file("/run/docker/plugins/bad.sock").expect("take the socket away");
            let plugin = Plugin::start(&case, "bad", &[words, &["has=data"]].concat());
            case.write_config();
            let bundle = case.bundle();
            let bundle = bundle.to_str().expect("UTF-8");
            let out = impatient(&case, &["run", "--bundle", bundle, "-v", "data:/data", &case.id]).fails().says(why);
            assert!(out.stderr.contains("volume data") && out.stderr.contains("/data"), "{out}");
            let refused = words[0].starts_with("error=") || words[0].starts_with("status=");
            assert!(!refused || !out.stderr.contains("warning"), "there is nothing to give back: {out}");
            assert_eq!(case.users("data"), [""; 0], "{words:?}");
            drop(plugin);
            case.assert_nothing_left();
        }
        fs::remove_file("/run/docker/plugins/bad.sock").expect("take the socket away");
        let _plugin = Plugin::start(&case, "bad", &["has=data", "error=Create:no more room", "hang=Get", "hang=List"]);
        impatient(&case, &["volume", "inspect", "data"]).fails().says("VolumeDriver.Get: timed out after 0.5 s");
        let out = impatient(&case, &["volume", "ls", "-q"]).ok();
        assert!(out.stdout == "data\n" && out.stderr.contains("VolumeDriver.List: timed out"), "{out}");
        impatient(&case, &["volume", "create", "-d", "bad", "other"]).fails().says("VolumeDriver.Get: timed out");
        assert_eq!(case.debris(), [""; 0]);
    });
    among_plugins(|case| {
        let _plugin = Plugin::start(&case, "bad", &["error=Create:no more room"]);
        case.volume(&["create", "-d", "bad", "other"]).fails().says("VolumeDriver.Create: no more room");
        assert_eq!(case.volume_names(), [""; 0]);
        let mut command = case.command();
        command.env("RVOL_VOLUME_PLUGIN_TIMEOUT", "soon").args(["volume", "create", "-d", "bad", "other"]);
        case.finish(command).fails().says("is not a number of seconds");
    });
}

#[test]
fn a_plugin_that_is_gone_holds_nobody_up() {
    needs!(Rvol);
    among_plugins(|mut case| {
        let plugin = Plugin::start(&case, "shop", &[]);
        case.args(&["/bin/true"]);
        case.create_with(&["--mount", "src=goods,dst=/data,volume-driver=shop"]).ok();
        drop(plugin);
        let out = case.delete_force().ok();
        assert!(out.stderr.contains("give back volume goods") && out.stderr.contains("connection refused"), "{out}");
        assert_eq!(case.users("goods"), [""; 0]);
        case.volume(&["rm", "-f", "goods"]).fails().says("connection refused");
        fs::remove_file("/run/docker/plugins/shop.sock").expect("take the socket away");
        case.volume(&["rm", "goods"]).fails().says("plugin \"shop\" not found");
        case.volume(&["inspect", "goods"]).fails().says("plugin \"shop\" not found");
        assert_eq!(case.volume_names(), ["goods"]);
        case.volume(&["rm", "-f", "goods"]).ok();
        assert_eq!(case.volume_names(), [""; 0]);
    });
}

#[test]
fn who_was_killed_gives_back_what_the_plugin_mounted() {
    needs!(Rvol);
    needs_machine!(Command::new("strace").arg("-V").output().is_ok(), "no strace");
    among_plugins(|mut case| {
        let plugin = Plugin::start(&case, "shop", &[]);
        case.args(&["/bin/true"]);
        case.volume(&["create", "-d", "shop", "goods"]).ok();
        let mut kills = 0;
        for call in ["connect", "clone3", "renameat"] {
            for n in 1..5 {
                plugin.forget_calls();
                let mut command = Command::new("strace");
                command.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
                command.args(["-e", &format!("inject={call}:signal=KILL:when={n}")]).arg(&runtime().path);
                command.args(case.bundle_command("create", &["-v", "goods:/data"]).get_args());
                command.env("RVOL_VOLUME_ROOT", case.volume_root()).stdin(std::process::Stdio::null());
                kills += u32::from(case.finish(command).code() == 137);
                case.delete_force().ok();
                let users = case.volume(&["inspect", "-f", "{{.Status.users}}", "goods"]).ok().stdout;
                assert_eq!((users.as_str(), case.users("goods").len()), ("0\n", 0), "{call} {n}: {:?}", plugin.calls());
            }
        }
        assert!(kills > 3, "{kills}");
        assert!(Path::new(&plugin.dir.join("goods")).is_dir());
    });
}
