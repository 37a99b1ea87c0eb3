//! Device rules in the files of cgroup v1: one default, and exceptions that say the contrary.
//!
//! The kernel forgets all exceptions when the default is written. A container that runs is therefore led from its old
//! rules to the new ones by exceptions alone where the default stays: those that come first, those that go last. What
//! both permit is permitted all the time.

use super::Sink;
use crate::plan::resources::devices::{Access, DeviceRule, DeviceType, Policy};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

/// What a cgroup of v1 permits before rules are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The cgroup is new: what its parent permits.
    Fresh,
    InForce(Rules),
}

/// A default, and the exceptions from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub allow: bool,
    pub exceptions: Vec<DeviceRule>,
}

impl Rules {
    /// What `devices.list` says. Where everything is allowed it does not tell the exceptions; `planned` does then, what
    /// the container was given last.
    pub fn read(list: &str, planned: &Policy) -> Result<Rules> {
        let lines = list.lines().filter(|line| !line.is_empty());
        let exceptions = lines.map(parse).collect::<Result<Vec<_>>>()?;
        if exceptions.iter().all(|rule| rule.kind != DeviceType::All) {
            return Ok(Rules { allow: false, exceptions });
        }
        let known = planned.allow.then(|| planned.flat().ok()).flatten();
        let exceptions = known.map_or(Vec::new(), |(given, _)| given.iter().flat_map(typed).collect());
        Ok(Rules { allow: true, exceptions })
    }
}

/// A line of `devices.list`, as [`DeviceRule::text`] writes it.
fn parse(line: &str) -> Result<DeviceRule> {
    let mut words = line.split([' ', ':']);
    let kind = match words.next() {
        Some("a") => DeviceType::All,
        Some("b") => DeviceType::Block,
        Some("c") => DeviceType::Char,
        _ => bail!("devices.list has the line {line:?}"),
    };
    let mut number = || match words.next() {
        Some("*") => Ok(None),
        word => word.unwrap_or_default().parse().map(Some).with_context(|| format!("devices.list has {line:?}")),
    };
    let (major, minor) = (number()?, number()?);
    let access = words.next().and_then(Access::parse).with_context(|| format!("devices.list has {line:?}"))?;
    Ok(DeviceRule { allow: true, kind, major, minor, access })
}

/// What the kernel takes for one exception.
type Key = (DeviceType, Option<u32>, Option<u32>);

fn accesses<'a>(rules: impl Iterator<Item = &'a DeviceRule>) -> BTreeMap<Key, (DeviceRule, Access)> {
    let mut map: BTreeMap<Key, (DeviceRule, Access)> = BTreeMap::new();
    for rule in rules {
        let (_, access) = map.entry((rule.kind, rule.major, rule.minor)).or_insert((*rule, Access::NONE));
        *access = access.with(rule.access);
    }
    map
}

/// The writes that bring `policy` into force.
pub fn writes(policy: &Policy, now: &Standing, sink: &mut Sink) {
    let (given, own) = match policy.flat() {
        Ok(flat) => flat,
        Err(rule) => {
            let verb = if rule.allow { "allow" } else { "deny" };
            return sink.problem("", format!("cgroup v1 cannot {verb} {} after the rules before it", rule.text()));
        }
    };
    let file = |allow: bool| if allow { "devices.allow" } else { "devices.deny" };
    let before: &[DeviceRule] = match now {
        Standing::InForce(rules) if rules.allow == policy.allow => &rules.exceptions,
        Standing::Fresh if policy.allow => &[],
        _ => {
            sink.put("", file(policy.allow), "a");
            &[]
        }
    };
    let old = accesses(before.iter());
    let wanted: Vec<(DeviceRule, bool)> = given
        .iter()
        .flat_map(typed)
        .map(|rule| (rule, false))
        .chain(own.iter().flat_map(typed).map(|rule| (rule, true)))
        .collect();
    for (rule, is_own) in &wanted {
        let there = old.get(&(rule.kind, rule.major, rule.minor)).map_or(Access::NONE, |(_, access)| *access);
        // What the kernel is not known to tell is written in any case.
        let access = if policy.allow { rule.access } else { rule.access.without(there) };
        if access == Access::NONE {
            continue;
        }
        let write = sink.put("", file(!policy.allow), DeviceRule { access, ..*rule }.text());
        if *is_own {
            write.best_effort(PARENT);
        }
    }
    let new = accesses(wanted.iter().map(|(rule, _)| rule));
    for (key, (rule, access)) in old {
        let access = access.without(new.get(&key).map_or(Access::NONE, |(_, access)| *access));
        if access == Access::NONE {
            continue;
        }
        let write = sink.put("", file(policy.allow), DeviceRule { access, ..rule }.text());
        if policy.allow {
            write.best_effort(PARENT);
        }
    }
}

