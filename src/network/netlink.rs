//! rtnetlink requests on one socket: links and addresses.
//!
//! netlink-packet-core writes and reads the headers and attributes. The two fixed structures, `ifinfomsg` and
//! `ifaddrmsg`, are built here. Attributes of an address are passed on as they came.

use crate::sys::{Call, Errno, net};
use anyhow::{Context, Result, anyhow, ensure};
use netlink_packet_core::{
    DefaultNla, Emitable, ErrorBuffer, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, Nla,
    NlasIterator, Parseable,
};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_DUMP_INTR: u16 = 0x10;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
}

/// An address of an interface: `ifaddrmsg` and its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix_length: u8,
    flags: u32,
    scope: u8,
    index: u32,
    attributes: Vec<DefaultNla>,
}

impl Address {
    /// Configured by somebody for good, and valid everywhere: not from DHCP or router advertisements, not link-local.
    pub fn is_permanent_and_global(&self) -> bool {
        const RT_SCOPE_UNIVERSE: u8 = 0;
        self.flags & libc::IFA_F_PERMANENT != 0 && self.scope == RT_SCOPE_UNIVERSE
    }

    /// The bytes of IFA_LOCAL or IFA_ADDRESS.
    #[cfg(test)]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let of = |kind| self.attributes.iter().find(move |a| a.kind() == kind).map(value_of);
        of(libc::IFA_LOCAL).or_else(|| of(libc::IFA_ADDRESS))
    }
}

fn value_of(attribute: &DefaultNla) -> Vec<u8> {
    let mut value = vec![0; attribute.value_len()];
    attribute.emit_value(&mut value);
    value
}

