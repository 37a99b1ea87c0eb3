//! `-v [SOURCE:]DESTINATION[:OPTIONS]`.

use super::{check_destination, host_path};
use crate::plan::mounts::{AddedMount, MissingSource};
use crate::plan::volume::check_name;
use anyhow::{Result, bail, ensure};
use std::path::Path;

/// Reads the value of `-v`. `cwd` is where a source that begins with `.` starts.
pub fn volume(text: &str, cwd: &Path, place: String) -> Result<AddedMount> {
    let invalid = |why: &str| format!("invalid volume specification: '{text}'{why}");
    let fields: Vec<&str> = text.split(':').collect();
    ensure!(fields.len() <= 3 && !fields.iter().any(|field| field.is_empty()), "{}", invalid(""));
    let (source, destination, options) = match fields[..] {
        [destination] => (None, destination, ""),
        // `/foo:ro` is no volume that is called /foo.
        [_, second] if Mode::parse(second).is_ok() => bail!("{}", invalid("")),
        [source, destination] => (Some(source), destination, ""),
        [source, destination, options] => (Some(source), destination, options),
        _ => bail!("{}", invalid("")),
    };
    let is_path = source.is_some_and(|source| source.starts_with('/') || source.starts_with('.'));
    let kind = if is_path { "bind" } else { "volume" };
    check_destination(destination)
        .map_err(|why| anyhow::anyhow!(invalid(&format!(": invalid mount config for type \"{kind}\": {why}"))))?;
    let mode = Mode::parse(options)?;
    let misplaced = |field: &str| {
        invalid(&format!(": invalid mount config for type \"{kind}\": field {field} must not be specified"))
    };
    let mut mount = AddedMount {
        place,
        destination: destination.into(),
        kind: kind.into(),
        missing: MissingSource::Made,
        ..AddedMount::default()
    };
    let Some(source) = source else {
        mount.options = mode.options(kind);
        return Ok(mount);
    };
    if is_path {
        ensure!(mode.copy.is_none(), "{}", misplaced("VolumeOptions"));
        mount.source = Some(host_path(source, cwd));
        mount.options = vec!["rbind".into()];
    } else {
        check_name(source).map_err(|why| anyhow::anyhow!("create {source}: {why}"))?;
        ensure!(mode.propagation.is_none(), "{}", misplaced("BindOptions"));
        mount.source = Some(source.into());
    }
    mount.options.extend(mode.options(kind));
    Ok(mount)
}

/// The third field: at most one word of each kind. Docker knows the first five kinds, Podman the others too.
#[derive(Debug, Default)]
struct Mode<'a> {
    access: Option<&'a str>,
    label: Option<&'a str>,
    propagation: Option<&'a str>,
    copy: Option<&'a str>,
    consistency: Option<&'a str>,
    devices: Option<&'a str>,
    execution: Option<&'a str>,
    set_user_id: Option<&'a str>,
    idmap: Option<&'a str>,
}

impl<'a> Mode<'a> {
    fn parse(text: &'a str) -> Result<Mode<'a>> {
        let mut mode = Mode::default();
        for word in text.split(',').filter(|_| !text.is_empty()) {
            let place = match word {
                "ro" | "rw" => &mut mode.access,
                "z" | "Z" => &mut mode.label,
                "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" => &mut mode.propagation,
                "consistent" | "cached" | "delegated" | "default" => &mut mode.consistency,
                "copy" | "nocopy" => &mut mode.copy,
                "dev" | "nodev" => &mut mode.devices,
                "exec" | "noexec" => &mut mode.execution,
                "suid" | "nosuid" => &mut mode.set_user_id,
                "idmap" => &mut mode.idmap,
                _ => bail!("invalid mode: {text}"),
            };
            ensure!(place.replace(word).is_none(), "invalid mode: {text}");
        }
        Ok(mode)
    }

    fn options(&self, kind: &str) -> Vec<String> {
        let mut options = Vec::new();
        if self.access == Some("ro") {
            // All of it, what is mounted below included (moby#44978).
            options.push(if kind == "bind" { "rro" } else { "ro" });
        }
        options.extend(self.propagation);
        // `copy` is what happens anyway.
        options.extend(self.copy.filter(|word| *word == "nocopy"));
        options.extend([self.devices, self.execution, self.set_user_id, self.idmap].into_iter().flatten());
        options.into_iter().map(str::to_owned).collect()
    }
}
