//! The `volume` commands: output, errors and exit codes as `docker volume`.

use runtime_tests::{Case, json, needs};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn create_and_inspect() {
    needs!(Rvol);
    let case = Case::without_rootfs();
    assert_eq!(case.volume(&["create", "data"]).ok().stdout, "data\n");
    assert_eq!(case.volume(&["create", "data"]).ok().stdout, "data\n", "the same again is as good");
    case.volume(&["create", "--label", "a=b", "data"]).fails().says("exists already with other labels");
    case.volume(&["create", "--label", "env=prod", "--label", "bare", "labelled"]).ok();
    let anonymous = case.volume(&["create"]).ok().stdout.trim().to_owned();
    assert_eq!(anonymous.len(), 64);
    let shown = case.volume(&["inspect", "data", "labelled", &anonymous]).ok().json();
    let keys: Vec<&str> = shown[0].as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["CreatedAt", "Driver", "Labels", "Mountpoint", "Name", "Options", "Scope"]);
    assert_eq!(shown[0]["Mountpoint"], json!(case.data("data")));
    assert_eq!((&shown[0]["Labels"], &shown[0]["Options"]), (&json!(null), &json!(null)));
    assert_eq!(shown[1]["Labels"], json!({"bare": "", "env": "prod"}));
    assert_eq!(shown[2]["Labels"], json!({"com.docker.volume.anonymous": ""}));
    assert_eq!(case.volume(&["inspect", "-f", "{{.Name}} {{.Driver}}", "data"]).ok().stdout, "data local\n");
    let out = case.volume(&["inspect", "data", "nope"]).fails().says("get nope: no such volume");
    assert_eq!(out.json().as_array().map(Vec::len), Some(1), "what is there is shown: {out}");
    assert_eq!(case.volume(&["inspect", "nope"]).fails().stdout, "[]\n");
    for (name, why) in
        [("a", "volume name is too short"), ("a/b", "includes invalid characters for a local volume name")]
    {
        case.volume(&["create", name]).fails().says(why);
    }
    case.volume(&["create", "--driver", "nosuch", "x1"]).fails().says("nosuch");
    case.volume(&["create", "--opt", "frob=1", "x1"]).fails().says("invalid option");
    assert_eq!(case.volume_names().len(), 3);
}

#[test]
fn the_store_is_closed_to_others() {
    needs!(Rvol);
    let case = Case::without_rootfs();
    case.volume(&["create", "data"]).ok();
    let mode = |path: std::path::PathBuf| fs::metadata(path).expect("stat").permissions().mode() & 0o7777;
    assert_eq!(mode(case.volume_root()), 0o701);
    assert_eq!(mode(case.volume_root().join("data")), 0o700);
    assert_eq!(mode(case.data("data")), 0o755);
    assert_eq!(mode(case.volume_root().join("data/volume.json")), 0o600);
}

#[test]
fn lists() {
    needs!(Rvol);
    let mut case = Case::new();
    assert_eq!(case.volume(&["ls"]).ok().stdout, "DRIVER    VOLUME NAME\n");
    for (name, labels) in [("data10", &["--label", "env=prod"][..]), ("data2", &[]), ("web", &["--label", "env=test"])]
    {
        case.volume(&[&["create"], labels, &[name]].concat()).ok();
    }
    assert_eq!(
        case.volume(&["ls"]).ok().stdout,
        "DRIVER    VOLUME NAME\nlocal     data2\nlocal     data10\nlocal     web\n"
    );
    case.args(&["/bin/true"]);
    case.create_with(&["-v", "web:/data"]).ok();
    for (filters, names) in [
        (&["dangling=true"][..], "data2\ndata10\n"),
        (&["dangling=false"], "web\n"),
        (&["label=env"], "data10\nweb\n"),
        (&["label=env=prod", "name=data"], "data10\n"),
        (&["name=^web$"], "web\n"),
        (&["driver=nfs"], ""),
    ] {
        let flags: Vec<&str> = filters.iter().flat_map(|filter| ["-f", filter]).collect();
        assert_eq!(case.volume(&[&["ls", "-q"], &flags[..]].concat()).ok().stdout, names, "{filters:?}");
    }
    case.volume(&["ls", "-f", "size=3"]).fails().says("invalid filter 'size'");
    let line = case.volume(&["ls", "--format", "json", "-f", "name=data10"]).ok().json();
    assert_eq!((&line["Name"], &line["Labels"], &line["Size"]), (&json!("data10"), &json!("env=prod"), &json!("N/A")));
    let out = case.volume(&["ls", "--format", r"table {{.Name}}\t{{.Scope}}", "-f", "name=web"]).ok();
    assert_eq!(out.stdout, "VOLUME NAME   SCOPE\nweb           local\n");
}

