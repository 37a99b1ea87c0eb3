//! systemd's own calls (org.freedesktop.systemd1(5)): units started and stopped, each job waited for.

use super::bus::{Address, Bus, Refusal, TimedOut};
use super::message::{Message, Method};
use crate::plan::resources::property::{Kind, Value};
use crate::plan::resources::unit::Property;
use crate::sys::{Errno, errno_of};
use anyhow::{Context, Result, anyhow, bail};
use nix::unistd::geteuid;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use zbus::{Array, OwnedObjectPath, OwnedVariant, Signature, Str, Variant};

/// What a job gets, as with runc.
const JOB: Duration = Duration::from_secs(30);
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// sd_booted(3).
const BOOTED: &str = "/run/systemd/system";

/// A connection to a systemd, the machine's or a user's.
#[derive(Debug)]
pub struct Manager {
    bus: Bus,
    job: Duration,
}

/// The machine runs another init.
#[derive(Debug)]
struct NotBooted;

impl std::fmt::Display for NotBooted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "systemd is not running on this machine ({BOOTED} is missing); use --cgroup-manager=cgroupfs")
    }
}

impl std::error::Error for NotBooted {}

/// There was nobody to connect to.
pub fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<NotBooted>().is_some() || matches!(errno_of(error), Some(Errno::ENOENT | Errno::ECONNREFUSED))
}

/// What `StartTransientUnit` and `SetUnitProperties` take.
type Properties<'a> = Vec<(&'a str, Variant<'a>)>;

impl Manager {
    pub fn connect(user: bool) -> Result<Manager> {
        if !Path::new(BOOTED).is_dir() {
            return Err(anyhow!(NotBooted));
        }
        let addresses = addresses(user, geteuid().as_raw(), &|name| std::env::var_os(name))?;
        let hint = "is there a user session, with dbus-user-session installed?";
        let bus = Bus::connect(&addresses).with_context(|| match user {
            false => "systemd".to_string(),
            true => format!("the user's systemd ({hint})"),
        })?;
        Ok(Manager { bus, job: JOB })
    }

    /// With a connection that is there already, and another time for jobs.
    #[cfg(test)]
    pub fn on(bus: Bus, job: Duration) -> Manager {
        Manager { bus, job }
    }

    fn method(&self, member: &'static str) -> Method<'static> {
        Method { destination: self.bus.systemd(), path: PATH, interface: MANAGER, member }
    }

    /// The cgroup that everything of this systemd is below; without a leading slash.
    pub fn control_group(&mut self) -> Result<PathBuf> {
        self.control_group_of(PATH, MANAGER)
    }

    /// Starts a transient unit and waits until it runs. `optional` is left out property by property where this systemd
    /// does not know or take it; what was left out comes back.
    pub fn start(&mut self, unit: &str, required: &[Property], mut optional: Vec<Property>) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        let mut may_reset = true;
        let job = loop {
            let properties = to_wire(required.iter().chain(&optional))?;
            let none: Vec<(&str, Properties)> = Vec::new();
            match self.bus.call(&self.method("StartTransientUnit"), &(unit, "replace", properties, none)) {
                Ok(answer) => break answer,
                // Left by one that failed: systemd keeps it until somebody has looked.
                Err(e) if may_reset && refused_as(&e, "UnitExists") => {
                    may_reset = false;
                    self.reset_failed(unit)?;
                }
                Err(e) => match refused_property(&e, &optional) {
                    Some(index) => {
                        let property = optional.remove(index);
                        optional.retain(|p| p.name != property.name);
                        notes.push(format!("{property} of unit {unit} is not set: {:#}", e.root_cause()));
                    }
                    None => return Err(explain(e, unit)),
                },
            }
        };
        let deadline = Instant::now() + self.job;
        let result = self.result_of(&job, deadline);
        match result.as_deref() {
            Ok("done") => return Ok(notes),
            Ok(other) => {
                // The result is the error to tell.
                let _ = self.reset_failed(unit);
                bail!("start unit {unit}: the job ended as {other:?} (see systemctl status {unit})")
            }
            Err(_) => {}
        }
        let error = result.map(drop).unwrap_err();
        let _ = self.reset_failed(unit);
        match error.downcast_ref::<TimedOut>() {
            Some(_) => bail!("start unit {unit}: the job of systemd did not end in {} s", self.job.as_secs_f32()),
            None => Err(error.context(format!("start unit {unit}"))),
        }
    }

