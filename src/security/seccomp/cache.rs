//! Compiled filters, kept on disk by what they were compiled from.
//!
//! Owns the files of one directory: each holds the whole key (the filter, the versions of libseccomp and of ourselves,
//! the architecture) and the program. A file is used only if its key is byte for byte the one asked for, so the hash in
//! its name need not resist collisions. The cache can only save time: a file or directory that is not as it should be,
//! or not ours alone, means that the filter is compiled.

use super::compile::compile;
use crate::plan::seccomp::{Action, Compare, Filter};
use anyhow::Result;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstat};
use nix::unistd::{UnlinkatFlags, geteuid, mkdir, unlinkat};
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Changes whenever a file of an older version must not be used: with its layout and with what `compile` makes.
const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"rvolbpf\n";
/// Magic, length of the key, length of the program, hash of both.
const HEADER: usize = 8 + 4 + 4 + 8;
/// No filter that the kernel takes comes near this.
const MOST_BYTES: usize = 1 << 20;
/// Profiles per machine are few; beyond this the directory is emptied.
const MOST_FILES: usize = 64;

/// The program for a filter, from the directory `cache` if it is there, else compiled and left there for the next time.
pub fn compiled(filter: &Filter, cache: Option<&Path>) -> Result<Vec<u8>> {
    let Some(directory) = cache.and_then(|path| open_directory(path).ok()) else { return compile(filter) };
    let key = key(filter);
    let name = format!("{:016x}", hash(&[&key]));
    if let Ok(Some(program)) = read(directory.as_fd(), &name, &key) {
        return Ok(program);
    }
    let program = compile(filter)?;
    // The next container compiles it again: nothing to fail for.
    let _ = write(directory.as_fd(), &name, &key, &program);
    Ok(program)
}

/// Opens the directory, made if only it is missing. It must be ours and closed to everybody else.
fn open_directory(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = || nix::fcntl::open(path, flags, Mode::empty());
    let directory = match open() {
        Err(Errno::ENOENT) => {
            match mkdir(path, Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(e),
            }
            open()?
        }
        result => result?,
    };
    let stat = fstat(&directory)?;
    if is_ours(&stat) && stat.st_mode & 0o077 == 0 { Ok(directory) } else { Err(Errno::EPERM) }
}

fn is_ours(stat: &FileStat) -> bool {
    stat.st_uid == geteuid().as_raw()
}

/// The program of a file that has this key; `None` if the file is not what it should be.
fn read(directory: BorrowedFd, name: &str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(directory, name, flags, Mode::empty())?);
    let stat = fstat(&file)?;
    let regular = stat.st_mode & libc::S_IFMT == libc::S_IFREG;
    let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
    if !regular || !is_ours(&stat) || stat.st_mode & 0o022 != 0 || size > MOST_BYTES {
        return Ok(None);
    }
    let mut bytes = vec![0; size];
    file.read_exact(&mut bytes)?;
    Ok(program_in(&bytes, key).map(<[u8]>::to_vec))
}

fn program_in<'a>(bytes: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let word = |at: usize| Some(u32::from_ne_bytes(header.get(at..at + 4)?.try_into().ok()?) as usize);
    let (key_length, program_length) = (word(8)?, word(12)?);
    let sum = u64::from_ne_bytes(header.get(16..24)?.try_into().ok()?);
    let (found_key, program) = rest.split_at_checked(key_length)?;
    let whole = header.starts_with(MAGIC) && program.len() == program_length && !program.is_empty();
    (whole && found_key == key && sum == hash(&[found_key, program])).then_some(program)
}

