//! What two processes say to each other while one takes over from the other: frames of JSON on a unix socket, with
//! descriptors beside some of them.
//!
//! A frame is its length as four bytes, little end first, then JSON. Descriptors ride on the length (`SCM_RIGHTS`), so
//! that they belong to exactly one frame: the kernel ends a read before the bytes that carry the next ones.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clients;
use crate::descriptors;
use crate::gateway::Learned;
use crate::routing::{Ledger, Note};

/// The version of these messages. Two processes that differ in it cannot take over from each other.
pub const PROTOCOL: u32 = 3;
/// A longer frame is none.
const MOST: usize = 1 << 30;

/// One message.
#[derive(Serialize, Deserialize)]
pub enum Message {
    /// From the one that starts the new process: its number.
    Started(u32),
    /// From the new process: its configuration is good, and its routes are built.
    Hello { protocol: u32, version: String },
    /// From the new process: it cannot serve.
    Unfit(String),
    /// From the old process: the listening sockets, by their places.
    Sockets(Vec<String>),
    /// From the new process: it has answered a request.
    Proven,
    /// From the old process: something that it has learned.
    Learned(Learned),
    /// From the old process: it admits nothing any more, and this is what it remembers.
    Estate(Box<Estate>),
    /// From the new process: it serves from now on.
    Serving,
    /// From the old process: the service manager has been told.
    Main,
    /// From the new process: it leaves in order, so its end is no reason for the old one to come back.
    Parting,
    /// From the old process: something has become of one of its streams.
    Note(Note),
    /// From the old process: one of its requests has changed what its client has used.
    Used(clients::Note),
    /// From the old process: a client's connection, who it is from, and what has been read of its next request.
    Connection { caller: Option<SocketAddr>, prefix: Vec<u8> },
}

/// What an old process leaves.
#[derive(Serialize, Deserialize)]
pub struct Estate {
    /// What its pool remembers.
    pub ledger: Ledger,
    /// The pool's first moment, in nanoseconds of the system's monotonic clock.
    pub epoch: u128,
    /// What its clients have used, and the first moment of that, as `epoch`.
    pub clients: (clients::Ledger, u128),
    /// What its credentials' keys are, as digests, by their names.
    pub identities: std::collections::HashMap<String, String>,
    /// Access tokens: the credential's name, the value, and for how long it is good.
    pub tokens: Vec<(String, String, Duration)>,
    /// How many processes took over from one another before.
    pub generation: u32,
}

impl Message {
    /// What kind it is. There is no `Debug`, since some hold secrets.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Started(_) => "started",
            Self::Hello { .. } => "hello",
            Self::Unfit(_) => "unfit",
            Self::Sockets(_) => "sockets",
            Self::Proven => "proven",
            Self::Learned(_) => "learned",
            Self::Estate(_) => "estate",
            Self::Serving => "serving",
            Self::Main => "main",
            Self::Parting => "parting",
            Self::Note(_) => "note",
            Self::Used(_) => "used",
            Self::Connection { .. } => "connection",
        }
    }
}

/// Sends a message.
pub fn send(mut socket: &UnixStream, message: &Message, fds: &[RawFd]) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidData)?.to_le_bytes();
    // In one piece as far as it goes, since two processes may speak at this end.
    let sent = descriptors::send(socket, &[IoSlice::new(&length), IoSlice::new(&body)], fds)?;
    socket.write_all(length.get(sent..).unwrap_or_default())?;
    socket.write_all(body.get(sent.saturating_sub(length.len())..).unwrap_or_default())
}

/// Receives a message and its descriptors; none at the end.
pub fn receive(mut socket: &UnixStream) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    let mut fds = Vec::new();
    let mut length = [0; 4];
    let mut read = 0;
    while read < length.len() {
        match descriptors::receive(socket, &mut length[read..], &mut fds)? {
            0 if read == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            some => read += some,
        }
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body)?;
    Ok(Some((serde_json::from_slice(&body)?, fds)))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Seek;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn descriptors_arrive_with_their_own_frame() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut files: Vec<File> = (0..2).map(|_| tempfile::tempfile().unwrap()).collect();
        files[1].write_all(b"second").unwrap();
        send(&here, &Message::Proven, &[]).unwrap();
        let caller = "192.0.2.1:4711".parse().ok();
        let connection = |prefix| Message::Connection { caller, prefix };
        send(&here, &connection(vec![1]), &[files[0].as_raw_fd()]).unwrap();
        send(&here, &connection(vec![2; 100_000]), &[files[1].as_raw_fd()]).unwrap();
        drop(here);
        let (first, none) = receive(&there).unwrap().unwrap();
        assert!(matches!(first, Message::Proven) && none.is_empty());
        assert_eq!(receive(&there).unwrap().unwrap().1.len(), 1);
        let (third, mut fds) = receive(&there).unwrap().unwrap();
        let Message::Connection { caller: arrived, prefix } = third else { panic!("{}", third.kind()) };
        assert_eq!((arrived, prefix.len()), (caller, 100_000));
        let mut file = File::from(fds.remove(0));
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "second");
        assert!(receive(&there).unwrap().is_none());
    }
}
