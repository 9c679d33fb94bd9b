//! Our errors, in the shape that OpenAI's SDKs show: the only place where an error's JSON is written.
//!
//! It is always an object with all four members, and `code` is a text or null; SDKs show nothing useful for anything
//! else. In the middle of a stream the same error becomes an event of that stream's dialect. Every error that the
//! router gives has a constructor here, so that this file is the list of them.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{json, Value};

pub use super::upstream_error::UpstreamError;
use super::Wire;

const INVALID: &str = "invalid_request_error";

/// An error as a client gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// For people.
    pub message: String,
    /// `type`.
    pub kind: String,
    /// The member of the request at fault.
    pub param: Option<String>,
    /// For programs.
    pub code: Option<String>,
}

impl ApiError {
    fn new(status: u16, kind: &str, code: &str, message: impl Into<String>) -> Self {
        let code = Some(code.to_owned()).filter(|code| !code.is_empty());
        Self { status, message: message.into(), kind: kind.to_owned(), param: None, code }
    }

    /// The body in OpenAI's shape.
    pub fn body(&self) -> Bytes {
        self.body_for(Wire::Chat, "")
    }

    /// The body, in the shape of the client's API: OpenAI's `{"error":{"message","type","param","code"}}`,
    /// Anthropic's `{"type":"error","error":{"type","message"}}`, Google's `{"error":{"code","message","status"}}`.
    pub fn body_for(&self, wire: Wire, request_id: &str) -> Bytes {
        let body = match wire {
            Wire::Messages => {
                let mut body = self.anthropic();
                body["request_id"] = request_id.into();
                body
            }
            Wire::Gemini => self.google(),
            _ => json!({ "error": self.members() }),
        };
        body.to_string().into()
    }

    /// The event that ends a stream of this kind with this error; nothing for streams that have no such event.
    pub fn frame(&self, wire: Wire) -> Bytes {
        match wire {
            Wire::Chat | Wire::Completions => format!("data: {}\n\n", json!({ "error": self.members() })),
            Wire::Responses => {
                let (code, message) = (&self.code, &self.message);
                // The SDKs do not look at the number; it only has to be one.
                let event = json!({
                    "type": "error", "code": code, "message": message, "param": self.param, "sequence_number": 0,
                });
                format!("event: error\ndata: {event}\n\n")
            }
            Wire::Messages => format!("event: error\ndata: {}\n\n", self.anthropic()),
            Wire::Gemini => format!("data: {}\n\n", self.google()),
            Wire::Objects | Wire::Opaque => String::new(),
        }
        .into()
    }

    fn members(&self) -> Value {
        json!({ "message": self.message, "type": self.kind, "param": self.param, "code": self.code })
    }

    /// Anthropic's types go by the status (its API reference, "Errors").
    fn anthropic(&self) -> Value {
        let kind = match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            504 => "timeout_error",
            503 | 529 => "overloaded_error",
            400..=499 => INVALID,
            _ => "api_error",
        };
        json!({ "type": "error", "error": { "type": kind, "message": self.message } })
    }

    /// Google's status words (google.rpc.Code).
    fn google(&self) -> Value {
        let status = match self.status {
            400 | 413 | 422 => "INVALID_ARGUMENT",
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 | 405 => "NOT_FOUND",
            409 => "ABORTED",
            429 => "RESOURCE_EXHAUSTED",
            499 => "CANCELLED",
            503 | 529 => "UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            400..=499 => "FAILED_PRECONDITION",
            _ => "INTERNAL",
        };
        json!({ "error": { "code": self.status, "message": self.message, "status": status } })
    }
}

/// The caller's errors.
impl ApiError {
    /// Something about the request, with a status of the 400s.
    pub fn invalid(status: u16, message: impl Into<String>) -> Self {
        Self::new(status, INVALID, "invalid_request", message)
    }

    /// A body that cannot be routed.
    pub fn bad_request(message: &str, param: Option<&str>) -> Self {
        Self { param: param.map(str::to_owned), ..Self::invalid(400, message) }
    }

