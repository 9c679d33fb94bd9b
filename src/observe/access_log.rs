//! One line per request on the standard output: JSON for machines, a readable line on a terminal.
//!
//! Written by hand into one buffer per thread, because this runs for every request. Lines stay below 8 KiB whatever a
//! client sends, and are queued, so that a slow reader of the log never slows a request.
//!
//! Fields, in this order; what does not apply is left out:
//!
//! | field | meaning |
//! |---|---|
//! | `ts` | when the head had been read, RFC 3339, UTC |
//! | `request_id` | what the client got as `x-request-id` |
//! | `client_ip` | the client's address, or the one that a trusted proxy has named |
//! | `method`, `endpoint` | path template, not the raw path |
//! | `status` | sent to the client; 499: it left before |
//! | `ended` | `complete`, `refused`, `failed`, `client_gone`, `truncated`, `stalled`, `upstream_error`, `drained`, `panicked` |
//! | `resumed` | the answer broke off, and another attempt went on with it (`whole`) or could not (`given_up`) |
//! | `refusal` | the error code where the router refused |
//! | `client` | the name of the key that it came with |
//! | `model`, `model_served`, `upstream_model` | asked for; gave the answer; its name upstream (the last two where they differ) |
//! | `credential` | whose answer the client got |
//! | `attempts` | list of `credential`, `model`, `status`, `ms`, `reason` |
//! | `stream` | the answer was an event stream |
//! | `bytes_in`, `bytes_out` | bodies |
//! | `tokens_in`, `tokens_out`, `tokens_cached`, `tokens_reasoning`, `tokens_estimated` | usage |
//! | `ttft_ms`, `total_ms`, `overhead_ms` | first output; all; our own part |
//! | `frames_dropped` | stream frames that were not JSON |
//! | `client_retry` | the client's own retry count |
//! | `upstream_request_id` | the provider's id |
//! | `trace_id` | of the trace that the client's `traceparent` is about, or that began here |

use std::cell::RefCell;
use std::fmt::Write;

use super::json::{push_millis, push_string, Object};
use super::logging::Format;
use super::outcome::{AttemptRecord, Ended, Outcome, Resumed};
use super::sink::Sink;

/// How many attempts a line shows. The default of `routing.max_attempts` is 5.
const ATTEMPTS: usize = 16;

thread_local! {
    static LINE: RefCell<String> = RefCell::new(String::with_capacity(1024));
}

/// Where the lines go, and how they look.
#[derive(Clone)]
pub struct AccessLog {
    all: Sink,
    format: Format,
    errors: Option<Sink>,
}

impl AccessLog {
    /// Every request to `all` in `format`; those with a status from 400 on to `errors` too, always as JSON.
    pub fn new(all: Sink, format: Format, errors: Option<Sink>) -> Self {
        Self { all, format, errors }
    }

    /// Queues the lines of one request.
    pub fn write(&self, outcome: &Outcome) {
        LINE.with_borrow_mut(|line| {
            line.clear();
            match self.format {
                Format::Json => json_line(line, outcome),
                Format::Human { colour } => human_line(line, outcome, colour),
            }
            self.all.line(line.as_bytes());
            if let Some(errors) = self.errors.as_ref().filter(|_| outcome.status >= 400) {
                line.clear();
                json_line(line, outcome);
                errors.line(line.as_bytes());
            }
        });
    }

    /// The sinks, to flush at the end.
    pub fn sinks(&self) -> impl Iterator<Item = &Sink> {
        std::iter::once(&self.all).chain(&self.errors)
    }
}

/// Appends the JSON line of one request, line feed included.
pub fn json_line(line: &mut String, outcome: &Outcome) {
    let mut object = Object::begin(line);
    // Writing to a string cannot fail.
    let _ = write!(object.field("ts"), "\"{}\"", humantime::format_rfc3339_millis(outcome.at));
    object.text("request_id", &outcome.request_id, 128);
    if let Some(caller) = outcome.caller {
        let _ = write!(object.field("client_ip"), "\"{caller}\"");
    }
    object.text("method", outcome.method.as_str(), 32);
    object.text("endpoint", outcome.endpoint, 128);
    object.number("status", outcome.status.into());
    object.text("ended", outcome.ended.as_str(), 32);
    object.text_if("resumed", outcome.resumed.map(Resumed::as_str), 32);
    object.text_if("refusal", outcome.refusal, 64);
    object.text_if("client", outcome.client.as_deref(), 512);
    models(&mut object, outcome);
    object.text_if("credential", outcome.credential.as_deref(), 512);
    attempts(&mut object, &outcome.attempts);
    object.flag("stream", outcome.stream);
    object.number("bytes_in", outcome.bytes_in);
    object.number("bytes_out", outcome.bytes_out);
    tokens(&mut object, outcome);
    if let Some(first) = outcome.first_token {
        object.millis("ttft_ms", first);
    }
    object.millis("total_ms", outcome.total);
    object.millis("overhead_ms", outcome.overhead());
    if outcome.frames_dropped > 0 {
        object.number("frames_dropped", outcome.frames_dropped);
    }
    if let Some(retry) = outcome.client_retry {
        object.number("client_retry", retry.into());
    }
    object.text_if("upstream_request_id", outcome.upstream_request_id.as_deref(), 256);
    if let Some(trace) = outcome.trace {
        let _ = write!(object.field("trace_id"), "\"{trace}\"");
    }
    object.end();
    line.push('\n');
}

