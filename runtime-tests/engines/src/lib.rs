//! The engine lane: containerd, Docker, Podman and buildah drive the runtime under test, and the same operations drive
//! Debian's runc. It knows the engines' command lines and nothing of the runtime's code.
//!
//! A suite ([`suite`]) is one engine. Its program starts itself twice, each time in a [`sandbox`] with namespaces, a cgroup
//! and directories of its own, where the runtime is `/run/eng/bin/runc`: once it is runc, once the one under test. Both run
//! the same tests, one after the other, against engines that are started once. A test is a list of command lines with
//! what has to come of them ([`session`]); in the end the two records must be equal.

pub mod image;
pub mod sandbox;
pub mod session;
pub mod suite;

pub use session::{Check, Session};
pub use suite::{Suite, Test};
