//! The values that a flag or an operand takes, as far as they can be listed.

use super::candidates::{Candidates, Paths};
use crate::cli::args::{Flag, Matches, Operand};
use crate::cli::{COMMANDS, Command, Globals, help};
use crate::runtime;
use nix::sys::signal::Signal;

/// Commands whose CONTAINER-ID is a name that no container has yet.
const NEW_CONTAINERS: &[&str] = &["create", "run", "restore"];

pub fn of_flag(flag: &Flag, globals: &Matches, found: &mut Candidates) {
    for choice in flag.choices() {
        found.add(choice, "");
    }
    match (flag.name, flag.value.unwrap_or_default()) {
        // Inside of the container.
        ("cwd", _) => {}
        ("driver", _) => found.add("local", "a directory of this host"),
        (_, "DIR") => found.paths = Paths::Directories,
        (_, "FILE" | "PATH") => found.paths = Paths::Files,
        (_, "[SRC:]DST[:OPTS]") => {
            volumes(globals, found);
            found.paths = Paths::Directories;
        }
        (_, "ID[:ro|rw]") => containers(globals, found),
        (_, "CAPABILITY") => caps::all().iter().for_each(|capability| found.add(capability.to_string(), "")),
        _ => {}
    }
}

pub fn of_operand(command: &Command, operand: &Operand, globals: &Matches, found: &mut Candidates) {
    match operand.name.trim_end_matches("...") {
        "CONTAINER-ID" if !NEW_CONTAINERS.contains(&command.name) => containers(globals, found),
        "VOLUME" if command.name != "volume create" => volumes(globals, found),
        "BUNDLE" => found.paths = Paths::Directories,
        "FILE" => found.paths = Paths::Files,
        "SIGNAL" => signals(found),
        "COMMAND" => {
            COMMANDS.iter().filter(|known| !known.name.contains(' ')).for_each(|c| found.add(c.name, c.about));
            help::groups().for_each(|group| found.add(group, help::group_about(group)));
        }
        name => name.split('|').filter(|_| name.contains('|')).for_each(|choice| found.add(choice, "")),
    }
}

fn signals(found: &mut Candidates) {
    for signal in Signal::iterator() {
        found.add(signal.as_str().trim_start_matches("SIG"), format!("signal {}", signal as i32));
    }
}

/// Without an error: somebody is typing, and the command itself will say what is wrong.
fn containers(globals: &Matches, found: &mut Candidates) {
    let context = Globals::new(globals).and_then(|globals| globals.context());
    let ids = context.and_then(|context| runtime::ids(&context)).unwrap_or_default();
    ids.into_iter().for_each(|id| found.add(id, "container"));
}

/// The names alone: no volume plugin is asked.
fn volumes(globals: &Matches, found: &mut Candidates) {
    let store = Globals::new(globals).and_then(|globals| globals.volume_context().volumes());
    let names = store.and_then(|store| store.names()).unwrap_or_default();
    names.into_iter().for_each(|name| found.add(name, "volume"));
}
