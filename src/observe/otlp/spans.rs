//! One request as spans: one of the router as a server, and under it one for each attempt, as a client of a model.
//!
//! Names and attributes are those of OpenTelemetry's conventions for HTTP servers and for GenAI clients; what they have no
//! word for begins with `auto_ai_router.`. Tokens are on the attempts alone, so that a sum over spans counts them once.
//! Nothing that a caller or a model wrote is here, but for the name of the model, which is shortened.
//! Sources: open-telemetry/semantic-conventions-genai, docs/gen-ai/gen-ai-spans.md and gen-ai-metrics.md (well-known
//! values); semantic-conventions, docs/http/http-spans.md ("HTTP server span", status) and docs/general/recording-errors.md.

use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

use crate::observe::gen_ai::{operation, provider};
use crate::observe::outcome::{AttemptRecord, Ended, Outcome, TokenCount};
use crate::observe::trace::Trace;

/// Longer names of models are cut.
const MOST_NAME: usize = 256;

/// Who tells.
pub struct Teller<'a> {
    /// The name of the service.
    pub service: &'a str,
    /// Which of several of that name.
    pub instance: &'a str,
}

/// Where a credential leads.
pub struct Place<'a> {
    /// Its provider, in the words of the configuration.
    pub provider: &'static str,
    /// Its host.
    pub host: &'a str,
    /// The port there.
    pub port: u16,
}

/// The body of an export: what became of `outcomes`. `place` knows where a credential leads, if it is still there.
pub fn encoded<'a>(
    outcomes: &[Outcome],
    teller: &Teller<'_>,
    place: impl Fn(&str) -> Option<Place<'a>>,
) -> Vec<u8> {
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: crate::VERSION.to_owned(),
        ..InstrumentationScope::default()
    };
    let mut about = Attributes::default();
    about.text("service.name", teller.service);
    about.text("service.version", crate::VERSION);
    about.text("service.instance.id", teller.instance);
    let spans = outcomes.iter().flat_map(|outcome| spans(outcome, &place));
    let spans = ScopeSpans { scope: Some(scope), spans: spans.collect(), ..ScopeSpans::default() };
    let resource = Resource { attributes: about.0, ..Resource::default() };
    let all =
        ResourceSpans { resource: Some(resource), scope_spans: vec![spans], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![all] }.encode_to_vec()
}

/// How many spans the collector has refused though it took the rest, and why.
pub fn refused(answer: &[u8]) -> Option<(usize, String)> {
    let partial = ExportTraceServiceResponse::decode(answer).ok()?.partial_success?;
    Some((usize::try_from(partial.rejected_spans).unwrap_or_default(), partial.error_message))
}

fn spans<'a>(outcome: &Outcome, place: &impl Fn(&str) -> Option<Place<'a>>) -> Vec<Span> {
    let Some(trace) = outcome.trace else { return Vec::new() };
    let mut spans = vec![of_request(outcome, &trace)];
    for (number, attempt) in outcome.attempts.iter().enumerate() {
        spans.push(of_attempt(outcome, &trace, (number, attempt), place(&attempt.credential)));
    }
    spans
}

fn of_request(outcome: &Outcome, trace: &Trace) -> Span {
    let mut about = Attributes::default();
    about.text("http.request.method", outcome.method.as_str());
    about.text("http.route", outcome.endpoint);
    about.number("http.response.status_code", outcome.status.into());
    about.text_if("gen_ai.request.model", outcome.model.as_deref());
    about.text("auto_ai_router.request_id", &outcome.request_id);
    about.text_if("auto_ai_router.client", outcome.client.as_deref());
    about.text("auto_ai_router.ended", outcome.ended.as_str());
    about.text_if("auto_ai_router.refusal", outcome.refusal);
    // What the client did wrong is no error of the server's.
    let error = match broken_off(outcome.ended) {
        None if outcome.status >= 500 => Some(outcome.status.to_string()),
        broken_off => broken_off.map(str::to_owned),
    };
    about.text_if("error.type", error.as_deref());
    Span {
        span_id: trace.span.to_be_bytes().to_vec(),
        parent_span_id: trace.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        name: format!("{} {}", outcome.method, outcome.endpoint),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: nanoseconds(outcome.at, Duration::ZERO),
        end_time_unix_nano: nanoseconds(outcome.at, outcome.total),
        ..with(trace, about, error.is_some())
    }
}

