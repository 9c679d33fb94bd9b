//! One process takes over from another, and one configuration from another, while clients go on.

use std::os::unix::fs::PermissionsExt;

use serde_json::{json, Value};

use crate::support::router::free_port;
use crate::support::*;

const WORDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Streams last for two seconds, everything else is answered at once.
fn paced() -> Upstream {
    Upstream::scripted(|call| match call.wants_stream() {
        true => Reply::chat_stream(call, &WORDS).paced(ms(300)),
        false => Reply::good(call),
    })
}

/// A stream of which one word has come.
fn streaming(router: &Router) -> Events {
    let mut events = router.stream(&chat_streamed("m")).expect(200);
    assert_eq!(events.next_text().expect("a first word").text(), "a");
    events
}

#[track_caller]
fn ends_well(mut events: Events) {
    let rest = events.rest();
    assert_eq!((stream::text(&rest).as_str(), events.end()), ("bcdef", End::Clean));
    assert!(rest.last().is_some_and(stream::Event::is_done));
}

/// A program that is no router.
fn script(router: &Router, text: &str) -> String {
    let path = router.dir().join("binary");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn reload(router: &Router) -> (u16, Value) {
    let (status, body) = router.admin("/admin/reload");
    (status, serde_json::from_str(&body).unwrap())
}

fn status_line(router: &Router) -> String {
    router.operate(&["status"]).1
}

#[test]
fn a_stream_ends_on_the_process_that_it_began_with() {
    let upstream = paced();
    let mut router = Config::single(&upstream.url()).start();
    let (first, events) = (router.pid(), streaming(&router));
    assert_ne!(router.upgrade(), first);
    router.chat(&chat("m")).expect(200);
    assert!(router.exit(ms(300)).is_none(), "it has left its stream");
    ends_well(events);
    assert_eq!(router.exit(secs(5)).expect("it leaves after its stream").code(), Some(0));
    router.chat(&chat("m")).expect(200);
}

#[test]
fn a_kept_connection_moves_and_notices_nothing() {
    let upstream = Upstream::healthy();
    let mut router = Config::single(&upstream.url()).start();
    let mut conn = Conn::open(router.address());
    for _ in 0..3 {
        conn.write(&Request::chat(&chat("m")).bytes(&router));
        let answer = conn.answer().expect(200);
        assert_ne!(answer.header("connection"), Some("close"));
        router.upgrade();
    }
    assert!(router.exit(secs(5)).is_some(), "the first process is gone");
    conn.write(&Request::get("/v1/models").bytes(&router));
    conn.answer().expect(200);
}

#[test]
fn http2_connections_are_told_to_go_and_those_that_have_moved_as_well() {
    let upstream = Upstream::healthy();
    let mut router = Config::single(&upstream.url()).start();
    let connect = || std::net::TcpStream::connect(router.address()).unwrap();
    let upgrade = || {
        router.upgrade();
    };
    assert!(h2c::is_dismissed(&router, connect(), upgrade));
    let moves = connect();
    upgrade();
    assert!(h2c::is_dismissed(&router, moves, upgrade));
    assert!(router.exit(secs(8)).is_some());
}

#[test]
fn a_request_in_the_middle_of_its_upload_is_answered_by_the_next_process() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let body = chat_of_size("m", 300_000);
    let bytes = Request::post("/v1/chat/completions").body("application/json", body.clone()).bytes(&router);
    let (begin, end) = bytes.split_at(150_000);
    let mut conn = Conn::open(router.address());
    conn.write(begin);
    until("the request is in flight", || router.metric("auto_ai_router_in_flight", &[]) == Some(2.0));
    router.upgrade();
    assert_eq!(upstream.count(), 0);
    conn.write(end);
    let answer = conn.answer().expect(200);
    assert_eq!(answer.content(), "Hello there");
    assert_eq!(upstream.only().body, body);
    until("it is told once", || router.chat_log().len() == 1);
    conn.write(&Request::chat(&chat("m")).bytes(&router));
    conn.answer().expect(200);
}

