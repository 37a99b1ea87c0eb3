//! Architectures and numbers of system calls, as libseccomp knows them.

use crate::plan::seccomp::{Action, Filter, Rule};
use anyhow::{Result, anyhow};
use libseccomp::{ScmpArch, ScmpSyscall};

/// Bit of a system call number that marks the x32 mode of x86_64.
pub const X32_BIT: u32 = 0x4000_0000;

/// An architecture of the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    pub scmp: ScmpArch,
    /// What the kernel calls it in `seccomp_data.arch` (`AUDIT_ARCH_*`). x32 has that of x86_64.
    pub audit: u32,
}

impl Architecture {
    pub const X86_64: u32 = 0xc000_003e;

    fn new(scmp: ScmpArch) -> Result<Architecture> {
        // Bit 31: 64-bit, bit 30: little-endian, bit 29: the MIPS n32 convention; below them the ELF machine.
        let audit = match scmp {
            ScmpArch::X86 => 0x4000_0003,
            ScmpArch::X8664 | ScmpArch::X32 => Architecture::X86_64,
            ScmpArch::Arm => 0x4000_0028,
            ScmpArch::Aarch64 => 0xc000_00b7,
            ScmpArch::Loongarch64 => 0xc000_0102,
            ScmpArch::M68k => 0x0000_0004,
            ScmpArch::Mips => 0x0000_0008,
            ScmpArch::Mips64 => 0x8000_0008,
            ScmpArch::Mips64N32 => 0xa000_0008,
            ScmpArch::Mipsel => 0x4000_0008,
            ScmpArch::Mipsel64 => 0xc000_0008,
            ScmpArch::Mipsel64N32 => 0xe000_0008,
            ScmpArch::Ppc => 0x0000_0014,
            ScmpArch::Ppc64 => 0x8000_0015,
            ScmpArch::Ppc64Le => 0xc000_0015,
            ScmpArch::S390 => 0x0000_0016,
            ScmpArch::S390X => 0x8000_0016,
            ScmpArch::Parisc => 0x0000_000f,
            ScmpArch::Parisc64 => 0x8000_000f,
            ScmpArch::Riscv64 => 0xc000_00f3,
            ScmpArch::Sheb => 0x0000_002a,
            ScmpArch::Sh => 0x4000_002a,
            other => return Err(anyhow!("architecture {other:?} is not known here")),
        };
        Ok(Architecture { scmp, audit })
    }
}

/// The native architecture and those of the profile, each once.
pub fn architectures(filter: &Filter) -> Result<Vec<Architecture>> {
    let mut list = vec![Architecture::new(ScmpArch::native())?];
    for name in &filter.architectures {
        let scmp: ScmpArch = name.parse().map_err(|_| anyhow!("unknown architecture {name:?}"))?;
        if scmp == ScmpArch::Native {
            continue;
        }
        let architecture = Architecture::new(scmp)?;
        if !list.contains(&architecture) {
            list.push(architecture);
        }
    }
    Ok(list)
}

/// How an architecture spells a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    Plain(u32),
    /// On some architectures sockets and System V IPC are behind one number each, with the call as the first argument,
    /// and later got numbers of their own.
    Multiplexed {
        through: u32,
        call: u32,
        direct: Option<u32>,
    },
    /// The architecture does not have it.
    Absent,
}

impl Number {
    /// The number that is the call's alone.
    pub fn plain(self) -> Option<u32> {
        match self {
            Number::Plain(number) => Some(number),
            Number::Multiplexed { direct, .. } => direct,
            Number::Absent => None,
        }
    }
}

/// Looks a name up; `None` if libseccomp does not know it.
pub fn number(name: &str, architecture: ScmpArch) -> Option<Number> {
    let raw = i32::from(ScmpSyscall::from_name_by_arch(name, architecture).ok()?);
    if let Ok(number) = u32::try_from(raw) {
        return Some(Number::Plain(number));
    }
    // libseccomp's own numbers, -101 to -120 for calls of socketcall and -201 to -224 for those of ipc.
    let multiplexed = match (architecture, raw) {
        (ScmpArch::X86, -120..=-101) => Some((X86_SOCKETCALL, raw + 100)),
        (ScmpArch::X86, -224..=-201) => Some((X86_IPC, raw + 200)),
        _ => None,
    };
    let number = multiplexed.map_or(Number::Absent, |(through, call)| {
        let direct = X86_DIRECT.iter().find(|(direct, _)| *direct == name).map(|(_, number)| *number);
        Number::Multiplexed { through, call: call.unsigned_abs(), direct }
    });
    Some(number)
}

