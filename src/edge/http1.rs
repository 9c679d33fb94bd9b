//! The answer of an HTTP/1 upstream: its head, then its body, piece by piece.
//!
//! Pingora's client session keeps a page of its read buffer, the buffer of the head and two maps of headers for as long
//! as an answer lasts: 13 KiB for a stream that mostly waits (figures in tests/FIGURES.md). Here bytes are read onto
//! the stack and only the body's own are kept, so that a stream that waits holds nothing, and the head goes when the
//! client has got it. Connecting, TLS and the pool stay Pingora's.
//!
//! What the bytes mean is said by `framing`.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{ready, Poll};

use bytes::{Buf, Bytes, BytesMut};
use pingora::http::ResponseHeader;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use super::framing::{parse, Body};
use super::front::blank_line;
use crate::providers::Transport;

const MOST_READ: usize = 32 * 1024;
const MOST_HEAD: usize = 256 * 1024;

/// A connection on which a request has been written.
pub struct Http1 {
    stream: Stream,
    /// Read, and neither head nor body yet.
    unread: BytesMut,
    head: Option<Box<ResponseHeader>>,
    body: Body,
}

impl Http1 {
    /// Waits for an answer on `stream`.
    pub fn new(stream: Stream) -> Self {
        Self { stream, unread: BytesMut::new(), head: None, body: Body::none() }
    }

    /// The head, once it is read and as long as it is kept.
    pub fn response(&self) -> Option<&ResponseHeader> {
        self.head.as_deref()
    }

    /// Drops the head.
    pub fn forget_head(&mut self) {
        self.head = None;
    }

    /// Reads the next head. Nothing is lost when the wait for it is given up.
    pub async fn read_head(&mut self) -> Result<(), Transport> {
        let mut searched = 0;
        loop {
            if let Some(end) = blank_line(&self.unread, searched) {
                // A copy, so that the head's memory and the body's go when they are done with.
                let read = Bytes::copy_from_slice(self.unread.get(..end).unwrap_or_default());
                self.unread.advance(read.len());
                let head = parse(&read).ok_or(Transport::Malformed)?;
                self.body = Body::of(&head).ok_or(Transport::Malformed)?;
                self.head = Some(Box::new(head));
                return Ok(());
            }
            searched = self.unread.len().saturating_sub(3);
            if searched > MOST_HEAD {
                return Err(Transport::Malformed);
            }
            let unread = &mut self.unread;
            let more = |bytes: &mut [u8]| {
                unread.extend_from_slice(bytes);
                bytes.len()
            };
            if read_once::<MOST_READ, _>(&mut self.stream, more).await? == 0 {
                return Err(Transport::Reset);
            }
        }
    }

    /// The head was a consent to another protocol: what follows is that, until the connection ends,
    pub fn switch(&mut self) {
        self.body = Body::until_close();
    }

    /// and goes both ways.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Transport> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        write.await.map_err(|_: std::io::Error| Transport::Reset)
    }

    /// The next piece of the body; `None` at its end. Nothing is lost when the wait for it is given up.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Transport> {
        let Self { stream, unread, body, .. } = self;
        let mut chunk = Bytes::new();
        if !unread.is_empty() {
            let (piece, used) = body.take(unread)?;
            unread.advance(used);
            if unread.is_empty() {
                // Its memory goes, too.
                *unread = BytesMut::new();
            }
            chunk = piece;
        }
        while chunk.is_empty() && !body.is_over() {
            let read = |bytes: &mut [u8]| {
                let (piece, used) = body.take(bytes)?;
                unread.extend_from_slice(bytes.get(used..).unwrap_or_default());
                Ok(piece)
            };
            chunk = read_once::<MOST_READ, _>(stream, read).await??;
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// The connection, if another request may follow on it.
    pub fn into_reusable(self) -> Option<Stream> {
        (self.body.is_over() && self.body.keeps() && self.unread.is_empty()).then_some(self.stream)
    }
}

