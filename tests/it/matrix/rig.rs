//! The rig: one real router for many cases, and what must be true after each of them.
//!
//! A router is started once for a configuration. Each case has a model, credentials and upstreams of its own in it (a
//! cell), so that cases run side by side, and what one leaves behind is plain to see: strikes, requests, tokens. After
//! each case nothing is in flight or reserved, and one access line tells of it; at the end lines, counters and requests
//! are as many. Every key is a canary, the router logs all it can, and nothing that it says shows one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{json, Value};

use super::ask::{Ask, Protocol, Seen};
use super::row::{Fault, Place, Row, Shape, Strikes, Then, Tokens, Told};
use super::secrets::Canaries;
use crate::support::reply::Step;
use crate::support::tls::TlsUpstream;
use crate::support::*;

/// So many cases run at once.
const WORKERS: usize = 8;

/// One case: a fault in a shape, and its own corner of the router.
struct Cell {
    row: u8,
    fault: Fault,
    shape: Shape,
    model: String,
    upstreams: Vec<Upstream>,
    /// Calls that are never answered to their end: the router must end them.
    hanging: Arc<AtomicUsize>,
    /// What else has to be there for its first candidate.
    _places: Vec<Box<dyn std::any::Any + Send + Sync>>,
}

impl Cell {
    fn credential(&self, at: usize) -> String {
        format!("{}-{}", self.model, ["first", "second", "third"][at])
    }

    /// Whether its one candidate is to be asked again and again.
    fn is_asked_in_rounds(&self) -> bool {
        self.shape.candidates == 1 && self.fault.alone.is_some_and(|then| then.requests > 2)
    }

    fn name(&self) -> String {
        let Shape { stream, protocol, candidates } = self.shape;
        let form = if stream { "stream" } else { "unary" };
        format!("{} {:?}, {form}, {protocol:?}, {candidates} of them", self.row, self.fault.name)
    }
}

/// A router and its cells.
pub struct Rig {
    pub router: Router,
    cells: Vec<Cell>,
    canaries: Canaries,
    key: String,
    /// All that clients were told.
    told: Mutex<Vec<u8>>,
    asked: Mutex<usize>,
}

/// Plays all cases of these rows on a router of this configuration.
#[track_caller]
pub fn play(config: Config, rows: Vec<Row>) {
    let rig = Rig::start(config, rows);
    rig.play_all();
    rig.ends_in_balance();
    rig.shows_no_secret();
}

/// The configuration that most rows are tried with: short times, and no ban, so that strikes can be counted.
pub fn usual() -> Config {
    Config::new()
        .server("logging_level: debug\nheader_timeout: 2s\nbody_timeout: 3s\nmax_body_size: 1MiB")
        .server("request_timeout: 20s")
        .routing("response_timeout: 5s\nfirst_token_timeout: 5s\nstall_timeout: 5s")
        .fail2ban("max_attempts: 100\nban_duration: 1m")
        .fail2ban("error_codes: [401, 402, 403, 429, 500, 502, 503, 504, 529]")
        .fail2ban("error_code_rules: [{code: 507, max_attempts: 1, ban_duration: 1m}]")
}

impl Rig {
    fn start(mut config: Config, rows: Vec<Row>) -> Self {
        let mut canaries = Canaries::default();
        let key = canaries.make("server.master_key");
        config = config.master_key(&key);
        let mut cells = Vec::new();
        for row in rows {
            for fault in row.faults {
                for shape in fault.shapes() {
                    let model = format!("m{}", cells.len());
                    let cell = Cell {
                        row: row.number,
                        fault: fault.clone(),
                        shape,
                        model,
                        upstreams: Vec::new(),
                        hanging: Arc::default(),
                        _places: Vec::new(),
                    };
                    let (cell, with) = cell.settle(config, &mut canaries);
                    config = with;
                    cells.push(cell);
                }
            }
        }
        Self { router: config.start(), cells, canaries, key, told: Mutex::default(), asked: Mutex::new(0) }
    }

