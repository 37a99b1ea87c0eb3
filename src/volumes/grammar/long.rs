//! `--mount type=…,source=…,destination=…`.

use super::{check_destination, host_path, new_tmpfs};
use crate::plan::mounts::{AddedMount, MissingSource};
use crate::plan::volume::check_name;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

/// What `--mount` may say. One field for each key.
#[derive(Debug, Default)]
struct Words {
    kind: Option<String>,
    source: String,
    target: String,
    readonly: bool,
    propagation: Option<String>,
    recursive: Option<Recursive>,
    create_source: bool,
    subpath: Option<String>,
    no_copy: bool,
    labels: Vec<String>,
    driver: Option<String>,
    driver_options: Vec<String>,
    size: Option<String>,
    mode: Option<String>,
    /// The kinds of mount whose own options were given: `bind`, `volume`, `tmpfs`.
    classes: Vec<&'static str>,
}

/// `bind-recursive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recursive {
    Enabled,
    Disabled,
    Writable,
    Readonly,
}

/// Reads the value of `--mount`. `cwd` is where a bind's source that begins with `.` starts.
pub fn mount(text: &str, cwd: &Path, place: String) -> Result<AddedMount> {
    let mut words = Words::default();
    for field in fields(text)? {
        words.take(&field)?;
    }
    let kind = words.kind.clone().unwrap_or_else(|| "volume".into());
    for class in &words.classes {
        ensure!(*class == kind, "cannot mix '{class}-*' options with mount type '{kind}'");
    }
    ensure!(!words.target.is_empty(), "target is required");
    let invalid = |why: &str| format!("invalid mount config for type \"{kind}\": {why}");
    check_destination(&words.target).map_err(|why| anyhow::anyhow!(invalid(&why)))?;
    match kind.as_str() {
        "bind" => words.bind(cwd, place),
        "volume" => words.volume(place),
        "tmpfs" => words.tmpfs(place),
        "image" | "cluster" | "npipe" => bail!("{}", invalid("a container runtime has none of these")),
        _ => bail!("{}", invalid("mount type unknown")),
    }
}

impl Words {
    fn take(&mut self, field: &str) -> Result<()> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        let key = key.to_ascii_lowercase();
        ensure!(
            key.trim() == key && value.is_none_or(|value| value.trim() == value),
            "invalid option '{field}': option should not have whitespace"
        );
        let class = ["bind", "volume", "tmpfs", "image"]
            .into_iter()
            .find(|class| key.strip_prefix(class).is_some_and(|rest| rest.starts_with('-')));
        self.classes.extend(class);
        if self.switch(&key, value, field)? {
            return Ok(());
        }
        let Some(value) = value else { bail!("invalid field '{field}' must be a key=value pair") };
        ensure!(!value.is_empty() || key == "source" || key == "src", "invalid value for '{key}': value is empty");
        let value = value.to_owned();
        match key.as_str() {
            "type" => self.kind = Some(value.to_ascii_lowercase()),
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "consistency" => {}
            "bind-propagation" => {
                let known = ["private", "rprivate", "slave", "rslave", "shared", "rshared"];
                ensure!(known.contains(&value.as_str()), "invalid propagation value: {value}");
                self.propagation = Some(value);
            }
            "bind-recursive" => {
                self.recursive = Some(match value.as_str() {
                    "enabled" => Recursive::Enabled,
                    "disabled" => Recursive::Disabled,
                    "writable" => Recursive::Writable,
                    "readonly" => Recursive::Readonly,
                    _ => bail!(
                        "invalid value for bind-recursive: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                    ),
                });
            }
            "bind-nonrecursive" => {
                bail!("bind-nonrecursive is deprecated, use bind-recursive=disabled instead")
            }
            "volume-subpath" => self.subpath = Some(value),
            "volume-label" => self.labels.push(value),
            "volume-driver" => self.driver = Some(value),
            "volume-opt" => self.driver_options.push(value),
            "tmpfs-size" => {
                self.size = Some(bytes(&value).with_context(|| format!("invalid value for {key}: {value}"))?)
            }
            "tmpfs-mode" => {
                u32::from_str_radix(&value, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o7777)
                    .with_context(|| format!("invalid value for {key}: {value}"))?;
                self.mode = Some(value);
            }
            _ => bail!("unexpected key '{key}' in '{field}'"),
        }
        Ok(())
    }

