//! The device rules as one table that means the same in every hierarchy.
//!
//! The spec says that entries apply in the listed order, so for each kind of access the last rule that fits a device
//! decides. [`Policy::new`] brings a list into its shortest form: a default and the exceptions from it.

use serde::{Deserialize, Serialize};

/// One entry of `linux.resources.devices`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    pub allow: bool,
    #[serde(rename = "type")]
    pub kind: DeviceType,
    /// `None`: all of them.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: Access,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DeviceType {
    #[serde(rename = "a")]
    All,
    #[serde(rename = "b")]
    Block,
    #[serde(rename = "c")]
    Char,
}

/// A set of `r`, `w` and `m`; the bits are those of `BPF_DEVCG_ACC_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Access(u8);

/// Who may do what: everything not in `exceptions` is allowed or denied by `allow`. Later exceptions win.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub allow: bool,
    pub exceptions: Vec<DeviceRule>,
    /// How many of the first exceptions are the runtime's own.
    defaults: usize,
}

impl Access {
    pub const NONE: Access = Access(0);
    pub const ALL: Access = Access(7);
    const LETTERS: [(char, u8); 3] = [('r', 2), ('w', 4), ('m', 1)];

    pub fn parse(text: &str) -> Option<Access> {
        let bit = |letter| Access::LETTERS.iter().find(|(l, _)| *l == letter).map(|(_, bit)| *bit);
        text.chars().map(bit).try_fold(0, |bits, bit| Some(bits | bit?)).map(Access)
    }

    pub fn bits(self) -> u8 {
        self.0
    }

    pub fn without(self, other: Access) -> Access {
        Access(self.0 & !other.0)
    }

    pub fn with(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Access::LETTERS.iter().filter(|(_, bit)| self.0 & bit != 0).try_for_each(|(letter, _)| write!(f, "{letter}"))
    }
}

impl From<Access> for String {
    fn from(access: Access) -> String {
        access.to_string()
    }
}

impl TryFrom<String> for Access {
    type Error = String;

    fn try_from(text: String) -> Result<Access, String> {
        Access::parse(&text).ok_or_else(|| format!("{text:?} is not a composition of r, w and m"))
    }
}

impl DeviceRule {
    const fn allow(kind: DeviceType, major: Option<u32>, minor: Option<u32>, access: Access) -> DeviceRule {
        DeviceRule { allow: true, kind, major, minor, access }
    }

    const fn node(major: u32, minor: Option<u32>) -> DeviceRule {
        DeviceRule::allow(DeviceType::Char, Some(major), minor, Access::ALL)
    }

    /// Decides about every device and every access.
    fn is_total(&self) -> bool {
        self.covers(&DeviceRule::allow(DeviceType::All, None, None, Access::ALL)) && self.access == Access::ALL
    }

    /// Every device that `other` fits is one that this rule fits.
    fn covers(&self, other: &DeviceRule) -> bool {
        let number = |ours: Option<u32>, theirs: Option<u32>| ours.is_none() || ours == theirs;
        (self.kind == DeviceType::All || self.kind == other.kind)
            && number(self.major, other.major)
            && number(self.minor, other.minor)
    }

    /// There is a device that both rules fit.
    fn overlaps(&self, other: &DeviceRule) -> bool {
        let number = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        (self.kind == DeviceType::All || other.kind == DeviceType::All || self.kind == other.kind)
            && number(self.major, other.major)
            && number(self.minor, other.minor)
            && self.access.bits() & other.access.bits() != 0
    }

    /// `c 1:3 rwm`, as cgroup v1 reads it.
    pub fn text(&self) -> String {
        let letter = match self.kind {
            DeviceType::All => 'a',
            DeviceType::Block => 'b',
            DeviceType::Char => 'c',
        };
        let number = |n: Option<u32>| n.map_or("*".into(), |n| n.to_string());
        format!("{letter} {}:{} {}", number(self.major), number(self.minor), self.access)
    }
}