/// Reads once, at most `MOST` bytes. The buffer is there only while there is something to read.
pub async fn read_once<const MOST: usize, T>(
    stream: &mut Stream,
    mut take: impl FnMut(&mut [u8]) -> T,
) -> Result<T, Transport> {
    poll_fn(|cx| {
        let mut scratch = [MaybeUninit::uninit(); MOST];
        let mut read = ReadBuf::uninit(&mut scratch);
        let polled = ready!(Pin::new(&mut *stream).poll_read(cx, &mut read));
        Poll::Ready(polled.map(|()| take(read.filled_mut())).map_err(|_| Transport::Reset))
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::io::{duplex, AsyncReadExt, DuplexStream};

    use super::*;

    fn line() -> (DuplexStream, Http1) {
        let (upstream, ours) = duplex(64 * 1024);
        (upstream, Http1::new(Box::new(ours)))
    }

    /// Status, body and whether the connection may be used again; `closes` ends the connection behind `wire`.
    async fn read(wire: &[u8], closes: bool) -> Result<(u16, Vec<u8>, bool), Transport> {
        let (mut upstream, mut answer) = line();
        upstream.write_all(wire).await.map_err(|_| Transport::LocalFault)?;
        let _open = (!closes).then_some(upstream);
        answer.read_head().await?;
        let status = answer.response().map(|head| head.status.as_u16()).unwrap_or_default();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok((status, body, answer.into_reusable().is_some()))
    }

    async fn stays(wire: &str) -> bool {
        read(wire.as_bytes(), false).await.is_ok_and(|(_, _, stays)| stays)
    }

    async fn fault(wire: &str) -> Option<Transport> {
        read(wire.as_bytes(), true).await.err()
    }

    #[tokio::test]
    async fn a_body_ends_where_its_length_says() {
        let wire = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(read(wire, false).await, Ok((200, b"hello".to_vec(), true)));
    }

    #[tokio::test]
    async fn chunks_extensions_and_trailers_are_taken_off() {
        let wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            5;name=\"value\"\r\nhello\r\n1 \r\n,\r\n0006\r\n world\r\n0\r\nx-took: 3\r\n\r\n";
        assert_eq!(read(wire, false).await, Ok((200, b"hello, world".to_vec(), true)));
    }

    #[tokio::test]
    async fn without_a_length_the_body_ends_with_the_connection() {
        assert_eq!(read(b"HTTP/1.1 200 OK\r\n\r\nall", true).await, Ok((200, b"all".to_vec(), false)));
        let gzip = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nall";
        assert_eq!(read(gzip, true).await, Ok((200, b"all".to_vec(), false)));
    }

    #[tokio::test]
    async fn some_answers_have_no_body_whatever_they_say() {
        let wire = b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(read(wire, false).await, Ok((204, Vec::new(), true)));
    }

    #[tokio::test]
    async fn a_head_may_come_behind_an_interim_one() {
        let (mut upstream, mut answer) = line();
        let wire =
            b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert!(upstream.write_all(wire).await.is_ok());
        assert_eq!(answer.read_head().await, Ok(()));
        assert_eq!(answer.response().map(|head| head.status.as_u16()), Some(103));
        assert_eq!(answer.read_head().await, Ok(()));
        assert_eq!(answer.response().map(|head| head.status.as_u16()), Some(200));
        assert_eq!(answer.chunk().await, Ok(Some(Bytes::from_static(b"ok"))));
    }

    #[tokio::test]
    async fn behind_a_switch_of_protocols_bytes_go_both_ways_until_the_connection_ends() {
        let (mut upstream, mut answer) = line();
        let wire = b"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 2\r\n\r\nhello";
        assert!(upstream.write_all(wire).await.is_ok());
        assert_eq!(answer.read_head().await, Ok(()));
        answer.switch();
        assert_eq!(answer.chunk().await, Ok(Some(Bytes::from_static(b"hello"))));
        assert_eq!(answer.write(b"well").await, Ok(()));
        let mut heard = [0; 4];
        assert!(upstream.read_exact(&mut heard).await.is_ok() && &heard == b"well");
        drop(upstream);
        assert_eq!(answer.chunk().await, Ok(None));
        assert!(answer.into_reusable().is_none());
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_no_whole_one() {
        for wire in [
            "",
            "HTTP/1.1 200 OK\r\nContent-Le",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        ] {
            assert_eq!(fault(wire).await, Some(Transport::Reset), "{wire}");
        }
    }

    #[tokio::test]
    async fn framing_that_cannot_be_trusted_is_malformed() {
        for wire in [
            "HTTP/1.1 OK\r\n\r\n",
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname without colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello world\r\n",
        ] {
            assert_eq!(fault(wire).await, Some(Transport::Malformed), "{wire}");
        }
    }

    #[tokio::test]
    async fn a_head_without_end_is_malformed() {
        let mut wire = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
        wire.resize(MOST_HEAD + 64 * 1024, b'x');
        let (mut upstream, mut answer) = line();
        let (_, read) = tokio::join!(upstream.write_all(&wire), async {
            let read = answer.read_head().await;
            drop(answer);
            read
        });
        assert_eq!(read, Err(Transport::Malformed));
    }

    #[tokio::test]
    async fn a_connection_is_kept_only_where_nothing_speaks_against_it() {
        assert!(stays("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await);
        assert!(stays("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n1").await);
        for wire in [
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n1",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n1",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            assert!(!stays(wire).await, "{wire}");
        }
    }

    #[tokio::test]
    async fn a_connection_whose_answer_was_not_read_to_its_end_is_not_kept() {
        let (mut upstream, mut answer) = line();
        assert!(upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1").await.is_ok());
        assert_eq!(answer.read_head().await, Ok(()));
        assert_eq!(answer.chunk().await, Ok(Some(Bytes::from_static(b"1"))));
        drop(upstream);
        assert_eq!(answer.chunk().await, Err(Transport::Reset));
        assert!(answer.into_reusable().is_none());
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_loses_nothing() {
        let (mut upstream, mut answer) = line();
        let wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        let mut body = Vec::new();
        for byte in wire {
            assert!(upstream.write_all(&[*byte]).await.is_ok());
            if answer.response().is_none() {
                let _ = futures::FutureExt::now_or_never(answer.read_head());
            } else if let Some(chunk) = futures::FutureExt::now_or_never(answer.chunk()) {
                body.extend(chunk.ok().flatten().unwrap_or_default());
            }
        }
        assert_eq!(body, b"ok");
        assert!(answer.into_reusable().is_some());
    }
}