    fn play_all(&self) {
        let queue: Mutex<VecDeque<&Cell>> = Mutex::new(self.cells.iter().collect());
        let wrong = at_once(WORKERS, |_| {
            let mut wrong = Vec::new();
            loop {
                let mut queued = queue.lock().unwrap();
                let Some(cell) = queued.pop_front() else { return wrong };
                // All share a budget of ten retries a second, so they do not begin all at once.
                std::thread::sleep(ms(if cell.is_asked_in_rounds() { 600 } else { 60 }));
                drop(queued);
                wrong.extend(self.play(cell).into_iter().map(|what| format!("{}: {what}", cell.name())));
            }
        });
        let wrong: Vec<_> = wrong.into_iter().flatten().collect();
        let cases = self.cells.len();
        assert!(wrong.is_empty(), "{} things wrong in {cases} cases:\n{}", wrong.len(), wrong.join("\n"));
    }

    /// Plays one case: what is wrong.
    fn play(&self, cell: &Cell) -> Vec<String> {
        let expected = cell.fault.expected(cell.shape);
        let trace = format!("{:a>32}", &cell.model[1..]);
        let ask = Ask::chat(&self.key, &cell.model, cell.shape.stream)
            .header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
        let ask = (cell.fault.ask)(ask);
        for _ in 0..cell.fault.before {
            self.ask(&ask, cell.shape);
        }
        let seen = self.ask(&ask, cell.shape);
        let mut wrong: Vec<String> = is_told(expected.told, cell.shape, &seen).into_iter().collect();
        wrong.extend((cell.fault.also)(&seen, cell.shape));
        if let Err(state) = self.is_left_with(cell, expected) {
            wrong.push(state);
        }
        wrong.extend(self.lines_of(cell, &seen, expected, &trace));
        wrong
    }

    fn ask(&self, ask: &Ask, shape: Shape) -> Seen {
        *self.asked.lock().unwrap() += 1;
        let seen = ask.send(&self.router, shape.protocol);
        let mut told = self.told.lock().unwrap();
        for (name, value) in &seen.headers {
            told.extend_from_slice(format!("{name}: {value}\n").as_bytes());
        }
        told.extend_from_slice(&seen.body);
        told.push(b'\n');
        drop(told);
        seen
    }

    /// Waits until the books of the cell are as they must be.
    fn is_left_with(&self, cell: &Cell, expected: Then) -> Result<(), String> {
        let mut last = Vec::new();
        let settled = eventually(secs(6), || {
            let page = self.router.get(&format!("/vhealth?format=json&q={}", cell.model)).json();
            let health = self.router.health();
            last = (0..cell.shape.candidates)
                .flat_map(|at| standing(cell, at, expected, &health, &page))
                .collect();
            last.extend(cell.still_called());
            last.is_empty().then_some(())
        });
        settled.ok_or_else(|| last.join("; "))
    }

    /// One line tells of the case, and no more.
    fn lines_of(&self, cell: &Cell, seen: &Seen, expected: Then, trace: &str) -> Vec<String> {
        let id = seen.header("x-request-id").map(|id| format!("\"request_id\":\"{id}\""));
        let by = id.unwrap_or_else(|| format!("\"trace_id\":\"{trace}\""));
        let lines = eventually(secs(5), || {
            let all = self.router.stdout();
            let found: Vec<_> = all.lines().filter(|line| line.contains(&by)).map(str::to_owned).collect();
            (!found.is_empty()).then_some(found)
        });
        let mut lines = lines.unwrap_or_default();
        if seen.header("x-request-id").is_none() {
            lines.drain(..cell.fault.before.min(lines.len()));
        }
        let [line] = lines.as_slice() else { return vec![format!("{} access lines with {by}", lines.len())] };
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        let status = match expected.told {
            Told::Served | Told::Broken(_) => 200,
            Told::Error(status, _) | Told::Closing(status, _) => status,
            Told::Gone => 499,
        };
        let right =
            line["status"] == status || (expected.told == Told::Gone && line["ended"] == "client_gone");
        (!right).then(|| format!("the access line says {line}")).into_iter().collect()
    }

    /// The lines about requests of the cases; the rig's own go to other places.
    fn asked_lines(&self) -> usize {
        let places = ["/v1/chat/completions", "other"];
        let lines = self.router.access_log();
        lines.iter().filter(|line| places.iter().any(|place| line["endpoint"] == *place)).count()
    }

