//! Descriptors over a unix socket (`SCM_RIGHTS`, unix(7)), without unsafe code of ours: nix sends, since Pingora's sockets
//! show their numbers only; rustix receives, since it gives descriptors that have an owner.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{sendmsg, ControlMessage, MsgFlags};
use rustix::net::{recvmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

/// Descriptors in one message.
const MOST: usize = 64;

/// Sends bytes, and `fds` with the first of them. How many bytes went.
pub fn send(socket: &UnixStream, bytes: &[IoSlice], fds: &[RawFd]) -> io::Result<usize> {
    let rights = [ControlMessage::ScmRights(fds)];
    let rights = if fds.is_empty() { &rights[..0] } else { &rights[..] };
    Ok(sendmsg::<()>(socket.as_raw_fd(), bytes, rights, MsgFlags::MSG_NOSIGNAL, None)?)
}

/// Receives bytes, and the descriptors that came with them. How many bytes came.
pub fn receive(socket: &UnixStream, into: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(into)], &mut rights, flags) {
            Err(rustix::io::Errno::INTR) => {}
            got => break got?,
        }
    };
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    Ok(got.bytes)
}
