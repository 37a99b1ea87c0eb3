//! `run`: create and start in one, and in the foreground also the wait and the delete.

use super::create::{self, Creation, Sockets, Starter};
use super::dialogue::InitProcess;
use super::foreground::Foreground;
use super::notify::Relay;
use super::record::Record;
use super::terminal::Terminal;
use super::{Context, CreateArgs, RunArgs, delete, start};
use crate::security::seal;
use crate::store::{self, Entry};
use crate::sys::{Call, process};
use crate::volumes::Remove;
use crate::{log, trace};
use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use std::os::fd::AsFd;

/// Runs a container. In the foreground: forwards signals and the terminal, waits, deletes, and returns the process's
/// exit code (128+n when signal n ended it). Detached: returns 0 as soon as the program runs.
pub fn run(context: &Context, args: &CreateArgs, run: &RunArgs) -> Result<i32> {
    let seal = seal::ensure(trace::variable())?;
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

    let console = sockets.console.take();
    let mut beginning = Beginning { args, run, sockets, terminal, foreground: None, relay: None, is_known: false };
    let mut before_start = |entry: &Entry, init: &InitProcess| beginning.before_start(entry, init);
    let creation = Creation::begin(context, args, plan, host, seal, Starter::Creator(&mut before_start), console);
    if creation.is_err() && beginning.is_known {
        create::remove_pid_file(args);
    }
    let Creation { entry, record, init, dialogue, seal } = creation?;
    let Beginning { foreground, relay, .. } = beginning;
    trace::phase("wait for the program to be executed");
    let started = dialogue.hear_start(&init);
    // A hook's failure is dealt with in `after_start`.
    let failed_to_start = started.as_ref().is_err_and(|error| !create::failed_in_hook(error));
    // As `docker run --rm`: whoever waits for the end also takes away what was made for this one container. So does one
    // whose program never ran.
    let volumes = if run.keep || (run.detach && started.is_ok()) { Remove::WithContainer } else { Remove::Yes };
    let result = start::after_start(&entry, &record, Some(init.pid), started, volumes);
    if failed_to_start && !run.keep {
        // The program never ran: `run` leaves nothing, as a failed `create`.
        if let Err(error) = init.end().and_then(|()| delete::destroy(&entry, Some(&record), Remove::Yes)) {
            log::warn(format_args!("{}: after the failed start: {error:#}", record.id));
        }
    }
    result?;
    let edition = entry.edition()?;
    // Other commands may now work on the container, and one may delete it and create another under its id.
    let entry = entry.unlock()?;
    let Some(mut foreground) = foreground else {
        return relay.map_or(Ok(0), |relay| relay.wait(init.pid, init.pidfd.as_fd()).map(|()| 0));
    };
    drop(seal);
    foreground.relay(relay);
    trace::phase("wait for the program's end");
    let code = foreground.wait_for(&init)?;
    if code == 128 + Signal::SIGKILL as i32
        && let Some(why) = record.want_of_memory()
    {
        log::warn(format_args!("{}: {why}", record.id));
    }
    trace::phase("delete");
    if !run.keep
        && let Some(entry) = entry.lock_again()?
    {
        let record = if entry.edition()? == edition { Some(record) } else { Record::of(&entry)? };
        delete::clear_away(&entry, record.as_ref(), volumes)?;
    }
    Ok(code)
}

/// What comes before the program starts, while init does its last steps.
struct Beginning<'a> {
    args: &'a CreateArgs,
    run: &'a RunArgs,
    sockets: Sockets,
    /// The caller's, until it is joined with the container's.
    terminal: Option<Terminal>,
    foreground: Option<Foreground>,
    relay: Option<Relay>,
    is_known: bool,
}

impl Beginning<'_> {
    fn before_start(&mut self, entry: &Entry, init: &InitProcess) -> Result<()> {
        if !self.run.detach {
            // No signal is lost.
            self.foreground = Some(Foreground::take_over(self.terminal.take())?);
        }
        self.relay = Relay::listen(entry)?;
        create::publish(entry, init, self.args, self.sockets.pidfd.as_ref())?;
        self.is_known = true;
        Ok(())
    }
}
