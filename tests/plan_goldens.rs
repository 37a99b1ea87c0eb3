//! Configs and the plans made of them: `tests/plan/*.plan` is what `plan` prints for `tests/configs/*.json` (as engines
//! write them) and `tests/plan/*.json` (made for one question each).
//!
//! `UPDATE_GOLDENS=1 cargo test --test plan_goldens` rewrites them; read the diff then. What follows an `@` in a name is
//! the machine that the plan is for: see [`host`].

use rvol_runc::bundle::Bundle;
use rvol_runc::host::{CgroupMode, Host};
use rvol_runc::plan::{Plan, Problem, Request};
use std::path::{Path, PathBuf};

#[test]
fn plans_are_as_they_were() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let mut wrong = Vec::new();
    let mut configs: Vec<_> = ["configs", "plan"].iter().flat_map(|dir| json_files(&tests.join(dir))).collect();
    configs.sort();
    for config in &configs {
        let name = config.file_stem().unwrap().to_str().unwrap();
        let golden = tests.join("plan").join(format!("{name}.plan"));
        let printed = print(&std::fs::read(config).unwrap(), &host(name));
        if update {
            std::fs::write(&golden, &printed).unwrap();
        } else if let Err(difference) = compare(&std::fs::read_to_string(&golden).unwrap_or_default(), &printed) {
            wrong.push(format!("{name}: {difference}"));
        }
    }
    assert!(wrong.is_empty(), "UPDATE_GOLDENS=1 accepts these:\n{}", wrong.join("\n"));
}

#[test]
fn every_golden_has_its_config() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for plan in files(&tests.join("plan"), "plan") {
        let json = Path::new(plan.file_stem().unwrap()).with_extension("json");
        assert!(["configs", "plan"].iter().any(|dir| tests.join(dir).join(&json).exists()), "{}", plan.display());
    }
}

fn json_files(dir: &Path) -> Vec<PathBuf> {
    files(dir, "json")
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
}

/// The first line that differs.
fn compare(golden: &str, printed: &str) -> Result<(), String> {
    if golden == printed {
        return Ok(());
    }
    let (mut golden, mut printed) = (golden.lines(), printed.lines());
    for number in 1.. {
        let (was, is) = (golden.next(), printed.next());
        if was != is || was.is_none() {
            let line = |line: Option<&str>| line.map_or("nothing".to_owned(), |line| format!("`{line}`"));
            return Err(format!("line {number} was {} and is {}", line(was), line(is)));
        }
    }
    unreachable!("the lines are endless")
}

/// `v1`, `hybrid` and `none` are other cgroups than v2; `rootless` is not root, `nested` is root in a user namespace.
fn host(name: &str) -> Host {
    let hierarchies = ["blkio", "cpu,cpuacct", "memory", "pids", "systemd"].map(String::from).to_vec();
    let mut host = Host {
        kernel: (6, 12),
        uid: 0,
        gid: 0,
        in_user_namespace: false,
        has_user_systemd: false,
        cgroup: CgroupMode::Unified,
        cgroup_root: "/sys/fs/cgroup".into(),
    };
    for word in name.split_once('@').map_or("", |(_, host)| host).split('+') {
        match word {
            "" => {}
            "v1" => host.cgroup = CgroupMode::Legacy { hierarchies: hierarchies.clone(), hybrid: false },
            "hybrid" => host.cgroup = CgroupMode::Legacy { hierarchies: hierarchies.clone(), hybrid: true },
            "none" => host.cgroup = CgroupMode::None,
            "rootless" => (host.uid, host.gid) = (1000, 1000),
            "nested" => host.in_user_namespace = true,
            word => panic!("{name}: no such machine: {word}"),
        }
    }
    host
}

/// What `plan` prints, or what it finds wrong.
fn print(config: &[u8], host: &Host) -> String {
    let refused = |problems: Vec<Problem>| {
        problems.iter().fold("refused\n".to_owned(), |text, problem| format!("{text}  {problem}\n"))
    };
    let bundle = match Bundle::from_json("/bundle".into(), config) {
        Ok(bundle) => bundle,
        Err(error) => panic!("{error}"),
    };
    let request = Request { id: "demo".into(), bundle: "/bundle".into(), ..Request::default() };
    Plan::new(&bundle, &request, host).map_or_else(refused, |plan| plan.to_string())
}
