//! A client that is nothing but a socket, so that a test may send half a request, read half an answer, or leave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::config::client_key;
use super::router::Router;
use super::stream::Events;
use super::wire::Head;

/// How long a client waits for any byte.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Statuses of 1xx answers that came before.
    pub informational: Vec<u16>,
    /// From the first byte sent to the last byte read.
    pub took: Duration,
    /// The body ended as its framing says.
    pub whole: bool,
}

impl Answer {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("no JSON ({e}): {} {}", self.status, self.text()))
    }

    /// The text of a chat answer.
    #[track_caller]
    pub fn content(&self) -> String {
        let body = self.json();
        body["choices"][0]["message"]["content"]
            .as_str()
            .unwrap_or_else(|| panic!("no content: {body}"))
            .to_string()
    }

    /// Asserts a status and that the body came whole; shows the answer otherwise.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        assert!(self.whole, "a cut body: {:?}\n{}", self.headers, self.text());
        self
    }

    /// The `error` object of an answer in OpenAI's shape: all four members, code a string or null.
    #[track_caller]
    pub fn error(&self) -> Value {
        let body = self.json();
        let error = &body["error"];
        assert!(error.is_object(), "no error object: {} {body}", self.status);
        for member in ["message", "type", "param", "code"] {
            assert!(error.get(member).is_some(), "no {member} in {body}");
        }
        assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "an empty message: {body}");
        assert!(error["code"].is_string() || error["code"].is_null(), "the code is no string: {body}");
        error.clone()
    }

    /// `error.code`, empty when null.
    #[track_caller]
    pub fn code(&self) -> String {
        self.error()["code"].as_str().unwrap_or_default().to_string()
    }

    /// `error.message`.
    #[track_caller]
    pub fn message(&self) -> String {
        self.error()["message"].as_str().unwrap_or_default().to_string()
    }
}

