//! A mount operation as one line: verb, target, what is mounted, how.

use super::{Ranges, Text};
use crate::plan::devices::{Device, DeviceKind, MakeDevice};
use crate::plan::mounts::{Bind, Fs, FsOption, Mount, MountIdMap, MountOp, Requirement};
use crate::plan::volume::{CopyUp, VolumeUse};
use std::fmt::{self, Display, Formatter};

impl Display for Mount {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", verb(&self.op), Text::of(&self.target.path))?;
        match &self.op {
            MountOp::Bind(bind) => bind.fmt(f)?,
            MountOp::Fs(fs) => fs.fmt(f)?,
            MountOp::Remount { attr, propagation, options } => {
                let words = attr.names().into_iter().chain(propagation.map(|p| p.to_string()));
                words_of(f, words.collect(), options)?;
            }
            MountOp::Device(device) => device.fmt(f)?,
            MountOp::Symlink { text } => write!(f, " -> {}", Text::of(text))?,
            MountOp::Mask | MountOp::ReadOnly => {}
        }
        write!(f, "  ({})", self.place)?;
        match self.requirement {
            Requirement::Must => Ok(()),
            Requirement::BestEffort(why) => write!(f, "  best effort: {why}"),
        }
    }
}

fn verb(op: &MountOp) -> &'static str {
    match op {
        MountOp::Bind(bind) if bind.recursive => "rbind",
        MountOp::Bind(_) => "bind",
        MountOp::Fs(_) => "mount",
        MountOp::Remount { .. } => "remount",
        MountOp::Device(_) => "device",
        MountOp::Symlink { .. } => "symlink",
        MountOp::Mask => "mask",
        MountOp::ReadOnly => "readonly",
    }
}

/// Two comma-separated lists: what concerns the mount, and what concerns the filesystem.
fn words_of(f: &mut Formatter<'_>, words: Vec<String>, options: &[FsOption]) -> fmt::Result {
    if !words.is_empty() {
        write!(f, "  {}", words.join(","))?;
    }
    for (index, option) in options.iter().enumerate() {
        write!(f, "{}{option}", if index == 0 { "  " } else { "," })?;
    }
    Ok(())
}

impl Display for Bind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.volume {
            Some(volume) => volume.fmt(f)?,
            None => write!(f, "  {}", Text::of(&self.source))?,
        }
        let mut words = self.attr.names();
        words.push(self.propagation.to_string());
        words.extend(self.idmap.as_ref().map(MountIdMap::to_string));
        words_of(f, words, &[])
    }
}

/// `volume data copy=none subpath=a/b`; what is as always is left out.
impl Display for VolumeUse {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "  volume {}", Text(name))?,
            None => write!(f, "  new volume")?,
        }
        if self.copy != CopyUp::default() {
            write!(f, " copy={}", self.copy)?;
        }
        if let Some(subpath) = &self.subpath {
            write!(f, " subpath={}", Text::of(subpath))?;
        }
        if self.existing {
            write!(f, " nocreate")?;
        }
        if let Some(driver) = &self.driver {
            write!(f, " driver={}", Text(driver))?;
        }
        for (name, map) in [("driver-opt", &self.driver_options), ("label", &self.labels)] {
            for (key, value) in map {
                write!(f, " {name}={}={}", Text(key), Text(value))?;
            }
        }
        Ok(())
    }
}

impl Display for Fs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "  {}", Text(&self.fstype))?;
        if let Some(source) = &self.source {
            write!(f, " {}", Text(source))?;
        }
        let mut words = self.attr.names();
        words.push(self.propagation.to_string());
        words.extend(self.idmap.as_ref().map(MountIdMap::to_string));
        words.extend(self.copy_up.then(|| "tmpcopyup".to_owned()));
        words.extend(self.label.as_ref().map(|label| format!("label={}", Text(label))));
        words_of(f, words, &self.options)
    }
}

impl Display for MountIdMap {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = if self.recursive { "ridmap" } else { "idmap" };
        if self.of_container {
            return write!(f, "{name}=container");
        }
        write!(f, "{name}=uids={};gids={}", Ranges(&self.uid), Ranges(&self.gid))
    }
}

impl Display for FsOption {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            FsOption::Flag(name) => write!(f, "{}", Text(name)),
            FsOption::Value(key, value) => write!(f, "{}={}", Text(key), Text(value)),
        }
    }
}

impl Display for Device {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.kind {
            DeviceKind::Char => write!(f, "  c {}:{}", self.major, self.minor)?,
            DeviceKind::Block => write!(f, "  b {}:{}", self.major, self.minor)?,
            DeviceKind::Fifo => write!(f, "  p")?,
        }
        match &self.make {
            MakeDevice::Mknod => write!(f, "  mode {:04o} owner {}:{}", self.mode, self.uid, self.gid),
            MakeDevice::Bind(path) => write!(f, "  bound from {}", Text::of(path)),
        }
    }
}
