//! What a request head must look like before anything else reads it (RFC 9112, RFC 9113 section 8.2.1, RFC 3986).
//!
//! Pingora's parser takes heads that two programs can read in two ways: Content-Length beside Transfer-Encoding, codings
//! besides `chunked`, lines that end without a carriage return, control bytes in targets, no Host or an odd one. Whoever
//! sends those means harm or is broken, so they are refused here, by one pass over the bytes and without an allocation.
//!
//! A path is taken as it stands: nobody behind this router may have to guess what `//`, `/../` or `%2F` would mean. Only
//! behind `/models/` and `/deployments/` may `%2F` stand, since names of models have slashes in them.

/// Headers of one request.
const MOST_HEADERS: usize = 100;
/// Bytes of a target: longer ones are no address of this API, nor of those behind it.
const MOST_TARGET: usize = 8 * 1024;
/// `u64::MAX` has twenty digits.
const MOST_DIGITS: usize = 19;

/// Why a head is refused: a status and what to say.
pub type Fault = (u16, &'static str);

/// The first fault of a head that ends with its blank line.
pub fn fault(head: &[u8]) -> Option<Fault> {
    check(head).err()
}

/// The first fault of a head that came over HTTP/2, where nothing has been looked at as bytes: what would be a fault over
/// HTTP/1, and values with blanks around them, which RFC 9113 has none of.
pub fn http2_fault<'a>(
    method: &[u8],
    target: &[u8],
    authority: Option<&[u8]>,
    mut fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Option<Fault> {
    let mut check = || {
        check_method(method)?;
        check_target(target)?;
        if !target.starts_with(b"/") || !authority.is_none_or(is_host) {
            return Err(bad("`:path` is no path, or `:authority` no host"));
        }
        let mut seen = Seen::default();
        fields.try_for_each(|(name, value)| match value.trim_ascii() == value {
            true => seen.field(name, value),
            false => Err(bad("the value of a header begins or ends with a blank")),
        })?;
        seen.whole(2)
    };
    check().err()
}

fn bad(why: &'static str) -> Fault {
    (400, why)
}

fn check(head: &[u8]) -> Result<(), Fault> {
    let mut lines = head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r"));
    let line_end = bad("a line of the request head does not end with CR LF");
    let first = lines.next().flatten().ok_or(line_end)?;
    let version = request_line(first)?;
    let mut seen = Seen::default();
    for line in lines {
        let line = line.ok_or(line_end)?;
        if line.is_empty() {
            break;
        }
        seen.line(line)?;
    }
    seen.whole(version)
}

/// The minor version.
fn request_line(line: &[u8]) -> Result<u8, Fault> {
    let mut parts = line.split(|b| *b == b' ');
    let odd = bad("the request line is not `METHOD target HTTP/1.1`");
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(odd);
    };
    if method.is_empty() || !method.iter().all(|b| is_token(*b)) {
        return Err(odd);
    }
    check_method(method)?;
    check_target(target)?;
    match version {
        b"HTTP/1.1" => Ok(1),
        b"HTTP/1.0" => Ok(0),
        _ => Err(odd),
    }
}

fn check_method(method: &[u8]) -> Result<(), Fault> {
    match method {
        b"TRACE" | b"CONNECT" => Err((405, "TRACE and CONNECT are not served here")),
        _ => Ok(()),
    }
}

fn check_target(target: &[u8]) -> Result<(), Fault> {
    if target.len() > MOST_TARGET {
        return Err((414, "the request target is longer than 8 KiB"));
    }
    if !target.iter().all(u8::is_ascii_graphic) || target.contains(&b'#') {
        return Err(bad("the request target holds a byte that no address has"));
    }
    let path = match target {
        [b'/', ..] => target,
        _ => after_authority(target).ok_or(bad("the request target is no path and no http address"))?,
    };
    let path = path.split(|b| *b == b'?').next().unwrap_or_default();
    check_path(path)
}

/// What follows the host in `http://host/path`.
fn after_authority(target: &[u8]) -> Option<&[u8]> {
    let rest = [&b"http://"[..], b"https://"].iter().find_map(|scheme| {
        let begin = target.get(..scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then(|| target.get(scheme.len()..))?
    })?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    is_host(host).then_some(path)
}

fn check_path(path: &[u8]) -> Result<(), Fault> {
    let mut names = false;
    let mut segments = path.split(|b| *b == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err(bad("the path has an empty segment (`//`)"));
        }
        check_segment(segment, names)?;
        names |= matches!(segment, b"models" | b"deployments");
    }
    Ok(())
}