fn models(object: &mut Object<'_>, outcome: &Outcome) {
    let asked = outcome.model.as_deref();
    let served = outcome.model_served.as_deref();
    let upstream = outcome.upstream_model.as_deref();
    object.text_if("model", asked, 400);
    object.text_if("model_served", served.filter(|_| served != asked), 400);
    object.text_if("upstream_model", upstream.filter(|_| upstream != served), 400);
}

fn attempts(object: &mut Object<'_>, attempts: &[AttemptRecord]) {
    let list = object.field("attempts");
    list.push('[');
    for (n, attempt) in attempts.iter().take(ATTEMPTS).enumerate() {
        if n > 0 {
            list.push(',');
        }
        let mut entry = Object::begin(list);
        entry.text("credential", &attempt.credential, 128);
        entry.text("model", &attempt.model, 128);
        entry.number("status", attempt.status.into());
        entry.millis("ms", attempt.took);
        entry.text("reason", attempt.reason, 32);
        entry.end();
    }
    list.push(']');
}

fn tokens(object: &mut Object<'_>, outcome: &Outcome) {
    let Some(usage) = outcome.usage else { return };
    object.number("tokens_in", usage.prompt);
    object.number("tokens_out", usage.completion);
    if usage.cached > 0 {
        object.number("tokens_cached", usage.cached);
    }
    if usage.reasoning > 0 {
        object.number("tokens_reasoning", usage.reasoning);
    }
    if usage.estimated {
        object.flag("tokens_estimated", true);
    }
}

/// Appends the line for people, such as
/// `12:00:01 200 POST /v1/chat/completions demo-flaky via demo-b after demo-a 500 (status) 12.345 ms, 5+7 tokens`.
pub fn human_line(line: &mut String, outcome: &Outcome, colour: bool) {
    let time = humantime::format_rfc3339_seconds(outcome.at).to_string();
    let (on, off) = match outcome.status {
        _ if !colour => ("", ""),
        500.. => ("\x1b[31m", "\x1b[0m"),
        400..=499 => ("\x1b[33m", "\x1b[0m"),
        _ => ("\x1b[32m", "\x1b[0m"),
    };
    let time = time.get(11..19).unwrap_or_default();
    let _ = write!(line, "{time} {on}{}{off} {} {}", outcome.status, outcome.method, outcome.endpoint);
    if let Some(model) = outcome.model.as_deref() {
        line.push(' ');
        push_name(line, model);
    }
    if let Some(served) =
        outcome.model_served.as_deref().filter(|served| outcome.model.as_deref() != Some(served))
    {
        line.push_str(" -> ");
        push_name(line, served);
    }
    route(line, outcome);
    line.push(' ');
    push_millis(line, outcome.total);
    line.push_str(" ms");
    if let Some(first) = outcome.first_token {
        line.push_str(", first token ");
        push_millis(line, first);
        line.push_str(" ms");
    }
    if let Some(usage) = outcome.usage {
        let _ = write!(line, ", {}+{} tokens", usage.prompt, usage.completion);
    }
    if outcome.ended != Ended::Complete {
        let _ = write!(line, ", {}", outcome.ended.as_str());
    }
    if let Some(refusal) = outcome.refusal {
        let _ = write!(line, ": {refusal}");
    }
    line.push('\n');
}

/// Who answered, and who failed before: ` via demo-b after demo-a 500 (status)`.
fn route(line: &mut String, outcome: &Outcome) {
    if let Some(credential) = outcome.credential.as_deref() {
        line.push_str(" via ");
        push_name(line, credential);
    }
    let failed = outcome.attempts.iter().filter(|attempt| attempt.reason != "ok");
    for (n, attempt) in failed.take(ATTEMPTS).enumerate() {
        line.push_str(if n == 0 { " after " } else { ", " });
        push_name(line, &attempt.credential);
        let _ = write!(line, " {} ({})", attempt.status, attempt.reason);
    }
}

/// A name without quotes where it needs none.
fn push_name(line: &mut String, name: &str) {
    let simple =
        name.len() <= 128 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b));
    if simple {
        line.push_str(name);
    } else {
        push_string(line, name, 128);
    }
}

#[cfg(test)]
mod tests;
