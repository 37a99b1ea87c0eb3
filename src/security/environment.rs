//! What the process finds when it starts: its environment, HOME, and the file that is executed.
//!
//! Owns the rules of runc (and Go) for these, and the phrases that engines search for in the errors. Runs in the
//! container, after the root has changed and the working directory is set; trusts no file that it reads there.

use crate::sys::path::{Symlinks, open_in_root};
use crate::sys::{Call, Errno, credentials};
use anyhow::{Context, Result, anyhow, ensure};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, stat};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// The environment as it is handed to execve: of two values for one name the later one counts, and HOME is added from
/// the container's passwd file when it is missing or empty.
pub fn variables(env: &[String], uid: u32, warn: &mut dyn FnMut(String)) -> Result<Vec<String>> {
    let mut seen = HashSet::with_capacity(env.len());
    let mut result = Vec::with_capacity(env.len() + 1);
    for variable in env.iter().rev() {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        ensure!(name.len() < variable.len(), "invalid environment variable {variable:?}: missing '='");
        ensure!(!name.is_empty(), "invalid environment variable {variable:?}: name cannot be empty");
        ensure!(!variable.contains('\0'), "invalid environment variable {name:?}: contains nul byte (\\x00)");
        if seen.insert(name) && (name != "HOME" || !value.is_empty()) {
            result.push(variable.clone());
        }
    }
    result.reverse();
    if !result.iter().any(|variable| variable.starts_with("HOME=")) {
        result.push(format!("HOME={}", home(uid, warn)));
    }
    Ok(result)
}

/// The home directory of `uid` by `/etc/passwd` of the current root, `/` if the file has none or cannot be used.
fn home(uid: u32, warn: &mut dyn FnMut(String)) -> String {
    let found = open_passwd().and_then(|file| file.map_or(Ok(None), |file| home_in(file, uid)));
    let home = found.unwrap_or_else(|error| {
        warn(format!("HOME is set to /: {error:#}"));
        None
    });
    home.unwrap_or_else(|| "/".into())
}

/// `None` if there is no such file. A link stays inside the root; a fifo or a device is refused without waiting.
fn open_passwd() -> Result<Option<File>> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open("/", flags, Mode::empty()).call(|| "open /".into())?;
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    use std::os::fd::AsFd;
    let file = match open_in_root(root.as_fd(), Path::new("etc/passwd"), flags, Symlinks::Follow) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        Err(e) => return Err(e).call(|| "open /etc/passwd".into()),
    };
    ensure!(file.metadata()?.is_file(), "/etc/passwd is not a regular file");
    Ok(Some(file))
}

/// What is read of a passwd file at most: far more than any real one has. An image decides how long the file is, and a
/// sparse one costs it nothing.
const MOST: u64 = 256 << 20;

/// The longest line that can be an entry; of a longer one no more than this is kept in memory.
const LONGEST_LINE: u64 = 64 << 10;

/// The home directory of the first entry with `uid`, if it is an absolute path. Lines that are no entries are skipped.
pub(crate) fn home_in(passwd: impl Read, uid: u32) -> Result<Option<String>> {
    let mut passwd = BufReader::with_capacity(8 << 10, passwd.take(MOST));
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = passwd.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).context("read /etc/passwd")?;
        if read == 0 {
            let bound_reached = passwd.get_ref().limit() == 0;
            ensure!(!bound_reached, "/etc/passwd has no entry for {uid} in its first {} MiB", MOST >> 20);
            return Ok(None);
        }
        if read as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
            passwd.skip_until(b'\n').context("read /etc/passwd")?;
        } else if let Some(home) = entry_of(&line, uid) {
            return Ok(Some(home.to_owned()).filter(|home| home.starts_with('/') && !home.contains('\0')));
        }
    }
}

/// The home directory in a line, if the line is the entry of `uid`.
fn entry_of(line: &[u8], uid: u32) -> Option<&str> {
    let mut fields = std::str::from_utf8(line).ok()?.trim().split(':');
    let number = fields.nth(2)?;
    let home = fields.nth(2)?;
    (number.parse() == Ok(uid)).then_some(home)
}

/// The file to execute for `args[0]`, looked up in PATH of `env` (the last one counts) if it has no slash. Relative
/// names count from the working directory. The errors read as those of Go's `exec.LookPath`.
pub fn find_executable(name: &str, env: &[String]) -> Result<PathBuf> {
    if name.contains('/') {
        return match refusal(Path::new(name)) {
            None => Ok(PathBuf::from(name)),
            Some(why) => Err(anyhow!("exec: {name:?}: {why}")),
        };
    }
    let path = env.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or("");
    let directories = path.split(':').filter(|_| !path.is_empty());
    for directory in directories.map(|d| if d.is_empty() { "." } else { d }) {
        let candidate = Path::new(directory).join(name);
        // One call for a directory without it, two for the file that is taken.
        if credentials::may_execute(&candidate).is_err() || is_directory(&candidate) {
            continue;
        }
        ensure!(candidate.is_absolute(), "exec: {name:?}: cannot run executable found relative to current directory");
        return Ok(candidate);
    }
    Err(anyhow!("exec: {name:?}: executable file not found in $PATH"))
}

