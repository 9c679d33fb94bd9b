//! The sixteen scenarios of Failover Bench, put together again: one primary model, one fallback model on another
//! provider, `first_token_timeout: 10s`. Each has a verdict: `pass` (the client got the whole answer, and the provider
//! was treated as the scenario demands), `safe` (the client got a part and was told so), or a failure.
//!
//! Only S08, S09 and S14 may be `safe`: an answer that breaks in its middle cannot be finished by another model.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::*;

const WORDS: usize = 60;

/// How a scenario went.
#[derive(Debug, PartialEq)]
enum Verdict {
    Pass,
    Safe,
    Fail(String),
}

use Verdict::{Fail, Pass, Safe};

/// The two providers and the router of one scenario.
struct Stage {
    primary: Upstream,
    fallback: Upstream,
    router: Router,
}

/// What the client of a stream ended up with.
struct Seen {
    text: String,
    model: String,
    done: bool,
    error: bool,
    took: Duration,
}

fn words() -> Vec<String> {
    (0..WORDS).map(|n| format!("w{n} ")).collect()
}

/// Every healthy answer is this text, whoever gives it.
fn healthy(call: &Call) -> Reply {
    let words = words();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    if call.wants_stream() {
        Reply::chat_stream(call, &words)
    } else {
        Reply::chat(&call.model(), &words.concat())
    }
}

/// The first `n` words of a healthy stream; no end.
fn beginning(call: &Call, n: usize) -> Reply {
    let model = call.model();
    let frames = words().into_iter().take(n).map(|w| word(&model, &w));
    respond(200).open_sse(std::iter::once(role(&model)).chain(frames))
}

impl Stage {
    fn new(script: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let (primary, fallback) = (Upstream::scripted(script), Upstream::scripted(healthy));
        let router = Config::new()
            .routing("first_token_timeout: 10s")
            .credential("main", &primary.url(), "")
            .credential("spare", &fallback.url(), "")
            .model("name: primary\ncredential: main\nfallbacks: [backup]")
            .model("name: backup\ncredential: spare")
            .start();
        Self { primary, fallback, router }
    }

    fn stream(&self) -> Seen {
        let start = Instant::now();
        let mut events = self.router.stream(&chat_streamed("primary"));
        let all = events.rest();
        let model = all.iter().find_map(|e| e.json()["model"].as_str().map(str::to_string));
        Seen {
            text: stream::text(&all),
            model: model.unwrap_or_default(),
            done: all.last().is_some_and(stream::Event::is_done) && events.end() == End::Clean,
            error: events.status != 200
                || all.iter().any(stream::Event::is_error)
                || events.end() == End::Cut,
            took: start.elapsed(),
        }
    }
}

impl Seen {
    fn whole(&self) -> bool {
        self.text == words().concat() && self.done && !self.error
    }

    fn from(&self, model: &str) -> Verdict {
        check(self.whole() && self.model == model, || format!("whole={} from {:?}", self.whole(), self.model))
    }

    /// For breaks in the middle: the whole answer, or a part with an error and no clean end.
    fn whole_or_told(&self) -> Verdict {
        match self.whole() {
            true => Pass,
            false if self.error && !self.done && words().concat().starts_with(&self.text) => Safe,
            false => Fail(format!("{} bytes, done={}, error={}", self.text.len(), self.done, self.error)),
        }
    }
}

fn check(condition: bool, why: impl FnOnce() -> String) -> Verdict {
    if condition {
        Pass
    } else {
        Fail(why())
    }
}

/// The first failure of several demands.
fn all(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    verdicts.into_iter().find(|v| *v != Pass).unwrap_or(Pass)
}

fn error(status: u16, code: Option<&str>) -> Reply {
    respond(status).error("scripted failure", "server_error", code)
}

/// 429 with Retry-After 2, once: the primary is tried again when its time has come.
fn s01() -> Verdict {
    let stage = Stage::new(|call| match call.number {
        0 => respond(429).header("retry-after", "2").error("slow down", "rate_limit_error", None),
        _ => healthy(call),
    });
    let seen = stage.stream();
    let calls = stage.primary.calls();
    let waited = (calls.len() == 2).then(|| calls[1].at - calls[0].at);
    all([seen.from("primary"), check(waited >= Some(ms(1800)), || format!("second try after {waited:?}"))])
}

