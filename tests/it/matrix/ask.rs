//! A client for the matrix: the same request over HTTP/1.1 or HTTP/2, whole, in part, drop by drop, and read or left.
//!
//! Over both protocols it is told alike: what was asked, and what was seen until the end, also of an answer that broke
//! off. HTTP/2 is spoken without TLS, by prior knowledge.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::{client, RecvStream, SendStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::WriteHalf;
use tokio::net::TcpStream;

use crate::support::wire::Head;
use crate::support::*;

/// Nobody waits longer for an answer.
const PATIENCE: Duration = secs(40);

/// The protocol of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    H1,
    H2,
}

/// How the body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    /// At once, with its length.
    Whole,
    /// Without its length: chunked, or frames.
    Unmeasured,
    /// Only so many bytes of the length that the head says.
    Part(usize),
    /// A byte at a time, with this pause.
    Drip(Duration),
    /// No body and no end: the head alone.
    Nothing,
    /// Chunked, and these are the chunks. Over HTTP/1.1 only.
    Chunks(&'static str),
}

/// How the answer is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// To its end.
    All,
    /// Not at all: leaves after this time.
    LeaveAfter(Duration),
    /// Leaves after so many bytes of the body.
    LeaveAt(usize),
}

/// A request.
#[derive(Clone)]
pub struct Ask {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub upload: Upload,
    pub reading: Reading,
}

impl Ask {
    /// A chat request with this key.
    pub fn chat(key: &str, model: &str, stream: bool) -> Self {
        let body = if stream { chat_streamed(model) } else { chat(model) };
        Self::post("/v1/chat/completions", body.to_string()).header("authorization", &format!("Bearer {key}"))
    }

