//! The plan as text, one line an operation, in the order in which create carries them out.
//!
//! Made to be read and to be compared with `diff`: no column depends on another line, and nothing in it changes from
//! one run to the next. It prints what is in the plan and decides nothing.

mod limits;
mod mount;
mod process;
mod seccomp;

use super::hooks::Hook;
use super::namespaces::{IdMapWriter, IdRange, Namespace};
use super::resources::{Manager, Place};
use super::{Plan, RootChange, Rootfs};
use std::fmt::{self, Display, Formatter};
use std::path::Path;

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "container {}", Text(&self.id))?;
        row(f, "oci version", Text(&self.oci_version))?;
        row(f, "bundle", Text::of(&self.bundle))?;
        for (name, value) in &self.annotations {
            row(f, "annotation", format_args!("{}={}", Text(name), Text(value)))?;
        }
        self.namespaces(f)?;
        self.id_maps(f)?;
        self.cgroup(f)?;
        self.intel_rdt(f)?;
        root(f, &self.rootfs, self.root_change)?;
        self.mounts(f)?;
        if !self.net_devices.is_empty() {
            section(f, "network devices")?;
        }
        for device in &self.net_devices {
            row(f, "move", format_args!("{} as {}", Text(&device.host_name), Text(&device.container_name)))?;
        }
        self.hooks(f)?;
        if !self.masks.is_empty() {
            section(f, "read-only and masked paths")?;
        }
        for mount in &self.masks {
            writeln!(f, "  {mount}")?;
        }
        self.kernel(f)?;
        if let Some(process) = &self.process {
            section(f, "process")?;
            process.fmt(f)?;
        }
        if let Some(seccomp) = &self.seccomp {
            section(f, "seccomp")?;
            seccomp.fmt(f)?;
        }
        if !self.warnings.is_empty() {
            section(f, "warnings")?;
        }
        for warning in &self.warnings {
            writeln!(f, "  {}", Text(warning))?;
        }
        Ok(())
    }
}

impl Plan {
    fn namespaces(&self, f: &mut Formatter<'_>) -> fmt::Result {
        section(f, "namespaces")?;
        let of = &self.namespaces;
        for (name, namespace) in [
            ("user", &of.user),
            ("pid", &of.pid),
            ("mount", &of.mount),
            ("network", &of.network),
            ("ipc", &of.ipc),
            ("uts", &of.uts),
            ("cgroup", &of.cgroup),
            ("time", &of.time),
        ] {
            match namespace {
                Namespace::Inherit => row(f, name, "the runtime's")?,
                Namespace::New => row(f, name, "new")?,
                Namespace::Join(path) => row(f, name, format_args!("join {}", Text::of(path)))?,
            }
        }
        for offset in &of.time_offsets {
            row(
                f,
                "time offset",
                format_args!("{} {} s {} ns", Text(&offset.clock), offset.seconds, offset.nanoseconds),
            )?;
        }
        Ok(())
    }

    fn id_maps(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(map) = &self.namespaces.id_map else { return Ok(()) };
        section(f, "id maps")?;
        for (name, ranges) in [("uid", &map.uid), ("gid", &map.gid)] {
            for range in ranges {
                row(
                    f,
                    name,
                    format_args!("{} in the container, {} outside, size {}", range.container, range.host, range.size),
                )?;
            }
        }
        match map.writer {
            IdMapWriter::Runtime => row(f, "written by", "the runtime"),
            IdMapWriter::Helpers => row(f, "written by", "newuidmap and newgidmap"),
        }
    }

    fn cgroup(&self, f: &mut Formatter<'_>) -> fmt::Result {
        section(f, "cgroup")?;
        let manager = match self.cgroup.manager {
            Manager::Disabled => return row(f, "path", "that of the runtime"),
            Manager::Cgroupfs => "",
            Manager::Systemd => " below systemd's own",
        };
        if let Some(unit) = &self.cgroup.unit {
            let whose = if unit.user { "the user's systemd" } else { "systemd" };
            row(f, "unit", format_args!("{} of {whose}", Text(&unit.name)))?;
            row(f, if unit.is_slice() { "wants" } else { "slice" }, Text(&unit.slice))?;
            for property in &unit.properties {
                row(f, "property", Text(&property.to_string()))?;
            }
        }
        // A relative path is resolved when the machine's cgroups are looked at.
        let place = match self.cgroup.place {
            Place::Absolute => "",
            Place::Relative => " (relative)",
            Place::Default => " (by default)",
        };
        row(f, "path", format_args!("{}{place}{manager}", Text::of(&self.cgroup.path)))?;
        limits::rows(f, &self.cgroup)
    }

