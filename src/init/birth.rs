//! From clone3 to being root in the container's namespaces.

use super::Init;
use crate::ipc::{Channel, FromInit, ToInit};
use crate::plan::Plan;
use crate::plan::namespaces::{Namespace, Namespaces, TimeOffset};
use crate::plan::sysctl::{self, Owner};
use crate::sys::ns::{self, CLONE_NEWTIME, Cloned, Parent};
use crate::sys::{Call, Errno, process};
use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat, stat};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

const NEWNS: u64 = libc::CLONE_NEWNS as u64;
const NEWCGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
const NEWUTS: u64 = libc::CLONE_NEWUTS as u64;
const NEWIPC: u64 = libc::CLONE_NEWIPC as u64;
const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;
const NEWPID: u64 = libc::CLONE_NEWPID as u64;
const NEWNET: u64 = libc::CLONE_NEWNET as u64;

/// How init comes into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lineage {
    /// One clone3: the runtime's child is init.
    Child,
    /// The runtime's first child joins namespaces and clones init as the runtime's second child (CLONE_PARENT): a
    /// namespace that is made must belong to a user namespace that is joined, or one is joined from outside a new one.
    Grandchild,
    /// The runtime's first child builds the container from outside of a pid namespace that is joined, and clones init at the
    /// end, as the runtime's second child: in that namespace others see everything of a process from its birth on.
    Sibling,
}

impl Lineage {
    /// `outside`: a procfs of the joined pid namespace can be made without being in it.
    pub fn of(namespaces: &Namespaces, privileged: bool, outside: bool) -> Lineage {
        if outside && namespaces.user == Namespace::Inherit && matches!(namespaces.pid, Namespace::Join(_)) {
            return Lineage::Sibling;
        }
        let joins = |n: &Namespace| matches!(n, Namespace::Join(_));
        let others = [
            &namespaces.pid,
            &namespaces.mount,
            &namespaces.network,
            &namespaces.ipc,
            &namespaces.uts,
            &namespaces.cgroup,
            &namespaces.time,
        ];
        let grandchild = match &namespaces.user {
            Namespace::Inherit => false,
            Namespace::New => others.into_iter().any(joins),
            Namespace::Join(_) => match namespaces.pid {
                Namespace::Inherit => false,
                Namespace::New => true,
                Namespace::Join(_) => !privileged,
            },
        };
        if grandchild { Lineage::Grandchild } else { Lineage::Child }
    }
}

/// Whether init begins before its cgroup is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadStart {
    /// It enters the cgroup first of all, waiting for it if it has to.
    None,
    /// Beside the runtime, which makes the cgroup, it makes of its mounts those that need none.
    Given,
}

impl HeadStart {
    /// `useful`: the cgroup is made when init is there already, and init has nothing to ask of the runtime before that.
    pub fn of(namespaces: &Namespaces, lineage: Lineage, useful: bool) -> HeadStart {
        let able = namespaces.user == Namespace::Inherit
            && namespaces.mount == Namespace::New
            && !matches!(namespaces.cgroup, Namespace::Join(_));
        match useful && able && lineage == Lineage::Child {
            true => HeadStart::Given,
            false => HeadStart::None,
        }
    }
}

/// Who makes the container's network namespace, which takes longer than all other namespaces together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkMaker {
    /// clone3, or unshare(2) along with others; or it is joined or shared.
    WithOthers,
    /// A process beside the runtime, which has other things to do until it clones init. Init joins it.
    Beside,
}

impl NetworkMaker {
    /// Who can: the namespace belongs to the runtime's user namespace, or to one that is made with init.
    pub fn of(namespaces: &Namespaces) -> NetworkMaker {
        match namespaces.network == Namespace::New && namespaces.user == Namespace::Inherit {
            true => NetworkMaker::Beside,
            false => NetworkMaker::WithOthers,
        }
    }
}

