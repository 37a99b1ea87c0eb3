//! What the probe saw.

use crate::Outcome;
use serde_json::Value;

/// The JSON that `probe facts` printed, with short ways to its parts.
#[derive(Clone)]
pub struct Facts(pub Value);

impl std::fmt::Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the long list of mounts.
        let mut facts = self.0.clone();
        facts["mounts"] = self.mount_points().into();
        facts.fmt(f)
    }
}

impl std::ops::Index<&str> for Facts {
    type Output = Value;

    fn index(&self, key: &str) -> &Value {
        &self.0[key]
    }
}

impl Facts {
    /// The last line of a command's stdout.
    #[track_caller]
    pub fn of(outcome: &Outcome) -> Facts {
        let line = outcome.stdout.lines().last().unwrap_or_default();
        Facts(serde_json::from_str(line).unwrap_or_else(|e| panic!("no facts: {e}: {outcome}")))
    }

    /// The answer to a question, as asked.
    #[track_caller]
    pub fn answer(&self, question: &str) -> &Value {
        let answer = &self.0["answers"][question];
        assert!(!answer.is_null(), "{question} was not asked");
        answer
    }

    /// Panics unless the answer to each question is the one beside it.
    #[track_caller]
    pub fn expect(&self, answers: &[(&str, &str)]) {
        for (question, expected) in answers {
            assert_eq!(self.answer(question), expected, "{question}");
        }
    }

    /// The topmost mount at a mount point.
    #[track_caller]
    pub fn mount(&self, target: &str) -> Mount<'_> {
        let mounts = self.0["mounts"].as_array().expect("the probe sees mountinfo");
        let found = mounts.iter().rev().find(|m| m["target"] == target);
        Mount(found.unwrap_or_else(|| panic!("nothing is mounted at {target}: {:?}", self.mount_points())))
    }

    pub fn has_mount(&self, target: &str) -> bool {
        self.mount_points().contains(&target)
    }

    pub fn mount_points(&self) -> Vec<&str> {
        self.0["mounts"].as_array().into_iter().flatten().filter_map(|m| m["target"].as_str()).collect()
    }

    /// A capability set as sorted names' numbers.
    pub fn caps(&self, set: &str) -> Vec<u64> {
        self.0["caps"][set].as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
    }

    /// The numbers of the open fds.
    pub fn fds(&self) -> Vec<u32> {
        let mut fds: Vec<u32> =
            self.0["fds"].as_object().into_iter().flatten().filter_map(|(n, _)| n.parse().ok()).collect();
        fds.sort();
        fds
    }

    /// The value of an environment variable.
    pub fn env(&self, name: &str) -> Option<&str> {
        let entries = self.0["env"].as_array()?.iter().filter_map(Value::as_str);
        entries.filter_map(|e| e.split_once('=')).find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// `kind:[inode]` of a namespace of the probe.
    #[track_caller]
    pub fn namespace(&self, kind: &str) -> &str {
        self.0["namespaces"][kind].as_str().expect("the probe sees its namespaces")
    }
}

/// One line of mountinfo.
#[derive(Debug, Clone, Copy)]
pub struct Mount<'a>(pub &'a Value);

impl Mount<'_> {
    fn list_has(&self, list: &str, option: &str) -> bool {
        self.0[list].as_array().is_some_and(|l| l.iter().any(|o| o == option))
    }

    /// A per-mount option such as `ro`.
    pub fn has(&self, option: &str) -> bool {
        self.list_has("options", option)
    }

    /// An option of the superblock.
    pub fn super_has(&self, option: &str) -> bool {
        self.list_has("super", option)
    }

    pub fn fstype(&self) -> &str {
        self.0["type"].as_str().unwrap_or_default()
    }

    /// `shared`, `slave`, `private`, `unbindable`; a mount that is slave and shared is `slave+shared`.
    pub fn propagation(&self) -> String {
        let tags = self.0["propagation"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut kinds: Vec<&str> = tags
            .filter_map(|t| match t.split(':').next() {
                Some("master") => Some("slave"),
                Some(kind @ ("shared" | "unbindable")) => Some(kind),
                _ => None,
            })
            .collect();
        kinds.sort_by_key(|k| *k != "slave");
        if kinds.is_empty() { "private".into() } else { kinds.join("+") }
    }
}
