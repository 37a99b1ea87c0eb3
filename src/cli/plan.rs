//! `plan`: shows what `create` would do with a bundle, without doing any of it.

use super::args::{Flag, Matches, Operand, wrong_value};
use super::create::{BUNDLE, NO_NEW_KEYRING, NO_PIVOT};
use super::{Command, Globals, print};
use crate::bundle::{Bundle, LoadError};
use crate::host::Host;
use crate::log;
use crate::plan::{Plan, Problems, Request};
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
    flags: &[&[FORMAT, BUNDLE, NO_PIVOT, NO_NEW_KEYRING]],
    operands: &[Operand { name: "BUNDLE", required: false, help: "Directory of the bundle, as --bundle" }],
    run,
};

const FORMAT: Flag =
    Flag { name: "format", short: Some('f'), value: Some("FORMAT"), help: "How to show it: text or json" };

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
    let plan = plan(globals, matches, dir)?;
    let text = match format {
        "json" => serde_json::to_string_pretty(&plan).context("write plan as JSON")? + "\n",
        _ => {
            plan.warnings.iter().for_each(|warning| log::warn(format_args!("{warning}")));
            plan.to_string()
        }
    };
    print(&text)?;
    Ok(0)
}

fn plan(globals: &Globals, matches: &Matches, dir: &Path) -> Result<Plan> {
    let bundle = Bundle::load(dir).map_err(|error| match error {
        LoadError::File(error) => error,
        LoadError::Shape(problems) => Problems(problems).into(),
    })?;
    let request = Request {
        // No container is made; the directory's name stands for the id where something is named after it.
        id: bundle.dir.file_name().map_or_else(|| "root".into(), |name| name.to_string_lossy().into_owned()),
        bundle: bundle.dir.clone(),
        no_pivot: matches.is_set(&NO_PIVOT),
        no_new_keyring: matches.is_set(&NO_NEW_KEYRING),
        cgroup_manager: globals.cgroup_manager,
    };
    Ok(Plan::new(&bundle, &request, &Host::probe()?).map_err(Problems)?)
}