/// Namespaces to join, opened by the runtime before the clone.
#[derive(Debug)]
pub struct Joins {
    user: Option<OwnedFd>,
    pid: Option<OwnedFd>,
    others: Vec<Join>,
}

#[derive(Debug)]
struct Join {
    kind: u64,
    name: &'static str,
    fd: OwnedFd,
}

impl Joins {
    /// Opens the namespaces that the plan names by path.
    ///
    /// Fails where one is the runtime's own and sysctls are to be set in it: they would be the host's.
    pub fn open(plan: &Plan) -> Result<Joins> {
        let namespaces = &plan.namespaces;
        let open_path = |namespace: &Namespace, kind: &str| match namespace {
            Namespace::Join(path) => open_namespace(path, kind).map(Some),
            Namespace::New | Namespace::Inherit => Ok(None),
        };
        let mut others = Vec::new();
        for (namespace, kind, name) in [
            (&namespaces.network, NEWNET, "network"),
            (&namespaces.ipc, NEWIPC, "ipc"),
            (&namespaces.uts, NEWUTS, "uts"),
            (&namespaces.cgroup, NEWCGROUP, "cgroup"),
            (&namespaces.time, CLONE_NEWTIME, "time"),
            // Last: it changes what paths mean.
            (&namespaces.mount, NEWNS, "mount"),
        ] {
            if let Some(fd) = open_path(namespace, name)? {
                others.push(Join { kind, name, fd });
            }
        }
        let joins =
            Joins { user: open_path(&namespaces.user, "user")?, pid: open_path(&namespaces.pid, "pid")?, others };
        joins.check_sysctls(&plan.sysctl)?;
        Ok(joins)
    }

    /// One more, made by [`NetworkMaker::Beside`].
    pub fn add_network(&mut self, namespace: OwnedFd) {
        self.others.push(Join { kind: NEWNET, name: "network", fd: namespace });
    }

    /// Planning has refused the runtime's own namespaces as far as their paths tell.
    fn check_sysctls(&self, sysctls: &[(String, String)]) -> Result<()> {
        for (file, _) in sysctls {
            let (kind, name, own) = match sysctl::owner(file) {
                Some(Owner::Network) => (NEWNET, "network", "/proc/self/ns/net"),
                Some(Owner::Ipc) => (NEWIPC, "ipc", "/proc/self/ns/ipc"),
                Some(Owner::Uts) => (NEWUTS, "uts", "/proc/self/ns/uts"),
                Some(Owner::User) => (NEWUSER, "user", "/proc/self/ns/user"),
                None => continue,
            };
            let joined = if kind == NEWUSER { self.user.as_ref() } else { self.other(kind) };
            let Some(joined) = joined else { continue };
            let joined = fstat(joined).call(|| format!("fstat the {name} namespace"))?;
            let own = stat(own).call(|| format!("stat {own}"))?;
            if (joined.st_dev, joined.st_ino) == (own.st_dev, own.st_ino) {
                bail!("linux.sysctl.{file}: the {name} namespace is the host's own");
            }
        }
        Ok(())
    }

    fn other(&self, kind: u64) -> Option<&OwnedFd> {
        self.others.iter().find(|join| join.kind == kind).map(|join| &join.fd)
    }

    /// The pid namespace that the runtime itself enters around the clone.
    pub fn pid_around_clone(&self, lineage: Lineage) -> Option<&OwnedFd> {
        self.pid.as_ref().filter(|_| lineage == Lineage::Child)
    }

    pub fn pid(&self) -> Option<&OwnedFd> {
        self.pid.as_ref()
    }

    pub(super) fn take_pid(&mut self) -> Option<OwnedFd> {
        self.pid.take()
    }

    pub fn user(&self) -> Option<&OwnedFd> {
        self.user.as_ref()
    }

