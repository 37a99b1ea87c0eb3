//! Configs and the plans made of them: `tests/plan/*.plan` is what `plan` prints for `tests/configs/*.json` (as engines
//! write them) and `tests/plan/*.json` (made for one question each).
//!
//! `UPDATE_GOLDENS=1 cargo test --test plan_goldens` rewrites them; read the diff then. What follows an `@` in a name is
//! the machine that the plan is for: see [`host`].

use oci_spec::runtime::Spec;
use rvol_runc::host::{CgroupMode, Host};
use rvol_runc::plan::Problem;
use std::fmt::Write;
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
    match plan(config, host) {
        Ok(plan) => plan.to_string(),
        Err(problems) => problems.iter().fold("refused\n".to_owned(), |mut text, problem| {
            writeln!(text, "  {problem}").unwrap();
            text
        }),
    }
}

/// Until [`Bundle::from_json`] and [`Plan::new`] exist: what this part of the plan needs, and nothing more.
fn plan(config: &[u8], host: &Host) -> Result<rvol_runc::plan::Plan, Vec<Problem>> {
    use rvol_runc::plan::namespaces::{IdMap, IdMapWriter, IdRange, Namespace, Namespaces};
    use rvol_runc::plan::{Hooks, Plan, RootChange, Rootfs, mounts, resources};
    let spec: Spec = serde_json::from_slice(config).unwrap();
    let linux = spec.linux().clone().unwrap();
    let mut namespaces = Namespaces::default();
    for namespace in linux.namespaces().iter().flatten() {
        use oci_spec::runtime::LinuxNamespaceType as Type;
        let value = namespace.path().clone().map_or(Namespace::New, Namespace::Join);
        match namespace.typ() {
            Type::User => namespaces.user = value,
            Type::Pid => namespaces.pid = value,
            Type::Mount => namespaces.mount = value,
            Type::Network => namespaces.network = value,
            Type::Ipc => namespaces.ipc = value,
            Type::Uts => namespaces.uts = value,
            Type::Cgroup => namespaces.cgroup = value,
            Type::Time => namespaces.time = value,
        }
    }
    let ranges = |mappings: &Option<Vec<oci_spec::runtime::LinuxIdMapping>>| -> Vec<IdRange> {
        let mappings = mappings.iter().flatten();
        mappings.map(|m| IdRange { container: m.container_id(), host: m.host_id(), size: m.size() }).collect()
    };
    if linux.uid_mappings().is_some() {
        let (uid, gid) = (ranges(linux.uid_mappings()), ranges(linux.gid_mappings()));
        namespaces.id_map = Some(IdMap { uid, gid, writer: IdMapWriter::Runtime });
    }
    let path = linux.cgroups_path().clone().unwrap_or_else(|| "/demo".into());
    let cgroup = resources::Cgroup { manager: resources::Manager::Cgroupfs, path };
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let mounts = mounts::plan(&spec, Path::new("/bundle"), &namespaces, &cgroup, host, &mut problems, &mut warnings);
    if !problems.is_empty() {
        return Err(problems);
    }
    let root = spec.root().clone().unwrap();
    Ok(Plan {
        id: "demo".into(),
        oci_version: spec.version().clone(),
        bundle: "/bundle".into(),
        annotations: Default::default(),
        namespaces,
        cgroup,
        rootfs: Rootfs {
            path: Path::new("/bundle").join(root.path()),
            readonly: root.readonly().unwrap_or(false),
            propagation: None,
            mount_label: linux.mount_label().clone(),
        },
        mounts,
        net_devices: Vec::new(),
        hooks: Hooks::default(),
        masks: mounts::masks(&spec),
        sysctl: Vec::new(),
        hostname: spec.hostname().clone(),
        domainname: spec.domainname().clone(),
        intel_rdt: None,
        new_keyring: true,
        root_change: RootChange::PivotRoot,
        process: None,
        seccomp: None,
        warnings,
    })
}
