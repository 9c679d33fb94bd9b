//! The two logs cost lines where nobody takes them, and no request.

use std::fs::OpenOptions;
use std::process::Command;
use std::time::Instant;

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
    let begun = Instant::now();
    let refused = chat(&"é".repeat(120));
    let mut conn = Conn::open(router.address());
    for _ in 0..9000 {
        conn.write(&Request::chat(&refused).bytes(&router));
        conn.answer().expect(404);
    }
    assert!(begun.elapsed() < secs(60), "{:?}", begun.elapsed());
    assert!(router.metric(LOST, &[]) > Some(100.0), "{:?}", router.metric(LOST, &[]));
    router.chat(&chat("m")).expect(200);
}