    /// Joins all but the pid namespace: first what the present privileges allow, then the user namespace, then the rest.
    fn enter(&self) -> Result<()> {
        let mut refused = Vec::new();
        for join in &self.others {
            match ns::setns(join.fd.as_fd(), join.kind) {
                Err(Errno::EPERM) if self.user.is_some() => refused.push(join),
                result => result.call(|| format!("setns {}", join.name))?,
            }
        }
        if let Some(user) = &self.user {
            ns::setns(user.as_fd(), NEWUSER).call(|| "setns user".into())?;
        }
        for join in refused {
            ns::setns(join.fd.as_fd(), join.kind).call(|| format!("setns {}", join.name))?;
        }
        Ok(())
    }
}

fn open_namespace(path: &Path, kind: &str) -> Result<OwnedFd> {
    open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .call(|| format!("open {}", path.display()))
        .with_context(|| format!("{kind} namespace of linux.namespaces"))
}

/// The namespaces that clone3 makes for init.
///
/// With a user namespace only the pid namespace is made along with it: the others must belong to its root, who exists
/// only after the id maps are written (an ipc namespace made before leaves mqueue to the overflow user).
pub fn flags_at_clone(namespaces: &Namespaces, network: NetworkMaker) -> u64 {
    let pid = if namespaces.pid == Namespace::New { NEWPID } else { 0 };
    match namespaces.user {
        Namespace::New => NEWUSER | pid,
        Namespace::Join(_) => pid,
        Namespace::Inherit => match network {
            NetworkMaker::WithOthers => pid | later_namespaces(namespaces),
            NetworkMaker::Beside => pid | later_namespaces(namespaces) & !NEWNET,
        },
    }
}

fn later_namespaces(namespaces: &Namespaces) -> u64 {
    [(&namespaces.mount, NEWNS), (&namespaces.network, NEWNET), (&namespaces.ipc, NEWIPC), (&namespaces.uts, NEWUTS)]
        .into_iter()
        .filter(|(namespace, _)| **namespace == Namespace::New)
        .fold(0, |flags, (_, flag)| flags | flag)
}

/// First step: die with the runtime, get rid of its fds, and become the process that will be init.
pub(super) fn be_born(init: &mut Init) -> Result<()> {
    for fd in init.not_ours.drain(..) {
        nix::unistd::close(fd).call(|| format!("close {fd}"))?;
    }
    die_with_the_runtime()?;
    if init.lineage == Lineage::Grandchild {
        init.joins.enter()?;
        clone_init(init)?;
        die_with_the_runtime()?;
    }
    nix::unistd::setsid().call(|| "setsid".into()).map(drop)
}

pub(super) fn die_with_the_runtime() -> Result<()> {
    process::set_parent_death_signal(super::libc_sigkill()).call(|| "prctl PR_SET_PDEATHSIG".into())
}

/// In the intermediate process: clones init as its own sibling, tells the runtime, and ends. Returns in init.
fn clone_init(init: &Init) -> Result<()> {
    let plan = init.plan;
    if plan.namespaces.user != Namespace::New {
        become_root(keeps_groups(init.plan))?;
    }
    if let Some(pid) = &init.joins.pid {
        ns::setns(pid.as_fd(), NEWPID).call(|| "setns pid".into())?;
    }
    match ns::clone3(flags_at_clone(&plan.namespaces, NetworkMaker::WithOthers), None, Parent::CallersParent)
        .call(|| "clone3".into())?
    {
        Cloned::Child => Ok(()),
        Cloned::Parent { pid, .. } => {
            init.channel.tell_runtime(&FromInit::Born(pid))?;
            process::exit_now(0)
        }
    }
}

