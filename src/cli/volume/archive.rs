//! `volume export` and `volume import`: a volume as a tar archive.

use crate::cli::args::{Flag, Matches, Operand};
use crate::cli::{Command, Globals};
use crate::runtime::volume;
use crate::sys::{Call, random};
use anyhow::{Result, ensure};
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub const EXPORT: Command = Command {
    name: "volume export",
    about: "Write a volume as a tar archive",
    details: "\
To standard output, or to a file, which appears when it is complete. Containers may
use the volume meanwhile; what they write may be seen half.",
    flags: &[&[OUTPUT]],
    operands: &[VOLUME],
    run: export,
};

pub const IMPORT: Command = Command {
    name: "volume import",
    about: "Make a volume of a tar archive",
    details: "\
Makes a new volume, or fills one that is empty and not in use. The files appear all
at once; after an error nothing has changed.",
    flags: &[],
    operands: &[VOLUME, ARCHIVE],
    run: import,
};

const VOLUME: Operand = Operand { name: "VOLUME", required: true, verbatim: false, help: "The volume" };
const ARCHIVE: Operand =
    Operand { name: "FILE", required: true, verbatim: false, help: "The archive, not compressed; - is standard input" };
const OUTPUT: Flag = Flag { name: "output", short: Some('o'), value: Some("FILE"), help: "Write to this file" };

fn export(globals: &Globals, matches: &Matches) -> Result<i32> {
    let context = globals.volume_context();
    let name = matches.operands()?.first().copied().unwrap_or_default();
    match matches.value(&OUTPUT) {
        Some(path) => {
            let mut output = Output::open(Path::new(path))?;
            volume::export(&context, name, &mut output.file)?;
            output.finish()?;
        }
        None => {
            let out = std::io::stdout();
            ensure!(!out.is_terminal(), "cowardly refusing to save to a terminal. Use the -o flag or redirect");
            volume::export(&context, name, &mut out.lock())?;
        }
    }
    Ok(0)
}

fn import(globals: &Globals, matches: &Matches) -> Result<i32> {
    let context = globals.volume_context();
    let name = matches.operands()?.first().copied().unwrap_or_default();
    let mut input: Box<dyn Read> = match matches.operand(1) {
        Some(path) if path != "-" => Box::new(File::open(path).call(|| format!("open {}", path.display()))?),
        _ => {
            let input = std::io::stdin();
            ensure!(!input.is_terminal(), "cowardly refusing to read an archive from a terminal");
            Box::new(input.lock())
        }
    };
    volume::import(&context, name, &mut input)?;
    crate::cli::print(&format!("{name}\n"))?;
    Ok(0)
}

/// A file that takes the place of the one with its name when it is complete, and is gone otherwise.
struct Output {
    file: File,
    /// Aside, and at last. `None`: written in place, for it is no regular file.
    paths: Option<(PathBuf, PathBuf)>,
}

impl Output {
    fn open(path: &Path) -> Result<Output> {
        let write = |path: &Path, options: &mut OpenOptions| {
            options.write(true).open(path).call(|| format!("open {}", path.display()))
        };
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Ok(Output { file: write(path, &mut OpenOptions::new())?, paths: None });
        }
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}", random::hex::<4>().call(|| "getrandom".into())?));
        let aside = path.with_file_name(name);
        let file = write(&aside, OpenOptions::new().create_new(true).mode(0o600))?;
        Ok(Output { file, paths: Some((aside, path.to_owned())) })
    }

    fn finish(mut self) -> Result<()> {
        self.file.flush().call(|| "write the archive".into())?;
        if let Some((aside, path)) = &self.paths {
            self.file.sync_all().call(|| format!("fsync {}", path.display()))?;
            std::fs::rename(aside, path).call(|| format!("rename the archive to {}", path.display()))?;
        }
        self.paths = None;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((aside, _)) = &self.paths {
            // The error that brings us here is the one that tells.
            let _ = std::fs::remove_file(aside);
        }
    }
}
