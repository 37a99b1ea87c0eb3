//! A plugin for volumes, as small as one can be, which can also behave badly.
//!
//! `volume-plugin SOCKET DIR [WORD...]`: volumes are directories of DIR, `DIR/log` has a line for each call. The words:
//! `hang=METHOD`, `nonsense=METHOD`, `json=METHOD:TEXT` (that as the answer), `error=METHOD:TEXT`, `status=METHOD:TEXT`
//! (with status 500), `close=METHOD`, `trickle=METHOD` (a byte at a time, without an end), `chunked` (all answers are),
//! `has=VOLUME` (made before we came), `at=PATH` (the mountpoint of all), `scope=SCOPE`, `kind=WHAT` (instead of
//! VolumeDriver).

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

struct Plugin {
    dir: PathBuf,
    words: Vec<String>,
    /// The users of each volume, by their ids.
    volumes: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

fn main() {
    let mut words = std::env::args().skip(1);
    let socket = words.next().expect("SOCKET");
    let dir = PathBuf::from(words.next().expect("DIR"));
    let words: Vec<String> = words.collect();
    let has = words.iter().filter_map(|word| word.strip_prefix("has=")).map(|name| (name.to_owned(), BTreeSet::new()));
    let plugin = Plugin { volumes: Mutex::new(has.collect()), dir, words };
    for name in plugin.volumes.lock().expect("not poisoned").keys() {
        std::fs::create_dir_all(plugin.dir.join(name)).expect("mkdir");
    }
    let listener = UnixListener::bind(&socket).expect("listen");
    println!("ready");
    std::thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            let plugin = &plugin;
            // Whoever asked may have gone: no reason to end.
            scope.spawn(move || plugin.serve(stream).unwrap_or_default());
        }
    });
}

impl Plugin {
    fn serve(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let method = line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? <= 2 {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let request: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let mut log = std::fs::File::options().append(true).create(true).open(self.dir.join("log"))?;
        log.write_all(format!("{method} {request}\n").as_bytes())?;
        let said = |word: &str| self.said(word, &method);
        if said("hang").is_some() {
            std::thread::sleep(Duration::from_secs(1000));
        }
        if said("close").is_some() {
            return Ok(());
        }
        if said("nonsense").is_some() {
            return stream.write_all(b"what do you want?\n");
        }
        if said("trickle").is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX: ")?;
            loop {
                stream.write_all(b"x")?;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let (status, text) = match (said("json"), said("error"), said("status")) {
            (Some(text), ..) => (200, text),
            (_, Some(text), _) => (200, json!({"Err": text}).to_string()),
            (.., Some(text)) => (500, json!({"Err": text}).to_string()),
            _ => self.answer(&method, &request),
        };
        let head = format!("HTTP/1.1 {status} So\r\nContent-Type: application/json\r\n");
        if self.words.iter().any(|word| word == "chunked") {
            let (a, b) = text.split_at(text.len() / 2);
            let chunk =
                |text: &str| if text.is_empty() { String::new() } else { format!("{:x}\r\n{text}\r\n", text.len()) };
            let body = format!("{}{}0\r\n\r\n", chunk(a), chunk(b));
            return stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n{body}").as_bytes());
        }
        stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{text}", text.len()).as_bytes())
    }

    /// What one of the words says of a method: `error=METHOD:TEXT`.
    fn said(&self, word: &str, method: &str) -> Option<String> {
        self.words.iter().find_map(|given| {
            let given = given.strip_prefix(word)?.strip_prefix('=')?;
            let (of, text) = given.split_once(':').unwrap_or((given, ""));
            method.ends_with(of).then(|| text.to_owned())
        })
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn answer(&self, method: &str, request: &Value) -> (u16, String) {
        let mut volumes = self.volumes.lock().expect("not poisoned");
        let text = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
        let (name, id) = (text("Name"), text("ID"));
        let mountpoint = |name: &str| match self.value("at") {
            Some(path) => json!(path),
            None => json!(self.dir.join(name)),
        };
        let shown = |name: &str, users: &BTreeSet<String>| {
            let mounted = if users.is_empty() { json!("") } else { mountpoint(name) };
            json!({"Name": name, "Mountpoint": mounted, "Status": {"users": users.len()}, "CreatedAt": "2026-01-02T03:04:05Z"})
        };
        let missing = || (200, json!({"Err": format!("{name}: never heard of it")}));
        let (status, answer) = match method {
            "Plugin.Activate" => (200, json!({"Implements": [self.value("kind").unwrap_or("VolumeDriver")]})),
            "VolumeDriver.Capabilities" => {
                (200, json!({"Capabilities": {"Scope": self.value("scope").unwrap_or("local")}}))
            }
            "VolumeDriver.List" => {
                let all: Vec<Value> = volumes.iter().map(|(name, users)| shown(name, users)).collect();
                (200, json!({"Volumes": all, "Err": ""}))
            }
            "VolumeDriver.Create" => {
                let made = std::fs::create_dir_all(self.dir.join(&name)).map_err(|e| e.to_string());
                volumes.entry(name.clone()).or_default();
                (200, json!({"Err": made.err().unwrap_or_default()}))
            }
            _ => match volumes.get_mut(&name) {
                None => missing(),
                Some(users) => match method {
                    "VolumeDriver.Get" => (200, json!({"Volume": shown(&name, users)})),
                    "VolumeDriver.Path" if users.is_empty() => (200, json!({"Mountpoint": ""})),
                    "VolumeDriver.Path" => (200, json!({"Mountpoint": mountpoint(&name)})),
                    "VolumeDriver.Mount" => {
                        users.insert(id);
                        (200, json!({"Mountpoint": mountpoint(&name)}))
                    }
                    "VolumeDriver.Unmount" if users.remove(&id) => (200, json!({"Err": ""})),
                    "VolumeDriver.Unmount" => (200, json!({"Err": format!("{id} has not mounted it")})),
                    "VolumeDriver.Remove" if !users.is_empty() => (200, json!({"Err": "it is mounted"})),
                    "VolumeDriver.Remove" => {
                        volumes.remove(&name);
                        (200, json!({"Err": ""}))
                    }
                    _ => (404, json!("no such method")),
                },
            },
        };
        (status, answer.to_string())
    }
}
