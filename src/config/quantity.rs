//! The quantities of the file and how they may be written: times, terms of a ban, sizes, limits, rates; and addresses to
//! listen on.
//!
//! The spellings are those of the original program ("5m", "1h30m", `permanent`, `-1` for no limit) and the ones that
//! people try (`30` is seconds, "32MiB"). Each type reads a text, writes its shortest spelling, and names itself in the
//! schema by a `format`, which is how `shape.rs` finds the reader.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{json_schema, JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A time; none for "never ends" (`-1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Option<Duration>);

/// How long a ban lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// Until somebody lifts it, or the key is another one.
    Permanent,
    /// This long.
    For(Duration),
}

/// A number of bytes; `-1` is `u64::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A number that limits something; none for no limit (`-1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Option<u64>);

/// So much per time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How much.
    pub amount: u64,
    /// In what time.
    pub every: Every,
}

/// The time of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// Any so many seconds, at least one.
    Seconds(u32),
    /// A day, from midnight to midnight.
    Day,
}

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// An address and a port.
    Tcp(SocketAddr),
    /// A unix socket at a path.
    Unix(PathBuf),
}

/// A type that a text of the file is read into.
pub trait Quantity: Sized + fmt::Display {
    /// The name in the schema.
    const FORMAT: &'static str;
    /// JSON types that an editor should accept.
    const TYPES: &'static [&'static str];
    /// Reads the text, or says what it should look like.
    fn read(text: &str) -> Result<Self, &'static str>;
}

impl Quantity for Span {
    const FORMAT: &'static str = "duration";
    const TYPES: &'static [&'static str] = &["string", "integer"];
    fn read(text: &str) -> Result<Self, &'static str> {
        match text {
            "-1" => Ok(Self(None)),
            text => duration(text).map(|time| Self(Some(time))).ok_or(
                "write a time such as `30s`, `5m`, `1h30m`, a number of seconds, or `-1` for no limit",
            ),
        }
    }
}

impl Quantity for Term {
    const FORMAT: &'static str = "term";
    const TYPES: &'static [&'static str] = &["string", "integer"];
    fn read(text: &str) -> Result<Self, &'static str> {
        match text {
            "permanent" | "-1" => Ok(Self::Permanent),
            text => duration(text)
                .filter(|time| !time.is_zero())
                .map(Self::For)
                .ok_or("write `permanent`, or a time such as `30s`, `5m`, `1h30m`, or a number of seconds"),
        }
    }
}

impl Quantity for Size {
    const FORMAT: &'static str = "size";
    const TYPES: &'static [&'static str] = &["string", "integer"];
    fn read(text: &str) -> Result<Self, &'static str> {
        match text {
            "-1" => Ok(Self(u64::MAX)),
            text => size(text)
                .map(Self)
                .ok_or("write a size such as `32MiB`, `512KiB`, a number of bytes, or `-1` for no limit"),
        }
    }
}

impl Quantity for Limit {
    const FORMAT: &'static str = "limit";
    const TYPES: &'static [&'static str] = &["integer"];
    fn read(text: &str) -> Result<Self, &'static str> {
        match text {
            "-1" => Ok(Self(None)),
            text => text
                .replace('_', "")
                .parse()
                .ok()
                .filter(|number| *number <= i64::MAX as u64)
                .map(|number| Self(Some(number)))
                .ok_or("write a whole number, or `-1` for no limit"),
        }
    }
}

impl Quantity for Rate {
    const FORMAT: &'static str = "rate";
    const TYPES: &'static [&'static str] = &["string"];
    fn read(text: &str) -> Result<Self, &'static str> {
        rate(text).ok_or("write an amount per a time of a second or more, such as `100 per 90s`, `500 per hour`, `1500 per day`")
    }
}

/// "100 per 90s"; a day is one of the calendar, and `24h` is any 24 hours.
fn rate(text: &str) -> Option<Rate> {
    const LONGEST: u64 = 366 * 86_400;
    let (amount, every) = text.split_once(" per ")?;
    let every = match every.trim() {
        "day" => Every::Day,
        "hour" => Every::Seconds(3600),
        "minute" => Every::Seconds(60),
        "second" => Every::Seconds(1),
        time => {
            let time = duration(time).filter(|time| time.subsec_nanos() == 0)?.as_secs();
            Every::Seconds(u32::try_from(time).ok().filter(|_| (1..=LONGEST).contains(&time))?)
        }
    };
    let Limit(amount) = Limit::read(amount.trim()).ok()?;
    Some(Rate { amount: amount?, every })
}

impl Quantity for Listen {
    const FORMAT: &'static str = "listen";
    const TYPES: &'static [&'static str] = &["string", "boolean"];
    fn read(text: &str) -> Result<Self, &'static str> {
        if matches!(text, "off" | "false") {
            return Ok(Self::Off);
        }
        let path = text.strip_prefix("unix:").or(Some(text).filter(|text| text.starts_with('/')));
        if let Some(path) = path {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err("the path of the socket is missing")
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let address =
            text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
        address.parse().map(Self::Tcp).map_err(|_| "write `127.0.0.1:PORT`, `unix:/path`, or `off`")
    }
}

/// "1h30m", "1.5s", "250ms", "30" (seconds). At most a hundred years, so that no clock overflows.
fn duration(text: &str) -> Option<Duration> {
    const LONGEST: f64 = 100.0 * 365.0 * 86_400.0;
    let text = text.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds as f64,
        Err(_) => units(text)?,
    };
    (seconds <= LONGEST).then(|| Duration::from_nanos((seconds * 1e9).round() as u64))
}

