//! Which headers pass, in either direction.
//!
//! Towards an upstream goes everything but what belongs to this hop or to the client's own account and address.
//! Towards the client goes everything but what describes the upstream's account, limits and transport: a limit of one
//! credential out of many would mislead, and `alt-svc` would send the client to somebody else's port. Both run for
//! every header of every request, so they branch on the first byte. Names are in lower case, as `http` has them.
//! Sources: RFC 9110, section 7.6.1; vendors' headers as seen in recorded traffic.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::provider::Versions;

/// Where upstreams put their request id, the best name first.
static REQUEST_IDS: [HeaderName; 7] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("apim-request-id"),
    HeaderName::from_static("x-ms-request-id"),
    HeaderName::from_static("inference-id"),
    HeaderName::from_static("x-generation-id"),
    HeaderName::from_static("cf-ray"),
];

/// Whether a client's header goes upstream.
pub fn keep_request_header(name: &str) -> bool {
    !match name.as_bytes().first() {
        Some(b'a') => matches!(name, "authorization" | "api-key" | "accept-encoding"),
        Some(b'c') => matches!(name, "connection" | "cookie" | "content-length") || name.starts_with("cf-"),
        Some(b'e') => name == "expect",
        Some(b'f') => matches!(name, "forwarded" | "from" | "fastly-client-ip"),
        Some(b'h') => matches!(name, "host" | "http2-settings"),
        Some(b'i') => matches!(name, "if-none-match" | "if-modified-since"),
        Some(b'k') => name == "keep-alive",
        Some(b'o') => matches!(name, "openai-organization" | "openai-project" | "origin"),
        Some(b'p') => name.starts_with("proxy-"),
        Some(b'r') => name == "referer",
        // Of this hop; one that opens a WebSocket is dressed anew.
        Some(b's') => name.starts_with("sec-websocket-"),
        // The place in a trace is said anew for each attempt.
        Some(b't') => matches!(
            name,
            "te" | "trailer" | "transfer-encoding" | "true-client-ip" | "traceparent" | "tracestate"
        ),
        Some(b'u') => name == "upgrade",
        Some(b'v') => name == "via",
        Some(b'x') => is_private_extension(name),
        _ => false,
    }
}

