//! Plugins for volumes: Docker's protocol, version 1 (JSON by HTTP POST; docs.docker.com, "Docker volume plugins").
//!
//! A plugin is found anew by each command, and each call has a connection and a deadline of its own.

mod http;
mod registry;

pub use registry::names;

use super::resolve;
use anyhow::{Context, Result, ensure};
use http::{Answer, Connection, Deadline};
use registry::Address;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Docker's limits: for what may have to make or reach something, and for everything else.
const LONG: Duration = Duration::from_secs(120);
const SHORT: Duration = Duration::from_secs(60);

/// Sets both, in seconds.
const TIMEOUT: &str = "RVOL_VOLUME_PLUGIN_TIMEOUT";

/// A plugin that answers for volumes.
#[derive(Debug)]
pub struct Plugin {
    name: String,
    address: Address,
}

/// There is no plugin of this name.
#[derive(Debug)]
pub struct NotFound(String);

impl std::fmt::Display for NotFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "plugin {:?} not found", self.0)
    }
}

impl std::error::Error for NotFound {}

/// The plugin is for something else, such as networks.
#[derive(Debug)]
pub struct NotForVolumes(String);

impl std::fmt::Display for NotForVolumes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let NotForVolumes(name) = self;
        write!(
            f,
            "Plugin does not implement the requested driver: plugin={name:?}, requested implementation=\"VolumeDriver\""
        )
    }
}

impl std::error::Error for NotForVolumes {}

/// The plugin's own error.
#[derive(Debug)]
pub struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Whether it was the plugin that said no, and nothing on the way to it that failed.
pub fn has_refused(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some()
}

/// A volume as its plugin shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Shown {
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub mountpoint: String,
    #[serde(deserialize_with = "or_default")]
    pub created_at: String,
    #[serde(deserialize_with = "or_default")]
    pub status: Map<String, Value>,
}

