//! The change of the root directory, and what is left to do to `/` after it.

use super::{Place, Root, attr};
use crate::plan::options::PropagationKind;
use crate::plan::{Plan, Propagation, RootChange};
use crate::sys::mount::{AT_RECURSIVE, MountAttr, mount_setattr, move_mount};
use crate::sys::{Call, Errno, ns};
use anyhow::{Context, Result};
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, chroot, fchdir};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

impl Root {
    /// Makes the root filesystem `/` and leaves the host's mounts behind; then `linux.rootfsPropagation` and
    /// `root.readonly`. The working directory is `/` afterwards.
    pub fn pivot(self, plan: &Plan) -> Result<()> {
        match plan.root_change {
            RootChange::PivotRoot => self.pivot_root(),
            RootChange::MoveMount => self.move_to_top(),
            RootChange::Chroot => self.chroot(),
        }?;
        self.finish(plan.rootfs.propagation, plan.rootfs.readonly)
    }

    /// pivot_root(2), "pivot_root(".", ".")": the old root ends up stacked on the new one, where `.` still finds it.
    fn pivot_root(&self) -> Result<()> {
        fchdir(&self.dir).call(|| "fchdir to the root filesystem".into())?;
        ns::pivot_root_here().call(|| "pivot_root . .".into())?;
        // All of these mounts are slaves or private since Root::enter, so that nothing is unmounted on the host.
        umount2(".", MntFlags::MNT_DETACH).call(|| "umount2 the old root".into())?;
        chdir("/").call(|| "chdir /".into())
    }

    /// `--no-pivot`: for a `/` that pivot_root(2) refuses, as the initramfs. The old root stays under the new one, out
    /// of reach of paths, but its procfs and sysfs would still count as ones that the container sees whole, and so let
    /// it mount unmasked ones: they go first.
    fn move_to_top(&self) -> Result<()> {
        self.remove_host_procfs()?;
        if self.place == Place::OwnPath {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let top = open("/", flags, Mode::empty()).call(|| "open /".into())?;
            move_mount(self.dir.as_fd(), top.as_fd()).call(|| "move_mount the root filesystem onto /".into())?;
        }
        self.chroot()
    }

    fn chroot(&self) -> Result<()> {
        fchdir(&self.dir).call(|| "fchdir to the root filesystem".into())?;
        chroot(".").call(|| "chroot .".into())?;
        chdir("/").call(|| "chdir /".into())
    }

    /// Detaches every procfs and sysfs outside the root filesystem; one that is locked is covered with an empty tmpfs.
    /// On top of `/`, the root filesystem is where no path of the table leads; else its own path tells what is its.
    fn remove_host_procfs(&self) -> Result<()> {
        let ours = std::fs::read_link(format!("/proc/self/fd/{}", self.dir.as_raw_fd()))
            .call(|| "readlink /proc/self/fd of the root filesystem".into())?;
        let table = std::fs::read("/proc/self/mountinfo").call(|| "read /proc/self/mountinfo".into())?;
        let found: Vec<PathBuf> = String::from_utf8_lossy(&table).lines().filter_map(kernel_view).collect();
        let foreign = |path: &&PathBuf| self.place == Place::Top || !path.starts_with(&ours);
        let mut covered = Vec::new();
        for path in found.iter().filter(foreign) {
            if covered.contains(&path) {
                continue;
            }
            match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
                // Gone with a mount that it was below.
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(Errno::EINVAL | Errno::EPERM) => {
                    cover(path)?;
                    covered.push(path);
                }
                Err(errno) => return Err(errno).call(|| format!("umount2 {}", path.display())),
            }
        }
        Ok(())
    }

    fn finish(self, propagation: Option<Propagation>, readonly: bool) -> Result<()> {
        let late = |p: &Propagation| matches!(p.kind, PropagationKind::Shared | PropagationKind::Unbindable);
        if let Some(propagation) = propagation.filter(late) {
            let attr = MountAttr { propagation: attr::flag(propagation.kind), ..MountAttr::default() };
            let flags = if propagation.recursive { AT_RECURSIVE } else { 0 };
            mount_setattr(self.dir.as_fd(), flags, &attr)
                .call(|| format!("mount_setattr {:?} /", propagation.kind).to_lowercase())
                .context("linux.rootfsPropagation")?;
        }
        if readonly {
            attr::make_readonly(self.dir.as_fd()).call(|| "mount_setattr +ro /".into()).context("root.readonly")?;
        }
        Ok(())
    }
}

/// The mount point of a whole procfs or sysfs in a line of mountinfo (proc_pid_mountinfo(5)).
fn kernel_view(line: &str) -> Option<PathBuf> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let kind = filesystem.split(' ').next()?;
    (root == "/" && matches!(kind, "proc" | "sysfs")).then(|| PathBuf::from(unescape(point)))
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, character)| text.replace(code, character))
}

fn cover(path: &Path) -> Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let target = open(path, flags, Mode::empty()).call(|| format!("open {}", path.display()))?;
    let empty = super::fs::make_empty()?;
    move_mount(empty.as_fd(), target.as_fd()).call(|| format!("cover {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_procfs_and_sysfs_are_found() {
        let line = "22 27 0:21 / /odd\\040place rw,relatime shared:5 - proc proc rw";
        assert_eq!(kernel_view(line), Some(PathBuf::from("/odd place")));
        assert_eq!(kernel_view("22 27 0:21 /sys /p rw - proc proc rw"), None);
        assert_eq!(kernel_view("22 27 0:21 / /t rw - tmpfs tmpfs rw"), None);
    }
}
