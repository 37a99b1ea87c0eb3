//! An errno with the call that it came from.

use nix::errno::Errno;
use std::fmt;

/// A failed syscall: what was called with which arguments, and the errno.
///
/// Prints as `call: lower-case text (NAME)`, for example `openat2 etc/passwd: no such file or directory (ENOENT)`.
/// Engines search the text for these phrases, so they are the libc texts with a small first letter.
#[derive(Debug, Clone)]
pub struct SyscallError {
    pub call: String,
    pub errno: Errno,
}

impl fmt::Display for SyscallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.errno.desc();
        let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
        write!(f, "{}: {}{rest} ({:?})", self.call, first.to_lowercase(), self.errno)
    }
}

impl std::error::Error for SyscallError {}

/// A failed call on a filesystem context, with the kernel's own words in the place of the errno's text:
/// `fsconfig size=banana: tmpfs: Bad value for 'size' (EINVAL)`.
#[derive(Debug, Clone)]
pub struct ContextError {
    pub call: String,
    pub message: String,
    pub errno: Errno,
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({:?})", self.call, self.message, self.errno)
    }
}

impl std::error::Error for ContextError {}

/// Names the call that an errno came from.
pub trait Call<T> {
    /// Turns `Err(errno)` into a [`SyscallError`] whose text starts with what `describe` returns.
    fn call(self, describe: impl FnOnce() -> String) -> anyhow::Result<T>;
}

impl<T> Call<T> for nix::Result<T> {
    fn call(self, describe: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|errno| SyscallError { call: describe(), errno }.into())
    }
}

impl<T> Call<T> for std::io::Result<T> {
    fn call(self, describe: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|e| match e.raw_os_error() {
            Some(code) => SyscallError { call: describe(), errno: Errno::from_raw(code) }.into(),
            None => anyhow::Error::from(e).context(describe()),
        })
    }
}

/// The errno at the root of an error chain, if there is one.
pub fn errno_of(error: &anyhow::Error) -> Option<Errno> {
    error.chain().find_map(|e| {
        let plain = e.downcast_ref::<SyscallError>().map(|s| s.errno);
        plain.or_else(|| e.downcast_ref::<ContextError>().map(|c| c.errno))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_engines_search_for() {
        let e = Err::<(), _>(Errno::ENOENT).call(|| "open /x".into()).unwrap_err();
        assert_eq!(e.to_string(), "open /x: no such file or directory (ENOENT)");
        assert_eq!(errno_of(&e), Some(Errno::ENOENT));
    }
}