/// One piece of a path. `names`: it may be the name of a model.
fn check_segment(segment: &[u8], names: bool) -> Result<(), Fault> {
    let (mut dots, mut bytes, mut at) = (0, 0, 0);
    while let Some(byte) = segment.get(at) {
        let (byte, used) = match byte {
            b'%' => (escaped(segment.get(at + 1..at + 3)).ok_or(bad("the path has a broken `%` in it"))?, 3),
            b'\\' => return Err(bad("the path has a backslash in it")),
            plain => (*plain, 1),
        };
        match byte {
            0..=0x1f | 0x7f => return Err(bad("the path has a control byte in it")),
            b'/' | b'\\' if !names || byte == b'\\' => {
                return Err(bad("the path hides a slash; only names of models may have `%2F` in them"));
            }
            b'.' => dots += 1,
            _ => {}
        }
        bytes += 1;
        at += used;
    }
    if bytes == dots && (1..=2).contains(&dots) {
        return Err(bad("the path has `.` or `..` as a segment"));
    }
    Ok(())
}

fn escaped(digits: Option<&[u8]>) -> Option<u8> {
    let [high, low] = digits? else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// What matters of the headers so far.
#[derive(Default)]
struct Seen {
    headers: usize,
    lengths: usize,
    codings: usize,
    hosts: usize,
}

impl Seen {
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let colon = memchr::memchr(b':', line).ok_or(bad("a header has no colon"))?;
        let (name, value) = line.split_at(colon);
        self.field(name, value.get(1..).unwrap_or_default())
    }

    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.headers += 1;
        if self.headers > MOST_HEADERS {
            return Err((431, "the request has more than 100 headers"));
        }
        if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
            // A blank before the colon, and a line that goes on from the one before (obs-fold), end here, too.
            return Err(bad("the name of a header is no token"));
        }
        if value.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
            return Err(bad("the value of a header holds a control byte"));
        }
        let value = value.trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            let digits = !value.is_empty() && value.len() <= MOST_DIGITS;
            if !digits || !value.iter().all(u8::is_ascii_digit) {
                return Err(bad("Content-Length is no number"));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.codings += 1;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(bad("the only transfer encoding taken is chunked"));
            }
        } else if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
            if !is_host(value) {
                return Err(bad("Host is no host"));
            }
        }
        Ok(())
    }

    fn whole(&self, version: u8) -> Result<(), Fault> {
        match (self.lengths, self.codings, self.hosts) {
            (1.., 1.., _) => Err(bad("both Content-Length and Transfer-Encoding are given")),
            (2.., _, _) | (_, 2.., _) => Err(bad("Content-Length or Transfer-Encoding is given twice")),
            (_, 1.., _) if version == 0 => Err(bad("HTTP/1.0 has no transfer encodings")),
            (_, _, 2..) => Err(bad("Host is given twice")),
            (_, _, 0) if version == 1 => Err(bad("Host is missing")),
            _ => Ok(()),
        }
    }
}

