//! A list of system calls that a process makes after it has unmapped everything else: code, data, heap, stack,
//! arguments and environment.
//!
//! A process that is born into somebody else's pid namespace can be read there (`/proc/<pid>/mem`,
//! process_vm_readv(2)) from its first moment on, and a fork has the memory of its maker. So the maker writes down what
//! is left to do, with all strings, in one mapping of its own, unmaps the rest, and clones. What the clone holds is that
//! mapping and the one page of the program that has the loop which makes the calls ([`execute`]). The loop is assembly:
//! nothing that a compiler makes can be trusted to need neither a stack nor data.

use super::check;
use nix::errno::Errno;
use std::convert::Infallible;
use std::ffi::{CStr, CString, c_void};
use std::ops::Range;

// One call after the other. A record is an `Op`; its address is in rbx (x19). The kernel leaves all registers but those of the
// result (and rcx, r11) as they are, in the child of a clone as well. No stack is used. It does not straddle two pages, because it is
// shorter than its alignment.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .text.rvol_script, \"ax\", @progbits",
    ".p2align 9",
    ".hidden rvol_script_loop",
    ".globl rvol_script_loop",
    ".type rvol_script_loop, @function",
    "rvol_script_loop:",
    "mov rbx, rdi",
    "1:",
    "mov rax, [rbx]",
    "test rax, rax",
    "js 5f",
    "mov rdi, [rbx + 8]",
    "mov rsi, [rbx + 16]",
    "mov rdx, [rbx + 24]",
    "mov r10, [rbx + 32]",
    "mov r8, [rbx + 40]",
    "mov r9, [rbx + 48]",
    "syscall",
    "mov rcx, [rbx + 56]",
    "mov [rcx], rax",
    "test rax, rax",
    "js 3f",
    "jz 4f",
    "2:",
    "mov rbx, [rbx + 80]",
    "jmp 1b",
    "3:",
    "mov rbx, [rbx + 64]",
    "jmp 1b",
    "4:",
    "mov rbx, [rbx + 72]",
    "jmp 1b",
    // The number at the first argument's address, in decimal digits, to that of the second.
    "5:",
    "mov rax, [rbx + 8]",
    "mov rax, [rax]",
    "mov rcx, [rbx + 16]",
    "mov r8d, 10",
    "mov r9d, 10",
    "6:",
    "inc rcx",
    "cmp rax, r8",
    "jb 7f",
    "imul r8, r8, 10",
    "jmp 6b",
    "7:",
    "xor edx, edx",
    "div r9",
    "add dl, 48",
    "dec rcx",
    "mov [rcx], dl",
    "test rax, rax",
    "jnz 7b",
    "jmp 2b",
    ".size rvol_script_loop, . - rvol_script_loop",
    ".popsection",
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .text.rvol_script, \"ax\", @progbits",
    ".p2align 9",
    ".hidden rvol_script_loop",
    ".globl rvol_script_loop",
    ".type rvol_script_loop, @function",
    "rvol_script_loop:",
    "mov x19, x0",
    "1:",
    "ldr x8, [x19]",
    "tbnz x8, #63, 5f",
    "ldp x0, x1, [x19, #8]",
    "ldp x2, x3, [x19, #24]",
    "ldp x4, x5, [x19, #40]",
    "svc #0",
    "ldr x9, [x19, #56]",
    "str x0, [x9]",
    "cmp x0, #0",
    "b.lt 3f",
    "b.eq 4f",
    "2:",
    "ldr x19, [x19, #80]",
    "b 1b",
    "3:",
    "ldr x19, [x19, #64]",
    "b 1b",
    "4:",
    "ldr x19, [x19, #72]",
    "b 1b",
    "5:",
    "ldp x9, x10, [x19, #8]",
    "ldr x9, [x9]",
    "mov x11, #10",
    "mov x12, #10",
    "6:",
    "add x10, x10, #1",
    "cmp x9, x11",
    "b.lo 7f",
    "mul x11, x11, x12",
    "b 6b",
    "7:",
    "udiv x13, x9, x12",
    "msub x14, x13, x12, x9",
    "add w14, w14, #48",
    "sub x10, x10, #1",
    "strb w14, [x10]",
    "mov x9, x13",
    "cbnz x9, 7b",
    "b 2b",
    ".size rvol_script_loop, . - rvol_script_loop",
    ".popsection",
);

