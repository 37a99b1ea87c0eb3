//! `run`: create and start in one, and in the foreground also the wait and the delete.

use super::create::{self, Creation, Sockets, Starter};
use super::foreground::Foreground;
use super::notify::Relay;
use super::record::Record;
use super::terminal::Terminal;
use super::{Context, CreateArgs, RunArgs, delete, start};
use crate::ipc::ToInit;
use crate::security::seal;
use crate::store;
use crate::sys::{Call, process};
use crate::volumes::Remove;
use crate::{log, trace};
use anyhow::{Result, bail};
use std::os::fd::AsFd;

/// Runs a container. In the foreground: forwards signals and the terminal, waits, deletes, and returns the process's
/// exit code (128+n when signal n ended it). Detached: returns 0 as soon as the program runs.
pub fn run(context: &Context, args: &CreateArgs, run: &RunArgs) -> Result<i32> {
    seal::ensure(trace::variable())?;
    store::check_id(&args.id)?;
    let mut sockets = Sockets::connect(args)?;
    let (plan, host) = super::plan(context, args)?;
    let wants_terminal = plan.process.as_ref().is_some_and(|p| p.terminal);
    if plan.process.is_none() {
        bail!("cannot run: config.json has no `process`");
    }
    let terminal = match (wants_terminal, run.detach) {
        (true, false) if sockets.console.is_none() => {
            let (terminal, socket) = Terminal::prepare()?;
            sockets.console = Some(socket);
            Some(terminal)
        }
        _ => {
            sockets.check_terminal(&plan)?;
            None
        }
    };
    if !run.detach && !run.no_subreaper {
        process::set_child_subreaper().call(|| "prctl PR_SET_CHILD_SUBREAPER".into())?;
    }

    let creation = Creation::begin(context, args, plan, host, Starter::Creator, sockets.console.take())?;
    // Before the program starts: no signal is lost.
    let foreground = if run.detach { Ok(None) } else { Foreground::take_over(terminal).map(Some) };
    let foreground = creation.or_undo(foreground)?;
    let relay = creation.or_undo(Relay::listen(&creation.entry))?;
    creation.finish(args, sockets.pidfd.as_ref(), ToInit::Start)?;
    let Creation { entry, record, init, dialogue } = creation;
    trace::phase("wait for the program to be executed");
    let started = dialogue.hear_start(&init);
    // A hook's failure is dealt with in `after_start`.
    let failed_to_start = started.as_ref().is_err_and(|error| !create::failed_in_hook(error));
    // As `docker run --rm`: whoever waits for the end also takes away what was made for this one container. So does one
    // whose program never ran.
    let volumes = if run.keep || (run.detach && started.is_ok()) { Remove::No } else { Remove::Yes };
    let result = start::after_start(&entry, &record, Some(init.pid), started, volumes);
    if failed_to_start && !run.keep {
        // The program never ran: `run` leaves nothing, as a failed `create`.
        if let Err(error) = init.end().and_then(|()| delete::destroy(&entry, Some(&record), Remove::Yes)) {
            log::warn(format_args!("{}: after the failed start: {error:#}", record.id));
        }
    }
    result?;
    // Other commands may now work on the container, and one may delete it and create another under its id.
    let entry = entry.unlock()?;
    let Some(mut foreground) = foreground else {
        return relay.map_or(Ok(0), |relay| relay.wait(init.pid, init.pidfd.as_fd()).map(|()| 0));
    };
    foreground.relay(relay);
    trace::phase("wait for the program's end");
    let code = foreground.wait_for(&init)?;
    trace::phase("delete");
    if !run.keep
        && let Some(entry) = entry.lock_again()?
    {
        delete::destroy(&entry, Record::of(&entry)?.as_ref(), volumes)?;
    }
    Ok(code)
}
