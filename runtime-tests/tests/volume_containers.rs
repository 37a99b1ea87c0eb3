//! Containers with volumes: what they see, what the host sees, and what stays.

use runtime_tests::{Case, command, json, needs, waiting};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

const CAPS: [&str; 5] = ["CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER", "CAP_MKNOD", "CAP_SETUID"];

fn mountinfo() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("read the mount table")
}

#[test]
fn an_anonymous_volume() {
    needs!(Rvol);
    let mut case = Case::new();
    case.script("echo inside > /test/file; while [ ! -e /test/answer ]; do sleep 0.05; done; cat /test/answer");
    let running = case.run_in_background(&["-v", "/test"]);
    let name = waiting::until(command::LIMIT, || case.volume_names().pop()).expect("a volume");
    assert!(name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    waiting::until(command::LIMIT, || (case.read_data(&name, "file") == "inside\n").then_some(())).expect("the file");
    assert!(!mountinfo().contains(&name), "the host's mount table has it");
    assert_eq!(case.users(&name), [case.id.as_str()]);
    // Written aside: the container reads what is whole.
    fs::write(case.data(&name).join("answer.new"), "outside\n").expect("write the answer");
    fs::rename(case.data(&name).join("answer.new"), case.data(&name).join("answer")).expect("rename the answer");
    assert_eq!(running.finish().ok().stdout, "outside\n");
    assert_eq!(case.volume_names(), [""; 0], "run takes it away");
    assert_eq!(fs::read_dir(case.rootfs().join("test")).expect("the mount point").count(), 0);
    case.assert_nothing_left();
}

#[test]
fn a_named_volume_outlives_its_containers() {
    needs!(Rvol);
    let mut case = Case::new();
    case.script("cat /data/log 2>/dev/null; echo again >> /data/log");
    assert_eq!(case.run_with(&["-v", "data:/data"]).ok().stdout, "");
    assert_eq!(case.run_with(&["-v", "data:/data"]).ok().stdout, "again\n");
    assert_eq!(case.read_data("data", "log"), "again\nagain\n");
    assert_eq!(case.volume_names(), ["data"]);
    assert_eq!(case.users("data"), [""; 0]);
    assert!(!case.rootfs().join("data/log").exists(), "the root filesystem holds it");
}

#[test]
fn directories_of_the_host() {
    needs!(Rvol);
    let mut case = Case::new();
    let dir = case.make_dir("shared");
    case.make_file("shared/file", "text\n");
    case.script("cat /test/file; touch /test/new; cat /x/file");
    let out = case.run_with(&["-v", &format!("{dir}:/test:ro"), "-v", "./shared:/x"]);
    assert_eq!(out.stdout, "text\ntext\n", "{out}");
    assert!(out.stderr.contains("Read-only file system"), "{out}");
    // -v makes what is missing, --mount does not.
    let missing = case.path("missing/dir");
    case.run_with(&["--mount", &format!("type=bind,src={missing},dst=/x")])
        .fails()
        .says(&format!("invalid mount config for type \"bind\": bind source path does not exist: {missing}"));
    assert!(!fs::exists(&missing).expect("look"));
    case.script("true");
    case.run_with(&["-v", &format!("{missing}:/x")]).ok();
    assert_eq!(fs::metadata(&missing).expect("made").permissions().mode() & 0o777, 0o755);
}

#[test]
fn readonly_is_for_the_container_only_and_for_all_below() {
    needs!(Rvol);
    let mut case = Case::new();
    case.caps(&CAPS).script("touch /data/x; cat /data/host; while [ ! -e /data/later ]; do sleep 0.05; done");
    case.volume(&["create", "data"]).ok();
    fs::write(case.data("data").join("host"), "host\n").expect("write as host");
    let running = case.run_in_background(&["-v", "data:/data:ro"]);
    running.wait_for_line("host");
    fs::write(case.data("data").join("later"), "").expect("the host may write");
    assert!(running.finish().ok().stderr.contains("Read-only file system"));
}

#[test]
fn the_image_fills_a_new_volume_once_it_is_empty() {
    needs!(Rvol);
    let mut case = Case::new();
    case.caps(&CAPS);
    let image = case.rootfs().join("data");
    fs::create_dir(image.join("sub")).expect("mkdir");
    fs::write(image.join("sub/file"), "from the image\n").expect("write");
    std::os::unix::fs::chown(&image, Some(33), Some(44)).expect("chown");
    fs::set_permissions(&image, fs::Permissions::from_mode(0o2751)).expect("chmod");
    case.script("cat /data/sub/file; echo changed > /data/sub/file");
    assert_eq!(case.run_with(&["-v", "data:/data"]).ok().stdout, "from the image\n");
    let top = fs::metadata(case.data("data")).expect("stat");
    assert_eq!((top.uid(), top.gid(), top.mode() & 0o7777), (33, 44, 0o2751));
    assert_eq!(top.mtime(), fs::metadata(&image).expect("stat").mtime());
    assert_eq!(case.run_with(&["-v", "data:/data"]).ok().stdout, "changed\n", "a volume with content stays");
    assert_eq!(fs::read_to_string(image.join("sub/file")).expect("read"), "from the image\n");
    // Emptied, it is filled again; lost+found does not count.
    fs::remove_dir_all(case.data("data").join("sub")).expect("empty");
    fs::create_dir(case.data("data").join("lost+found")).expect("mkdir");
    assert_eq!(case.run_with(&["-v", "data:/data:ro"]).stdout, "from the image\n");
    // Not for others.
    for flags in [["-v", "other:/data:nocopy"], ["--mount", "src=third,dst=/data,volume-nocopy"], ["--tmpfs", "/data"]]
    {
        case.script("ls /data");
        assert_eq!(case.run_with(&flags).ok().stdout, "", "{flags:?}");
    }
}

#[test]
fn the_modes_of_copy_up() {
    needs!(Rvol);
    let mut case = Case::new();
    let image = case.rootfs().join("data");
    fs::write(image.join("file"), "x").expect("write");
    fs::set_permissions(&image, fs::Permissions::from_mode(0o711)).expect("chmod");
    case.args(&["/bin/true"]);
    let files = |case: &Case, name: &str| fs::read_dir(case.data(name)).expect("list").count();
    for (mode, first, again) in [("always", 1, 1), ("once", 1, 0), ("meta", 0, 0), ("none", 0, 0)] {
        let name = format!("v-{mode}");
        case.mount("/data", "volume", &name, &[&format!("copy={mode}")]);
        case.run().ok();
        assert_eq!(files(&case, &name), first, "{mode}");
        let mode_of_top = fs::metadata(case.data(&name)).expect("stat").permissions().mode() & 0o777;
        assert_eq!(mode_of_top, if mode == "none" { 0o755 } else { 0o711 }, "{mode}");
        let _ = fs::remove_file(case.data(&name).join("file"));
        case.run().ok();
        assert_eq!(files(&case, &name), again, "{mode} again");
        case.config["mounts"].as_array_mut().expect("mounts").pop();
    }
}

#[test]
fn the_config_asks_for_volumes() {
    needs!(Rvol);
    let mut case = Case::new();
    case.mount("/data", "volume", "data", &["label=a=b", "noexec"]).mount("/more", "volume", "", &[]);
    case.script("touch /data/x /more/y; grep -c -E ' /(data|more) ' /proc/self/mountinfo");
    assert_eq!(case.run().ok().stdout, "2\n");
    assert_eq!(case.volume_names(), ["data"]);
    assert_eq!(case.volume(&["inspect", "data"]).ok().json()[0]["Labels"], json!({"a": "b"}));
    case.mount("/none", "volume", "missing", &["nocreate"]);
    case.run().fails().says("get missing: no such volume");
    assert_eq!(case.volume_names(), ["data"]);
    assert_eq!(case.users("data"), [""; 0], "a failed create gives back what it took");
    case.assert_nothing_left();
}

#[test]
fn a_failed_create_takes_away_what_it_made() {
    needs!(Rvol);
    let mut case = Case::new();
    case.args(&["/no/such/program"]);
    case.create_with(&["-v", "/anonymous", "-v", "data:/data"]).fails();
    assert_eq!(case.volume_names(), ["data"], "a named one stays, as with Docker");
    assert_eq!(case.users("data"), [""; 0]);
    // What the plan refuses has made nothing at all.
    case.mount("/y", "bind", "y", &["ro"]);
    case.create_with(&["-v", "never:/data"]).fails();
    assert!(!case.volume_names().contains(&"never".to_owned()));
}

#[test]
fn delete_keeps_volumes_unless_told() {
    needs!(Rvol);
    let mut case = Case::new();
    case.args(&["/bin/true"]);
    case.create_with(&["-v", "/a", "-v", "data:/data"]).ok();
    case.volume(&["rm", "data"]).fails().says(&format!("remove data: volume is in use - [{}]", case.id));
    case.delete_force().ok();
    assert_eq!(case.volume_names().len(), 2);
    case.volume(&["prune", "-f"]).ok();
    assert_eq!(case.volume_names(), ["data"]);
    case.create_with(&["-v", "/a", "-v", "data:/data"]).ok();
    case.invoke(&["delete", "--force", "--volumes", &case.id]).ok();
    assert_eq!(case.volume_names(), ["data"]);
    // A stopped container still has its volumes.
    case.run_with(&["--keep", "-v", "data:/data"]).ok();
    case.volume(&["rm", "data"]).fails().says("volume is in use");
    case.delete().ok();
    case.volume(&["rm", "data"]).ok();
}

#[test]
fn volumes_of_another_container() {
    needs!(Rvol);
    let mut case = Case::new();
    let dir = case.make_dir("shared");
    case.args(&["/bin/true"]);
    case.create_with(&["-v", "data:/data", "-v", "/anon", "-v", &format!("{dir}:/dir:ro"), "--tmpfs", "/tmpfs"]).ok();
    let other = case.other_id("b");
    case.script("touch /data/x /anon/y; touch /dir/z; grep ' /tmpfs ' /proc/self/mountinfo");
    let out = case.finish(case.other("run", &other, &["--volumes-from", &case.id])).fails();
    assert!(out.stderr.contains("/dir/z: Read-only") && out.stdout.is_empty(), "{out}");
    assert!(case.data("data").join("x").exists());
    let anonymous = case.volume_names().into_iter().find(|name| name.len() == 64).expect("the anonymous volume");
    assert!(case.data(&anonymous).join("y").exists(), "run of the other does not take it away");
    case.script("touch /data/x2; touch /anon/y2; echo done");
    let out = case.finish(case.other("run", &other, &["--volumes-from", &format!("{}:ro", case.id)])).ok();
    assert_eq!(out.stderr.matches("Read-only").count(), 2, "{out}");
    // Both of them have it: the last one to go takes it away, or nobody.
    case.pause();
    case.finish(case.other("create", &other, &["--volumes-from", &case.id])).ok();
    case.invoke(&["delete", "--force", "--volumes", &case.id]).ok();
    assert!(case.volume_names().contains(&anonymous));
    case.invoke(&["run", "--bundle", &case.path("bundle"), "--volumes-from", "nobody", "x1"])
        .fails()
        .says("container does not exist: nobody");
}

#[test]
fn annotations_ask_for_volumes_only() {
    needs!(Rvol);
    let mut case = Case::new();
    case.set("/annotations/rvol.volumes", json!(r#"["data:/data", "/anon"]"#));
    case.set("/annotations/rvol.image-volumes", json!(r#"["/data", "/more"]"#));
    case.script("touch /data/x; ls -d /anon /more; grep -c ' /data ' /proc/self/mountinfo");
    assert_eq!(case.run().ok().stdout, "/anon\n/more\n1\n");
    assert!(case.data("data").join("x").exists());
    case.set("/annotations/rvol.volumes", json!(" data:/data:ro,nocopy\n/anon "));
    case.script("ls /data; ls -d /anon; grep -c ' /data ' /proc/self/mountinfo");
    assert_eq!(case.run().ok().stdout, "x\n/anon\n1\n", "words");
    let mut off = case.command();
    off.args(["--no-volume-annotations", "run", "--bundle"]).arg(case.bundle()).arg(&case.id);
    assert!(case.finish(off).fails().stderr.contains("left out: --volume-annotations is off"));
    for (text, why) in [
        (r#"["/etc:/data"]"#, "an annotation cannot ask for a directory of the host"),
        (r#"["./x:/data"]"#, "an annotation cannot ask for a directory of the host"),
        (r#""data:/data""#, "is not a JSON array of strings"),
        (r#"["data:/data:banana"]"#, "invalid mode: banana"),
    ] {
        case.set("/annotations/rvol.volumes", json!(text));
        case.run().fails().says("annotations[rvol.volumes]").says(why);
    }
    let features = case.invoke(&["features"]).ok().json();
    let listed = features["potentiallyUnsafeConfigAnnotations"].as_array().expect("a list").clone();
    assert!(listed.contains(&json!("rvol.volumes")) && listed.contains(&json!("rvol.volumes-from")));
}

#[test]
fn flags_override_the_config() {
    needs!(Rvol);
    let mut case = Case::new();
    case.mount("/data", "tmpfs", "tmpfs", &[]).mount("/data/below", "tmpfs", "tmpfs", &[]);
    case.script("touch /data/x; touch /data/below/y; grep -c ' /data' /proc/self/mountinfo");
    assert_eq!(case.run_with(&["-v", "data:/data", "--image-volume", "/data/below"]).ok().stdout, "2\n");
    assert!(case.data("data").join("x").exists());
    assert!(!case.data("data").join("below/y").exists(), "the tmpfs of the config is on top");
    case.run_with(&["-v", "a1:/x", "--tmpfs", "/x"]).fails().says("Duplicate mount point: /x");
    for (flags, why) in [
        (["-v", "data"], "invalid volume specification: 'data'"),
        (["-v", "/a:/b:ro:rw"], "invalid volume specification: '/a:/b:ro:rw'"),
        (["--mount", "type=bind,dst=/x"], "field Source must not be empty"),
        (["--tmpfs", "x"], "mount path must be absolute"),
    ] {
        case.run_with(&flags).fails().says(why);
    }
}

#[test]
fn plan_makes_nothing() {
    needs!(Rvol);
    let case = Case::new();
    case.write_config();
    let out =
        case.invoke(&["plan", &case.path("bundle"), "-v", "data:/data:ro", "-v", "/anon", "-v", "./made:/dir"]).ok();
    for line in ["rbind  /data  volume data  rro,rprivate", "rbind  /anon  new volume  rprivate", "rbind  /dir  "] {
        assert!(out.stdout.contains(line), "{out}");
    }
    assert!(!case.volume_root().exists() && !case.dir.join("made").exists());
}

#[test]
fn plan_has_the_mounts_of_flags_under_mounts() {
    needs!(Rvol);
    let case = Case::new();
    case.write_config();
    let flags = ["-v", "data:/data", "--mount", "type=tmpfs,dst=/t", "--tmpfs", "/u"];
    let out = case.invoke(&[&["plan", &case.path("bundle")], &flags[..]].concat()).ok();
    let (mounts, devices) = out.stdout.split_once("devices and links").expect("a section of devices");
    for target in ["  /data  ", "  /t  ", "  /u  "] {
        assert!(mounts.contains(target) && !devices.contains(target), "{target}: {out}");
    }
    assert!(devices.contains("/dev/null"), "{out}");
}

#[test]
fn mounts_shows_nothing_that_nobody_asked_for() {
    needs!(Rvol);
    let mut case = Case::new();
    case.args(&["/bin/true"]);
    case.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro"]).mount("/m", "tmpfs", "tmpfs", &[]);
    case.create_with(&["-v", "data:/data:nocopy", "--tmpfs", "/u"]).ok();
    let shown = case.invoke(&["mounts", &case.id]).ok().json();
    let targets: Vec<_> = shown.as_array().expect("an array").iter().map(|mount| &mount["Destination"]).collect();
    assert_eq!(targets, [&json!("/data")]);
    assert_eq!(shown[0]["Mode"], json!("nocopy"));
}

#[test]
fn a_part_of_a_volume() {
    needs!(Rvol);
    let mut case = Case::new();
    case.volume(&["create", "data"]).ok();
    fs::create_dir_all(case.data("data").join("a/b")).expect("mkdir");
    fs::write(case.data("data").join("a/file"), "one file\n").expect("write");
    case.script("cat /f; touch /sub/x");
    let dir = "type=volume,src=data,dst=/sub,volume-subpath=a/b";
    case.run_with(&["--mount", dir, "--mount", "src=data,dst=/f,volume-subpath=a/file"]).ok();
    assert!(case.data("data").join("a/b/x").exists());
    for (subpath, why) in [
        ("missing", "subpath missing: no such file or directory"),
        ("../x", "subpath must be a relative path within the volume"),
        ("/etc", "subpath must be a relative path within the volume"),
    ] {
        case.run_with(&["--mount", &format!("src=data,dst=/sub,volume-subpath={subpath}")]).fails().says(why);
    }
    for (name, target) in [("abs", "/etc"), ("rel", "../../.."), ("in", "a")] {
        symlink(target, case.data("data").join(name)).expect("link");
        let flags = ["--mount", &format!("src=data,dst=/sub,volume-subpath={name}")];
        case.run_with(&flags).fails().says("a symbolic link in a subpath is refused");
        let flags = ["--mount", &format!("src=data,dst=/sub,volume-subpath={name}/b")];
        case.run_with(&flags).fails();
    }
    assert_eq!(case.users("data"), [""; 0]);
}

#[test]
fn mounts_are_shown_as_docker_does() {
    needs!(Rvol);
    let mut case = Case::new();
    let dir = case.make_dir("dir");
    case.args(&["/bin/true"]);
    case.create_with(&["-v", "data:/data", "--mount", &format!("type=bind,src={dir},dst=/dir,ro")]).ok();
    let mounts = case.invoke(&["mounts", &case.id]).ok().json();
    let expected = json!([
        {"Type": "volume", "Name": "data", "Source": case.data("data"), "Destination": "/data", "Driver": "local",
         "Mode": "z", "RW": true, "Propagation": ""},
        {"Type": "bind", "Source": dir, "Destination": "/dir", "Mode": "", "RW": false, "Propagation": "rprivate"},
    ]);
    assert_eq!(mounts, expected);
    case.invoke(&["mounts", "nobody"]).fails().says("container does not exist");
}

#[test]
fn volumes_in_a_user_namespace() {
    needs!(Rvol);
    let mut case = Case::new();
    case.user_namespace(200_000, 65536);
    case.caps(&CAPS).mount("/data", "volume", "data", &["idmap"]);
    case.script("id -u; touch /data/x && stat -c '%u' /data/x");
    let out = case.run().ok();
    assert_eq!(out.stdout, "0\n0\n", "{out}");
    assert_eq!(fs::metadata(case.data("data").join("x")).expect("stat").uid(), 0, "no chown is needed");
}

#[test]
fn podmans_words_on_a_volume_and_on_a_bind_of_the_config() {
    needs!(Rvol);
    let mut case = Case::new();
    let dir = case.make_dir("dir");
    case.make_file("dir/file", "x");
    fs::write(case.rootfs().join("data/from-the-image"), "x").expect("write");
    case.script("ls /data; grep ' /data ' /proc/self/mountinfo | cut -d' ' -f6");
    for (words, wanted) in [
        ("nosuid,nodev,noexec", "from-the-image\nrw,nosuid,nodev,noexec,relatime\n"),
        ("copy,suid,dev,exec", "from-the-image\nrw,relatime\n"),
        ("nocopy,nosuid", "rw,nosuid,relatime\n"),
    ] {
        assert_eq!(case.run_with(&["-v", &format!("data:/data:{words}")]).ok().stdout, wanted, "{words}");
        case.volume(&["rm", "data"]).ok();
    }
    case.run_with(&["-v", "data:/data:exec,noexec"]).fails().says("invalid mode: exec,noexec");
    // What an engine has acted upon itself.
    case.script("ls /data");
    for word in ["copy", "nocopy", "z", "Z", "U"] {
        case.bind(&dir, "/data", &["rbind", word]);
        assert_eq!(case.run().ok().stdout, "file\n", "{word}");
        case.config["mounts"].as_array_mut().expect("mounts").pop();
    }
}

/// As containerd's `ctr run --mount type=volume,src=data,dst=/data,options=rw` hands it through.
#[test]
fn volumes_in_the_form_of_containerd() {
    needs!(Rvol);
    let mut case = Case::new();
    fs::write(case.rootfs().join("data/file"), "from the image\n").expect("write");
    case.set("/mounts/-", json!({"type": "volume", "source": "rw", "destination": "/data", "options": ["rw"]}));
    let bare = json!({"type": "volume", "source": "ro", "destination": "/bare", "options": ["nocopy", "ro"]});
    case.set("/mounts/-", bare);
    case.set("/mounts/-", json!({"type": "volume", "destination": "/anonymous", "options": []}));
    case.script("cat /data/file; touch /data/x /anonymous/x; ls -A /bare; touch /bare/x");
    let out = case.run().fails();
    assert_eq!(out.stdout, "from the image\n");
    assert!(out.stderr.contains("/bare/x: Read-only file system"), "{out}");
    assert_eq!(out.stderr.lines().count(), 1, "{out}");
    assert!(case.data("rw").join("x").exists());
    assert_eq!(case.volume_names(), ["ro", "rw"]);
}

/// Through the mapping, what came from the image looks as it does without a volume.
#[test]
fn copy_up_into_an_idmapped_volume() {
    needs!(Rvol);
    let mut case = Case::new();
    case.user_namespace(200_000, 65536);
    let image = case.rootfs().join("data");
    for (name, id) in [("root", 200_000), ("user", 200_033), ("host", 7)] {
        fs::write(image.join(name), name).expect("write");
        std::os::unix::fs::chown(image.join(name), Some(id), Some(id)).expect("chown");
    }
    let acl = |words: &[&str], path: &std::path::Path| {
        std::process::Command::new(words[0]).args(&words[1..]).arg(path).output().expect("run a tool of acl")
    };
    acl(&["setfacl", "-m", "u:200044:rw,g:200055:r,u:9:x"], &image.join("user"));
    case.caps(&CAPS).mount("/data", "volume", "data", &["idmap"]);
    case.script("stat -c '%n %u %g' /data/root /data/user; touch /data/new; stat -c %u /data/new");
    assert_eq!(case.run().ok().stdout, "/data/root 0 0\n/data/user 33 33\n0\n");
    for (name, id) in [("root", 0), ("user", 33), ("host", 7), ("new", 0)] {
        let stat = fs::metadata(case.data("data").join(name)).expect("stat");
        assert_eq!((stat.uid(), stat.gid()), (id, id), "{name}: as stored");
    }
    let shown = acl(&["getfacl", "-n", "-c", "-p"], &case.data("data").join("user"));
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for entry in ["user:44:rw-", "group:55:r--", "user:9:--x"] {
        assert!(shown.contains(entry), "{shown}");
    }
}
