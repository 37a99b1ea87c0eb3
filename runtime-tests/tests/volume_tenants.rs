//! Volumes by annotation: pods of two Kubernetes namespaces, who do not trust each other, on one node.

use runtime_tests::{Case, Outcome, command, json, needs, waiting};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;

/// A container of a pod as containerd announces it.
fn containerd(namespace: &str, sandbox: &str) -> Value {
    json!({
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.sandbox-namespace": namespace,
        "io.kubernetes.cri.sandbox-id": sandbox,
        "io.kubernetes.cri.container-name": "main",
    })
}

/// The same as CRI-O announces it.
fn crio(namespace: &str, sandbox: &str) -> Value {
    let labels = json!({"io.kubernetes.pod.namespace": namespace, "io.kubernetes.pod.name": "one"});
    json!({
        "io.kubernetes.cri-o.ContainerType": "container",
        "io.kubernetes.cri-o.Labels": labels.to_string(),
        "io.kubernetes.cri-o.SandboxID": sandbox,
        "io.kubernetes.pod.namespace": namespace,
    })
}

trait Pods {
    fn with(&mut self, pod: &Value, annotations: &[(&str, &str)]) -> &mut Case;
    fn run_as(&mut self, pod: &Value, volumes: &str) -> Outcome;
    fn anonymous(&self) -> Vec<String>;
    fn labels(&self, name: &str) -> Value;
    fn invoke_with(&self, globals: &[&str]) -> Outcome;
}

impl Pods for Case {
    fn with(&mut self, pod: &Value, annotations: &[(&str, &str)]) -> &mut Case {
        let mut all = pod.clone();
        for (key, value) in annotations {
            all[*key] = json!(value);
        }
        self.set("/annotations", all)
    }

    fn run_as(&mut self, pod: &Value, volumes: &str) -> Outcome {
        self.with(pod, &[("rvol.volumes", volumes)]);
        self.run()
    }

    fn anonymous(&self) -> Vec<String> {
        self.volume_names().into_iter().filter(|name| name.len() == 64).collect()
    }

    fn labels(&self, name: &str) -> Value {
        self.volume(&["inspect", name]).ok().json()[0]["Labels"].clone()
    }

    fn invoke_with(&self, globals: &[&str]) -> Outcome {
        self.write_config();
        let mut command = self.command();
        command.args(globals).args(["run", "--bundle"]).arg(self.bundle()).arg(&self.id);
        self.finish(command)
    }
}

#[test]
fn pods_of_two_namespaces_have_different_volumes() {
    needs!(Rvol);
    let mut case = Case::new();
    case.script("cat /data/secret 2>/dev/null; echo written by $$ >/data/secret; ls /data");
    let (web, batch) = (containerd("web", "s1"), containerd("batch", "s2"));
    assert_eq!(case.run_as(&web, "data:/data").ok().stdout, "secret\n");
    assert_eq!(case.run_as(&batch, "data:/data").ok().stdout, "secret\n", "the other namespace's file is seen");
    assert_eq!(case.run_as(&web, "data:/data").ok().stdout, "written by 1\nsecret\n", "its own stays");
    assert_eq!(case.run_as(&crio("third", "s3"), "data:/data").ok().stdout, "secret\n");
    assert_eq!(case.volume_names(), ["batch_data", "third_data", "web_data"]);
    assert_eq!(case.labels("web_data"), json!({"rvol.namespace": "web"}));
    // The other's full name leads to a volume of one's own.
    case.script("ls /data");
    assert_eq!(case.run_as(&batch, "web_data:/data").ok().stdout, "");
    assert_eq!(case.labels("batch_web_data"), json!({"rvol.namespace": "batch"}));
}

#[test]
fn a_directory_that_the_nodes_owner_made_a_volume_of_is_not_adopted() {
    needs!(Rvol);
    let mut case = Case::new();
    let dir = case.make_dir("of-the-owner");
    case.make_file("of-the-owner/secret", "secret\n");
    case.volume(&["create", "-o", "type=none", "-o", "o=bind", "-o", &format!("device={dir}"), "data"]).ok();
    case.volume(&["create", "web_logs"]).ok();
    case.script("cat /data/secret; touch /data/x");
    let web = containerd("web", "s1");
    let out = case.run_as(&web, "data:/data").fails();
    assert!(out.stdout.is_empty() && !case.dir.join("of-the-owner/x").exists(), "{out}");
    out.says("volume data exists and has neither a label rvol.namespace nor rvol.shared-with");
    case.run_as(&web, "logs:/data").fails().says("web_logs exists without the label rvol.namespace=web");
    assert_eq!(case.volume_names(), ["data", "web_logs"]);
    assert_eq!(case.users("web_logs"), [""; 0]);
    case.assert_nothing_left();
}