/// Why a file cannot be executed, in Go's words.
fn refusal(path: &Path) -> Option<String> {
    let text = |errno: Errno| {
        let text = errno.desc();
        text[..1].to_lowercase() + &text[1..]
    };
    match stat(path) {
        Ok(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFDIR => return Some("is a directory".into()),
        Ok(_) => {}
        Err(errno) => return Some(format!("stat {}: {}", path.display(), text(errno))),
    }
    credentials::may_execute(path).err().map(text)
}

fn is_directory(path: &Path) -> bool {
    stat(path).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(env: &[&str]) -> Result<Vec<String>> {
        let env: Vec<String> = env.iter().map(|v| v.to_string()).collect();
        variables(&env, 4_000_000_000, &mut |w| panic!("{w}"))
    }

    #[test]
    fn later_values_count_and_home_is_added() {
        assert_eq!(vars(&["A=1", "B=x=y", "HOME=/h", "A=2"]).unwrap(), ["B=x=y", "HOME=/h", "A=2"]);
        assert_eq!(vars(&["HOME=", "A=1"]).unwrap(), ["A=1", "HOME=/"]);
        assert_eq!(vars(&[]).unwrap(), ["HOME=/"]);
        // The last value of HOME is empty, so the earlier one does not count either.
        assert_eq!(vars(&["HOME=/h", "HOME="]).unwrap(), ["HOME=/"]);
        assert_eq!(vars(&["E="]).unwrap(), ["E=", "HOME=/"]);
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        let refused = |v: &str| vars(&[v]).unwrap_err().to_string();
        assert_eq!(refused("A"), "invalid environment variable \"A\": missing '='");
        assert_eq!(refused("=1"), "invalid environment variable \"=1\": name cannot be empty");
        assert_eq!(refused("A=\0"), "invalid environment variable \"A\": contains nul byte (\\x00)");
    }

    #[test]
    fn home_comes_from_the_first_entry_of_the_uid() {
        let file: &[u8] = b"# comment\n\nbroken:x\nbad:x:1x:0::/bad:\nroot:x:0:0:root:/root:/bin/sh\n\xff:x:7:7::/l:\n\
            u:x:7:7:,,,:/home/u:\nv:x:7:7::/v:\nnone:x:8:8:::\nrelative:x:9:9::home:\nlast:x:10:10::/last";
        let home = |uid| home_in(file, uid).unwrap();
        assert_eq!(home(0).as_deref(), Some("/root"));
        assert_eq!(home(7).as_deref(), Some("/home/u"));
        assert_eq!(home(8), None);
        assert_eq!(home(9), None);
        assert_eq!(home(10).as_deref(), Some("/last"));
        assert_eq!(home(1), None);
    }

    fn find(name: &str, path: &str) -> String {
        match find_executable(name, &["PATH=/nowhere".into(), format!("PATH={path}")]) {
            Ok(path) => path.display().to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn executables_are_found_as_go_finds_them() {
        assert_eq!(find("sh", "/nonexistent:/bin"), "/bin/sh");
        assert_eq!(find("/bin/sh", ""), "/bin/sh");
        assert_eq!(find("/bin/../bin/sh", ""), "/bin/../bin/sh");
    }

    #[test]
    fn errors_are_those_that_engines_search_for() {
        assert_eq!(find("sh", ""), "exec: \"sh\": executable file not found in $PATH");
        assert_eq!(find("nope", "/bin:/usr/bin"), "exec: \"nope\": executable file not found in $PATH");
        assert_eq!(find("", "/bin"), "exec: \"\": executable file not found in $PATH");
        assert_eq!(find("/nope", ""), "exec: \"/nope\": stat /nope: no such file or directory");
        assert_eq!(find("/bin/sh/x", ""), "exec: \"/bin/sh/x\": stat /bin/sh/x: not a directory");
        assert_eq!(find("/bin/", ""), "exec: \"/bin/\": is a directory");
        assert_eq!(find("/etc/passwd", ""), "exec: \"/etc/passwd\": permission denied");
        let none = find_executable("sh", &[]).unwrap_err().to_string();
        assert_eq!(none, "exec: \"sh\": executable file not found in $PATH");
    }

    #[test]
    fn a_relative_directory_in_path_is_not_executed_from() {
        // Unit tests run in the package's directory.
        let dir = "target/environment-test";
        std::fs::create_dir_all(dir).unwrap();
        std::fs::copy("/bin/true", format!("{dir}/x")).unwrap();
        let error = "exec: \"x\": cannot run executable found relative to current directory";
        assert_eq!(find("x", dir), error);
        assert_eq!(find(&format!("./{dir}/x"), ""), format!("./{dir}/x"));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