const PARENT: &str = "the parent cgroup may allow less";

/// v1 takes the type `a` for everything and ignores the rest of the line.
fn typed(rule: &DeviceRule) -> impl Iterator<Item = DeviceRule> + use<> {
    let rule = *rule;
    let kinds: &[DeviceType] = match rule.kind {
        DeviceType::All => &[DeviceType::Block, DeviceType::Char],
        DeviceType::Block => &[DeviceType::Block],
        DeviceType::Char => &[DeviceType::Char],
    };
    kinds.iter().map(move |kind| DeviceRule { kind: *kind, ..rule })
}

#[cfg(test)]
mod tests {
    use super::super::{Layout, Settings, add_devices};
    use super::*;

    /// The kernel's device cgroup (security/device_cgroup.c), as far as writes and accesses go.
    #[derive(Debug, Clone, PartialEq)]
    struct Kernel {
        allow: bool,
        exceptions: Vec<DeviceRule>,
    }

    impl Kernel {
        fn write(&mut self, file: &str, value: &str) {
            let allow = file == "devices.allow";
            if value == "a" {
                *self = Kernel { allow, exceptions: Vec::new() };
                return;
            }
            let rule = parse(value).unwrap();
            let at =
                self.exceptions.iter().position(|e| (e.kind, e.major, e.minor) == (rule.kind, rule.major, rule.minor));
            match (allow == self.allow, at) {
                (false, Some(at)) => self.exceptions[at].access = self.exceptions[at].access.with(rule.access),
                (false, None) => self.exceptions.push(rule),
                (true, Some(at)) => {
                    self.exceptions[at].access = self.exceptions[at].access.without(rule.access);
                    self.exceptions.retain(|e| e.access != Access::NONE);
                }
                (true, None) => {}
            }
        }

        /// An exception permits all of what is asked or nothing; one that denies denies any of it.
        fn permits(&self, kind: DeviceType, major: u32, minor: u32, access: u8) -> bool {
            let fits = |e: &&DeviceRule| {
                e.kind == kind && e.major.is_none_or(|m| m == major) && e.minor.is_none_or(|m| m == minor)
            };
            let mut fitting = self.exceptions.iter().filter(fits);
            match self.allow {
                false => fitting.any(|e| access & !e.access.bits() == 0),
                true => !fitting.any(|e| access & e.access.bits() != 0),
            }
        }

        fn list(&self) -> String {
            if self.allow {
                return "a *:* rwm\n".into();
            }
            self.exceptions.iter().map(|e| e.text() + "\n").collect()
        }
    }

    fn rule(text: &str) -> DeviceRule {
        let (allow, text) = text.split_once(' ').unwrap();
        DeviceRule { allow: allow == "+", ..parse(text).unwrap() }
    }

    /// The rules' writes, or `None` where cgroup v1 cannot say them.
    fn written(rules: &[DeviceRule], now: &Standing) -> Option<Vec<(String, String)>> {
        let layout = Layout { v1: vec![Some("devices".into())], v2: None };
        let mut settings = Settings::default();
        add_devices(&mut settings, Policy::new(rules), &layout, now).ok()?;
        Some(settings.writes.into_iter().map(|w| w.choices[0].clone()).collect())
    }

    const ASKED: [(DeviceType, u32, u32); 7] = [
        (DeviceType::Char, 1, 3),
        (DeviceType::Char, 1, 5),
        (DeviceType::Char, 1, 11),
        (DeviceType::Char, 10, 229),
        (DeviceType::Block, 8, 0),
        (DeviceType::Block, 8, 1),
        (DeviceType::Block, 1, 3),
    ];

    fn lists() -> Vec<Vec<DeviceRule>> {
        let lists = [
            &["- a *:* rwm"][..],
            &["- a *:* rwm", "+ c 1:11 r"],
            &["- a *:* rwm", "+ c 1:11 rw", "+ b 8:0 rwm"],
            &["- a *:* rwm", "+ c 1:* rwm"],
            &["- a *:* rwm", "+ a *:* rw"],
            &["- a *:* rwm", "+ b 8:* r", "+ c 10:229 rwm"],
            &["- a *:* rwm", "- c 1:5 w"],
            &["+ a *:* rwm"],
            &["+ a *:* rwm", "- c 1:11 rwm"],
            &["+ a *:* rwm", "- b 8:* w", "- c 1:11 r"],
            &["+ a *:* rwm", "- b 8:0 rw"],
        ];
        lists.iter().map(|list| list.iter().map(|text| rule(text)).collect()).collect()
    }