#[test]
fn the_error_after_an_upgrade_says_what_to_type() {
    needs!(Rvol);
    let mut case = Case::new();
    case.script("cat /data/file");
    for (name, line) in [
        ("moved", "volume rename --label rvol.namespace=web moved web_moved"),
        ("shared", "volume label shared rvol.shared-with=web"),
    ] {
        case.volume(&["create", name]).ok();
        fs::write(case.data(name).join("file"), "kept\n").expect("write");
        case.run_as(&containerd("web", "s1"), &format!("{name}:/data")).fails().says(&format!("`rvol-runc {line}`"));
        let words: Vec<&str> = line.split(' ').collect();
        case.invoke(&words).ok();
        assert_eq!(case.run_as(&containerd("web", "s1"), &format!("{name}:/data")).ok().stdout, "kept\n", "{line}");
    }
    case.script("ls /data");
    assert_eq!(
        case.run_as(&containerd("batch", "s2"), "shared:/data").ok().stdout,
        "",
        "for others there is their own"
    );
    // What the owner keeps stands in nobody's way.
    case.volume(&["create", "--label", "rvol.shared-with=", "mine"]).ok();
    assert_eq!(case.run_as(&containerd("web", "s1"), "mine:/data").ok().stdout, "");
    assert_eq!(case.users("mine"), [""; 0]);
    assert_eq!(case.volume_names(), ["batch_shared", "mine", "shared", "web_mine", "web_moved"]);
}

#[test]
fn the_nodes_owner_shares_a_volume_by_its_label() {
    needs!(Rvol);
    let mut case = Case::new();
    fs::write(case.rootfs().join("data/from-the-image"), "x").expect("write");
    let read = "cat /data/file 2>/dev/null || echo nothing; touch /data/x 2>/dev/null && echo rw || echo ro";
    for (label, namespace, wanted) in [
        ("web", "web", "kept\nrw\n"),
        ("batch,web:ro", "web", "kept\nro\n"),
        ("*", "web", "kept\nrw\n"),
        ("*:ro", "web", "kept\nro\n"),
        ("*:ro web", "web", "kept\nrw\n"),
        ("batch", "web", "nothing\nrw\n"),
    ] {
        case.volume(&["create", "--label", &format!("rvol.shared-with={label}"), "shared"]).ok();
        fs::write(case.data("shared").join("file"), "kept\n").expect("write");
        case.script(read);
        let out = case.run_as(&containerd(namespace, "s1"), "shared:/data").ok();
        assert_eq!(out.stdout, wanted, "{label}");
        for name in case.volume_names() {
            case.volume(&["rm", &name]).ok();
        }
    }
    // An empty one that is shared read-only is not filled from a pod's image.
    case.volume(&["create", "--label", "rvol.shared-with=*:ro", "shared"]).ok();
    case.script("ls /data");
    assert_eq!(case.run_as(&containerd("web", "s1"), "shared:/data").ok().stdout, "");
    assert_eq!(fs::read_dir(case.data("shared")).expect("list").count(), 0);
    // Labels count from the next container on.
    case.volume(&["label", "shared", "rvol.shared-with=batch", "note=x"]).ok();
    assert_eq!(case.labels("shared"), json!({"rvol.shared-with": "batch", "note": "x"}));
    case.run_as(&containerd("web", "s1"), "shared:/data").ok();
    case.volume(&["label", "shared", "rvol.shared-with-", "note-"]).ok();
    assert_eq!(case.labels("shared"), Value::Null);
    assert_eq!(case.volume_names(), ["shared", "web_shared"]);
}

