//! The process as text.

use super::{Quoted, Text, row};
use crate::plan::process::{
    Capabilities, CpuAffinity, IoPriority, MemoryPolicy, Personality, Process, Rlimit, Scheduler,
};
use std::fmt::{self, Display, Formatter};

impl Display for Process {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        row(f, "args", Quoted(&self.args))?;
        row(f, "cwd", Text::of(&self.cwd))?;
        self.user(f)?;
        match (self.terminal, self.console_size) {
            (false, _) => {}
            (true, None) => row(f, "terminal", "yes, as /dev/console")?,
            (true, Some((rows, columns))) => {
                row(f, "terminal", format_args!("yes, as /dev/console, {rows} rows and {columns} columns"))?;
            }
        }
        for variable in &self.env {
            row(f, "env", Text(variable))?;
        }
        sets(f, &self.capabilities.unwrap_or_default())?;
        row(f, "no new privileges", if self.no_new_privileges { "yes" } else { "no" })?;
        for rlimit in &self.rlimits {
            row(f, "rlimit", rlimit)?;
        }
        self.attributes(f)
    }
}

impl Process {
    fn user(&self, f: &mut Formatter<'_>) -> fmt::Result {
        row(f, "user", format_args!("{}:{}", self.user.uid, self.user.gid))?;
        if self.user.keep_groups {
            row(f, "additional groups", "those of the caller")?;
        } else if !self.user.additional_gids.is_empty() {
            row(f, "additional groups", list(&self.user.additional_gids))?;
        }
        match self.user.umask {
            Some(umask) => row(f, "umask", format_args!("{umask:04o}")),
            None => Ok(()),
        }
    }

    fn attributes(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (name, value) in [("apparmor", &self.apparmor_profile), ("selinux", &self.selinux_label)] {
            if let Some(value) = value {
                row(f, name, Text(value))?;
            }
        }
        if let Some(value) = self.oom_score_adj {
            row(f, "oom score adjustment", value)?;
        }
        if let Some(scheduler) = &self.scheduler {
            row(f, "scheduler", scheduler)?;
        }
        if let Some(priority) = self.io_priority {
            row(f, "io priority", priority)?;
        }
        if let Some(affinity) = &self.cpu_affinity {
            row(f, "cpu affinity", affinity)?;
        }
        match self.personality {
            Some(Personality::Linux) => row(f, "personality", "LINUX")?,
            Some(Personality::Linux32) => row(f, "personality", "LINUX32")?,
            None => {}
        }
        match &self.memory_policy {
            Some(policy) => row(f, "memory policy", policy),
            None => Ok(()),
        }
    }
}

fn list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn sets(f: &mut Formatter<'_>, of: &Capabilities) -> fmt::Result {
    for (name, set) in [
        ("bounding", of.bounding),
        ("effective", of.effective),
        ("inheritable", of.inheritable),
        ("permitted", of.permitted),
        ("ambient", of.ambient),
    ] {
        row(f, &format!("{name} capabilities"), capabilities(set))?;
    }
    Ok(())
}

/// The names in a capability set, sorted; a number where there is no name.
fn capabilities(set: u64) -> String {
    if set == 0 {
        return "none".to_owned();
    }
    let known = caps::all();
    let name = |number: u8| match known.iter().find(|capability| capability.index() == number) {
        Some(capability) => capability.to_string(),
        None => format!("CAP_{number}"),
    };
    let mut names: Vec<_> = (0..64).filter(|number| set & 1 << number != 0).map(name).collect();
    names.sort_unstable();
    names.join(" ")
}

impl Display for Rlimit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        for (name, value) in [("soft", self.soft), ("hard", self.hard)] {
            match value {
                u64::MAX => write!(f, " {name} unlimited")?,
                value => write!(f, " {name} {value}")?,
            }
        }
        Ok(())
    }
}

impl Display for Scheduler {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 7] =
            ["SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "", "SCHED_IDLE", "SCHED_DEADLINE"];
        match NAMES.get(self.policy as usize) {
            Some(name) if !name.is_empty() => write!(f, "{name}")?,
            _ => write!(f, "policy {}", self.policy)?,
        }
        write!(f, " nice {} priority {} flags {:#x}", self.nice, self.priority, self.flags)?;
        if self.policy == libc::SCHED_DEADLINE as u32 {
            write!(f, " runtime {} deadline {} period {} ns", self.runtime, self.deadline, self.period)?;
        }
        Ok(())
    }
}

impl Display for IoPriority {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.class {
            1 => write!(f, "realtime")?,
            2 => write!(f, "best effort")?,
            3 => write!(f, "idle")?,
            class => write!(f, "class {class}")?,
        }
        write!(f, " level {}", self.level)
    }
}

impl Display for CpuAffinity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let cpus = |cpus: &Option<Vec<u32>>| cpus.as_deref().map_or("as it is".to_owned(), list);
        write!(f, "first {}, then {}", cpus(&self.initial), cpus(&self.last))
    }
}

impl Display for MemoryPolicy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const MODES: [&str; 7] = [
            "MPOL_DEFAULT",
            "MPOL_PREFERRED",
            "MPOL_BIND",
            "MPOL_INTERLEAVE",
            "MPOL_LOCAL",
            "MPOL_PREFERRED_MANY",
            "MPOL_WEIGHTED_INTERLEAVE",
        ];
        const FLAGS: [(u32, &str); 3] =
            [(0x8000, "MPOL_F_STATIC_NODES"), (0x4000, "MPOL_F_RELATIVE_NODES"), (0x2000, "MPOL_F_NUMA_BALANCING")];
        let mode = FLAGS.iter().fold(self.mode, |mode, (bit, _)| mode & !bit);
        match MODES.get(mode as usize) {
            Some(name) => write!(f, "{name}")?,
            None => write!(f, "mode {mode}")?,
        }
        for (_, name) in FLAGS.iter().filter(|(bit, _)| self.mode & bit != 0) {
            write!(f, "|{name}")?;
        }
        if !self.nodes.is_empty() {
            write!(f, " nodes {}", list(&self.nodes))?;
        }
        Ok(())
    }
}
