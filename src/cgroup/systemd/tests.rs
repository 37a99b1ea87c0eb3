//! Properties beside the files they stand for, messages against captured bytes, and a systemd that answers by script.

use super::bus::{Address, Bus, TimedOut};
use super::manager::{Manager, addresses, is_absent};
use super::message::{self, Kind, Message, Method};
use super::properties::{Mode, at_start, of_bfq, of_devices, of_resources, of_unit, rounded};
use crate::cgroup::resources::{Layout, settings};
use crate::plan::resources::Limit;
use crate::plan::resources::devices::{DeviceRule, Policy};
use crate::plan::resources::limits::{PerDevice, Resources};
use crate::plan::resources::property::Value;
use crate::plan::resources::unit::{Property, Unit};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zbus::wire::serialized::Context;
use zbus::wire::{Endian, to_bytes};
use zbus::{ObjectPath, Variant};

fn resources() -> Resources {
    let mut r = Resources::default();
    r.memory.limit = Some(Limit::To(1 << 20));
    r.memory.swap = Some(Limit::To(3 << 20));
    r.memory.reservation = Some(Limit::To(1 << 19));
    r.cpu.shares = Some(1024);
    r.cpu.quota = Some(Limit::To(12_345));
    r.cpu.period = Some(50_000);
    r.cpuset.cpus = Some("0-2,9".into());
    r.cpuset.mems = Some("0".into());
    r.pids = Some(Limit::To(0));
    let device = |value| vec![PerDevice { major: 8, minor: 16, value }];
    r.block_io.weight = Some(500);
    r.block_io.weight_device = device(10);
    r.block_io.read_bps = device(1000);
    r.block_io.write_bps = device(0);
    r.block_io.read_iops = device(30);
    r.block_io.write_iops = device(40);
    r
}

fn shown(properties: &[Property]) -> Vec<String> {
    properties.iter().map(Property::to_string).collect()
}

/// The list of writes of the same resources, for the eye.
fn written(resources: &Resources, v1: bool) -> Vec<String> {
    let names = ["cpu", "cpuset", "memory", "blkio", "pids"].map(|n| Some(n.to_string()));
    let layout = match v1 {
        true => Layout { v1: names.into(), v2: None },
        false => Layout { v1: vec![None], v2: Some((0, None)) },
    };
    settings("", resources, &layout).unwrap().writes.iter().map(|w| w.to_string()).collect()
}

#[test]
fn resources_become_properties_of_v2() {
    let given = rounded(&resources());
    assert_eq!(
        shown(&of_resources(&given, Mode::V2)),
        [
            "MemoryMax=uint64 1048576",
            "MemorySwapMax=uint64 2097152",
            "MemoryLow=uint64 524288",
            "CPUWeight=uint64 100",
            "IOWeight=uint64 4950",
            "IODeviceWeight=[('/dev/block/8:16', uint64 1)]",
            "IOReadBandwidthMax=[('/dev/block/8:16', uint64 1000)]",
            "IOWriteBandwidthMax=[('/dev/block/8:16', uint64 18446744073709551615)]",
            "IOReadIOPSMax=[('/dev/block/8:16', uint64 30)]",
            "IOWriteIOPSMax=[('/dev/block/8:16', uint64 40)]",
            "CPUQuotaPeriodUSec=uint64 50000",
            "CPUQuotaPerSecUSec=uint64 250000",
            "TasksMax=uint64 1",
            "AllowedCPUs=[byte 0x07, byte 0x02]",
            "AllowedMemoryNodes=[byte 0x01]",
        ]
    );
    assert_eq!(
        written(&given, false),
        [
            "cpu.weight = 100",
            "cpu.max = 12500 50000",
            "cpuset.cpus = 0-2,9",
            "cpuset.mems = 0",
            "memory.max = 1048576",
            "memory.swap.max = 2097152",
            "memory.low = 524288",
            "io.bfq.weight = 500 or io.weight = 4950",
            "io.bfq.weight = 8:16 10 or io.weight = 8:16 1",
            "io.max = 8:16 rbps=1000 wbps=max riops=30 wiops=40",
            "pids.max = 0 (late)",
        ]
    );
}

