//! From the plan's filter to a BPF program.

use super::architecture::{Architecture, architectures};
use super::{bpf, enosys, generate};
use crate::plan::seccomp::{Action, Arg, Compare, Filter, Rule};
use anyhow::{Context, Result, ensure};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{Read, Seek};

/// What the kernel takes at most (`BPF_MAXINSNS`).
const MOST_INSTRUCTIONS: usize = 4096;

/// Compiles a filter to the `sock_filter` records that [`super::load`] takes. Names of system calls that libseccomp does
/// not know are left out, as in runc: profiles name calls of newer kernels and of other architectures.
pub fn compile(filter: &Filter) -> Result<Vec<u8>> {
    compile_explained(filter).map(|(program, _)| program)
}

/// As [`compile`], with the reason if the program had to come from libseccomp: it then is larger and slower to load.
pub fn compile_explained(filter: &Filter) -> Result<(Vec<u8>, Option<String>)> {
    let architectures = architectures(filter)?;
    let (program, reason) = match generate::generate(filter, &architectures) {
        Ok(program) => (program, None),
        Err(reason) => (through_libseccomp(filter, &architectures)?, Some(reason.to_string())),
    };
    let count = program.len() / size_of::<bpf::Instruction>();
    ensure!(
        count <= MOST_INSTRUCTIONS,
        "the filter compiles to {count} instructions, more than the kernel's {MOST_INSTRUCTIONS}"
    );
    Ok((program, reason))
}

/// The program that libseccomp makes for exactly these architectures, with ENOSYS for newer calls in front.
pub fn through_libseccomp(filter: &Filter, architectures: &[Architecture]) -> Result<Vec<u8>> {
    let program = libseccomp_program(filter, architectures)?;
    Ok(if enosys::applies_to(filter) { enosys::prepend(filter, architectures, &program) } else { program })
}

fn libseccomp_program(filter: &Filter, architectures: &[Architecture]) -> Result<Vec<u8>> {
    let default = filter.default_action;
    let mut context = ScmpFilterContext::new(scmp_action(default))
        .with_context(|| format!("make a filter with the default action {default:?}"))?;
    for architecture in architectures {
        context.add_arch(architecture.scmp).with_context(|| format!("add architecture {:?}", architecture.scmp))?;
    }
    // A new filter has the native architecture, wanted or not.
    if architectures.iter().all(|a| a.scmp != ScmpArch::native()) {
        context.remove_arch(ScmpArch::Native).context("remove the native architecture")?;
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
        for all_of in rule.alternatives(&conditions) {
            context
                .add_rule_conditional(action, syscall, all_of)
                .with_context(|| format!("add a rule for {name}: {:?} {:?}", rule.action, rule.args))?;
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn arg(index: u8, op: Compare, value: u64) -> Arg {
        Arg { index, op, value, value_two: 0 }
    }

    fn filter(rules: Vec<(&str, Action, Vec<Arg>)>) -> Filter {
        let rule = |(name, action, args): (&str, Action, Vec<Arg>)| Rule { names: vec![name.to_owned()], action, args };
        let rules = rules.into_iter().map(rule).collect();
        Filter { default_action: Action::Errno(1), architectures: vec![], rules }
    }

    #[test]
    fn rules_whose_order_matters_go_through_libseccomp() {
        let first = ("socket", Action::Errno(22), vec![arg(0, Compare::Equal, 16)]);
        let clear = filter(vec![first.clone(), ("socket", Action::Allow, vec![arg(0, Compare::NotEqual, 16)])]);
        assert_eq!(compile_explained(&clear).unwrap().1, None);
        let unclear = filter(vec![first, ("socket", Action::Allow, vec![arg(1, Compare::Equal, 1)])]);
        let reason = compile_explained(&unclear).unwrap().1.unwrap();
        assert!(reason.contains("is libseccomp's to decide"), "{reason}");
        // And what it cannot decide either is an error, as with runc.
        let first = ("socket", Action::Errno(22), vec![arg(0, Compare::Equal, 16), arg(2, Compare::Equal, 9)]);
        let contradiction = filter(vec![first, ("socket", Action::Allow, vec![arg(0, Compare::Equal, 16)])]);
        let error = format!("{:#}", compile(&contradiction).unwrap_err());
        assert!(error.starts_with("add a rule for socket: Allow"), "{error}");
    }

    #[test]
    fn architectures_are_checked() {
        let with =
            |name: &str| Filter { architectures: vec![name.into()], ..filter(vec![("read", Action::Allow, vec![])]) };
        let error = compile(&with("SCMP_ARCH_NOPE")).unwrap_err().to_string();
        assert_eq!(error, "unknown architecture \"SCMP_ARCH_NOPE\"");
        // One that our generator leaves to libseccomp, and one of another byte order.
        assert!(compile_explained(&with("SCMP_ARCH_MIPSEL64")).unwrap().1.is_some());
        let error = format!("{:#}", compile(&with("SCMP_ARCH_S390X")).unwrap_err());
        assert!(error.starts_with("add architecture S390X"), "{error}");
        compile(&with("SCMP_ARCH_NATIVE")).unwrap();
    }

    #[test]
    fn a_filter_that_the_kernel_would_not_take_is_refused() {
        let rules = (0..3000).map(|value| ("read", Action::Allow, vec![arg(0, Compare::Equal, value)])).collect();
        let error = compile(&filter(rules)).unwrap_err().to_string();
        assert!(error.ends_with("more than the kernel's 4096"), "{error}");
    }
}
