//! The two logs cost lines where nobody takes them, and no request.

use std::fs::OpenOptions;
use std::process::Command;

use serde_json::{json, Value};

use crate::support::*;

const LOST: &str = "auto_ai_router_log_dropped_total";

#[test]
fn a_full_disk_costs_lines_and_no_request() {
    let upstream = Upstream::healthy();
    let config = Config::single(&upstream.url()).stdout("/dev/full");
    let router = config.monitoring("log_errors: true\nerrors_log_path: /dev/full").start();
    for _ in 0..20 {
        router.chat(&chat("m")).expect(200);
        router.post("/v1/chat/completions", &serde_json::json!({})).expect(400);
    }
    // Every line, and those of failed requests twice.
    until("all lines are counted", || router.metric(LOST, &[]) >= Some(60.0));
}

#[test]
fn a_reader_that_has_stopped_costs_lines_and_no_request() {
    let upstream = Upstream::healthy();
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Keeps it open, and reads nothing.
    let _reader = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let config = Config::new().credential("a", &upstream.url(), "models: [m]");
    let router = config.stdout(&pipe).start();
    // Long lines fill the pipe, and the queue of 4 MiB behind it.
    let refused = chat(&"é".repeat(120));
    let mut conn = Conn::open(router.address());
    for _ in 0..9000 {
        conn.write(&Request::chat(&refused).bytes(&router));
        conn.answer().expect(404);
    }
    assert!(router.metric(LOST, &[]) > Some(100.0), "{:?}", router.metric(LOST, &[]));
    router.chat(&chat("m")).expect(200);
}

#[test]
fn what_a_slow_upstream_or_a_slow_reader_takes_is_no_overhead_of_ours() {
    let large = "x".repeat(16 << 20);
    let upstream = Upstream::scripted(move |call| match call.path.as_str() {
        "/v1/audio/speech" => {
            let head = respond(200).header("Content-Type", "audio/mpeg").header("Content-Length", "5").head();
            head.pause(ms(1500)).send("sound")
        }
        _ if call.wants_stream() => Reply::chat_stream(call, &[&large]),
        _ => Reply::chat(&call.model(), &large),
    });
    let router = Config::single(&upstream.url()).start();
    router.post("/v1/audio/speech", &json!({"model": "m", "input": "x", "voice": "alloy"})).expect(200);
    for body in [chat("m"), chat_streamed("m")] {
        let mut conn = Conn::open(router.address());
        conn.write(&Request::chat(&body).header("Connection", "close").bytes(&router));
        std::thread::sleep(secs(6));
        conn.answer().expect(200);
    }
    let lines = || -> Vec<Value> {
        router.access_log().into_iter().filter(|line| line["method"] == "POST").collect()
    };
    until("all have their lines", || lines().len() == 3);
    for line in lines() {
        let [all, own] = ["total_ms", "overhead_ms"].map(|name| line[name].as_f64().unwrap());
        assert!(all - own > 1000.0, "{line}");
    }
}