/// What systemd then writes to `io.bfq.weight` is what we write.
#[test]
fn weights_for_bfq_are_in_systemds_measure() {
    let systemd = |weight: u64| if weight <= 100 { weight } else { 100 + (weight - 100) * 900 / 9900 };
    let mut r = Resources::default();
    for weight in 10..=1000 {
        r.block_io.weight = Some(weight);
        let [Property { value: Value::U64(given), .. }] = &of_bfq(&r)[..] else { panic!("one property") };
        assert_eq!(systemd(*given), u64::from(weight));
    }
    r.block_io.weight_device = vec![PerDevice { major: 8, minor: 0, value: 300 }];
    assert_eq!(shown(&of_bfq(&r)), ["IOWeight=uint64 10000", "IODeviceWeight=[('/dev/block/8:0', uint64 2300)]"]);
}

#[test]
fn resources_become_properties_of_v1() {
    let given = rounded(&resources());
    assert_eq!(
        shown(&of_resources(&given, Mode::V1)),
        [
            "MemoryLimit=uint64 1048576",
            "CPUShares=uint64 1024",
            "BlockIOWeight=uint64 500",
            "BlockIODeviceWeight=[('/dev/block/8:16', uint64 10)]",
            "BlockIOReadBandwidth=[('/dev/block/8:16', uint64 1000)]",
            "BlockIOWriteBandwidth=[('/dev/block/8:16', uint64 18446744073709551615)]",
            "CPUQuotaPeriodUSec=uint64 50000",
            "CPUQuotaPerSecUSec=uint64 250000",
            "TasksMax=uint64 1",
            "AllowedCPUs=[byte 0x07, byte 0x02]",
            "AllowedMemoryNodes=[byte 0x01]",
        ]
    );
    let written = written(&given, true);
    assert!(written.contains(&"cpu.cfs_quota_us = 12500".into()), "{written:?}");
}

#[test]
fn nothing_asked_is_nothing_set() {
    for mode in [Mode::V1, Mode::V2] {
        assert_eq!(of_resources(&Resources::default(), mode), []);
        assert_eq!(at_start(&Resources::default(), mode), None);
    }
}

#[test]
fn quotas_are_whole_percents() {
    for (quota, period, per_second, file) in [
        (Some(Limit::To(10_000)), None, "uint64 100000", "10000"),
        (Some(Limit::To(10_001)), None, "uint64 110000", "11000"),
        (Some(Limit::To(150_000)), Some(100_000), "uint64 1500000", "150000"),
        (Some(Limit::To(1_000)), Some(1_000_000), "uint64 10000", "10000"),
        (Some(Limit::Max), Some(100_000), "uint64 18446744073709551615", "max"),
        (None, Some(50_000), "uint64 18446744073709551615", ""),
    ] {
        let mut r = Resources::default();
        (r.cpu.quota, r.cpu.period) = (quota, period);
        let properties = shown(&of_resources(&r, Mode::V2));
        assert_eq!(properties.last().unwrap(), &format!("CPUQuotaPerSecUSec={per_second}"), "{quota:?}");
        assert_eq!(properties.len(), 1 + usize::from(period.is_some()));
        assert_eq!(rounded(&r).cpu.quota.map_or(String::new(), |q| q.to_string()), file);
    }
}

