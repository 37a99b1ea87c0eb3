//! Every annotation of config.json that this program reads, in one table.
//!
//! `features` reports the table's [`Harm::Possible`] rows as `potentiallyUnsafeConfigAnnotations`, and a test holds
//! docs/annotations.md against it. What a value means is decided where the value is used; only the keys are here.

/// Volumes for the container: a JSON array of `-v` strings, or words.
pub const VOLUMES: &str = "rvol.volumes";
/// Containers whose volumes this one gets too.
pub const VOLUMES_FROM: &str = "rvol.volumes-from";
/// The paths of the image's VOLUMEs.
pub const IMAGE_VOLUMES: &str = "rvol.image-volumes";
/// The path of a configuration file for criu; empty: none.
pub const CRIU_CONFIG: &str = "org.criu.config";
/// An annotation of crun's, which Podman sets for `--group-add keep-groups`; its value does not matter.
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";
/// What follows is the name of a property of the container's systemd unit.
pub const SYSTEMD_PROPERTY: &str = "org.systemd.property.";

/// What the annotations of Kubernetes' engines begin with.
pub const KUBERNETES: &str = "io.kubernetes.";
/// What containerd's own annotations begin with.
pub const CONTAINERD: &str = "io.kubernetes.cri.";
pub const CONTAINERD_TYPE: &str = "io.kubernetes.cri.container-type";
pub const CONTAINERD_NAMESPACE: &str = "io.kubernetes.cri.sandbox-namespace";
pub const CONTAINERD_SANDBOX: &str = "io.kubernetes.cri.sandbox-id";
/// What CRI-O's own annotations begin with.
pub const CRIO: &str = "io.kubernetes.cri-o.";
pub const CRIO_TYPE: &str = "io.kubernetes.cri-o.ContainerType";
/// The labels that the kubelet gave the container, as a JSON object. CRI-O writes it after it has copied the pod's
/// annotations. It never writes `io.kubernetes.cri-o.Namespace` for a container (for sandboxes only), so a pod could
/// forge that one.
pub const CRIO_LABELS: &str = "io.kubernetes.cri-o.Labels";
pub const CRIO_SANDBOX: &str = "io.kubernetes.cri-o.SandboxID";
/// The label of [`CRIO_LABELS`] with the pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";

/// Whether whoever can set the annotation can thereby get at what is not the container's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    Possible,
    None,
}

/// One key that this program reads.
#[derive(Debug)]
pub struct Annotation {
    /// A key that ends with `.` stands for all that begin with it (features.md of the runtime-spec).
    pub key: &'static str,
    pub effect: &'static str,
    pub harm: Harm,
}

const fn unsafe_one(key: &'static str, effect: &'static str) -> Annotation {
    Annotation { key, effect, harm: Harm::Possible }
}

/// All of them, in the order of their keys.
pub const ALL: &[Annotation] = &[
    unsafe_one(CRIO_TYPE, "`sandbox`: the container's `rvol.` annotations are ignored"),
    unsafe_one(CRIO_LABELS, "the Kubernetes namespace whose volumes the container may have"),
    unsafe_one(CRIO_SANDBOX, "the pod whose containers may share volumes"),
    unsafe_one(CONTAINERD_TYPE, "`sandbox`: the container's `rvol.` annotations are ignored"),
    unsafe_one(CONTAINERD_SANDBOX, "the pod whose containers may share volumes"),
    unsafe_one(CONTAINERD_NAMESPACE, "the Kubernetes namespace whose volumes the container may have"),
    unsafe_one(CRIU_CONFIG, "a configuration file of the host that criu reads"),
    unsafe_one(SYSTEMD_PROPERTY, "sets a property of the container's systemd unit"),
    unsafe_one(KEEP_GROUPS, "keeps the supplementary groups of whoever calls the runtime"),
    unsafe_one(IMAGE_VOLUMES, "mounts anonymous volumes where nothing else is mounted"),
    unsafe_one(VOLUMES, "mounts volumes"),
    unsafe_one(VOLUMES_FROM, "mounts the volumes of another container"),
];

/// For `potentiallyUnsafeConfigAnnotations`.
pub fn potentially_unsafe() -> Vec<&'static str> {
    ALL.iter().filter(|annotation| annotation.harm == Harm::Possible).map(|annotation| annotation.key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_each_is_there_once() {
        assert!(ALL.windows(2).all(|pair| pair[0].key < pair[1].key));
    }

    #[test]
    fn the_documentation_has_each_key_with_its_effect() {
        let text = include_str!("../docs/annotations.md");
        for Annotation { key, effect, harm } in ALL {
            let shown = if *harm == Harm::Possible { "yes" } else { "no" };
            let row = format!("| `{key}` | {effect} | {shown} |");
            assert!(text.contains(&row), "docs/annotations.md lacks the row:\n{row}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("| `")).count(), ALL.len());
    }

    #[test]
    fn what_can_do_harm_is_listed() {
        let listed = potentially_unsafe();
        for key in [VOLUMES, VOLUMES_FROM, IMAGE_VOLUMES, SYSTEMD_PROPERTY, CRIU_CONFIG, KEEP_GROUPS] {
            assert!(listed.contains(&key), "{key}");
        }
    }
}
