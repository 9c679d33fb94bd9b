//! How long an upstream asks to be left alone: a number is that number, and whatever it says in headers or in its
//! error, a credential is left alone for a time that has an end.
//!
//! An input is the header's value, one that begins with `m` that of `retry-after-ms`; behind a line feed the error.

use std::time::{Duration, SystemTime};

use auto_ai_router::llm::upstream_error::UpstreamError;
use auto_ai_router::providers::judge;
use auto_ai_router::providers::retry_after::retry_after;
use http::{HeaderMap, HeaderName, HeaderValue};

pub const WORDS: &[&str] = &[
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Mon, ",
    " Feb ",
    " Dec ",
    "9999",
    "29",
    "00:00:60",
    "1e19",
    "1e308",
    "-",
    ".",
    "inf",
    "NaN",
    "18446744073709551615",
    "0.000000001",
    " ",
];

/// 06 Nov 1994 08:49:37.
const NOW: u64 = 784_111_777;
const MOST: Duration = Duration::from_secs(600);
/// Where a quota of a day is used up: until midnight somewhere.
const MOST_DAY: Duration = Duration::from_secs(25 * 60 * 60);

pub fn seeds() -> Vec<Vec<u8>> {
    let mut values = vec!["2", " 0.5 ", "m1500", "1e9", "-1", "soon", "Sun, 06 Nov 1994 08:49:47 GMT"];
    values.extend([
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Thu, 29 Feb 2028 23:59:60 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ]);
    values.push("3\n{\"error\":{\"code\":429,\"status\":\"RESOURCE_EXHAUSTED\",\"details\":[{\"retryDelay\":\"34.5s\"}]}}");
    values.push("\n{\"error\":{\"type\":\"insufficient_quota\",\"message\":\"per day\"}}");
    let values = values.into_iter().map(|value| value.as_bytes().to_vec());
    values
        .chain(super::recorded(&["429"]).into_iter().map(|error| [b"\n", error.as_slice()].concat()))
        .collect()
}

pub fn check(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let (name, text) = match parts.next().unwrap_or_default() {
        [b'm', text @ ..] => ("retry-after-ms", text),
        text => ("retry-after", text),
    };
    let Ok(value) = HeaderValue::from_bytes(text) else { return };
    let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value)]);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    let wait = retry_after(&headers, now);
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    if let Some(number) = digits.and_then(|digits| digits.parse::<u32>().ok()) {
        let said = Duration::from_secs(number.into());
        assert_eq!(wait, Some(if name == "retry-after" { said } else { said / 1000 }));
    }
    let body = parts.next().unwrap_or_default();
    for status in [400, 401, 404, 429, 500, 503, 529] {
        let error = UpstreamError::parse(status, "application/json", body);
        let verdict = judge(status, &headers, &error, now);
        let most = if verdict.out_for_the_day { MOST_DAY } else { MOST };
        assert!(verdict.cool_down.is_none_or(|wait| wait <= most), "{status}: {verdict:?}");
        assert!(verdict.cool_down.is_some() || status != 429 || wait.is_none());
    }
}
