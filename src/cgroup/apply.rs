//! Carries out a list of writes in one hierarchy.

use super::group::Group;
use super::resources::Write;
use crate::plan::Requirement;
use crate::sys::{Call, Errno, errno_of};
use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use std::os::fd::OwnedFd;

/// Writes in order; what could not be written and need not be goes to `notes`.
///
/// Some values are only valid together (quota and burst, memory and swap) and which has to come first depends on what
/// is there: what is refused as invalid is tried once more after the others.
pub fn apply<'a>(group: &Group, writes: impl Iterator<Item = &'a Write>, notes: &mut Vec<String>) -> Result<()> {
    let mut open = None;
    let mut refused = Vec::new();
    for write in writes {
        let result = put(group, write, &mut open);
        match (&write.requirement, result) {
            (_, Ok(())) => {}
            (Requirement::BestEffort(why), Err(e)) => notes.push(format!("{}: {e:#}; {why}", write.place)),
            (Requirement::Must, Err(e)) if errno_of(&e) == Some(Errno::EINVAL) => refused.push(write),
            (Requirement::Must, Err(e)) => return Err(e.context(write.place.clone())),
        }
    }
    for write in refused {
        put(group, write, &mut open).with_context(|| write.place.clone())?;
    }
    Ok(())
}

/// The file that was written last, and its name: device rules go to the same one.
type Open = Option<(String, OwnedFd)>;

fn put(group: &Group, write: &Write, open: &mut Open) -> Result<()> {
    if let Some((file, limit)) = write.not_below {
        let text = group.read(file).call(|| format!("read {}/{file}", group.shown().display()))?;
        let current: u64 = text.trim().parse().with_context(|| format!("{file} is {text:?}"))?;
        if current > limit {
            bail!("{limit} is below what is in use, {current} ({file})");
        }
    }
    let mut choices = write.choices.iter().peekable();
    while let Some((file, value)) = choices.next() {
        let fd = match open {
            Some((name, fd)) if name == file => fd,
            _ => match group.open(file, OFlag::O_WRONLY) {
                Err(Errno::ENOENT) if choices.peek().is_some() => continue,
                fd => {
                    let fd = fd.call(|| format!("open {}/{file} to write {value}", group.shown().display()))?;
                    &mut open.insert((file.clone(), fd)).1
                }
            },
        };
        return nix::unistd::write(&*fd, value.as_bytes())
            .map(drop)
            .call(|| format!("write {value} to {}/{file}", group.shown().display()));
    }
    Ok(())
}

/// Writes that bring back what these files say now, for those that can be read.
pub fn snapshot<'a>(group: &Group, writes: impl Iterator<Item = &'a Write>) -> Result<Vec<Write>> {
    let mut old = Vec::new();
    for write in writes.filter(|write| !write.choices[0].0.starts_with("devices.")) {
        for (file, value) in &write.choices {
            let text = match group.read(file) {
                // Or it is only for writing.
                Err(Errno::ENOENT | Errno::EINVAL | Errno::EACCES) => continue,
                text => text.call(|| format!("read {}/{file}", group.shown().display()))?,
            };
            let choices = vec![(file.clone(), undo(file, value, &text))];
            old.push(Write { choices, not_below: None, late: false, ..write.clone() });
            break;
        }
    }
    Ok(old)
}

/// What to write to `file`, which said `text`, to take `value` back.
fn undo(file: &str, value: &str, text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let device = value.split(' ').next().filter(|word| word.contains(':') && value.contains(' '));
    match device {
        Some(device) => {
            let known = text.lines().find(|line| line.split(' ').next() == Some(device));
            let none = match file {
                "io.max" => "rbps=max wbps=max riops=max wiops=max",
                "io.weight" | "io.bfq.weight" | "blkio.bfq.weight_device" => "default",
                _ => "0",
            };
            known.map_or_else(|| format!("{device} {none}"), str::to_owned)
        }
        None if file == "memory.oom_control" => first.rsplit(' ').next().unwrap_or_default().to_owned(),
        // An empty write would be none.
        None if first.is_empty() => "\n".into(),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::undo;

    #[test]
    fn what_was_there_is_written_back() {
        let cases = [
            ("memory.max", "1", "max\n", "max"),
            ("cpu.max", "1000 2000", "max 100000\n", "max 100000"),
            ("cpuset.cpus", "0-1", "\n", "\n"),
            ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\n", "0"),
            ("blkio.throttle.read_bps_device", "8:0 7", "8:16 3\n8:0 5\n", "8:0 5"),
            ("blkio.throttle.read_bps_device", "8:0 7", "8:16 3\n", "8:0 0"),
            ("io.max", "8:0 rbps=7", "", "8:0 rbps=max wbps=max riops=max wiops=max"),
            (
                "io.max",
                "8:0 rbps=7",
                "8:0 rbps=5 wbps=max riops=max wiops=max\n",
                "8:0 rbps=5 wbps=max riops=max wiops=max",
            ),
            ("io.weight", "4950", "default 100\n8:0 200\n", "default 100"),
            ("io.weight", "8:0 7", "default 100\n", "8:0 default"),
            ("io.bfq.weight", "8:0 7", "default 100\n8:0 9\n", "8:0 9"),
            ("io.bfq.weight", "8:0 7", "default 100\n", "8:0 default"),
            ("blkio.bfq.weight_device", "8:0 7", "default 100\n", "8:0 default"),
        ];
        for (file, value, text, written) in cases {
            assert_eq!(undo(file, value, text), written, "{file} {text:?}");
        }
    }
}
