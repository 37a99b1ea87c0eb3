//! The container's insides, built by init: everything between its namespaces and its process.

use super::steps::{Progress, Step};
use super::{ask, console, run_hooks};
use crate::ipc::{Channel, FromInit};
use crate::plan::namespaces::Namespace;
use crate::plan::{Plan, Process};
use crate::rootfs::{Prepared, Root};
use crate::security::keyring::{self, Searchable};
use crate::security::lsm::Labels;
use crate::security::procfs::Procfs;
use crate::sys::{Call, process};
use anyhow::{Context, Result};
use std::os::fd::OwnedFd;

/// Init's namespaces, in which it has all rights still, and how it speaks of what it does there.
pub(super) struct Site<'a> {
    plan: &'a Plan,
    channel: &'a Channel,
    at: &'a Progress,
    labels: &'a Labels,
    procfs: Procfs,
}

impl<'a> Site<'a> {
    /// In the container's namespaces, with the host's filesystems still before it.
    pub fn open(plan: &'a Plan, channel: &'a Channel, at: &'a Progress, labels: &'a Labels) -> Result<Site<'a>> {
        Ok(Site { plan, channel, at, labels, procfs: Procfs::open()? })
    }

    /// Session keyring, and the root filesystem with nothing in it yet.
    pub fn enter_root(&self, prepared: Prepared, warn: &mut dyn FnMut(String)) -> Result<Root> {
        if self.plan.new_keyring {
            self.at.step(Step::Keyring, || self.join_keyring(warn))?;
        }
        self.at.step(Step::Rootfs, || Root::enter(self.plan, prepared))
    }

    /// All that is in the root filesystem, and the hooks that see it.
    pub fn furnish(
        &self,
        root: &mut Root,
        console_socket: Option<OwnedFd>,
        warn: &mut dyn FnMut(String),
    ) -> Result<()> {
        let (plan, at) = (self.plan, self.at);
        at.step(Step::Mounts, || root.mount_all(plan, warn))?;
        if plan.hooks.run_in_runtime() {
            at.step(Step::RuntimeHooks, || ask(self.channel, &FromInit::MountsReady))?;
        }
        if !plan.hooks.create_container.is_empty() {
            at.step(Step::CreateContainerHooks, || {
                // As in runc: a hook finds the container's files by relative paths.
                root.make_current()?;
                run_hooks(plan, &plan.hooks.create_container, None)
            })?;
        }
        match &plan.process {
            Some(process) => self.make_room_for(process, root, console_socket),
            None => Ok(()),
        }
    }

    /// Masks, sysctls and names. The container's root is `/` afterwards.
    pub fn leave_for(self, mut root: Root, warn: &mut dyn FnMut(String)) -> Result<()> {
        let (plan, at) = (self.plan, self.at);
        at.step(Step::Masks, || root.mask_all(plan, warn))?;
        at.step(Step::Sysctl, || self.write_sysctls())?;
        at.step(Step::Hostname, || self.set_names())?;
        at.step(Step::PivotRoot, || root.pivot(plan))
    }

    fn join_keyring(&self, warn: &mut dyn FnMut(String)) -> Result<()> {
        let searchable = match self.plan.namespaces.user {
            Namespace::Inherit => Searchable::ByUser,
            Namespace::New | Namespace::Join(_) => Searchable::ByOthers,
        };
        keyring::join(&self.plan.id, searchable, self.labels, &self.procfs, warn)
    }

    /// The working directory and the terminal of the process.
    fn make_room_for(&self, process: &Process, root: &Root, console_socket: Option<OwnedFd>) -> Result<()> {
        self.at.step(Step::WorkingDirectory, || root.make_cwd(&process.cwd))?;
        if !process.terminal {
            return Ok(());
        }
        let socket = console_socket.context("process.terminal is true, but there is no console socket")?;
        self.at.step(Step::Console, || console::set_up(root, process, socket))
    }

    fn write_sysctls(&self) -> Result<()> {
        for (key, value) in &self.plan.sysctl {
            self.procfs.write_sysctl(key, value).with_context(|| format!("linux.sysctl.{key}"))?;
        }
        Ok(())
    }

    fn set_names(&self) -> Result<()> {
        if let Some(name) = &self.plan.hostname {
            nix::unistd::sethostname(name).call(|| format!("sethostname {name}"))?;
        }
        if let Some(name) = &self.plan.domainname {
            process::setdomainname(name).call(|| format!("setdomainname {name}"))?;
        }
        Ok(())
    }
}