/// A NETLINK_ROUTE socket. It stays in the network namespace that it was made in.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// In the network namespace of the calling thread.
    pub fn open() -> Result<Socket> {
        let protocol = SockProtocol::NetlinkRoute;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
            .call(|| "socket NETLINK_ROUTE".into())?;
        net::enable_extended_errors(fd.as_fd()).call(|| "setsockopt NETLINK_EXT_ACK".into())?;
        Ok(Socket { fd, sequence: 0 })
    }

    /// The interface with this name; ENODEV if there is none.
    pub fn link(&mut self, name: &str) -> Result<Link> {
        let request = [text(libc::IFLA_IFNAME, name)];
        let reply = self.request(libc::RTM_GETLINK, 0, &ifinfomsg(0, 0, 0), &request).context("RTM_GETLINK")?;
        let payload = reply.first().context("RTM_GETLINK: no answer")?;
        parse_link(payload)
    }

    /// All interfaces.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let reply = self.request(libc::RTM_GETLINK, NLM_F_DUMP, &ifinfomsg(0, 0, 0), &[]).context("RTM_GETLINK")?;
        reply.iter().map(|payload| parse_link(payload)).collect()
    }

    /// All addresses of an interface, of every family, in the kernel's order.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<Address>> {
        let reply = self.request(libc::RTM_GETADDR, NLM_F_DUMP, &[0; 8], &[]).context("RTM_GETADDR")?;
        let mut addresses = reply.iter().map(|p| parse_address(p)).collect::<Result<Vec<_>>>()?;
        addresses.retain(|address| address.index == index);
        Ok(addresses)
    }

    /// Moves an interface into another network namespace under a name, in one step.
    pub fn move_link(&mut self, index: u32, name: &str, netns: BorrowedFd) -> Result<()> {
        let fd = u32::try_from(netns.as_raw_fd()).context("network namespace fd")?;
        let request = [text(libc::IFLA_IFNAME, name), DefaultNla::new(libc::IFLA_NET_NS_FD, fd.to_ne_bytes().into())];
        self.request(libc::RTM_SETLINK, NLM_F_ACK, &ifinfomsg(index, 0, 0), &request).context("RTM_SETLINK").map(drop)
    }

    /// Sets an interface up.
    pub fn set_up(&mut self, index: u32) -> Result<()> {
        let up = libc::IFF_UP as u32;
        let message = ifinfomsg(index, up, up);
        self.request(libc::RTM_SETLINK, NLM_F_ACK, &message, &[]).context("RTM_SETLINK up").map(drop)
    }

    /// Adds an address that another interface had, with what belongs to it wherever it is.
    pub fn add_address(&mut self, index: u32, address: &Address) -> Result<()> {
        const NLM_F_CREATE_NEW: u16 = 0x0400 | 0x0200; // NLM_F_CREATE | NLM_F_EXCL
        const IFA_RT_PRIORITY: u16 = 9;
        const IFA_PROTO: u16 = 11;
        const MOVED: [u16; 6] =
            [libc::IFA_ADDRESS, libc::IFA_LOCAL, libc::IFA_BROADCAST, libc::IFA_ANYCAST, IFA_RT_PRIORITY, IFA_PROTO];
        // The other flags are states that the kernel finds out anew.
        const IFA_F_NOPREFIXROUTE: u32 = 0x200;
        const IFA_F_MCAUTOJOIN: u32 = 0x400;
        let flags =
            address.flags & (libc::IFA_F_NODAD | libc::IFA_F_HOMEADDRESS | IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN);
        let mut message = vec![address.family, address.prefix_length, 0, address.scope];
        message.extend_from_slice(&index.to_ne_bytes());
        let mut attributes: Vec<DefaultNla> =
            address.attributes.iter().filter(|a| MOVED.contains(&a.kind())).cloned().collect();
        attributes.push(DefaultNla::new(libc::IFA_FLAGS, flags.to_ne_bytes().into()));
        self.request(libc::RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE_NEW, &message, &attributes)
            .context("RTM_NEWADDR")
            .map(drop)
    }

    /// Sends a request and returns the payloads of its answers (none for a mere acknowledgement).
    pub fn request(&mut self, kind: u16, flags: u16, fixed: &[u8], attributes: &[DefaultNla]) -> Result<Vec<Vec<u8>>> {
        // A dump that changes under way is asked for again.
        for _ in 0..16 {
            self.send(kind, flags | NLM_F_REQUEST, fixed, attributes)?;
            if let Some(answers) = self.receive(flags & NLM_F_DUMP == NLM_F_DUMP)? {
                return Ok(answers);
            }
        }
        Err(anyhow!("the list kept changing while it was read"))
    }

    fn send(&mut self, kind: u16, flags: u16, fixed: &[u8], attributes: &[DefaultNla]) -> Result<()> {
        let length = HEADER + fixed.len() + attributes.buffer_len();
        let mut message = vec![0; length];
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.length = u32::try_from(length)?;
        header.message_type = kind;
        header.flags = flags;
        header.sequence_number = self.sequence;
        header.emit(&mut message[..HEADER]);
        message[HEADER..HEADER + fixed.len()].copy_from_slice(fixed);
        attributes.emit(&mut message[HEADER + fixed.len()..]);
        send(self.fd.as_raw_fd(), &message, MsgFlags::empty()).call(|| "send".into()).map(drop)
    }

    /// `None` if the dump was interrupted by a change.
    fn receive(&mut self, dump: bool) -> Result<Option<Vec<Vec<u8>>>> {
        // The kernel writes dumps in pieces of at most 32 KiB.
        let mut buffer = vec![0; 64 << 10];
        let mut answers = Answers { sequence: self.sequence, dump, payloads: Vec::new(), interrupted: false };
        loop {
            let size = recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC).call(|| "recv".into())?;
            let datagram = buffer.get(..size).context("an answer of netlink is too long")?;
            if answers.read(datagram)? {
                return Ok((!answers.interrupted).then_some(answers.payloads));
            }
        }
    }
}

/// The answers to one request, as they arrive.
struct Answers {
    sequence: u32,
    dump: bool,
    payloads: Vec<Vec<u8>>,
    /// The list changed while the kernel wrote it.
    interrupted: bool,
}

impl Answers {
    /// Reads one datagram; true when the answer is complete.
    fn read(&mut self, datagram: &[u8]) -> Result<bool> {
        let mut rest = datagram;
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest)?;
            let next = (message.length() as usize).next_multiple_of(4).min(rest.len());
            rest = &rest[next..];
            if message.sequence_number() != self.sequence {
                continue;
            }
            self.interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
            match message.message_type() {
                NLMSG_DONE => return Ok(true),
                NLMSG_ERROR => {
                    acknowledged(message.payload())?;
                    return Ok(true);
                }
                _ => self.payloads.push(message.payload().to_vec()),
            }
        }
        // A single object comes without an acknowledgement.
        Ok(!self.dump && !self.payloads.is_empty())
    }
}

