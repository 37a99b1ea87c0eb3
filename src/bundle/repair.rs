//! Reads a config that does not fit the types: names each misfit, takes it out, and goes on.
//!
//! Also bridges the few places where the types are stricter than the spec. Not on the path of a correct config.

use super::strict::Strict;
use crate::plan::{Problem, place};
use oci_spec::runtime::{Capability, LinuxResources, Spec};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use serde_path_to_error::Segment;
use std::collections::{BTreeMap, BTreeSet};

/// Each of them costs one more pass over the config.
const MOST_MISFITS: usize = 50;

/// The values that do not have the shape the spec gives them.
#[derive(Debug, Clone, Default)]
pub struct Misfits {
    pub problems: Vec<Problem>,
    /// Places of everything that was taken out.
    removed: BTreeSet<String>,
    /// Of each array that lost elements, by its place: the indexes that are gone, sorted, as the file has them.
    gaps: BTreeMap<String, Vec<usize>>,
}

impl Misfits {
    /// True when the whole config fits.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// True when something was taken out of what stands at `place`.
    pub fn touch(&self, place: &str) -> bool {
        self.removed
            .iter()
            .any(|r| r.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])))
    }

    /// All problems: these, and those that were found in the repaired config, with the indexes that the file has and
    /// without complaints about what is missing only because it was taken out.
    pub fn with(&self, found: Vec<Problem>) -> Vec<Problem> {
        let mut all = self.problems.clone();
        for problem in found {
            let place = self.restore(&problem.place);
            // A list that lost elements is not to blame for being short of them.
            if !self.removed.contains(&place) && !self.gaps.contains_key(&place) {
                all.push(Problem { place, ..problem });
            }
        }
        all
    }

    /// A place of the repaired config as a place in the file: `mounts[1]` is `mounts[2]` when `mounts[1]` is gone.
    fn restore(&self, place: &str) -> String {
        if self.gaps.is_empty() {
            return place.to_string();
        }
        let mut out = String::with_capacity(place.len() + 2);
        let mut rest = place;
        while let Some(open) = rest.find('[') {
            out.push_str(&rest[..open]);
            rest = &rest[open..];
            let Some(close) = rest.find(']') else { break };
            match rest[1..close].parse::<usize>() {
                Ok(index) => out.push_str(&format!("[{}]", self.index_in_file(&out, index))),
                Err(_) => out.push_str(&rest[..=close]),
            }
            rest = &rest[close + 1..];
        }
        out + rest
    }

    fn index_in_file(&self, array: &str, mut index: usize) -> usize {
        for gone in self.gaps.get(array).into_iter().flatten() {
            if *gone <= index {
                index += 1;
            }
        }
        index
    }

    /// Notes that the value at `place` was taken out.
    fn remove(&mut self, place: &str) {
        self.removed.insert(place.to_string());
        let Some((array, index)) = place.strip_suffix(']').and_then(|p| p.rsplit_once('[')) else { return };
        if let Ok(index) = index.parse() {
            let gaps = self.gaps.entry(array.to_string()).or_default();
            gaps.push(index);
            gaps.sort_unstable();
        }
    }
}

/// The config in `value` as far as it fits, its misfits, and warnings for what the spec says to leave out.
pub fn read(mut value: Value) -> Result<(Spec, Misfits, Vec<String>), Vec<Problem>> {
    let Some(config) = value.as_object_mut() else {
        return Err(vec![Problem::new("config.json", format!("is {}, not an object", kind(&value)))]);
    };
    let mut warnings = Vec::new();
    bridge(config, &mut warnings);
    fit(value, "config.json").map(|(spec, misfits)| (spec, misfits, warnings))
}

/// As [`read`], for `linux.resources` in a file of their own.
pub fn read_resources(mut value: Value) -> Result<(LinuxResources, Misfits), Vec<Problem>> {
    let Some(resources) = value.as_object_mut() else {
        return Err(vec![Problem::new("resources", format!("is {}, not an object", kind(&value)))]);
    };
    resources.iter_mut().filter(|(name, _)| *name != "unified").for_each(|(_, section)| drop_nulls(section));
    resources.retain(|_, section| !section.is_null());
    bridge_resources(resources);
    fit(value, "resources")
}