/// `null` is what Go writes for what is not there.
fn or_default<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Reply {
    #[serde(deserialize_with = "or_default")]
    err: String,
    #[serde(deserialize_with = "or_default")]
    implements: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    mountpoint: String,
    volume: Option<Shown>,
    #[serde(deserialize_with = "or_default")]
    volumes: Vec<Shown>,
    #[serde(deserialize_with = "or_default")]
    capabilities: Capabilities,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Capabilities {
    #[serde(deserialize_with = "or_default")]
    scope: String,
}

/// Whether there is such a plugin, for what is refused before anything is made; it may still not answer.
pub fn check(name: &str) -> Result<()> {
    Plugin::locate(name).map(drop)
}

impl Plugin {
    /// Finds a plugin and greets it.
    ///
    /// # Errors
    /// Docker's, where there is none or it is for something else; [`NotFound`] can be told from the others.
    pub fn find(name: &str) -> Result<Plugin> {
        let plugin = Plugin::locate(name)?;
        let lookup = || format!("error looking up volume plugin {name}");
        let reply = plugin.call("Plugin.Activate", &Value::Null, SHORT).with_context(lookup)?;
        if !reply.implements.iter().any(|what| what == "VolumeDriver") {
            return Err(anyhow::Error::from(NotForVolumes(name.to_owned()))).with_context(lookup);
        }
        Ok(plugin)
    }

    fn locate(name: &str) -> Result<Plugin> {
        let found = registry::find(name).and_then(|found| found.ok_or_else(|| NotFound(name.to_owned()).into()));
        let address = found.with_context(|| format!("error looking up volume plugin {name}"))?;
        Ok(Plugin { name: name.to_owned(), address })
    }

    /// Makes a volume, unless the plugin has it.
    pub fn create(&self, volume: &str, options: &BTreeMap<String, String>) -> Result<()> {
        match self.get(volume) {
            Ok(Some(_)) => return Ok(()),
            // Every plugin has its own words for a volume that is not there.
            Ok(None) => {}
            Err(error) if has_refused(&error) => {}
            Err(error) => return Err(error),
        }
        self.call("VolumeDriver.Create", &json!({"Name": volume, "Opts": options}), LONG).map(drop)
    }

    /// Removes a volume; that the plugin has it no more is as good.
    pub fn remove(&self, volume: &str) -> Result<()> {
        let Err(error) = self.call("VolumeDriver.Remove", &json!({"Name": volume}), SHORT) else { return Ok(()) };
        let gone = has_refused(&error)
            && match self.get(volume) {
                Ok(found) => found.is_none(),
                Err(error) => has_refused(&error),
            };
        if gone { Ok(()) } else { Err(error) }
    }

    /// Mounts a volume for the user with this id and returns where; [`Plugin::unmount`] with the same id ends that.
    pub fn mount(&self, volume: &str, id: &str) -> Result<PathBuf> {
        let method = "VolumeDriver.Mount";
        let reply = self.call(method, &json!({"Name": volume, "ID": id}), LONG)?;
        self.checked(method, reply.mountpoint)
    }

    /// Where a volume is that has been mounted; `None` where it is not.
    pub fn path(&self, volume: &str) -> Result<Option<PathBuf>> {
        let method = "VolumeDriver.Path";
        let reply = self.call(method, &json!({"Name": volume}), SHORT)?;
        if reply.mountpoint.is_empty() { Ok(None) } else { self.checked(method, reply.mountpoint).map(Some) }
    }

    fn checked(&self, method: &str, mountpoint: String) -> Result<PathBuf> {
        ensure!(
            mountpoint.starts_with('/'),
            "plugin {}: {method}: the mountpoint {mountpoint:?} is not an absolute path",
            self.name
        );
        Ok(mountpoint.into())
    }

    pub fn unmount(&self, volume: &str, id: &str) -> Result<()> {
        self.call("VolumeDriver.Unmount", &json!({"Name": volume, "ID": id}), SHORT).map(drop)
    }

    /// What the plugin knows of a volume; `None` where it shows none.
    pub fn get(&self, volume: &str) -> Result<Option<Shown>> {
        Ok(self.call("VolumeDriver.Get", &json!({"Name": volume}), SHORT)?.volume)
    }

    pub fn list(&self) -> Result<Vec<Shown>> {
        Ok(self.call("VolumeDriver.List", &json!({}), SHORT)?.volumes)
    }

    /// `local` or `global`. As in Docker, a plugin that does not tell is local.
    pub fn scope(&self) -> String {
        let told = self.call("VolumeDriver.Capabilities", &json!({}), SHORT);
        let scope = told.map(|reply| reply.capabilities.scope.to_lowercase()).unwrap_or_default();
        if scope == "global" { scope } else { "local".into() }
    }

    fn call(&self, method: &str, arguments: &Value, limit: Duration) -> Result<Reply> {
        let body = if arguments.is_null() { Vec::new() } else { arguments.to_string().into_bytes() };
        let place = || format!("plugin {}: {method}", self.name);
        let answer = self.post(method, &body, timeout(limit)?).with_context(place)?;
        let reply = read(&answer).with_context(place)?;
        if !reply.err.is_empty() {
            return Err(anyhow::Error::from(Refused(reply.err))).with_context(place);
        }
        Ok(reply)
    }

    fn post(&self, method: &str, body: &[u8], limit: Duration) -> Result<Answer> {
        let deadline = Deadline::after(limit);
        let path = format!("/{method}");
        match &self.address {
            // A socket has no host, but HTTP wants one.
            Address::Socket(socket) => {
                Connection::to_socket(socket, deadline)?.post(&path, "plugin.localhost", body, deadline)
            }
            Address::Tcp(host) => Connection::to_address(resolved(host)?, deadline)?.post(&path, host, body, deadline),
        }
    }
}

/// The reply in an answer. Of an error without JSON, as old plugins have it, the text is the error.
fn read(answer: &Answer) -> Result<Reply> {
    if answer.status == 200 {
        // By way of an object: a list could be taken for the fields.
        let object: Result<Map<String, Value>, _> = serde_json::from_slice(&answer.body);
        let reply = object.and_then(|object| serde_json::from_value(object.into()));
        return reply.context("the answer is not the JSON of a plugin");
    }
    let told = serde_json::from_slice::<Reply>(&answer.body).map(|reply| reply.err).unwrap_or_default();
    let text = String::from_utf8_lossy(&answer.body);
    let text: String = if told.is_empty() { text.trim().chars().take(500).collect() } else { told };
    let err = if text.is_empty() { format!("status {}", answer.status) } else { text };
    // What it does not know (404) is no word about the volume.
    ensure!(answer.status != 404, "{err} (status 404)");
    Ok(Reply { err, ..Reply::default() })
}

fn resolved(host: &str) -> Result<SocketAddr> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let (name, port) = host.rsplit_once(':').with_context(|| format!("{host}: there is no port"))?;
    let port = port.parse().with_context(|| format!("{host}: {port} is not a port"))?;
    let address: IpAddr = resolve::lookup(name)?;
    Ok(SocketAddr::new(address, port))
}