/// What every container may use: the default devices of the spec, terminals, tun (which containers have had since the
/// first engines) and mknod, which opens nothing.
const DEFAULTS: [DeviceRule; 11] = [
    DeviceRule::allow(DeviceType::Char, None, None, Access(1)),
    DeviceRule::allow(DeviceType::Block, None, None, Access(1)),
    DeviceRule::node(1, Some(3)),
    DeviceRule::node(1, Some(8)),
    DeviceRule::node(1, Some(7)),
    DeviceRule::node(5, Some(0)),
    DeviceRule::node(1, Some(5)),
    DeviceRule::node(1, Some(9)),
    DeviceRule::node(136, None),
    DeviceRule::node(5, Some(2)),
    DeviceRule::node(10, Some(200)),
];

impl Policy {
    /// The policy for a config's rules. Before the first rule everything is denied, and the default devices are allowed
    /// with the lowest priority: a rule that names one of them is obeyed.
    pub fn new(rules: &[DeviceRule]) -> Policy {
        let start = rules.iter().rposition(DeviceRule::is_total);
        let allow = start.is_some_and(|i| rules[i].allow);
        let given = &rules[start.map_or(0, |i| i + 1)..];
        let defaults: &[DeviceRule] = if allow { &[] } else { &DEFAULTS };
        // From the last rule backwards: what a later rule decides, an earlier one cannot.
        let mut exceptions: Vec<DeviceRule> = Vec::new();
        let mut own = 0;
        let ranked = defaults.iter().map(|r| (r, 1)).chain(given.iter().map(|r| (r, 0)));
        for (rule, is_default) in ranked.rev() {
            let shadow = exceptions.iter().filter(|later| later.covers(rule));
            let access = shadow.fold(rule.access, |left, later| left.without(later.access));
            if access != Access::NONE {
                exceptions.push(DeviceRule { access, ..*rule });
                own += is_default;
            }
        }
        exceptions.reverse();
        Policy { allow, exceptions, defaults: own }.without_needless()
    }

    /// Leaves out rules that say what would hold without them.
    fn without_needless(mut self) -> Policy {
        let mut index = 0;
        while index < self.exceptions.len() {
            let rule = self.exceptions[index];
            let against = |earlier: &DeviceRule| earlier.allow != rule.allow && earlier.overlaps(&rule);
            if rule.allow == self.allow && !self.exceptions[..index].iter().any(against) {
                self.exceptions.remove(index);
            } else {
                index += 1;
            }
        }
        self
    }

    /// The exceptions in the one form that cgroup v1 has, where each says the opposite of the default: the config's, in
    /// their order, and the runtime's own. The error is a rule that cannot be said so.
    pub fn flat(&self) -> Result<(Vec<DeviceRule>, &[DeviceRule]), DeviceRule> {
        let (own, given) = self.exceptions.split_at(self.defaults);
        let mut flat = Vec::with_capacity(given.len());
        for (index, rule) in given.iter().enumerate() {
            // Taking a device out of our own "mknod of anything" is not possible; it gives no access by itself.
            let against = |e: &DeviceRule| e.allow != rule.allow && e.overlaps(rule) && !DEFAULTS[..2].contains(e);
            if rule.allow != self.allow {
                flat.push(*rule);
            } else if own.iter().chain(&given[..index]).any(against) {
                return Err(*rule);
            }
        }
        Ok((flat, own))
    }

    /// What is decided about one access; for tests of what is made from a policy.
    #[cfg(test)]
    pub fn decide(&self, kind: DeviceType, major: u32, minor: u32, access: Access) -> bool {
        let device = DeviceRule::allow(kind, Some(major), Some(minor), access);
        decide(self.allow, &self.exceptions, &device)
    }
}

