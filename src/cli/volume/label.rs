//! `volume label`: changes the labels of a volume.

use crate::cli::args::{Matches, Operand};
use crate::cli::{Command, Globals, print};
use crate::runtime::volume::{self, LabelChange};
use anyhow::Result;

pub const LABEL: Command = Command {
    name: "volume label",
    about: "Set or remove labels of a volume",
    details: "\
KEY=VALUE sets a label, KEY- removes it. Containers may use the volume meanwhile.
The labels rvol.namespace and rvol.shared-with decide which Kubernetes namespaces
reach the volume by annotation, from their next container on:

    rvol-runc volume label data rvol.shared-with=web,batch:ro
    rvol-runc volume label data rvol.shared-with-",
    flags: &[],
    operands: &[
        Operand { name: "VOLUME", required: true, verbatim: false, help: "The volume" },
        Operand { name: "LABEL...", required: true, verbatim: false, help: "KEY=VALUE, or KEY- to remove it" },
    ],
    run,
};

fn run(globals: &Globals, matches: &Matches) -> Result<i32> {
    let words = matches.operands()?;
    let Some((name, labels)) = words.split_first() else { anyhow::bail!("a volume is needed") };
    let changes: Vec<LabelChange> = labels.iter().map(|text| LabelChange::parse(text)).collect::<Result<_>>()?;
    volume::label(&globals.volume_context(), name, &changes)?;
    print(&format!("{name}\n"))?;
    Ok(0)
}
