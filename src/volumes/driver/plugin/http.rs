//! One HTTP request to a plugin and its answer, over a connection that ends with it.
//!
//! The protocol is ureq-proto's, which does no I/O; the socket and the deadline are ours: each wait ends with it.

use crate::sys::{Call as _, Errno};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use ureq_proto::BodyMode;
use ureq_proto::client::{Call, RecvResponseResult, SendRequestResult, state};
use ureq_proto::http::Request;

/// No answer of a plugin is larger.
const LARGEST: usize = 16 << 20;

/// What Docker sends as the version of the protocol.
const VERSION: &str = "application/vnd.docker.plugins.v1.2+json";

/// The end of all waiting.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    end: Instant,
    limit: Duration,
}

impl Deadline {
    pub fn after(limit: Duration) -> Deadline {
        Deadline { end: Instant::now() + limit, limit }
    }

    /// What is left, never zero (which a socket takes for no limit).
    fn left(&self) -> Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        ensure!(left > Duration::from_micros(1), self.passed());
        Ok(left)
    }

    fn passed(&self) -> String {
        format!("timed out after {} s", self.limit.as_secs_f32())
    }
}

/// A connection to a plugin.
#[derive(Debug)]
pub enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// What a plugin answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Connection {
    /// Connects to a socket of the host.
    pub fn to_socket(path: &Path, deadline: Deadline) -> Result<Connection> {
        let what = || format!("connect {}", path.display());
        let fd =
            socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).call(|| "socket".into())?;
        // A backlog that is full would hold us (unix(7)).
        let left = deadline.left()?;
        let left = TimeVal::new(left.as_secs().try_into().unwrap_or(i64::MAX), left.subsec_micros().into());
        setsockopt(&fd, sockopt::SendTimeout, &left).call(|| "setsockopt SO_SNDTIMEO".into())?;
        match connect(fd.as_raw_fd(), &UnixAddr::new(path).call(what)?) {
            Err(Errno::EAGAIN) => bail!("{}: {}", what(), deadline.passed()),
            connected => connected.call(what)?,
        }
        Ok(Connection::Unix(fd.into()))
    }

    pub fn to_address(address: SocketAddr, deadline: Deadline) -> Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, deadline.left()?).call(|| format!("connect {address}"))?;
        Ok(Connection::Tcp(stream))
    }

    /// Sends `POST path` with a body of JSON and waits for the whole answer.
    pub fn post(mut self, path: &str, host: &str, body: &[u8], deadline: Deadline) -> Result<Answer> {
        let request = Request::post(path)
            .header("Host", host)
            .header("Accept", VERSION)
            .header("Content-Type", VERSION)
            .header("Content-Length", body.len())
            .header("Connection", "close")
            .body(())
            .context("make a request")?;
        let request = Call::new(request).context("make a request")?;
        let response = self.send(request, body, deadline)?;
        self.receive(response, deadline)
    }

    fn send(
        &mut self,
        request: Call<state::Prepare>,
        body: &[u8],
        deadline: Deadline,
    ) -> Result<Call<state::RecvResponse>> {
        let mut buffer = vec![0; 16 << 10];
        let mut head = request.proceed();
        while !head.can_proceed() {
            let length = head.write(&mut buffer).context("make a request")?;
            self.write_all(&buffer[..length], deadline)?;
        }
        let mut call = match head.proceed().context("make a request")? {
            Some(SendRequestResult::SendBody(call)) => call,
            Some(SendRequestResult::RecvResponse(call)) => return Ok(call),
            Some(SendRequestResult::Await100(_)) | None => bail!("make a request"),
        };
        let mut rest = body;
        while !call.can_proceed() {
            let (used, length) = call.write(rest, &mut buffer).context("make a request")?;
            rest = &rest[used..];
            self.write_all(&buffer[..length], deadline)?;
        }
        call.proceed().context("make a request")
    }

    fn receive(&mut self, mut call: Call<state::RecvResponse>, deadline: Deadline) -> Result<Answer> {
        let nonsense = "the answer is not HTTP";
        let mut input = Vec::new();
        let response = loop {
            let (used, response) = call.try_response(&input, false).context(nonsense)?;
            input.drain(..used);
            if let Some(response) = response {
                break response;
            }
            // Something that was skipped, an interim answer, may have been followed by the real one.
            if used == 0 {
                ensure!(self.read_more(&mut input, deadline)?, "the connection was closed without an answer");
            }
        };
        let mut answer = Answer { status: response.status().as_u16(), body: Vec::new() };
        let mut call = match call.proceed() {
            Some(RecvResponseResult::RecvBody(call)) => call,
            Some(_) => return Ok(answer),
            None => bail!(nonsense),
        };
        let mut buffer = vec![0; 16 << 10];
        let mut open = true;
        loop {
            let (used, length) = call.read(&input, &mut buffer).context(nonsense)?;
            input.drain(..used);
            answer.body.extend_from_slice(&buffer[..length]);
            ensure!(answer.body.len() <= LARGEST, "the answer is larger than {LARGEST} bytes");
            let ended = match call.body_mode() {
                BodyMode::CloseDelimited => !open && input.is_empty(),
                _ => call.can_proceed() || call.is_ended_chunked(),
            };
            if ended {
                return Ok(answer);
            }
            if used == 0 && length == 0 {
                ensure!(open, "the connection was closed in the middle of an answer");
                open = self.read_more(&mut input, deadline)?;
            }
        }
    }

    fn write_all(&mut self, mut bytes: &[u8], deadline: Deadline) -> Result<()> {
        while !bytes.is_empty() {
            let left = Some(deadline.left()?);
            let written = match self {
                Connection::Unix(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(bytes)),
                Connection::Tcp(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(bytes)),
            };
            match written {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => bail!(deadline.passed()),
                written => bytes = &bytes[written.call(|| "write".into())?..],
            }
        }
        Ok(())
    }

    /// Appends what has come; false at the end of the stream.
    fn read_more(&mut self, input: &mut Vec<u8>, deadline: Deadline) -> Result<bool> {
        ensure!(input.len() <= LARGEST, "the answer is larger than {LARGEST} bytes");
        let mut buffer = [0; 16 << 10];
        loop {
            let left = Some(deadline.left()?);
            let read = match self {
                Connection::Unix(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(&mut buffer)),
                Connection::Tcp(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(&mut buffer)),
            };
            match read {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => bail!(deadline.passed()),
                read => {
                    let length = read.call(|| "read".into())?;
                    input.extend_from_slice(&buffer[..length]);
                    return Ok(length > 0);
                }
            }
        }
    }
}

/// The answer that a plugin gives with these bytes before it hangs up.
#[cfg(any(test, fuzzing))]
pub fn answer_of(bytes: &[u8]) -> Result<Answer> {
    let (ours, mut theirs) = UnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    // What the socket's buffer does not take was never sent.
    let _sent = theirs.write(bytes)?;
    theirs.shutdown(std::net::Shutdown::Write)?;
    Connection::Unix(ours).post("/Plugin.Activate", "h", b"{}", Deadline::after(Duration::from_secs(1)))
}
