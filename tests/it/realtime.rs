//! WebSockets: opened like any question, and then bytes in both directions until one side ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::wire::Head;
use crate::support::*;

/// What the host says at once, in one piece with its consent.
const GREETING: &[u8] = b"session.created";
const PATH: &str = "/v1/realtime?model=gpt-realtime";

/// A provider of WebSockets: it repeats what it hears, until it hears `bye`.
struct Host {
    url: String,
    openings: Arc<Mutex<Vec<Head>>>,
    ended: Arc<AtomicUsize>,
}

impl Host {
    /// One that agrees to everything.
    fn willing() -> Self {
        Self::refusing(|_, _| None)
    }

    /// One that agrees unless `refusal` has an answer for the opening, given how many came before.
    fn refusing(refusal: impl Fn(usize, &Head) -> Option<&'static str> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let host = Self { url, openings: Arc::default(), ended: Arc::default() };
        let (openings, ended, refusal) = (host.openings.clone(), host.ended.clone(), Arc::new(refusal));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (openings, ended, refusal) = (openings.clone(), ended.clone(), refusal.clone());
                std::thread::spawn(move || {
                    let Some(opening) = opening(&stream) else { return };
                    if opening.start.contains("/v1/models") {
                        return;
                    }
                    let number = openings.lock().unwrap().len();
                    let refused = refusal(number, &opening);
                    openings.lock().unwrap().push(opening);
                    match refused {
                        Some(refusal) => drop((&stream).write_all(refusal.as_bytes())),
                        None => repeat(&stream),
                    }
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        host
    }

    fn openings(&self) -> Vec<Head> {
        std::mem::take(&mut self.openings.lock().unwrap())
    }

    fn keys(&self) -> Vec<String> {
        let key = |head: Head| head.header("authorization").unwrap_or_default().replace("Bearer ", "");
        self.openings().into_iter().map(key).collect()
    }

    fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }
}

fn opening(mut stream: &TcpStream) -> Option<Head> {
    let (mut unread, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(head) = Head::take(&mut unread) {
            return Some(head);
        }
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        unread.extend_from_slice(&buffer[..read]);
    }
}

fn repeat(mut stream: &TcpStream) {
    let consent = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Accept: accepted\r\nSec-WebSocket-Protocol: realtime\r\nServer: host\r\n\r\n";
    stream.write_all(&[consent.as_bytes(), GREETING].concat()).unwrap();
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        if &buffer[..read] == b"bye" || stream.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
}

fn asked(path: &str) -> Request {
    Request::get(path)
        .header("Connection", "keep-alive, Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// An open socket, behind its greeting.
struct Socket {
    conn: Conn,
    head: Head,
    heard: Vec<u8>,
}

impl Socket {
    #[track_caller]
    fn open(router: &Router, request: &Request) -> Self {
        let mut conn = Conn::open(router.address());
        conn.write(&request.bytes(router));
        let head = conn.head().expect("an answer");
        assert_eq!(head.start, "HTTP/1.1 101 Switching Protocols", "{head:?}");
        let mut socket = Self { conn, head, heard: Vec::new() };
        socket.hears(GREETING);
        socket
    }

    #[track_caller]
    fn hears(&mut self, bytes: &[u8]) {
        let mut framing = client::Framing::Close;
        while self.heard.len() < bytes.len() {
            match self.conn.piece(&mut framing) {
                client::Piece::Bytes(more) => self.heard.extend(more),
                _ => panic!("the socket ended after {} bytes", self.heard.len()),
            }
        }
        let rest = self.heard.split_off(bytes.len());
        assert!(std::mem::replace(&mut self.heard, rest) == bytes);
    }

    #[track_caller]
    fn says(&mut self, bytes: &[u8]) {
        self.conn.write(bytes);
        self.hears(bytes);
    }
}

#[test]
fn what_either_side_of_a_socket_says_reaches_the_other() {
    let host = Host::willing();
    let router = Config::single(&host.url).start();
    let request = asked(PATH).header("OpenAI-Beta", "realtime=v1").header("Origin", "https://app.example");
    let mut socket = Socket::open(&router, &request);
    socket.says(b"\x81\x05hello");
    assert_eq!(socket.head.header("upgrade"), Some("websocket"));
    assert_eq!(socket.head.header("connection"), Some("Upgrade"));
    assert_eq!(socket.head.header("sec-websocket-accept"), Some("accepted"));
    assert!(socket.head.header("x-request-id").is_some() && socket.head.header("server").is_none());
    let [opening] = &host.openings()[..] else { panic!("one opening") };
    assert_eq!(opening.start, "GET /v1/realtime?model=gpt-realtime HTTP/1.1");
    assert_eq!(opening.header("authorization"), Some(format!("Bearer {}", key_of("a")).as_str()));
    assert_eq!(
        (opening.header("upgrade"), opening.header("connection")),
        (Some("websocket"), Some("Upgrade"))
    );
    assert_eq!(opening.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(
        (opening.header("sec-websocket-version"), opening.header("openai-beta")),
        (Some("13"), Some("realtime=v1"))
    );
    assert_eq!((opening.header("content-length"), opening.header("origin")), (None, None));
}

#[test]
fn much_is_said_at_once() {
    let host = Host::willing();
    let router = Config::single(&host.url).start();
    let mut socket = Socket::open(&router, &asked(PATH));
    let speech: Vec<u8> = (0..8_000_000u32).map(|n| (n * 7 % 251) as u8).collect();
    let (mut writer, said) = (socket.conn.writer(), speech.clone());
    let speaker = std::thread::spawn(move || writer.write_all(&said).unwrap());
    socket.hears(&speech);
    speaker.join().unwrap();
}

#[test]
fn silence_does_not_end_a_socket() {
    let host = Host::willing();
    let server = "request_timeout: 1s\nbody_timeout: 1s\nkeepalive_timeout: 1s";
    let config = Config::single(&host.url).server(server);
    let router = config.routing("response_timeout: 1s\nstall_timeout: 1s").start();
    let mut socket = Socket::open(&router, &asked(PATH));
    for _ in 0..2 {
        std::thread::sleep(ms(2200));
        socket.says(b"still here");
    }
}

#[test]
fn the_model_of_the_query_routes_and_goes_by_its_name_there() {
    let (host, other) = (Host::willing(), Host::willing());
    let config = Config::new().credential("a", &host.url, "models:\n  - voice: vendor/gpt realtime");
    let router = config.credential("b", &other.url, "models: [gpt-realtime]").start();
    Socket::open(&router, &asked("/v1/realtime?x=%20&model=voice&y"));
    assert_eq!(host.openings()[0].start, "GET /v1/realtime?x=%20&model=vendor%2Fgpt+realtime&y HTTP/1.1");
    Socket::open(&router, &asked(PATH));
    assert_eq!((host.openings().len(), other.openings().len()), (0, 1));
    for _ in 0..2 {
        Socket::open(&router, &asked("/v1/realtime?intent=transcription"));
    }
    assert_eq!((host.openings().len(), other.openings().len()), (1, 1), "without a model everybody is asked");
    let answer = asked("/v1/realtime?model=other").send(&router);
    assert_eq!(answer.expect(404).code(), "model_not_found");
}

#[test]
fn a_browser_shows_its_key_among_the_subprotocols() {
    let host = Host::willing();
    let router = Config::single(&host.url).start();
    let protocols = |key: &str| format!("realtime, openai-insecure-api-key.{key}, openai-organization.org-1");
    let request = asked(PATH).keyless().header("Sec-WebSocket-Protocol", &protocols(router.key()));
    let socket = Socket::open(&router, &request);
    assert_eq!(socket.head.header("sec-websocket-protocol"), Some("realtime"));
    let [opening] = &host.openings()[..] else { panic!("one opening") };
    assert_eq!(opening.header("sec-websocket-protocol"), Some("realtime"));
    assert!(!format!("{opening:?}").contains(router.key()));
    asked(PATH).keyless().header("Sec-WebSocket-Protocol", &protocols("sk-other")).send(&router).expect(401);
    asked(PATH).keyless().send(&router).expect(401);
    assert!(host.openings().is_empty());
}

#[test]
fn an_opening_that_is_refused_goes_to_another_credential() {
    let refusals = [
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        "",
    ];
    for refusal in refusals {
        let host = Host::refusing(move |number, _| (number == 0).then_some(refusal));
        let router = Config::pool(&["a", "b"], &host.url).start();
        Socket::open(&router, &asked(PATH)).says(b"hello");
        assert_eq!(host.keys(), [key_of("a"), key_of("b")], "{refusal}");
    }
}

#[test]
fn an_opening_that_nobody_answers_has_the_patience_for_an_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let host = Host::willing();
    let config = Config::new().never_bans().routing("response_timeout: 1s");
    let config = config.credential("silent", &silent, "priority: 0");
    let router = config.clone().credential("live", &host.url, "priority: 1").start();
    Socket::open(&router, &asked(PATH)).says(b"hello");
    let answer = asked(PATH).send(&config.start());
    assert!(matches!(answer.status, 502 | 504) && answer.error().is_object(), "{}", answer.status);
}

#[test]
fn the_last_refusal_is_told_like_that_of_any_question() {
    let refusal = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Type: application/json\r\n\
                   Content-Length: 27\r\n\r\n{\"error\":{\"message\":\"slow\"}}";
    let host = Host::refusing(move |_, _| Some(refusal));
    let router = Config::single(&host.url).never_bans().start();
    let answer = asked(PATH).send(&router).expect(429);
    assert!(answer.header("retry-after").is_some() && answer.header("x-request-id").is_some());
    assert_eq!(answer.header("upgrade"), None);
}

#[test]
fn a_client_that_leaves_ends_its_socket_upstream() {
    let host = Host::willing();
    let router = Config::single(&host.url).fail2ban("max_attempts: 1\nban_duration: permanent").start();
    let socket = Socket::open(&router, &asked(PATH));
    drop(socket);
    until("the upstream's side has ended", || host.ended() == 1);
    assert_eq!(router.health_of("a")["is_banned"], false);
}

#[test]
fn an_upstream_that_ends_its_socket_ends_the_clients() {
    let host = Host::willing();
    let router = Config::single(&host.url).fail2ban("max_attempts: 1\nban_duration: permanent").start();
    let mut socket = Socket::open(&router, &asked(PATH));
    socket.conn.write(b"bye");
    assert!(socket.conn.closes_within(secs(3)));
    assert_eq!(router.health_of("a")["is_banned"], false);
}

#[test]
fn a_socket_is_told_when_it_has_ended() {
    let host = Host::willing();
    let router = Config::single(&host.url).start();
    let mut socket = Socket::open(&router, &asked(PATH));
    socket.says(b"hello");
    let told = || router.access_log().into_iter().find(|line| line.to_string().contains("/v1/realtime"));
    assert!(told().is_none());
    assert_eq!(router.health_of("a")["in_flight"], 1);
    socket.conn.write(b"bye");
    until("it is told", || told().is_some());
    let line = told().unwrap();
    assert_eq!(
        (&line["status"], &line["ended"], &line["model"]),
        (&101.into(), &"complete".into(), &"gpt-realtime".into()),
        "{line:#}"
    );
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&8.into(), &20.into()), "{line:#}");
    assert_eq!(router.health_of("a")["in_flight"], 0);
}

#[test]
fn credentials_take_turns_and_have_their_limits() {
    let host = Host::willing();
    let router = Config::pool(&["a", "b"], &host.url).start();
    for _ in 0..4 {
        Socket::open(&router, &asked(PATH));
    }
    let mut keys = host.keys();
    keys.sort();
    assert_eq!(keys, [key_of("a"), key_of("a"), key_of("b"), key_of("b")]);
    let router = Config::new().credential("a", &host.url, "max_concurrent: 1").start();
    let open = Socket::open(&router, &asked(PATH));
    assert!(matches!(asked(PATH).send(&router).status, 429 | 503));
    drop(open);
    until("the place is free again", || router.health_of("a")["in_flight"] == 0);
    Socket::open(&router, &asked(PATH));
}

#[test]
fn who_has_no_sockets_is_passed_over() {
    let (host, other) = (Host::willing(), Upstream::healthy());
    let strange = |config: Config| {
        let config = config.keyless("anthropic", "claude", &other.url(), "api_key: k");
        config.keyless("gemini", "google", &other.url(), "api_key: k")
    };
    let router = strange(Config::new()).credential("a", &host.url, "priority: 5").start();
    Socket::open(&router, &asked(PATH)).says(b"hello");
    let answer = asked(PATH).send(&strange(Config::new()).start()).expect(400);
    assert!(answer.message().contains("/v1/realtime"), "{}", answer.message());
    assert!(other.heads().iter().all(|(_, path)| !path.contains("realtime")));
}

#[test]
fn the_responses_api_has_a_socket_too() {
    let host = Host::willing();
    let config = Config::new().keyless("mistral", "m", &host.url, "api_key: k\npriority: 0");
    let router = config.credential("a", &host.url, "priority: 1").start();
    Socket::open(&router, &asked("/v1/responses")).says(b"{\"type\":\"response.create\"}");
    assert_eq!(host.keys(), [key_of("a")]);
    Request::get("/v1/responses").send(&router).expect(405);
    asked("/v1/chat/completions").send(&router);
    assert_eq!(host.openings()[0].header("upgrade"), None, "chats have no sockets");
}

#[test]
fn a_socket_goes_through_two_routers() {
    let host = Host::willing();
    let inner = Config::single(&host.url).start();
    let outer = Config::new().proxy("inner", &inner.url(), inner.key(), "").start();
    Socket::open(&outer, &asked(PATH)).says(b"hello");
    assert_eq!(host.keys(), [key_of("a")]);
}

#[test]
fn a_socket_that_outlasts_the_drain_is_cut() {
    let host = Host::willing();
    let mut router = Config::single(&host.url).server("drain_timeout: 2s").start();
    let mut socket = Socket::open(&router, &asked(PATH));
    router.sigterm();
    std::thread::sleep(ms(300));
    socket.says(b"still here");
    assert!(socket.conn.closes_within(secs(5)));
    assert!(router.exit(secs(5)).is_some_and(|status| status.success()));
    until("it is told", || router.access_log().iter().any(|line| line["ended"] == "drained"));
}
