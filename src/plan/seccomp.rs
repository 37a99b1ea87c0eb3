//! `linux.seccomp` as data; compiling it is the work of `security::seccomp`.

use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Hash)]
pub struct Seccomp {
    pub filter: Filter,
    /// `SECCOMP_FILTER_FLAG_*` bits to load it with.
    pub flags: u32,
    pub listener: Option<Listener>,
}

/// Everything that decides the compiled program (and so its hash).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Hash)]
pub struct Filter {
    pub default_action: Action,
    /// `SCMP_ARCH_*` names beside the native one, as the config has them.
    pub architectures: Vec<String>,
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Hash)]
pub struct Rule {
    pub names: Vec<String>,
    pub action: Action,
    pub args: Vec<Arg>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    KillThread,
    KillProcess,
    Trap,
    Errno(u16),
    Notify,
    Trace(u16),
    Log,
    Allow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Hash)]
pub struct Arg {
    /// 0 to 5.
    pub index: u8,
    pub op: Compare,
    pub value: u64,
    /// The value for `MaskedEqual` (its mask is `value`).
    pub value_two: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    MaskedEqual,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Hash)]
pub struct Listener {
    pub path: PathBuf,
    pub metadata: String,
}