/// For [`Lineage::Sibling`], when the caller is the container's process in all else: clones it into the pid namespace, and
/// ends. Returns in init, which the runtime knows by then.
///
/// What init has of its maker's memory stays, but for arguments and environment.
pub(super) fn be_born_last(channel: &Channel) -> Result<()> {
    process::wipe_arguments();
    match ns::clone3(0, None, Parent::CallersParent).call(|| "clone3".into())? {
        Cloned::Parent { pid, .. } => {
            channel.tell_runtime(&FromInit::Born(pid))?;
            process::exit_now(0)
        }
        Cloned::Child => {
            die_with_the_runtime()?;
            // A change of ids has set it to what fs.suid_dumpable says.
            process::set_dumpable(false).call(|| "prctl PR_SET_DUMPABLE".into())?;
            nix::unistd::setsid().call(|| "setsid".into())?;
            wait_for_go(channel)
        }
    }
}

/// Joins the pid namespace, for children.
pub(super) fn join_pid(namespace: Option<OwnedFd>) -> Result<()> {
    let Some(namespace) = namespace else { return Ok(()) };
    ns::setns(namespace.as_fd(), NEWPID).call(|| "setns pid".into()).context("pid namespace of linux.namespaces")
}

pub(super) fn wait_for_go(channel: &Channel) -> Result<()> {
    match channel.hear_runtime()? {
        Some(ToInit::Go) => Ok(()),
        Some(ToInit::Start) => bail!("start before go"),
        None => bail!("the runtime is gone"),
    }
}

/// Joins and makes the namespaces that clone3 did not make, but for the cgroup namespace.
pub(super) fn enter_namespaces(init: &Init) -> Result<()> {
    let namespaces = &init.plan.namespaces;
    if init.lineage != Lineage::Grandchild {
        init.joins.enter()?;
    }
    if namespaces.user != Namespace::Inherit {
        become_root(keeps_groups(init.plan))?;
        let flags = later_namespaces(namespaces);
        if flags != 0 {
            ns::unshare(flags).call(|| format!("unshare {flags:#x}"))?;
        }
    }
    if namespaces.time == Namespace::New {
        enter_new_time_namespace(&namespaces.time_offsets, namespaces.user != Namespace::Inherit)?;
    }
    // Not ptraceable from here on, whoever shares the namespaces (CVE-2016-9962). The runtime has done so already
    // unless it had to leave /proc/<pid>/uid_map writable for its own user.
    process::set_dumpable(false).call(|| "prctl PR_SET_DUMPABLE".into())
}

/// Its root is the cgroup that the caller is in now.
pub(super) fn make_cgroup_namespace(namespaces: &Namespaces) -> Result<()> {
    if namespaces.cgroup != Namespace::New {
        return Ok(());
    }
    ns::unshare(NEWCGROUP).call(|| "unshare cgroup".into())
}

fn keeps_groups(plan: &Plan) -> bool {
    plan.process.as_ref().is_some_and(|process| process.user.keep_groups)
}

