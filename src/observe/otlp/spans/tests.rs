//! What spans say, read back by the types of the protocol.

use super::*;

const TELLER: Teller<'_> = Teller { service: "router", instance: "i" };

fn attempt(begun: u64, took: u64, status: u16, reason: &'static str) -> AttemptRecord {
    let [begun, took] = [begun, took].map(Duration::from_millis);
    AttemptRecord { credential: "a".into(), model: "m".into(), status, begun, took, reason, tokens: None }
}

fn outcome() -> Outcome {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let mut outcome = Outcome::begun("req_1".into(), http::Method::POST, "/v1/chat/completions", at);
    outcome.trace = Trace::continued(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", 5);
    outcome.model = Some("alias".into());
    outcome.status = 200;
    outcome.ended = Ended::Complete;
    outcome.total = Duration::from_millis(900);
    outcome
}

fn told(outcome: &Outcome) -> Vec<Span> {
    let place = |name: &str| (name == "a").then_some(Place { provider: "azure", host: "h", port: 443 });
    let body = encoded(std::slice::from_ref(outcome), &TELLER, place);
    let mut told = ExportTraceServiceRequest::decode(&*body).unwrap();
    let mut all = told.resource_spans.remove(0);
    assert_eq!(value(&all.resource.unwrap().attributes, "service.name"), "router");
    all.scope_spans.remove(0).spans
}

fn value(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|pair| pair.key == key);
    match found.and_then(|pair| pair.value.as_ref()?.value.clone()) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        _ => String::new(),
    }
}

fn milliseconds(span: &Span) -> (u64, u64) {
    let since = |at: u64| at / 1_000_000 - 1_790_000_000_000;
    (since(span.start_time_unix_nano), since(span.end_time_unix_nano))
}

#[test]
fn a_request_is_a_span_of_the_client_and_its_attempts_are_spans_of_it() {
    let mut outcome = outcome();
    outcome.attempts = vec![attempt(10, 100, 503, "status"), attempt(120, 80, 200, "ok")];
    outcome.upstream_model = Some("m-2026".into());
    (outcome.stream, outcome.first_token) = (true, Some(Duration::from_millis(370)));
    outcome.usage = Some(TokenCount { prompt: 7, completion: 11, cached: 3, reasoning: 0, estimated: true });
    let [request, failed, served] = told(&outcome).try_into().unwrap();
    let trace = outcome.trace.unwrap();
    for span in [&request, &failed, &served] {
        assert_eq!(span.trace_id, trace.id.to_be_bytes());
    }
    assert_eq!(request.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!((request.kind, failed.kind, served.kind), (2, 3, 3));
    assert_eq!([&failed.parent_span_id, &served.parent_span_id], [&request.span_id; 2]);
    for (number, span) in [&failed, &served].into_iter().enumerate() {
        assert_eq!(span.span_id, trace.attempt(number).to_be_bytes());
    }
    assert_eq!(
        [&request.name, &failed.name, &served.name],
        ["POST /v1/chat/completions", "chat m", "chat m"]
    );
    assert_eq!([milliseconds(&failed), milliseconds(&served)], [(10, 110), (120, 900)]);
    for (key, of_failed, of_served) in [
        ("gen_ai.operation.name", "chat", "chat"),
        ("gen_ai.provider.name", "azure.ai.openai", "azure.ai.openai"),
        ("server.address", "h", "h"),
        ("http.response.status_code", "503", "200"),
        ("error.type", "503", ""),
        ("gen_ai.response.model", "", "m-2026"),
        ("gen_ai.response.time_to_first_chunk", "", "0.25"),
        ("gen_ai.usage.input_tokens", "", "7"),
        ("gen_ai.usage.output_tokens", "", "11"),
        ("gen_ai.usage.cache_read.input_tokens", "", "3"),
        ("gen_ai.usage.reasoning.output_tokens", "", ""),
        ("auto_ai_router.tokens_estimated", "", "true"),
    ] {
        let values = [value(&failed.attributes, key), value(&served.attributes, key)];
        assert_eq!(values, [of_failed, of_served], "{key}");
    }
    assert_eq!(value(&request.attributes, "gen_ai.usage.input_tokens"), "");
    assert_eq!(value(&request.attributes, "gen_ai.request.model"), "alias");
    assert_eq!([request.status, served.status], [None, None]);
    assert_eq!(failed.status.unwrap().code, i32::from(StatusCode::Error));
}

#[test]
fn what_a_client_does_is_no_error_and_what_a_server_does_is_one() {
    for (status, ended, error) in [
        (401, Ended::Refused, ""),
        (499, Ended::ClientGone, ""),
        (503, Ended::Refused, "503"),
        (502, Ended::Failed, "502"),
        (200, Ended::Truncated, "truncated"),
        (500, Ended::Panicked, "panicked"),
    ] {
        let outcome = Outcome { status, ended, ..outcome() };
        let [request] = told(&outcome).try_into().unwrap();
        assert_eq!(value(&request.attributes, "error.type"), error, "{status} {ended:?}");
        assert_eq!(request.status.is_some(), !error.is_empty(), "{status} {ended:?}");
    }
}

#[test]
fn an_answer_that_another_attempt_goes_on_with_lasts_until_then() {
    let mut outcome = outcome();
    let broken = AttemptRecord {
        tokens: Some(TokenCount { completion: 4, ..TokenCount::default() }),
        ..attempt(0, 50, 502, "truncated")
    };
    outcome.attempts = vec![broken, attempt(400, 50, 200, "ok")];
    let [_, broken, whole] = told(&outcome).try_into().unwrap();
    assert_eq!([milliseconds(&broken), milliseconds(&whole)], [(0, 400), (400, 900)]);
    assert_eq!(value(&broken.attributes, "error.type"), "truncated");
    assert_eq!(value(&broken.attributes, "gen_ai.usage.output_tokens"), "4");
    assert_eq!(value(&broken.attributes, "http.response.status_code"), "");
}

#[test]
fn a_name_is_cut_between_characters() {
    let mut outcome = outcome();
    outcome.model = Some("é".repeat(10_000));
    let [request] = told(&outcome).try_into().unwrap();
    assert_eq!(value(&request.attributes, "gen_ai.request.model"), "é".repeat(MOST_NAME / 2));
    assert_eq!(shortened(&"é€".repeat(1000)).len(), 255);
}

#[test]
fn a_collector_may_refuse_some_of_it() {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
    let partial = ExportTracePartialSuccess { rejected_spans: 2, error_message: "no".into() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    assert_eq!(refused(&answer), Some((2, "no".into())));
    assert_eq!((refused(b""), refused(b"{}")), (None, None));
}
