//! The container's five capability sets.
//!
//! Owns the order that capabilities(7) asks for: the bounding set is cut while CAP_SETPCAP is still there, the other
//! sets follow after the change of user (which `attributes::set_ids` makes with PR_SET_KEEPCAPS on). What the kernel
//! would refuse is left out with a warning, because config.md says that a runtime SHOULD NOT fail for it; a set never
//! gains anything that the plan does not name (CVE-2022-29162).

use crate::plan::process::Capabilities;
use crate::sys::credentials::{self, CapabilitySets};
use crate::sys::{Call, Errno};
use anyhow::{Result, anyhow};

/// Cuts the bounding set down to the plan's. Needs CAP_SETPCAP, and so comes before the change of user.
///
/// Warns of capabilities that the running kernel does not know.
pub fn drop_bounding(capabilities: &Capabilities, warn: &mut dyn FnMut(String)) -> Result<()> {
    for number in bits(!capabilities.bounding) {
        match credentials::drop_from_bounding(number) {
            Ok(()) => {}
            // The numbers are dense: this one and those above it are unknown to the kernel.
            Err(Errno::EINVAL) => {
                let unknown = wanted(capabilities) & !(bit(number) - 1);
                if unknown != 0 {
                    warn(format!("capabilities that this kernel does not know are left out: {}", names(unknown)));
                }
                break;
            }
            // Not being allowed to drop what is not there is no failure.
            Err(Errno::EPERM) if credentials::is_in_bounding(number) == Ok(false) => {}
            Err(e) => return Err(e).call(|| format!("drop {} from the bounding set: prctl", name(number))),
        }
    }
    Ok(())
}

/// Sets permitted, effective and inheritable in one capset(2) and then the ambient set, after the change of user.
/// Warns, in one message for each reason, of every capability that cannot be granted.
///
/// `until_exec` is kept effective beyond the plan; see [`for_filter`].
pub fn apply(capabilities: &Capabilities, until_exec: u64, warn: &mut dyn FnMut(String)) -> Result<()> {
    let current = credentials::capget().call(|| "capget".into())?;
    let (mut sets, mut refused) = grantable(capabilities, &current);
    sets.permitted |= until_exec & current.permitted;
    sets.effective |= until_exec & current.permitted;
    credentials::capset(&sets).call(|| format!("capset {}", describe(&sets)))?;
    credentials::clear_ambient().call(|| "prctl PR_CAP_AMBIENT_CLEAR_ALL".into())?;
    for number in bits(capabilities.ambient & sets.permitted & sets.inheritable) {
        match credentials::raise_ambient(number) {
            Ok(()) => {}
            // SECBIT_NO_CAP_AMBIENT_RAISE.
            Err(Errno::EPERM) => refused.not_ambient |= bit(number),
            Err(e) => return Err(e).call(|| format!("prctl PR_CAP_AMBIENT_RAISE {}", name(number))),
        }
    }
    // A bit that is only in the plan's bounding set is lost only if the runtime's bounding set lacks it as well.
    let only_bounding = capabilities.bounding & !refused.missing & !current.permitted;
    refused.missing |= select(only_bounding, |n| credentials::is_in_bounding(n) == Ok(false));
    // `drop_bounding` has spoken of those that the kernel does not know.
    refused.missing = select(refused.missing, |n| credentials::is_in_bounding(n).is_ok());
    refused.report(warn);
    Ok(())
}

/// What has to be kept for loading a filter without no_new_privs: CAP_SYS_ADMIN.
///
/// So the filter can be loaded last, and need allow nothing of what init does before execve. execve takes it away: the
/// new permitted set comes from the bounding, inheritable and ambient sets, the old one has no part in it
/// (capabilities(7), "Transformation of capabilities during execve()").
pub fn for_filter() -> u64 {
    bit(u32::from(caps::Capability::CAP_SYS_ADMIN.index()))
}

/// What has to be kept for a scheduler that is set last: CAP_SYS_NICE.
pub fn for_scheduler() -> u64 {
    bit(u32::from(caps::Capability::CAP_SYS_NICE.index()))
}

/// Bits of the plan that the kernel would refuse, by the reason.
#[derive(Debug, Default, PartialEq, Eq)]
struct Refused {
    /// The runtime itself does not have them.
    missing: u64,
    /// Effective, but not in the container's permitted set.
    not_permitted: u64,
    /// Inheritable, but not in the container's bounding set.
    not_bounding: u64,
    /// Ambient, but not both permitted and inheritable.
    not_ambient: u64,
}

impl Refused {
    fn report(&self, warn: &mut dyn FnMut(String)) {
        let reasons = [
            (self.missing, "that the runtime does not have"),
            (self.not_permitted, "that are effective but not permitted"),
            (self.not_bounding, "that are inheritable but not in the bounding set"),
            (self.not_ambient, "that are ambient but not both permitted and inheritable"),
        ];
        for (set, reason) in reasons.into_iter().filter(|(set, _)| *set != 0) {
            warn(format!("capabilities {reason} are left out: {}", names(set)));
        }
    }
}

