//! Writes the man pages and the completions for bash, zsh and fish, made from the same table as `--help`.
//!
//! `rvol-manual DIR` makes below DIR the tree that an installation has below its prefix: `share/man/man8`,
//! `share/bash-completion/completions`, `share/zsh/site-functions`, `share/fish/vendor_completions.d`.

use anyhow::{Context, Result, bail};
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use rvol_runc::cli;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let (Some(prefix), None) = (args.next(), args.next()) else { bail!("usage: rvol-manual DIR") };
    write(&PathBuf::from(prefix))
}

fn write(prefix: &Path) -> Result<()> {
    let program = cli::program().version(env!("CARGO_PKG_VERSION")).disable_version_flag(true);
    // What names a page is one line.
    let described = program.get_about().cloned().unwrap_or_default();
    let mut program = program.about("run containers with native volumes").long_about(described);
    program.build();
    pages(&program, program.get_name(), &made(prefix, "share/man/man8")?)?;
    for (shell, place) in [
        (Shell::Bash, "share/bash-completion/completions"),
        (Shell::Zsh, "share/zsh/site-functions"),
        (Shell::Fish, "share/fish/vendor_completions.d"),
    ] {
        let name = program.get_name().to_owned();
        let dir = made(prefix, place)?;
        let written = clap_complete::generate_to(shell, &mut program, name, &dir)
            .with_context(|| format!("write the completions for {shell}"))?;
        if shell == Shell::Bash {
            // bash-completion looks for a file with the program's own name.
            fs::rename(&written, dir.join(program.get_name())).context("rename the completions for bash")?;
        }
    }
    Ok(())
}

fn made(prefix: &Path, place: &str) -> Result<PathBuf> {
    let dir = prefix.join(place);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// A page for the command called `name`, and one for each below it: `rvol-runc-volume-create.8`.
fn pages(command: &Command, name: &str, dir: &Path) -> Result<()> {
    let path = dir.join(format!("{name}.8"));
    let mut page = Vec::new();
    Man::new(command.clone())
        .title(name)
        .section("8")
        .manual("rvol-runc")
        .render(&mut page)
        .with_context(|| format!("make {}", path.display()))?;
    fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
    command.get_subcommands().try_for_each(|sub| pages(sub, &format!("{name}-{}", sub.get_name()), dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of all commands, as pages have them.
    fn names(command: &Command, name: String) -> Vec<String> {
        let below = command.get_subcommands().flat_map(|sub| names(sub, format!("{name}-{}", sub.get_name())));
        std::iter::once(name.clone()).chain(below).collect()
    }

    #[test]
    fn every_command_has_a_page_and_every_shell_its_completions() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path()).unwrap();
        let read = |path: String| fs::read_to_string(dir.path().join(&path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        let all = names(&cli::program(), "rvol-runc".into());
        for page in ["rvol-runc-create", "rvol-runc-volume-prune"] {
            assert!(all.iter().any(|name| name == page), "{all:?}");
        }
        for name in &all {
            let page = read(format!("share/man/man8/{name}.8"));
            assert!(page.contains(&format!(".TH {name} 8")), "{name}: {page}");
        }
        let create = read("share/man/man8/rvol-runc-create.8".into());
        for part in ["pid\\-file", "CONTAINER\\-ID", "volumes\\-from"] {
            assert!(create.contains(part), "{part}: {create}");
        }
        for file in [
            "bash-completion/completions/rvol-runc",
            "zsh/site-functions/_rvol-runc",
            "fish/vendor_completions.d/rvol-runc.fish",
        ] {
            let text = read(format!("share/{file}"));
            assert!(text.contains("pid-file") && text.contains("prune"), "{file}");
        }
    }
}
