//! One string of the annotation `rvol.volumes`.

use super::short;
use crate::plan::mounts::AddedMount;
use anyhow::{Result, ensure};
use std::path::Path;

/// Reads `[NAME:]DESTINATION[:OPTIONS]` as `-v` does, but never a directory of the host. An annotation has no other
/// way to say `subpath=`, which `--mount` and config.json have for flags, so it stands among the options.
pub fn annotated(text: &str, place: String) -> Result<AddedMount> {
    let (flag, extra) = split(text);
    let mut mount = short::volume(&flag, Path::new("/"), place.clone())?;
    ensure!(mount.kind == "volume", "{place}: {text}: an annotation cannot ask for a directory of the host");
    mount.options.extend(extra);
    Ok(mount)
}

/// The words that `-v` does not know, taken out of the third field.
fn split(text: &str) -> (String, Vec<String>) {
    let fields: Vec<&str> = text.splitn(3, ':').collect();
    let [source, destination, options] = fields[..] else { return (text.to_owned(), Vec::new()) };
    let is_extra = |word: &&str| word.starts_with("subpath=");
    let (extra, rest): (Vec<&str>, Vec<&str>) = options.split(',').partition(is_extra);
    if extra.is_empty() {
        return (text.to_owned(), Vec::new());
    }
    let mut flag = format!("{source}:{destination}");
    if !rest.is_empty() {
        flag.push_str(&format!(":{}", rest.join(",")));
    }
    (flag, extra.into_iter().map(str::to_owned).collect())
}

/// The options of such a string, as they were written.
pub fn options(text: &str) -> impl Iterator<Item = &str> {
    text.splitn(3, ':').nth(2).into_iter().flat_map(|options| options.split(','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_beyond_those_of_v() {
        for (text, source, options) in [
            ("data:/data", Some("data"), &[][..]),
            ("data:/data:ro", Some("data"), &["ro"]),
            ("data:/data:noexec", Some("data"), &["noexec"]),
            ("data:/data:ro,subpath=a/b,nocopy", Some("data"), &["ro", "nocopy", "subpath=a/b"]),
            ("/anonymous", None, &[]),
        ] {
            let mount = annotated(text, "x".into()).unwrap();
            assert_eq!(mount.source.as_deref(), source.map(Path::new), "{text}");
            assert_eq!(mount.options, options, "{text}");
        }
        for text in ["/etc:/data", "./x:/data", "/etc:/data:noexec", "data::ro"] {
            assert!(annotated(text, "x".into()).is_err(), "{text}");
        }
    }
}
