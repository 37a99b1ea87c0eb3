//! criu(8) as a program that is spoken to: finding it, its RPC over a socket (`criu swrk`), and its log.
//!
//! Knows nothing of containers: what is dumped or restored, and what is done when criu asks, is the caller's.

mod log;
mod message;

pub use log::last_errors;
pub use message::{
    CgroupRoot, ExternalMount, Features, InheritFd, JoinNamespace, Kind, Notify, Options, PageServer, Request, Response,
};

use crate::sys::socket::receive_message;
use crate::sys::{Call, Errno, process};
use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use prost::Message;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The name of the program.
pub const PROGRAM: &str = "criu";

/// criu 3.15: the first that knows external pid namespaces and tells when lazy pages are ready.
const OLDEST: i32 = 31500;

/// No answer of criu is as long.
const LONGEST: usize = 64 * 1024;

/// The criu of this machine.
#[derive(Debug)]
pub struct Criu {
    program: PathBuf,
    version: i32,
}

impl Criu {
    /// The first `criu` in `PATH`, if it is new enough.
    pub fn find() -> Result<Criu> {
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/sbin:/usr/bin:/sbin:/bin"));
        let executable = |file: &PathBuf| {
            file.is_absolute() && file.is_file() && nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok()
        };
        let Some(program) = std::env::split_paths(&path).map(|dir| dir.join(PROGRAM)).find(executable) else {
            bail!("criu: not found in PATH: install criu (package `criu`, version 3.15 or later)");
        };
        let mut criu = Criu { program, version: 0 };
        criu.version = criu.ask_version()?;
        ensure!(
            criu.version >= OLDEST,
            "{}: version {} is too old: 3.15 or later is needed",
            criu.program.display(),
            shown(criu.version)
        );
        Ok(criu)
    }

    /// Refuses a criu that is older than `wanted` (31600 is 3.16), which `what` needs.
    pub fn ensure_version(&self, wanted: i32, what: &str) -> Result<()> {
        ensure!(
            self.version >= wanted,
            "{what} needs criu {} or later, and {} is {}",
            shown(wanted),
            self.program.display(),
            shown(self.version)
        );
        Ok(())
    }

    fn ask_version(&self) -> Result<i32> {
        let request = Request { kind: Kind::Version as i32, ..Request::default() };
        let answer = self.ask(&request).context("ask criu for its version")?;
        let version = answer.version.context("criu does not tell its version")?;
        Ok(version.major * 10_000 + version.minor * 100 + version.sublevel.unwrap_or(0))
    }

    /// Asks whether criu and the kernel have what is `true` in `wanted`.
    pub fn features(&self, wanted: Features) -> Result<Features> {
        let request = Request { kind: Kind::FeatureCheck as i32, features: Some(wanted), ..Request::default() };
        let answer = self.ask(&request).context("ask criu for its features")?;
        answer.features.context("criu does not tell its features")
    }

    fn ask(&self, request: &Request) -> Result<Response> {
        let mut worker = self.start()?;
        let answer = worker.conversation.hold(request, &mut |_: &Notify, _| Ok(()));
        let end = worker.finish();
        let answer = answer?;
        end?;
        Ok(answer)
    }

    /// Starts a criu that waits for one request, with nothing on its standard streams. Directories that the request
    /// names are ours, by their numbers: criu opens them in the process that has made the socket.
    pub fn start(&self) -> Result<Worker> {
        let (conversation, theirs) = Conversation::pair()?;
        fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty())).call(|| "fcntl F_SETFD".into())?;
        let mut command = Command::new(&self.program);
        command.arg("swrk").arg(theirs.as_raw_fd().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        process::with_default_signals(&mut command);
        let child = command.spawn().call(|| format!("exec {}", self.program.display()))?;
        Ok(Worker { conversation, child })
    }

    /// For a child of ours that is to become criu.
    pub fn program(&self) -> Result<Program> {
        let text = |text: &OsStr| CString::new(text.as_bytes()).context("a NUL byte");
        let variable = |(name, value): (OsString, OsString)| text(&[name, value].join(OsStr::new("=")));
        Ok(Program {
            path: text(self.program.as_os_str())?,
            environment: std::env::vars_os().map(variable).collect::<Result<_>>()?,
        })
    }
}