unsafe extern "C" {
    /// The loop, from the record at this address on.
    fn rvol_script_loop(first: *const Op) -> !;
}

/// In place of a call's number: writes a number in decimal digits.
const DECIMAL: i64 = -1;

/// A record as the loop reads it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Op {
    number: i64,
    arguments: [u64; 6],
    /// Where the result goes.
    result: u64,
    after_error: u64,
    after_zero: u64,
    after_more: u64,
}

/// Something in the script's own memory: an offset into its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data(usize);

impl Data {
    /// What is so many bytes further.
    pub fn behind(self, bytes: usize) -> Data {
        Data(self.0 + bytes)
    }
}

/// An argument of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arg {
    Is(u64),
    At(Data),
}

impl From<i32> for Arg {
    fn from(value: i32) -> Arg {
        Arg::Is(i64::from(value).cast_unsigned())
    }
}

/// What comes after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The call that was added next.
    Following,
    To(usize),
}

#[derive(Debug, Clone, Copy)]
struct Call {
    number: i64,
    arguments: [Arg; 6],
    result: Data,
    after_error: Next,
    after_zero: Next,
    after_more: Next,
}

/// What the reader of the pipe gets from a script: 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// The caller's code of a call, or of a note.
    pub code: u64,
    /// The result of the call: an errno as a negative number.
    pub value: i64,
}

impl Message {
    pub const SIZE: usize = 16;

    pub fn from_bytes(bytes: [u8; Message::SIZE]) -> Message {
        let (code, value) = bytes.split_at(8);
        let word = |half: &[u8]| u64::from_ne_bytes(half.try_into().unwrap_or_default());
        Message { code: word(code), value: word(value).cast_signed() }
    }

    /// The errno of a failed call, which is bounded as the kernel's are.
    pub fn errno(&self) -> Option<Errno> {
        (-4095..0).contains(&self.value).then(|| Errno::from_raw(i32::try_from(-self.value).unwrap_or(0)))
    }
}

/// The list. What goes wrong is written to a pipe as a [`Message`]; then the process ends with exit code 1.
#[derive(Debug)]
pub struct Script {
    pipe: i32,
    calls: Vec<Call>,
    data: Vec<u8>,
    /// Words of `data` that are addresses in it.
    pointers: Vec<(usize, Data)>,
    /// Calls that may fail, and the message about it.
    watched: Vec<(usize, Data)>,
    scratch: Data,
}

impl Script {
    /// `pipe` is the number of the pipe's fd.
    pub fn new(pipe: i32) -> Script {
        let scratch = Data(0);
        Script { pipe, calls: Vec::new(), data: vec![0; 8], pointers: Vec::new(), watched: Vec::new(), scratch }
    }

    /// A copy of these bytes, aligned to 8, with at least one zero behind them.
    pub fn bytes(&mut self, bytes: &[u8]) -> Data {
        let at = self.data.len();
        self.data.extend_from_slice(bytes);
        self.data.resize((self.data.len() + 8) & !7, 0);
        Data(at)
    }

    pub fn text(&mut self, text: &CStr) -> Data {
        self.bytes(text.to_bytes())
    }

    /// An array of pointers to these, and a null pointer.
    pub fn pointers(&mut self, targets: &[Data]) -> Data {
        let array = self.bytes(&vec![0; 8 * targets.len()]);
        self.pointers.extend(targets.iter().enumerate().map(|(i, target)| (array.0 + 8 * i, *target)));
        array
    }

    pub fn texts(&mut self, list: &[CString]) -> Data {
        let texts: Vec<Data> = list.iter().map(|text| self.text(text)).collect();
        self.pointers(&texts)
    }