const X86_SOCKETCALL: u32 = 102;
const X86_IPC: u32 = 117;

/// The calls of socketcall and ipc that i386 later got numbers for (arch/x86/entry/syscalls/syscall_32.tbl).
const X86_DIRECT: [(&str, u32); 27] = [
    ("recvmmsg", 337),
    ("sendmmsg", 345),
    ("socket", 359),
    ("socketpair", 360),
    ("bind", 361),
    ("connect", 362),
    ("listen", 363),
    ("accept4", 364),
    ("getsockopt", 365),
    ("setsockopt", 366),
    ("getsockname", 367),
    ("getpeername", 368),
    ("sendto", 369),
    ("sendmsg", 370),
    ("recvfrom", 371),
    ("recvmsg", 372),
    ("shutdown", 373),
    ("semget", 393),
    ("semctl", 394),
    ("shmget", 395),
    ("shmctl", 396),
    ("shmat", 397),
    ("shmdt", 398),
    ("msgget", 399),
    ("msgsnd", 400),
    ("msgrcv", 401),
    ("msgctl", 402),
];

impl Action {
    /// `SECCOMP_RET_*` with its data.
    pub fn answer(self) -> u32 {
        match self {
            Action::KillThread => 0,
            Action::KillProcess => 0x8000_0000,
            Action::Trap => 0x0003_0000,
            Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Action::Notify => 0x7fc0_0000,
            Action::Trace(message) => 0x7ff0_0000 | u32::from(message),
            Action::Log => 0x7ffc_0000,
            Action::Allow => 0x7fff_0000,
        }
    }
}

impl Rule {
    /// The conditions of a rule must all hold, unless two are about the same argument: then each makes a rule of its own.
    /// That is how runc has always read profiles; libseccomp itself takes an argument once a rule.
    pub fn alternatives<'a, T>(&self, conditions: &'a [T]) -> Vec<&'a [T]> {
        let args = &self.args;
        let repeated = args.iter().enumerate().any(|(i, a)| args[..i].iter().any(|b| a.index == b.index));
        if repeated { conditions.chunks(1).collect() } else { vec![conditions] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_numbers_of_x86_are_those_of_libseccomp() {
        let multiplexed = |n: &u32| {
            let name = ScmpSyscall::from(*n as i32).get_name_by_arch(ScmpArch::X86).ok()?;
            let multiplexed = matches!(number(&name, ScmpArch::X86), Some(Number::Multiplexed { .. }));
            multiplexed.then_some((name, *n))
        };
        let found: Vec<(String, u32)> = (0..1000).filter_map(|n| multiplexed(&n)).collect();
        assert_eq!(found, X86_DIRECT.map(|(name, n)| (name.to_owned(), n)));
        assert_eq!(number("socketcall", ScmpArch::X86), Some(Number::Plain(X86_SOCKETCALL)));
        assert_eq!(number("ipc", ScmpArch::X86), Some(Number::Plain(X86_IPC)));
    }

    #[test]
    fn names_resolve_as_each_architecture_has_them() {
        assert_eq!(number("read", ScmpArch::X8664), Some(Number::Plain(0)));
        assert_eq!(number("read", ScmpArch::X32), Some(Number::Plain(X32_BIT)));
        assert_eq!(number("socketcall", ScmpArch::X8664), Some(Number::Absent));
        let socket = Number::Multiplexed { through: 102, call: 1, direct: Some(359) };
        assert_eq!(number("socket", ScmpArch::X86), Some(socket));
        let semop = Number::Multiplexed { through: 117, call: 1, direct: None };
        assert_eq!(number("semop", ScmpArch::X86), Some(semop));
        assert_eq!(number("no_such_call", ScmpArch::X86), None);
    }
}
