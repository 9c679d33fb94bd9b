//! An event stream as a client reads it: each event with the time of its arrival, and how the stream ended.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{Conn, Framing, Piece};
use super::wire::Head;

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As its framing says.
    Clean,
    /// The connection was cut.
    Cut,
}

/// One frame of the stream.
#[derive(Clone, Debug)]
pub struct Event {
    /// The frame with its blank line, byte for byte.
    pub raw: String,
    /// The joined `data:` lines; empty for a comment.
    pub data: String,
    pub at: Instant,
}

impl Event {
    /// The data as JSON; null for `[DONE]` and comments.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or(Value::Null)
    }

    /// The output text of a chat chunk.
    pub fn text(&self) -> String {
        self.json()["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_string()
    }

    pub fn is_done(&self) -> bool {
        self.data == "[DONE]"
    }

    pub fn is_error(&self) -> bool {
        self.json()["error"].is_object()
    }
}

/// A stream that is being read.
pub struct Events {
    pub head: Head,
    pub status: u16,
    pub head_at: Instant,
    conn: Conn,
    framing: Framing,
    unread: Vec<u8>,
    end: Option<End>,
    /// Every byte of the body so far.
    pub bytes: Vec<u8>,
}

impl Events {
    /// Reads the head.
    #[track_caller]
    pub fn read(mut conn: Conn) -> Self {
        let head = conn.head().expect("the router answers");
        let status = head.start.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        let framing = Framing::of(&head);
        let head_at = Instant::now();
        Self { head, status, head_at, conn, framing, unread: Vec::new(), end: None, bytes: Vec::new() }
    }

    /// Asserts the status.
    #[track_caller]
    pub fn expect(mut self, status: u16) -> Self {
        if self.status != status {
            let rest: String = self.rest().into_iter().map(|e| e.raw).collect();
            panic!(
                "status {} instead of {status}: {rest}{}",
                self.status,
                String::from_utf8_lossy(&self.unread)
            );
        }
        self
    }

    /// The next frame; `None` at the end.
    pub fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|w| w == b"\n\n") {
                let rest = self.unread.split_off(at + 2);
                return Some(event(std::mem::replace(&mut self.unread, rest)));
            }
            if self.end.is_some() {
                return None;
            }
            match self.conn.piece(&mut self.framing) {
                Piece::Bytes(bytes) => {
                    self.bytes.extend_from_slice(&bytes);
                    // Line ends of every kind become LF here; `bytes` keeps them as they came.
                    self.unread.extend(bytes.into_iter().filter(|b| *b != b'\r'));
                }
                Piece::End => self.end = Some(End::Clean),
                Piece::Cut => self.end = Some(End::Cut),
            }
        }
    }

    /// The next frame that carries output.
    pub fn next_text(&mut self) -> Option<Event> {
        std::iter::from_fn(|| self.next()).find(|e| !e.text().is_empty())
    }

    /// All frames that are left.
    pub fn rest(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// How it ended; after `rest`.
    #[track_caller]
    pub fn end(&self) -> End {
        self.end.expect("the stream has been read to its end")
    }

    /// How long to wait for a byte.
    pub fn patience(&self, time: Duration) {
        self.conn.patience(time);
    }

    /// Leaves in the middle.
    pub fn leave(self) -> Instant {
        drop(self);
        Instant::now()
    }
}

/// The output text of these events, joined.
pub fn text(events: &[Event]) -> String {
    events.iter().map(Event::text).collect()
}

fn event(raw: Vec<u8>) -> Event {
    let raw = String::from_utf8_lossy(&raw).into_owned();
    let data: Vec<_> = raw.lines().filter_map(|l| l.strip_prefix("data:")).map(str::trim_start).collect();
    Event { data: data.join("\n"), raw, at: Instant::now() }
}