#[test]
fn rm_removes_what_nobody_uses() {
    needs!(Rvol);
    let case = Case::without_rootfs();
    for name in ["v1", "v2", "v3"] {
        case.volume(&["create", name]).ok();
    }
    let out = case.volume(&["rm", "v1", "nope", "v2"]).fails().says("get nope: no such volume");
    assert_eq!((out.code(), out.stdout.as_str()), (1, "v1\nv2\n"));
    assert_eq!(case.volume(&["rm", "-f", "nope", "v3"]).ok().stdout, "nope\nv3\n");
    assert_eq!(case.volume_names(), [""; 0]);
    assert_eq!(fs::read_dir(case.volume_root()).expect("the store").count(), 0);
    case.volume(&["rm"]).fails().says("requires at least 1 argument.");
    case.volume(&["frob"]).fails().says("unknown command volume frob");
    assert!(case.volume(&[]).ok().stdout.contains("inspect"), "help");
}

#[test]
fn prune() {
    needs!(Rvol);
    let mut case = Case::new();
    case.volume(&["create", "named"]).ok();
    case.volume(&["create", "--label", "keep", "labelled"]).ok();
    let anonymous = case.volume(&["create"]).ok().stdout.trim().to_owned();
    fs::write(case.data(&anonymous).join("file"), [0; 36]).expect("write");
    // Asked, with nobody there to answer: no.
    let out = case.volume(&["prune"]).ok();
    assert!(
        out.stdout
            .starts_with("WARNING! This will remove anonymous local volumes not used by at least one container.\n")
    );
    assert!(out.stdout.ends_with("Are you sure you want to continue? [y/N] "), "{out}");
    assert_eq!(case.volume_names().len(), 3);
    let out = case.volume(&["prune", "--dry-run"]).ok();
    assert!(out.stdout.contains(&format!("Would delete Volumes:\n{anonymous}\n")), "{out}");
    assert!(out.stdout.contains("named: has a name (--all removes it)"), "{out}");
    assert_eq!(case.volume_names().len(), 3);
    let out = case.volume(&["prune", "-f"]).ok();
    assert_eq!(out.stdout, format!("Deleted Volumes:\n{anonymous}\n\nTotal reclaimed space: 36B\n"));
    assert_eq!(case.volume(&["prune", "-f"]).ok().stdout, "Total reclaimed space: 0B\n");
    case.args(&["/bin/true"]);
    case.create_with(&["-v", "used:/data"]).ok();
    let out = case.volume(&["prune", "-af", "--filter", "label!=keep"]).ok();
    assert!(out.stdout.starts_with("Deleted Volumes:\nnamed\n\n"), "{out}");
    assert_eq!(case.volume_names(), ["labelled", "used"]);
    case.volume(&["prune", "-a", "--filter", "all=1"]).fails().says("conflicting options");
    // A reboot empties the directory of states: the container is gone, and nobody told the volume.
    let (state, aside) = (case.state_root().join(&case.id), case.dir.join("aside"));
    fs::rename(&state, &aside).expect("lose the state");
    case.volume(&["rm", "used"]).fails().says("volume is in use");
    case.volume(&["prune", "-af"]).ok();
    assert_eq!(case.volume_names(), [""; 0]);
    fs::rename(&aside, &state).expect("put it back");
}

#[test]
fn clone_rename_and_df() {
    needs!(Rvol);
    let mut case = Case::new();
    case.volume(&["create", "--label", "a=b", "data"]).ok();
    fs::write(case.data("data").join("file"), [0; 36]).expect("write");
    fs::set_permissions(case.data("data"), fs::Permissions::from_mode(0o1777)).expect("chmod");
    assert_eq!(case.volume(&["clone", "data", "copy"]).ok().stdout, "copy\n");
    fs::write(case.data("data").join("file"), [1; 40]).expect("write");
    assert_eq!(fs::read(case.data("copy").join("file")).expect("read"), [0; 36]);
    assert_eq!(fs::metadata(case.data("copy")).expect("stat").permissions().mode() & 0o7777, 0o1777);
    assert_eq!(case.volume(&["inspect", "-f", "{{.Labels.a}}", "copy"]).ok().stdout, "b\n");
    case.volume(&["clone", "data", "copy"]).fails().says("volume copy exists already");
    case.volume(&["clone", "nope", "x1"]).fails().says("no such volume");
    case.volume(&["rename", "data", "copy"]).fails().says("volume copy exists already");
    case.volume(&["rename", "data", "a/b"]).fails().says("includes invalid characters");
    assert_eq!(case.volume(&["rename", "data", "moved"]).ok().stdout, "moved\n");
    case.args(&["/bin/true"]);
    case.create_with(&["-v", "moved:/data"]).ok();
    case.volume(&["rename", "moved", "again"]).fails().says("volume is in use");
    let out = case.volume(&["df"]).ok().stdout;
    assert_eq!(out, "VOLUME NAME   LINKS     SIZE\ncopy          0         36B\nmoved         1         40B\n");
    let anonymous = case.volume(&["create"]).ok().stdout.trim().to_owned();
    case.volume(&["rename", &anonymous, "kept"]).ok();
    case.volume(&["prune", "-f"]).ok();
    assert_eq!(case.volume_names(), ["copy", "kept", "moved"]);
}
