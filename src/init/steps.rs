//! The steps of init by name, and the note of where init is.

use crate::sys::shared::SharedWord;
use crate::trace;
use anyhow::Result;
use std::cell::Cell;

macro_rules! steps {
    ($($step:ident = $name:literal,)*) => {
        /// A step of init.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Step { $($step,)* }

        const STEPS: &[Step] = &[$(Step::$step,)*];

        impl Step {
            /// What init was doing, for a message.
            pub fn name(self) -> &'static str {
                match self { $(Step::$step => $name,)* }
            }
        }
    };
}

steps! {
    Birth = "begin",
    Runtime = "wait for the runtime",
    Cgroup = "enter the cgroup",
    Namespaces = "enter the namespaces",
    Network = "set up the network",
    Keyring = "join the session keyring",
    Rootfs = "enter the root filesystem",
    Mounts = "mount",
    RuntimeHooks = "run the createRuntime hooks",
    CreateContainerHooks = "run the createContainer hooks",
    WorkingDirectory = "make process.cwd",
    Console = "set up the console",
    Masks = "mask paths",
    Sysctl = "write sysctls",
    Hostname = "set the hostname",
    PivotRoot = "change the root",
    Identity = "become the process",
    Executable = "find the program",
    Seccomp = "load the seccomp filter",
    Descriptors = "close descriptors",
    Wait = "wait for start",
    Signals = "reset the signals",
    StartContainerHooks = "run the startContainer hooks",
    Exec = "exec",
}

impl Step {
    /// The step noted in shared memory.
    pub fn from_note(word: SharedWord) -> Step {
        STEPS.get(word.get() as usize).copied().unwrap_or(Step::Birth)
    }

    /// Whether the errors of this step name their own place in config.json, so that the step's name adds nothing.
    fn names_its_place(self) -> bool {
        matches!(
            self,
            Step::Mounts
                | Step::Masks
                | Step::CreateContainerHooks
                | Step::StartContainerHooks
                | Step::Sysctl
                | Step::Exec
                | Step::Executable
        )
    }
}

/// Where init is.
pub struct Progress {
    note: SharedWord,
    current: Cell<Step>,
}

impl Progress {
    pub fn new(note: SharedWord) -> Progress {
        Progress { note, current: Cell::new(Step::Birth) }
    }

    /// Notes the step and carries it out.
    pub fn step<T>(&self, step: Step, action: impl FnOnce() -> Result<T>) -> Result<T> {
        self.note.set(step as u32);
        self.current.set(step);
        trace::step(step.name());
        action()
    }

    /// The current step's name for a report; empty where the error itself names its place.
    pub fn name(&self) -> &'static str {
        let step = self.current.get();
        if step.names_its_place() { "" } else { step.name() }
    }
}
