//! Hooks of the six kinds.

use super::{Problem, process};
use oci_spec::runtime::{Hook as Config, Spec};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its place in config.json: `hooks.poststart[0]`.
    pub place: String,
    /// Absolute.
    pub path: PathBuf,
    /// With argv[0]; the path where the config has none.
    pub args: Vec<String>,
    /// The whole environment of the hook, if `inherits_env` is false.
    pub env: Vec<String>,
    /// The config has no `env`: the hook gets that of the runtime, a startContainer hook that of the container's process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inherits_env: bool,
    /// Seconds.
    pub timeout: Option<u32>,
}

impl Hooks {
    /// Whether any hook is run by the runtime during `create`.
    pub fn run_in_runtime(&self) -> bool {
        !self.prestart.is_empty() || !self.create_runtime.is_empty()
    }
}

/// `hooks`.
pub fn plan(spec: &Spec, problems: &mut Vec<Problem>) -> Hooks {
    let Some(config) = spec.hooks() else { return Hooks::default() };
    let mut list = |kind: &str, hooks: &Option<Vec<Config>>| {
        let place = |i| format!("hooks.{kind}[{i}]");
        hooks.iter().flatten().enumerate().map(|(i, hook)| Hook::new(place(i), hook, problems)).collect()
    };
    Hooks {
        // Deprecated, and still required of a runtime.
        #[allow(deprecated)]
        prestart: list("prestart", config.prestart()),
        create_runtime: list("createRuntime", config.create_runtime()),
        create_container: list("createContainer", config.create_container()),
        start_container: list("startContainer", config.start_container()),
        poststart: list("poststart", config.poststart()),
        poststop: list("poststop", config.poststop()),
    }
}

impl Hook {
    fn new(place: String, config: &Config, problems: &mut Vec<Problem>) -> Hook {
        let path = config.path().clone();
        if !path.is_absolute() {
            problems.push(Problem::new(format!("{place}.path"), format!("{path:?} is not an absolute path")));
        }
        let timeout = config.timeout().map(|seconds| {
            u32::try_from(seconds).ok().filter(|s| *s > 0).unwrap_or_else(|| {
                let message = format!("{seconds} is out of range (1 to {} seconds)", u32::MAX);
                problems.push(Problem::new(format!("{place}.timeout"), message));
                1
            })
        });
        let args = match config.args().as_deref() {
            None | Some([]) => vec![path.display().to_string()],
            Some(args) => args.to_vec(),
        };
        let env = process::env(&format!("{place}.env"), config.env().as_deref().unwrap_or_default(), problems);
        Hook { place, path, args, env, inherits_env: config.env().is_none(), timeout }
    }
}
