//! A connection to systemd: its own socket, or a message bus.
//!
//! One thread, blocking calls, a deadline on each. A D-Bus library whose connections live in an async runtime would
//! make the program larger by a seventh and start tasks that a process about to fork cannot have; the sockets below
//! need little: SASL EXTERNAL, calls, and one signal. What is intricate, the encoding, is zbus's.

use super::message::{self, Kind, Message, Method};
use crate::sys::{Call, Errno};
use anyhow::{Context, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, setsockopt};
use nix::sys::time::TimeVal;
use serde::Serialize;
use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use zbus::wire::DynamicType;

/// As libsystemd and libdbus wait for an answer.
const ANSWER: Duration = Duration::from_secs(25);
const BUS: &str = "org.freedesktop.DBus";

/// Somebody to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    place: Place,
    /// A message bus, which wants to be greeted and to be told of signals; else systemd itself.
    bus: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Path(PathBuf),
    Abstract(Vec<u8>),
}

/// systemd or the bus has refused a call.
#[derive(Debug)]
pub struct Refusal {
    /// Such as `org.freedesktop.systemd1.UnitExists`.
    pub name: String,
    pub text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text.trim_end_matches('.'), self.name)
    }
}

impl std::error::Error for Refusal {}

/// An open connection.
#[derive(Debug)]
pub struct Bus {
    socket: OwnedFd,
    bus: bool,
    last_serial: u32,
    /// Received and not yet looked at.
    buffer: Vec<u8>,
    /// That came while something else was waited for.
    signals: VecDeque<Message>,
    answer: Duration,
}

impl Address {
    pub fn direct(path: impl Into<PathBuf>) -> Address {
        Address { place: Place::Path(path.into()), bus: false }
    }

    pub fn bus(path: impl Into<PathBuf>) -> Address {
        Address { place: Place::Path(path.into()), bus: true }
    }

    /// The addresses of a bus, as in `DBUS_SESSION_BUS_ADDRESS` ("Server Addresses" of the D-Bus specification).
    pub fn parse(text: &str) -> Result<Vec<Address>> {
        let addresses =
            text.split(';').filter(|a| !a.is_empty()).map(Address::parse_one).collect::<Result<Vec<_>>>()?;
        if addresses.is_empty() {
            bail!("the address is empty");
        }
        Ok(addresses)
    }

    fn parse_one(text: &str) -> Result<Address> {
        let Some(("unix", keys)) = text.split_once(':') else { bail!("{text:?} is not the address of a unix socket") };
        for (key, value) in keys.split(',').filter_map(|pair| pair.split_once('=')) {
            let value = unescape(value).with_context(|| format!("address {text:?}"))?;
            match key {
                "path" => return Ok(Address::bus(os(value))),
                "abstract" => return Ok(Address { place: Place::Abstract(value), bus: true }),
                _ => {}
            }
        }
        bail!("address {text:?} has neither path nor abstract");
    }

    fn to_unix(&self) -> nix::Result<UnixAddr> {
        match &self.place {
            Place::Path(path) => UnixAddr::new(path),
            Place::Abstract(name) => UnixAddr::new_abstract(name),
        }
    }
}

fn os(bytes: Vec<u8>) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

/// `%2f` is a slash.
fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).and_then(|d| std::str::from_utf8(d).ok()).context("a bad escape")?;
        bytes.push(u8::from_str_radix(digits, 16).context("a bad escape")?);
        rest = &rest[2..];
    }
    Ok(bytes)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Path(path) => write!(f, "{}", path.display()),
            Place::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}

impl Bus {
    /// Connects to the first address where somebody is.
    pub fn connect(addresses: &[Address]) -> Result<Bus> {
        Bus::connect_within(addresses, ANSWER)
    }

    /// [`Bus::connect`] with another time for each answer.
    pub fn connect_within(addresses: &[Address], answer: Duration) -> Result<Bus> {
        let mut first = None;
        for address in addresses {
            match Bus::connect_to(address, answer) {
                Ok(bus) => return Ok(bus),
                Err(e) => _ = first.get_or_insert(e.context(format!("connect to {address}"))),
            }
        }
        Err(first.unwrap_or_else(|| anyhow!("there is no address to connect to")))
    }

