//! HTTP/2 connections end when the client has read their end, not before.
//!
//! Once a connection has said GOAWAY and its last stream is over, Pingora closes the socket. Frames of the client's that
//! arrive then, such as WINDOW_UPDATE for what it has just read, are answered by the kernel with a reset, and a client
//! whose write fails gives up what it has not read yet. So the socket is kept open by a duplicate, and read until the
//! client closes it as well (RFC 9112 section 9.6 has the same for HTTP/1).

use std::io::{self, IoSlice};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use pingora::time::timeout;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::reply::{LINGER, LINGER_BYTES};
use crate::descriptors;

/// A duplicate of a connection.
pub struct Linger(OwnedFd);

impl Linger {
    /// Pingora's sockets show their numbers only, so the duplicate is made by a message to ourselves.
    pub fn on(socket: RawFd) -> io::Result<Self> {
        let (here, there) = UnixStream::pair()?;
        let mut received = Vec::new();
        descriptors::send(&here, &[IoSlice::new(&[0])], &[socket])?;
        descriptors::receive(&there, &mut [0], &mut received)?;
        received.pop().map(Self).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Says that nothing more comes, and waits for the client to do the same.
    pub async fn end(self) {
        let Ok(mut socket) = tokio::net::TcpStream::from_std(self.0.into()) else { return };
        let read = async {
            socket.shutdown().await?;
            tokio::io::copy(&mut socket.take(LINGER_BYTES as u64), &mut tokio::io::sink()).await
        };
        let _ = timeout(LINGER, read).await;
    }
}