    /// Words of 8 bytes, each a number or an address.
    pub fn words(&mut self, words: &[Arg]) -> Data {
        let at = self.bytes(&vec![0; 8 * words.len()]);
        for (i, word) in words.iter().enumerate() {
            match word {
                Arg::Is(value) => self.data[at.0 + 8 * i..][..8].copy_from_slice(&value.to_ne_bytes()),
                Arg::At(target) => self.pointers.push((at.0 + 8 * i, *target)),
            }
        }
        at
    }

    fn push(&mut self, number: i64, arguments: &[Arg], result: Data) -> usize {
        let mut all = [Arg::Is(0); 6];
        all[..arguments.len()].copy_from_slice(arguments);
        let next = Next::Following;
        self.calls.push(Call { number, arguments: all, result, after_error: next, after_zero: next, after_more: next });
        self.calls.len() - 1
    }

    /// A call whose result does not matter.
    pub fn try_call(&mut self, number: libc::c_long, arguments: &[Arg]) {
        self.push(number, arguments, self.scratch);
    }

    /// A call that must succeed; else the message has `code`. Returns where its result will be.
    pub fn call(&mut self, code: u64, number: libc::c_long, arguments: &[Arg]) -> Data {
        let message = self.message(code);
        let value = Data(message.0 + 8);
        let call = self.push(number, arguments, value);
        self.watched.push((call, message));
        value
    }

    /// A call in a clone of this process and all that is added after it; the process itself ends with exit code 0 when
    /// it has made the clone. `number` is that of clone3(2).
    pub(super) fn call_in_clone(&mut self, code: u64, number: libc::c_long, arguments: &[Arg]) {
        self.call(code, number, arguments);
        let clone = self.calls.len() - 1;
        // Right behind it, where the maker goes.
        let exit = self.push(libc::SYS_exit_group, &[Arg::Is(0)], self.scratch);
        self.calls[clone].after_more = Next::To(exit);
        self.calls[clone].after_zero = Next::To(exit + 1);
    }

    fn message(&mut self, code: u64) -> Data {
        self.words(&[Arg::Is(code), Arg::Is(0)])
    }

    /// Tells the reader of the pipe. Fails, and so ends the process, if there is none.
    pub fn tell(&mut self, code: u64) {
        let message = self.message(code);
        self.call(code, libc::SYS_write, &[self.pipe.into(), Arg::At(message), Arg::Is(Message::SIZE as u64)]);
    }

    /// Tells the reader of the pipe what an earlier call gave, and waits until it has read `filler` bytes more.
    ///
    /// The pipe holds no more than `filler` bytes (F_SETPIPE_SZ): the last byte waits for those before it to be read.
    pub fn tell_and_wait(&mut self, code: u64, result: Data, filler: usize) {
        // A message and its value stand side by side.
        let message = Data(result.0 - 8);
        self.words_at(message, code);
        let zeroes = self.bytes(&vec![0; filler]);
        for (data, size) in [(message, Message::SIZE), (zeroes, filler), (zeroes, 1)] {
            self.call(code, libc::SYS_write, &[self.pipe.into(), Arg::At(data), Arg::Is(size as u64)]);
        }
    }

    fn words_at(&mut self, at: Data, value: u64) {
        self.data[at.0..][..8].copy_from_slice(&value.to_ne_bytes());
    }

    /// Writes the number at `from` (a result) in decimal digits at `to`, where there is room for 20.
    pub fn decimal(&mut self, from: Data, to: Data) {
        self.push(DECIMAL, &[Arg::At(from), Arg::At(to)], self.scratch);
    }