#[test]
fn unified_files_become_properties_where_there_are_some() {
    let mut r = Resources::default();
    for (file, value) in [
        ("memory.high", "max\n"),
        ("memory.min", "4096"),
        ("memory.zswap.max", "0"),
        ("memory.oom.group", "1"),
        ("pids.max", "7"),
        ("cpu.max", "30000 50000"),
        ("cpu.weight", "30"),
        ("cpu.idle", "1"),
        ("cpuset.cpus", "1"),
        ("io.weight", "default 50"),
        ("io.max", "8:0 rbps=1"),
        ("hugetlb.2MB.max", "0"),
    ] {
        r.unified.insert(file.into(), value.into());
    }
    assert_eq!(
        shown(&of_resources(&r, Mode::V2)),
        [
            "MemoryMin=uint64 4096",
            "MemoryHigh=uint64 18446744073709551615",
            "MemoryZSwapMax=uint64 0",
            "TasksMax=uint64 7",
            "CPUWeight=uint64 0",
            "CPUQuotaPeriodUSec=uint64 50000",
            "CPUQuotaPerSecUSec=uint64 600000",
            "AllowedCPUs=[byte 0x02]",
            "IOWeight=uint64 50",
        ]
    );
    assert_eq!(at_start(&r, Mode::V2).unwrap().to_string(), "OOMPolicy='kill'");
    assert_eq!(of_resources(&r, Mode::V1), []);
    // The file is written all the same, and says what is wrong.
    r.unified = [("memory.max".to_string(), "banana".to_string()), ("cpuset.cpus".into(), "0-7:2/4".into())].into();
    assert_eq!(of_resources(&r, Mode::V2), []);
}

#[test]
fn units_know_their_slice_and_process() {
    let scope = Unit::new(Some("a.slice:docker:x"), "", false).unwrap();
    assert_eq!(
        shown(&of_unit(&scope, Mode::V2, 77)),
        [
            "Description='rvol-runc container docker-x'",
            "Slice='a.slice'",
            "Delegate=true",
            "PIDs=[uint32 77]",
            "MemoryAccounting=true",
            "CPUAccounting=true",
            "IOAccounting=true",
            "TasksAccounting=true",
            "DefaultDependencies=false",
        ]
    );
    let slice = Unit::new(Some("::b.slice"), "", false).unwrap();
    let slice = shown(&of_unit(&slice, Mode::V1, 77));
    assert_eq!(slice[..3], ["Description='rvol-runc container b'", "Wants=['system.slice']", "MemoryAccounting=true"]);
    assert!(slice.contains(&"BlockIOAccounting=true".into()), "{slice:?}");
}

fn devices(rules: &[&str], mode: Mode) -> Vec<String> {
    let rule = |text: &&str| -> DeviceRule { serde_json::from_str(text).unwrap() };
    let all = shown(&of_devices(&Policy::new(&rules.iter().map(rule).collect::<Vec<_>>()), mode));
    assert_eq!(all[0], "DeviceAllow=@a(ss) []");
    all[1..].into()
}

#[test]
fn device_rules_become_a_list_where_one_can_say_them() {
    let deny = r#"{"allow":false,"type":"a","access":"rwm"}"#;
    let major = r#"{"allow":true,"type":"c","major":10,"access":"rw"}"#;
    let back = r#"{"allow":false,"type":"c","major":10,"minor":3,"access":"w"}"#;
    let minors = r#"{"allow":true,"type":"b","minor":3,"access":"r"}"#;
    let all = r#"{"allow":true,"type":"a","access":"rwm"}"#;
    for mode in [Mode::V1, Mode::V2] {
        let list = devices(&[deny, major], mode);
        assert_eq!(list[0], "DevicePolicy='strict'");
        for entry in ["('char-*', 'm')", "('/dev/char/1:3', 'rwm')", "('char-136', 'rwm')", "('char-10', 'rw')"] {
            assert!(list[1].contains(entry), "{entry} {list:?}");
        }
        assert_eq!(devices(&[all], mode), ["DevicePolicy='auto'"]);
    }
    for rules in [&[deny, major, back][..], &[deny, minors], &[all, back]] {
        assert_eq!(devices(rules, Mode::V2), ["DevicePolicy='auto'"], "our program says it");
        let list = devices(rules, Mode::V1);
        assert_eq!(list[0], "DevicePolicy='strict'", "nothing is open before our files are written");
    }
}