    /// No key, or a wrong one.
    pub fn unauthorized(message: &str) -> Self {
        Self::new(401, "authentication_error", "invalid_api_key", message)
    }

    /// Nobody serves the model.
    pub fn unknown_model(model: &str, nearest: &[impl AsRef<str>]) -> Self {
        let shown: String = model.chars().take(256).collect();
        let mut message = format!("The model '{shown}' does not exist here.");
        if !nearest.is_empty() {
            let names: Vec<String> = nearest.iter().map(|name| format!("'{}'", name.as_ref())).collect();
            message.push_str(&format!(" Did you mean {}?", names.join(" or ")));
        }
        Self { param: Some("model".to_owned()), ..Self::new(404, INVALID, "model_not_found", message) }
    }

    /// The client's key is not for this model; none where it names none, though its key is for some models only.
    pub fn closed_model(model: Option<&str>) -> Self {
        let message = match model {
            Some(model) => {
                let shown: String = model.chars().take(256).collect();
                format!("This API key does not have access to the model '{shown}'.")
            }
            None => "This API key has access to some models only, and the request does not name one.".into(),
        };
        Self { param: Some("model".to_owned()), ..Self::new(403, INVALID, "model_not_found", message) }
    }

    /// Only the master key may do that.
    pub fn master_only() -> Self {
        Self::new(403, "permission_error", "insufficient_permissions", "This takes the master key.")
    }

    /// The client's key is at a limit of its own: so much (`bound`, in words) of `which`, as in `limited`.
    pub fn client_limited(which: &str, bound: impl Display) -> Self {
        let what = if which == "concurrency" { "requests" } else { which };
        let message = format!("This API key is at its limit of {what}: {bound}.");
        Self::new(429, "rate_limit_error", "rate_limit_exceeded", message)
    }

    /// The vendor asked for does not serve the model.
    pub fn elsewhere(model: &str) -> Self {
        let message = format!("The vendor asked for does not serve the model '{model}'.");
        Self { param: Some("model".to_owned()), ..Self::new(404, INVALID, "model_not_found", message) }
    }

    /// No such endpoint; `nearest` is the one that was probably meant.
    pub fn wrong_path(path: &str, nearest: Option<&str>) -> Self {
        let path: String = path.chars().take(256).collect();
        let hint = nearest.map(|nearest| format!(" Did you mean {nearest}?"));
        let hint = hint.unwrap_or_else(|| " The API is below /v1.".to_owned());
        Self::new(404, INVALID, "unknown_url", format!("There is nothing at {path}.{hint}"))
    }

    /// The endpoint exists, for other methods.
    pub fn wrong_method(method: &str, path: &str, allow: &str) -> Self {
        let path: String = path.chars().take(256).collect();
        Self::new(
            405,
            INVALID,
            "method_not_allowed",
            format!("{method} is not allowed on {path}; it takes {allow}."),
        )
    }

    /// The body is larger than `most` bytes.
    pub fn too_large(most: u64) -> Self {
        Self::new(413, INVALID, "request_too_large", format!("The request body is larger than {most} bytes."))
    }

    /// A compressed body.
    pub fn unsupported_encoding() -> Self {
        let message = "The request body must not be compressed (Content-Encoding).";
        Self::new(415, INVALID, "unsupported_encoding", message)
    }

    /// The body was not there in time.
    pub fn body_timeout(limit: Duration) -> Self {
        let message = format!("The request body did not arrive within {} s.", limit.as_secs_f32());
        Self::new(408, "timeout_error", "body_timeout", message)
    }
}

/// The router's own limits and states.
impl ApiError {
    /// All credentials that could serve are at a limit; `which` is `requests`, `tokens`, `concurrency`, or `upstream`
    /// where all of them have been told so by a 429. `per` is what the limit is counted over, a `minute` for one.
    pub fn limited(which: &str, per: &str) -> Self {
        let (kind, message) = match which {
            "concurrency" => (which, CONCURRENCY.to_owned()),
            "upstream" => ("rate_limit_error", TOLD_TO_WAIT.to_owned()),
            _ => (which, format!("All credentials for this model are at their limit of {which} per {per}.")),
        };
        Self::new(429, kind, "rate_limit_exceeded", message)
    }