#[test]
fn labels_that_decide_are_set_by_the_nodes_owner_alone() {
    needs!(Rvol);
    let mut case = Case::new();
    case.args(&["/bin/true"]);
    case.run_with(&["--mount", "src=data,dst=/data,volume-label=rvol.namespace=web"])
        .fails()
        .says("only `volume create` and `volume label` set them");
    case.mount("/data", "volume", "data", &["label=rvol.shared-with=*"]);
    case.run().fails().says("labels that begin with `rvol.` decide who may use a volume");
    assert_eq!(case.volume_names(), [""; 0]);
    for (label, why) in [
        ("rvol.namespace=Web", "is not the name of a Kubernetes namespace"),
        ("rvol.shared-with=web:rw", "is neither the name of a Kubernetes namespace nor `*`"),
        ("rvol.container=c1", "this one cannot be set"),
    ] {
        case.volume(&["create", "--label", label, "data"]).fails().says(why);
        case.volume(&["create", "other"]).ok();
        case.volume(&["label", "other", label]).fails().says(why);
        case.volume(&["rename", "--label", label, "other", "another"]).fails().says(why);
        assert_eq!(case.volume_names(), ["other"]);
    }
    case.volume(&["label", "other", "x"]).fails().says("neither KEY=VALUE");
    case.volume(&["label", "missing", "a=b"]).fails().says("no such volume");
    // A copy is the owner's.
    case.volume(&["label", "other", "rvol.namespace=web", "app=x"]).ok();
    case.volume(&["clone", "other", "copy"]).ok();
    assert_eq!(case.labels("copy"), json!({"app": "x"}));
}

#[test]
fn volumes_from_by_annotation_takes_no_directories_of_the_host() {
    needs!(Rvol);
    let mut case = Case::new();
    let dir = case.make_dir("token");
    case.make_file("token/token", "secret\n");
    case.args(&["/bin/true"]).with(&containerd("web", "s1"), &[("rvol.volumes", "data:/data")]);
    case.bind(&dir, "/token", &["rbind"]);
    case.create().ok();
    case.config["mounts"].as_array_mut().expect("mounts").pop();
    let first = case.id.clone();
    let look = "cat /token/token; ls -d /data/..; grep -c ' /data ' /proc/self/mountinfo";
    let run = |case: &mut Case, pod: &Value, globals: &[&str], suffix: &str| {
        case.script(look).with(pod, &[("rvol.volumes-from", &first)]);
        let id = case.other_id(suffix);
        let mut command = case.command();
        case.other("run", &id, &[]);
        let bundle = case.dir.join(format!("bundle-{id}"));
        command.args(globals).args(["run", "--bundle"]).arg(bundle).arg(&id);
        case.finish(command)
    };
    // Of the same sandbox: the volume.
    let out = run(&mut case, &containerd("web", "s1"), &[], "same");
    assert!(out.stdout.ends_with("1\n") && !out.stdout.contains("secret"), "{out}");
    // Of any other pod: nothing, in the same namespace neither.
    for (pod, suffix) in [(containerd("web", "s2"), "sandbox"), (containerd("batch", "s1"), "namespace")] {
        let out = run(&mut case, &pod, &[], suffix).fails();
        assert!(!out.stdout.contains("secret"), "{out}");
        out.says("only containers of the same sandbox share volumes");
    }
    // No pod at all (docker run --annotation), or one that is trusted: volumes, and still no binds.
    for (pod, globals) in [(json!({}), &[][..]), (containerd("batch", "s9"), &["--volume-annotations", "trusted"][..])]
    {
        let out = run(&mut case, &pod, globals, if globals.is_empty() { "owner" } else { "trusted" });
        assert!(out.stdout.ends_with("1\n") && !out.stdout.contains("secret"), "{out}");
    }
}