fn of_attempt(
    outcome: &Outcome,
    trace: &Trace,
    (number, attempt): (usize, &AttemptRecord),
    place: Option<Place<'_>>,
) -> Span {
    let operation = operation(outcome.endpoint);
    let mut about = Attributes::default();
    about.text_if("gen_ai.operation.name", operation);
    if let Some(place) = place {
        about.text("gen_ai.provider.name", provider(place.provider));
        about.text("server.address", place.host);
        about.number("server.port", place.port.into());
    }
    about.text("gen_ai.request.model", &attempt.model);
    about.flag_if("gen_ai.request.stream", outcome.stream);
    about.text("auto_ai_router.credential", &attempt.credential);
    if matches!(attempt.reason, "ok" | "status") {
        about.number("http.response.status_code", attempt.status.into());
    }
    let (end, error) = ending(outcome, number, attempt);
    about.text_if("error.type", error.as_deref());
    if attempt.reason == "ok" {
        answered(&mut about, outcome, attempt);
    }
    about.tokens(if attempt.reason == "ok" { outcome.usage } else { attempt.tokens });
    Span {
        span_id: trace.attempt(number).to_be_bytes().to_vec(),
        parent_span_id: trace.span.to_be_bytes().to_vec(),
        name: format!("{} {}", operation.unwrap_or(outcome.method.as_str()), shortened(&attempt.model)),
        kind: SpanKind::Client.into(),
        start_time_unix_nano: nanoseconds(outcome.at, attempt.begun),
        end_time_unix_nano: nanoseconds(outcome.at, end),
        ..with(trace, about, error.is_some())
    }
}

/// When an attempt was over, from the head of the request on, and what it failed of. One whose answer is relayed lasts as
/// long as that.
fn ending(outcome: &Outcome, number: usize, attempt: &AttemptRecord) -> (Duration, Option<String>) {
    let judged = attempt.begun + attempt.took;
    match (attempt.reason, outcome.attempts.get(number + 1)) {
        ("ok", None) => (outcome.total, broken_off(outcome.ended).map(str::to_owned)),
        ("ok" | "client_gone", _) => (judged, None),
        ("status", _) => (judged, Some(attempt.status.to_string())),
        (reason, Some(next)) if attempt.tokens.is_some() => (next.begun, Some(reason.to_owned())),
        (reason, _) => (judged, Some(reason.to_owned())),
    }
}

/// What is known of a whole answer.
fn answered(about: &mut Attributes, outcome: &Outcome, attempt: &AttemptRecord) {
    about.text_if("gen_ai.response.model", outcome.upstream_model.as_deref());
    about.text_if("auto_ai_router.upstream_request_id", outcome.upstream_request_id.as_deref());
    if let Some(first) = outcome.first_token.filter(|_| outcome.stream) {
        let first = first.saturating_sub(attempt.begun).as_secs_f64();
        about.add("gen_ai.response.time_to_first_chunk", Value::DoubleValue(first));
    }
}

/// Why an answer that had begun is not whole, where that is no wish of the client's.
fn broken_off(ended: Ended) -> Option<&'static str> {
    let whole = matches!(ended, Ended::Complete | Ended::Refused | Ended::Failed | Ended::ClientGone);
    (!whole).then(|| ended.as_str())
}

/// What all spans of a trace have.
fn with(trace: &Trace, about: Attributes, failed: bool) -> Span {
    Span {
        trace_id: trace.id.to_be_bytes().to_vec(),
        attributes: about.0,
        status: failed.then(|| Status { code: StatusCode::Error.into(), ..Status::default() }),
        ..Span::default()
    }
}

fn nanoseconds(begun: SystemTime, after: Duration) -> u64 {
    let at = begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + after;
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}

/// At most `MOST_NAME` bytes, cut between characters.
fn shortened(name: &str) -> &str {
    let end = (0..=name.len().min(MOST_NAME)).rev().find(|end| name.is_char_boundary(*end));
    name.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn add(&mut self, name: &str, value: Value) {
        let value = Some(AnyValue { value: Some(value) });
        self.0.push(KeyValue { key: name.to_owned(), value, ..KeyValue::default() });
    }

    fn text(&mut self, name: &str, value: &str) {
        self.add(name, Value::StringValue(shortened(value).to_owned()));
    }

    fn text_if(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    fn number(&mut self, name: &str, value: u64) {
        self.add(name, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn flag_if(&mut self, name: &str, value: bool) {
        if value {
            self.add(name, Value::BoolValue(true));
        }
    }

    fn tokens(&mut self, tokens: Option<TokenCount>) {
        let Some(tokens) = tokens else { return };
        self.number("gen_ai.usage.input_tokens", tokens.prompt);
        self.number("gen_ai.usage.output_tokens", tokens.completion);
        for (name, part) in [
            ("gen_ai.usage.cache_read.input_tokens", tokens.cached),
            ("gen_ai.usage.reasoning.output_tokens", tokens.reasoning),
        ] {
            if part > 0 {
                self.number(name, part);
            }
        }
        self.flag_if("auto_ai_router.tokens_estimated", tokens.estimated);
    }
}

#[cfg(test)]
mod tests;