/// The sets of the plan without what capset(2) refuses to a process that has `current`.
///
/// Permitted may only shrink; effective lies within the new permitted; a new inheritable bit must be in the old
/// permitted set and in the bounding set (capabilities(7), "Programmatically adjusting capability sets").
fn grantable(plan: &Capabilities, current: &CapabilitySets) -> (CapabilitySets, Refused) {
    let held = current.permitted | current.inheritable;
    let permitted = plan.permitted & current.permitted;
    let effective = plan.effective & permitted;
    let inheritable = plan.inheritable & held & (plan.bounding | current.inheritable);
    let refused = Refused {
        missing: (plan.permitted | plan.effective | plan.inheritable | plan.ambient) & !held,
        not_permitted: plan.effective & held & !permitted,
        not_bounding: plan.inheritable & held & !inheritable,
        not_ambient: plan.ambient & held & !(permitted & inheritable),
    };
    (CapabilitySets { effective, permitted, inheritable }, refused)
}

/// The name of capability `number`, `CAP_<number>` for one that has none here.
pub fn name(number: u32) -> String {
    caps::all()
        .into_iter()
        .find(|c| u32::from(c.index()) == number)
        .map_or_else(|| format!("CAP_{number}"), |c| c.to_string())
}

/// The number of a capability, from its name with or without `CAP_`, in any case (`exec --cap`).
pub fn number(name: &str) -> Result<u32> {
    let capability: caps::Capability =
        caps::to_canonical(name).parse().map_err(|_| anyhow!("unknown capability {name:?}"))?;
    Ok(capability.index().into())
}

/// Names of a bit set, in the order of their numbers, separated by commas.
pub fn names(set: u64) -> String {
    bits(set).map(name).collect::<Vec<_>>().join(", ")
}

fn describe(sets: &CapabilitySets) -> String {
    format!("effective {:#x} permitted {:#x} inheritable {:#x}", sets.effective, sets.permitted, sets.inheritable)
}

fn wanted(plan: &Capabilities) -> u64 {
    plan.bounding | plan.effective | plan.permitted | plan.inheritable | plan.ambient
}

fn select(set: u64, keep: impl Fn(u32) -> bool) -> u64 {
    bits(set).filter(|&n| keep(n)).fold(0, |all, n| all | bit(n))
}

fn bit(number: u32) -> u64 {
    1 << number
}

fn bits(set: u64) -> impl Iterator<Item = u32> {
    (0..u64::BITS).filter(move |&n| set & bit(n) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHOWN: u64 = 1;
    const KILL: u64 = 1 << 5;
    const RESOURCE: u64 = 1 << 24;

    #[test]
    fn names_and_numbers_agree() {
        assert_eq!(names(CHOWN | KILL | RESOURCE), "CAP_CHOWN, CAP_KILL, CAP_SYS_RESOURCE");
        assert_eq!(name(63), "CAP_63");
        assert_eq!(number("net_raw").unwrap(), 13);
        assert_eq!(number("CAP_CHECKPOINT_RESTORE").unwrap(), 40);
        assert_eq!(number("CAP_NOPE").unwrap_err().to_string(), "unknown capability \"CAP_NOPE\"");
    }

    #[test]
    fn nothing_beyond_the_plan_or_the_runtime_is_granted() {
        let plan = Capabilities {
            bounding: CHOWN | RESOURCE,
            effective: CHOWN | KILL | RESOURCE,
            permitted: CHOWN | RESOURCE,
            inheritable: CHOWN | KILL,
            ambient: CHOWN | KILL,
        };
        let current = CapabilitySets { effective: 0, permitted: CHOWN | KILL, inheritable: 0 };
        let (sets, refused) = grantable(&plan, &current);
        assert_eq!(sets, CapabilitySets { effective: CHOWN, permitted: CHOWN, inheritable: CHOWN });
        let expected = Refused { missing: RESOURCE, not_permitted: KILL, not_bounding: KILL, not_ambient: KILL };
        assert_eq!(refused, expected);
        let mut warnings = Vec::new();
        refused.report(&mut |w| warnings.push(w));
        assert_eq!(warnings[0], "capabilities that the runtime does not have are left out: CAP_SYS_RESOURCE");
        assert_eq!(warnings.len(), 4);
    }

    #[test]
    fn what_can_be_granted_is_granted_in_silence() {
        let all = CHOWN | KILL;
        let plan = Capabilities { bounding: all, effective: all, permitted: all, inheritable: 0, ambient: 0 };
        let (sets, refused) =
            grantable(&plan, &CapabilitySets { effective: 0, permitted: all | RESOURCE, inheritable: 0 });
        assert_eq!(sets, CapabilitySets { effective: all, permitted: all, inheritable: 0 });
        assert_eq!(refused, Refused::default());
    }
}