#[test]
fn a_pod_has_few_options_and_no_directories_of_the_kernel() {
    needs!(Rvol);
    let mut case = Case::new();
    let web = containerd("web", "s1");
    for (volumes, why) in [
        ("data:/data:Z", "a pod cannot ask for the option `Z`"),
        ("data:/data:z,ro", "a pod cannot ask for the option `z`"),
        ("data:/data:cached", "a pod cannot ask for the option `cached`"),
        ("data:/data:suid", "a pod cannot ask for the option `suid`"),
        ("data:/data:idmap", "a pod cannot ask for the option `idmap`"),
        ("data:/data:rshared", "field BindOptions must not be specified"),
        ("data:/data:driver=x", "invalid mode: driver=x"),
        ("data:/data:label=a=b", "invalid mode: label=a=b"),
        ("data:/data:subpath=../x", "subpath must be a relative path within the volume"),
        ("/etc:/data", "an annotation cannot ask for a directory of the host"),
        ("data:/proc", "can mount nothing on /proc or below"),
        ("data:/x/../proc/sys", "can mount nothing on /proc or below"),
        ("data:/sys/fs", "can mount nothing on /sys or below"),
        ("/dev/x", "can mount nothing on /dev or below"),
        (&format!("{}:/data", "x".repeat(252)), "volume name is too long"),
    ] {
        case.run_as(&web, volumes).fails().says("annotations[rvol.volumes][0]").says(why);
    }
    case.with(&web, &[("rvol.image-volumes", "/dev/shm")]);
    case.run().fails().says("can mount nothing on /dev or below");
    // Nor by a link of the image.
    symlink("/dev", case.rootfs().join("link")).expect("link");
    case.run_as(&web, "data:/link/x").fails();
    case.run_as(&web, "/link").fails();
    assert_eq!(case.anonymous(), [""; 0]);
    case.volume(&["prune", "-a", "-f"]).ok();

    case.script("grep ' /a ' /proc/self/mountinfo; grep ' /b ' /proc/self/mountinfo; ls /b");
    case.with(&web, &[("rvol.volumes", "data:/a:ro,noexec data:/c:rw"), ("rvol.image-volumes", "/b")]);
    let out = case.run().ok();
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert!(lines[0].contains("ro,nosuid,nodev,noexec"), "{out}");
    assert!(lines[1].contains("rw,nosuid,nodev"), "{out}");
    fs::create_dir(case.data("web_data").join("sub")).expect("mkdir");
    case.script("touch /data/x");
    case.run_as(&web, "data:/data:subpath=sub").ok();
    assert!(case.data("web_data").join("sub/x").exists());
}

#[test]
fn annotations_of_the_nodes_owner_are_as_flags_but_never_binds() {
    needs!(Rvol);
    let mut case = Case::new();
    case.volume(&["create", "data"]).ok();
    case.script("touch /data/x; grep ' /data ' /proc/self/mountinfo");
    let out = case.run_as(&json!({}), "data:/data").ok();
    assert!(!out.stdout.contains("nosuid") && case.data("data").join("x").exists(), "{out}");
    case.run_as(&json!({}), "/etc:/data").fails().says("an annotation cannot ask for a directory of the host");
    assert_eq!(case.volume_names(), ["data"]);
}

#[test]
fn who_writes_the_annotations_is_settled_by_the_policy() {
    needs!(Rvol);
    let mut case = Case::new();
    case.script("grep -c ' /data ' /proc/self/mountinfo");
    let mut both = containerd("web", "s1");
    both.as_object_mut().expect("an object").extend(crio("batch", "s2").as_object().expect("an object").clone());
    let mut forged = crio("batch", "s2");
    forged["io.kubernetes.cri-o.Namespace"] = json!("kube-system");
    let mut nameless = containerd("web", "s1");
    nameless.as_object_mut().expect("an object").remove("io.kubernetes.cri.sandbox-namespace");
    for (flags, pod, wanted) in [
        (&[][..], &both, Err("one may be forged")),
        (&["--volume-annotations=scoped=containerd"], &both, Ok("web_data")),
        (&["--volume-annotations=scoped=crio"], &both, Ok("batch_data")),
        (&["--volume-annotations=scoped=crio"], &containerd("web", "s1"), Err("there is no annotation")),
        (&[], &forged, Ok("batch_data")),
        (&[], &nameless, Err("annotations[io.kubernetes.cri.sandbox-namespace] is missing")),
        (&[], &containerd("Web", "s1"), Err("is not the name of a Kubernetes namespace")),
        (&[], &containerd("a_b", "s1"), Err("is not the name of a Kubernetes namespace")),
        (&[], &json!({"io.kubernetes.pod.namespace": "web"}), Err("says which namespace the pod is in")),
        (&["--volume-annotations=trusted"], &both, Ok("data")),
        (&["--volume-annotations=off"], &both, Err("left out: --volume-annotations is off")),
        (&["--no-volume-annotations"], &both, Err("left out: --volume-annotations is off")),
        (&["--volume-annotations=some"], &both, Err("is none of off, scoped")),
        (&["--no-volume-annotations", "--volume-annotations=trusted"], &both, Err("contradicts")),
    ] {
        case.with(pod, &[("rvol.volumes", "data:/data")]);
        let out = case.invoke_with(flags);
        match wanted {
            Ok(name) => {
                assert_eq!(out.ok().stdout, "1\n", "{flags:?}");
                assert_eq!(case.volume_names(), [name], "{flags:?}");
                case.volume(&["rm", name]).ok();
            }
            Err(why) => {
                out.fails().says(why);
                assert_eq!(case.volume_names(), [""; 0], "{flags:?} {why}");
            }
        }
    }
}