    /// How the job ended that a call has returned.
    fn result_of(&mut self, answer: &Message, deadline: Instant) -> Result<String> {
        let job: OwnedObjectPath = answer.body()?;
        loop {
            let removed = self.bus.signal("JobRemoved", deadline)?;
            let (_, path, _, result): (u32, OwnedObjectPath, String, String) = removed.body()?;
            if path == job {
                return Ok(result);
            }
        }
    }

    /// Stops a unit, waits until it has stopped, and lets systemd forget it. One that is not there is no error, and one
    /// of this name in another cgroup than `path` is somebody else's.
    pub fn stop(&mut self, unit: &str, path: &Path) -> Result<()> {
        let place = self.cgroup_of(unit)?;
        if !place.as_os_str().is_empty() && place != path {
            return Ok(());
        }
        let stopped = self.bus.call(&self.method("StopUnit"), &(unit, "replace"));
        match stopped {
            Ok(job) => {
                let deadline = Instant::now() + self.job;
                match self.result_of(&job, deadline) {
                    Ok(_) => {}
                    Err(e) if e.downcast_ref::<TimedOut>().is_some() => {
                        bail!("stop unit {unit}: the job of systemd did not end in {} s", self.job.as_secs_f32())
                    }
                    Err(e) => return Err(e.context(format!("stop unit {unit}"))),
                }
            }
            Err(e) if refused_as(&e, "NoSuchUnit") => {}
            Err(e) => return Err(explain(e, unit)),
        }
        self.reset_failed(unit)
    }

    /// The cgroup of a unit, without a leading slash; empty if it has none or is not there.
    fn cgroup_of(&mut self, unit: &str) -> Result<PathBuf> {
        let interface = if unit.ends_with(".slice") { "Slice" } else { "Scope" };
        let interface = format!("org.freedesktop.systemd1.{interface}");
        let path = format!("{PATH}/unit/{}", in_object_path(unit));
        self.control_group_of(&path, &interface).with_context(|| format!("unit {unit}"))
    }

    fn control_group_of(&mut self, path: &str, interface: &str) -> Result<PathBuf> {
        let get = Method { path, interface: "org.freedesktop.DBus.Properties", ..self.method("Get") };
        let answer = self.bus.call(&get, &(interface, "ControlGroup")).context("property ControlGroup")?;
        match &*answer.body::<OwnedVariant>()? {
            Variant::Str(path) => Ok(path.trim_start_matches('/').into()),
            other => bail!("ControlGroup is {other:?}"),
        }
    }

    /// Lets systemd forget that a unit has failed; one that is not there is no error.
    fn reset_failed(&mut self, unit: &str) -> Result<()> {
        match self.bus.call(&self.method("ResetFailedUnit"), &unit) {
            Err(e) if !refused_as(&e, "NoSuchUnit") => Err(e.context(format!("unit {unit}"))),
            _ => Ok(()),
        }
    }

    /// Sets properties of a running unit, until it stops. Those that this systemd does not know or take come back as
    /// notes.
    pub fn set(&mut self, unit: &str, mut properties: Vec<Property>) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        while !properties.is_empty() {
            let wire = to_wire(properties.iter())?;
            let Err(e) = self.bus.call(&self.method("SetUnitProperties"), &(unit, true, wire)) else { break };
            let Some(index) = refused_property(&e, &properties) else { return Err(explain(e, unit)) };
            let property = properties.remove(index);
            properties.retain(|p| p.name != property.name);
            notes.push(format!("{property} of unit {unit} is not set: {:#}", e.root_cause()));
        }
        Ok(notes)
    }

    /// Moves a process into a running scope or a cgroup below it, which a user's systemd may do where the user may not.
    pub fn attach(&mut self, unit: &str, below: &Path, pid: i32) -> Result<()> {
        let method = self.method("AttachProcessesToUnit");
        let below = if below.as_os_str().is_empty() { String::new() } else { format!("/{}", below.display()) };
        self.bus.call(&method, &(unit, below, vec![pid.unsigned_abs()])).map(drop).map_err(|e| explain(e, unit))
    }
}

