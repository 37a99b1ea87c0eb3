//! From the plan's filter to a BPF program.

use super::bpf;
use super::enosys;
use crate::plan::seccomp::{Action, Arg, Compare, Filter, Rule};
use anyhow::{Context, Result, anyhow, ensure};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{Read, Seek};

/// What the kernel takes at most (`BPF_MAXINSNS`).
const MOST_INSTRUCTIONS: usize = 4096;

/// Compiles a filter to the `sock_filter` records that [`super::load`] takes. Names of system calls that libseccomp does
/// not know are left out, as in runc: profiles name calls of newer kernels and of other architectures.
pub fn compile(filter: &Filter) -> Result<Vec<u8>> {
    let architectures = architectures(filter)?;
    let mut program = through_libseccomp(filter, &architectures)?;
    if enosys::applies_to(filter) {
        program = enosys::prepend(filter, &architectures, &program);
    }
    let count = program.len() / size_of::<bpf::Instruction>();
    ensure!(
        count <= MOST_INSTRUCTIONS,
        "the filter compiles to {count} instructions, more than the kernel's {MOST_INSTRUCTIONS}"
    );
    Ok(program)
}

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
fn architectures(filter: &Filter) -> Result<Vec<Architecture>> {
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

fn through_libseccomp(filter: &Filter, architectures: &[Architecture]) -> Result<Vec<u8>> {
    let default = filter.default_action;
    let mut context = ScmpFilterContext::new(scmp_action(default))
        .with_context(|| format!("make a filter with the default action {default:?}"))?;
    for architecture in architectures {
        context.add_arch(architecture.scmp).with_context(|| format!("add architecture {:?}", architecture.scmp))?;
    }
    let names: usize = filter.rules.iter().map(|rule| rule.names.len()).sum();
    if names > 32 {
        // A binary tree over the numbers. libseccomp before 2.5.5 breaks without any rule, and a few need no tree.
        context.set_ctl_optimize(2).context("set the optimisation level")?;
    }
    // Nothing is loaded through this context, so its own attributes (no_new_privs among them) have no effect.
    for rule in &filter.rules {
        // libseccomp refuses a rule that says what the default says.
        if rule.action != default {
            add_rule(&mut context, rule)?;
        }
    }
    export(&context)
}

fn add_rule(context: &mut ScmpFilterContext, rule: &Rule) -> Result<()> {
    let action = scmp_action(rule.action);
    let conditions: Vec<ScmpArgCompare> = rule.args.iter().map(condition).collect();
    for name in &rule.names {
        let Ok(syscall) = ScmpSyscall::from_name(name) else { continue };
        for all_of in alternatives(&rule.args, &conditions) {
            context
                .add_rule_conditional(action, syscall, all_of)
                .with_context(|| format!("add a rule for {name}: {:?} {:?}", rule.action, rule.args))?;
        }
    }
    Ok(())
}

/// The conditions of a rule must all hold, unless two are about the same argument: then each makes a rule of its own.
/// That is how runc has always read profiles; libseccomp itself takes an argument once a rule.
pub fn alternatives<'a, T>(args: &[Arg], conditions: &'a [T]) -> Vec<&'a [T]> {
    let repeated = args.iter().enumerate().any(|(i, a)| args[..i].iter().any(|b| a.index == b.index));
    if repeated { conditions.chunks(1).collect() } else { vec![conditions] }
}

fn scmp_action(action: Action) -> ScmpAction {
    match action {
        Action::KillThread => ScmpAction::KillThread,
        Action::KillProcess => ScmpAction::KillProcess,
        Action::Trap => ScmpAction::Trap,
        Action::Errno(errno) => ScmpAction::Errno(errno.into()),
        Action::Notify => ScmpAction::Notify,
        Action::Trace(message) => ScmpAction::Trace(message),
        Action::Log => ScmpAction::Log,
        Action::Allow => ScmpAction::Allow,
    }
}

/// `SECCOMP_RET_ERRNO` with its data.
pub fn errno(number: u16) -> u32 {
    0x0005_0000 | u32::from(number)
}

fn condition(arg: &Arg) -> ScmpArgCompare {
    let (op, datum) = match arg.op {
        Compare::NotEqual => (ScmpCompareOp::NotEqual, arg.value),
        Compare::Less => (ScmpCompareOp::Less, arg.value),
        Compare::LessOrEqual => (ScmpCompareOp::LessOrEqual, arg.value),
        Compare::Equal => (ScmpCompareOp::Equal, arg.value),
        Compare::GreaterOrEqual => (ScmpCompareOp::GreaterEqual, arg.value),
        Compare::Greater => (ScmpCompareOp::Greater, arg.value),
        Compare::MaskedEqual => (ScmpCompareOp::MaskedEqual(arg.value), arg.value_two),
    };
    ScmpArgCompare::new(arg.index.into(), op, datum)
}

/// libseccomp writes a program to an fd. A memfd takes any size, where a pipe would block.
fn export(context: &ScmpFilterContext) -> Result<Vec<u8>> {
    let memory = memfd_create("seccomp", MFdFlags::MFD_CLOEXEC).context("memfd_create")?;
    context.export_bpf(&memory).context("export the filter")?;
    let mut file = File::from(memory);
    let mut program = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut program)).context("read the exported filter")?;
    Ok(program)
}
