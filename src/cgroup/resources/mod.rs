//! Which values go into which files: one pure list, with a module for each version of cgroups.
//!
//! A controller is in a v1 hierarchy or in cgroup v2, also on a machine that has both; each section of the config goes
//! to where its controller is.

mod devices;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use crate::plan::resources::devices::Policy;
use crate::plan::resources::limits::Resources;
use crate::plan::{Problem, Requirement};

pub use devices::{Rules, Standing};

/// Values of the config that systemd gets as cgroup v2 does.
pub use v2::{io_weight, swap, weight_of_shares};

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The place in the config, such as `linux.resources.memory.limit`.
    pub place: String,
    /// Index of the hierarchy, as in [`Layout`].
    pub hierarchy: usize,
    /// File and value; the first file that exists is written.
    pub choices: Vec<(String, String)>,
    pub requirement: Requirement,
    /// A file whose number must not be above this one.
    pub not_below: Option<(&'static str, u64)>,
    /// Would keep the container's own process out: written when it is in.
    pub late: bool,
}

/// Everything that limits a container.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// In the order in which they are written.
    pub writes: Vec<Write>,
    /// Controllers that cgroup v2 must give.
    pub controllers: Vec<Needed>,
    /// Device rules that cgroup v2 needs as a program.
    pub devices: Option<Policy>,
}

impl Settings {
    /// The default for devices of a v1 cgroup is changed, which takes all exceptions with it for a moment.
    pub fn reset_devices(&self) -> bool {
        self.writes.iter().any(|w| w.choices[0].0.starts_with("devices.") && w.choices[0].1 == "a")
    }
}

/// A controller, and the place in the config that asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    pub controller: String,
    pub place: String,
}

/// Where a controller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    V1(usize),
    V2(usize),
}

/// Which hierarchies there are.
#[derive(Debug, Default)]
pub struct Layout {
    /// Names of the directories; `None` for the one of cgroup v2.
    pub v1: Vec<Option<String>>,
    /// Index of cgroup v2, and its controllers; `None`: whatever is wanted, the kernel will say.
    pub v2: Option<(usize, Option<Vec<String>>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controller {
    Cpu,
    Cpuset,
    Memory,
    Io,
    Pids,
    Hugetlb,
    Rdma,
    NetCls,
    NetPrio,
    Devices,
}

impl Controller {
    fn v1(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Cpuset => "cpuset",
            Controller::Memory => "memory",
            Controller::Io => "blkio",
            Controller::Pids => "pids",
            Controller::Hugetlb => "hugetlb",
            Controller::Rdma => "rdma",
            Controller::NetCls => "net_cls",
            Controller::NetPrio => "net_prio",
            Controller::Devices => "devices",
        }
    }

    fn v2(self) -> Option<&'static str> {
        match self {
            Controller::Io => Some("io"),
            Controller::NetCls | Controller::NetPrio | Controller::Devices => None,
            other => Some(other.v1()),
        }
    }
}

impl Layout {
    fn find(&self, controller: Controller) -> Option<Home> {
        let has = |name: &Option<String>| name.iter().flat_map(|n| n.split(',')).any(|c| c == controller.v1());
        if let Some(index) = self.v1.iter().position(has) {
            return Some(Home::V1(index));
        }
        let (index, controllers) = self.v2.as_ref()?;
        let given = |name| controllers.as_ref().is_none_or(|all| all.iter().any(|c| c == name));
        match controller.v2() {
            Some(name) if given(name) => Some(Home::V2(*index)),
            None if controller == Controller::Devices => Some(Home::V2(*index)),
            _ => None,
        }
    }

    /// The v1 hierarchy with the device rules.
    pub fn devices(&self) -> Option<usize> {
        match self.find(Controller::Devices) {
            Some(Home::V1(index)) => Some(index),
            _ => None,
        }
    }

    /// Some controller that is asked for may be in cgroup v2, so that its list is worth a look.
    pub fn must_ask_v2(&self, resources: &Resources) -> bool {
        let absent = |s: &Section| self.find(s.controller).is_none();
        SECTIONS.iter().any(|s| (s.asked)(resources) && absent(s)) || !resources.unified.is_empty()
    }
}

/// One section of the config, which belongs to one controller.
struct Section {
    controller: Controller,
    place: &'static str,
    asked: fn(&Resources) -> bool,
    v1: fn(&Resources, &mut Sink),
    v2: fn(&Resources, &mut Sink),
}

fn differs<T: Default + PartialEq>(value: &T) -> bool {
    *value != T::default()
}

/// In the order in which they are written.
const SECTIONS: &[Section] = &[
    Section { controller: Controller::Cpu, place: "cpu", asked: |r| differs(&r.cpu), v1: v1::cpu, v2: v2::cpu },
    Section {
        controller: Controller::Cpuset,
        place: "cpu",
        asked: |r| differs(&r.cpuset),
        v1: v1::cpuset,
        v2: v2::cpuset,
    },
    Section {
        controller: Controller::Memory,
        place: "memory",
        asked: |r| differs(&r.memory),
        v1: v1::memory,
        v2: v2::memory,
    },
    Section {
        controller: Controller::Io,
        place: "blockIO",
        asked: |r| differs(&r.block_io),
        v1: v1::block_io,
        v2: v2::block_io,
    },
    Section { controller: Controller::Pids, place: "pids", asked: |r| differs(&r.pids), v1: v1::pids, v2: v2::pids },
    Section {
        controller: Controller::Hugetlb,
        place: "hugepageLimits",
        asked: |r| differs(&r.huge_pages),
        v1: v1::huge_pages,
        v2: v2::huge_pages,
    },
    Section { controller: Controller::Rdma, place: "rdma", asked: |r| differs(&r.rdma), v1: v1::rdma, v2: v2::rdma },
    Section {
        controller: Controller::NetCls,
        place: "network",
        asked: |r| r.network.class_id.is_some_and(|id| id != 0),
        v1: v1::net_cls,
        v2: |_, _| {},
    },
    Section {
        controller: Controller::NetPrio,
        place: "network",
        asked: |r| differs(&r.network.priorities),
        v1: v1::net_prio,
        v2: |_, _| {},
    },
];