    /// Unmaps everything but the script, the loop's page and `kept`, and makes the calls. Does not return: neither stack
    /// nor code is left. `code` is for a failure to unmap.
    ///
    /// After an error nothing has been unmapped.
    pub fn execute(mut self, code: u64, layout: &Layout, kept: &[Range<usize>]) -> nix::Result<Infallible> {
        let memory = Mapping::new(self.size_with_unmapping())?;
        let page = page_size();
        let code_page = (rvol_script_loop as *const c_void).addr() & !(page - 1);
        let mut all = vec![code_page..code_page + page, memory.range()];
        all.extend(layout.fixed.iter().chain(kept).cloned());
        self.prepend_unmapping(code, &gaps(all, layout.end));
        self.add_ends();
        let first = self.write_to(&memory)?;
        unregister_restartable_sequences();
        // SAFETY: `first` is a record in the mapping, whose addresses lead to others in there. The loop needs no stack
        // and no memory but that and its own page, none of which is unmapped, and never returns, so whatever else this
        // process has had mapped is not used again.
        unsafe { rvol_script_loop(first) }
    }

    fn prepend_unmapping(&mut self, code: u64, gaps: &[Range<usize>]) {
        let shift = |next: &mut Next| {
            if let Next::To(index) = next {
                *index += gaps.len();
            }
        };
        for call in &mut self.calls {
            [&mut call.after_error, &mut call.after_zero, &mut call.after_more].into_iter().for_each(shift);
        }
        self.watched.iter_mut().for_each(|(call, _)| *call += gaps.len());
        let rest = std::mem::take(&mut self.calls);
        for gap in gaps {
            self.call(code, libc::SYS_munmap, &[Arg::Is(gap.start as u64), Arg::Is(gap.len() as u64)]);
        }
        self.calls.extend(rest);
    }

    /// What comes after a failed call, and at the end of all.
    fn add_ends(&mut self) {
        let end = self.push(libc::SYS_exit_group, &[Arg::Is(1)], self.scratch);
        self.go_always(end, end);
        for (call, message) in std::mem::take(&mut self.watched) {
            let arguments = [self.pipe.into(), Arg::At(message), Arg::Is(Message::SIZE as u64)];
            let write = self.push(libc::SYS_write, &arguments, self.scratch);
            self.go_always(write, end);
            self.calls[call].after_error = Next::To(write);
        }
    }

    fn go_always(&mut self, call: usize, to: usize) {
        let call = &mut self.calls[call];
        (call.after_error, call.after_zero, call.after_more) = (Next::To(to), Next::To(to), Next::To(to));
    }

    /// Upper bound of what is to be written.
    fn size_with_unmapping(&self) -> usize {
        const GAPS: usize = 16;
        let calls = self.calls.len() + self.watched.len() + 2 * GAPS + 1;
        calls * size_of::<Op>() + self.data.len() + GAPS * 2 * Message::SIZE
    }

    /// Writes records and data; returns the first record.
    fn write_to(&self, memory: &Mapping) -> nix::Result<*const Op> {
        let records = memory.base.addr();
        let data = records + self.calls.len() * size_of::<Op>();
        if data + self.data.len() > records + memory.size {
            return Err(Errno::E2BIG);
        }
        let address = |at: Data| (data + at.0) as u64;
        let mut bytes = self.data.clone();
        for (at, target) in &self.pointers {
            bytes[*at..][..8].copy_from_slice(&address(*target).to_ne_bytes());
        }
        let first = memory.base.cast::<Op>();
        for (index, call) in self.calls.iter().enumerate() {
            let record = |next: Next| {
                let index = if let Next::To(index) = next { index } else { index + 1 };
                (records + index * size_of::<Op>()) as u64
            };
            let op = Op {
                number: call.number,
                arguments: call.arguments.map(|argument| match argument {
                    Arg::Is(value) => value,
                    Arg::At(at) => address(at),
                }),
                result: address(call.result),
                after_error: record(call.after_error),
                after_zero: record(call.after_zero),
                after_more: record(call.after_more),
            };
            // SAFETY: within the mapping, as checked above, and aligned to 8 like it.
            unsafe { first.add(index).write(op) };
        }
        // SAFETY: behind the records and within the mapping, as checked above.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory.base.add(data - records), bytes.len()) };
        Ok(first)
    }
}

/// Anonymous memory that stays mapped.
struct Mapping {
    base: *mut u8,
    size: usize,
}