fn is_private_extension(name: &str) -> bool {
    let prefixes = ["x-stainless-", "x-forwarded-", "x-auto-ai-router-", "x-envoy-", "x-amzn-trace-"];
    let names = matches!(
        name,
        "x-api-key"
            | "x-goog-api-key"
            | "x-goog-user-project"
            | "x-real-ip"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "x-original-forwarded-for"
            | "x-request-id"
            | "x-vendor"
    );
    names || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a client's header that says something about its dialect goes to an upstream: what is translated takes none of
/// them along, and Anthropic's go to Anthropic only.
pub fn keep_dialect_header(name: &str, versions: Versions, native: bool) -> bool {
    let is = |prefix: &str| name.starts_with(prefix);
    match versions {
        _ if !native => !(is("anthropic-") || is("openai-") || is("x-goog-")),
        Versions::Strange => !is("anthropic-"),
        Versions::BetaOnly => !is("anthropic-") || name == "anthropic-beta",
        Versions::Needed | Versions::Passed => true,
    }
}

/// Whether an upstream's header goes to the client. Framing and request ids are ours; Retry-After is sent by whoever
/// writes an error, never taken from an answer.
pub fn keep_response_header(name: &str) -> bool {
    !match name.as_bytes().first() {
        Some(b'a') => {
            matches!(name, "alt-svc" | "anthropic-organization-id" | "apim-request-id")
                || ["anthropic-ratelimit-", "access-control-", "azureml-"].iter().any(|p| name.starts_with(p))
        }
        Some(b'c') => {
            matches!(name, "connection" | "content-length" | "content-encoding") || name.starts_with("cf-")
        }
        Some(b'e') => name == "etag",
        Some(b'i') => name == "inference-id",
        Some(b'k') => name == "keep-alive",
        Some(b'n') => name == "nel",
        Some(b'o') => matches!(name, "openai-organization" | "openai-project"),
        Some(b'p') => name.starts_with("proxy-") || name == "public-key-pins",
        Some(b'r') => {
            matches!(name, "retry-after" | "retry-after-ms" | "request-id" | "report-to")
                || name.starts_with("ratelimit")
        }
        Some(b's') => matches!(name, "set-cookie" | "set-cookie2" | "server" | "strict-transport-security"),
        Some(b't') => matches!(name, "te" | "trailer" | "transfer-encoding"),
        Some(b'u') => name == "upgrade",
        Some(b'v') => name == "via",
        Some(b'w') => name == "www-authenticate",
        Some(b'x') => is_upstreams_extension(name),
        _ => false,
    }
}

fn is_upstreams_extension(name: &str) -> bool {
    let names = matches!(
        name,
        "x-request-id"
            | "x-upstream-request-id"
            | "x-ms-request-id"
            | "x-generation-id"
            | "x-ms-client-request-id"
            | "x-should-retry"
            | "x-powered-by"
    );
    let prefixes = ["x-ratelimit-", "x-envoy-", "x-auto-ai-router-"];
    names || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// The upstream's own id of the request, under whatever name.
pub fn upstream_request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    REQUEST_IDS.iter().find_map(|name| headers.get(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_identity_and_this_hops_headers_stay_here() {
        for name in [
            "authorization",
            "x-api-key",
            "api-key",
            "x-goog-api-key",
            "cookie",
            "host",
            "content-length",
            "expect",
            "accept-encoding",
            "te",
            "trailer",
            "transfer-encoding",
            "traceparent",
            "tracestate",
            "connection",
            "keep-alive",
            "upgrade",
            "via",
            "openai-organization",
            "openai-project",
            "x-stainless-lang",
            "x-stainless-retry-count",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-real-ip",
            "true-client-ip",
            "cf-connecting-ip",
            "proxy-authorization",
            "proxy-connection",
            "x-request-id",
            "x-auto-ai-router-hops",
            "http2-settings",
            "sec-websocket-protocol",
        ] {
            assert!(!keep_request_header(name), "{name}");
        }
        for name in [
            "content-type",
            "accept",
            "user-agent",
            "anthropic-version",
            "anthropic-beta",
            "openai-beta",
            "idempotency-key",
            "x-client-request-id",
            "http-referer",
            "x-title",
            "",
        ] {
            assert!(keep_request_header(name), "{name}");
        }
    }

    #[test]
    fn the_upstreams_business_is_not_the_clients() {
        for name in [
            "set-cookie",
            "alt-svc",
            "openai-organization",
            "openai-project",
            "anthropic-organization-id",
            "x-ratelimit-limit-requests",
            "anthropic-ratelimit-tokens-reset",
            "ratelimit-limit",
            "ratelimit",
            "retry-after",
            "retry-after-ms",
            "server",
            "strict-transport-security",
            "access-control-allow-origin",
            "cf-ray",
            "via",
            "azureml-model-session",
            "connection",
            "transfer-encoding",
            "content-length",
            "x-request-id",
            "request-id",
            "apim-request-id",
            "x-auto-ai-router-credential",
            "x-should-retry",
        ] {
            assert!(!keep_response_header(name), "{name}");
        }
        for name in [
            "content-type",
            "openai-processing-ms",
            "openai-version",
            "date",
            "x-groq-region",
            "cache-control",
            "",
        ] {
            assert!(keep_response_header(name), "{name}");
        }
    }

    #[test]
    fn the_upstreams_request_id_is_found_under_its_names() {
        let id = |names: &[&'static str]| {
            let headers = names.iter().map(|name| (name.parse().unwrap(), HeaderValue::from_static(name)));
            upstream_request_id(&headers.collect()).cloned()
        };
        assert_eq!(id(&["cf-ray", "request-id"]).unwrap(), "request-id");
        assert_eq!(id(&["apim-request-id", "x-request-id"]).unwrap(), "x-request-id");
        assert_eq!(id(&["date"]), None);
    }
}
