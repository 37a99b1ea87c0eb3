//! Which volumes the pods of a Kubernetes namespace reach. The labels decide; nothing is ever adopted.

use super::hold::Wish;
use super::metadata::Metadata;
use super::store::Store;
use crate::plan::tenant::{CONTAINER_LABEL, NAMESPACE_LABEL, Reach, SHARED_LABEL, reach, scoped_name};
use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// The volume that a pod means by a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// `<namespace>_<name>`, which may not exist yet.
    Own,
    /// The volume of that very name, which the node's owner lets the namespace use.
    Shared(Reach),
}

/// Finds what the pods of a namespace mean by the name of a volume: their own volume before one that is shared.
///
/// The answer may be out of date at once. [`admit`] asks the labels again, under the volume's lock.
///
/// # Errors
/// The name is that of a volume which no label gives to anybody, and the namespace has none of its own: before volumes
/// by annotation belonged to namespaces (0.1), it may have been this pod's.
pub fn find(store: &Store, namespace: &str, name: &str) -> Result<Found> {
    let own = scoped_name(namespace, name);
    if store.read(&own)?.is_some() {
        return Ok(Found::Own);
    }
    let Some(volume) = store.read(name)? else { return Ok(Found::Own) };
    let labels = volume.metadata()?.labels;
    if let Some(reach) = reach(&labels, namespace) {
        return Ok(Found::Shared(reach));
    }
    if labels.contains_key(NAMESPACE_LABEL) || labels.contains_key(SHARED_LABEL) {
        return Ok(Found::Own);
    }
    bail!(
        "volume {name} exists and has neither a label {NAMESPACE_LABEL} nor {SHARED_LABEL}, so that namespace \
         {namespace} may not use it. To make it that namespace's: `rvol-runc volume rename --label \
         {NAMESPACE_LABEL}={namespace} {name} {own}`; to share it: `rvol-runc volume label {name} \
         {SHARED_LABEL}={namespace}`; to keep it for yourself: `rvol-runc volume label {name} {SHARED_LABEL}=`"
    );
}

/// Refuses a volume whose labels do not let in the namespace that asks. Of a locked volume.
pub(super) fn admit(wish: &Wish, metadata: &Metadata) -> Result<()> {
    let Some(namespace) = &wish.volume.origin.namespace else { return Ok(()) };
    let name = wish.name;
    match reach(&metadata.labels, namespace) {
        Some(Reach::Full) => Ok(()),
        Some(Reach::ReadOnly) if wish.readonly => Ok(()),
        Some(Reach::ReadOnly) => {
            bail!("volume {name} is shared with namespace {namespace} read-only: add the option `ro`")
        }
        None if name.starts_with(&scoped_name(namespace, "")) => bail!(
            "volume {name} exists without the label {NAMESPACE_LABEL}={namespace} and is not taken over. If it is that \
             namespace's: `rvol-runc volume label {name} {NAMESPACE_LABEL}={namespace}`"
        ),
        None => bail!("volume {name} is not namespace {namespace}'s, nor shared with it (label {SHARED_LABEL})"),
    }
}

/// The labels of a volume that is made for a container.
pub(super) fn labels(wish: &Wish, container: &str) -> BTreeMap<String, String> {
    let origin = &wish.volume.origin;
    let mut labels = wish.volume.labels.clone();
    if let Some(namespace) = &origin.namespace {
        labels.insert(NAMESPACE_LABEL.into(), namespace.clone());
    }
    if goes_with_container(wish) {
        labels.insert(CONTAINER_LABEL.into(), container.to_owned());
    }
    labels
}

/// Whether the volume is one without a name that an annotation asked for. The engine does not know of it and so never
/// removes it; without this a container that crashes again and again would fill the disk.
pub(super) fn goes_with_container(wish: &Wish) -> bool {
    wish.volume.origin.annotation && wish.volume.name.is_none()
}