    fn connect_to(address: &Address, answer: Duration) -> Result<Bus> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket =
            nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None).call(|| "socket".into())?;
        // A listener that accepts nobody must not hold us for ever: a full queue ends the connect with EAGAIN.
        let timeout = TimeVal::new(answer.as_secs() as i64, i64::from(answer.subsec_micros()));
        setsockopt(&socket, SendTimeout, &timeout).call(|| "setsockopt SO_SNDTIMEO".into())?;
        let unix = address.to_unix().call(|| "address".into())?;
        nix::sys::socket::connect(socket.as_raw_fd(), &unix).call(|| "connect".into())?;
        let bus = address.bus;
        let mut bus = Bus { socket, bus, last_serial: 0, buffer: Vec::new(), signals: VecDeque::new(), answer };
        bus.greet()?;
        Ok(bus)
    }

    /// SASL EXTERNAL without an identity, so that the socket's credentials count: in a user namespace our own idea of
    /// our uid is not theirs. Everything is sent at once.
    fn greet(&mut self) -> Result<()> {
        let mut bytes = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".to_vec();
        let method = |member| Method { destination: Some(BUS), path: "/org/freedesktop/DBus", interface: BUS, member };
        let mut hello = None;
        if self.bus {
            let serial = self.next_serial();
            bytes.extend(message::call(&method("Hello"), serial, &())?);
            hello = Some(serial);
            let rule = "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
                        interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
            let serial = self.next_serial();
            bytes.extend(message::call(&method("AddMatch"), serial, &rule)?);
        }
        let deadline = Instant::now() + self.answer;
        self.send(&bytes)?;
        loop {
            let line = self.line(deadline).context("authenticate")?;
            match line.split(' ').next().unwrap_or_default() {
                "DATA" => {}
                "OK" => break,
                "REJECTED" => bail!("access is denied: authentication as the current user is rejected"),
                _ => bail!("authenticate: unexpected answer {line:?}"),
            }
        }
        for serial in hello.into_iter().flat_map(|first| [first, first + 1]) {
            self.answer_to(serial, deadline).context("greet the bus")?;
        }
        Ok(())
    }

    /// The name of systemd, for those who need one.
    pub fn systemd(&self) -> Option<&'static str> {
        self.bus.then_some("org.freedesktop.systemd1")
    }

    fn next_serial(&mut self) -> u32 {
        self.last_serial += 1;
        self.last_serial
    }

    /// Sends a call; the answer is for [`Bus::wait`].
    pub fn post<T: Serialize + DynamicType>(&mut self, method: &Method, body: &T) -> Result<u32> {
        let serial = self.next_serial();
        let bytes = message::call(method, serial, body)?;
        self.send(&bytes)?;
        Ok(serial)
    }

    /// The answer to a call that was posted. Answers to others that come before are lost.
    pub fn wait(&mut self, serial: u32) -> Result<Message> {
        let deadline = Instant::now() + self.answer;
        self.answer_to(serial, deadline)
    }

    /// Calls and waits. A refusal is an error that can be downcast to [`Refusal`].
    pub fn call<T: Serialize + DynamicType>(&mut self, method: &Method, body: &T) -> Result<Message> {
        let serial = self.post(method, body)?;
        self.wait(serial).with_context(|| method.member)
    }

    fn answer_to(&mut self, wanted: u32, deadline: Instant) -> Result<Message> {
        loop {
            let message = self.message(deadline)?;
            match &message.kind {
                Kind::Return(serial) if *serial == wanted => return Ok(message),
                Kind::Error { serial, name } if *serial == wanted => {
                    return Err(Refusal { name: name.clone(), text: message.text() }.into());
                }
                Kind::Signal { .. } => self.signals.push_back(message),
                _ => {}
            }
        }
    }

    /// The next signal of this name.
    pub fn signal(&mut self, member: &str, deadline: Instant) -> Result<Message> {
        let wanted = |message: &Message| matches!(&message.kind, Kind::Signal { member: m } if m == member);
        while let Some(message) = self.signals.pop_front() {
            if wanted(&message) {
                return Ok(message);
            }
        }
        loop {
            let message = self.message(deadline)?;
            if wanted(&message) {
                return Ok(message);
            }
        }
    }

    fn send(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match nix::sys::socket::send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(length) => bytes = &bytes[length..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(anyhow!(TimedOut)),
                Err(e) => return Err(e).call(|| "send".into()),
            }
        }
        Ok(())
    }

    fn message(&mut self, deadline: Instant) -> Result<Message> {
        loop {
            if let Some(message) = Message::take(&mut self.buffer)? {
                return Ok(message);
            }
            self.receive(deadline)?;
        }
    }

    fn line(&mut self, deadline: Instant) -> Result<String> {
        const LONGEST: usize = 16 << 10;
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if self.buffer.len() > LONGEST {
                bail!("the other side does not speak D-Bus");
            }
            self.receive(deadline)?;
        }
    }

    fn receive(&mut self, deadline: Instant) -> Result<()> {
        let mut bytes = [0; 8192];
        loop {
            if !self.readable(deadline)? {
                return Err(anyhow!(TimedOut));
            }
            match nix::sys::socket::recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => bail!("the other side has closed the connection"),
                Ok(length) => {
                    self.buffer.extend_from_slice(&bytes[..length]);
                    return Ok(());
                }
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(e) => return Err(e).call(|| "recv".into()),
            }
        }
    }

    fn readable(&self, deadline: Instant) -> Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up: poll(2) counts milliseconds.
            let timeout = PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout) {
                Err(Errno::EINTR) => {}
                result => return result.call(|| "poll".into()).map(|ready| ready > 0),
            }
        }
    }
}

/// No answer came in time.
#[derive(Debug, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no answer in time")
    }
}

impl std::error::Error for TimedOut {}