    /// The keys that need no value.
    fn switch(&mut self, key: &str, value: Option<&str>, field: &str) -> Result<bool> {
        let place = match key {
            "readonly" | "ro" => &mut self.readonly,
            "volume-nocopy" => &mut self.no_copy,
            "bind-create-src" => &mut self.create_source,
            _ => return Ok(false),
        };
        *place = match value {
            None | Some("true" | "1") => true,
            Some("false" | "0") => false,
            Some(_) => bail!(
                "invalid value for '{key}': invalid boolean value ('{field}'): must be one of \"true\", \"1\", \"false\", or \"0\" (default \"true\")"
            ),
        };
        Ok(true)
    }

    fn bind(self, cwd: &Path, place: String) -> Result<AddedMount> {
        ensure!(!self.source.is_empty(), "invalid mount config for type \"bind\": field Source must not be empty");
        let recursive = self.recursive.unwrap_or(Recursive::Enabled);
        ensure!(
            self.readonly || !matches!(recursive, Recursive::Writable | Recursive::Readonly),
            "option 'bind-recursive={}' requires 'readonly' to be specified in conjunction",
            if recursive == Recursive::Writable { "writable" } else { "readonly" }
        );
        ensure!(
            recursive != Recursive::Readonly || self.propagation.as_deref() == Some("rprivate"),
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
        );
        let mut options = vec![if recursive == Recursive::Disabled { "bind" } else { "rbind" }.to_owned()];
        if self.readonly {
            options
                .push(if matches!(recursive, Recursive::Writable | Recursive::Disabled) { "ro" } else { "rro" }.into());
        }
        // Docker's default also where the mount is a single one, and `mounts` shows it.
        let by_default = (recursive == Recursive::Disabled).then(|| "rprivate".to_owned());
        options.extend(self.propagation.or(by_default));
        Ok(AddedMount {
            place,
            destination: self.target.into(),
            kind: "bind".into(),
            source: Some(host_path(&self.source, cwd)),
            options,
            missing: if self.create_source { MissingSource::Made } else { MissingSource::Refused },
            ..AddedMount::default()
        })
    }

    fn volume(self, place: String) -> Result<AddedMount> {
        if !self.source.is_empty() {
            check_name(&self.source).map_err(|why| anyhow::anyhow!("create {}: {why}", self.source))?;
        }
        let mut options = Vec::new();
        if self.readonly {
            options.push("ro".to_owned());
        }
        if self.no_copy {
            options.push("nocopy".to_owned());
        }
        let mut keys =
            |key: &str, values: Vec<String>| options.extend(values.iter().map(|value| format!("{key}={value}")));
        keys("subpath", self.subpath.into_iter().collect());
        keys("driver", self.driver.into_iter().collect());
        keys("driver-opt", self.driver_options);
        keys("label", self.labels);
        Ok(AddedMount {
            place,
            destination: self.target.into(),
            kind: "volume".into(),
            source: (!self.source.is_empty()).then(|| self.source.into()),
            options,
            ..AddedMount::default()
        })
    }

    fn tmpfs(self, place: String) -> Result<AddedMount> {
        ensure!(self.source.is_empty(), "invalid mount config for type \"tmpfs\": field Source must not be specified");
        let mut options = Vec::new();
        if self.readonly {
            options.push("ro".to_owned());
        }
        options.extend(self.size.map(|size| format!("size={size}")));
        options.extend(self.mode.map(|mode| format!("mode={mode}")));
        Ok(new_tmpfs(&self.target, options.into_iter(), place))
    }
}

/// The fields of one line of CSV: quoted ones may hold commas, and a quote is doubled in them.
fn fields(text: &str) -> Result<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                ensure!(!rest[..end].contains('"'), "parse error: bare \" in non-quoted-field");
                (rest[..end].to_owned(), &rest[end..])
            }
            Some(quoted) => {
                let end = closing_quote(quoted).context("parse error: extraneous or missing \" in quoted-field")?;
                (quoted[..end].replace("\"\"", "\""), &quoted[end + 1..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(fields),
            None => bail!("parse error: extraneous or missing \" in quoted-field"),
        }
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        at += text[at..].find('"')?;
        if !text[at + 1..].starts_with('"') {
            return Some(at);
        }
        at += 2;
    }
}

/// `64m`, `1.5GiB`, `100`: as a number of bytes.
pub fn bytes(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let unit = text[end..].trim().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit);
    let factor = match unit {
        "" => 1u64,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        "p" => 1 << 50,
        _ => return None,
    };
    Some(((number * factor as f64) as u64).to_string())
}
