//! `plan`: shows what `create` would do with a bundle, without doing any of it.

use super::args::{Flag, Matches, Operand, wrong_value};
use super::create::{BUNDLE, NO_NEW_KEYRING, NO_PIVOT};
use super::{Command, Globals, mounts, print};
use crate::runtime::{self, CreateArgs};
use anyhow::{Context as _, Result, bail};
use std::path::Path;

pub const COMMAND: Command = Command {
    name: "plan",
    about: "Show what create would do with a bundle, without doing it",
    details: "\
Namespaces, id mappings, every mount with its options and propagation, devices,
masked and read-only paths, the process and what confines it, hooks: in the order
in which create goes about them. Needs no privilege. A config that create would
refuse is refused here, with every reason at once.",
    flags: &[&[FORMAT, BUNDLE, NO_PIVOT, NO_NEW_KEYRING], mounts::FLAGS],
    operands: &[Operand {
        name: "BUNDLE",
        required: false,
        verbatim: false,
        help: "Directory of the bundle, as --bundle",
    }],
    run,
};

const FORMAT: Flag = Flag { name: "format", short: Some('f'), value: Some("text|json"), help: "How to show it" };

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    let dir = match (matches.operand(0), matches.value(&BUNDLE)) {
        (Some(_), Some(_)) => bail!("the bundle is given twice"),
        (Some(dir), None) | (None, Some(dir)) => Path::new(dir),
        (None, None) => Path::new("."),
    };
    let format = matches.text(&FORMAT)?.unwrap_or("text");
    if !["text", "json"].contains(&format) {
        return Err(wrong_value(&FORMAT, format.as_ref(), "is neither text nor json"));
    }
    let args = CreateArgs {
        id: id_for(dir),
        bundle: dir.to_owned(),
        no_pivot: matches.is_set(&NO_PIVOT),
        no_new_keyring: matches.is_set(&NO_NEW_KEYRING),
        mounts: mounts::flags(matches)?,
        ..CreateArgs::default()
    };
    let mut context = globals.context_without_state();
    // For those that another container may be asked for. It does not have to be there.
    context.root = globals.context().map(|full| full.root).unwrap_or_default();
    let plan = runtime::preview(context, &args)?;
    let text = match format {
        "json" => serde_json::to_string_pretty(&plan).context("write plan as JSON")? + "\n",
        _ => plan.to_string(),
    };
    print(&text)?;
    Ok(0)
}

/// A container's id for a plan of which no container comes: the directory's name, where that can be one.
fn id_for(dir: &Path) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    let dir = std::path::absolute(dir).unwrap_or_default();
    let name = dir.file_name().and_then(|name| name.to_str()).filter(|name| name.chars().all(good));
    name.unwrap_or("container").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_from_directories() {
        assert_eq!(id_for(Path::new("/b/hello-1.0/")), "hello-1.0");
        assert_eq!(id_for(Path::new("/b/it's mine")), "container");
        assert_eq!(id_for(Path::new("/")), "container");
    }
}