/// What of `value` fits the type, and what does not. `whole` is what `value` is called.
fn fit<T: DeserializeOwned>(mut value: Value, whole: &str) -> Result<(T, Misfits), Vec<Problem>> {
    let mut misfits = Misfits::default();
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(Strict(&value)) {
            Ok(typed) => return Ok((typed, misfits)),
            Err(error) => error,
        };
        if misfits.problems.len() == MOST_MISFITS {
            misfits.problems.push(Problem::new(whole, "has more misfits than these; the rest is not looked at"));
            return Err(misfits.problems);
        }
        let path = own_path(error.path());
        if let Err(mut last) = take_out(&mut value, &path, &error.inner().to_string(), &mut misfits) {
            if last.place.is_empty() {
                last.place = whole.to_string();
            }
            misfits.problems.push(last);
            return Err(misfits.problems);
        }
    }
}

/// The way to the value that does not fit, without the segments that are no places in JSON.
fn own_path(path: &serde_path_to_error::Path) -> Vec<Step> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Index(usize),
}

fn place_of(path: &[Step]) -> String {
    path.iter().fold(String::new(), |place, step| match step {
        Step::Key(key) => place::member(&place, key),
        Step::Index(index) => format!("{place}[{index}]"),
    })
}

/// Notes the misfit at `path`, and removes it from `value`.
fn take_out(value: &mut Value, path: &[Step], message: &str, misfits: &mut Misfits) -> Result<(), Problem> {
    let place = misfits.restore(&place_of(path));
    if let Some(name) = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        let missing = place::member(&place, name);
        if misfits.removed.insert(missing.clone()) {
            misfits.problems.push(Problem::new(missing.as_str(), "is required"));
        }
        // Something in its place, so that what stands beside it is still looked at.
        if let (Some(stand_in), Some(Value::Object(object))) = (stand_in(&missing), at(value, path)) {
            object.insert(name.to_string(), stand_in);
            return Ok(());
        }
    } else {
        misfits.problems.push(Problem::new(place.as_str(), plain(message)));
    }
    misfits.remove(&place);
    let gone = match path.split_last() {
        Some((Step::Key(key), parent)) => at(value, parent).and_then(Value::as_object_mut).and_then(|o| o.remove(key)),
        Some((Step::Index(index), parent)) => {
            at(value, parent).and_then(Value::as_array_mut).and_then(|a| (*index < a.len()).then(|| a.remove(*index)))
        }
        None => None,
    };
    match gone {
        Some(_) => Ok(()),
        None => Err(Problem::new(place, plain(message))),
    }
}

fn at<'v>(value: &'v mut Value, path: &[Step]) -> Option<&'v mut Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    })
}

/// A harmless value for what is required and missing, where its absence would hide a large part of the config.
fn stand_in(place: &str) -> Option<Value> {
    match place {
        "process.cwd" => Some(json!("/")),
        "linux.seccomp.defaultAction" => Some(json!("SCMP_ACT_ALLOW")),
        _ => None,
    }
}