/// Where a systemd is to be found, the best first.
pub fn addresses(user: bool, uid: u32, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Vec<Address>> {
    let variable = if user { "DBUS_SESSION_BUS_ADDRESS" } else { "DBUS_SYSTEM_BUS_ADDRESS" };
    if let Some(given) = env(variable).filter(|given| !given.is_empty()) {
        return Address::parse(&given.to_string_lossy()).context(variable);
    }
    if !user {
        // systemd's own socket, which is root's alone, saves the way over the bus and is there without one.
        return Ok(vec![Address::direct("/run/systemd/private"), Address::bus("/run/dbus/system_bus_socket")]);
    }
    let given = env("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    // pam_systemd's; for those who came here without it (su).
    let dir = given.or((uid != 0).then(|| format!("/run/user/{uid}").into()));
    let Some(dir) = dir else {
        bail!("no way to the user's systemd: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set");
    };
    Ok(vec![Address::bus(dir.join("bus")), Address::direct(dir.join("systemd/private"))])
}

/// A unit of the name is there already, and it is not ours.
#[derive(Debug)]
pub struct Exists(String);

impl std::fmt::Display for Exists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unit {0} exists already: another container has the name (see systemctl status {0})", self.0)
    }
}

impl std::error::Error for Exists {}

fn refusal(error: &anyhow::Error) -> Option<&Refusal> {
    error.downcast_ref()
}

fn refused_as(error: &anyhow::Error, name: &str) -> bool {
    refusal(error).is_some_and(|r| r.name.rsplit('.').next() == Some(name))
}

/// Which of `properties` an error is about: systemd names it in its text.
pub fn refused_property(error: &anyhow::Error, properties: &[Property]) -> Option<usize> {
    let refusal = refusal(error)?;
    let about = ["PropertyReadOnly", "UnknownProperty", "InvalidArgs", "NotSupported", "InvalidSignature"];
    about.iter().find(|name| refusal.name.ends_with(*name))?;
    let mut words = refusal.text.split(|c: char| !c.is_ascii_alphanumeric());
    words.find_map(|word| properties.iter().position(|p| p.name == word))
}

/// The error with what to do about it.
fn explain(error: anyhow::Error, unit: &str) -> anyhow::Error {
    if refused_as(&error, "UnitExists") {
        return anyhow!(Exists(unit.into()));
    }
    let denied = ["AccessDenied", "InteractiveAuthorizationRequired", "AuthFailed"];
    if denied.iter().any(|name| refused_as(&error, name)) {
        return error.context(format!("unit {unit}: systemd denies access to this user"));
    }
    error.context(format!("unit {unit}"))
}

/// A unit's name as the last part of its object path.
fn in_object_path(unit: &str) -> String {
    unit.bytes().enumerate().fold(String::new(), |path, (index, c)| {
        let plain = c.is_ascii_alphabetic() || (c.is_ascii_digit() && index > 0);
        path + &if plain { char::from(c).into() } else { format!("_{c:02x}") }
    })
}

fn to_wire<'a>(properties: impl Iterator<Item = &'a Property>) -> Result<Properties<'a>> {
    properties.map(|p| Ok((p.name.as_str(), variant(&p.value)?))).collect()
}

fn variant(value: &Value) -> Result<Variant<'_>> {
    Ok(match value {
        Value::Bool(v) => Variant::Bool(*v),
        Value::Byte(v) => Variant::U8(*v),
        Value::I16(v) => Variant::I16(*v),
        Value::U16(v) => Variant::U16(*v),
        Value::I32(v) => Variant::I32(*v),
        Value::U32(v) => Variant::U32(*v),
        Value::I64(v) => Variant::I64(*v),
        Value::U64(v) => Variant::U64(*v),
        Value::Double(v) => Variant::F64(*v),
        Value::Text(Kind::String, text) => Variant::Str(Str::from(text.as_str())),
        Value::Text(Kind::ObjectPath, text) => Variant::ObjectPath(text.as_str().try_into()?),
        Value::Text(Kind::Signature, text) => Variant::Signature(signature(text)?),
        Value::Array(element, values) => {
            let mut array = Array::new(&signature(element)?);
            for value in values {
                array.append(variant(value)?)?;
            }
            Variant::Array(array)
        }
        Value::Tuple(fields) => {
            let mut structure = zbus::wire::StructureBuilder::new();
            for field in fields {
                structure.push_value(variant(field)?);
            }
            Variant::Structure(structure.build()?)
        }
    })
}

fn signature(text: &str) -> Result<Signature> {
    Ok(Signature::try_from(text).map_err(zbus::Error::from)?)
}
