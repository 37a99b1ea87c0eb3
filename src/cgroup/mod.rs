//! The container's cgroup: made, entered, signalled, removed; on cgroup v1, v2 and both (hybrid).
//!
//! Lifecycle is here; which values go into which file is `resources`' pure list. Every file is reached through the fd of
//! its hierarchy's root and never by a plain path. Knows plan types and syscalls, nothing of bundles or the store.
//!
//! The order that leaks nothing: [`intend`] (looks, makes nothing) → the caller stores [`Intent::record`] →
//! [`Intent::create`] → clone into it → … → [`Record::remove`]. Of a cgroup v1 only what init is born in must be there at
//! the clone ([`Intent::begin`]); the rest can be made beside init's first steps ([`Begun::finish`]). With systemd nothing can be made before there is a
//! process: there [`Created::attach`] follows the clone.

mod apply;
mod controllers;
mod create;
mod delegate;
mod devices;
mod entry;
mod freeze;
mod group;
mod kill;
mod make;
mod oom;
mod parents;
mod place;
mod process;
mod record;
mod resources;
pub mod stats;
mod systemd;
#[cfg(test)]
mod tests;
mod tree;
mod unit;
mod update;
mod wait;

pub use create::{Created, Intent, create, intend};
pub use entry::{Entry, SubCgroup};
pub use kill::Hold;
pub use make::{Begun, Portion};
pub use oom::{KillsAbove, OomEvent, OomWatch};
pub use process::frozen_by;
pub use record::Record;