#[test]
fn a_stream_that_the_next_process_answers_is_chunked_as_ever() {
    let upstream = paced();
    let router = Config::single(&upstream.url()).start();
    let bytes = Request::chat(&chat_streamed("m")).bytes(&router);
    let (begin, end) = bytes.split_at(bytes.len() - 10);
    let mut conn = Conn::open(router.address());
    conn.write(begin);
    until("the request is in flight", || router.metric("auto_ai_router_in_flight", &[]) == Some(2.0));
    router.upgrade();
    conn.write(end);
    let mut events = Events::read(conn).expect(200);
    assert_eq!(events.head.header("transfer-encoding"), Some("chunked"));
    assert_eq!(events.next_text().expect("a first word").text(), "a");
    ends_well(events);
}

#[test]
fn an_upload_of_a_file_goes_on_where_it_is() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let form = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nabc\r\n--x--\r\n";
    let bytes = Request::post("/v1/files").body("multipart/form-data; boundary=x", form).bytes(&router);
    let (begin, end) = bytes.split_at(bytes.len() - 20);
    let mut conn = Conn::open(router.address());
    conn.write(begin);
    until("its head is there", || !upstream.heads().is_empty());
    router.upgrade();
    conn.write(end);
    conn.answer().expect(200);
    assert_eq!(upstream.only().body, form.as_bytes());
}

#[test]
fn limits_and_bans_hold_over_both_processes() {
    let upstream = Upstream::scripted(|call| match call.key == Some(key_of("bad")) {
        true => respond(401).error("no", "authentication_error", None),
        false => Reply::good(call),
    });
    let router = Config::new()
        .fail2ban("max_attempts: 1\nban_duration: 10m")
        .credential("limited", &upstream.url(), "rpm: 5\nmodels: [m]")
        .credential("bad", &upstream.url(), "models: [n]")
        .start();
    let admitted = |times: usize| (0..times).filter(|_| router.chat(&chat("m")).status == 200).count();
    assert_eq!(admitted(3), 3);
    router.chat(&chat("n"));
    let ends = router.health_of("bad")["next_recovery"].as_u64().expect("it is banned for a time");
    router.upgrade();
    assert_eq!(admitted(4), 2, "five in one minute");
    let bad = router.health_of("bad");
    assert_eq!(bad["is_banned"], true);
    assert!(bad["next_recovery"].as_u64().is_some_and(|now| now <= ends && now + 10 > ends), "{ends}: {bad}");
    assert_eq!(upstream.calls_of(&key_of("bad")).len(), 1);
    assert_eq!(router.health_of("limited")["current_tpm"], 60);
}

#[test]
fn what_a_stream_uses_up_on_the_old_process_counts_in_the_new_one() {
    let upstream = paced();
    let router = Config::new().credential("a", &upstream.url(), "max_concurrent: 1").start();
    let events = streaming(&router);
    router.upgrade();
    assert_eq!(router.health_of("a")["in_flight"], 1);
    router.chat(&chat("m")).expect(429);
    ends_well(events);
    router.settles("a", 12);
    until("its place is free", || router.health_of("a")["in_flight"] == 0);
    router.chat(&chat("m")).expect(200);
}

#[test]
fn a_bad_configuration_leaves_the_old_process() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let serves = router.pid();
    router.rewrite(&Config::single(&upstream.url()).server("therads: 2"));
    let (code, stdout, stderr) = router.operate(&["upgrade", "--socket", "admin.sock"]);
    assert_eq!(code, 1, "{stdout}{stderr}");
    assert!(stderr.contains("not upgraded") && stderr.contains("therads"), "{stdout}{stderr}");
    router.chat(&chat("m")).expect(200);
    assert_eq!(router.pid(), serves);
    router.rewrite(&Config::single(&upstream.url()));
    assert_ne!(router.upgrade(), serves);
}

#[test]
fn a_binary_that_crashes_or_talks_nonsense_leaves_the_old_process() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let serves = router.pid();
    let cases = [
        ("exit 78", "has ended (exit status: 78)"),
        ("kill -SEGV $$", "has ended (signal: 11"),
        ("echo nonsense >&0; sleep 9", "cannot be understood"),
    ];
    for (text, why) in cases {
        let (code, stdout, stderr) = router.operate(&["upgrade", "--binary", &script(&router, text)]);
        assert_eq!(code, 1, "{stdout}{stderr}");
        assert!(stderr.contains(why), "{text}: {stdout}{stderr}");
        router.chat(&chat("m")).expect(200);
        assert_eq!(router.pid(), serves);
    }
}