fn timeout(limit: Duration) -> Result<Duration> {
    let Some(text) = std::env::var_os(TIMEOUT) else { return Ok(limit) };
    let seconds = text.to_str().and_then(|text| text.parse().ok()).filter(|seconds: &f64| *seconds > 0.0);
    let limit = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    limit.with_context(|| format!("{TIMEOUT}={}: is not a number of seconds", text.display()))
}

/// Reads any bytes as a plugin's answer over HTTP, which is understood or an error, and as its description.
#[cfg(any(test, fuzzing))]
pub(crate) fn check_answer(bytes: &[u8]) {
    registry::check_description(bytes);
    for cut in [bytes.len(), bytes.len() / 2] {
        let Ok(answer) = http::answer_of(&bytes[..cut]) else { continue };
        if let Ok(reply) = read(&answer) {
            let plugin = Plugin { name: "p".into(), address: Address::Tcp(String::new()) };
            let mountpoint = plugin.checked("VolumeDriver.Mount", reply.mountpoint);
            assert!(mountpoint.is_ok_and(|path| path.is_absolute()) || !reply.err.is_empty() || answer.status == 200);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Reply> {
        read(&Answer { status, body: body.into() })
    }

    #[test]
    fn replies_are_read_as_go_writes_them() {
        let reply = answer(200, r#"{"Volumes": null, "Err": null}"#).unwrap();
        assert!(reply.err.is_empty() && reply.volumes.is_empty());
        let text = r#"{"Volume": {"Name": "v", "Mountpoint": "/m", "Status": {"a": 1}, "More": []}, "Err": ""}"#;
        let shown = answer(200, text).unwrap().volume.unwrap();
        assert_eq!((shown.name.as_str(), shown.mountpoint.as_str(), &shown.status["a"]), ("v", "/m", &json!(1)));
        assert_eq!(answer(200, r#"{"Capabilities": {"Scope": "global"}}"#).unwrap().capabilities.scope, "global");
        assert_eq!(answer(500, r#"{"Err": "no space"}"#).unwrap().err, "no space");
        assert_eq!(answer(500, "it broke\n").unwrap().err, "it broke");
        assert_eq!(answer(503, "").unwrap().err, "status 503");
        for nonsense in ["", "hello", "[]", "3", r#"{"Err": 3}"#, r#"{"Volume": "x"}"#] {
            let error = answer(200, nonsense).unwrap_err().to_string();
            assert_eq!(error, "the answer is not the JSON of a plugin", "{nonsense}");
        }
        assert!(answer(404, "page not found").unwrap_err().to_string().contains("page not found"));
    }
}
