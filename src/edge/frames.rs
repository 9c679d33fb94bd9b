//! Frames of HTTP/2 that cost work and ask for nothing: how many of them a connection may send.
//!
//! The h2 crate bounds what a connection can make it remember (streams, header lists, resets that wait), but answers
//! pings and settings, and takes resets, priorities and continuations, for as long as they come. Here their headers are
//! counted as they are read (RFC 9113 section 4.1), and a connection that sends too many ends. Window updates are as many
//! as our own data frames allow for.
//!
//! A connection whose first frame is no SETTINGS ends as well (section 3.4), since h2 takes any.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType, ALPN,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::observe::metrics;

/// Such frames at once; a busy client sends some tens.
const BURST: f64 = 500.0;
/// And so many a second after that.
const A_SECOND: f64 = 50.0;
/// Window updates without anything written, and the bytes written that allow for one more.
const UPDATES: u64 = 500;
const BYTES_AN_UPDATE: u64 = 16;
/// The bytes before the first frame of a client.
const PREFACE: usize = 24;
const HEADER: usize = 9;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;

/// A connection whose frames are counted.
#[derive(Debug)]
pub struct Counted {
    stream: Stream,
    frames: Frames,
    written: u64,
}

impl Counted {
    /// From the connection's first byte on.
    pub fn new(stream: Stream) -> Self {
        Self { stream, frames: Frames::new(Instant::now()), written: 0 }
    }
}

/// Where in its frames a connection is, and what it may still send.
#[derive(Debug)]
struct Frames {
    /// Bytes that are not part of a frame's header.
    skip: usize,
    header: [u8; HEADER],
    filled: usize,
    left: f64,
    at: Instant,
    updates: u64,
    begun: bool,
}

/// Why a connection ends, as `rejected_total` has it.
type Reason = &'static str;
const FLOOD: Reason = "http2_flood";
const PREFACE_FAULT: Reason = "http2_preface";

impl Frames {
    fn new(now: Instant) -> Self {
        Self { skip: PREFACE, header: [0; HEADER], filled: 0, left: BURST, at: now, updates: 0, begun: false }
    }

    /// Whether the connection may go on after these bytes.
    fn read(&mut self, mut bytes: &[u8], written: u64, now: impl Fn() -> Instant) -> Result<(), Reason> {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            (self.skip, bytes) = (self.skip - skipped, bytes.get(skipped..).unwrap_or_default());
            let Some((byte, rest)) = bytes.split_first().filter(|_| self.skip == 0) else { break };
            if let Some(place) = self.header.get_mut(self.filled) {
                *place = *byte;
            }
            (self.filled, bytes) = (self.filled + 1, rest);
            if self.filled == HEADER {
                self.filled = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                match std::mem::replace(&mut self.begun, true) {
                    false if kind != SETTINGS || flags & ACK != 0 => return Err(PREFACE_FAULT),
                    true if !self.may_send(kind, flags, written, &now) => return Err(FLOOD),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn may_send(&mut self, kind: u8, flags: u8, written: u64, now: impl Fn() -> Instant) -> bool {
        const END_STREAM: u8 = 1;
        match kind {
            // DATA asks for something unless it is empty and goes on; HEADERS is a request or its end.
            0 if self.skip > 0 || flags & END_STREAM != 0 => true,
            1 => true,
            8 => {
                self.updates += 1;
                self.updates <= UPDATES + written / BYTES_AN_UPDATE
            }
            _ => self.spend(now()),
        }
    }

    fn spend(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).min(Duration::from_secs(60));
        self.at = now;
        self.left = (self.left + passed.as_secs_f64() * A_SECOND).min(BURST) - 1.0;
        self.left >= 0.0
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context, buf: &mut ReadBuf) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let written = self.written;
        let read = buf.filled().get(before..).unwrap_or_default();
        Poll::Ready(self.frames.read(read, written, Instant::now).map_err(|reason| {
            metrics::rejected(reason);
            io::Error::new(io::ErrorKind::ConnectionAborted, reason)
        }))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context,
        pieces: &[io::IoSlice],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, pieces))?;
        self.written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

// The rest is the connection's own.

#[async_trait]
impl Shutdown for Counted {
    async fn shutdown(&mut self) {
        self.stream.shutdown().await;
    }
}

impl UniqueID for Counted {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for Counted {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.stream.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for Counted {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }
}

impl GetProxyDigest for Counted {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for Counted {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

#[async_trait]
impl Peek for Counted {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.stream.try_peek(buf).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 0];
        frame.resize(HEADER + usize::from(length), 0xff);
        frame
    }

    /// A connection that has begun.
    fn begun(now: Instant) -> Frames {
        let mut frames = Frames::new(now);
        assert_eq!(frames.read(&[&[0; PREFACE][..], &frame(SETTINGS, 0, 0)].concat(), 0, || now), Ok(()));
        frames
    }

    /// How many of `frames`, sent one after the other within one moment and cut at odd places, are taken.
    fn taken(frame: &[u8], count: usize) -> usize {
        let start = Instant::now();
        let mut frames = begun(start);
        let goes_on = |_: &usize| frame.chunks(7).all(|piece| frames.read(piece, 0, || start).is_ok());
        (0..count).take_while(goes_on).count()
    }

    #[test]
    fn frames_that_ask_for_nothing_are_counted_and_others_are_not() {
        for kind in [2, 3, 4, 6, 9, 11] {
            assert_eq!(taken(&frame(kind, 0, 8), 2000), 500, "{kind}");
        }
        assert_eq!(taken(&frame(0, 0, 0), 2000), 500, "empty data");
        assert_eq!(taken(&frame(8, 0, 4), 2000), 500, "window updates");
        for (kind, flags, length) in [(0, 0, 200), (0, 1, 0), (1, 4, 50)] {
            assert_eq!(taken(&frame(kind, flags, length), 2000), 2000, "{kind}");
        }
    }

    #[test]
    fn a_client_that_takes_its_time_may_go_on_for_ever() {
        let mut now = Instant::now();
        let mut frames = begun(now);
        for _ in 0..10_000 {
            now += Duration::from_millis(20);
            assert_eq!(frames.read(&frame(6, 0, 8), 0, || now), Ok(()));
        }
    }

    #[test]
    fn who_is_sent_much_may_update_its_windows_often() {
        let mut frames = begun(Instant::now());
        assert!((0..20_000_u64).all(|n| frames.read(&frame(8, 0, 4), n * 20, Instant::now).is_ok()));
    }

    #[test]
    fn the_first_frame_is_settings() {
        for (kind, flags, well) in
            [(SETTINGS, 0, Ok(())), (SETTINGS, ACK, Err(PREFACE_FAULT)), (6, 0, Err(PREFACE_FAULT))]
        {
            let mut frames = Frames::new(Instant::now());
            assert_eq!(frames.read(&[0; PREFACE], 0, Instant::now), Ok(()));
            assert_eq!(frames.read(&frame(kind, flags, 0), 0, Instant::now), well, "{kind} {flags}");
        }
    }
}