/// serde's message in words that need no knowledge of Rust.
fn plain(message: &str) -> String {
    let message: String =
        message.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect();
    let message = message.replacen("unknown variant `", "unknown value `", 1);
    let Some((found, expected)) = message.rsplit_once(", expected ") else { return message };
    let expected = match expected {
        "u16" => "a number from 0 to 65535",
        "u32" => "a number from 0 to 4294967295",
        "u64" | "usize" => "a number from 0 to 18446744073709551615",
        "i32" => "a number from -2147483648 to 2147483647",
        "i64" => "a number from -9223372036854775808 to 9223372036854775807",
        "a sequence" => "an array",
        "a map" => "an object",
        "path string" => "a string",
        other if other.starts_with("struct ") => "an object",
        other if other.starts_with("enum ") || other.starts_with("variant identifier") => "a string",
        other => other,
    };
    let found = match found {
        "invalid type: sequence" => "invalid type: array",
        "invalid type: map" => "invalid type: object",
        other => other,
    };
    format!("{found}, expected {expected}")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Bridges the places where the types ask for more than the spec does.
fn bridge(config: &mut Map<String, Value>, warnings: &mut Vec<String>) {
    // Not for Linux, or in no version of the spec: unknown properties are ignored, whatever they hold.
    for foreign in ["solaris", "windows", "vm", "zos", "freebsd", "uidMappings", "gidMappings"] {
        config.remove(foreign);
    }
    for (name, value) in config.iter_mut() {
        // In these a null would be a value.
        if name != "annotations" {
            drop_nulls(value);
        }
    }
    let resources = config.get_mut("linux").and_then(|linux| linux.get_mut("resources"));
    if let Some(resources) = resources.and_then(Value::as_object_mut) {
        bridge_resources(resources);
    }
    let Some(process) = config.get_mut("process").and_then(Value::as_object_mut) else { return };
    process.entry("user").or_insert_with(|| json!({}));
    if let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) {
        sets.iter_mut().for_each(|(set, names)| drop_unknown_capabilities(set, names, warnings));
    }
    if let Some(flags) = process.get_mut("scheduler").and_then(|s| s.get_mut("flags")).and_then(Value::as_array_mut) {
        flags.iter_mut().for_each(spell_scheduler_flag);
    }
    if let Some(affinity) = process.get_mut("execCPUAffinity").and_then(Value::as_object_mut) {
        affinity.values_mut().for_each(tidy_list);
        affinity.retain(|_, list| list != "");
    }
}

/// Without a limit there is none, while oci-spec would make it 0, for which nothing could be forked.
fn bridge_resources(resources: &mut Map<String, Value>) {
    resources.retain(|name, value| name != "pids" || value.as_object().is_none_or(|pids| pids.contains_key("limit")));
}

/// Absent and null are the same, as for the Go bindings that engines write with.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|name, member| {
                if !["sysctl", "unified"].contains(&name.as_str()) {
                    drop_nulls(member);
                }
                !member.is_null()
            });
        }
        Value::Array(array) => array.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// "Any value which cannot be mapped to a relevant kernel interface […] MUST be logged as a warning", config.md.
fn drop_unknown_capabilities(set: &str, names: &mut Value, warnings: &mut Vec<String>) {
    let Some(names) = names.as_array_mut() else { return };
    names.retain(|name| {
        let known = !name.is_string() || Capability::deserialize(name).is_ok();
        if !known {
            warnings.push(format!("process.capabilities.{set}: {name} is not a known capability and is left out"));
        }
        known
    });
}

/// oci-spec has two of the names in a spelling of its own.
fn spell_scheduler_flag(flag: &mut Value) {
    match flag.as_str() {
        Some("SCHED_FLAG_RESET_ON_FORK") => *flag = json!("SCHED_RESET_ON_FORK"),
        Some("SCHED_FLAG_DL_OVERRUN") => *flag = json!("SCHED_FLAG_D_L_OVERRUN"),
        _ => {}
    }
}

/// Blanks and empty elements in a list of CPUs mean nothing.
fn tidy_list(list: &mut Value) {
    let Some(text) = list.as_str() else { return };
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    *list = json!(parts.join(","));
}

/// Notes every string of the config that holds a NUL character.
pub fn refuse_nul(spec: &Spec, misfits: &mut Misfits) {
    let mut places = Vec::new();
    if let Ok(value) = serde_json::to_value(spec) {
        find_nul(&value, String::new(), &mut places);
    }
    for place in places {
        let place = misfits.restore(&place);
        misfits.problems.push(Problem::new(place, "contains a NUL character"));
    }
}

fn find_nul(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        // Opaque to us and to the kernel; the others are not for Linux.
        _ if ["annotations", "linux.seccomp.listenerMetadata", "windows", "solaris", "vm", "zos"]
            .contains(&place.as_str()) => {}
        Value::String(text) if text.contains('\0') => places.push(place),
        Value::Array(array) => {
            array.iter().enumerate().for_each(|(i, v)| find_nul(v, format!("{place}[{i}]"), places));
        }
        Value::Object(object) => object.iter().for_each(|(key, v)| {
            let place = place::member(&place, key);
            if key.contains('\0') {
                places.push(place.clone());
            }
            find_nul(v, place, places);
        }),
        _ => {}
    }
}
