//! Places in config.json, as messages name them: `linux.namespaces[2].path`, `linux.sysctl["net.ipv4.ip_forward"]`.

/// The place of the member `key` of the object at `parent` (empty: the whole config).
pub fn member(parent: &str, key: &str) -> String {
    let is_name = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match (is_name, parent.is_empty()) {
        (true, true) => key.to_string(),
        (true, false) => format!("{parent}.{key}"),
        (false, _) => format!("{parent}[{key:?}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::member;

    #[test]
    fn names_and_free_keys() {
        assert_eq!(member("", "process"), "process");
        assert_eq!(member("linux.netDevices", "eth0"), "linux.netDevices.eth0");
        assert_eq!(member("linux.sysctl", "net.core.somaxconn"), r#"linux.sysctl["net.core.somaxconn"]"#);
        assert_eq!(member("annotations", ""), r#"annotations[""]"#);
        assert_eq!(member("annotations", "a\n\"b"), r#"annotations["a\n\"b"]"#);
    }
}