#[test]
fn the_policy_of_the_environment() {
    needs!(Rvol);
    let mut case = Case::new();
    case.script("grep -c ' /data ' /proc/self/mountinfo");
    for (value, wanted) in [
        ("false", Err("left out: --volume-annotations is off")),
        ("0", Err("left out: --volume-annotations is off")),
        ("off", Err("left out: --volume-annotations is off")),
        ("true", Ok("web_data")),
        ("scoped", Ok("web_data")),
        ("", Ok("web_data")),
        ("trusted", Ok("data")),
        ("yes", Err("RVOL_VOLUME_ANNOTATIONS=yes: is none of off, scoped")),
    ] {
        case.with(&containerd("web", "s1"), &[("rvol.volumes", "data:/data")]).write_config();
        let mut command = case.command();
        command.env("RVOL_VOLUME_ANNOTATIONS", value).args(["run", "--bundle"]).arg(case.bundle()).arg(&case.id);
        let out = case.finish(command);
        match wanted {
            Ok(name) => {
                out.ok();
                assert_eq!(case.volume_names(), [name], "{value}");
                case.volume(&["rm", name]).ok();
            }
            Err(why) => drop(out.fails().says(why)),
        }
    }
    // A container can be deleted all the same.
    case.unset("/annotations").args(&["/bin/true"]).create().ok();
    let mut command = case.command();
    command.env("RVOL_VOLUME_ANNOTATIONS", "yes").args(["delete", "--force", &case.id]);
    case.finish(command).ok();
}

#[test]
fn sandbox_containers_get_no_volumes() {
    needs!(Rvol);
    let mut case = Case::new();
    case.script("grep -c ' /data ' /proc/self/mountinfo; true");
    for (key, flags) in [
        ("io.kubernetes.cri.container-type", &[][..]),
        ("io.kubernetes.cri-o.ContainerType", &[]),
        ("io.kubernetes.cri.container-type", &["--volume-annotations=trusted"]),
    ] {
        case.with(&json!({key: "sandbox"}), &[("rvol.volumes", "data:/data /anonymous"), ("rvol.image-volumes", "/x")]);
        let out = case.invoke_with(flags).ok();
        assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("0\n", ""));
    }
    assert_eq!(case.volume_names(), [""; 0]);
}

#[test]
fn a_volume_without_a_name_goes_with_its_container() {
    needs!(Rvol);
    let mut case = Case::new();
    case.args(&["/bin/true"]);
    for pod in [containerd("web", "s1"), json!({})] {
        case.with(&pod, &[("rvol.volumes", "/a data:/data"), ("rvol.image-volumes", "/b")]);
        case.create().ok();
        let volumes = case.anonymous();
        assert_eq!(volumes.len(), 2);
        assert_eq!(case.labels(&volumes[0])["rvol.container"], json!(case.id));
        case.delete_force().ok();
        assert_eq!(case.anonymous(), [""; 0], "a crash loop would fill the disk");
    }
    assert_eq!(case.volume_names(), ["data", "web_data"], "named ones stay");
    // Elsewhere delete keeps them, as docker rm does.
    case.unset("/annotations");
    case.create_with(&["-v", "/a", "--image-volume", "/b"]).ok();
    case.delete_force().ok();
    assert_eq!(case.anonymous().len(), 2);
}