    /// A JSON request without a key.
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self { path: path.into(), headers, body: body.into(), upload: Upload::Whole, reading: Reading::All }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn path(mut self, path: &str) -> Self {
        self.path = path.into();
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    pub fn upload(mut self, upload: Upload) -> Self {
        self.upload = upload;
        self
    }

    pub fn reading(mut self, reading: Reading) -> Self {
        self.reading = reading;
        self
    }

    /// Asks, and tells what was seen.
    pub fn send(&self, router: &Router, protocol: Protocol) -> Seen {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut seen = Seen::default();
        let start = Instant::now();
        runtime.block_on(async {
            let talk = async {
                match protocol {
                    Protocol::H1 => self.over_h1(router, &mut seen).await.ok(),
                    Protocol::H2 => self.over_h2(router, &mut seen).await.ok(),
                }
            };
            if tokio::time::timeout(PATIENCE, talk).await.is_err() {
                seen.patience_over = true;
            }
        });
        seen.took = start.elapsed();
        seen
    }

    fn head(&self, router: &Router) -> String {
        let mut head = format!("POST {} HTTP/1.1\r\nHost: {}\r\n", self.path, router.address());
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.upload {
            Upload::Unmeasured | Upload::Chunks(_) => head.push_str("Transfer-Encoding: chunked\r\n\r\n"),
            _ => head.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len())),
        }
        head
    }

    async fn over_h1(&self, router: &Router, seen: &mut Seen) -> std::io::Result<()> {
        let mut tcp = TcpStream::connect(router.address()).await?;
        tcp.set_nodelay(true)?;
        tcp.write_all(self.head(router).as_bytes()).await?;
        let (mut from, mut to) = tcp.split();
        let sending = async {
            self.upload_h1(&mut to).await?;
            std::future::pending::<std::io::Result<()>>().await
        };
        let reading = async {
            let mut bytes = Vec::new();
            let mut body = Body::default();
            loop {
                let read = from.read_buf(&mut bytes).await;
                if seen.status.is_none() {
                    if let Some(head) = Head::take(&mut bytes) {
                        let status = head.start.split(' ').nth(1).and_then(|status| status.parse().ok());
                        if status == Some(100) {
                            continue;
                        }
                        seen.status = status;
                        body.begin(&head);
                        seen.headers = head.headers;
                    }
                }
                if seen.status.is_some() {
                    seen.whole = body.take(&mut bytes, &mut seen.body);
                }
                seen.closed = !read.is_ok_and(|n| n > 0);
                if seen.whole || seen.closed || self.leaves_at(seen.body.len()) {
                    break;
                }
            }
        };
        let leaving = self.leaving();
        tokio::pin!(sending, reading, leaving);
        tokio::select! {
            // The router may end a connection that we still write to; what it has said is read all the same.
            _ = &mut sending => reading.await,
            () = &mut reading => {}
            () = &mut leaving => {}
        }
        Ok(())
    }

    async fn upload_h1(&self, to: &mut WriteHalf<'_>) -> std::io::Result<()> {
        match self.upload {
            Upload::Whole => to.write_all(&self.body).await,
            Upload::Unmeasured => {
                for piece in self.body.chunks(8192) {
                    to.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
                    to.write_all(piece).await?;
                    to.write_all(b"\r\n").await?;
                }
                to.write_all(b"0\r\n\r\n").await
            }
            Upload::Part(most) => to.write_all(&self.body[..most]).await,
            Upload::Drip(pause) => {
                for byte in &self.body {
                    to.write_all(&[*byte]).await?;
                    tokio::time::sleep(pause).await;
                }
                Ok(())
            }
            Upload::Nothing => Ok(()),
            Upload::Chunks(chunks) => to.write_all(chunks.as_bytes()).await,
        }
    }

    async fn over_h2(&self, router: &Router, seen: &mut Seen) -> Result<(), h2::Error> {
        let tcp = TcpStream::connect(router.address()).await.expect("the router takes connections");
        let (send, connection) = client::handshake(tcp).await?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let mut send = send.ready().await?;
        let mut request = http::Request::post(format!("http://{}{}", router.address(), self.path));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if self.upload != Upload::Unmeasured {
            request = request.header("content-length", self.body.len());
        }
        let (response, upload) = send.send_request(request.body(()).expect("a request"), false)?;
        let sending = async {
            let _open = self.upload_h2(upload).await;
            std::future::pending::<()>().await
        };
        let reading = async {
            let Ok(response) = response.await else { return };
            let (head, mut incoming) = response.into_parts();
            seen.status = Some(head.status.as_u16());
            let text = |v: &http::HeaderValue| v.to_str().unwrap_or("").to_owned();
            seen.headers = head.headers.iter().map(|(n, v)| (n.to_string(), text(v))).collect();
            self.read_h2(&mut incoming, seen).await;
        };
        let leaving = self.leaving();
        tokio::pin!(sending, reading, leaving);
        tokio::select! {
            () = &mut sending => {}
            () = &mut reading => {}
            () = &mut leaving => {}
        }
        Ok(())
    }

    /// Sends the body; what is left open is given back, so that it is not reset.
    async fn upload_h2(&self, mut upload: SendStream<Bytes>) -> Result<SendStream<Bytes>, h2::Error> {
        let (piece, most, pause) = match self.upload {
            Upload::Whole | Upload::Unmeasured => (16384, self.body.len(), None),
            Upload::Part(most) => (16384, most, None),
            Upload::Drip(pause) => (1, self.body.len(), Some(pause)),
            Upload::Nothing | Upload::Chunks(_) => return Ok(upload),
        };
        for part in self.body[..most].chunks(piece) {
            let mut left = Bytes::copy_from_slice(part);
            while !left.is_empty() {
                upload.reserve_capacity(left.len());
                let Some(room) = poll_fn(|cx| upload.poll_capacity(cx)).await.transpose()? else {
                    return Ok(upload);
                };
                upload.send_data(left.split_to(room.min(left.len())), false)?;
            }
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
        if most == self.body.len() {
            upload.send_data(Bytes::new(), true)?;
        }
        Ok(upload)
    }

    async fn read_h2(&self, incoming: &mut RecvStream, seen: &mut Seen) {
        loop {
            match incoming.data().await {
                Some(Ok(data)) => {
                    let _ = incoming.flow_control().release_capacity(data.len());
                    seen.body.extend_from_slice(&data);
                }
                Some(Err(_)) => {
                    seen.closed = true;
                    return;
                }
                None => {
                    seen.whole = true;
                    return;
                }
            }
            if self.leaves_at(seen.body.len()) {
                return;
            }
        }
    }

    fn leaves_at(&self, read: usize) -> bool {
        matches!(self.reading, Reading::LeaveAt(most) if read >= most)
    }

    async fn leaving(&self) {
        match self.reading {
            Reading::LeaveAfter(time) => tokio::time::sleep(time).await,
            _ => std::future::pending().await,
        }
    }
}

/// What a client saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub status: Option<u16>,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body ended as its framing says.
    pub whole: bool,
    /// The router has closed the connection, or reset the stream.
    pub closed: bool,
    pub patience_over: bool,
    pub took: Duration,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The data of its events.
    pub fn events(&self) -> Vec<String> {
        self.text().lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }
}

/// The body of an HTTP/1.1 answer, taken out of its framing as it comes.
#[derive(Default)]
struct Body {
    chunked: bool,
    left: Option<usize>,
}

impl Body {
    fn begin(&mut self, head: &Head) {
        self.chunked = head.header("transfer-encoding").is_some();
        self.left = head.header("content-length").and_then(|length| length.parse().ok());
    }

    /// Moves what has come; whether it is whole.
    fn take(&mut self, from: &mut Vec<u8>, into: &mut Vec<u8>) -> bool {
        if !self.chunked {
            let Some(left) = &mut self.left else {
                into.append(from);
                return false;
            };
            let now = from.len().min(*left);
            into.extend(from.drain(..now));
            *left -= now;
            return *left == 0;
        }
        loop {
            let Some(line) = from.windows(2).position(|w| w == b"\r\n") else { return false };
            let text = std::str::from_utf8(&from[..line]).unwrap_or_default();
            let Ok(size) = usize::from_str_radix(text.trim(), 16) else { return false };
            if from.len() < line + 2 + size + 2 {
                return false;
            }
            into.extend_from_slice(&from[line + 2..line + 2 + size]);
            from.drain(..line + 2 + size + 2);
            if size == 0 {
                return true;
            }
        }
    }
}
