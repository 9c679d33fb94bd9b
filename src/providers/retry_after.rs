//! How long an upstream asks to be left alone: `retry-after-ms`, `retry-after` in seconds or as a date.
//!
//! Only failures are asked; Anthropic sends Retry-After on successes, too, and there it means nothing. Dates are
//! IMF-fixdate (RFC 9110, section 5.6.7); the two obsolete forms are not understood.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

/// The wait that the headers ask for, as it stands there. `now` is the wall clock, for dates; a date that has passed
/// is a wait of zero.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds = |text: &str| Duration::try_from_secs_f64(text.parse().ok()?).ok();
    if let Some(wait) = text("retry-after-ms").and_then(seconds) {
        return Some(wait / 1000);
    }
    let wait = text("retry-after")?;
    seconds(wait).or_else(|| Some(date(wait)?.duration_since(now).unwrap_or_default()))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, put into the form that `humantime` reads.
fn date(text: &str) -> Option<SystemTime> {
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month)? + 1;
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day:0>2}T{time}Z")).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn wait(name: &'static str, value: &'static str) -> Option<Duration> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        retry_after(&HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))]), now)
    }

    #[test]
    fn all_forms_are_read() {
        assert_eq!(wait("retry-after", "2"), Some(Duration::from_secs(2)));
        assert_eq!(wait("retry-after", " 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(wait("retry-after-ms", "1500"), Some(Duration::from_millis(1500)));
        assert_eq!(wait("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(wait("retry-after", "Sun, 06 Nov 1994 08:49:07 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn nonsense_is_no_wait() {
        for value in ["", "soon", "-1", "NaN", "inf", "Sun, 99 Foo 1994", "1e400", "Sun, "] {
            assert_eq!(wait("retry-after", value), None, "{value}");
        }
    }

    #[test]
    fn milliseconds_win_over_seconds() {
        let headers = [("retry-after", "5"), ("retry-after-ms", "200")];
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        let wait = retry_after(&HeaderMap::from_iter(headers), SystemTime::UNIX_EPOCH);
        assert_eq!(wait, Some(Duration::from_millis(200)));
    }
}