    /// All credentials that could serve are banned or failing.
    pub fn unavailable() -> Self {
        let message = "No credential for this model is available at the moment.";
        Self::new(503, "server_error", "no_credential_available", message)
    }

    /// The state that routers share cannot be asked whether a limit allows the request.
    pub fn unshared() -> Self {
        let message = "The store that holds this router's limits does not answer; try again in a moment.";
        Self::new(503, "server_error", "shared_state_unavailable", message)
    }

    /// The credential that an id belongs to cannot serve; `state` says why.
    pub fn pinned_unavailable(name: &str, state: &str) -> Self {
        let message = format!("This id belongs to the credential '{name}', which is {state}.");
        Self::new(409, "conflict_error", "credential_unavailable", message)
    }

    /// The memory set aside for request bodies and whole answers is in use.
    pub fn out_of_buffers() -> Self {
        let message = "Too many large requests or answers are under way; try again in a moment.";
        Self::new(503, "server_error", "overloaded", message)
    }

    /// The request has passed this router before.
    pub fn looped(path: &str) -> Self {
        Self::new(
            508,
            INVALID,
            "loop_detected",
            format!("The request came back to a router it had passed: {path}."),
        )
    }

    /// The request's time was over before any candidate was asked.
    pub fn out_of_time() -> Self {
        Self::new(
            504,
            "timeout_error",
            "deadline_exceeded",
            "The request's deadline passed before an answer began.",
        )
    }

    /// The router is going down, and this stream could not finish in time.
    pub fn shutting_down() -> Self {
        Self::new(503, "server_error", "shutting_down", "The router is shutting down; please ask again.")
    }

    /// A fault of the router itself.
    pub fn internal() -> Self {
        Self::new(500, "server_error", "internal_error", "The router failed to handle this request.")
    }
}

const TOLD_TO_WAIT: &str = "The providers behind all credentials for this model have asked to wait.";
const CONCURRENCY: &str = "All credentials for this model serve as many requests at once as they may.";

/// The upstream's errors, told to the client. Messages must be scrubbed already.
impl ApiError {
    /// The upstream refused our key or its account; never a 401, so that the client does not drop its own good key.
    pub fn upstream_key(message: &str, quota_exhausted: bool) -> Self {
        let code = if quota_exhausted { "insufficient_quota" } else { "upstream_auth" };
        Self::new(502, "api_error", code, format!("The upstream refused the router's credential: {message}"))
    }

    /// An upstream's error. `status` is what the upstream answered, or what a transport failure counts as (502, 504);
    /// a 401 becomes 502 (as do a 402 and a 403 that are not about the request's content), a 529 a 503, and what is no
    /// error status at all a 502.
    pub fn upstream(status: u16, error: &UpstreamError, message: String) -> Self {
        let content = error.content_policy() && status != 401;
        let caller =
            matches!(status, 400..=499) && (content || !matches!(status, 401..=403 | 408 | 409 | 429));
        let (shown, kind, code) = match status {
            400..=499 if content => (status, INVALID, "content_filter"),
            401..=403 => (502, "api_error", "upstream_auth"),
            404 if error.model_not_found() => (404, INVALID, "model_not_found"),
            408 => (504, "timeout_error", "upstream_timeout"),
            409 => (409, "conflict_error", "upstream_conflict"),
            429 if error.quota_exhausted() => (429, "rate_limit_error", "insufficient_quota"),
            429 => (429, "rate_limit_error", "rate_limit_exceeded"),
            400..=499 => (status, INVALID, ""),
            503 | 529 => (503, "overloaded_error", "overloaded"),
            504 => (504, "timeout_error", "upstream_timeout"),
            508 => (508, INVALID, "loop_detected"),
            500..=599 => (status, "api_error", "upstream_error"),
            _ => (502, "api_error", "upstream_error"),
        };
        let mut told = Self::new(shown, kind, code, message);
        if caller {
            let said =
                |text: &Option<Box<str>>| text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
            // Google's words (`INVALID_ARGUMENT`, `400`) mean nothing to clients of other APIs.
            let foreign = |word: &String| !word.bytes().any(|byte| byte.is_ascii_lowercase());
            told.kind = said(&error.kind).filter(|kind| !foreign(kind)).unwrap_or(told.kind);
            told.code = said(&error.code).filter(|code| !foreign(code)).or(told.code);
            told.param = said(&error.param);
        }
        told
    }

