//! What an upstream says when it fails, in any of the shapes that are about.
//!
//! OpenAI's object, Google's array around one, a bare string, OpenRouter's numeric code with metadata, Azure's inner
//! error, Anthropic's, FastAPI's `detail`, HTML, plain text, nothing at all. From each a plain message and what is
//! needed to judge it are taken; the original bytes stay with the caller of `parse`, who may return them as they came.
//! This is the failure path, so it may build a tree. Sources: vendors' references; seen in recorded traffic.

use std::num::NonZeroU64;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Wire;

/// Longer messages are cut.
const MOST_MESSAGE: usize = 512;
/// The kind of a model's slip, which no provider calls an error.
const SLIP: &str = "no_answer";
/// A quota that comes back with the next day is as good as exhausted.
const PER_DAY: &str = "PerDay";

/// How upstreams begin what they say of an account or its key.
const ABOUT_AN_ACCOUNT: [&str; 7] = [
    "you",
    "this request would exceed",
    "this organization",
    "the organization",
    "workspace",
    "incorrect api key provided",
    "user location is not supported",
];

/// An upstream's error, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamError {
    /// The HTTP status; of an error inside a stream or a 200, the one it stands for. 0: none (a transport failure).
    pub status: u16,
    /// At most 512 characters on one line; not yet scrubbed.
    pub message: String,
    /// `type`, or Google's `status`.
    pub kind: Option<Box<str>>,
    /// The member of the request that is at fault.
    pub param: Option<Box<str>>,
    /// `code`, a number as its digits.
    pub code: Option<Box<str>>,
    /// A second, finer code: Azure's `innererror.code`, Google's `reason`, Anthropic's `details.error_code`.
    pub inner: Option<Box<str>>,
    /// How long to wait, where the body says so (Google's `retryDelay`).
    pub retry_delay: Option<Duration>,
    /// When a limit of the upstream is whole again, in milliseconds of the Unix epoch (OpenRouter's copy of a header).
    pub resets_at: Option<NonZeroU64>,
    /// Whose clients understand the body as it is: OpenAI's (`Chat`: `{"error":{"message":…}}` with a text or null as
    /// its code), Anthropic's or Google's.
    pub shape: Option<Wire>,
}

impl UpstreamError {
    /// Reads an error answer. `body` may be cut short; it is looked at up to 64 KiB.
    pub fn parse(status: u16, content_type: &str, body: &[u8]) -> Self {
        let body = &body[..body.len().min(64 * 1024)];
        let mut error = match serde_json::from_slice::<Value>(body) {
            Ok(value) => Self::from_json(&value),
            Err(_) => Self { message: plain(content_type, body), ..Self::default() },
        };
        error.status = status;
        if error.message.is_empty() {
            error.message = format!("The upstream answered with status {status} and said nothing more.");
        }
        error.message = one_line(&error.message);
        error
    }

    /// Reads the data of an error event, or an error object inside a 200.
    pub fn in_stream(data: &[u8]) -> Self {
        let mut error = Self::parse(0, "application/json", data);
        error.status = error.implied_status();
        if error.message.starts_with("The upstream answered with status 0") {
            error.message = "The upstream reported an error and said nothing more.".to_owned();
        }
        error
    }

    /// A failure below HTTP, in our own words.
    pub fn transport(message: &str) -> Self {
        Self { message: message.to_owned(), ..Self::default() }
    }

    /// The request offends a content policy.
    pub fn content_policy(&self) -> bool {
        self.has_code(&[
            "content_filter",
            "content_policy_violation",
            "ResponsibleAIPolicyViolation",
            "moderation_blocked",
            "image_content_policy_violation",
            "input_moderation",
        ]) || self.inner.as_deref() == Some("moderation")
    }

    /// The prompt is too long for the model.
    pub fn context_length(&self) -> bool {
        self.has_code(&["context_length_exceeded"])
            || matches!(self.status, 400 | 413 | 422)
                && self.says(&[
                    "maximum context length",
                    "exceeds the maximum number of tokens",
                    "prompt is too long",
                    "exceeds the context window",
                    "exceeds context length",
                    "exceed context limit",
                    "current length is",
                ])
    }

    /// The account has nothing left; waiting a little does not help. Google says "exceeded your current quota" of a full
    /// minute, too: there, the name of the quota decides.
    pub fn quota_exhausted(&self) -> bool {
        let named = |end: fn(&str) -> bool| self.inner.as_deref().is_some_and(end);
        let is_google = self.is_google();
        self.status == 402
            || self.has_code(&[
                "insufficient_quota",
                "billing_hard_limit_reached",
                "billing_error",
                "ramp_limit",
            ])
            || named(|inner| inner.contains(PER_DAY))
            || named(|inner| inner.ends_with("spend_limit_reached"))
            || !is_google && self.tells(&["exceeded your current quota"])
            || self.tells(&["credit balance is too low", "spend limit", "specified api usage limits"])
    }

