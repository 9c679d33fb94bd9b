//! A scripted provider: real sockets, one thread a connection, every byte and every pause decided by the test.
//!
//! It speaks HTTP/1.1 by hand, because a real server library refuses to do what broken providers do: stop in the
//! middle of a head, lie about a length, reset, trickle. Each request is kept as a `Call` for assertions. Requests that
//! the router sends on its own (model discovery, the health of a peer) are answered and kept apart.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::reply::{respond, Reply, Step};
use super::wire::Head;

/// How often a waiting connection looks whether the test is over.
const SLICE: Duration = Duration::from_millis(50);

/// One request as the provider saw it.
pub struct Call {
    /// When its last byte had arrived.
    pub at: Instant,
    pub method: String,
    /// Path and query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body came with `Transfer-Encoding`.
    pub chunked: bool,
    /// Number of the connection, from 0.
    pub connection: usize,
    /// How many requests this connection had carried before.
    pub reuse: usize,
    /// Number of the call at this upstream, from 0.
    pub number: usize,
    /// The bearer key.
    pub key: Option<String>,
    gone: Mutex<Option<Instant>>,
    finished: AtomicBool,
}

impl Call {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The model that was asked for.
    pub fn model(&self) -> String {
        self.json()["model"].as_str().unwrap_or_default().to_string()
    }

    pub fn wants_stream(&self) -> bool {
        self.json()["stream"] == json!(true)
    }

    pub fn wants_usage(&self) -> bool {
        self.json()["stream_options"]["include_usage"] == json!(true)
    }

    /// When the router closed the connection before the reply had ended.
    pub fn gone(&self) -> Option<Instant> {
        *self.gone.lock().unwrap()
    }

    /// The whole script of the reply has run.
    pub fn finished(&self) -> bool {
        self.finished.load(Ordering::SeqCst)
    }
}

type Script = Arc<dyn Fn(&Call) -> Reply + Send + Sync>;

struct Shared {
    script: Mutex<Script>,
    listing: Mutex<Reply>,
    health: Mutex<Reply>,
    unready: AtomicBool,
    calls: Mutex<Vec<Arc<Call>>>,
    heads: Mutex<Vec<(Instant, String)>>,
    discoveries: AtomicUsize,
    connections: AtomicUsize,
    stop: AtomicBool,
}

/// A provider on a port of its own. Gone, with its connections, when dropped.
pub struct Upstream {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Every reply is chosen by `script`.
    pub fn scripted(script: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        Self::scripted_on("127.0.0.1", script)
    }