    /// A committed stream that cannot go on. Never called the caller's fault, or clients would not ask again.
    pub fn broken_stream(error: &UpstreamError, message: String) -> Self {
        let code = match error.status {
            0 => "stream_interrupted",
            429 => "rate_limit_exceeded",
            503 | 529 => "overloaded",
            _ => "upstream_error",
        };
        let kind = if error.status == 429 { "rate_limit_error" } else { "server_error" };
        Self::new(if error.status == 429 { 429 } else { 502 }, kind, code, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn every_error_is_an_object_with_all_four_members() {
        let none: [&str; 0] = [];
        for error in [
            ApiError::bad_request("say \"why\"", Some("model")),
            ApiError::unauthorized("no"),
            ApiError::unknown_model("m", &none),
            ApiError::internal(),
            ApiError::upstream(418, &UpstreamError::default(), "x".into()),
        ] {
            let body = json(&error.body());
            let members = body["error"].as_object().unwrap();
            assert_eq!(members.len(), 4, "{body}");
            assert!(members["message"].is_string() && members["type"].is_string());
            assert!(members["code"].is_string() || members["code"].is_null());
        }
    }

    #[test]
    fn googles_words_are_not_told_to_clients_of_other_apis() {
        let said = UpstreamError {
            kind: Some("INVALID_ARGUMENT".into()),
            code: Some("400".into()),
            ..UpstreamError::default()
        };
        let told = ApiError::upstream(400, &said, "m".into());
        assert_eq!((told.kind.as_str(), told.code), (INVALID, None));
    }

    #[test]
    fn the_nearest_names_are_offered() {
        let error = ApiError::unknown_model("gpt-5o", &["gpt-5", "gpt-4o"]);
        assert!(error.message.ends_with("Did you mean 'gpt-5' or 'gpt-4o'?"), "{}", error.message);
        assert_eq!((error.status, error.code.as_deref()), (404, Some("model_not_found")));
    }

    #[test]
    fn an_error_in_a_stream_speaks_its_dialect() {
        let error = ApiError::broken_stream(&UpstreamError::default(), "cut".into());
        let chat = error.frame(Wire::Chat);
        assert!(chat.ends_with(b"\n\n"));
        assert_eq!(json(&chat[6..])["error"]["code"], "stream_interrupted");
        let data = |frame: Bytes| json(frame.strip_prefix(b"event: error\ndata: ").unwrap());
        assert_eq!(data(error.frame(Wire::Responses))["type"], "error");
        assert_eq!(data(error.frame(Wire::Messages))["error"]["type"], "api_error");
        assert!(error.frame(Wire::Opaque).is_empty());
    }

    #[test]
    fn a_rejected_key_is_never_the_clients() {
        for status in [401, 402, 403] {
            assert_eq!(ApiError::upstream(status, &UpstreamError::default(), String::new()).status, 502);
        }
        assert_eq!(ApiError::upstream_key("x", true).code.as_deref(), Some("insufficient_quota"));
    }

    #[test]
    fn the_callers_errors_keep_their_words() {
        let said = UpstreamError {
            kind: Some("a".into()),
            code: Some("b".into()),
            param: Some("c".into()),
            ..UpstreamError::default()
        };
        let told = ApiError::upstream(422, &said, "m".into());
        assert_eq!((told.status, told.kind.as_str()), (422, "a"));
        assert_eq!((told.code.as_deref(), told.param.as_deref()), (Some("b"), Some("c")));
        assert_eq!(ApiError::upstream(500, &said, "m".into()).code.as_deref(), Some("upstream_error"));
        assert_eq!(ApiError::upstream(529, &said, "m".into()).status, 503);
        assert_eq!(ApiError::upstream(302, &said, "m".into()).status, 502);
    }
}