    /// A quota for a whole day is used up. Google names the quota, the others tell of it: OpenRouter
    /// ("Rate limit exceeded: free-models-per-day"), OpenAI and Groq ("Rate limit reached for … on requests per day
    /// (RPD)"), GitHub ("Rate limit of 50 per 86400s exceeded for UserByModelByDay").
    pub fn day_quota(&self) -> bool {
        let told = |phrase: &&str| self.message.contains(*phrase);
        self.inner.as_deref().is_some_and(|inner| inner.contains(PER_DAY))
            || self.message.starts_with("Rate limit ")
                && ["-per-day", "per day (RPD)", "per day (TPD)", "ByDay", " per 86400s "]
                    .iter()
                    .any(|p| told(p))
    }

    /// Whether it is Google's, whose word on when to come back is about the minute even where a day is over, and whose
    /// days are those of California (<https://ai.google.dev/gemini-api/docs/rate-limits>).
    pub fn is_google(&self) -> bool {
        self.has_code(&["RESOURCE_EXHAUSTED"])
    }

    /// Whether the quota that it names is one of all models together.
    pub fn of_all_models(&self) -> bool {
        self.inner.as_deref().is_some_and(|inner| inner.contains(PER_DAY) && !inner.contains("PerModel"))
    }

    /// The request alone is more than the account may ask for in a minute (Groq says so with a 413): a larger account
    /// may take it.
    pub fn over_the_minute(&self) -> bool {
        self.status == 413 && self.has_code(&["rate_limit_exceeded"])
    }

    /// The upstream does not know the model, or the key may not use it.
    pub fn model_not_found(&self) -> bool {
        self.has_code(&["model_not_found", "DeploymentNotFound", "model_not_exist"])
            || self.status == 404 && self.message.to_ascii_lowercase().contains("model")
    }

    /// The model ended without an answer, or with a call that nobody can read. The next time it may do better.
    pub fn is_slip(&self) -> bool {
        self.kind.as_deref() == Some(SLIP)
    }

    /// The key is refused, or may not be used from here, whatever the status.
    pub fn key_invalid(&self) -> bool {
        self.has_code(&["invalid_api_key", "API_KEY_INVALID", "authentication_error", "account_deactivated"])
            || self.tells(&["incorrect api key provided", "user location is not supported"])
    }

    fn has_code(&self, codes: &[&str]) -> bool {
        let own = [&self.code, &self.inner, &self.kind];
        own.into_iter().flatten().any(|own| codes.contains(&&**own))
    }

    fn says(&self, phrases: &[&str]) -> bool {
        let message = self.message.to_ascii_lowercase();
        phrases.iter().any(|phrase| message.contains(phrase))
    }

    /// Whether the upstream says so of the account, in its own words. What it quotes or repeats may be the caller's, who
    /// must not have a credential banned by an odd request; what is said of an account begins with whose it is.
    fn tells(&self, phrases: &[&str]) -> bool {
        let quotes = ["\"", "`", " '", "('", "='"];
        let own = quotes.iter().filter_map(|quote| self.message.find(quote)).min();
        let own = own.and_then(|end| self.message.get(..end)).unwrap_or(&self.message);
        let message = own.to_ascii_lowercase();
        ABOUT_AN_ACCOUNT.iter().any(|begin| message.starts_with(begin))
            && phrases.iter().any(|phrase| message.contains(phrase))
    }

    /// The status that an error without one stands for.
    fn implied_status(&self) -> u16 {
        if let Some(status) = self.code.as_deref().and_then(|code| code.parse().ok()) {
            if (400..600).contains(&status) {
                return status;
            }
        }
        let word = |word: &str| -> Option<u16> {
            Some(match word {
                "invalid_api_key" | "authentication_error" | "UNAUTHENTICATED" => 401,
                "billing_error" => 402,
                "permission_error" | "permission_denied" | "PERMISSION_DENIED" => 403,
                "not_found_error" | "model_not_found" | "NOT_FOUND" => 404,
                "request_too_large" => 413,
                "rate_limit_exceeded"
                | "rate_limit_error"
                | "insufficient_quota"
                | "RESOURCE_EXHAUSTED"
                | "requests"
                | "tokens"
                | "too_many_requests" => 429,
                "overloaded_error" | "overloaded" => 529,
                SLIP => 502,
                "UNAVAILABLE" | "service_unavailable" => 503,
                "timeout_error" | "DEADLINE_EXCEEDED" => 504,
                "server_error" | "api_error" | "internal_error" | "INTERNAL" => 500,
                "context_length_exceeded"
                | "content_filter"
                | "invalid_prompt"
                | "invalid_request_error"
                | "INVALID_ARGUMENT" => 400,
                _ => return None,
            })
        };
        let own = [&self.code, &self.kind].into_iter().flatten();
        own.filter_map(|own| word(own)).next().unwrap_or(500)
    }

    fn from_json(value: &Value) -> Self {
        match value {
            Value::Array(items) => items.first().map(Self::from_json).unwrap_or_default(),
            Value::String(text) => Self { message: text.clone(), ..Self::default() },
            Value::Object(object) => Self::from_object(object),
            _ => Self::default(),
        }
    }