/// A sequence of numbers with units, as Go writes durations, and days besides.
fn units(mut text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let number = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = text.split_at(number);
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(unit);
        let scale = match unit.trim() {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        text = rest;
    }
    Some(seconds)
}

/// "32MiB", "10MB", "512K", "1048576".
fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

/// The shortest spelling: "1h30m", "250ms".
fn write_duration(time: Duration, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match time.is_zero() {
        true => f.write_str("0s"),
        false => f.write_str(&humantime::format_duration(time).to_string().replace(' ', "")),
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => write_duration(time, f),
            None => f.write_str("-1"),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permanent => f.write_str("permanent"),
            Self::For(time) => write_duration(*time, f),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            u64::MAX => f.write_str("-1"),
            bytes if bytes > 0 && bytes % (1 << 20) == 0 => write!(f, "{}MiB", bytes >> 20),
            bytes if bytes > 0 && bytes % (1 << 10) == 0 => write!(f, "{}KiB", bytes >> 10),
            bytes => write!(f, "{bytes}"),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(f, "{number}"),
            None => f.write_str("-1"),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.amount, self.every)
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day => f.write_str("day"),
            Self::Seconds(60) => f.write_str("minute"),
            Self::Seconds(3600) => f.write_str("hour"),
            Self::Seconds(seconds) => write_duration(Duration::from_secs(u64::from(*seconds)), f),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The traits that serde and schemars want, the same for every quantity.
macro_rules! in_the_file {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(from)?;
                Self::read(&text).map_err(serde::de::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let text = self.to_string();
                match text.parse() {
                    Ok(number) => to.serialize_i64(number),
                    Err(_) => to.serialize_str(&text),
                }
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": Self::TYPES, "format": Self::FORMAT })
            }
        }
    )*};
}

in_the_file!(Span, Term, Size, Limit, Rate, Listen);

/// Reads `text` as the quantity of that `format` and throws the result away: whether it is one, and if not, how it is
/// written. None if there is no such quantity.
pub fn check(format: &str, text: &str) -> Option<Result<(), &'static str>> {
    fn reads<Q: Quantity>(text: &str) -> Option<Result<(), &'static str>> {
        Some(Q::read(text).map(|_| ()))
    }
    match format {
        Span::FORMAT => reads::<Span>(text),
        Term::FORMAT => reads::<Term>(text),
        Size::FORMAT => reads::<Size>(text),
        Limit::FORMAT => reads::<Limit>(text),
        Rate::FORMAT => reads::<Rate>(text),
        Listen::FORMAT => reads::<Listen>(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, millis) in
            [("5m", 300_000), ("1h30m", 5_400_000), ("30", 30_000), ("250ms", 250), ("1.5s", 1500), ("0", 0)]
        {
            assert_eq!(Span::read(text), Ok(Span(Some(Duration::from_millis(millis)))), "{text}");
        }
        assert_eq!(Span::read("-1"), Ok(Span(None)));
        for text in ["", "m", "5 parsecs", "-2", "1e9h", "..s", "200000d"] {
            assert!(Span::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_ban_has_a_term_or_is_permanent() {
        assert_eq!(Term::read("permanent"), Ok(Term::Permanent));
        assert_eq!(Term::read("-1"), Ok(Term::Permanent));
        assert_eq!(Term::read("10s"), Ok(Term::For(Duration::from_secs(10))));
        assert!(Term::read("0").is_err());
    }

    #[test]
    fn sizes_limits_and_addresses() {
        assert_eq!(Size::read("32MiB"), Ok(Size(32 << 20)));
        assert_eq!(Size::read("64"), Ok(Size(64)));
        assert_eq!(Size::read("10 MB"), Ok(Size(10_000_000)));
        assert_eq!(Size::read("-1"), Ok(Size(u64::MAX)));
        assert!(Size::read("99999999999GiB").is_err() && Size::read("MiB").is_err());
        assert_eq!(Limit::read("1_000"), Ok(Limit(Some(1000))));
        assert!(Limit::read("-2").is_err() && Limit::read("1.5").is_err());
        assert_eq!(Listen::read("false"), Ok(Listen::Off));
        assert_eq!(Listen::read("localhost:9465").unwrap().to_string(), "127.0.0.1:9465");
        assert_eq!(Listen::read("unix:/run/a.sock"), Ok(Listen::Unix("/run/a.sock".into())));
        assert!(Listen::read("9464").is_err() && Listen::read("unix:").is_err());
    }

    #[test]
    fn a_rate_is_an_amount_per_time() {
        let rate = |amount, every| Ok(Rate { amount, every });
        assert_eq!(Rate::read("100 per 60s"), rate(100, Every::Seconds(60)));
        assert_eq!(Rate::read("1_500 per day"), rate(1500, Every::Day));
        assert_eq!(Rate::read("2 per 1h30m"), rate(2, Every::Seconds(5400)));
        assert_eq!(Rate::read("7 per 24h"), rate(7, Every::Seconds(86_400)));
        for text in [
            "",
            "5",
            "per day",
            "5 per",
            "5 per fortnight",
            "-1 per day",
            "5 per 0s",
            "5 per 1.5s",
            "5 per 400d",
        ] {
            assert!(Rate::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for text in ["5 per day", "100 per 1m30s", "7 per hour", "1 per minute"] {
            assert_eq!(Rate::read(text).unwrap().to_string(), text);
        }
        for text in ["5m", "1h30m", "250ms", "-1", "0s"] {
            assert_eq!(Span::read(text).unwrap().to_string(), text);
        }
        for text in ["32MiB", "5KiB", "7", "-1"] {
            assert_eq!(Size::read(text).unwrap().to_string(), text);
        }
    }
}