// --- messages

/// `GetUnit dbus.service` as libsystemd 257 sends it, but for the flag that allows interactive authorization.
const GET_UNIT: &str = "6c010001110000000200000097000000\
    01016f00190000002f6f72672f667265656465736b746f702f73797374656d643100000000000000\
    0301730007000000476574556e697400\
    02017300200000006f72672e667265656465736b746f702e73797374656d64312e4d616e616765720000000000000000\
    06017300180000006f72672e667265656465736b746f702e73797374656d64310000000000000000\
    0801670001730000\
    0c000000646275732e7365727669636500";
/// What the bus and systemd said to it.
const UNIT_IS: &str = "6c02010132000000270000002d0000000501750002000000\
    06017300040000003a312e3200000000080167000\
    16f000007017300040000003a312e30000000002d000000\
    2f6f72672f667265656465736b746f702f73797374656d64312f756e69742f646275735f32657365727669636500";

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

const GET: Method = Method {
    destination: Some("org.freedesktop.systemd1"),
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    member: "GetUnit",
};

#[test]
#[cfg(target_endian = "little")]
fn calls_are_those_of_libsystemd() {
    assert_eq!(message::call(&GET, 2, &"dbus.service").unwrap(), unhex(GET_UNIT));
}

#[test]
fn answers_are_read_in_any_portions() {
    let whole = unhex(UNIT_IS);
    for length in 0..whole.len() {
        assert!(Message::take(&mut whole[..length].to_vec()).unwrap().is_none(), "{length}");
    }
    let mut buffer = [whole.clone(), whole[..20].to_vec()].concat();
    let message = Message::take(&mut buffer).unwrap().unwrap();
    assert_eq!(message.kind, Kind::Return(2));
    let path: zbus::OwnedObjectPath = message.body().unwrap();
    assert_eq!(path.as_str(), "/org/freedesktop/systemd1/unit/dbus_2eservice");
    assert_eq!(buffer, whole[..20]);
    assert!(message.body::<(u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32)>().is_err());
}

#[test]
fn garbage_is_an_error() {
    assert!(Message::take(&mut vec![b'x'; 100]).is_err());
    let mut long = unhex(UNIT_IS);
    long[4..8].copy_from_slice(&[0xff; 4]);
    assert!(Message::take(&mut long).is_err());
    for index in 16..unhex(UNIT_IS).len() {
        let mut broken = unhex(UNIT_IS);
        broken[index] ^= 0xff;
        // Whatever it says, it says it without a panic.
        let _ = Message::take(&mut broken).map(|m| m.map(|m| m.body::<String>()));
    }
}