    fn new_cgroup(rules: &[DeviceRule]) -> Kernel {
        let mut kernel = Kernel { allow: true, exceptions: Vec::new() };
        for (file, value) in written(rules, &Standing::Fresh).expect("cgroup v1 can say it") {
            kernel.write(&file, &value);
        }
        kernel
    }

    /// At every moment of an update what both the old and the new rules permit is permitted, and nothing else than what
    /// one of them permits; in the end it is as in a new cgroup.
    #[test]
    fn an_update_has_no_window() {
        for from in lists() {
            for to in lists() {
                let (old, new) = (new_cgroup(&from), new_cgroup(&to));
                let now = Rules::read(&old.list(), &Policy::new(&from)).unwrap();
                let mut kernel = old.clone();
                let writes = written(&to, &Standing::InForce(now)).unwrap();
                let resets = writes.iter().any(|(_, value)| value == "a");
                assert_eq!(resets, old.allow != new.allow, "{from:?} {to:?}");
                for (file, value) in &writes {
                    kernel.write(file, value);
                    for (kind, major, minor) in ASKED.iter().filter(|_| !resets) {
                        for bits in 1..8 {
                            let asked = |k: &Kernel| k.permits(*kind, *major, *minor, bits);
                            let (was, will, is) = (asked(&old), asked(&new), asked(&kernel));
                            assert!(is || !(was && will), "{file} {value} takes {kind:?} {major}:{minor} {bits}");
                            // Parts of an access that different rules permit are no access together.
                            assert!(!is || was || will || bits.count_ones() > 1, "{file} {value} gives too much");
                        }
                    }
                }
                for (kind, major, minor) in ASKED {
                    for bits in 1..8 {
                        let asked = |k: &Kernel| k.permits(kind, major, minor, bits);
                        assert_eq!(asked(&kernel), asked(&new), "{from:?} {to:?}: {kind:?} {major}:{minor} {bits}");
                    }
                }
            }
        }
    }

    #[test]
    fn only_what_differs_is_written() {
        let nothing = [rule("- a *:* rwm")];
        let in_force = |rules: &[DeviceRule]| {
            Standing::InForce(Rules::read(&new_cgroup(rules).list(), &Policy::new(rules)).unwrap())
        };
        assert_eq!(written(&nothing, &in_force(&nothing)).unwrap(), []);
        let pair = |file: &str, value: &str| (file.to_owned(), value.to_owned());
        let rules = [nothing[0], rule("+ c 1:11 rw"), rule("- c 5:0 rw")];
        let expected = [pair("devices.allow", "c 1:11 rw"), pair("devices.deny", "c 5:0 rw")];
        assert_eq!(written(&rules, &in_force(&nothing)).unwrap(), expected);
        // Also what somebody else has added.
        let added = Rules::read("c 1:11 r\n", &Policy::new(&nothing)).unwrap();
        let writes = written(&nothing, &Standing::InForce(added)).unwrap();
        assert_eq!(writes.last().unwrap(), &pair("devices.deny", "c 1:11 r"));
    }

    #[test]
    fn the_kernels_list_is_read() {
        let planned = Policy::new(&[rule("+ a *:* rwm"), rule("- c 1:11 r")]);
        let rules = Rules::read("a *:* rwm\n", &planned).unwrap();
        assert!(rules.allow);
        assert_eq!(rules.exceptions.iter().map(DeviceRule::text).collect::<Vec<_>>(), ["c 1:11 r"]);
        let rules = Rules::read("c *:* m\nb 8:0 rw\n", &planned).unwrap();
        assert!(!rules.allow);
        assert_eq!(rules.exceptions.iter().map(DeviceRule::text).collect::<Vec<_>>(), ["c *:* m", "b 8:0 rw"]);
        assert_eq!(Rules::read("", &planned).unwrap(), Rules { allow: false, exceptions: vec![] });
        for line in ["p 1:3 rw", "c x:3 rw", "c 1 rw", "c 1:3", "c 1:3 z"] {
            assert!(Rules::read(line, &planned).is_err(), "{line}");
        }
    }
}
