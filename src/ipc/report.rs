//! An error as it crosses the process border.

use crate::sys::{Errno, errno_of};
use serde::{Deserialize, Serialize};

/// A failed step of init: its name, the chain of causes from the outermost on, and the errno at the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Empty where the chain names its own place.
    pub step: String,
    pub chain: Vec<String>,
    pub errno: Option<i32>,
    pub cause: Cause,
}

/// What kind of thing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// A hook: the lifecycle goes on with the poststop hooks.
    Hook,
    Other,
}

impl Report {
    pub fn new(step: &str, error: &anyhow::Error, cause: Cause) -> Report {
        Report {
            step: step.to_owned(),
            chain: error.chain().map(ToString::to_string).collect(),
            errno: errno_of(error).map(|e| e as i32),
            cause,
        }
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// A report that cannot be read is itself reported.
    pub fn from_json(json: &[u8]) -> Report {
        serde_json::from_slice(json).unwrap_or_else(|e| Report {
            step: String::new(),
            chain: vec![format!("init failed, and its report is unreadable: {e}")],
            errno: None,
            cause: Cause::Other,
        })
    }

    /// The errno, for callers that decide by it.
    pub fn errno(&self) -> Option<Errno> {
        self.errno.map(Errno::from_raw)
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.step.is_empty() {
            write!(f, "{}: ", self.step)?;
        }
        f.write_str(&self.chain.join(": "))
    }
}

impl std::error::Error for Report {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Call;
    use anyhow::Context;

    #[test]
    fn the_chain_survives() {
        let error =
            Err::<(), _>(Errno::EINVAL).call(|| "fsconfig size=x".into()).context("mounts[1] /tmp").unwrap_err();
        let report = Report::from_json(&Report::new("", &error, Cause::Other).to_json());
        assert_eq!(report.to_string(), "mounts[1] /tmp: fsconfig size=x: invalid argument (EINVAL)");
        assert_eq!(report.errno(), Some(Errno::EINVAL));
    }
}
