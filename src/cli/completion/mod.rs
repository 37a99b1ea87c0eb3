//! `completion`: prints the completion script of a shell, and the candidates that the script asks for.
//!
//! A script is the same few lines for every version: it hands the words of the command line to `completion candidates`,
//! so that commands, flags, container ids and volume names are those of the binary that is called.

mod candidates;
mod values;

use super::args::{Matches, Operand};
use super::{Command, Globals, print};
use anyhow::{Result, bail};

pub const COMMAND: Command = Command {
    name: "completion",
    about: "Print the completion script of bash, zsh or fish",
    details: "\
'completion candidates WORD...' is what these scripts call. It prints what the last
WORD, of which only the beginning is typed, may become: one candidate a line, a tab
and a description. A line ':files' or ':directories' asks the shell for paths.",
    flags: &[],
    operands: &[
        Operand { name: SHELLS, required: true, verbatim: false, help: "The shell" },
        Operand {
            name: "WORD...",
            required: false,
            verbatim: true,
            help: "For candidates: the words before the cursor",
        },
    ],
    run,
};

const SHELLS: &str = "bash|zsh|fish";

/// Shell, its script, and where an installation has the script below its prefix.
pub const SCRIPTS: &[(&str, &str, &str)] = &[
    ("bash", include_str!("rvol-runc.bash"), "share/bash-completion/completions/rvol-runc"),
    ("zsh", include_str!("rvol-runc.zsh"), "share/zsh/site-functions/_rvol-runc"),
    ("fish", include_str!("rvol-runc.fish"), "share/fish/vendor_completions.d/rvol-runc.fish"),
];

fn run(_: &Globals, matches: &Matches) -> Result<i32> {
    let shell = matches.operand(0).unwrap_or_default();
    let words: Vec<_> = matches.all_operands().skip(1).collect();
    if shell == "candidates" {
        // A word that is not UTF-8 is no beginning of anything that can be offered.
        let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        print(&candidates::of(&words).to_string())?;
        return Ok(0);
    }
    let Some((_, script, _)) = SCRIPTS.iter().find(|(name, _, _)| shell == *name) else {
        bail!("unknown shell; the scripts are for bash, zsh and fish");
    };
    if let Some(word) = words.first() {
        bail!("unexpected argument {}", word.display());
    }
    print(script)?;
    Ok(0)
}
