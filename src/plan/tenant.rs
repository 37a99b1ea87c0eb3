//! Whom an annotation for volumes comes from, and which volumes that person may reach.
//!
//! A pod's author writes the pod's annotations and is not trusted with the volumes of other pods. Which Kubernetes
//! namespace a container belongs to is therefore believed only where an engine says it in a place that the pod's
//! annotations cannot overwrite. docs/kubernetes.md says which engines do, and how that was checked. Pure: labels and
//! annotations in, decisions out.

use crate::annotations as keys;
use serde::Serialize;
use std::collections::BTreeMap;

/// The label with the Kubernetes namespace that a volume belongs to.
pub const NAMESPACE_LABEL: &str = "rvol.namespace";
/// The label by which the node's owner lets namespaces use a volume: `web,batch:ro`, `*`, `*:ro`.
pub const SHARED_LABEL: &str = "rvol.shared-with";
/// The label of an anonymous volume that goes with its container: the id of that container.
pub const CONTAINER_LABEL: &str = "rvol.container";
/// What the names of labels begin with that decide who reaches a volume.
pub const LABEL_PREFIX: &str = "rvol.";

/// `--volume-annotations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Annotations get no volumes.
    Off,
    /// A pod reaches the volumes of its own namespace. `None`: the engine is known by its annotations.
    Scoped(Option<Engine>),
    /// Annotations reach every volume, as flags do.
    Trusted,
}

/// An engine that says which pod a container belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Containerd,
    Crio,
}

impl Policy {
    /// Reads the value of `--volume-annotations`. `true` and `false` are what `RVOL_VOLUME_ANNOTATIONS` said in 0.1.
    pub fn parse(text: &str) -> Result<Policy, String> {
        Ok(match text {
            "off" | "false" | "0" => Policy::Off,
            "scoped" | "true" | "1" => Policy::Scoped(None),
            "scoped=containerd" => Policy::Scoped(Some(Engine::Containerd)),
            "scoped=crio" => Policy::Scoped(Some(Engine::Crio)),
            "trusted" => Policy::Trusted,
            _ => return Err("is none of off, scoped, scoped=containerd, scoped=crio, trusted".into()),
        })
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::Scoped(None)
    }
}

/// A pod, as far as volumes are concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pod {
    pub namespace: String,
    pub sandbox: String,
}

/// Who wrote a container's `rvol.` annotations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    /// The author of a pod, for the pod's sandbox container, which needs no volumes.
    Sandbox,
    /// The author of a pod.
    Pod(Pod),
    /// Whoever may command the engine, and so owns the node (`docker run --annotation`), or is trusted like that.
    Owner,
}

impl Author {
    /// Finds the author by a container's annotations.
    pub fn of<'a>(
        policy: Policy,
        annotations: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<Author, String> {
        let all: BTreeMap<&str, &str> = annotations.into_iter().map(|(key, v)| (key.as_str(), v.as_str())).collect();
        // Whoever forges this one only loses the volumes.
        if [keys::CONTAINERD_TYPE, keys::CRIO_TYPE].iter().any(|key| all.get(key) == Some(&"sandbox")) {
            return Ok(Author::Sandbox);
        }
        let Policy::Scoped(named) = policy else { return Ok(Author::Owner) };
        match engine(named, &all)? {
            Some(engine) => engine.pod(&all).map(Author::Pod),
            None => Ok(Author::Owner),
        }
    }
}