/// The meaning of a list of rules, bit by bit.
#[cfg(test)]
fn decide(default: bool, rules: &[DeviceRule], device: &DeviceRule) -> bool {
    let one = |bit: u8| {
        let fits = |r: &&DeviceRule| r.covers(device) && r.access.bits() & bit != 0;
        rules.iter().rev().find(fits).map_or(default, |r| r.allow)
    };
    [1, 2, 4].into_iter().filter(|bit| device.access.bits() & bit != 0).all(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> DeviceRule {
        let parts: Vec<&str> = text.split([' ', ':']).collect();
        let number = |t: &str| t.parse().ok();
        DeviceRule {
            allow: parts[0] == "+",
            kind: match parts[1] {
                "a" => DeviceType::All,
                "b" => DeviceType::Block,
                _ => DeviceType::Char,
            },
            major: number(parts[2]),
            minor: number(parts[3]),
            access: Access::parse(parts[4]).unwrap(),
        }
    }

    fn shown(policy: &Policy) -> Vec<String> {
        policy.exceptions.iter().map(|r| format!("{} {}", if r.allow { '+' } else { '-' }, r.text())).collect()
    }

    #[test]
    fn all_allowed_has_no_exceptions() {
        let policy = Policy::new(&[rule("- c 1:3 rwm"), rule("+ a *:* rwm")]);
        assert_eq!(policy, Policy { allow: true, exceptions: vec![], defaults: 0 });
    }

    #[test]
    fn no_rules_are_the_defaults() {
        let policy = Policy::new(&[]);
        assert!(!policy.allow);
        assert_eq!(policy.exceptions, DEFAULTS);
        assert_eq!(policy.flat().unwrap(), (vec![], &DEFAULTS[..]));
        assert_eq!(policy, Policy::new(&[rule("- a *:* rwm")]));
    }

    #[test]
    fn listed_rules_win_over_defaults_and_repeat_none() {
        let policy =
            Policy::new(&[rule("- a *:* rwm"), rule("+ c 1:3 rwm"), rule("- c 5:0 rw"), rule("+ c 10:229 rw")]);
        let shown = shown(&policy);
        assert_eq!(shown.iter().filter(|r| r.contains("1:3")).count(), 1);
        assert!(shown.contains(&"+ c 5:0 m".into()), "{shown:?}");
        assert!(!shown.iter().any(|r| r.starts_with('-')), "{shown:?}");
        let flat = policy.flat().unwrap();
        assert_eq!(flat.0, [rule("+ c 1:3 rwm"), rule("+ c 10:229 rw")], "the config's rules stand first");
    }

    #[test]
    fn what_v1_cannot_say_is_named() {
        let deny = rule("- c 8:1 rw");
        let policy = Policy::new(&[rule("- a *:* rwm"), rule("+ c 8:* rw"), deny]);
        assert_eq!(policy.flat(), Err(deny));
        let policy = Policy::new(&[rule("- a *:* rwm"), rule("- c 10:200 rwm")]);
        assert!(policy.flat().unwrap().1.iter().all(|r| r.major != Some(10)));
    }

    #[test]
    fn a_policy_means_what_the_list_means() {
        let atoms = [
            "+ a *:* rw",
            "- c *:* m",
            "+ c 1:* r",
            "- c 1:3 w",
            "+ c *:3 rwm",
            "- a *:* rwm",
            "- b 8:0 rw",
            "+ b 8:* rwm",
            "+ a *:* rwm",
        ];
        for a in atoms {
            for b in atoms {
                for c in atoms {
                    let list = [rule(a), rule(b), rule(c)];
                    let policy = Policy::new(&list);
                    let reset = list.iter().rposition(DeviceRule::is_total);
                    let allow = reset.is_some_and(|i| list[i].allow);
                    let mut all = if allow { vec![] } else { DEFAULTS.to_vec() };
                    all.extend_from_slice(&list[reset.map_or(0, |i| i + 1)..]);
                    for kind in [DeviceType::Char, DeviceType::Block] {
                        for (major, minor) in [(1, 3), (1, 4), (8, 0), (8, 3), (9, 9)] {
                            for bits in 1..8 {
                                let device = DeviceRule::allow(kind, Some(major), Some(minor), Access(bits));
                                let want = decide(allow, &all, &device);
                                assert_eq!(
                                    policy.decide(kind, major, minor, Access(bits)),
                                    want,
                                    "{list:?} {device:?}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}
