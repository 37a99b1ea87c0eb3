//! Random bytes of the kernel.

use nix::errno::Errno;

/// `getrandom(2)`: waits only where the kernel has none yet, early at boot.
pub fn bytes<const N: usize>() -> nix::Result<[u8; N]> {
    let mut buffer = [0u8; N];
    let mut filled = 0;
    while filled < N {
        let rest = &mut buffer[filled..];
        // SAFETY: the kernel writes at most `rest.len()` bytes to `rest`.
        match super::check(unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) } as libc::c_long) {
            Ok(n) => filled += n as usize,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(buffer)
}

/// `2 * N` hexadecimal digits, small letters.
pub fn hex<const N: usize>() -> nix::Result<String> {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 * N);
    for byte in bytes::<N>()? {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}
