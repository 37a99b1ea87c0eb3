//! What the kernel says of itself.

use super::check;
use std::ffi::CStr;

/// The release of the running kernel, as `uname -r` prints it (uname(2)).
pub fn release() -> nix::Result<String> {
    // SAFETY: utsname is made of byte arrays only, for which zero is a valid value.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: `names` is a utsname that outlives the call; the kernel fills it.
    check(unsafe { libc::uname(&raw mut names) }.into())?;
    // SAFETY: the kernel ends each field with a NUL, and the array was zeroed.
    let release = unsafe { CStr::from_ptr(names.release.as_ptr()) };
    Ok(release.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn release_starts_with_a_version() {
        let release = super::release().unwrap();
        assert!(release.starts_with(|c: char| c.is_ascii_digit()) && release.contains('.'), "{release}");
    }
}
