//! What Docker's command line says of flags and operands that are wrong: the words of Go's pflag and of docker/cli. Scripts
//! around `docker volume` match on them.

use super::args::Flag;
use super::{Command, NAME};

/// The short flags of an argument from this one on, as messages quote them.
fn cluster_from(word: &str, short: char) -> &str {
    word.find(short).map_or(word, |at| &word[at..])
}

pub fn unknown_short(short: char, word: &str) -> String {
    format!("unknown shorthand flag: '{short}' in -{}", cluster_from(word, short))
}

pub fn short_needs_value(short: char, word: &str) -> String {
    format!("flag needs an argument: '{short}' in -{}", cluster_from(word, short))
}

fn invalid_argument(flag: &Flag, value: &str, why: &str) -> String {
    let short = flag.short.map(|short| format!("-{short}, ")).unwrap_or_default();
    format!("invalid argument {value:?} for \"{short}--{}\" flag: {why}", flag.name)
}

/// Go's booleans.
pub fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The value of a switch.
pub fn switch(flag: &Flag, value: &str) -> Result<bool, String> {
    let why = || format!("strconv.ParseBool: parsing {value:?}: invalid syntax");
    boolean(value).ok_or_else(|| invalid_argument(flag, value, &why()))
}

/// Refuses the values that Docker refuses while it reads flags: wrong labels, and filters without `=`.
pub fn check_value(flag: &Flag, value: &str) -> Result<(), String> {
    let why = match flag.name {
        "label" => label_fault(value),
        "filter" if !value.is_empty() && !value.contains('=') => {
            Some("bad format of filter (expected name=value)".to_owned())
        }
        _ => None,
    };
    why.map_or(Ok(()), |why| Err(invalid_argument(flag, value, &why)))
}

/// Docker's rule for the key of a label: not empty, and without white space but in front of it.
fn label_fault(label: &str) -> Option<String> {
    let white = [' ', '\t', '\n', '\u{b}', '\u{c}', '\r'];
    let key = label.split_once('=').map_or(label, |(key, _)| key).trim_start_matches(white);
    if key.is_empty() {
        return Some(format!("invalid label '{label}': empty name"));
    }
    key.contains(white).then(|| format!("label '{key}' contains whitespaces"))
}

/// Refuses too many or too few operands.
pub fn check_count(command: &Command, given: usize) -> Result<(), String> {
    let operands = command.operands;
    let least = operands.iter().filter(|operand| operand.required).count();
    let most = operands.len();
    let any = operands.last().is_some_and(|operand| operand.name.ends_with("..."));
    if given >= least && (any || given <= most) {
        return Ok(());
    }
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    let wanted = match () {
        () if any => format!("requires at least {least} {}", plural(least)),
        () if most == 0 => "accepts no arguments".into(),
        () if least == most => format!("requires exactly {most} {}", plural(most)),
        () if least == 0 => format!("requires at most {most} {}", plural(most)),
        () => format!("requires at least {least} and at most {most} {}", plural(most)),
    };
    Err(format!("\"{NAME} {}\" {wanted}.", command.name))
}