/// A request to be sent.
#[derive(Clone)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    keyless: bool,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.into(), path: path.into(), headers: Vec::new(), body: None, keyless: false }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    /// A chat completion.
    pub fn chat(body: &Value) -> Self {
        Self::post("/v1/chat/completions").json(body)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut request = self.header("content-type", content_type);
        request.body = Some(body.into());
        request
    }

    /// With the key of a client instead of the master key.
    pub fn by(self, client: &str) -> Self {
        self.keyless().header("authorization", &format!("Bearer {}", client_key(client)))
    }

    /// Without the master key.
    pub fn keyless(mut self) -> Self {
        self.keyless = true;
        self
    }

    /// The head as it goes out; `framing` is the header that frames the body, if any.
    pub fn head(&self, router: &Router, framing: Option<&str>) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.path, router.address());
        if !self.keyless {
            head.push_str(&format!("Authorization: Bearer {}\r\n", router.key()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(framing) = framing {
            head.push_str(&format!("{framing}\r\n"));
        }
        head + "\r\n"
    }

    /// Head and body with its length.
    pub fn bytes(&self, router: &Router) -> Vec<u8> {
        let length = self.body.as_ref().map(|body| format!("Content-Length: {}", body.len()));
        let mut bytes = self.head(router, length.as_deref()).into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// Head and body in chunks of `size` bytes.
    pub fn chunked_bytes(&self, router: &Router, size: usize) -> Vec<u8> {
        let mut bytes = self.head(router, Some("Transfer-Encoding: chunked")).into_bytes();
        for piece in self.body.as_deref().unwrap_or_default().chunks(size) {
            bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            bytes.extend_from_slice(piece);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    }

    /// Sends it on a new connection and reads the whole answer.
    #[track_caller]
    pub fn send(&self, router: &Router) -> Answer {
        let mut conn = Conn::open(router.address());
        conn.write(&self.bytes(router));
        conn.answer_to(&self.method)
    }

    /// Sends it chunked.
    #[track_caller]
    pub fn send_chunked(&self, router: &Router, size: usize) -> Answer {
        let mut conn = Conn::open(router.address());
        conn.write(&self.chunked_bytes(router, size));
        conn.answer()
    }

    /// Sends it; `None` when there is no connection or no whole answer.
    pub fn try_send(&self, router: &Router) -> Option<Answer> {
        let mut conn = Conn::try_open(router.address())?;
        conn.try_write(&self.bytes(router)).ok()?;
        conn.try_answer(&self.method)
    }

    /// Sends it on a new connection; the answer is read event by event.
    #[track_caller]
    pub fn stream(&self, router: &Router) -> Events {
        let mut conn = Conn::open(router.address());
        conn.write(&self.bytes(router));
        Events::read(conn)
    }
}

/// A connection to the router.
pub struct Conn {
    stream: TcpStream,
    unread: Vec<u8>,
    opened: Instant,
}

impl Conn {
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).expect("the router takes connections")
    }

    pub fn try_open(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        Some(Self { stream, unread: Vec::new(), opened: Instant::now() })
    }

    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).expect("the router reads");
    }

    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// A second handle on the socket, for writing while another thread reads.
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// How long to wait for a byte.
    pub fn patience(&self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
    }

    /// The next whole answer.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.answer_to("POST")
    }

    #[track_caller]
    fn answer_to(&mut self, method: &str) -> Answer {
        self.try_answer(method).expect("the router answers")
    }

    /// The next answer, if its head comes.
    pub fn try_answer(&mut self, method: &str) -> Option<Answer> {
        let mut informational = Vec::new();
        let (head, status) = loop {
            let head = self.head()?;
            let status: u16 = head.start.split(' ').nth(1)?.parse().ok()?;
            if status >= 200 {
                break (head, status);
            }
            informational.push(status);
        };
        let mut body = Vec::new();
        let mut framing = Framing::of(&head);
        if method == "HEAD" || matches!(status, 204 | 304) {
            framing = Framing::Length(0);
        }
        let whole = loop {
            match self.piece(&mut framing) {
                Piece::Bytes(bytes) => body.extend(bytes),
                Piece::End => break true,
                Piece::Cut => break false,
            }
        };
        Some(Answer {
            status,
            headers: head.headers,
            body,
            informational,
            took: self.opened.elapsed(),
            whole,
        })
    }

    /// The next head.
    pub fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(head) = Head::take(&mut self.unread) {
                return Some(head);
            }
            self.read_more()?;
        }
    }

    /// The next piece of a body: a chunk, or what one read gives.
    pub fn piece(&mut self, framing: &mut Framing) -> Piece {
        match framing {
            Framing::Length(0) => Piece::End,
            Framing::Length(left) => {
                if self.unread.is_empty() && self.read_more().is_none() {
                    return Piece::Cut;
                }
                let rest = self.unread.split_off(self.unread.len().min(*left));
                let bytes = std::mem::replace(&mut self.unread, rest);
                *left -= bytes.len();
                Piece::Bytes(bytes)
            }
            Framing::Close => {
                if self.unread.is_empty() && self.read_more().is_none() {
                    return Piece::End;
                }
                Piece::Bytes(std::mem::take(&mut self.unread))
            }
            Framing::Chunked => self.chunk().unwrap_or(Piece::Cut),
        }
    }

    fn chunk(&mut self) -> Option<Piece> {
        let line_end = loop {
            match self.unread.windows(2).position(|w| w == b"\r\n") {
                Some(end) => break end,
                None => self.read_more()?,
            }
        };
        let size =
            usize::from_str_radix(std::str::from_utf8(&self.unread[..line_end]).ok()?.trim(), 16).ok()?;
        let end = line_end + 2 + size + 2;
        while self.unread.len() < end {
            self.read_more()?;
        }
        let rest = self.unread.split_off(end);
        let chunk = std::mem::replace(&mut self.unread, rest);
        Some(if size == 0 { Piece::End } else { Piece::Bytes(chunk[line_end + 2..end - 2].to_vec()) })
    }

    /// Reads once; `None` at the end, on a reset, or when patience is over.
    pub fn read_more(&mut self) -> Option<()> {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(n) if n > 0 => {
                self.unread.extend_from_slice(&buffer[..n]);
                Some(())
            }
            _ => None,
        }
    }

    /// Whether the router closes the connection within `limit`.
    pub fn closes_within(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < limit {
            let left = limit.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
            self.patience(left);
            match self.stream.read(&mut [0; 4096]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e)
                    if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Err(_) => return true,
            }
        }
        false
    }
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Bytes left.
    Length(usize),
    Chunked,
    Close,
}

impl Framing {
    pub fn of(head: &Head) -> Self {
        if head.header("transfer-encoding").is_some() {
            return Self::Chunked;
        }
        head.header("content-length").and_then(|v| v.parse().ok()).map_or(Self::Close, Self::Length)
    }
}

/// A piece of a body.
pub enum Piece {
    Bytes(Vec<u8>),
    End,
    /// The connection ended first.
    Cut,
}