#[test]
fn addresses_are_those_of_the_specification() {
    let shown = |text: &str| Address::parse(text).map(|all| all.iter().map(Address::to_string).collect::<Vec<_>>());
    assert_eq!(shown("unix:path=/run/user/1000/bus").unwrap(), ["/run/user/1000/bus"]);
    assert_eq!(shown("unix:abstract=/tmp/d%20b,guid=ab;unix:path=%2fb").unwrap(), ["@/tmp/d b", "/b"]);
    for bad in ["", ";", "tcp:host=a", "unix:guid=1", "unix:path=%zz", "unix:path=%2"] {
        assert!(shown(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_systemd_is_where_the_environment_says() {
    let find = |user: bool, uid: u32, env: &[(&str, &str)]| {
        let get = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into());
        addresses(user, uid, &get).map(|all| all.iter().map(Address::to_string).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(find(false, 0, &[]).unwrap(), "/run/systemd/private /run/dbus/system_bus_socket");
    assert_eq!(find(false, 0, &[("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/b")]).unwrap(), "/b");
    let xdg = ("XDG_RUNTIME_DIR", "/x");
    assert_eq!(find(true, 7, &[xdg]).unwrap(), "/x/bus /x/systemd/private");
    assert_eq!(find(true, 7, &[xdg, ("DBUS_SESSION_BUS_ADDRESS", "unix:abstract=a")]).unwrap(), "@a");
    assert_eq!(find(true, 7, &[]).unwrap(), "/run/user/7/bus /run/user/7/systemd/private");
    assert!(find(true, 0, &[]).unwrap_err().to_string().contains("nor XDG_RUNTIME_DIR is set"));
    let wrong = find(true, 7, &[("DBUS_SESSION_BUS_ADDRESS", "tcp:host=a")]).unwrap_err();
    assert!(format!("{wrong:#}").starts_with("DBUS_SESSION_BUS_ADDRESS: "), "{wrong:#}");
}

// --- a systemd by script

/// What the other side does with a call.
enum Answer {
    /// An object path.
    Job(&'static str),
    /// `JobRemoved` of this job, before the answer that gives its path.
    JobAndResult(&'static str, &'static str),
    Text(&'static str),
    Nothing,
    Error(&'static str, &'static str),
    Silence,
    Close,
}

use Answer::*;

fn encode(kind: u8, fields: Vec<(u8, Variant)>, body: Vec<u8>) -> Vec<u8> {
    let context = Context::new(Endian::native(), 0);
    let mark = if cfg!(target_endian = "little") { b'l' } else { b'B' };
    let header = (mark, kind, 0u8, 1u8, body.len() as u32, 9u32, fields);
    let mut bytes = to_bytes(context, &header).unwrap().to_vec();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    [bytes, body].concat()
}

fn body<T: serde::Serialize + zbus::wire::DynamicType>(value: &T) -> Vec<u8> {
    to_bytes(Context::new(Endian::native(), 0), value).unwrap().to_vec()
}

fn job(path: &'static str) -> Vec<u8> {
    body(&ObjectPath::try_from(path).unwrap())
}

fn removed(path: &'static str, result: &str) -> Vec<u8> {
    let fields = vec![(3, Variant::from("JobRemoved"))];
    encode(4, fields, body(&(1u32, ObjectPath::try_from(path).unwrap(), "u.scope", result)))
}

/// Plays a systemd that gives one answer after the other; returns what it was asked.
fn play(stream: &mut UnixStream, greeting: &[u8], script: Vec<Answer>) -> Vec<String> {
    let mut asked = Vec::new();
    let mut buffer = Vec::new();
    let mut bytes = [0; 4096];
    let begin = b"BEGIN\r\n";
    let mut script = script.into_iter();
    let mut greeted = false;
    loop {
        let length = stream.read(&mut bytes).unwrap_or(0);
        if length == 0 {
            return asked;
        }
        buffer.extend_from_slice(&bytes[..length]);
        if !greeted {
            let Some(at) = buffer.windows(begin.len()).position(|w| w == begin) else { continue };
            buffer.drain(..at + begin.len());
            stream.write_all(greeting).unwrap();
            greeted = true;
        }
        while buffer.len() >= 16 {
            let number = |at: usize| u32::from_ne_bytes(buffer[at..at + 4].try_into().unwrap()) as usize;
            let (body_length, serial) = (number(4), number(8) as u32);
            let whole = (16 + number(12)).next_multiple_of(8) + body_length;
            if buffer.len() < whole {
                break;
            }
            let text = String::from_utf8_lossy(&buffer[..whole]).into_owned();
            let known = ["StartTransientUnit", "StopUnit", "ResetFailedUnit", "SetUnitProperties", "Get"];
            let name = known.iter().find(|n| text.contains(**n)).unwrap_or(&"?");
            let unknown = if text.contains("TasksMax") { " TasksMax" } else { "" };
            asked.push(format!("{name}{unknown}"));
            buffer.drain(..whole);
            let to = (5, Variant::from(serial));
            let answer = match script.next() {
                None | Some(Close) => return asked,
                Some(Silence) => continue,
                Some(Nothing) => encode(2, vec![to], Vec::new()),
                Some(Text(text)) => encode(2, vec![to], body(&Variant::from(text))),
                Some(Job(path)) => encode(2, vec![to], job(path)),
                Some(JobAndResult(path, result)) => {
                    // Another one's comes first.
                    let others = removed("/job/99", "failed");
                    [others, removed(path, result), encode(2, vec![to], job(path))].concat()
                }
                Some(Error(name, text)) => encode(3, vec![to, (4, Variant::from(name))], body(&text)),
            };
            stream.write_all(&answer).unwrap();
        }
    }
}

const OK: &[u8] = b"DATA\r\nOK 0123\r\n";
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(20);

struct Other {
    directory: tempfile::TempDir,
    thread: JoinHandle<Vec<String>>,
}

/// A listening systemd; the bus's name is greeting.
fn other(greeting: &'static [u8], script: Vec<Answer>) -> Other {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("s")).unwrap();
    let thread = std::thread::spawn(move || play(&mut listener.accept().unwrap().0, greeting, script));
    Other { directory, thread }
}

impl Other {
    fn address(&self) -> Address {
        Address::direct(self.directory.path().join("s"))
    }

    /// Calls on a manager, and what systemd was asked.
    fn with<T>(self, answer: Duration, job: Duration, act: impl FnOnce(&mut Manager) -> T) -> (T, Vec<String>) {
        let bus = Bus::connect_within(&[self.address()], answer).unwrap();
        let mut manager = Manager::on(bus, job);
        let result = act(&mut manager);
        drop(manager);
        (result, self.thread.join().unwrap())
    }
}

fn start(manager: &mut Manager) -> anyhow::Result<Vec<String>> {
    let property = |name: &str| Property { name: name.into(), value: Value::U64(5) };
    manager.start("u.scope", &[property("Slice")], vec![property("TasksMax"), property("CPUWeight")])
}

#[track_caller]
fn refused(script: Vec<Answer>, expected: &str) -> Vec<String> {
    let (result, asked) = other(OK, script).with(SHORT, SHORT, start);
    let message = format!("{:#}", result.unwrap_err());
    assert!(message.contains(expected), "{message}");
    asked
}

#[test]
fn a_started_unit_is_waited_for() {
    let (notes, asked) = other(OK, vec![JobAndResult("/job/1", "done")]).with(LONG, LONG, start);
    assert!(notes.unwrap().is_empty());
    assert_eq!(asked, ["StartTransientUnit TasksMax"]);
}

#[test]
fn a_job_that_fails_names_the_unit_and_is_reset() {
    let script = vec![JobAndResult("/job/1", "dependency"), Nothing];
    let asked = refused(script, "start unit u.scope: the job ended as \"dependency\" (see systemctl status u.scope)");
    assert_eq!(asked, ["StartTransientUnit TasksMax", "ResetFailedUnit"]);
}

#[test]
fn no_wait_is_for_ever() {
    let began = Instant::now();
    refused(vec![Silence], "StartTransientUnit: no answer in time");
    let asked = refused(vec![Job("/job/1"), Nothing], "the job of systemd did not end in 0.2 s");
    assert_eq!(asked.len(), 2);
    // Somebody who listens and never accepts, and one who never answers the authentication.
    let directory = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(directory.path().join("s")).unwrap();
    let error = Bus::connect_within(&[Address::bus(directory.path().join("s"))], SHORT).unwrap_err();
    assert!(error.downcast_ref::<TimedOut>().is_some(), "{error:#}");
    assert!(began.elapsed() < LONG);
}

#[test]
fn a_failed_unit_in_the_way_is_reset_once() {
    let exists = || Error("org.freedesktop.systemd1.UnitExists", "Unit u.scope already exists.");
    let script = vec![exists(), Nothing, JobAndResult("/job/1", "done")];
    let (notes, asked) = other(OK, script).with(LONG, LONG, start);
    assert!(notes.unwrap().is_empty());
    assert_eq!(asked[1], "ResetFailedUnit");
    let asked = refused(vec![exists(), Nothing, exists()], "unit u.scope exists already");
    assert_eq!(asked.len(), 3);
}

#[test]
fn what_an_older_systemd_does_not_know_is_left_out() {
    let unknown =
        || Error("org.freedesktop.DBus.Error.PropertyReadOnly", "Cannot set property TasksMax, or unknown property.");
    let script = vec![unknown(), JobAndResult("/job/1", "done")];
    let (notes, asked) = other(OK, script).with(LONG, LONG, start);
    let notes = notes.unwrap();
    assert!(notes[0].starts_with("TasksMax=uint64 5 of unit u.scope is not set: Cannot set property"), "{notes:?}");
    assert_eq!(asked, ["StartTransientUnit TasksMax", "StartTransientUnit"]);
    let required =
        Error("org.freedesktop.DBus.Error.PropertyReadOnly", "Cannot set property Slice, or unknown property.");
    refused(vec![required], "unit u.scope: StartTransientUnit: Cannot set property Slice");
    let (notes, asked) = other(OK, vec![unknown(), Nothing])
        .with(LONG, LONG, |m| m.set("u.scope", vec![Property { name: "TasksMax".into(), value: Value::U64(5) }]));
    assert_eq!((notes.unwrap().len(), asked.len()), (1, 1), "nothing is left to set");
}

#[test]
fn a_refusal_says_who_refuses() {
    let denied = Error("org.freedesktop.DBus.Error.AccessDenied", "Permission denied");
    refused(vec![denied], "unit u.scope: systemd denies access to this user: StartTransientUnit: Permission denied");
    refused(vec![Close], "the other side has closed the connection");
    for (greeting, message) in
        [(&b"REJECTED EXTERNAL\r\n"[..], "access is denied"), (b"HTTP/1.1 400\r\n", "authenticate: unexpected answer")]
    {
        let other = other(greeting, Vec::new());
        let error = Bus::connect_within(&[other.address()], LONG).unwrap_err();
        assert!(format!("{error:#}").contains(message), "{error:#}");
        other.thread.join().unwrap();
    }
    let error = Bus::connect(&[Address::bus("/nonexistent/bus"), Address::direct("/nonexistent/b")]).unwrap_err();
    assert_eq!(format!("{error:#}"), "connect to /nonexistent/bus: connect: no such file or directory (ENOENT)");
    assert!(is_absent(&error.context("systemd")));
}

#[test]
fn a_unit_is_stopped_and_forgotten() {
    let stop = |manager: &mut Manager| manager.stop("u.scope", Path::new("a/u.scope"));
    let no_unit = || Error("org.freedesktop.systemd1.NoSuchUnit", "Unit u.scope not loaded.");
    let (result, asked) =
        other(OK, vec![Text("/a/u.scope"), JobAndResult("/job/1", "done"), no_unit()]).with(LONG, LONG, stop);
    result.unwrap();
    assert_eq!(asked, ["Get", "StopUnit", "ResetFailedUnit"]);
    let (result, _) = other(OK, vec![Text(""), no_unit(), no_unit()]).with(LONG, LONG, stop);
    result.unwrap();
    let (result, asked) = other(OK, vec![Text("/b/u.scope")]).with(LONG, LONG, stop);
    result.unwrap();
    assert_eq!(asked, ["Get"], "another's is left alone");
    let (result, _) = other(OK, vec![Text("/a/u.scope"), Job("/job/1")]).with(SHORT, SHORT, stop);
    assert!(format!("{:#}", result.unwrap_err()).contains("stop unit u.scope: the job of systemd did not end"));
}

#[test]
fn a_bus_is_greeted() {
    let other = other(OK, vec![Text(":1.5"), Nothing]);
    let address = Address::bus(other.directory.path().join("s"));
    let bus = Bus::connect_within(&[address], LONG).unwrap();
    assert_eq!(bus.systemd(), Some("org.freedesktop.systemd1"));
    drop(bus);
    assert_eq!(other.thread.join().unwrap().len(), 2);
}
