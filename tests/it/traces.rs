//! Traces: how a request's place in one is said to upstreams, and what leaves for a collector.

use std::collections::HashSet;

use crate::support::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// What a call has said of its trace: the id, its parent, the flags.
fn told(call: &Call) -> [String; 3] {
    let said: Vec<_> = call.headers.iter().filter(|(name, _)| name == "traceparent").collect();
    let [(_, said)] = said[..] else { panic!("{} times", said.len()) };
    let parts: Vec<&str> = said.split('-').collect();
    let ["00", trace, parent, flags] = parts[..] else { panic!("{said}") };
    assert_eq!((trace.len(), parent.len(), flags.len()), (32, 16, 2), "{said}");
    [trace, parent, flags].map(str::to_owned)
}

#[test]
fn a_trace_goes_on_and_each_attempt_is_a_child_of_its_own() {
    let (ill, well) = (Upstream::always(respond(503).error("no", "server_error", None)), Upstream::healthy());
    let router = Config::new()
        .credential("ill", &ill.url(), "priority: 1")
        .credential("well", &well.url(), "priority: 2")
        .start();
    for (flags, states) in [("01", vec!["a=1,b=2", "c=3"]), ("00", vec![])] {
        let (before, after) = (ill.count(), well.count());
        let mut request = Request::chat(&chat("m")).header("traceparent", &traceparent(flags));
        for state in &states {
            request = request.header("tracestate", state);
        }
        request.send(&router).expect(200);
        let (first, second) = (ill.wait_for(before), well.wait_for(after));
        let (one, other) = (told(&first), told(&second));
        assert_eq!([&one[0], &one[2]], [TRACE, flags]);
        assert_eq!([&other[0], &other[2]], [TRACE, flags]);
        assert_eq!(HashSet::from([PARENT, &one[1], &other[1]]).len(), 3, "{one:?} {other:?}");
        let passed = second.headers.iter().filter(|(name, _)| name == "tracestate").map(|(_, value)| value);
        assert_eq!(passed.collect::<Vec<_>>(), states);
    }
    until("two lines", || router.chat_log().len() == 2);
    assert!(router.chat_log().iter().all(|line| line["trace_id"] == TRACE));
}

#[test]
fn a_request_without_a_sound_traceparent_begins_a_trace() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let unsound = [
        vec![],
        vec!["00-ab-cd-01".to_owned()],
        vec![traceparent("01").to_uppercase()],
        vec![format!("00-{}-{PARENT}-01", "0".repeat(32))],
        vec![format!("{}-more", traceparent("01"))],
        vec![traceparent("01"), traceparent("01")],
    ];
    let mut seen = HashSet::new();
    for (at, headers) in unsound.iter().enumerate() {
        let mut request = Request::chat(&chat("m")).header("tracestate", "a=1");
        for header in headers {
            request = request.header("traceparent", header);
        }
        request.send(&router).expect(200);
        let call = upstream.wait_for(at);
        let [trace, parent, flags] = told(&call);
        assert_eq!((flags.as_str(), call.header("tracestate")), ("01", None), "{headers:?}");
        assert!(trace != TRACE && seen.insert(trace.clone()) && seen.insert(parent), "{headers:?}");
        until("its line", || router.chat_log().len() == at + 1);
        assert_eq!(router.chat_log()[at]["trace_id"], trace, "{headers:?}");
    }
}

#[test]
fn a_request_that_is_not_opened_is_part_of_its_trace_too() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let get = Request::get("/v1/files").header("traceparent", &traceparent("01")).header("tracestate", "a=1");
    get.send(&router).expect(200);
    let call = upstream.wait_for(0);
    let [trace, parent, flags] = told(&call);
    assert_eq!((trace.as_str(), flags.as_str(), call.header("tracestate")), (TRACE, "01", Some("a=1")));
    assert_ne!(parent, PARENT);
}

#[test]
fn a_refused_request_has_its_trace_on_its_line() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let refused =
        Request::chat(&chat("m")).by("nobody-has-this-key").header("traceparent", &traceparent("01"));
    refused.send(&router).expect(401);
    until("its line", || router.chat_log().len() == 1);
    assert_eq!(router.chat_log()[0]["trace_id"], TRACE);
}

#[test]
fn two_routers_are_two_links_of_one_trace() {
    let upstream = Upstream::healthy();
    let inner = Config::single(&upstream.url()).start();
    let outer = Config::new().proxy("inner", &inner.url(), MASTER_KEY, "").start();
    outer.chat(&chat("m")).expect(200);
    let [trace, ..] = told(&upstream.only());
    for router in [&inner, &outer] {
        until("its line", || router.chat_log().len() == 1);
        assert_eq!(router.chat_log()[0]["trace_id"], trace);
    }
}

#[cfg(feature = "otlp")]
mod export {
    use std::collections::HashMap;

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;

    use super::*;

    fn collector() -> Upstream {
        Upstream::always(respond(200).body("application/x-protobuf", ""))
    }

    fn exporting(collector: &Upstream, more: &str) -> Config {
        Config::new().monitoring(&format!("otlp: {{endpoint: \"{}\"{more}}}", collector.url()))
    }

