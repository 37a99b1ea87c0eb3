//! What criu's log says of a failure.

use crate::sys::Call;
use anyhow::Result;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::io::{BufRead, BufReader};
use std::os::fd::BorrowedFd;

/// The last lines with an error in the log `name` in `directory`, without criu's time stamps, at most `most`. Lines that
/// only repeat that it failed are left out.
pub fn last_errors(directory: BorrowedFd, name: &str, most: usize) -> Result<Vec<String>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty()).call(|| format!("open {name}"))?;
    let mut found = std::collections::VecDeque::new();
    for line in BufReader::new(std::fs::File::from(file)).split(b'\n') {
        let line = line.call(|| format!("read {name}"))?;
        let Some(text) = error_in(&String::from_utf8_lossy(&line)) else { continue };
        found.push_back(text);
        if found.len() > most {
            found.pop_front();
        }
    }
    Ok(found.into())
}

/// `(00.09)     1: Error (criu/files.c:12): what` without what is before `Error`.
fn error_in(line: &str) -> Option<String> {
    let text = &line[line.find("Error (")?..];
    let useless = text.ends_with("FAILED.") || text.contains("rlimit: Can't setup RLIMIT_NOFILE for self");
    (!useless).then(|| text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_in_a_log() {
        let directory = tempfile::tempdir().unwrap();
        let text = "(00.1) mnt: fine\n(00.2)      1: Error (criu/a.c:1): one\n(00.3) Error (criu/b.c:2): two\n\
                    (00.4) Error (criu/cr-dump.c:3): Dumping FAILED.\n";
        std::fs::write(directory.path().join("dump.log"), text).unwrap();
        let fd = std::fs::File::open(directory.path()).unwrap();
        let found = last_errors(std::os::fd::AsFd::as_fd(&fd), "dump.log", 1).unwrap();
        assert_eq!(found, ["Error (criu/b.c:2): two"]);
        assert!(last_errors(std::os::fd::AsFd::as_fd(&fd), "other.log", 1).is_err());
    }
}