impl Mapping {
    fn new(size: usize) -> nix::Result<Mapping> {
        let size = size.next_multiple_of(page_size());
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh anonymous mapping; no existing memory is touched.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(Mapping { base: base.cast(), size })
    }

    fn range(&self) -> Range<usize> {
        self.base.addr()..self.base.addr() + self.size
    }
}

/// Bytes of a page of memory.
pub fn page_size() -> usize {
    // SAFETY: no pointers are passed.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(65536)
}

/// What is between the ranges to keep, up to `end`.
fn gaps(mut kept: Vec<Range<usize>>, end: usize) -> Vec<Range<usize>> {
    kept.sort_by_key(|range| range.start);
    let mut from = 0;
    let mut gaps = Vec::new();
    for range in kept {
        if range.start > from {
            gaps.push(from..range.start.min(end));
        }
        from = from.max(range.end);
    }
    if from < end {
        gaps.push(from..end);
    }
    gaps.retain(|gap| !gap.is_empty());
    gaps
}

/// Where a process of this program has its memory.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The stack's end. Above it is nothing but what the kernel maps for all processes.
    end: usize,
    /// What the kernel maps for all processes and does not unmap (mseal(2), "system mappings", since Linux 6.16), if it is below.
    fixed: Vec<Range<usize>>,
}

impl Layout {
    /// Of the calling process and its forks. On x86-64 without a system call; elsewhere the vdso may lie below the stack,
    /// and /proc/self/maps says how large it is.
    pub fn survey() -> nix::Result<Layout> {
        // SAFETY: reads the auxiliary vector, which the C library has.
        let (name, vdso) = unsafe { (libc::getauxval(libc::AT_EXECFN), libc::getauxval(libc::AT_SYSINFO_EHDR)) };
        if name == 0 {
            return Err(Errno::ENODATA);
        }
        // SAFETY: the kernel puts the program's name there, NUL-terminated, at the stack's end, with one null pointer
        // behind it (fs/exec.c, bprm_mm_init).
        let length = unsafe { CStr::from_ptr(std::ptr::with_exposed_provenance(name as usize)) }.count_bytes();
        let end = (name as usize + length + 1 + size_of::<usize>()).next_multiple_of(page_size());
        let fixed = if (vdso as usize) < end && vdso != 0 { system_mappings() } else { Ok(Vec::new()) };
        Ok(Layout { end, fixed: fixed? })
    }
}

/// The kernel's own mappings, as /proc/self/maps names them.
fn system_mappings() -> nix::Result<Vec<Range<usize>>> {
    let maps = std::fs::read_to_string("/proc/self/maps")
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let is_system = |line: &&str| ["[vdso]", "[vvar]", "[vvar_vclock]", "[sigpage]"].iter().any(|n| line.ends_with(n));
    let range = |line: &str| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
    };
    maps.lines().filter(is_system).map(|line| range(line).ok_or(Errno::EINVAL)).collect()
}

