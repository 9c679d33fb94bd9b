//! What all answers together may hold: those that are read whole, and events whose end does not come.

use crate::support::reply::chat_body;
use crate::support::stream::Event;
use crate::support::*;

const ANSWER: usize = 3 << 20;

/// A chat answer of so many bytes and a bit, the last of which come after `pause`.
fn huge(pause: u64) -> Reply {
    let body = chat_body("m", &"x".repeat(ANSWER), 1, 1).to_string();
    let (begin, end) = body.split_at(body.len() - 10);
    let head = respond(200).header("content-type", "application/json");
    head.header("content-length", &body.len().to_string()).head().send(begin).pause(ms(pause)).send(end)
}

/// Room for one such answer, and for one more that is small.
fn narrow(upstream: &Upstream) -> Router {
    let bounds = "max_body_size: 1MiB\nmax_buffered: 8MiB";
    Config::pool(&["a", "b"], &upstream.url()).server(bounds).start()
}

fn refused(router: &Router) -> f64 {
    router.metric("auto_ai_router_rejected_total", &[("reason", "buffers")]).unwrap_or_default()
}

/// What `model` gets.
fn upstream() -> Upstream {
    Upstream::scripted(|call| match (call.model() == "huge", call.wants_stream()) {
        (false, _) => Reply::good(call),
        (true, false) => huge(800),
        (true, true) => {
            let event = word("m", &"x".repeat(ANSWER));
            let (begin, end) = event.split_at(event.len() - 10);
            let begun = respond(200).open_sse([word("m", "Hello ")]).chunk(begin.as_bytes());
            let frames = chat_frames("m", &["there"], false);
            frames.iter().fold(begun.pause(ms(800)).chunk(end.as_bytes()), |reply, frame| {
                reply.chunk(frame.as_bytes())
            })
        }
    })
}

fn nobody_is_blamed(router: &Router) {
    for credential in ["a", "b"] {
        let health = router.health_of(credential);
        assert!(health["is_banned"] == false && health["failures"].as_u64().unwrap_or(0) == 0, "{health:#}");
    }
}

#[test]
fn answers_that_are_read_whole_share_a_budget_and_nobody_is_blamed_when_it_is_used_up() {
    let upstream = upstream();
    let router = narrow(&upstream);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..6).map(|_| scope.spawn(|| router.chat(&chat("huge")))).collect();
        upstream.wait_for(5);
        router.chat(&chat("small")).expect(200);
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let (served, sent_away): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert!(served.len() < 2 && served.iter().all(|answer| answer.content().len() == ANSWER));
    for answer in &sent_away {
        assert_eq!((answer.status, answer.code()), (503, "overloaded".to_owned()), "{}", answer.text());
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(upstream.count(), 7, "an answer that had no room is asked for again");
    assert_eq!(refused(&router), sent_away.len() as f64);
    nobody_is_blamed(&router);
    router.chat(&chat("huge")).expect(200);
}

#[test]
fn an_event_without_an_end_takes_from_the_same_budget_and_gives_it_back() {
    let upstream = upstream();
    let router = narrow(&upstream);
    let ask = || router.stream(&chat_streamed("huge")).rest();
    let ends: Vec<Vec<Event>> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let told = |events: &&Vec<Event>| events.last().is_some_and(Event::is_error);
    assert!(ends.iter().filter(told).count() >= 2);
    assert!(ends.iter().all(|events| told(&events) || events.last().is_some_and(Event::is_done)));
    nobody_is_blamed(&router);
    assert!(ask().last().is_some_and(Event::is_done), "what was held is not given back");
}

/// Bytes that wait in the kernel on the way from `port` to its clients, by the longest queue.
fn unsent(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ours = format!(":{port:04X}");
    let waiting = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().filter(|local| local.ends_with(&ours))?;
        u64::from_str_radix(fields.nth(2)?.split(':').next()?, 16).ok()
    });
    waiting.max().unwrap_or_default()
}

#[test]
fn the_kernel_holds_little_of_an_answer_that_nobody_reads() {
    let upstream = Upstream::scripted(|_| respond(200).json(&chat_body("m", &"x".repeat(8 << 20), 1, 1)));
    let router = Config::single(&upstream.url()).start();
    let mut conn = Conn::open(router.address());
    conn.write(&Request::chat(&chat("m")).bytes(&router));
    until("the answer waits", || unsent(router.port) > 0);
    std::thread::sleep(ms(500));
    let most = unsent(router.port);
    assert!((1..1 << 20).contains(&most), "{most} bytes wait");
    assert_eq!(conn.answer().expect(200).content().len(), 8 << 20);
}
