//! Request heads: what `edge::grammar` takes, httparse must take as well, and read as one thing.
//!
//! The second reader is the one that stands behind the grammar in Pingora; where the two differ, a head can be
//! smuggled.

use auto_ai_router::edge::{front, grammar};

pub const WORDS: &[&str] = &[
    "GET ",
    "POST ",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "\n\n",
    "Host: a",
    "Host:",
    ":",
    "\t",
    "Content-Length: 5",
    "Content-Length: +5",
    "Transfer-Encoding: chunked",
    "transfer-encoding:\u{b}chunked",
    ", chunked",
    "/../",
    "/./",
    "//",
    "%2f",
    "%2e%2e",
    "%00",
    "http://a/",
    "?",
    "#",
    "/models/",
    "/deployments/",
    "\0",
    "\u{7f}",
];

pub fn seeds() -> Vec<Vec<u8>> {
    let heads = [
        "GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a:8080\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        "POST /v1/responses HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer sk-1\r\n\r\n",
        "POST /v1beta/models/gemini-3:streamGenerateContent?alt=sse HTTP/1.1\r\nhost: [::1]:80\r\nx-api-key: k\r\n\r\n",
        "POST /openai/deployments/a%2Fb/chat/completions?api-version=1 HTTP/1.1\r\nHost: a\r\nx:\t y \r\n\r\n",
        "GET http://router/health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET /v1/realtime?model=x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "GET /\r\nHost: a\r\nHost: b\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /v1/files/../x HTTP/1.1\r\nHost: a\r\n folded: 1\r\nb : c\r\n\r\n",
    ];
    heads.iter().map(|head| head.as_bytes().to_vec()).collect()
}

pub fn check(input: &[u8]) {
    if grammar::http2_fault(b"GET", input, None, std::iter::empty()).is_none() {
        path_is_plain(input.split(|byte| *byte == b'?').next().unwrap_or_default());
    }
    let Some(end) = front::blank_line(input, 0) else { return };
    let head = &input[..end];
    if grammar::fault(head).is_none() {
        is_read_in_one_way(head);
    }
}

/// Nobody behind could take one of its segments for the directory above.
fn path_is_plain(path: &[u8]) {
    for segment in path.split(|byte| *byte == b'/').skip(1) {
        let text = String::from_utf8_lossy(segment).to_lowercase().replace("%2e", ".");
        assert!(text != "." && text != "..", "{path:?}");
        assert!(!text.contains('\\') && !text.contains("%5c") && !text.contains("%00"), "{path:?}");
    }
}

fn is_read_in_one_way(head: &[u8]) {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut headers);
    let read = request.parse(head);
    assert_eq!(read, Ok(httparse::Status::Complete(head.len())), "{}", head.escape_ascii());
    let lines = head.split(|byte| *byte == b'\n').count() - 3;
    assert_eq!(request.headers.len(), lines, "every line is a header: {}", head.escape_ascii());
    let named =
        |name: &str| request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).count();
    let (lengths, codings, hosts) = (named("content-length"), named("transfer-encoding"), named("host"));
    assert!(lengths + codings <= 1, "{}", head.escape_ascii());
    assert!(hosts == 1 || hosts == 0 && request.version == Some(0), "{}", head.escape_ascii());
    assert!(!matches!(request.method, Some("TRACE" | "CONNECT")));
}
