//! Where plugins are found, as Docker finds them: sockets in `/run/docker/plugins`, descriptions in `/etc/docker/plugins`
//! and `/usr/lib/docker/plugins`.

use crate::sys::Call;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

const SOCKETS: &str = "/run/docker/plugins";
const DESCRIPTIONS: [&str; 2] = ["/etc/docker/plugins", "/usr/lib/docker/plugins"];

/// Where a plugin listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Socket(PathBuf),
    /// Host and port.
    Tcp(String),
}

/// A description as JSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    addr: String,
}

impl Address {
    /// Reads `unix:///run/x.sock` or `tcp://host:port`.
    fn parse(text: &str) -> Result<Address> {
        let (scheme, rest) = text.trim().split_once("://").with_context(|| format!("Unknown protocol: {text:?}"))?;
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Address::Socket(rest.into())),
            "tcp" | "http" if !rest.is_empty() => Ok(Address::Tcp(rest.trim_end_matches('/').to_owned())),
            "https" => bail!("{text}: plugins behind TLS are not supported"),
            _ => bail!("{text:?} is not the address of a plugin"),
        }
    }
}

/// The address of a plugin; `None` where nothing describes it.
pub fn find(name: &str) -> Result<Option<Address>> {
    let candidates = |dir: &str, extension: &str| {
        let (dir, file) = (Path::new(dir), format!("{name}.{extension}"));
        [dir.join(&file), dir.join(name).join(&file)]
    };
    // A name that leads elsewhere is nobody's.
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Ok(None);
    }
    for path in candidates(SOCKETS, "sock") {
        if fs::metadata(&path).is_ok_and(|file| file.file_type().is_socket()) {
            return Ok(Some(Address::Socket(path)));
        }
    }
    for path in DESCRIPTIONS.iter().flat_map(|dir| ["spec", "json"].into_iter().flat_map(|kind| candidates(dir, kind)))
    {
        let text = match fs::read_to_string(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            text => text.call(|| format!("read {}", path.display()))?,
        };
        return described(&path, &text).with_context(|| path.display().to_string()).map(Some);
    }
    Ok(None)
}

fn described(path: &Path, text: &str) -> Result<Address> {
    if path.extension().is_none_or(|kind| kind != "json") {
        return Address::parse(text);
    }
    let Described { addr } = serde_json::from_str(text).context("not the description of a plugin")?;
    Address::parse(&addr)
}

/// The names of all plugins, of volumes or of anything else.
pub fn names() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for dir in [SOCKETS].iter().chain(&DESCRIPTIONS) {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.call(|| format!("read {dir}"))?,
        };
        for entry in entries {
            let path = entry.call(|| format!("read {dir}"))?.path();
            let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
            names.extend(stem.and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    // What is something else has no address.
    let mut found = BTreeSet::new();
    for name in names {
        if matches!(find(&name), Ok(Some(_)) | Err(_)) {
            found.insert(name);
        }
    }
    Ok(found)
}

/// Reads any bytes as the description of a plugin: an address, or an error.
#[cfg(any(test, fuzzing))]
pub fn check_description(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for path in ["/p/x.spec", "/p/x.json"] {
        if let Ok(Address::Socket(socket)) = described(Path::new(path), text) {
            assert!(socket.is_absolute(), "{socket:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_dockers() {
        assert_eq!(Address::parse("unix:///run/x.sock\n").unwrap(), Address::Socket("/run/x.sock".into()));
        assert_eq!(Address::parse("tcp://localhost:8080").unwrap(), Address::Tcp("localhost:8080".into()));
        assert_eq!(Address::parse("http://[::1]:80/").unwrap(), Address::Tcp("[::1]:80".into()));
        assert!(Address::parse("/run/x.sock").unwrap_err().to_string().contains("Unknown protocol"));
        assert!(Address::parse("https://h:1").unwrap_err().to_string().contains("TLS"));
        for bad in ["unix://relative", "tcp://", "ftp://x"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
        let json = r#"{"Name": "x", "Addr": "unix:///run/y.sock"}"#;
        assert_eq!(described(Path::new("/p/x.json"), json).unwrap(), Address::Socket("/run/y.sock".into()));
        assert!(described(Path::new("/p/x.json"), "{}").is_err());
    }

    #[test]
    fn names_cannot_lead_elsewhere() {
        for bad in ["", ".", "..", "../x", "a/b", ".hidden"] {
            assert_eq!(find(bad).unwrap(), None, "{bad}");
        }
    }
}