    fn from_object(object: &Map<String, Value>) -> Self {
        if let Some(Value::Object(response)) = object.get("response") {
            return Self::from_object(response);
        }
        let in_choice = || object.get("choices")?.get(0)?.get("error");
        match object.get("error").filter(|error| !error.is_null()).or_else(in_choice) {
            Some(Value::Object(error)) => Self { shape: shape(object, error), ..Self::from_members(error) },
            Some(Value::String(text)) => {
                let said = Self::from_members(object);
                let message = if said.message.is_empty() { text.clone() } else { said.message.clone() };
                Self { message, ..said }
            }
            _ => Self::slip(object).unwrap_or_else(|| Self::from_members(object)),
        }
    }

    /// Gemini's answer of nothing but the reason for it (`MALFORMED_FUNCTION_CALL`).
    fn slip(object: &Map<String, Value>) -> Option<Self> {
        let candidate = object.get("candidates")?.get(0)?;
        let reason = candidate.get("finishReason")?.as_str()?;
        let more = candidate.get("finishMessage").and_then(Value::as_str).unwrap_or_default();
        Some(Self {
            message: format!("The model ended without an answer: {reason}. {more}"),
            kind: Some(SLIP.into()),
            code: Some(reason.into()),
            ..Self::default()
        })
    }

    fn from_members(error: &Map<String, Value>) -> Self {
        let details = error.get("details");
        let metadata = error.get("metadata");
        let said = ["message", "detail", "msg", "error_description"].iter().find_map(|key| error.get(*key));
        let raw = metadata.and_then(|m| m.get("raw")).and_then(text);
        let message = said.and_then(text).unwrap_or_default();
        Self {
            message: match raw.filter(|raw| !raw.is_empty() && *raw != message) {
                Some(raw) if message == "Provider returned error" => format!("{message}: {raw}"),
                _ => message,
            },
            kind: ["type", "status"]
                .iter()
                .find_map(|key| error.get(*key).and_then(Value::as_str))
                .map(Box::from),
            param: error.get("param").and_then(Value::as_str).map(Box::from),
            code: error.get("code").and_then(text).map(Box::from),
            inner: inner_code(error, details, metadata),
            retry_delay: details.and_then(retry_delay),
            resets_at: metadata.and_then(resets_at),
            ..Self::default()
        }
    }
}

/// Whose shape it is: a type beside the error is Anthropic's, a number and a status in it Google's, and OpenAI's code and
/// type are a text or null.
fn shape(object: &Map<String, Value>, error: &Map<String, Value>) -> Option<Wire> {
    let textual = |key: &str| error.get(key).is_none_or(|value| value.is_string() || value.is_null());
    error.get("message").filter(|message| message.is_string())?;
    if object.contains_key("type") {
        return error.get("type").filter(|kind| kind.is_string()).map(|_| Wire::Messages);
    }
    if error.get("code").is_some_and(Value::is_number) && error.get("status").is_some_and(Value::is_string) {
        return Some(Wire::Gemini);
    }
    (textual("code") && textual("type")).then_some(Wire::Chat)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

fn inner_code(
    error: &Map<String, Value>,
    details: Option<&Value>,
    metadata: Option<&Value>,
) -> Option<Box<str>> {
    let azure = error.get("innererror").and_then(|inner| inner.get("code"));
    let anthropic = details.and_then(|details| details.get("error_code"));
    let items = || details.and_then(Value::as_array).into_iter().flatten();
    let violations = || items().filter_map(|item| item.get("violations")?.as_array()).flatten();
    let quotas = || violations().filter_map(|violation| violation.get("quotaId"));
    // Of several full quotas, the one that lasts longest counts.
    let daily = || quotas().find(|id| id.as_str().is_some_and(|id| id.contains(PER_DAY)));
    let google = daily().or_else(|| quotas().next()).or_else(|| items().find_map(|item| item.get("reason")));
    if metadata.is_some_and(|metadata| metadata.get("flagged_input").is_some()) {
        return Some("moderation".into());
    }
    azure.or(anthropic).or(google)?.as_str().map(Box::from)
}

/// OpenRouter's `"metadata":{"headers":{"X-RateLimit-Reset":"1742515200000"}}`.
fn resets_at(metadata: &Value) -> Option<NonZeroU64> {
    text(metadata.get("headers")?.get("X-RateLimit-Reset")?)?.parse().ok()
}

/// Google's `{"@type":"…RetryInfo","retryDelay":"34.4s"}`.
fn retry_delay(details: &Value) -> Option<Duration> {
    let delay = details.as_array()?.iter().find_map(|item| item.get("retryDelay")?.as_str())?;
    let seconds: f64 = delay.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Words of a body that is not JSON: HTML without its tags, or the text.
fn plain(content_type: &str, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let html = content_type.contains("html") || text.trim_start().starts_with('<');
    if !html {
        return text.trim().to_owned();
    }
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").zip(lower.find("</title>")).and_then(|(a, b)| text.get(a + 7..b));
    match title.map(str::trim).filter(|title| !title.is_empty()) {
        Some(title) => format!("The upstream answered with a web page: {title}"),
        None => "The upstream answered with a web page.".to_owned(),
    }
}

fn one_line(text: &str) -> String {
    let words = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = words.take(MOST_MESSAGE).collect();
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests;