#[test]
fn a_volume_without_a_name_stays_while_another_container_of_the_sandbox_has_it() {
    needs!(Rvol);
    let mut case = Case::new();
    case.args(&["/bin/true"]).with(&containerd("web", "s1"), &[("rvol.volumes", "/a")]);
    case.create().ok();
    let volume = case.anonymous().pop().expect("a volume");
    let second = case.other_id("second");
    case.with(&containerd("web", "s1"), &[("rvol.volumes-from", &case.id.clone())]);
    case.finish(case.other("create", &second, &[])).ok();
    case.delete_force().ok();
    assert_eq!(case.anonymous(), [volume], "the second container has it");
    case.invoke(&["delete", "--force", &second]).ok();
    assert_eq!(case.anonymous(), [""; 0], "its last user has gone");
}

/// The same by flags: `delete --volumes` of the last container removes it.
#[test]
fn a_volume_without_a_name_is_known_as_one_by_volumes_from() {
    needs!(Rvol);
    let mut case = Case::new();
    case.args(&["/bin/true"]);
    case.create_with(&["-v", "/a"]).ok();
    let second = case.other_id("second");
    case.finish(case.other("create", &second, &["--volumes-from", &case.id.clone()])).ok();
    case.invoke(&["delete", "--force", "--volumes", &case.id]).ok();
    assert_eq!(case.anonymous().len(), 1);
    case.invoke(&["delete", "--force", "--volumes", &second]).ok();
    assert_eq!(case.anonymous(), [""; 0]);
}

#[test]
fn gc_finds_what_a_killed_delete_left() {
    needs!(Rvol);
    let mut case = Case::new();
    case.args(&["/bin/true"]);
    case.create_with(&["-v", "/flag"]).ok();
    case.delete_force().ok();
    let flag = case.anonymous().pop().expect("a volume");
    case.with(&containerd("web", "s1"), &[("rvol.volumes", "/a")]);
    case.create().ok();
    let volume = case.anonymous().into_iter().find(|name| *name != flag).expect("a volume");
    // A delete that was killed between the release of the volume and its removal.
    let (directory, reference) = (case.volume_root().join(&volume), format!("refs/{}", case.id));
    let [metadata, held] =
        [directory.join("volume.json"), directory.join(&reference)].map(|file| fs::read(file).expect("read a file"));
    fs::remove_file(directory.join(&reference)).expect("remove the reference");
    case.invoke(&["gc"]).ok();
    assert_eq!(case.anonymous(), [flag.as_str()]);
    // A reboot: the container's state is gone and the reference is still there.
    case.delete_force().ok();
    for part in ["refs", "_data"] {
        fs::create_dir_all(directory.join(part)).expect("mkdir");
    }
    fs::write(directory.join("volume.json"), metadata).expect("write the metadata");
    fs::write(directory.join(&reference), held).expect("write the reference");
    case.invoke(&["gc"]).ok();
    assert_eq!(case.anonymous(), [flag], "one that no annotation asked for stays for prune");
}

#[test]
fn a_failed_create_of_a_pod_leaves_nothing_but_the_named_volume() {
    needs!(Rvol);
    let mut case = Case::new();
    case.args(&["/no/such/program"]).with(&containerd("web", "s1"), &[("rvol.volumes", "data:/data /a")]);
    case.create().fails();
    assert_eq!(case.volume_names(), ["web_data"]);
    assert_eq!(case.users("web_data"), [""; 0]);
    case.assert_nothing_left();
}

/// Ten containers of each of two namespaces at once: each volume is made once, with its label.
#[test]
fn pods_that_start_at_once() {
    needs!(Rvol);
    let mut case = Case::new();
    case.script("echo x >>/data/log");
    let mut running = Vec::new();
    for (namespace, count) in [("web", 5), ("batch", 5)] {
        case.with(&containerd(namespace, "s1"), &[("rvol.volumes", "data:/data")]);
        for index in 0..count {
            let id = case.other_id(&format!("{namespace}{index}"));
            running.push(case.start_command(case.other("run", &id, &[])));
        }
    }
    for one in running {
        one.finish().ok();
    }
    for (name, namespace) in [("web_data", "web"), ("batch_data", "batch")] {
        waiting::until(command::LIMIT, || (case.read_data(name, "log") == "x\n".repeat(5)).then_some(()))
            .expect("the log");
        assert_eq!(case.labels(name), json!({"rvol.namespace": namespace}));
    }
}