/// Reads any bytes as a datagram of answers: they are understood, or an error.
#[cfg(any(test, fuzzing))]
pub fn check_answers(datagram: &[u8]) {
    for dump in [false, true] {
        let mut answers = Answers { sequence: 1, dump, payloads: Vec::new(), interrupted: false };
        let Ok(_complete) = answers.read(datagram) else { continue };
        for payload in &answers.payloads {
            if let Ok(link) = parse_link(payload) {
                assert!(!link.name.contains('\0'), "{link:?}");
            }
            if let Ok(address) = parse_address(payload) {
                let _one_or_the_other = address.is_permanent_and_global();
            }
        }
    }
}

/// `struct nlmsgerr`: the errno, the header of the request, and attributes with the kernel's message.
fn acknowledged(payload: &[u8]) -> Result<()> {
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let error = ErrorBuffer::new_checked(payload)?;
    let Some(code) = error.code() else { return Ok(()) };
    let attributes = error.payload().get(HEADER..).unwrap_or_default();
    let message = NlasIterator::new(attributes).map_while(Result::ok).find(|a| a.kind() == NLMSGERR_ATTR_MSG);
    Err(Errno::from_raw(code.get().saturating_neg())).call(|| match &message {
        Some(message) => format!("netlink: {}", String::from_utf8_lossy(message.value()).trim_end_matches('\0')),
        None => "netlink".into(),
    })
}

fn text(kind: u16, value: &str) -> DefaultNla {
    let mut bytes = value.as_bytes().to_vec();
    bytes.push(0);
    DefaultNla::new(kind, bytes)
}

/// `struct ifinfomsg`: family, type, index, flags, and which flags change.
pub fn ifinfomsg(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut message = [0; 16];
    message[4..8].copy_from_slice(&index.to_ne_bytes());
    message[8..12].copy_from_slice(&flags.to_ne_bytes());
    message[12..16].copy_from_slice(&change.to_ne_bytes());
    message
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes.get(at..at + 4).context("an answer of netlink is too short")?;
    Ok(u32::from_ne_bytes(bytes.try_into()?))
}

fn attributes(payload: &[u8], fixed: usize) -> Result<Vec<DefaultNla>> {
    let attributes = payload.get(fixed..).context("an answer of netlink is too short")?;
    NlasIterator::new(attributes).map(|nla| Ok(DefaultNla::parse(&nla?)?)).collect()
}

fn parse_link(payload: &[u8]) -> Result<Link> {
    let attributes = attributes(payload, 16)?;
    let name = attributes.iter().find(|a| a.kind() == libc::IFLA_IFNAME).context("an interface without a name")?;
    let mut name = value_of(name);
    ensure!(
        name.pop() == Some(0) && !name.contains(&0),
        "the name of an interface does not end with its only zero byte"
    );
    Ok(Link { index: word(payload, 4)?, name: String::from_utf8_lossy(&name).into_owned() })
}

fn parse_address(payload: &[u8]) -> Result<Address> {
    let attributes = attributes(payload, 8)?;
    let flags = attributes.iter().find(|a| a.kind() == libc::IFA_FLAGS);
    let flags = flags.map_or(Ok(u32::from(payload[2])), |a| word(&value_of(a), 0))?;
    Ok(Address {
        family: payload[0],
        prefix_length: payload[1],
        flags,
        scope: payload[3],
        index: word(payload, 4)?,
        attributes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_damaged_answers_are_errors() {
        assert!(parse_link(&[0; 8]).is_err());
        assert!(parse_link(&[0; 16]).unwrap_err().to_string().contains("without a name"));
        assert!(parse_address(&[0; 4]).is_err());
        // An attribute that claims to be longer than the message.
        let mut message = vec![0; 16];
        message.extend_from_slice(&[200, 0, 3, 0, b'l', b'o', 0, 0]);
        assert!(parse_link(&message).is_err());
        // A name with a zero byte in the middle, at which a program in C would end it.
        let mut message = vec![0; 16];
        message.extend_from_slice(&[8, 0, 3, 0, b'l', 0, b'o', 0]);
        assert!(parse_link(&message).unwrap_err().to_string().contains("zero byte"));
        let error = acknowledged(&(-libc::EPERM).to_ne_bytes()).unwrap_err().to_string();
        assert_eq!(error, "netlink: operation not permitted (EPERM)");
    }
}