/// 429 for good, without a header: a few tries, then the fallback.
fn s02() -> Verdict {
    let stage = Stage::new(|_| error(429, None));
    let seen = stage.stream();
    let calls = stage.primary.calls();
    let early = calls.iter().filter(|c| c.at - calls[0].at < secs(3)).count();
    all([seen.from("backup"), check(early <= 4 && calls.len() <= 6, || format!("{} tries", calls.len()))])
}

/// One 500: the same model answers at the second try.
fn s03() -> Verdict {
    let stage = Stage::new(|call| if call.number == 0 { error(500, None) } else { healthy(call) });
    stage.stream().from("primary")
}

/// 503 for good: at most three tries, then the fallback.
fn s04() -> Verdict {
    let stage = Stage::new(|_| error(503, None));
    let seen = stage.stream();
    let tries = stage.primary.count();
    all([seen.from("backup"), check(tries <= 3, || format!("{tries} tries"))])
}

/// A reset before the head: tried again on a fresh connection.
fn s05() -> Verdict {
    let stage = Stage::new(|call| if call.number == 0 { Reply::default().reset() } else { healthy(call) });
    stage.stream().from("primary")
}

/// Silence: one try, then the fallback, well before 100 s.
fn s06() -> Verdict {
    let stage = Stage::new(|_| Reply::silence());
    let seen = stage.stream();
    let tries = stage.primary.count();
    all([
        seen.from("backup"),
        check(tries == 1 && seen.took < secs(100), || format!("{tries} tries, {:?}", seen.took)),
    ])
}

/// The first token after 20 s: an answer within 15 s.
fn s07() -> Verdict {
    let stage = Stage::new(|call| {
        respond(200).open_sse([role(&call.model())]).pause(secs(20)).then(beginning(call, 1)).close()
    });
    let seen = stage.stream();
    all([seen.from("backup"), check(seen.took < secs(15), || format!("{:?}", seen.took))])
}

/// A cut after two thirds.
fn s08() -> Verdict {
    let stage = Stage::new(|call| beginning(call, 40).reset());
    stage.stream().whole_or_told()
}

/// Thirty silent seconds after two thirds.
fn s09() -> Verdict {
    let stage = Stage::new(|call| {
        let model = call.model();
        let mut reply = beginning(call, 40).pause(secs(30));
        for word_left in words().iter().skip(40) {
            reply = reply.chunk(word(&model, word_left).as_bytes());
        }
        reply.chunk(stop(&model).as_bytes()).chunk(DONE.as_bytes()).send("0\r\n\r\n")
    });
    stage.stream().whole_or_told()
}

/// A frame that is no JSON in the middle.
fn s10() -> Verdict {
    let stage = Stage::new(|call| {
        let model = call.model();
        let mut frames: Vec<_> = words().iter().map(|w| word(&model, w)).collect();
        frames.insert(30, "data: {\"choices\":[{\"delta\":{\"content\":\"brok\n\n".to_string());
        frames.extend([stop(&model), DONE.to_string()]);
        respond(200).sse(frames)
    });
    stage.stream().from("primary")
}

/// No `[DONE]` at the end.
fn s11() -> Verdict {
    let stage = Stage::new(|call| beginning(call, WORDS).chunk(stop(&call.model()).as_bytes()).close());
    stage.stream().from("primary")
}

/// The context is too long for the primary: one try, then the larger model.
fn s12() -> Verdict {
    let stage = Stage::new(|_| error(400, Some("context_length_exceeded")));
    let seen = stage.stream();
    let tries = stage.primary.count();
    all([seen.from("backup"), check(tries == 1, || format!("{tries} tries"))])
}

/// A content filter: one try, no fallback, and the client learns the reason.
fn s13() -> Verdict {
    let stage = Stage::new(|_| error(400, Some("content_filter")));
    let answer = stage.router.chat(&chat_streamed("primary"));
    let tries = (stage.primary.count(), stage.fallback.count());
    check(answer.status == 400 && answer.text().contains("content_filter") && tries == (1, 0), || {
        format!("{} after {tries:?} tries: {}", answer.status, answer.text())
    })
}

