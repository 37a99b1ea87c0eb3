//! Configs as engines write them, whole and broken.

use rvol_runc::bundle::Bundle;
use rvol_runc::host::{CgroupMode, Host};
use rvol_runc::plan::{Plan, Request};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Instant;

fn host() -> Host {
    Host {
        kernel: (6, 1),
        uid: 0,
        gid: 0,
        in_user_namespace: false,
        has_user_systemd: false,
        cgroup: CgroupMode::Unified,
        cgroup_root: "/sys/fs/cgroup".into(),
    }
}

fn request() -> Request {
    Request { id: "c1".into(), bundle: "/b".into(), ..Request::default() }
}

/// Name and text of every config in `tests/configs`.
fn configs() -> Vec<(String, String)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/configs");
    let mut configs: Vec<(String, String)> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into(), std::fs::read_to_string(path).unwrap()))
        .collect();
    configs.sort();
    configs
}

fn config(name: &str) -> String {
    configs().into_iter().find(|(n, _)| n == name).unwrap().1
}

#[test]
fn real_configs_are_planned_without_a_problem() {
    let configs = configs();
    assert_eq!(configs.len(), 19);
    for (name, text) in configs {
        let bundle = Bundle::from_json("/b".into(), text.as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let plan = Plan::new(&bundle, &request(), &host());
        let plan = plan.unwrap_or_else(|p| panic!("{name}: {p:?}"));
        assert_eq!(plan.warnings, [""; 0], "{name}");
        assert!(plan.process.is_some(), "{name}");
        serde_json::to_string(&plan).unwrap();
    }
}

/// Where the typed reading succeeds, the slow one must read the same.
#[test]
fn both_ways_of_reading_agree() {
    for (name, text) in configs() {
        // A known property twice: refused by the types, and without meaning.
        let twice = text.replacen('{', "{\"hostname\":\"a\",\"hostname\":\"a\",", 1);
        let hostname = |text: &str| {
            let bundle = Bundle::from_json("/b".into(), text.as_bytes()).unwrap();
            assert!(bundle.misfits.is_empty(), "{name}: {:?}", bundle.misfits);
            let mut spec = bundle.spec;
            spec.set_hostname(None);
            spec
        };
        assert_eq!(hostname(&text), hostname(&twice), "{name}");
    }
}

struct Random(u64);

impl Random {
    /// xorshift64
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

fn odd_value(random: &mut Random) -> Value {
    let odd = [
        "null",
        "true",
        "-1",
        "0",
        "4294967295",
        "4294967296",
        "18446744073709551615",
        "-9223372036854775808",
        "1e300",
        "1.5",
        r#""""#,
        r#""/""#,
        r#""..""#,
        r#""../../x""#,
        r#""\u0000""#,
        r#""a=b""#,
        r#""%d%d""#,
        r#""0-65535""#,
        r#""size=1,,=""#,
        r#""rro""#,
        r#""idmap=uids=0-0-1""#,
        r#""\ud83d\ude00[1]""#,
        "[]",
        "{}",
        "[null]",
        "[[[]]]",
        r#"{"":""}"#,
        r#"["a",1,{"path":[]}]"#,
        r#"{"type":"user"}"#,
        r#""SCMP_ACT_NOTIFY""#,
        r#""time""#,
    ];
    serde_json::from_str(odd[random.below(odd.len())]).unwrap()
}

/// Changes something somewhere below `value`.
fn mutate(value: &mut Value, random: &mut Random) {
    let stop = random.below(6) == 0;
    match value {
        Value::Object(object) if !stop && !object.is_empty() => {
            let key = object.keys().nth(random.below(object.len())).unwrap().clone();
            match random.below(20) {
                0 => drop(object.remove(&key)),
                1 => drop(object.insert(key + ".[0]", odd_value(random))),
                _ => mutate(&mut object[&key], random),
            }
        }
        Value::Array(array) if !stop && !array.is_empty() => {
            let index = random.below(array.len());
            match random.below(10) {
                0 => drop(array.remove(index)),
                1 => array.push(array[index].clone()),
                2 => array.insert(index, odd_value(random)),
                _ => mutate(&mut array[index], random),
            }
        }
        _ => *value = odd_value(random),
    }
}

fn load_and_plan(text: &[u8], random: &mut Random) {
    let Ok(bundle) = Bundle::from_json("/b".into(), text) else { return };
    let host = Host { uid: if random.below(3) == 0 { 1000 } else { 0 }, ..host() };
    match Plan::new(&bundle, &request(), &host) {
        Ok(plan) => drop(serde_json::to_string(&plan).unwrap()),
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(!problem.place.is_empty() && !problem.message.is_empty(), "{problem:?}");
            }
        }
    }
}

#[test]
fn broken_configs_never_panic() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for (_, text) in configs() {
        let whole: Value = serde_json::from_str(&text).unwrap();
        for _ in 0..40 {
            let mut broken = whole.clone();
            for _ in 0..=random.below(8) {
                mutate(&mut broken, &mut random);
            }
            load_and_plan(broken.to_string().as_bytes(), &mut random);
        }
        for _ in 0..20 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[at] = random.below(256) as u8,
                    1 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            load_and_plan(&bytes, &mut random);
        }
    }
}

/// `cargo test --release --test real_configs -- --ignored --nocapture`
#[test]
#[ignore = "prints times"]
fn how_long_loading_and_planning_take() {
    let text = config("docker-default");
    let times = |what: &mut dyn FnMut()| {
        let mut times: Vec<u128> = (0..2000)
            .map(|_| {
                let start = Instant::now();
                what();
                start.elapsed().as_nanos()
            })
            .collect();
        let first = times[0];
        times.sort_unstable();
        format!("first {} µs, median {} µs", first / 1000, times[times.len() / 2] / 1000)
    };
    let load = || Bundle::from_json("/b".into(), text.as_bytes()).unwrap();
    println!("load and plan: {}", times(&mut || drop(Plan::new(&load(), &request(), &host()).unwrap())));
    println!("load:          {}", times(&mut || drop(load())));
    let broken = text.replacen("\"cwd\":", "\"umask\": \"x\", \"cwd\": 7, \"x\":", 1);
    println!("misfit:        {}", times(&mut || drop(Bundle::from_json("/b".into(), broken.as_bytes()).unwrap())));
    println!("host:          {}", times(&mut || drop(Host::probe().unwrap())));
}