/// Turns resources into writes. `place` is where they stand: `linux.resources`, or empty.
pub fn settings(place: &str, resources: &Resources, layout: &Layout) -> Result<Settings, Vec<Problem>> {
    let prefix = if place.is_empty() { String::new() } else { format!("{place}.") };
    let mut sink = Sink { prefix, section: "", hierarchy: 0, settings: Settings::default(), problems: Vec::new() };
    for section in SECTIONS.iter().filter(|s| (s.asked)(resources)) {
        sink.section = section.place;
        match layout.find(section.controller) {
            Some(Home::V1(index)) => {
                sink.hierarchy = index;
                (section.v1)(resources, &mut sink);
            }
            Some(Home::V2(index)) => {
                sink.hierarchy = index;
                let before = sink.settings.writes.len();
                (section.v2)(resources, &mut sink);
                // The first thing that was asked for is what a missing controller is told by.
                let place = sink.settings.writes.get(before).map_or_else(|| sink.place(""), |w| w.place.clone());
                let controller = section.controller.v2().unwrap_or_default().into();
                sink.settings.controllers.push(Needed { controller, place });
            }
            None => {
                // The first value that would be written names the place.
                let before = (sink.settings.writes.len(), sink.problems.len());
                (section.v1)(resources, &mut sink);
                let first = sink.settings.writes.get(before.0).map(|w| w.place.clone());
                sink.settings.writes.truncate(before.0);
                sink.problems.truncate(before.1);
                sink.absent(first, section.controller, layout);
            }
        }
    }
    if !resources.unified.is_empty() {
        sink.section = "unified";
        match &layout.v2 {
            Some((index, _)) => {
                sink.hierarchy = *index;
                v2::unified(resources, &mut sink);
            }
            None => sink.problem("", "cgroup v2 is not mounted"),
        }
    }
    if sink.problems.is_empty() { Ok(sink.settings) } else { Err(sink.problems) }
}

/// Adds the device rules. `now`: what a cgroup of v1 permits before.
pub fn add_devices(settings: &mut Settings, policy: Policy, layout: &Layout, now: &Standing) -> Result<(), Problem> {
    let mut sink = Sink {
        prefix: "linux.resources.".into(),
        section: "devices",
        hierarchy: 0,
        settings: Settings::default(),
        problems: Vec::new(),
    };
    match layout.find(Controller::Devices) {
        Some(Home::V1(index)) => {
            sink.hierarchy = index;
            devices::writes(&policy, now, &mut sink);
            settings.writes.append(&mut sink.settings.writes);
        }
        Some(Home::V2(_)) => settings.devices = Some(policy),
        None => sink.absent(None, Controller::Devices, layout),
    }
    sink.problems.pop().map_or(Ok(()), Err)
}

/// Takes what the sections write.
struct Sink {
    prefix: String,
    section: &'static str,
    hierarchy: usize,
    settings: Settings,
    problems: Vec<Problem>,
}

impl Sink {
    fn place(&self, name: &str) -> String {
        let dot = if name.is_empty() || name.starts_with('[') { "" } else { "." };
        format!("{}{}{dot}{name}", self.prefix, self.section)
    }

    fn put(&mut self, name: &str, file: impl Into<String>, value: impl ToString) -> &mut Write {
        let place = self.place(name);
        self.settings.writes.push(Write {
            place,
            hierarchy: self.hierarchy,
            choices: vec![(file.into(), value.to_string())],
            requirement: Requirement::Must,
            not_below: None,
            late: false,
        });
        self.settings.writes.last_mut().expect("one was pushed")
    }

    fn need(&mut self, controller: &str, name: &str) {
        let place = self.place(name);
        self.settings.controllers.push(Needed { controller: controller.into(), place });
    }

    fn problem(&mut self, name: &str, message: impl Into<String>) {
        self.problems.push(Problem { place: self.place(name), message: message.into() });
    }

    fn absent(&mut self, place: Option<String>, controller: Controller, layout: &Layout) {
        let message = match controller.v2() {
            None if layout.v2.is_some() && layout.v1.iter().all(Option::is_none) => {
                "cgroup v2 has nothing like it".to_string()
            }
            _ => format!("the {} controller is in no cgroup hierarchy of this machine", controller.v1()),
        };
        let place = place.unwrap_or_else(|| self.place(""));
        self.problems.push(Problem { place, message });
    }
}

impl Write {
    /// Another file for the case that the ones before do not exist.
    fn or(&mut self, file: impl Into<String>, value: impl ToString) -> &mut Write {
        self.choices.push((file.into(), value.to_string()));
        self
    }

    /// A failure is only noted.
    fn best_effort(&mut self, why: &'static str) {
        self.requirement = Requirement::BestEffort(why);
    }
}

impl std::fmt::Display for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (file, value)) in self.choices.iter().enumerate() {
            write!(f, "{}{file} = {value}", if index > 0 { " or " } else { "" })?;
        }
        if let Some((file, limit)) = self.not_below {
            write!(f, " if {file} <= {limit}")?;
        }
        if self.late {
            f.write_str(" (late)")?;
        }
        match self.requirement {
            Requirement::Must => Ok(()),
            Requirement::BestEffort(why) => write!(f, " (best effort: {why})"),
        }
    }
}