/// Takes the identity of the user namespace's root; the supplementary groups go where the namespace allows it, unless
/// they are to be kept.
pub(super) fn become_root(keep_groups: bool) -> Result<()> {
    if !keep_groups {
        match setgroups(&[]) {
            Ok(()) | Err(Errno::EPERM) => {}
            Err(errno) => return Err(errno).call(|| "setgroups".into()),
        }
    }
    let (root, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(group, group, group).call(|| "setresgid 0".into())?;
    setresuid(root, root, root).call(|| "setresuid 0".into())?;
    die_with_the_runtime()
}

/// time_namespaces(7): the offsets are written before the first process enters, and setns enters.
fn enter_new_time_namespace(offsets: &[TimeOffset], in_user_namespace: bool) -> Result<()> {
    ns::unshare(CLONE_NEWTIME).call(|| "unshare time".into())?;
    if !offsets.is_empty() {
        let lines: String = offsets.iter().map(|o| format!("{} {} {}\n", o.clock, o.seconds, o.nanoseconds)).collect();
        if in_user_namespace {
            // The files below /proc/self of a process that cannot be dumped belong to the initial namespace's root.
            process::set_dumpable(true).call(|| "prctl PR_SET_DUMPABLE".into())?;
        }
        std::fs::write("/proc/self/timens_offsets", &lines)
            .call(|| format!("write /proc/self/timens_offsets {:?}", lines.trim_end()))
            .context("linux.timeOffsets")?;
    }
    let path = Path::new("/proc/self/ns/time_for_children");
    let fd =
        open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).call(|| format!("open {}", path.display()))?;
    ns::setns(fd.as_fd(), CLONE_NEWTIME).call(|| "setns time".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join() -> Namespace {
        Namespace::Join("/proc/1/ns/x".into())
    }

    #[test]
    fn one_clone_in_the_common_cases() {
        let new = Namespaces { pid: Namespace::New, mount: Namespace::New, ..Namespaces::default() };
        assert_eq!(Lineage::of(&new, true, false), Lineage::Child);
        assert_eq!(Lineage::of(&Namespaces { user: Namespace::New, ..new.clone() }, false, false), Lineage::Child);
        assert_eq!(Lineage::of(&Namespaces { network: join(), ..new.clone() }, true, false), Lineage::Child);
        assert_eq!(Lineage::of(&Namespaces { user: join(), ..new.clone() }, true, false), Lineage::Grandchild);
        assert_eq!(
            Lineage::of(&Namespaces { user: Namespace::New, network: join(), ..new }, true, false),
            Lineage::Grandchild
        );
    }

    #[test]
    fn a_user_namespace_comes_before_what_it_owns() {
        let mut all = Namespaces {
            pid: Namespace::New,
            mount: Namespace::New,
            ipc: Namespace::New,
            cgroup: Namespace::New,
            ..Namespaces::default()
        };
        assert_eq!(flags_at_clone(&all, NetworkMaker::WithOthers), NEWPID | NEWNS | NEWIPC);
        all.user = Namespace::New;
        assert_eq!(flags_at_clone(&all, NetworkMaker::WithOthers), NEWPID | NEWUSER);
    }

    #[test]
    fn init_has_a_head_start_where_its_namespaces_are_the_hosts_children() {
        let new = Namespaces {
            pid: Namespace::New,
            mount: Namespace::New,
            network: Namespace::New,
            cgroup: Namespace::New,
            ..Namespaces::default()
        };
        let given = |namespaces: &Namespaces| HeadStart::of(namespaces, Lineage::Child, true);
        assert_eq!(given(&new), HeadStart::Given);
        assert_eq!(given(&Namespaces { network: join(), ..new.clone() }), HeadStart::Given);
        assert_eq!(HeadStart::of(&new, Lineage::Child, false), HeadStart::None);
        assert_eq!(HeadStart::of(&new, Lineage::Grandchild, true), HeadStart::None);
        for unable in [
            Namespaces { user: Namespace::New, ..new.clone() },
            Namespaces { mount: join(), ..new.clone() },
            Namespaces { mount: Namespace::Inherit, ..new.clone() },
            Namespaces { cgroup: join(), ..new.clone() },
        ] {
            assert_eq!(given(&unable), HeadStart::None, "{unable:?}");
        }
    }

    #[test]
    fn the_network_is_made_beside_where_it_is_the_runtimes_own() {
        let new = Namespaces { pid: Namespace::New, network: Namespace::New, ..Namespaces::default() };
        assert_eq!(NetworkMaker::of(&new), NetworkMaker::Beside);
        assert_eq!(NetworkMaker::of(&Namespaces { user: Namespace::New, ..new.clone() }), NetworkMaker::WithOthers);
        assert_eq!(NetworkMaker::of(&Namespaces { network: join(), ..new.clone() }), NetworkMaker::WithOthers);
        assert_eq!(flags_at_clone(&new, NetworkMaker::WithOthers), NEWPID | NEWNET);
        assert_eq!(flags_at_clone(&new, NetworkMaker::Beside), NEWPID);
    }
}