/// A host with or without a port (RFC 3986, `reg-name`, less what nobody uses).
fn is_host(value: &[u8]) -> bool {
    !value.is_empty()
        && value.len() <= 261
        && value
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(head: &str) -> u16 {
        fault(head.as_bytes()).map_or(200, |(status, _)| status)
    }

    #[test]
    fn heads_as_clients_send_them_are_taken() {
        for head in [
            "GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET http://router:8080/v1/models?x=//y HTTP/1.1\r\nHost: router:8080\r\n\r\n",
            "POST /v1/chat/completions HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 3\r\n\r\nabc",
            "POST /v1/files/ HTTP/1.1\r\nhost:a\r\nTransfer-Encoding: Chunked \r\nX-Odd: \té\r\n\r\n",
            "GET /v1/models/meta-llama%2FLlama-3.1 HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /v1beta/models/gemini-2.5-pro:generateContent?alt=sse HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(fault(head.as_bytes()), None, "{head:?}");
        }
    }

    #[test]
    fn framing_that_can_be_read_in_two_ways_is_a_fault() {
        for fields in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "Content-Length: 3\r\ncontent-length: 3",
            "Content-Length: 3, 3",
            "Content-Length: +3",
            "Content-Length: 0x3",
            "Content-Length:",
            "Content-Length: 99999999999999999999",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding : chunked",
            "Content-Length\t: 3",
            " Content-Length: 3",
            "X: y\r\n\tTransfer-Encoding: chunked",
            "X: y\nTransfer-Encoding: chunked",
            "X: y\rTransfer-Encoding: chunked",
            "X: \0",
            "no colon",
            ": no name",
            "Host: b",
        ] {
            let head = format!("POST /v1/x HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
            assert_eq!(status(&head), 400, "{fields:?}");
        }
        assert_eq!(status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    }

    #[test]
    fn a_request_has_one_host_that_is_one() {
        for host in
            ["", "Host:\r\n", "Host: a/v1/models?x\r\n", "Host: a b\r\n", "Host: a@b\r\n", "Host: a,b\r\n"]
        {
            assert_eq!(status(&format!("GET / HTTP/1.1\r\n{host}\r\n")), 400, "{host:?}");
        }
    }

    #[test]
    fn a_target_is_taken_only_if_it_means_one_thing() {
        for target in [
            "/v1//models",
            "//models",
            "/v1/../admin",
            "/v1/%2e%2E/admin",
            "/v1/./models",
            "/v1/.",
            "/v1/files%2Fx",
            "/v1/models/a%5Cb",
            "/v1/models\\x",
            "/v1/files/%00",
            "/v1/files/%zz",
            "/v1/files/%2",
            "/v1/x#y",
            "/v1/\u{1}",
            "/v1/é",
            "*",
            "v1/models",
            "ftp://a/b",
            "http:///x",
            "http://a@b/x",
            "",
        ] {
            assert_eq!(status(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")), 400, "{target:?}");
        }
        for line in
            ["GET  / HTTP/1.1", "GET / HTTP/1.1 ", "GET / HTTP/2.0", "GET /", "G@T / HTTP/1.1", " / HTTP/1.1"]
        {
            assert_eq!(status(&format!("{line}\r\nHost: a\r\n\r\n")), 400, "{line:?}");
        }
    }

    #[test]
    fn what_is_too_much_or_not_served_has_its_own_status() {
        assert_eq!(status("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"), 405);
        assert_eq!(status("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"), 405);
        assert_eq!(status(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000))), 414);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(100))), 431);
    }

    #[test]
    fn a_head_over_http2_is_held_to_the_same_grammar() {
        let faulty = |method: &[u8], target: &[u8], authority: &[u8], field: (&[u8], &[u8])| {
            let fields = [(&b"accept"[..], &b"*/*"[..]), field];
            http2_fault(method, target, Some(authority), fields.into_iter()).map_or(200, |(status, _)| status)
        };
        let (path, host, plain) =
            (&b"/v1/models?x=//y"[..], &b"router:80"[..], (&b"x-odd"[..], &b"a\t\xc3"[..]));
        assert_eq!(faulty(b"GET", path, host, plain), 200);
        for value in [&b" a"[..], b"a\t", b" ", b"a\0b", b"a\nb"] {
            assert_eq!(faulty(b"GET", path, host, (b"x-odd", value)), 400, "{value:?}");
        }
        assert_eq!(faulty(b"GET", path, host, (b"content-length", b"3, 3")), 400);
        assert_eq!(faulty(b"GET", path, host, (b"host", b"a b")), 400);
        assert_eq!(faulty(b"GET", path, b"me@router", plain), 400);
        assert_eq!(faulty(b"GET", b"/v1//models", host, plain), 400);
        assert_eq!(faulty(b"GET", b"http://a/v1/models", host, plain), 400);
        assert_eq!(faulty(b"GET", &b"/x".repeat(5000), host, plain), 414);
        assert_eq!(faulty(b"TRACE", path, host, plain), 405);
        assert!(http2_fault(b"GET", path, None, std::iter::empty()).is_none());
        let many = std::iter::repeat_n(plain, 101);
        assert_eq!(http2_fault(b"GET", path, None, many).map(|(status, _)| status), Some(431));
    }

    proptest! {
        #[test]
        fn any_bytes_at_all_have_a_verdict(head in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = fault(&head);
            let _ = http2_fault(b"GET", &head, Some(&head), std::iter::once((&*head, &*head)));
        }
    }
}
