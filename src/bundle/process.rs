//! process.json, the file of `exec`: the `process` of a config, alone.

use super::{LoadError, MAX_SIZE, Misfits, repair, strict::Strict};
use crate::sys::Call;
use anyhow::{anyhow, bail};
use oci_spec::runtime::Process;
use serde::Deserialize;
use serde_json::json;
use std::io::Read;
use std::path::Path;

/// A process.json as read from disk.
#[derive(Debug, Clone)]
pub struct ProcessFile {
    pub process: Process,
    /// As for a config: see [`super::Bundle::warnings`].
    pub warnings: Vec<String>,
    /// As for a config, with places that begin with `process`.
    pub misfits: Misfits,
}

impl ProcessFile {
    /// Reads the file, which may be a pipe.
    pub fn load(path: &Path) -> Result<ProcessFile, LoadError> {
        ProcessFile::from_json(&read(path).map_err(LoadError::File)?)
    }

    /// Reads the text of the file.
    pub fn from_json(text: &[u8]) -> Result<ProcessFile, LoadError> {
        let parse = |what: String| LoadError::File(anyhow!("parse: {what}"));
        let text = std::str::from_utf8(text)
            .map_err(|e| parse(format!("byte {} is not UTF-8", e.valid_up_to())))?
            .trim_start_matches('\u{feff}');
        if !text.contains("\\u0000")
            && let Ok(process) = typed(text)
        {
            return Ok(ProcessFile { process, warnings: Vec::new(), misfits: Misfits::default() });
        }
        // Slower, but it tells all that is wrong, and where: as the `process` of a config.
        let value: serde_json::Value = serde_json::from_str(text).map_err(|e| parse(e.to_string()))?;
        let config = json!({ "ociVersion": "1.0.0", "root": { "path": "/" }, "process": value });
        let (spec, mut misfits, warnings) = repair::read(config).map_err(LoadError::Shape)?;
        repair::refuse_nul(&spec, &mut misfits);
        match spec.process() {
            Some(process) => Ok(ProcessFile { process: process.clone(), warnings, misfits }),
            None if misfits.is_empty() => Err(parse("null is not a process".into())),
            None => Err(LoadError::Shape(misfits.problems)),
        }
    }
}

fn typed(text: &str) -> serde_json::Result<Process> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let process = Process::deserialize(Strict(&mut deserializer))?;
    deserializer.end()?;
    Ok(process)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = std::fs::File::open(path).call(|| "open".into())?;
    let mut text = Vec::with_capacity(4096);
    file.take(MAX_SIZE as u64 + 1).read_to_end(&mut text).call(|| "read".into())?;
    if text.len() > MAX_SIZE {
        bail!("more than the limit of {MAX_SIZE} bytes");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<ProcessFile, String> {
        ProcessFile::from_json(text.as_bytes()).map_err(|error| error.to_string())
    }

    fn misfits(text: &str) -> Vec<String> {
        load(text).unwrap().misfits.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_object_that_engines_write() {
        let file = load(r#"{"user":{"uid":1,"gid":2},"args":["a"],"cwd":"/","env":["A=1"],"terminal":false}"#).unwrap();
        assert_eq!(file.process.args(), &Some(vec!["a".to_owned()]));
        assert!(file.misfits.is_empty());
    }

    #[test]
    fn misfits_are_named_by_their_places() {
        let found = misfits(r#"{"user":{"uid":-1,"gid":0},"args":["a", 1],"cwd":"/"}"#);
        assert!(found.iter().any(|m| m.starts_with("process.user.uid: ")), "{found:?}");
        assert!(found.iter().any(|m| m.starts_with("process.args[1]: ")), "{found:?}");
        assert_eq!(misfits(r#"{"args":["a\u0000"],"cwd":"/"}"#), ["process.args[0]: contains a NUL character"]);
        let file = load(r#"{"args":["a"],"cwd":"/","capabilities":{"bounding":["CAP_NO_SUCH"]}}"#).unwrap();
        assert!(file.misfits.is_empty() && file.warnings.len() == 1, "{file:?}");
    }

    #[test]
    fn what_is_no_process() {
        for text in ["", "[]", "null", "7", "{} {}"] {
            assert!(load(text).is_err() || !misfits(text).is_empty(), "{text}");
        }
    }
}