/// The path and the environment, as execve(2) takes them.
#[derive(Debug)]
pub struct Program {
    pub path: CString,
    pub environment: Vec<CString>,
}

/// `31700` is 3.17, `40101` is 4.1.1.
fn shown(version: i32) -> String {
    let (major, minor, sublevel) = (version / 10_000, version / 100 % 100, version % 100);
    if sublevel == 0 { format!("{major}.{minor}") } else { format!("{major}.{minor}.{sublevel}") }
}

/// A criu that is our child.
#[derive(Debug)]
pub struct Worker {
    pub conversation: Conversation,
    child: Child,
}

impl Worker {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Hangs up and waits for the end; whether criu ended well.
    pub fn finish(self) -> Result<bool> {
        let Worker { conversation, mut child } = self;
        drop(conversation);
        Ok(child.wait().call(|| "wait for criu".into())?.success())
    }
}

/// Our end of the socket.
#[derive(Debug)]
pub struct Conversation {
    socket: OwnedFd,
}

/// Who has called criu.
pub trait Caller {
    /// Does what is to be done when criu stops to tell something, perhaps with an open file. An error makes criu give up
    /// and take back.
    fn answer(&mut self, notify: &Notify, file: Option<OwnedFd>) -> Result<()>;

    /// What is readable when criu will not say anything any more, though it is there.
    fn watched(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl<F: FnMut(&Notify, Option<OwnedFd>) -> Result<()>> Caller for F {
    fn answer(&mut self, notify: &Notify, file: Option<OwnedFd>) -> Result<()> {
        self(notify, file)
    }
}

impl Conversation {
    /// Over our end of a socket pair, whose other end a criu has.
    pub fn over(socket: OwnedFd) -> Conversation {
        Conversation { socket }
    }

    /// Our end, and that for criu.
    fn pair() -> Result<(Conversation, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .call(|| "socketpair".into())?;
        Ok((Conversation { socket: ours }, theirs))
    }

    /// Sends the request, answers what criu tells on the way, and returns its final answer.
    ///
    /// # Errors
    /// Criu failed (its own words, if it has some), is gone or stuck, or an answer failed, whose error is the one told.
    pub fn hold(&mut self, request: &Request, caller: &mut dyn Caller) -> Result<Response> {
        self.say(request)?;
        let mut buffer = vec![0; LONGEST];
        let mut failed = None;
        loop {
            if !self.is_heard(caller.watched())? {
                let stuck = Refusal { errno: 0, message: Some("it waits for what it has killed".into()) };
                return Err(failed.unwrap_or_else(|| stuck.into()));
            }
            let (length, file) =
                receive_message(self.socket.as_fd(), &mut buffer).call(|| "receive from criu".into())?;
            if length == 0 {
                let ended = Refusal { errno: 0, message: Some("it ended before it answered".into()) };
                return Err(failed.unwrap_or_else(|| ended.into()));
            }
            let response = Response::decode(&buffer[..length]).context("criu's answer is not understood")?;
            if response.kind != Kind::Notify as i32 {
                return match (failed, response.success) {
                    (Some(error), _) => Err(error),
                    (None, true) => Ok(response),
                    (None, false) => Err(Refusal::of(&response).into()),
                };
            }
            let notify = response.notify.unwrap_or_default();
            // After the first failure criu is only heard out.
            if failed.is_none() {
                failed = caller.answer(&notify, file).err();
            }
            let success = Some(failed.is_none());
            self.say(&Request { kind: Kind::Notify as i32, notify_success: success, ..Request::default() })?;
        }
    }

    /// Waits for criu's next word, or its end; false when what is watched says that nothing will come.
    fn is_heard(&self, watched: Option<BorrowedFd>) -> Result<bool> {
        let Some(watched) = watched else { return Ok(true) };
        loop {
            let mut fds = [self.socket.as_fd(), watched].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                result => {
                    result.call(|| "poll".into())?;
                    return Ok(fds[0].any().unwrap_or(false));
                }
            }
        }
    }

    fn say(&self, request: &Request) -> Result<()> {
        send(self.socket.as_raw_fd(), &request.encode_to_vec(), MsgFlags::MSG_NOSIGNAL)
            .call(|| "send to criu".into())
            .map(drop)
    }
}

/// Criu has failed, by its own word or by its end; its log says why.
#[derive(Debug)]
pub struct Refusal {
    errno: i32,
    message: Option<String>,
}

impl Refusal {
    fn of(response: &Response) -> Refusal {
        let message = response.message.as_deref().map(str::trim).filter(|text| !text.is_empty());
        Refusal { errno: response.errno.unwrap_or(0), message: message.map(str::to_owned) }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.message {
            Some(message) => write!(f, "criu failed: {message}"),
            None => write!(f, "criu failed: errno {}", self.errno),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &OwnedFd) -> Request {
        let mut buffer = vec![0; LONGEST];
        let (length, _) = receive_message(socket.as_fd(), &mut buffer).unwrap();
        Request::decode(&buffer[..length]).unwrap()
    }

    fn say(socket: &OwnedFd, response: &Response) {
        send(socket.as_raw_fd(), &response.encode_to_vec(), MsgFlags::empty()).unwrap();
    }

    #[test]
    fn what_criu_asks_is_answered() {
        let (mut ours, theirs) = Conversation::pair().unwrap();
        let notify = Notify { script: Some("network-lock".into()), pid: None };
        say(
            &theirs,
            &Response { kind: Kind::Notify as i32, success: true, notify: Some(notify), ..Default::default() },
        );
        say(&theirs, &Response { kind: Kind::Dump as i32, success: true, ..Default::default() });
        let mut heard = Vec::new();
        let request = Request { kind: Kind::Dump as i32, ..Request::default() };
        ours.hold(&request, &mut |notify: &Notify, _| {
            heard.push(notify.script().to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(heard, ["network-lock"]);
        assert_eq!(receive(&theirs), request);
        assert_eq!(receive(&theirs).notify_success, Some(true));
    }

    #[test]
    fn our_own_failure_is_the_one_that_is_told() {
        let (mut ours, theirs) = Conversation::pair().unwrap();
        say(&theirs, &Response { kind: Kind::Notify as i32, success: true, ..Default::default() });
        say(&theirs, &Response { kind: Kind::Restore as i32, success: false, ..Default::default() });
        let error = ours.hold(&Request::default(), &mut |_: &Notify, _| bail!("a hook")).unwrap_err();
        assert_eq!(error.to_string(), "a hook");
        receive(&theirs);
        assert_eq!(receive(&theirs).notify_success, Some(false));
    }

    #[test]
    fn a_criu_that_is_gone_is_an_error() {
        let (mut ours, theirs) = Conversation::pair().unwrap();
        let message = Some("no such task\n".into());
        say(&theirs, &Response { kind: Kind::Dump as i32, success: false, message, ..Default::default() });
        let error = ours.hold(&Request::default(), &mut |_: &Notify, _| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "criu failed: no such task");
        receive(&theirs);
        drop(theirs);
        assert!(ours.hold(&Request::default(), &mut |_: &Notify, _| Ok(())).is_err());
    }

    #[test]
    fn nobody_waits_for_a_criu_that_will_say_nothing() {
        struct Watching(OwnedFd);
        impl Caller for Watching {
            fn answer(&mut self, _: &Notify, _: Option<OwnedFd>) -> Result<()> {
                Ok(())
            }

            fn watched(&self) -> Option<BorrowedFd<'_>> {
                Some(self.0.as_fd())
            }
        }
        let (mut ours, theirs) = Conversation::pair().unwrap();
        let (end, other) = nix::unistd::pipe().unwrap();
        drop(other);
        // What it has said already is heard.
        say(&theirs, &Response { kind: Kind::Notify as i32, success: true, ..Default::default() });
        let error = ours.hold(&Request::default(), &mut Watching(end)).unwrap_err();
        assert_eq!(error.to_string(), "criu failed: it waits for what it has killed");
        receive(&theirs);
        assert_eq!(receive(&theirs).notify_success, Some(true));
    }

    #[test]
    fn versions_are_shown_as_criu_shows_them() {
        assert_eq!([shown(31500), shown(40101)], ["3.15", "4.1.1"]);
    }
}
