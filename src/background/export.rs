//! Sends what became of requests to a collector, by OTLP over HTTP in protobuf. It outlasts configurations, and goes on
//! while the process is about to leave, because the last requests end only then.
//!
//! Batches go one after the other, by the dialer that upstreams are reached by. What the collector is too busy for is sent
//! again, ever more rarely; what it refuses is lost. Either is logged when it begins and when it is over, not for each
//! batch.
//! Source: OTLP specification 1.x, "OTLP/HTTP": success with partial success, failures that are to be retried (429, 502,
//! 503, 504), `Retry-After`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use pingora::http::RequestHeader;
use url::{Position, Url};

use crate::config::Otlp;
use crate::edge::addresses::{AddressSet, Route};
use crate::edge::exchange::Dial;
use crate::edge::Edge;
use crate::handover::Running;
use crate::llm::body::Body;
use crate::observe::otlp::spans::{self, Place, Teller};
use crate::observe::otlp::{self, Batch};
use crate::providers::retry_after::retry_after;
use crate::providers::Transport;

/// For one export (the default of `OTEL_EXPORTER_OTLP_TIMEOUT`).
const PATIENCE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
/// Before the second try of a batch; doubled before each further one.
const AGAIN: Duration = Duration::from_secs(1);
const MOST_TRIES: u32 = 5;
/// Of an answer, more than this is not read.
const MOST_ANSWER: usize = 64 * 1024;
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Exports for as long as the process lives.
pub fn begin(running: Arc<Running>) {
    tokio::spawn(async move {
        let mut collector: Option<Collector> = None;
        let mut well = true;
        loop {
            let batch = otlp::batch().await;
            let edge = running.live.edge();
            let Some(otlp) = &edge.gateway.settings.otlp else { continue };
            let known = collector.take().filter(|known| known.endpoint == otlp.endpoint);
            let collector = collector.insert(known.unwrap_or_else(|| Collector::new(otlp)));
            let told = collector.tell(&edge, otlp, batch).await;
            match &told {
                Err(why) if well => log::warn!("traces do not reach {}: {why}", collector.addresses.label()),
                Ok(()) if !well => log::info!("traces reach {} again", collector.addresses.label()),
                _ => {}
            }
            well = told.is_ok();
        }
    });
}

struct Collector {
    endpoint: Url,
    addresses: Arc<AddressSet>,
}

/// What became of one try.
enum Told {
    /// The collector has it, but for so many spans.
    Taken(usize),
    /// It may take it later, after so long if it has said so.
    Later(Option<Duration>, String),
    /// It never will.
    Never(String),
}

impl Collector {
    fn new(otlp: &Otlp) -> Self {
        let addresses = AddressSet::new(Route::to(&otlp.endpoint, CONNECT));
        Self { endpoint: otlp.endpoint.clone(), addresses }
    }

    async fn tell(&self, edge: &Edge, otlp: &Otlp, batch: Batch) -> Result<(), String> {
        let body = encoded(edge, otlp, &batch);
        let mut tries = 0;
        loop {
            tries += 1;
            let trying = self.post(edge, otlp, &body);
            let told = tokio::time::timeout(PATIENCE, trying).await;
            let told = told.unwrap_or(Err(Transport::ResponseTimeout));
            let (pause, why) = match told.unwrap_or_else(|why| Told::Later(None, why.as_str().to_owned())) {
                Told::Taken(refused) => {
                    batch.delivered(refused);
                    return Ok(());
                }
                Told::Never(why) => return Err(why),
                Told::Later(pause, why) => (pause, why),
            };
            if tries >= MOST_TRIES || batch.is_urgent() {
                return Err(why);
            }
            let most = AGAIN * 2u32.pow(MOST_TRIES);
            tokio::time::sleep(pause.unwrap_or(AGAIN * 2u32.pow(tries - 1)).min(most)).await;
        }
    }

    async fn post(&self, edge: &Edge, otlp: &Otlp, body: &Bytes) -> Result<Told, Transport> {
        // A name may mean another place by now. One that is not answered for keeps the places known before.
        let _ = self.addresses.refresh().await;
        let mut exchange = edge.dialer.open(&self.addresses, Dial::Any).await?;
        let head = head(&self.endpoint, otlp, body.len()).map_err(|_| Transport::LocalFault)?;
        exchange.send(head, &Body::whole(body.clone())).await?;
        exchange.head(None).await?;
        let head = exchange.response().ok_or(Transport::Malformed)?;
        let (status, headers) = (head.status.as_u16(), head.headers.clone());
        let answer = exchange.error_body(MOST_ANSWER, ANSWER_TIME).await;
        edge.dialer.release(exchange).await;
        Ok(match status {
            200..=299 => Told::Taken(refused(edge, &answer)),
            429 | 502 | 503 | 504 => {
                Told::Later(retry_after(&headers, SystemTime::now()), format!("status {status}"))
            }
            _ => Told::Never(format!("status {status}")),
        })
    }
}

fn refused(edge: &Edge, answer: &[u8]) -> usize {
    let Some((refused, why)) = spans::refused(answer) else { return 0 };
    if refused > 0 {
        let why = edge.gateway.scrubber.scrub(&why);
        log::warn!("the collector has refused {refused} spans: {}", why.escape_debug());
    }
    refused
}

fn encoded(edge: &Edge, otlp: &Otlp, batch: &Batch) -> Bytes {
    let upstreams = edge.gateway.upstreams().map(|(_, upstream)| (&*upstream.name, upstream));
    let upstreams: HashMap<&str, _> = upstreams.collect();
    let teller = Teller { service: &otlp.service_name, instance: &edge.gateway.hop };
    let encoded = spans::encoded(&batch.outcomes, &teller, |credential| {
        let upstream = upstreams.get(credential)?;
        let route = upstream.addresses.route();
        Some(Place { provider: upstream.provider.name, host: &route.host, port: route.port })
    });
    encoded.into()
}

fn head(endpoint: &Url, otlp: &Otlp, length: usize) -> pingora::Result<Box<RequestHeader>> {
    let mut head = RequestHeader::build_no_case(http::Method::POST, endpoint.path().as_bytes(), Some(8))?;
    head.insert_header(HOST, &endpoint[Position::BeforeHost..Position::AfterPort])?;
    head.insert_header(USER_AGENT, format!("{}/{}", env!("CARGO_PKG_NAME"), crate::VERSION))?;
    for (name, value) in &otlp.headers {
        head.insert_header(name.clone(), value.expose())?;
    }
    head.insert_header(CONTENT_TYPE, "application/x-protobuf")?;
    head.insert_header(CONTENT_LENGTH, length)?;
    Ok(Box::new(head))
}