/// Leaves the program under its name, complete or not at all.
fn write(directory: BorrowedFd, name: &str, key: &[u8], program: &[u8]) -> io::Result<()> {
    make_room(directory)?;
    let mut bytes = Vec::with_capacity(HEADER + key.len() + program.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(key.len() as u32).to_ne_bytes());
    bytes.extend_from_slice(&(program.len() as u32).to_ne_bytes());
    bytes.extend_from_slice(&hash(&[key, program]).to_ne_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(program);
    let temporary = format!(".{name}.{}", std::process::id());
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let fill = || -> io::Result<()> {
        let mut file = File::from(openat(directory, temporary.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        file.write_all(&bytes)?;
        Ok(renameat(directory, temporary.as_str(), directory, name)?)
    };
    fill().inspect_err(|_| {
        // Also one that a killed process with our number has left.
        let _ = unlinkat(directory, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
    })
}

/// Empties the directory when too many profiles have passed through it.
fn make_room(directory: BorrowedFd) -> io::Result<()> {
    let mut entries = Dir::openat(directory, ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let names: Vec<_> = entries.iter().filter_map(Result::ok).map(|e| e.file_name().to_owned()).collect();
    let dots = 2;
    if names.len() >= MOST_FILES + dots {
        for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
            unlinkat(directory, name.as_c_str(), UnlinkatFlags::NoRemoveDir)?;
        }
    }
    Ok(())
}

/// Not stable over versions of the standard library: a file that another build has left is then compiled again.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        hasher.write(part);
    }
    hasher.finish()
}

/// Everything that decides the program, written so that two different filters never read the same.
fn key(filter: &Filter) -> Vec<u8> {
    let mut key = Key(Vec::with_capacity(8192));
    key.number(VERSION.into());
    let version = libseccomp::ScmpVersion::current();
    for part in version.map_or([0; 3], |v| [v.major, v.minor, v.micro]) {
        key.number(part.into());
    }
    key.text(std::env::consts::ARCH);
    key.text(env!("CARGO_PKG_VERSION"));
    key.action(filter.default_action);
    key.list(&filter.architectures, |key, name| key.text(name));
    key.list(&filter.rules, |key, rule| {
        key.list(&rule.names, |key, name| key.text(name));
        key.action(rule.action);
        key.list(&rule.args, |key, arg| {
            key.byte(arg.index);
            key.byte(compare(arg.op));
            key.number(arg.value);
            key.number(arg.value_two);
        });
    });
    key.0
}

struct Key(Vec<u8>);

impl Key {
    fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    fn number(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_ne_bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(&(text.len() as u32).to_ne_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn list<T>(&mut self, items: &[T], mut add: impl FnMut(&mut Key, &T)) {
        self.0.extend_from_slice(&(items.len() as u32).to_ne_bytes());
        for item in items {
            add(self, item);
        }
    }

    fn action(&mut self, action: Action) {
        let (kind, data) = match action {
            Action::KillThread => (0, 0),
            Action::KillProcess => (1, 0),
            Action::Trap => (2, 0),
            Action::Errno(errno) => (3, errno),
            Action::Notify => (4, 0),
            Action::Trace(message) => (5, message),
            Action::Log => (6, 0),
            Action::Allow => (7, 0),
        };
        self.byte(kind);
        self.0.extend_from_slice(&data.to_ne_bytes());
    }
}

fn compare(op: Compare) -> u8 {
    match op {
        Compare::NotEqual => 0,
        Compare::Less => 1,
        Compare::LessOrEqual => 2,
        Compare::Equal => 3,
        Compare::GreaterOrEqual => 4,
        Compare::Greater => 5,
        Compare::MaskedEqual => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::seccomp::{Arg, Rule};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    struct Cache(PathBuf);

    impl Cache {
        fn new(name: &str) -> Cache {
            let path = std::env::temp_dir().join(format!("seccomp-cache-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Cache(path)
        }

        fn files(&self) -> Vec<PathBuf> {
            std::fs::read_dir(&self.0).map_or(vec![], |d| d.map(|e| e.unwrap().path()).collect())
        }

        fn get(&self, filter: &Filter) -> Vec<u8> {
            compiled(filter, Some(&self.0)).unwrap()
        }
    }

    impl Drop for Cache {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn filter(errno: u16) -> Filter {
        let arg = Arg { index: 0, op: Compare::Equal, value: 1, value_two: 0 };
        let rule = Rule { names: vec!["read".into(), "write".into()], action: Action::Allow, args: vec![arg] };
        Filter { default_action: Action::Errno(errno), architectures: vec![], rules: vec![rule] }
    }

    #[test]
    fn a_second_container_finds_the_program() {
        let cache = Cache::new("hit");
        let program = cache.get(&filter(1));
        let [file] = &cache.files()[..] else { panic!("one file") };
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(cache.0.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        // A program that could not come from the compiler shows that the file was used.
        let directory = open_directory(&cache.0).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        write(directory.as_fd(), name, &key(&filter(1)), b"from the file").unwrap();
        assert_eq!(cache.get(&filter(1)), b"from the file");
        assert_ne!(cache.get(&filter(2)), program);
        assert_eq!(cache.files().len(), 2);
        assert_eq!(compiled(&filter(1), None).unwrap(), program);
    }

    #[test]
    fn a_damaged_or_foreign_file_is_compiled_again() {
        let cache = Cache::new("damage");
        let program = cache.get(&filter(1));
        let file = cache.files().remove(0);
        let good = std::fs::read(&file).unwrap();
        for length in [0, 5, HEADER, HEADER + 10, good.len() - 1] {
            std::fs::write(&file, &good[..length]).unwrap();
            assert_eq!(cache.get(&filter(1)), program, "{length}");
        }
        for at in (0..good.len()).step_by(3) {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            std::fs::write(&file, &bad).unwrap();
            assert_eq!(cache.get(&filter(1)), program, "{at}");
            assert_eq!(std::fs::read(&file).unwrap(), good, "mended");
        }
        // The right name with the key of another filter.
        let directory = open_directory(&cache.0).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        write(directory.as_fd(), name, &key(&filter(2)), b"other").unwrap();
        assert_eq!(cache.get(&filter(1)), program);
        // A link, a directory and a fifo in its place.
        std::fs::remove_file(&file).unwrap();
        symlink("/etc/passwd", &file).unwrap();
        assert_eq!(cache.get(&filter(1)), program);
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert_eq!(cache.get(&filter(1)), program);
        std::fs::remove_dir(&file).unwrap();
        nix::unistd::mkfifo(&file, Mode::S_IRWXU).unwrap();
        assert_eq!(cache.get(&filter(1)), program);
    }

    #[test]
    fn a_directory_that_others_can_enter_is_not_used() {
        let cache = Cache::new("open");
        std::fs::create_dir(&cache.0).unwrap();
        std::fs::set_permissions(&cache.0, std::fs::Permissions::from_mode(0o755)).unwrap();
        cache.get(&filter(1));
        assert!(cache.files().is_empty());
        std::fs::set_permissions(&cache.0, std::fs::Permissions::from_mode(0o700)).unwrap();
        let link = Cache::new("link");
        symlink(&cache.0, &link.0).unwrap();
        link.get(&filter(1));
        assert!(cache.files().is_empty());
        std::fs::remove_file(&link.0).unwrap();
        // A directory that cannot be made is gone on without.
        compiled(&filter(1), Some(Path::new("/proc/nope/cache"))).unwrap();
    }

    #[test]
    fn the_directory_does_not_grow_without_end() {
        let cache = Cache::new("many");
        for errno in 0..MOST_FILES as u16 + 3 {
            cache.get(&filter(errno));
        }
        assert_eq!(cache.files().len(), 3);
    }

    #[test]
    fn different_filters_have_different_keys() {
        let base = filter(1);
        let change = |f: &dyn Fn(&mut Filter)| {
            let mut changed = base.clone();
            f(&mut changed);
            assert_ne!(key(&base), key(&changed));
        };
        change(&|f| f.default_action = Action::Trace(1));
        change(&|f| f.architectures.push("SCMP_ARCH_X86".into()));
        change(&|f| f.rules[0].names = vec!["readwrite".into()]);
        change(&|f| f.rules[0].action = Action::Log);
        change(&|f| f.rules[0].args[0].op = Compare::Less);
        change(&|f| f.rules[0].args[0].value_two = 1);
        change(&|f| f.rules[0].args.clear());
        assert_eq!(key(&base), key(&filter(1)));
    }
}
