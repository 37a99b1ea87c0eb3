//! Network interfaces of the container: its loopback, and the host's interfaces that move into it.
//!
//! Knows nothing of how an interface is made or configured otherwise; that is the work of engines and their plugins.

mod netlink;

use crate::plan::NetDevice;
use crate::sys::{Call, Errno, errno_of, net, ns};
use anyhow::{Context, Result, ensure};
use netlink::{Link, Socket};
use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, BorrowedFd};

/// Sets `lo` of a new network namespace up, called in that namespace.
pub fn loopback_up() -> Result<()> {
    // Any socket will do; a unix one is the cheapest.
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .call(|| "set lo up: socket".into())?;
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    net::set_interface_flags(socket.as_fd(), "lo", flags).call(|| "set lo up: ioctl SIOCSIFFLAGS".into())
}

/// Moves interfaces of the caller's network namespace into `netns`, each under its name there, with its permanent
/// addresses of global scope, and sets them up (config-linux.md, "Network Devices"). They are not moved back: the
/// kernel does that for physical ones when the namespace ends.
///
/// The calling thread visits `netns` for the moment in which a socket is made there.
pub fn move_devices(devices: &[NetDevice], netns: BorrowedFd) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let mut outside = Socket::open()?;
    let mut inside = socket_in(netns)?;
    for device in devices {
        move_device(device, &mut outside, &mut inside, netns)
            .with_context(|| format!("linux.netDevices[{:?}]", device.host_name))?;
    }
    Ok(())
}

/// [`loopback_up`] in another network namespace, which the calling thread visits for it.
pub fn loopback_up_in(netns: BorrowedFd) -> Result<()> {
    visit(netns, loopback_up)
}

fn socket_in(netns: BorrowedFd) -> Result<Socket> {
    visit(netns, Socket::open)
}

