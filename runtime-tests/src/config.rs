//! The config that every test starts from, and edits by JSON pointer.

use serde_json::{Map, Value, json};

/// What `runc spec` prints, without a terminal, with a writable root and in a cgroup of its own.
pub fn default(cgroup: &str) -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/true"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs" },
        "hostname": "box",
        "mounts": [
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// One entry of `mounts[]`.
pub fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

/// Puts `value` at a JSON pointer such as `/process/user/umask`; missing objects are made, and `-` at the end of a
/// pointer appends to the array (which is made too).
pub fn set(config: &mut Value, pointer: &str, value: Value) {
    let mut keys: Vec<&str> = pointer.split('/').skip(1).collect();
    let last = keys.pop().expect("a pointer names something");
    let mut place = config;
    for (i, key) in keys.iter().enumerate() {
        place = match place {
            Value::Array(items) => &mut items[key.parse::<usize>().expect("an index")],
            Value::Object(fields) => {
                let appends = last == "-" && i + 1 == keys.len();
                let empty = || if appends { json!([]) } else { Value::Object(Map::new()) };
                fields.entry(*key).or_insert_with(empty)
            }
            other => panic!("{pointer}: {other} has no {key}"),
        };
    }
    match place {
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => items[last.parse::<usize>().expect("an index")] = value,
        Value::Object(fields) => drop(fields.insert(last.to_owned(), value)),
        other => panic!("{pointer}: {other} has no {last}"),
    }
}

/// Takes away what stands at a JSON pointer into an object.
pub fn remove(config: &mut Value, pointer: &str) {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer names something");
    config.pointer_mut(parent).and_then(Value::as_object_mut).and_then(|fields| fields.remove(key));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_make_what_is_missing() {
        let mut config = json!({ "mounts": [1] });
        set(&mut config, "/mounts/-", json!(2));
        set(&mut config, "/mounts/0", json!(0));
        set(&mut config, "/linux/devices/-", json!("d"));
        set(&mut config, "/process/user/umask", json!(18));
        remove(&mut config, "/process/user/umask");
        assert_eq!(config, json!({ "mounts": [0, 2], "linux": { "devices": ["d"] }, "process": { "user": {} } }));
    }
}