/// A cut, and a fallback that refuses to go on with a half answer: its 400 must not surface.
fn s14() -> Verdict {
    let stage = Stage::new(|call| beginning(call, 40).reset());
    stage.fallback.set(|call| match call.json()["messages"].as_array().is_some_and(|m| m.len() > 1) {
        true => respond(400).error("prefill is not supported", "invalid_request_error", None),
        false => healthy(call),
    });
    let mut events = stage.router.stream(&chat_streamed("primary"));
    let told: String = events.rest().into_iter().map(|e| e.raw).collect();
    let leaked = told.contains("prefill");
    let again = stage.stream().whole_or_told();
    if leaked {
        Fail("the refusal of the prefill surfaced".into())
    } else {
        again
    }
}

/// A minute's outage with twenty requests in it: all served; the primary is back within thirty seconds of its return.
fn s15() -> Verdict {
    let outage = secs(60);
    let start = Instant::now();
    let stage =
        Stage::new(move |call| if start.elapsed() < outage { error(503, None) } else { healthy(call) });
    let mut whole = 0;
    for n in 0..20 {
        std::thread::sleep((secs(3) * n).saturating_sub(start.elapsed()));
        whole += usize::from(stage.stream().whole());
    }
    std::thread::sleep(outage.saturating_sub(start.elapsed()));
    let back = eventually(secs(30), || {
        std::thread::sleep(ms(500));
        let seen = stage.stream();
        (seen.whole() && seen.model == "primary").then_some(())
    });
    let tries = stage.primary.calls().iter().filter(|c| c.at - start < outage).count();
    all([
        check(whole == 20, || format!("{whole} of 20 were served")),
        check(back.is_some(), || "the primary is not used again".into()),
        check(tries <= 30, || format!("{tries} tries at a dead provider")),
    ])
}

/// Accounting: the answer names the model that gave it, with its usage; failed tries are not billed.
fn s16() -> Verdict {
    let stage = Stage::new(|_| error(500, None));
    stage.fallback.set(|call| Reply::chat_using(&call.model(), "x", 70, 30));
    let answer = stage.router.chat(&chat("primary"));
    if answer.status != 200 {
        return Fail(format!("{}: {}", answer.status, answer.text()));
    }
    let body = answer.json();
    stage.router.settles("spare", 100);
    let billed = ["main", "spare"].map(|name| stage.router.health_of(name)["current_tpm"].clone());
    all([
        check(body["model"] == "backup" && body["usage"]["total_tokens"] == 100, || body.to_string()),
        check(billed == [json!(0), json!(100)], || format!("billed {billed:?}")),
    ])
}

type Scenario = (&'static str, fn() -> Verdict);

#[test]
fn every_scenario_passes_or_is_safe() {
    let scenarios: [Scenario; 16] = [
        ("S01 429 with Retry-After, once", s01),
        ("S02 429 for good", s02),
        ("S03 500, once", s03),
        ("S04 503 for good", s04),
        ("S05 reset before the head", s05),
        ("S06 silence", s06),
        ("S07 first token after 20 s", s07),
        ("S08 cut in the middle", s08),
        ("S09 stall of 30 s", s09),
        ("S10 broken frame", s10),
        ("S11 no [DONE]", s11),
        ("S12 context too long", s12),
        ("S13 content filter", s13),
        ("S14 cut, and no prefill", s14),
        ("S15 outage of a minute", s15),
        ("S16 accounting", s16),
    ];
    let runs = scenarios.map(|(name, scenario)| (name, std::thread::spawn(scenario)));
    let verdicts = runs.map(|(name, run)| (name, run.join().unwrap_or_else(|_| Fail("panicked".into()))));
    let mut bad = Vec::new();
    // Written past the capture of the test runner, so that the table is always seen.
    let mut table = String::from("Failover Bench\n");
    for (name, verdict) in &verdicts {
        table.push_str(&format!("  {name:<32} {verdict:?}\n"));
        let may_be_safe = ["S08", "S09", "S14"].iter().any(|s| name.starts_with(s));
        if *verdict != Pass && !(*verdict == Safe && may_be_safe) {
            bad.push(format!("{name}: {verdict:?}"));
        }
    }
    let _ = std::io::stdout().write_all(table.as_bytes());
    assert!(bad.is_empty(), "{bad:#?}");
}