    /// The same at this address.
    fn scripted_on(ip: &str, script: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a port for the upstream");
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(script)),
            listing: Mutex::new(respond(200).json(&json!({"object": "list", "data": []}))),
            health: Mutex::new(respond(404).error("no such path", "invalid_request_error", None)),
            unready: AtomicBool::new(false),
            calls: Mutex::default(),
            heads: Mutex::default(),
            discoveries: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || accept(&listener, &accepting));
        Self { address, shared }
    }

    /// A healthy provider: answers each endpoint as the real one does.
    pub fn healthy() -> Self {
        Self::scripted(Reply::good)
    }

    /// A healthy provider at this address.
    pub fn healthy_on(ip: &str) -> Self {
        Self::scripted_on(ip, Reply::good)
    }

    /// The same reply to everything.
    pub fn always(reply: Reply) -> Self {
        Self::scripted(move |_| reply.clone())
    }

    /// These replies in turn; then a healthy one.
    pub fn queue(replies: impl IntoIterator<Item = Reply>) -> Self {
        let queue = Mutex::new(replies.into_iter().collect::<VecDeque<_>>());
        Self::scripted(move |call| {
            let next = queue.lock().unwrap().pop_front();
            next.unwrap_or_else(|| Reply::good(call))
        })
    }

    /// A port on which nobody listens.
    pub fn refused() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    /// Changes the script from the next call on.
    pub fn set(&self, script: impl Fn(&Call) -> Reply + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    /// What `GET /v1/models` lists. Set it before the router starts.
    pub fn lists(self, models: &[&str]) -> Self {
        let data: Vec<_> =
            models.iter().map(|id| json!({"id": id, "object": "model", "owned_by": "x"})).collect();
        self.lists_with(respond(200).json(&json!({"object": "list", "data": data})))
    }

    /// What `GET /v1/models` answers, byte for byte.
    pub fn lists_with(self, reply: Reply) -> Self {
        *self.shared.listing.lock().unwrap() = reply;
        self
    }

    /// What `GET /health` answers, as another router. Set it before the router starts.
    pub fn tells(self, health: Reply) -> Self {
        *self.shared.health.lock().unwrap() = health;
        self
    }

    /// Whether `GET /health/ready` says so.
    pub fn tells_ready(&self, ready: bool) {
        self.shared.unready.store(!ready, Ordering::SeqCst);
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All calls whose body had arrived, without discovery.
    pub fn calls(&self) -> Vec<Arc<Call>> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// How many calls there were.
    pub fn count(&self) -> usize {
        self.shared.calls.lock().unwrap().len()
    }

    /// The calls that came with this key.
    pub fn calls_of(&self, key: &str) -> Vec<Arc<Call>> {
        self.calls().into_iter().filter(|c| c.key.as_deref() == Some(key)).collect()
    }

    /// The only call; a failure when there were none or several.
    pub fn only(&self) -> Arc<Call> {
        let calls = self.calls();
        assert_eq!(calls.len(), 1, "the upstream must have seen exactly one call");
        calls[0].clone()
    }

    /// The last call.
    pub fn last(&self) -> Arc<Call> {
        self.calls().last().expect("the upstream saw no call").clone()
    }

    /// Waits for the call with this number.
    pub fn wait_for(&self, number: usize) -> Arc<Call> {
        let found = super::eventually(Duration::from_secs(20), || self.calls().get(number).cloned());
        found.unwrap_or_else(|| panic!("call {number} never came; {} did", self.count()))
    }

    /// Heads that have arrived, with or without their body: path and time.
    pub fn heads(&self) -> Vec<(Instant, String)> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// Connections accepted so far, discovery included.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Requests that the router sent on its own account.
    pub fn discoveries(&self) -> usize {
        self.shared.discoveries.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        std::thread::spawn(move || Connection::new(stream, number, shared).serve());
    }
}

struct Connection {
    stream: TcpStream,
    number: usize,
    shared: Arc<Shared>,
    unread: Vec<u8>,
}

enum After {
    Next,
    Close,
    Reset,
}

impl Connection {
    fn new(stream: TcpStream, number: usize, shared: Arc<Shared>) -> Self {
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(SLICE));
        let _ = stream.set_write_timeout(Some(SLICE));
        Self { stream, number, shared, unread: Vec::new() }
    }

    fn serve(mut self) {
        let mut reuse = 0;
        loop {
            let Some(call) = self.read_call(reuse) else { return };
            let (reply, call) = self.file(call);
            match self.play(&reply, &call) {
                After::Next => reuse += 1,
                After::Close => return,
                After::Reset => return self.reset(),
            }
        }
    }

    /// Chooses the reply and keeps the call.
    fn file(&self, mut call: Call) -> (Reply, Arc<Call>) {
        let path = call.path.split('?').next().unwrap_or_default();
        if let Some(reply) = self.own_account(&call.method, path) {
            self.shared.discoveries.fetch_add(1, Ordering::SeqCst);
            return (reply, Arc::new(call));
        }
        let script = self.shared.script.lock().unwrap().clone();
        let call = {
            let mut calls = self.shared.calls.lock().unwrap();
            call.number = calls.len();
            let call = Arc::new(call);
            calls.push(call.clone());
            call
        };
        (script(&call), call)
    }

    /// The reply to what the router asks on its own account.
    fn own_account(&self, method: &str, path: &str) -> Option<Reply> {
        let status = if self.shared.unready.load(Ordering::SeqCst) { 503 } else { 200 };
        match path.rsplit('/').next()? {
            _ if method != "GET" => None,
            "models" => Some(self.shared.listing.lock().unwrap().clone()),
            "health" => Some(self.shared.health.lock().unwrap().clone()),
            "ready" => Some(respond(status).json(&json!({}))),
            _ => None,
        }
    }

    fn read_call(&mut self, reuse: usize) -> Option<Call> {
        let head = loop {
            if let Some(head) = Head::take(&mut self.unread) {
                break head;
            }
            self.read_more()?;
        };
        let head_at = Instant::now();
        let mut words = head.start.split(' ');
        let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
        self.shared.heads.lock().unwrap().push((head_at, path.clone()));
        let chunked = head.header("transfer-encoding").is_some();
        let body = if chunked {
            self.read_chunked()?
        } else {
            let length = head.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
            self.read_exactly(length)?
        };
        let key = head.header("authorization").and_then(|v| v.strip_prefix("Bearer ")).map(str::to_string);
        Some(Call {
            at: Instant::now(),
            method,
            path,
            headers: head.headers,
            body,
            chunked,
            connection: self.number,
            reuse,
            number: 0,
            key,
            gone: Mutex::new(None),
            finished: AtomicBool::new(false),
        })
    }

    fn read_exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.unread.len() < length {
            self.read_more()?;
        }
        let rest = self.unread.split_off(length);
        Some(std::mem::replace(&mut self.unread, rest))
    }

    fn read_chunked(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line()?;
            let size = usize::from_str_radix(line.trim(), 16).ok()?;
            let chunk = self.read_exactly(size)?;
            self.read_line()?;
            if size == 0 {
                return Some(body);
            }
            body.extend(chunk);
        }
    }

    fn read_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|b| *b == b'\n') {
                let rest = self.unread.split_off(end + 1);
                let line = std::mem::replace(&mut self.unread, rest);
                return Some(String::from_utf8_lossy(&line).trim_end().to_string());
            }
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> Option<()> {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => {
                    self.unread.extend_from_slice(&buffer[..n]);
                    return Some(());
                }
                Err(e) if is_wait(&e) && !self.shared.stop.load(Ordering::SeqCst) => {}
                Err(_) => return None,
            }
        }
    }

    fn play(&mut self, reply: &Reply, call: &Call) -> After {
        for step in &reply.steps {
            let alive = match step {
                Step::Send(bytes) => self.send(bytes),
                Step::Pause(time) => self.pause(Some(*time)),
                Step::Hang => self.pause(None),
                Step::Close => return After::Close,
                Step::Reset => return After::Reset,
            };
            if !alive {
                *call.gone.lock().unwrap() = Some(Instant::now());
                return After::Close;
            }
        }
        call.finished.store(true, Ordering::SeqCst);
        After::Next
    }

    fn send(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if is_wait(&e) && !self.shared.stop.load(Ordering::SeqCst) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Waits (`None`: for ever) and watches for the peer to leave meanwhile.
    fn pause(&mut self, time: Option<Duration>) -> bool {
        let start = Instant::now();
        loop {
            let left = time.map_or(SLICE, |t| t.saturating_sub(start.elapsed()));
            if left.is_zero() {
                return true;
            }
            if self.shared.stop.load(Ordering::SeqCst) {
                return false;
            }
            let _ = self.stream.set_read_timeout(Some(left.clamp(Duration::from_millis(1), SLICE)));
            match self.stream.peek(&mut [0]) {
                Ok(0) => return false,
                Ok(_) => std::thread::sleep(left.min(SLICE)),
                Err(e) if is_wait(&e) => {}
                Err(_) => return false,
            }
        }
    }

    /// Closes with an RST, whatever is still on its way.
    fn reset(self) {
        let socket = tokio::net::TcpSocket::from_std_stream(self.stream);
        let _ = socket.set_zero_linger();
    }
}

fn is_wait(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
