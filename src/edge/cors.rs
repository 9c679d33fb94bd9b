//! What lets a page in a browser use the router: the answer to what the browser asks first, and a header on every
//! answer, errors and streams included.
//!
//! Off unless the configuration says otherwise. Keys travel in headers of requests, never in cookies, so no answer allows
//! credentials in the browser's sense, and any origin may be allowed without giving a page more than the key that it has.
//! Source: Fetch standard, "CORS protocol".

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderValue, Method};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::config::Origins;

/// Browsers cap what they keep of an answer (Chromium at two hours).
const MAX_AGE: &str = "7200";
const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";

/// The origin that an answer may name: none where the request comes from no page, or from one that may not.
pub fn allowed(origins: &Origins, request: &RequestHeader) -> Option<HeaderValue> {
    let origin = request.headers.get(ORIGIN)?;
    match origins {
        Origins::Any => Some(HeaderValue::from_static("*")),
        Origins::These(list) => {
            list.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone())
        }
    }
}

/// Whether a browser asks what it may ask.
pub fn is_preflight(request: &RequestHeader) -> bool {
    request.method == Method::OPTIONS && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Answers that: any method that the API has, and the headers that were asked for.
pub fn permit(head: &mut ResponseHeader, request: &RequestHeader) -> pingora::Result<()> {
    head.insert_header(ACCESS_CONTROL_ALLOW_METHODS, METHODS)?;
    if let Some(headers) = request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        head.insert_header(ACCESS_CONTROL_ALLOW_HEADERS, headers)?;
    }
    head.insert_header(ACCESS_CONTROL_MAX_AGE, MAX_AGE)
}

/// Names the origin on an answer.
pub fn mark(head: &mut ResponseHeader, origin: &HeaderValue) -> pingora::Result<()> {
    head.insert_header(ACCESS_CONTROL_ALLOW_ORIGIN, origin)?;
    head.insert_header(ACCESS_CONTROL_EXPOSE_HEADERS, "*")?;
    // A cache must not give one page what was meant for another.
    if origin != "*" {
        head.append_header(VARY, "origin")?;
    }
    Ok(())
}