#[test]
fn the_old_process_takes_the_work_back_if_the_new_one_dies() {
    let upstream = paced();
    let router = Config::new().credential("a", &upstream.url(), "rpm: 5").start();
    let (first, events) = (router.pid(), streaming(&router));
    router.upgrade();
    router.signal_serving("-KILL");
    until("the old one serves", || router.pid() == first);
    router.chat(&chat("m")).expect(200);
    assert_eq!(router.health_of("a")["current_rpm"], 2);
    assert_ne!(router.upgrade(), first, "and can be upgraded again");
    ends_well(events);
    assert_eq!(router.health_of("a")["current_rpm"], 2);
}

#[test]
fn a_process_in_the_middle_waits_for_the_one_before_it() {
    let upstream = paced();
    let mut router = Config::new().credential("a", &upstream.url(), "").start();
    let events = streaming(&router);
    router.upgrade();
    let third = router.upgrade();
    ends_well(events);
    router.settles("a", 12);
    assert!(router.exit(secs(5)).is_some());
    assert!(!router.stderr().contains("serves again"), "{}", router.stderr());
    assert_eq!(router.pid(), third);
    assert!(status_line(&router).contains("generation 2"), "{}", status_line(&router));
}

#[test]
fn a_stop_waits_for_the_process_before_and_nobody_comes_back() {
    let upstream = paced();
    let mut router = Config::single(&upstream.url()).start();
    let events = streaming(&router);
    router.upgrade();
    router.signal_serving("-TERM");
    ends_well(events);
    assert_eq!(router.exit(secs(5)).expect("the first one leaves").code(), Some(0));
    until("nobody listens any more", || Conn::try_open(router.address()).is_none());
    assert!(!router.stderr().contains("serves again"), "{}", router.stderr());
}

#[test]
fn a_stop_that_does_not_wait_brings_nobody_back_either() {
    let upstream = paced();
    let mut router = Config::single(&upstream.url()).start();
    let events = streaming(&router);
    router.rewrite(&Config::single(&upstream.url()).server("drain_timeout: 0"));
    router.upgrade();
    router.signal_serving("-TERM");
    ends_well(events);
    assert_eq!(router.exit(secs(5)).expect("the first one leaves").code(), Some(0));
    assert!(!router.stderr().contains("serves again"), "{}", router.stderr());
}

#[test]
fn sigusr2_upgrades_and_a_process_that_was_taken_over_from_does_not_obey_it() {
    let upstream = paced();
    let router = Config::single(&upstream.url()).start();
    let (first, events) = (router.pid(), streaming(&router));
    router.signal("-USR2");
    until("another process serves", || router.pid() != first);
    let second = router.pid();
    router.signal("-USR2");
    until("it says no", || router.stderr().contains("another process has taken over from this one"));
    ends_well(events);
    assert_eq!(router.pid(), second);
}

#[test]
fn a_reload_keeps_counts_and_lifts_the_ban_of_a_key_that_was_changed() {
    let upstream = Upstream::scripted(|call| match call.key.as_deref() {
        Some("sk-old-0123456789") => respond(401).error("no", "authentication_error", None),
        _ => Reply::good(call),
    });
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, "sk-old-0123456789\n").unwrap();
    let rotated = format!("api_key: 'file:{}'\nmodels: [n]", key.display());
    let config = |rpm: &str| {
        let config = Config::new().fail2ban("max_attempts: 1\nban_duration: 10m");
        let config = config.credential("a", &upstream.url(), &format!("{rpm}\nmodels: [m]"));
        config.keyless("openai", "b", &upstream.url(), &rotated)
    };
    let router = config("rpm: 5").start();
    (0..3).for_each(|_| drop(router.chat(&chat("m")).expect(200)));
    router.chat(&chat("n"));
    assert_eq!(router.health_of("b")["is_banned"], true);
    router.rewrite(&config("rpm: 4"));
    assert_eq!(reload(&router).0, 200);
    assert_eq!(router.health_of("b")["is_banned"], true, "its key is the same");
    router.chat(&chat("m")).expect(200);
    router.chat(&chat("m")).expect(429);
    std::fs::write(&key, "sk-new-0123456789\n").unwrap();
    assert_eq!(reload(&router).0, 200);
    router.chat(&chat("n")).expect(200);
    assert_eq!(upstream.last().key.as_deref(), Some("sk-new-0123456789"));
}