    /// As many requests as lines as counts, and nothing under way.
    fn ends_in_balance(&self) {
        let asked = *self.asked.lock().unwrap();
        let told = || {
            let counted: f64 = chat_counts(&self.router.get("/metrics").text()).iter().sum();
            (self.asked_lines(), counted as usize)
        };
        let balanced = eventually(secs(5), || (told().0 == asked && told().1 == asked).then_some(()));
        assert!(balanced.is_some(), "{asked} requests, but lines, counts: {:?}", told());
        let metrics = self.router.get("/metrics").text();
        let known =
            |label: &str| label == "none" || self.cells.iter().any(|cell| label.starts_with(&cell.model));
        for line in metrics.lines().filter(|line| line.contains("credential=\"")) {
            let label = line.split_once("credential=\"").and_then(|(_, rest)| rest.split('"').next());
            assert!(label.is_some_and(known), "a label that nobody configured: {line}");
        }
        until("nothing but the question itself is in flight", || {
            self.router.metric("auto_ai_router_in_flight", &[]) == Some(1.0)
        });
        let panics = self.router.stderr().matches("panicked").count();
        assert_eq!(panics, 0, "{}", self.router.stderr());
    }

    /// Nothing that anybody can read shows eight characters of a key.
    fn shows_no_secret(&self) {
        let pages =
            ["/health", "/vhealth", "/vhealth?format=json", "/vhealth?format=csv", "/metrics", "/trace"];
        let more = ["/v1/models", "/v1/usage", "/openapi.json", "/explain?model=m0", "/router/stats"];
        let pages: Vec<u8> = pages.iter().chain(&more).flat_map(|path| self.router.get(path).body).collect();
        let (stdout, stderr) = (self.router.stdout(), self.router.stderr());
        let told = self.told.lock().unwrap();
        self.canaries.are_in_none_of(&[
            ("standard output", stdout.as_bytes()),
            ("standard error", stderr.as_bytes()),
            ("a page", &pages),
            ("what clients were told", &told),
        ]);
    }
}

impl Cell {
    /// Sets up its upstreams, and adds its credentials to the configuration.
    fn settle(mut self, mut config: Config, canaries: &mut Canaries) -> (Self, Config) {
        for at in 0..self.shape.candidates {
            let url = match (at, self.fault.first) {
                (0, Place::Scripted(script)) => self.scripted(script),
                (0, place) => self.elsewhere(place),
                _ => self.scripted(self.fault.others),
            };
            let key = canaries.make(&self.credential(at));
            let lines = self.fault.lines;
            let rpm = if lines.contains("rpm:") { "" } else { "rpm: 1000\n" };
            let lines = format!(
                "api_key: {key}\nmodels: [{}]\npriority: {at}\ntpm: 1000000\n{rpm}{lines}",
                self.model
            );
            config = config.keyless("openai", &self.credential(at), &url, &lines);
        }
        (self, config)
    }

    fn scripted(&mut self, script: fn(&Call) -> Reply) -> String {
        let hanging = self.hanging.clone();
        let upstream = Upstream::scripted(move |call| {
            let reply = script(call);
            if matches!(reply.steps.last(), Some(Step::Hang)) {
                hanging.fetch_add(1, Ordering::SeqCst);
            }
            reply
        });
        let url = upstream.url();
        self.upstreams.push(upstream);
        url
    }

    /// How many calls that hang the router has not ended.
    fn still_called(&self) -> Option<String> {
        let calls = self.upstreams.iter().flat_map(Upstream::calls);
        let ended = calls.filter(|call| call.gone().is_some()).count();
        let open = self.hanging.load(Ordering::SeqCst).saturating_sub(ended);
        (open > 0).then(|| format!("{open} calls are still open"))
    }

    fn elsewhere(&mut self, place: Place) -> String {
        match place {
            Place::Deaf => {
                let deaf = Deaf::new();
                let url = deaf.url.clone();
                self._places.push(Box::new(deaf));
                url
            }
            Place::Untrusted => {
                let upstream = TlsUpstream::offering(&["http/1.1"]);
                let url = upstream.url();
                self._places.push(Box::new(upstream));
                url
            }
            // Of its own: where all credentials of a host fail, it is the host.
            Place::Nameless => format!("http://{}.invalid:1", self.model),
            Place::Refuses | Place::Scripted(_) => {
                let (socket, url) = taken();
                self._places.push(Box::new(socket));
                url
            }
        }
    }
}