/// The C library has told the kernel of memory that it is to write to whenever this thread goes on (rseq(2)); without
/// that memory it would kill us. There is nothing to be done about an error, which means that there is no such memory.
fn unregister_restartable_sequences() {
    #[cfg(target_env = "gnu")]
    {
        // Documented in <sys/rseq.h>, since glibc 2.35.
        unsafe extern "C" {
            static __rseq_offset: isize;
            static __rseq_size: u32;
        }
        const UNREGISTER: libc::c_int = 1;
        #[cfg(target_arch = "x86_64")]
        const SIGNATURE: u32 = 0x5305_3053;
        #[cfg(target_arch = "aarch64")]
        const SIGNATURE: u32 = 0xd428_bc00;
        // The area is never registered with less.
        const SMALLEST: u32 = 32;
        let thread: usize;
        // SAFETY: reads the thread pointer; both statics are constants after the start of the C library. The kernel
        // compares the address and writes nothing.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            std::arch::asm!("mov {}, fs:[0]", out(reg) thread, options(nostack, preserves_flags, readonly));
            #[cfg(target_arch = "aarch64")]
            std::arch::asm!("mrs {}, tpidr_el0", out(reg) thread, options(nostack, preserves_flags, nomem));
            let area = thread.wrapping_add_signed(__rseq_offset);
            let _ = check(libc::syscall(libc::SYS_rseq, area, __rseq_size.max(SMALLEST), UNREGISTER, SIGNATURE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ns::{Cloned, Parent, clone3};
    use crate::sys::pidfd;
    use std::io::Read;
    use std::os::fd::{AsFd, AsRawFd};

    /// Runs it in a fork; what it wrote to the pipe, and how it ended.
    fn outcome(fill: impl Fn(&mut Script)) -> (Vec<Message>, pidfd::End) {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let layout = Layout::survey().unwrap();
        let mut script = Script::new(writer.as_raw_fd());
        fill(&mut script);
        match clone3(0, None, Parent::Caller).unwrap() {
            Cloned::Child => {
                let _ = script.execute(9, &layout, &[]);
                crate::sys::process::exit_now(77)
            }
            Cloned::Parent { pidfd, .. } => {
                drop(writer);
                let mut bytes = Vec::new();
                std::fs::File::from(reader).read_to_end(&mut bytes).unwrap();
                let messages =
                    bytes.chunks_exact(Message::SIZE).map(|c| Message::from_bytes(c.try_into().unwrap())).collect();
                (messages, pidfd::wait(pidfd.as_fd()).unwrap())
            }
        }
    }

    #[test]
    fn calls_are_made_without_any_other_memory() {
        let (messages, end) = outcome(|script| {
            script.tell(7);
            let list = [c"sh".into(), c"-c".into(), c"test \"$A\" = 1 || exit 9; exit 5".into()];
            let (path, list) = (script.text(c"/bin/sh"), script.texts(&list));
            let env = script.texts(&[c"A=1".into()]);
            script.call(3, libc::SYS_execve, &[Arg::At(path), Arg::At(list), Arg::At(env)]);
        });
        assert_eq!(end, pidfd::End::Exited(5), "{messages:?}");
        assert_eq!(messages, [Message { code: 7, value: 0 }]);
    }

    #[test]
    fn a_failed_call_is_told_with_its_errno() {
        let (messages, end) = outcome(|script| {
            let path = script.text(c"/does/not/exist");
            script.try_call(libc::SYS_chdir, &[Arg::At(path)]);
            script.call(4, libc::SYS_chdir, &[Arg::At(path)]);
            script.tell(5);
        });
        assert_eq!(end, pidfd::End::Exited(1));
        assert_eq!(messages.iter().map(|m| (m.code, m.errno())).collect::<Vec<_>>(), [(4, Some(Errno::ENOENT))]);
    }

    #[test]
    fn numbers_become_text() {
        for number in [0u64, 1, 9, 10, 99, 100, 4_194_304] {
            let (_, end) = outcome(|script| {
                let value = script.words(&[Arg::Is(number)]);
                let text = script.bytes(&[0; 24]);
                script.decimal(value, text);
                let words = [c"test".into(), c"-c".into(), c"test \"$0\" = \"$1\"".into()];
                let mut list: Vec<Data> = words.iter().map(|t: &CString| script.text(t)).collect();
                list.push(text);
                list.push(script.text(&CString::new(number.to_string()).unwrap()));
                let list = script.pointers(&list);
                let (path, env) = (script.text(c"/bin/sh"), script.texts(&[]));
                script.call(3, libc::SYS_execve, &[Arg::At(path), Arg::At(list), Arg::At(env)]);
            });
            assert_eq!(end, pidfd::End::Exited(0), "{number}");
        }
    }

    #[test]
    fn the_gaps_are_what_is_not_kept() {
        assert_eq!(gaps(vec![30..40, 10..20, 20..25], 100), [0..10, 25..30, 40..100]);
        assert_eq!(gaps(vec![0..10, 90..110], 100), vec![10..90]);
    }
}