    /// All spans that have arrived.
    fn spans(collector: &Upstream) -> Vec<Span> {
        let calls = (0..collector.count()).map(|at| collector.wait_for(at));
        let told = calls.map(|call| ExportTraceServiceRequest::decode(&*call.body).expect("the protocol"));
        told.flat_map(|told| told.resource_spans)
            .flat_map(|all| all.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }

    fn attributes(span: &Span) -> HashMap<&str, String> {
        let text = |value: &Value| match value {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        let pairs = span.attributes.iter();
        pairs.map(|pair| (&*pair.key, text(pair.value.as_ref().unwrap().value.as_ref().unwrap()))).collect()
    }

    fn count(router: &Router, outcome: &str) -> Option<f64> {
        router.metric("auto_ai_router_spans_total", &[("outcome", outcome)])
    }

    fn hex(id: &[u8]) -> String {
        id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_request_and_its_attempts_reach_the_collector_without_keys_or_texts() {
        let collector = collector();
        let ill = Upstream::always(respond(503).error("no", "server_error", None));
        let well = Upstream::healthy();
        let router =
            exporting(&collector, ", headers: {x-collector: secret-of-collector}, service_name: edge")
                .credential("ill", &ill.url(), "priority: 1")
                .credential("well", &well.url(), "priority: 2")
                .start();
        let mut body = chat("m");
        body["messages"][0]["content"] = "a text that is nobody's business".into();
        let id = Request::chat(&body).header("traceparent", &traceparent("01")).send(&router).expect(200);
        let id = id.header("x-request-id").unwrap().to_owned();
        router.get("/health").expect(200);
        let call = collector.wait_for(0);
        assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/v1/traces"));
        assert_eq!(call.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(call.header("x-collector"), Some("secret-of-collector"));
        let [request, failed, served] = spans(&collector).try_into().expect("three spans");
        assert_eq!((hex(&request.trace_id), hex(&request.parent_span_id)), (TRACE.into(), PARENT.into()));
        assert_eq!(
            [hex(&failed.span_id), hex(&served.span_id)],
            [&ill, &well].map(|up| told(&up.only())[1].clone())
        );
        let about = attributes(&served);
        for (key, expected) in [
            ("gen_ai.request.model", "m"),
            ("gen_ai.provider.name", "openai"),
            ("server.address", "127.0.0.1"),
            ("server.port", &well.address.port().to_string()),
            ("http.response.status_code", "200"),
            ("auto_ai_router.credential", "well"),
        ] {
            assert_eq!(about.get(key).map(String::as_str), Some(expected), "{key}");
        }
        assert!(about["gen_ai.usage.input_tokens"].parse::<u64>().unwrap() > 0);
        assert_eq!(attributes(&failed)["error.type"], "503");
        assert_eq!(attributes(&request)["auto_ai_router.request_id"], id);
        let sent = String::from_utf8_lossy(&call.body).into_owned();
        for secret in [MASTER_KEY, &key_of("well"), "nobody's business", "secret-of-collector"] {
            assert!(!sent.contains(secret), "{secret} has left");
        }
        until("the spans are counted", || count(&router, "exported") == Some(3.0));
    }

    #[test]
    fn a_trace_that_the_client_does_not_sample_stays_here() {
        let (collector, upstream) = (collector(), Upstream::healthy());
        let router = exporting(&collector, "").credential("a", &upstream.url(), "").start();
        Request::chat(&chat("m")).header("traceparent", &traceparent("00")).send(&router).expect(200);
        router.chat(&chat("m")).expect(200);
        collector.wait_for(0);
        let told: Vec<_> = spans(&collector).iter().map(|span| hex(&span.trace_id)).collect();
        assert!(told.len() == 2 && !told.contains(&TRACE.to_owned()), "{told:?}");
    }

    #[test]
    fn a_busy_collector_is_asked_again_and_one_that_refuses_is_not() {
        let upstream = Upstream::healthy();
        let busy = Upstream::queue([
            respond(503).header("retry-after", "0").body("text/plain", ""),
            respond(200).body("application/x-protobuf", ""),
        ]);
        let refusing = Upstream::always(respond(400).body("text/plain", ""));
        let routers =
            [&busy, &refusing].map(|to| exporting(to, "").credential("a", &upstream.url(), "").start());
        routers.iter().for_each(|router| {
            router.chat(&chat("m")).expect(200);
        });
        busy.wait_for(1);
        until("both are told", || {
            count(&routers[0], "exported") == Some(2.0) && count(&routers[1], "lost") == Some(2.0)
        });
        assert_eq!((refusing.count(), count(&routers[0], "lost")), (1, Some(0.0)));
    }

    #[test]
    fn the_last_requests_are_told_before_the_process_ends() {
        let (collector, upstream) = (collector(), Upstream::healthy());
        let mut router = exporting(&collector, "").credential("a", &upstream.url(), "").start();
        router.chat(&chat("m")).expect(200);
        router.sigterm();
        router.exit(secs(10)).expect("an end");
        assert_eq!(spans(&collector).len(), 2);
    }

    #[test]
    fn a_collector_that_never_answers_holds_no_request_up() {
        let (collector, upstream) = (Upstream::always(Reply::silence()), Upstream::healthy());
        let router = exporting(&collector, "").credential("a", &upstream.url(), "").start();
        router.chat(&chat("m")).expect(200);
        collector.wait_for(0);
        let begun = std::time::Instant::now();
        for _ in 0..2500 {
            router.chat(&chat("m")).expect(200);
        }
        assert!(begun.elapsed() < secs(60), "{:?}", begun.elapsed());
        let lost = count(&router, "lost");
        assert!(lost > Some(500.0), "{lost:?}");
    }
}

#[cfg(not(feature = "otlp"))]
#[test]
fn a_program_without_the_export_says_so() {
    use crate::support::router;

    let text =
        "server: {master_key: 0123456789abcdef}\nmonitoring: {otlp: {endpoint: \"http://127.0.0.1:4318\"}}\n\
                credentials: [{name: a, api_key: k-0123456, base_url: https://h}]\n";
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.yaml"), text).unwrap();
    let (code, out, err) = router::run(dir.path(), &["check"]);
    let said = out + &err;
    assert!(code != 0 && said.contains("config.yaml:2:31"), "{said}");
    assert!(said.contains("built without OTLP") && said.contains("--features otlp"), "{said}");
}
