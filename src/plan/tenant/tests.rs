use super::*;

fn author(policy: &str, annotations: &[(&str, &str)]) -> Result<Author, String> {
    let all: BTreeMap<String, String> =
        annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Author::of(Policy::parse(policy).unwrap(), &all)
}

fn pod(namespace: &str, sandbox: &str) -> Result<Author, String> {
    Ok(Author::Pod(Pod { namespace: namespace.into(), sandbox: sandbox.into() }))
}

const CONTAINERD: [(&str, &str); 3] = [
    ("io.kubernetes.cri.container-type", "container"),
    ("io.kubernetes.cri.sandbox-namespace", "web"),
    ("io.kubernetes.cri.sandbox-id", "s1"),
];
const CRIO: [(&str, &str); 3] = [
    ("io.kubernetes.cri-o.ContainerType", "container"),
    ("io.kubernetes.cri-o.Labels", r#"{"io.kubernetes.pod.namespace":"batch","app":"x"}"#),
    ("io.kubernetes.cri-o.SandboxID", "s2"),
];

#[test]
fn policies_are_read() {
    for (text, policy) in [
        ("off", Policy::Off),
        ("false", Policy::Off),
        ("0", Policy::Off),
        ("scoped", Policy::Scoped(None)),
        ("true", Policy::Scoped(None)),
        ("scoped=containerd", Policy::Scoped(Some(Engine::Containerd))),
        ("scoped=crio", Policy::Scoped(Some(Engine::Crio))),
        ("trusted", Policy::Trusted),
    ] {
        assert_eq!(Policy::parse(text), Ok(policy), "{text}");
    }
    for text in ["", "on", "Scoped", "scoped=docker", "scoped="] {
        assert!(Policy::parse(text).unwrap_err().contains("none of off, scoped"), "{text}");
    }
}

#[test]
fn each_engine_says_which_pod_it_is() {
    assert_eq!(author("scoped", &CONTAINERD), pod("web", "s1"));
    assert_eq!(author("scoped=containerd", &CONTAINERD), pod("web", "s1"));
    assert_eq!(author("scoped", &CRIO), pod("batch", "s2"));
    assert_eq!(author("scoped=crio", &CRIO), pod("batch", "s2"));
    assert_eq!(author("trusted", &CONTAINERD), Ok(Author::Owner));
    assert_eq!(author("scoped", &[("rvol.volumes", "data:/data")]), Ok(Author::Owner));
    assert_eq!(author("scoped=crio", &[]), Ok(Author::Owner));
}

#[test]
fn annotations_of_two_engines_are_refused_unless_one_is_named() {
    let both = [CONTAINERD, CRIO].concat();
    assert!(author("scoped", &both).unwrap_err().contains("one may be forged"));
    assert_eq!(author("scoped=containerd", &both), pod("web", "s1"));
    assert_eq!(author("scoped=crio", &both), pod("batch", "s2"));
    assert!(author("scoped=crio", &CONTAINERD).unwrap_err().contains("there is no annotation io.kubernetes.cri-o.*"));
    assert!(author("scoped=containerd", &CRIO).unwrap_err().contains("there is no annotation io.kubernetes.cri.*"));
}

/// CRI-O copies all of a pod's annotations and sets no `Namespace` for containers.
#[test]
fn a_namespace_that_a_pod_can_write_is_not_believed() {
    let forged = [&CRIO[..], &[("io.kubernetes.cri-o.Namespace", "kube-system")]].concat();
    assert_eq!(author("scoped", &forged), pod("batch", "s2"));
    let forged = [&CRIO[..], &[("io.kubernetes.pod.namespace", "kube-system")]].concat();
    assert_eq!(author("scoped", &forged), pod("batch", "s2"));
    let bare = [("io.kubernetes.pod.namespace", "web")];
    assert!(author("scoped", &bare).unwrap_err().contains("says which namespace the pod is in"));
}

#[test]
fn what_is_missing_or_no_name_is_refused() {
    let without = |key: &str| CONTAINERD.into_iter().filter(|(k, _)| *k != key).collect::<Vec<_>>();
    for key in ["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-id"] {
        let why = author("scoped", &without(key)).unwrap_err();
        assert!(why.starts_with(&format!("annotations[{key}] is missing")), "{why}");
    }
    for bad in ["", "Web", "a_b", "-a", "a-", "a/b", "a.b", &"x".repeat(64)] {
        let all = [CONTAINERD[0], ("io.kubernetes.cri.sandbox-namespace", bad), CONTAINERD[2]];
        assert!(author("scoped", &all).unwrap_err().contains("is not the name of a Kubernetes namespace"), "{bad}");
    }
    for bad in ["", "../x", "a b"] {
        let all = [CONTAINERD[0], CONTAINERD[1], ("io.kubernetes.cri.sandbox-id", bad)];
        assert!(author("scoped", &all).unwrap_err().contains("is not the id of a sandbox"), "{bad}");
    }
    for (labels, why) in [("{}", "has no label io.kubernetes.pod.namespace"), ("[]", "is not a JSON object")] {
        let all = [CRIO[0], ("io.kubernetes.cri-o.Labels", labels), CRIO[2]];
        assert!(author("scoped", &all).unwrap_err().contains(why), "{labels}");
    }
}

#[test]
fn sandboxes_are_known_under_every_policy() {
    for policy in ["scoped", "scoped=crio", "trusted"] {
        assert_eq!(author(policy, &[("io.kubernetes.cri.container-type", "sandbox")]), Ok(Author::Sandbox));
        assert_eq!(author(policy, &[("io.kubernetes.cri-o.ContainerType", "sandbox")]), Ok(Author::Sandbox));
    }
}

#[test]
fn labels_decide_who_reaches_a_volume() {
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    for (pairs, wanted) in [
        (&[][..], None),
        (&[("rvol.namespace", "web")], Some(Reach::Full)),
        (&[("rvol.namespace", "batch")], None),
        (&[("rvol.shared-with", "")], None),
        (&[("rvol.shared-with", "web")], Some(Reach::Full)),
        (&[("rvol.shared-with", "batch, web:ro")], Some(Reach::ReadOnly)),
        (&[("rvol.shared-with", "*")], Some(Reach::Full)),
        (&[("rvol.shared-with", "*:ro,batch")], Some(Reach::ReadOnly)),
        (&[("rvol.shared-with", "*:ro,web")], Some(Reach::Full)),
        (&[("rvol.shared-with", "webs,we")], None),
        (&[("rvol.shared-with", "*,BAD")], None),
        (&[("rvol.namespace", "batch"), ("rvol.shared-with", "web")], Some(Reach::Full)),
    ] {
        assert_eq!(reach(&labels(pairs), "web"), wanted, "{pairs:?}");
    }
}

#[test]
fn the_owners_labels_have_to_make_sense() {
    for (key, value) in
        [("a", "b"), ("rvol.namespace", "web"), ("rvol.shared-with", "*:ro web"), ("rvol.shared-with", "")]
    {
        assert_eq!(check_label(key, value), Ok(()), "{key}={value}");
    }
    for (key, value) in [
        ("rvol.namespace", "Web"),
        ("rvol.namespace", ""),
        ("rvol.shared-with", "web:rw"),
        ("rvol.shared-with", "web,web:ro"),
        ("rvol.container", "c1"),
        ("rvol.", ""),
    ] {
        assert!(check_label(key, value).unwrap_err().starts_with(&format!("label {key}: ")), "{key}={value}");
    }
}