/// The engine whose word counts; `None` outside Kubernetes.
fn engine(named: Option<Engine>, all: &BTreeMap<&str, &str>) -> Result<Option<Engine>, String> {
    let has = |prefix: &str| all.keys().any(|key| key.starts_with(prefix));
    // Podman sets keys of CRI-O's family (`io.kubernetes.cri-o.TTY`, `.Created`), but never one of these three, which
    // CRI-O sets for each of its containers.
    let is_podmans = |key: &str| {
        key.starts_with(keys::CRIO) && ![keys::CRIO_TYPE, keys::CRIO_SANDBOX, keys::CRIO_LABELS].contains(&key)
    };
    if all.keys().filter(|key| key.starts_with(keys::KUBERNETES)).all(|key| named.is_none() && is_podmans(key)) {
        return Ok(None);
    }
    let (containerd, crio) = (has(keys::CONTAINERD), has(keys::CRIO));
    match named {
        Some(Engine::Containerd) if containerd => Ok(named),
        Some(Engine::Crio) if crio => Ok(named),
        Some(engine) => Err(format!(
            "--volume-annotations says that the engine is {}, and there is no annotation {}*",
            engine.name(),
            engine.prefix()
        )),
        None if containerd && crio => Err(format!(
            "there are annotations of two engines, {}* and {}*, and one may be forged: say which engine it is \
             (--volume-annotations scoped=containerd or scoped=crio)",
            keys::CONTAINERD,
            keys::CRIO
        )),
        None if containerd => Ok(Some(Engine::Containerd)),
        None if crio => Ok(Some(Engine::Crio)),
        None => Err(format!(
            "there are annotations {}*, and none of {}* or {}* says which namespace the pod is in",
            keys::KUBERNETES,
            keys::CONTAINERD,
            keys::CRIO
        )),
    }
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Engine::Containerd => "containerd",
            Engine::Crio => "crio",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Engine::Containerd => keys::CONTAINERD,
            Engine::Crio => keys::CRIO,
        }
    }

    fn pod(self, all: &BTreeMap<&str, &str>) -> Result<Pod, String> {
        let (key, sandbox_key) = match self {
            Engine::Containerd => (keys::CONTAINERD_NAMESPACE, keys::CONTAINERD_SANDBOX),
            Engine::Crio => (keys::CRIO_LABELS, keys::CRIO_SANDBOX),
        };
        let missing =
            |key: &str| format!("annotations[{key}] is missing: the engine has to set it for every container");
        let text = all.get(key).ok_or_else(|| missing(key))?;
        let namespace = match self {
            Engine::Containerd => (*text).to_owned(),
            Engine::Crio => namespace_label(text).map_err(|why| format!("annotations[{key}] {why}"))?,
        };
        if !is_label(&namespace) {
            return Err(format!("annotations[{key}]: {namespace:?} is not the name of a Kubernetes namespace"));
        }
        let sandbox = *all.get(sandbox_key).ok_or_else(|| missing(sandbox_key))?;
        let good = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if sandbox.is_empty() || sandbox.len() > 128 || !sandbox.chars().all(good) {
            return Err(format!("annotations[{sandbox_key}]: {sandbox:?} is not the id of a sandbox"));
        }
        Ok(Pod { namespace, sandbox: sandbox.to_owned() })
    }
}

/// The pod's namespace from the labels that CRI-O hands on.
fn namespace_label(json: &str) -> Result<String, String> {
    let labels: BTreeMap<String, String> =
        serde_json::from_str(json).map_err(|error| format!("is not a JSON object of strings: {error}"))?;
    labels.get(keys::POD_NAMESPACE).cloned().ok_or_else(|| format!("has no label {}", keys::POD_NAMESPACE))
}

/// Whether the text is a label of RFC 1123, as the names of Kubernetes namespaces are.
pub fn is_label(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (text.bytes().next(), text.bytes().last()) else { return false };
    text.len() <= 63 && good(first) && good(last) && text.bytes().all(|b| good(b) || b == b'-')
}

/// The name of a namespace's volume. No namespace holds `_`, so no two namespaces share a name.
pub fn scoped_name(namespace: &str, name: &str) -> String {
    format!("{namespace}_{name}")
}

/// What a pod may do with a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    ReadOnly,
    Full,
}

/// What the pods of a namespace may do with a volume that has these labels; `None`: nothing.
pub fn reach(labels: &BTreeMap<String, String>, namespace: &str) -> Option<Reach> {
    if labels.get(NAMESPACE_LABEL).is_some_and(|owner| owner == namespace) {
        return Some(Reach::Full);
    }
    // A list that was written by other means than the commands, and is no such list, lets nobody in.
    let list = shares(labels.get(SHARED_LABEL)?).ok()?;
    let find = |who: &str| list.iter().find(|(name, _)| *name == who).map(|(_, reach)| *reach);
    find(namespace).or_else(|| find("*"))
}

/// The entries of `rvol.shared-with`.
fn shares(text: &str) -> Result<Vec<(&str, Reach)>, String> {
    let mut list: Vec<(&str, Reach)> = Vec::new();
    for entry in text.split([',', ' ']).filter(|entry| !entry.is_empty()) {
        let (who, reach) = match entry.strip_suffix(":ro") {
            Some(who) => (who, Reach::ReadOnly),
            None => (entry, Reach::Full),
        };
        if who != "*" && !is_label(who) {
            return Err(format!(
                "{entry:?} is neither the name of a Kubernetes namespace nor `*`, with or without `:ro`"
            ));
        }
        if list.iter().any(|(other, _)| *other == who) {
            return Err(format!("{who:?} is listed twice"));
        }
        list.push((who, reach));
    }
    Ok(list)
}

/// Checks a label that the node's owner gives to a volume: one that decides who reaches it has to make sense.
pub fn check_label(key: &str, value: &str) -> Result<(), String> {
    match key {
        NAMESPACE_LABEL if is_label(value) => Ok(()),
        NAMESPACE_LABEL => Err(format!("label {key}: {value:?} is not the name of a Kubernetes namespace")),
        SHARED_LABEL => shares(value).map(drop).map_err(|why| format!("label {key}: {why}")),
        _ if key.starts_with(LABEL_PREFIX) => Err(format!(
            "label {key}: labels that begin with `{LABEL_PREFIX}` belong to this program, and this one cannot be set \
             (only {NAMESPACE_LABEL} and {SHARED_LABEL})"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