fn visit<T>(netns: BorrowedFd, action: impl FnOnce() -> Result<T>) -> Result<T> {
    const NEWNET: u64 = libc::CLONE_NEWNET as u64;
    let own = nix::fcntl::open("/proc/thread-self/ns/net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .call(|| "open own network namespace".into())?;
    ns::setns(netns, NEWNET).call(|| "setns to the container's network namespace".into())?;
    let result = action();
    // To stay behind would be worse than to fail.
    ns::setns(own.as_fd(), NEWNET).call(|| "setns back to the own network namespace".into())?;
    result
}

fn move_device(device: &NetDevice, outside: &mut Socket, inside: &mut Socket, netns: BorrowedFd) -> Result<()> {
    let link = outside.link(&device.host_name).map_err(|error| match errno_of(&error) {
        Some(Errno::ENODEV) => error.context("there is no such interface on the host"),
        _ => error,
    })?;
    // Before the move: it takes the addresses away.
    let addresses = outside.addresses(link.index)?;
    let name = free_name(&device.container_name, &inside.links()?)?;
    outside.move_link(link.index, &name, netns).with_context(|| format!("move to the container as {name}"))?;
    let moved = inside.link(&name)?;
    for address in addresses.iter().filter(|a| a.is_permanent_and_global()) {
        inside.add_address(moved.index, address).context("put back an address")?;
    }
    inside.set_up(moved.index).context("set up in the container")
}

/// The name of a moved interface. A `%d` in it stands for the first number that is free, as the kernel understands it;
/// any other name must be free.
fn free_name(wanted: &str, links: &[Link]) -> Result<String> {
    let taken = |name: &str| links.iter().any(|link| link.name == name);
    let name = match wanted.split_once("%d") {
        // One number more than there are interfaces is certainly free.
        Some((front, back)) => {
            (0..=links.len()).map(|n| format!("{front}{n}{back}")).find(|n| !taken(n)).unwrap_or_default()
        }
        None => wanted.to_owned(),
    };
    ensure!(!taken(&name), "the container already has an interface {name}");
    ensure!(!name.is_empty() && name.len() < libc::IFNAMSIZ, "{name:?} is not a name of an interface");
    Ok(name)
}

#[cfg(any(test, fuzzing))]
pub(crate) use netlink::check_answers;

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::{DefaultNla, Emitable, NLM_F_ACK};
    use std::os::fd::OwnedFd;

    fn own_namespace() -> OwnedFd {
        ns::unshare(libc::CLONE_NEWNET as u64).unwrap();
        nix::fcntl::open("/proc/thread-self/ns/net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).unwrap()
    }

    /// Runs `test` in a thread with a network namespace of its own, beside another one.
    fn between(test: impl FnOnce(OwnedFd) + Send + 'static) {
        let inside = std::thread::spawn(own_namespace).join().unwrap();
        let run = move || {
            own_namespace();
            test(inside);
        };
        std::thread::spawn(run).join().unwrap();
    }

    fn add_veth(socket: &mut Socket, name: &str) -> u32 {
        const CREATE: u16 = 0x400 | 0x200;
        const IFLA_INFO_KIND: u16 = 1;
        let kind = DefaultNla::new(IFLA_INFO_KIND, b"veth\0".to_vec());
        let mut nested = vec![0; kind.buffer_len()];
        kind.emit(&mut nested);
        let attributes = [
            DefaultNla::new(libc::IFLA_IFNAME, format!("{name}\0").into_bytes()),
            DefaultNla::new(libc::IFLA_LINKINFO, nested),
        ];
        let message = netlink::ifinfomsg(0, 0, 0);
        socket.request(libc::RTM_NEWLINK, NLM_F_ACK | CREATE, &message, &attributes).unwrap();
        socket.link(name).unwrap().index
    }

    fn add_address(socket: &mut Socket, index: u32, bytes: &[u8], prefix: u8, scope: u8, valid: Option<u32>) {
        let family = if bytes.len() == 4 { libc::AF_INET } else { libc::AF_INET6 };
        let mut message = vec![family as u8, prefix, 0, scope];
        message.extend_from_slice(&index.to_ne_bytes());
        let mut attributes =
            vec![DefaultNla::new(libc::IFA_LOCAL, bytes.into()), DefaultNla::new(libc::IFA_ADDRESS, bytes.into())];
        if let Some(seconds) = valid {
            // struct ifa_cacheinfo: preferred, valid, created, updated.
            let words = [seconds, seconds, 0, 0];
            let info: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
            attributes.push(DefaultNla::new(libc::IFA_CACHEINFO, info));
        }
        socket.request(libc::RTM_NEWADDR, NLM_F_ACK | 0x600, &message, &attributes).unwrap();
    }

    fn device(host: &str, container: &str) -> NetDevice {
        NetDevice { host_name: host.into(), container_name: container.into() }
    }

    fn flags(name: &str) -> u32 {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        assert!(text.contains(name), "{text}");
        let addresses = nix::ifaddrs::getifaddrs().unwrap();
        addresses.filter(|a| a.interface_name == name).map(|a| a.flags.bits() as u32).next().unwrap()
    }

    #[test]
    fn loopback_of_a_new_namespace_comes_up() {
        let run = || {
            own_namespace();
            assert_eq!(flags("lo") & libc::IFF_UP as u32, 0);
            loopback_up().unwrap();
            assert_ne!(flags("lo") & libc::IFF_UP as u32, 0);
        };
        std::thread::spawn(run).join().unwrap();
    }

    #[test]
    fn a_device_moves_with_its_permanent_addresses() {
        between(|netns| {
            let mut outside = Socket::open().unwrap();
            let index = add_veth(&mut outside, "d0");
            outside.set_up(index).unwrap();
            let v6 = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
            add_address(&mut outside, index, &[10, 9, 8, 7], 24, 0, None);
            add_address(&mut outside, index, &[10, 9, 8, 8], 24, 0, None);
            add_address(&mut outside, index, &v6, 64, 0, None);
            // Not moved: one that runs out, one of link scope, and the link-local one that the kernel has made.
            add_address(&mut outside, index, &[10, 1, 1, 1], 24, 0, Some(600));
            add_address(&mut outside, index, &[10, 2, 2, 2], 24, 253, None);
            move_devices(&[device("d0", "eth0")], netns.as_fd()).unwrap();

            assert_eq!(errno_of(&outside.link("d0").unwrap_err()), Some(Errno::ENODEV));
            let mut inside = socket_in(netns.as_fd()).unwrap();
            let moved = inside.link("eth0").unwrap();
            let addresses = inside.addresses(moved.index).unwrap();
            let global: Vec<_> =
                addresses.iter().filter(|a| a.is_permanent_and_global()).filter_map(|a| a.bytes()).collect();
            assert_eq!(global, [vec![10, 9, 8, 7], vec![10, 9, 8, 8], v6.to_vec()]);
            assert!(!addresses.iter().any(|a| a.bytes().is_some_and(|b| b == [10, 1, 1, 1] || b == [10, 2, 2, 2])));
            ns::setns(netns.as_fd(), libc::CLONE_NEWNET as u64).unwrap();
            assert_ne!(flags("eth0") & libc::IFF_UP as u32, 0);
        });
    }

    #[test]
    fn a_name_that_is_taken_is_refused_before_the_move() {
        between(|netns| {
            let mut outside = Socket::open().unwrap();
            for name in ["d0", "d1", "d2"] {
                add_veth(&mut outside, name);
            }
            move_devices(&[device("d0", "eth0")], netns.as_fd()).unwrap();
            let error = move_devices(&[device("d1", "eth0")], netns.as_fd()).unwrap_err();
            let text = "linux.netDevices[\"d1\"]: the container already has an interface eth0";
            assert_eq!(format!("{error:#}"), text);
            outside.link("d1").unwrap();
            move_devices(&[device("d1", "eth%d"), device("d2", "d2")], netns.as_fd()).unwrap();
            let names: Vec<_> =
                socket_in(netns.as_fd()).unwrap().links().unwrap().into_iter().map(|l| l.name).collect();
            assert!(["eth0", "eth1", "d2"].iter().all(|n| names.iter().any(|m| m == n)), "{names:?}");
        });
    }

    #[test]
    fn what_cannot_move_is_an_error_that_names_it() {
        between(|netns| {
            let error = |host: &str| format!("{:#}", move_devices(&[device(host, "x0")], netns.as_fd()).unwrap_err());
            let text = "linux.netDevices[\"nope\"]: there is no such interface on the host: RTM_GETLINK: netlink: no such device (ENODEV)";
            assert_eq!(error("nope"), text);
            assert!(error("lo").starts_with("linux.netDevices[\"lo\"]: move to the container as x0: RTM_SETLINK"));
        });
    }

    #[test]
    fn names_with_a_number_take_the_first_free_one() {
        let link = |name: &str| Link { index: 1, name: name.into() };
        let links = [link("lo"), link("eth0"), link("eth2")];
        assert_eq!(free_name("eth%d", &links).unwrap(), "eth1");
        assert_eq!(free_name("net%d", &links).unwrap(), "net0");
        assert!(free_name("lo", &links).is_err());
        assert!(free_name("", &links).is_err());
        assert!(free_name("a-name-that-is-too-long", &links).is_err());
    }
}
