//! `monitoring.otlp`, in a program that can export.

use super::broken::after;
use super::{settings, GOOD};

#[test]
fn the_path_of_the_signal_comes_behind_the_address() {
    for (written, expected) in [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("https://c.example/otlp/", "https://c.example/otlp/v1/traces"),
        ("http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces"),
    ] {
        let text =
            format!("{GOOD}monitoring: {{otlp: {{endpoint: '{written}', headers: {{X-Key: secret-1}}}}}}\n");
        let otlp = settings(&text).otlp.expect("a collector");
        assert_eq!(otlp.endpoint.as_str(), expected);
        assert_eq!((otlp.headers[0].0.as_str(), otlp.headers[0].1.expose()), ("x-key", "secret-1"));
        assert_eq!((otlp.sample_percentage, otlp.service_name.as_str()), (100, "auto-ai-router"));
    }
}

#[test]
fn what_is_wrong_with_a_collector_is_said_with_its_place() {
    after("monitoring: {otlp: {endpoint: 'ftp://c'}}", &["4:31 `endpoint` is no address of a collector"]);
    after(
        "monitoring: {otlp: {endpoint: 'http://u:p@c'}}",
        &["4:31 `endpoint` is no address of a collector"],
    );
    after(
        "monitoring: {otlp: {endpoint: 'http://c:4317'}}",
        &["4:31 4317 is the port of OTLP over gRPC, and this is OTLP over HTTP"],
    );
    after("monitoring: {otlp: {sample_percentage: 5}}", &["4:14 without an `endpoint`, no trace leaves"]);
    after(
        "monitoring: {otlp: {endpoint: 'http://c', headers: {host: x}}}",
        &["4:59 the header `host` is set by the router itself"],
    );
}
