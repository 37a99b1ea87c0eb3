//! The notification fd on its way to a seccomp agent (config-linux.md, "The Container Process State").

use crate::ipc::socket;
use crate::sys::Call;
use anyhow::{Context, Result};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::Serialize;
use std::io::{IoSlice, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What is sent beside the fd.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProcessState<'a, S: Serialize> {
    pub oci_version: &'a str,
    /// Names of the fds, in their order.
    pub fds: [&'static str; 1],
    /// As the runtime sees it.
    pub pid: libc::pid_t,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub metadata: &'a str,
    /// The container's state as hooks get it.
    pub state: &'a S,
}

impl<'a, S: Serialize> ContainerProcessState<'a, S> {
    pub fn new(oci_version: &'a str, pid: libc::pid_t, metadata: &'a str, state: &'a S) -> Self {
        ContainerProcessState { oci_version, fds: ["seccompFd"], pid, metadata, state }
    }

    pub fn json(&self) -> Result<String> {
        serde_json::to_string(self).context("write the container process state as JSON")
    }
}

/// Sends `fd` and the state (JSON) to the agent that listens at `listener`, over a connection of its own which is closed
/// after it. The fd goes with the first byte.
pub fn send(listener: &Path, fd: BorrowedFd, state_json: &str) -> Result<()> {
    let describe = || format!("seccomp listener {}", listener.display());
    let mut stream = UnixStream::from(socket::connect_saying(listener, &|| "connect".into()).with_context(describe)?);
    let bytes = state_json.as_bytes();
    let fds = [fd.as_raw_fd()];
    let sent = sendmsg::<()>(
        stream.as_raw_fd(),
        &[IoSlice::new(bytes)],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .call(|| "sendmsg".into())
    .map_err(socket::no_answer)
    .with_context(describe)?;
    stream.write_all(&bytes[sent..]).call(|| "write".into()).map_err(socket::no_answer).with_context(describe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{ControlMessageOwned, recvmsg};
    use std::io::{IoSliceMut, Read};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;

    /// What arrives, and the number of the fd that came with it.
    fn receive(listener: &UnixListener) -> (String, i32) {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0u8; 16];
        let mut space = nix::cmsg_space!([i32; 2]);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let message =
            recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).unwrap();
        let Some(ControlMessageOwned::ScmRights(fds)) = message.cmsgs().unwrap().next() else { panic!("no fd") };
        let (fd, count) = (fds[0], message.bytes);
        let mut text = String::from_utf8(buffer[..count].to_vec()).unwrap();
        stream.read_to_string(&mut text).unwrap();
        (text, fd)
    }

    #[test]
    fn the_agent_gets_the_fd_and_the_state() {
        let long = "d".repeat(120);
        for name in ["short", long.as_str()] {
            let directory = std::env::temp_dir().join(format!("notify-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&directory).unwrap();
            let path = directory.join("agent.sock");
            // The listener of the test needs a short path too.
            let here = std::fs::File::open(&directory).unwrap();
            let listener = UnixListener::bind(format!("/proc/self/fd/{}/agent.sock", here.as_raw_fd())).unwrap();
            let (reader, writer) = nix::unistd::pipe().unwrap();
            let state = serde_json::json!({"id": "c", "status": "creating"});
            let json = ContainerProcessState::new("1.3.0", 42, "m", &state).json().unwrap();
            send(&path, writer.as_fd(), &json).unwrap();
            let (text, fd) = receive(&listener);
            let expected = r#"{"ociVersion":"1.3.0","fds":["seccompFd"],"pid":42,"metadata":"m","state":{"id":"c","status":"creating"}}"#;
            assert_eq!(text, expected);
            drop(writer);
            std::fs::write(format!("/proc/self/fd/{fd}"), "x").unwrap();
            nix::unistd::close(fd).unwrap();
            let mut got = String::new();
            std::fs::File::from(reader).read_to_string(&mut got).unwrap();
            assert_eq!(got, "x");
            std::fs::remove_dir_all(&directory).unwrap();
        }
    }

    #[test]
    fn without_an_agent_it_is_an_error() {
        let (_, writer) = nix::unistd::pipe().unwrap();
        let error = send(Path::new("/nonexistent/agent"), writer.as_fd(), "{}").unwrap_err();
        let text = "seccomp listener /nonexistent/agent: connect: no such file or directory (ENOENT)";
        assert_eq!(format!("{error:#}"), text);
        let json = ContainerProcessState::new("1.3.0", 1, "", &()).json().unwrap();
        assert!(!json.contains("metadata"));
    }
}
