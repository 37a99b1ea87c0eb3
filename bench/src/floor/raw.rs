//! Syscalls that end the program with their name if they fail, and paths put together on the stack.

use std::ffi::CStr;

/// Writes the call's name and the errno, and ends the process.
pub fn fail(what: &str, errno: i32) -> ! {
    let mut line = Path::new(b"rvol-floor: ");
    line.push(what.as_bytes()).push(b": errno ").push_number(errno.unsigned_abs(), 1).push(b"\n");
    // SAFETY: the buffer holds `length` bytes; _exit takes no pointer.
    unsafe {
        libc::write(2, line.bytes.as_ptr().cast(), line.length);
        libc::_exit(1)
    }
}

/// A syscall that has to succeed. Pointers go in as addresses: of static strings, or of locals of the caller.
macro_rules! must {
    ($what:expr, $number:expr $(, $argument:expr)* $(,)?) => {{
        // SAFETY: every pointer among the arguments is to a NUL-terminated string or a struct of the kernel's layout
        // that lives in the caller's frame or longer.
        let result = unsafe { libc::syscall($number $(, $argument as libc::c_long)*) };
        if result < 0 {
            $crate::raw::fail($what, $crate::raw::errno());
        }
        result
    }};
}
pub(crate) use must;

pub fn errno() -> i32 {
    // SAFETY: the C library's errno is always readable.
    unsafe { *libc::__errno_location() }
}

/// A NUL-terminated string that is built on the stack.
pub struct Path {
    bytes: [u8; 512],
    length: usize,
}

impl Path {
    pub fn new(start: &[u8]) -> Path {
        let mut path = Path { bytes: [0; 512], length: 0 };
        path.push(start);
        path
    }

    pub fn push(&mut self, part: &[u8]) -> &mut Path {
        let end = self.length + part.len();
        if end >= self.bytes.len() {
            fail("path", libc::ENAMETOOLONG);
        }
        self.bytes[self.length..end].copy_from_slice(part);
        self.length = end;
        self
    }

    /// In decimal, with at least `digits` digits.
    pub fn push_number(&mut self, number: u32, digits: usize) -> &mut Path {
        let (mut text, mut rest, mut at) = ([b'0'; 10], number, 10);
        while rest > 0 || at > 10 - digits {
            at -= 1;
            text[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.push(&text[at..])
    }

    /// Back to its first `length` bytes.
    pub fn cut(&mut self, length: usize) -> &mut Path {
        self.bytes[length..self.length].fill(0);
        self.length = length;
        self
    }

    /// A copy of its first `length` bytes.
    pub fn head(&self, length: usize) -> Path {
        Path::new(&self.bytes[..length])
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn pointer(&self) -> *const libc::c_char {
        self.bytes.as_ptr().cast()
    }
}

/// Opens, writes once, and closes.
pub fn write_file(path: *const libc::c_char, text: &[u8]) {
    let fd = must!("open", libc::SYS_open, path, libc::O_WRONLY | libc::O_CLOEXEC);
    must!("write", libc::SYS_write, fd, text.as_ptr(), text.len());
    must!("close", libc::SYS_close, fd);
}

/// Opens, reads once, and closes. Returns how many bytes there were, at most the buffer's size.
pub fn read_file(path: *const libc::c_char, buffer: &mut [u8]) -> usize {
    let fd = must!("open", libc::SYS_open, path, libc::O_RDONLY | libc::O_CLOEXEC);
    let count = must!("read", libc::SYS_read, fd, buffer.as_mut_ptr(), buffer.len());
    must!("close", libc::SYS_close, fd);
    count as usize
}

pub fn mount(source: &CStr, target: *const libc::c_char, kind: &CStr, flags: libc::c_ulong, data: &CStr) {
    must!("mount", libc::SYS_mount, source.as_ptr(), target, kind.as_ptr(), flags, data.as_ptr());
}

/// `clone3(2)` as a fork with namespaces and a cgroup v2 to be born in; 0 in the child.
pub fn clone3(namespaces: libc::c_int, cgroup: Option<libc::c_int>) -> libc::c_long {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup
    let mut args = [0u64; 11];
    args[0] = namespaces as u64;
    args[4] = libc::SIGCHLD as u64;
    if let Some(fd) = cgroup {
        args[0] |= CLONE_INTO_CGROUP;
        args[10] = fd as u64;
    }
    must!("clone3", libc::SYS_clone3, &raw const args, size_of_val(&args))
}

/// The child's exit code, or 128 + its signal.
pub fn wait(pid: libc::c_long) -> libc::c_int {
    let mut status: libc::c_int = 0;
    must!("wait4", libc::SYS_wait4, pid, &raw mut status, 0, 0);
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}