#[test]
fn a_reload_of_a_bad_file_changes_nothing_and_names_line_and_column() {
    let upstream = Upstream::healthy();
    let router = Config::new().credential("a", &upstream.url(), "rpm: 1").start();
    router.rewrite(&Config::new().credential("a", &upstream.url(), "rpm: 5\nwieght: 2"));
    let (status, told) = reload(&router);
    assert_eq!((status, &told["reloaded"]), (422, &json!(false)));
    let report = told["report"].as_str().unwrap();
    let yaml = std::fs::read_to_string(router.dir().join("config.yaml")).unwrap();
    let line = yaml.lines().position(|line| line.contains("wieght")).unwrap();
    let column = yaml.lines().nth(line).unwrap().find("wieght").unwrap();
    assert!(report.contains(&format!("config.yaml:{}:{}", line + 1, column + 1)), "{report}");
    let (code, _, stderr) = router.operate(&["reload", "--socket", "admin.sock"]);
    assert!(code == 78 && stderr.contains("wieght") && stderr.contains("the old configuration stays"));
    router.chat(&chat("m")).expect(200);
    router.chat(&chat("m")).expect(429);
    assert_eq!(router.metric("auto_ai_router_config_last_reload_successful", &[]), Some(0.0));
}

#[test]
fn a_reload_says_what_has_changed_and_what_needs_a_start() {
    let upstream = Upstream::healthy();
    let router = Config::new().credential("a", &upstream.url(), "rpm: 1").start();
    router.rewrite(&Config::new().server("max_buffered: 99MiB").credential("a", &upstream.url(), "rpm: 2"));
    let (status, told) = reload(&router);
    assert_eq!(status, 200, "{told}");
    let needs_start = |key: &str| {
        let changes = told["changes"].as_array().unwrap();
        let change = changes.iter().find(|change| change["change"].as_str().unwrap().contains(key));
        change.unwrap_or_else(|| panic!("no {key} in {told}"))["needs_start"].clone()
    };
    assert_eq!((needs_start("rpm"), needs_start("max_buffered")), (json!(false), json!(true)));
}

#[test]
fn sighup_reloads_and_no_stream_is_touched() {
    let upstream = paced();
    let router = Config::new().credential("a", &upstream.url(), "rpm: 1").start();
    let events = streaming(&router);
    router.chat(&chat("m")).expect(429);
    router.rewrite(&Config::new().credential("a", &upstream.url(), "rpm: 2"));
    router.signal("-HUP");
    until("the new limit holds", || router.health_of("a")["limit_rpm"] == 2);
    router.chat(&chat("m")).expect(200);
    router.chat(&chat("m")).expect(429);
    ends_well(events);
    router.settles("a", 24);
    until("both places are free", || router.health_of("a")["in_flight"] == 0);
}

#[test]
fn status_is_one_line() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let line = status_line(&router);
    let start =
        format!("OK: serving 127.0.0.1:{}, 1/1 credentials up, 0 in flight, generation 0 | ", router.port);
    assert!(line.starts_with(&start) && line.lines().count() == 1, "{line}");
    router.upgrade();
    assert!(status_line(&router).contains("generation 1"));
}

#[test]
fn over_tcp_the_operator_needs_the_key_and_cannot_name_a_program() {
    let upstream = Upstream::healthy();
    let port = free_port();
    let router = Config::single(&upstream.url()).admin(&format!("listen: 127.0.0.1:{port}")).start();
    let post = |path: &str, key: &str| {
        let mut conn = Conn::open(([127, 0, 0, 1], port).into());
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n");
        conn.write(format!("{head}Content-Length: 0\r\n\r\n").as_bytes());
        conn.answer()
    };
    for path in ["/admin/reload", "/admin/upgrade", "/admin/upgrade?binary=/bin/true"] {
        post(path, "sk-wrong").expect(401);
    }
    post("/admin/upgrade?binary=/bin/true", MASTER_KEY).expect(403);
    post("/admin/reload", MASTER_KEY).expect(200);
    let serves = router.pid();
    assert!(post("/admin/upgrade", MASTER_KEY).expect(200).text().contains("\"upgraded\":true"));
    until("another process serves", || router.pid() != serves);
    post("/admin/reload", MASTER_KEY).expect(200);
}