/// What differs from what a candidate must be left with.
fn standing(cell: &Cell, at: usize, expected: Then, health: &Value, page: &Value) -> Vec<String> {
    let name = cell.credential(at);
    let own = &health["credentials"][&name];
    let pair = &health["models"][format!("{name}:{}", cell.model)];
    let line = page["credentials"].as_array().and_then(|all| all.iter().find(|line| line["name"] == name));
    let line = line.cloned().unwrap_or_default();
    let mut wrong = Vec::new();
    let mut is = |what: &str, is: &Value, must: Value| {
        if *is != must {
            wrong.push(format!("{name}: {what} is {is} and not {must}"));
        }
    };
    is("in flight", &own["in_flight"], json!(0));
    is("reserved", &line["tpm_reserved"], json!(0));
    let strikes = [own, pair].map(|standing| standing["strikes"].as_u64().unwrap_or(0));
    if at > 0 {
        // They are well, or the request fails everywhere, which is not held against them.
        is("strikes", &json!(strikes), json!([0, 0]));
        return wrong;
    }
    let right = match expected.strikes {
        Strikes::None => strikes == [0, 0],
        Strikes::Pair(count) => strikes == [0, count],
        Strikes::Key(count) => strikes == [count, 0],
        Strikes::Banned => pair["is_banned"] == true,
    };
    is(&format!("right with strikes {strikes:?}"), &json!(right), json!(true));
    is("requests", &own["current_rpm"], json!(expected.requests));
    let cooled = [own, pair].iter().any(|standing| standing["state"] == "cool_down");
    is("cooled down", &json!(cooled), json!(expected.cooled));
    let tokens = &own["current_tpm"];
    match expected.tokens {
        Tokens::None => is("tokens", tokens, json!(0)),
        Tokens::Reported => is("tokens", tokens, json!(12 * expected.requests)),
        Tokens::Estimated => {
            let some = tokens.as_u64().is_some_and(|n| (1..1000).contains(&n) && n != 12);
            is("tokens estimated", &json!(some), json!(true));
        }
    }
    wrong
}

/// What differs from what the client must be told.
fn is_told(told: Told, shape: Shape, seen: &Seen) -> Option<String> {
    let all = || format!("{:?} {:?} {}", seen.status, seen.headers, shortened(&seen.text()));
    let right = match told {
        Told::Served if shape.stream => is_whole_stream(seen),
        Told::Served => seen.status == Some(200) && seen.whole && seen.text().contains("Hello there"),
        Told::Error(status, code) => is_error(seen, status, code),
        Told::Closing(status, code) => {
            is_error(seen, status, code)
                && (shape.protocol == Protocol::H2 || seen.header("connection") == Some("close"))
        }
        Told::Broken(code) => is_broken(seen, code),
        Told::Gone => !seen.whole,
    };
    (!right || seen.patience_over).then(|| format!("the client was not told {told:?} but {}", all()))
}

fn is_whole_stream(seen: &Seen) -> bool {
    let events = seen.events();
    let text: String = events.iter().map(|event| content(event)).collect();
    seen.status == Some(200)
        && seen.whole
        && text == "Hello there"
        && events.last().is_some_and(|e| e == "[DONE]")
}

fn content(event: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
}

fn is_error(seen: &Seen, status: u16, code: &str) -> bool {
    let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let error = &body["error"];
    let named = error["message"].as_str().is_some_and(|message| !message.is_empty());
    seen.status == Some(status)
        && seen.whole
        && named
        && error["code"].as_str().unwrap_or_default() == code
        && seen.header("x-request-id").is_some()
}

fn is_broken(seen: &Seen, code: &str) -> bool {
    let events = seen.events();
    let last: Value = events.last().and_then(|event| serde_json::from_str(event).ok()).unwrap_or_default();
    let said = events.iter().any(|event| !content(event).is_empty());
    seen.status == Some(200) && said && last["error"]["code"] == code && !events.iter().any(|e| e == "[DONE]")
}

fn shortened(text: &str) -> String {
    text.chars().take(600).collect()
}

/// The counts of chat requests in the metrics.
fn chat_counts(metrics: &str) -> Vec<f64> {
    let counts = metrics.lines().filter(|line| {
        let asked = line.contains("/chat/completions\"") || line.contains("endpoint=\"other\"");
        line.starts_with("auto_ai_router_requests_total{") && asked
    });
    counts.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}

/// A port that is taken, so that nobody else can listen there, and nobody does.
fn taken() -> (tokio::net::TcpSocket, String) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    (socket, url)
}
