//! The mounts that annotations ask for (`rvol.volumes`, `rvol.volumes-from`, `rvol.image-volumes`), and what their author
//! may not have. Whoever writes annotations may be somebody whom the node's owner does not trust.

use super::Context;
use super::storage;
use crate::annotations::{IMAGE_VOLUMES, VOLUMES, VOLUMES_FROM};
use crate::bundle::Bundle;
use crate::log;
use crate::plan::mounts::{AddedMount, clean};
use crate::plan::tenant::{Author, Pod, Policy, scoped_name};
use crate::plan::volume::{Origin, check_name};
use crate::volumes::grammar::{self, VolumesFrom};
use anyhow::{Context as _, Result, bail, ensure};
use std::path::Path;

/// What a pod may say of a volume. All else names a directory of the host, or changes owners or labels.
const POD_OPTIONS: [&str; 4] = ["ro", "rw", "nocopy", "noexec"];
/// Where a pod may mount nothing: what the kernel shows there decides what the container may do.
const KERNEL_DIRECTORIES: [&str; 3] = ["/proc", "/sys", "/dev"];

/// The mounts that the annotations of a config ask for, in the order of their precedence.
#[derive(Default)]
pub(super) struct Annotated {
    pub volumes_from: Vec<AddedMount>,
    pub volumes: Vec<AddedMount>,
    pub image_volumes: Vec<AddedMount>,
}

impl Annotated {
    pub fn read(context: &Context, bundle: &Bundle) -> Result<Annotated> {
        let policy = context.volume_annotations()?;
        let annotations = match bundle.spec.annotations() {
            Some(annotations) if KEYS.iter().any(|key| annotations.contains_key(*key)) => annotations,
            _ => return Ok(Annotated::default()),
        };
        let author = Author::of(policy, annotations).map_err(anyhow::Error::msg);
        let author = match author.context("volumes by annotation")? {
            Author::Sandbox => {
                log::debug(format_args!("a pod's sandbox container gets no volumes by annotation"));
                return Ok(Annotated::default());
            }
            author => author,
        };
        let mut wanted: [Vec<Text>; 3] = Default::default();
        for (key, list) in KEYS.iter().zip(&mut wanted) {
            let Some(text) = annotations.get(*key) else { continue };
            if policy == Policy::Off {
                log::warn(format_args!("annotations[{key}]: left out: --volume-annotations is off"));
                continue;
            }
            let texts = list_of(text).with_context(|| format!("annotations[{key}]"))?;
            let place = |index| format!("annotations[{key}][{index}]");
            list.extend(texts.into_iter().enumerate().map(|(index, text)| Text { place: place(index), text }));
        }
        Annotated::of(context, policy, &author, wanted)
    }

    fn of(context: &Context, policy: Policy, author: &Author, wanted: [Vec<Text>; 3]) -> Result<Annotated> {
        let pod = match author {
            Author::Pod(pod) => Some(pod),
            Author::Sandbox | Author::Owner => None,
        };
        let [volumes, volumes_from, image_volumes] = wanted;
        let mut read = Annotated::default();
        for Text { place, text } in volumes_from {
            let mounts = from_container(context, policy, pod, &place, &text).with_context(|| place.clone())?;
            read.volumes_from.extend(mounts);
        }
        for Text { place, text } in volumes {
            let mount = volume(pod, &place, &text).with_context(|| place.clone())?;
            read.volumes.push(mount);
        }
        for Text { place, text } in image_volumes {
            let mut mount = grammar::image_volume(&text, place.clone())?;
            mark(&mut mount, pod).with_context(|| place)?;
            read.image_volumes.push(mount);
        }
        grammar::check_duplicates(&read.volumes)?;
        Ok(read)
    }
}

const KEYS: [&str; 3] = [VOLUMES, VOLUMES_FROM, IMAGE_VOLUMES];

/// One string of an annotation, and where it stands.
struct Text {
    place: String,
    text: String,
}

/// The strings of an annotation. Words serve where an engine takes quotes and commas for its own (`podman --annotation`).
fn list_of(text: &str) -> Result<Vec<String>> {
    if matches!(text.trim_start().chars().next(), None | Some('[' | '{' | '"')) {
        return serde_json::from_str(text).with_context(|| format!("{text:?} is not a JSON array of strings"));
    }
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// One string of `rvol.volumes`.
fn volume(pod: Option<&Pod>, place: &str, text: &str) -> Result<AddedMount> {
    let mut mount = grammar::annotated(text, place.to_owned())?;
    mark(&mut mount, pod)?;
    let Some(pod) = pod else { return Ok(mount) };
    for option in grammar::annotated_options(text) {
        ensure!(
            POD_OPTIONS.contains(&option) || option.starts_with("subpath="),
            "{text}: a pod cannot ask for the option `{option}`, only for {} and subpath=",
            POD_OPTIONS.join(", ")
        );
    }
    if let Some(asked) = mount.source.take() {
        let asked = asked.to_string_lossy().into_owned();
        let name = scoped_name(&pod.namespace, &asked);
        check_name(&name).map_err(|why| anyhow::anyhow!("create {name}: {why}"))?;
        mount.source = Some(name.into());
        mount.origin.asked = Some(asked);
    }
    Ok(mount)
}

/// The volumes of another container. Its binds are never taken over: they are directories of the host, such as another
/// pod's service account token.
fn from_container(
    context: &Context,
    policy: Policy,
    pod: Option<&Pod>,
    place: &str,
    text: &str,
) -> Result<Vec<AddedMount>> {
    let VolumesFrom { id, readonly } = VolumesFrom::parse(text)?;
    let record = storage::record_of(context, &id)?;
    if let Some(pod) = pod {
        let author = Author::of(policy, &record.annotations);
        let same = matches!(&author, Ok(Author::Pod(other)) if other == pod);
        ensure!(same, "container {id} is not of this pod: only containers of the same sandbox share volumes");
    }
    let mounts = record.storage.map(|storage| storage.mounts).unwrap_or_default();
    let volumes = mounts.iter().filter(|mount| mount.volume.is_some());
    volumes
        .map(|mount| {
            let mut added = mount.to_added(place, readonly);
            mark(&mut added, pod)?;
            Ok(added)
        })
        .collect()
}

/// Notes who asked for a mount, and takes from a pod what it must not have.
fn mark(mount: &mut AddedMount, pod: Option<&Pod>) -> Result<()> {
    mount.origin = Origin {
        annotation: true,
        namespace: pod.map(|pod| pod.namespace.clone()),
        ..std::mem::take(&mut mount.origin)
    };
    if pod.is_none() {
        return Ok(());
    }
    let destination = clean(&mount.destination);
    if let Some(directory) = KERNEL_DIRECTORIES.iter().find(|directory| destination.starts_with(directory)) {
        bail!("{}: a pod can mount nothing on {directory} or below", Path::display(&mount.destination));
    }
    // Last, so that nothing among the options of another container's mount undoes them.
    mount.options.extend(["nosuid", "nodev"].map(str::to_owned));
    Ok(())
}
