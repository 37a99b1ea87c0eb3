//! The config's order in the kernel's table of mounts.
//!
//! Since Linux 6.8, `/proc/<pid>/mountinfo` is sorted by id, and a mount has its id from when it is cloned or made, not
//! from when it is attached. Filesystems are made by init, in its namespaces; so a bind that is listed behind one is cloned
//! when init gets to it and asks: by the runtime, for a mount can only be cloned in the namespace that it is in. One question
//! answers for all binds up to the next filesystem. The answer comes in parts, so that init attaches while the runtime
//! clones.

use super::prepare::{self, RaisedLimit, Source};
use super::{attr, idmap};
use crate::plan::{MountOp, Plan, Requirement};
use anyhow::{Context, Result, bail, ensure};
use std::os::fd::{AsFd, OwnedFd};

/// When the sources of binds are cloned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloning {
    AtOnce,
    /// Behind a filesystem when it is their turn.
    InTurn,
}

/// How many binds a part of an answer has at least, if there are as many; one message carries 253 at most (SCM_MAX_FD of
/// `<net/scm.h>`).
const PART: usize = 16;
const LARGEST_PART: usize = 250;
/// How many parts an answer has at most: a socket takes ten unread messages, and neither side may wait for the other.
const PARTS: usize = 8;

/// Whether the place of a bind among the others is the config's: the parts that a mount of type `cgroup` is made of have
/// none, and would cost every container a question.
pub(super) fn matters(plan: &Plan, index: usize) -> bool {
    let mount = &plan.mounts[index];
    let part_of_another = index.checked_sub(1).is_some_and(|before| plan.mounts[before].place == mount.place);
    matches!(mount.op, MountOp::Bind(_)) && mount.requirement == Requirement::Must && !part_of_another
}

/// The binds that are cloned together with the one at `index`.
fn turn(plan: &Plan, sources: &[Source], index: usize) -> Vec<usize> {
    (index..sources.len())
        .take_while(|&index| !matches!(plan.mounts[index].op, MountOp::Fs(_)))
        .filter(|&index| matches!(sources[index], Source::InTurn(_)))
        .take(PARTS * LARGEST_PART)
        .collect()
}

/// The size of the parts of a turn.
fn part_of(turn: usize) -> usize {
    turn.div_ceil(PARTS).max(PART)
}

/// What init asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The first part of the turn that begins at this index of `plan.mounts`.
    Turn(usize),
    /// Another part of it.
    More,
}

/// Init's part of a turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The binds that are still to come, the next one last.
    left: Vec<usize>,
    part: usize,
}

impl Turn {
    /// Takes the part that has the tree for `index` from `supply`.
    pub fn take(
        &mut self,
        plan: &Plan,
        sources: &mut [Source],
        index: usize,
        supply: &mut dyn FnMut(Wanted) -> Result<Vec<OwnedFd>>,
    ) -> Result<()> {
        let mut wanted = Wanted::More;
        if self.left.is_empty() {
            let turn = turn(plan, sources, index);
            *self = Turn { part: part_of(turn.len()), left: turn };
            self.left.reverse();
            wanted = Wanted::Turn(index);
        }
        let trees = supply(wanted)?;
        let expected = self.part.min(self.left.len());
        ensure!(trees.len() == expected, "{} sources instead of {expected}", trees.len());
        for (tree, index) in trees.into_iter().zip(self.left.drain(self.left.len() - expected..).rev()) {
            sources[index] = Source::Tree(tree);
        }
        Ok(())
    }
}

/// The runtime's part of the sources that are cloned later.
#[derive(Debug)]
pub struct Outstanding {
    sources: Vec<Source>,
    idmaps: idmap::Namespaces,
    /// The container's user namespace, where a mount has its mapping.
    userns: Option<OwnedFd>,
    _limit: Option<RaisedLimit>,
}

impl Outstanding {
    pub(super) fn new(
        mut sources: Vec<Source>,
        idmaps: idmap::Namespaces,
        userns: Option<OwnedFd>,
        limit: Option<RaisedLimit>,
    ) -> Outstanding {
        for source in sources.iter_mut().filter(|source| !matches!(source, Source::InTurn(_))) {
            *source = Source::Nothing;
        }
        Outstanding { sources, idmaps, userns, _limit: limit }
    }

    /// Whether init will ask for nothing more.
    pub fn is_empty(&self) -> bool {
        self.sources.iter().all(|source| matches!(source, Source::Nothing))
    }

    /// Clones what init asks for: the binds of the turn that begins at `plan.mounts[index]`, each a detached tree. Gives them
    /// to `send` part by part.
    ///
    /// In the runtime's mount namespace.
    pub fn clone_turn(
        &mut self,
        plan: &Plan,
        index: usize,
        send: &mut dyn FnMut(&[OwnedFd]) -> Result<()>,
    ) -> Result<()> {
        let turn = turn(plan, &self.sources, index);
        for part in turn.chunks(part_of(turn.len())) {
            let clone = |&index: &usize| self.clone_one(plan, index).with_context(|| prepare::at(&plan.mounts[index]));
            send(&part.iter().map(clone).collect::<Result<Vec<_>>>()?)?;
        }
        Ok(())
    }

    fn clone_one(&mut self, plan: &Plan, index: usize) -> Result<OwnedFd> {
        let mount = &plan.mounts[index];
        let (MountOp::Bind(bind), Source::InTurn(opened)) =
            (&mount.op, std::mem::replace(&mut self.sources[index], Source::Nothing))
        else {
            bail!("no bind that waits for its turn");
        };
        let opened = opened.as_ref().map(|fd| (fd.as_fd(), prepare::By::Fd));
        let tree = prepare::open_bind(bind, opened, attr::readonly_at_end(plan, index), &mut self.idmaps)?;
        if let Some(map) = prepare::of_container(mount) {
            let userns = self.userns.as_ref().context("the container's user namespace is not open")?;
            prepare::map_tree(tree.as_fd(), map, userns.as_fd())?;
        }
        Ok(tree)
    }
}