    fn intel_rdt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(rdt) = &self.intel_rdt else { return Ok(()) };
        section(f, "intel rdt")?;
        let kept = if rdt.explicit { " (kept on delete)" } else { "" };
        row(f, "closid", format_args!("{}{kept}", Text(&rdt.clos_id)))?;
        for line in &rdt.schemata {
            row(f, "schemata", Text(line))?;
        }
        if rdt.monitoring {
            row(f, "monitoring", "a group of its own")?;
        }
        Ok(())
    }

    fn mounts(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let is_device = |place: &str| place.starts_with("default ") || place.starts_with("linux.devices[");
        let devices = self.mounts.iter().position(|mount| is_device(&mount.place));
        for (index, mount) in self.mounts.iter().enumerate() {
            if Some(index) == devices {
                section(f, "devices and links")?;
            } else if index == 0 {
                section(f, "mounts")?;
            }
            writeln!(f, "{:4}  {mount}", index + 1)?;
        }
        Ok(())
    }

    fn hooks(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("prestart", &self.hooks.prestart),
            ("createRuntime", &self.hooks.create_runtime),
            ("createContainer", &self.hooks.create_container),
            ("startContainer", &self.hooks.start_container),
            ("poststart", &self.hooks.poststart),
            ("poststop", &self.hooks.poststop),
        ];
        if kinds.iter().any(|(_, hooks)| !hooks.is_empty()) {
            section(f, "hooks")?;
        }
        for (kind, hooks) in kinds {
            for hook in hooks {
                row(f, kind, OneHook(hook))?;
            }
        }
        Ok(())
    }

    /// What the container's kernel-side state is set to after pivot_root.
    fn kernel(&self, f: &mut Formatter<'_>) -> fmt::Result {
        section(f, "kernel")?;
        for (key, value) in &self.sysctl {
            row(f, "sysctl", format_args!("{} = {}", Text(key), Text(value)))?;
        }
        for (name, value) in [("hostname", &self.hostname), ("domainname", &self.domainname)] {
            if let Some(value) = value {
                row(f, name, Text(value))?;
            }
        }
        row(f, "keyring", if self.new_keyring { "a new session keyring" } else { "the runtime's session keyring" })
    }
}

fn root(f: &mut Formatter<'_>, rootfs: &Rootfs, change: RootChange) -> fmt::Result {
    section(f, "root filesystem")?;
    row(f, "path", Text::of(&rootfs.path))?;
    row(f, "access", if rootfs.readonly { "read-only" } else { "read-write" })?;
    match rootfs.propagation {
        Some(propagation) => row(f, "propagation", propagation)?,
        None => row(f, "propagation", "slave (by default)")?,
    }
    if let Some(label) = &rootfs.mount_label {
        row(f, "label", Text(label))?;
    }
    let change = match change {
        RootChange::PivotRoot => "pivot_root",
        RootChange::MoveMount => "move the root filesystem onto /, chroot",
        RootChange::Chroot => "chroot",
    };
    row(f, "root change", change)
}

struct OneHook<'a>(&'a Hook);

impl Display for OneHook<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let hook = self.0;
        write!(f, "{}  {}", Text::of(&hook.path), Quoted(&hook.args))?;
        if !hook.env.is_empty() {
            write!(f, "  env {}", Quoted(&hook.env))?;
        }
        if let Some(timeout) = hook.timeout {
            write!(f, "  timeout {timeout} s")?;
        }
        write!(f, "  ({})", hook.place)
    }
}

fn section(f: &mut Formatter<'_>, name: &str) -> fmt::Result {
    writeln!(f, "\n{name}")
}

/// One line with a name at its head.
fn row(f: &mut Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "  {name}: {value}")
}

/// Text of the config on a line of ours: control characters cannot break it or reach the terminal.
struct Text<'a, T: ?Sized>(&'a T);

impl Text<'_, ()> {
    fn of(path: &Path) -> Text<'_, Path> {
        Text(path)
    }
}

impl<T: ?Sized + AsRef<Path>> Display for Text<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.as_ref().to_string_lossy().chars() {
            match c {
                c if c.is_control() => write!(f, "{}", c.escape_default())?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

/// Strings in quotes, with a space between them.
struct Quoted<'a>(&'a [String]);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, text) in self.0.iter().enumerate() {
            write!(f, "{}{text:?}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// Ranges as `container:host:size`.
struct Ranges<'a>(&'a [IdRange]);

impl Display for Ranges<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}:{}:{}", range.container, range.host, range.size)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
