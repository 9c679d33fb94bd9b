//! The program's own log: `log` in front, `env_logger` for levels and filters, our line format, a sink behind.
//!
//! People get `2026-01-31T12:00:00.000Z warn  routing: text`, machines one JSON object a line; which
//! of the two is decided by whether the standard error is a terminal. A message never breaks a line: control
//! characters are escaped, since some of them come from upstreams. `RUST_LOG` refines the level, as everywhere.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::{Duration, SystemTime};

use env_logger::{Builder, Target};
use log::{Level, LevelFilter, Record};

use super::json::Object;
use super::sink::Sink;

/// The longest message; the line stays below 8 KiB.
const LONGEST: usize = 7000;

/// Libraries that tell of every connection and every token at `info`, or of every frame at `debug`.
const NOISY: &[&str] = &[
    "h2",
    "hyper",
    "hyper_util",
    "pingora",
    "pingora_core",
    "pingora_proxy",
    "rustls",
    "tokio_rustls",
    "yup_oauth2",
];

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Human {
        /// Whether escape sequences may be used.
        colour: bool,
    },
    /// One JSON object.
    Json,
}

impl Format {
    /// For people on a terminal, else JSON; colour unless `NO_COLOR` is set to something.
    pub fn choose(terminal: bool, no_color: Option<&str>) -> Self {
        if terminal {
            Self::Human { colour: no_color.is_none_or(str::is_empty) }
        } else {
            Self::Json
        }
    }
}

/// The running log. Keep it until the end of `main`, to flush.
pub struct Log(Sink);

impl Log {
    /// Waits until everything said so far has been written, `timeout` at most.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.0.flush(timeout)
    }
}

/// Starts logging to the standard error. An error where a log is running already or no thread can be started.
pub fn init(level: LevelFilter, format: Format) -> io::Result<Log> {
    let sink = Sink::stderr()?;
    let mut builder = Builder::new();
    builder.filter_level(level);
    for library in NOISY {
        builder.filter_module(library, quieter(level));
    }
    builder.parse_default_env();
    builder.target(Target::Pipe(Box::new(sink.clone())));
    builder.format(move |out, record| {
        if tells_tokens(record) {
            return Ok(());
        }
        let mut text = String::with_capacity(200);
        line(&mut text, format, record, SystemTime::now());
        out.write_all(text.as_bytes())
    });
    builder.try_init().map_err(io::Error::other)?;
    Ok(Log(sink))
}

/// Whether a record may hold an access token or what one is exchanged for. `RUST_LOG` does not bring these back.
fn tells_tokens(record: &Record<'_>) -> bool {
    record.target().starts_with("yup_oauth2") && record.level() > Level::Warn
}

/// What the noisy libraries may say: warnings at `info`, and one level less than we do below it.
fn quieter(level: LevelFilter) -> LevelFilter {
    match level {
        LevelFilter::Info => LevelFilter::Warn,
        LevelFilter::Debug => LevelFilter::Info,
        other => other,
    }
}

fn line(out: &mut String, format: Format, record: &Record<'_>, now: SystemTime) {
    match format {
        Format::Json => json_line(out, record, now),
        Format::Human { colour } => human_line(out, record, colour, now),
    }
    out.push('\n');
}

fn json_line(out: &mut String, record: &Record<'_>, now: SystemTime) {
    let mut object = Object::begin(out);
    // Writing to a string cannot fail.
    let _ = write!(object.field("ts"), "\"{}\"", humantime::format_rfc3339_millis(now));
    object.text("level", word(record.level()).trim_end(), 8);
    object.text("target", record.target(), 128);
    match record.args().as_str() {
        Some(message) => object.text("message", message, LONGEST),
        None => object.text("message", &record.args().to_string(), LONGEST),
    }
    object.end();
}

fn human_line(out: &mut String, record: &Record<'_>, colour: bool, now: SystemTime) {
    let (on, off) = match record.level() {
        _ if !colour => ("", ""),
        Level::Error => ("\x1b[31m", "\x1b[0m"),
        Level::Warn => ("\x1b[33m", "\x1b[0m"),
        Level::Info => ("\x1b[32m", "\x1b[0m"),
        Level::Debug | Level::Trace => ("\x1b[2m", "\x1b[0m"),
    };
    let time = humantime::format_rfc3339_millis(now);
    let _ = write!(out, "{time} {on}{}{off} {}: ", word(record.level()), record.target());
    let message = record.args().to_string();
    let start = out.len();
    for c in message.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() - start > LONGEST {
            out.push('…');
            return;
        }
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn ",
        Level::Info => "info ",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, message: &str) -> String {
        let mut out = String::new();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let arguments = format_args!("{message}");
        line(
            &mut out,
            format,
            &Record::builder().args(arguments).level(Level::Warn).target("routing").build(),
            now,
        );
        out
    }

    #[test]
    fn a_terminal_gets_lines_for_people_and_anything_else_gets_json() {
        assert_eq!(Format::choose(true, None), Format::Human { colour: true });
        assert_eq!(Format::choose(true, Some("1")), Format::Human { colour: false });
        assert_eq!(Format::choose(false, None), Format::Json);
    }

    #[test]
    fn a_message_never_breaks_its_line() {
        let human = written(Format::Human { colour: false }, "one\ntwo\x1b[2J");
        assert_eq!(human, "1970-01-01T00:00:01.500Z warn  routing: one\\ntwo\\u{1b}[2J\n");
        let json = written(Format::Json, "one\ntwo");
        let expected =
            r#"{"ts":"1970-01-01T00:00:01.500Z","level":"warn","target":"routing","message":"one\ntwo"}"#;
        assert_eq!(json, format!("{expected}\n"));
    }

    #[test]
    fn a_line_stays_below_eight_kibibytes() {
        let long = "\u{1}é".repeat(20_000);
        assert!(written(Format::Json, &long).len() < 8192);
        assert!(written(Format::Human { colour: true }, &long).len() < 8192);
    }

    #[test]
    fn what_is_said_about_access_tokens_is_never_written_below_a_warning() {
        let told = |target, level| tells_tokens(&Record::builder().target(target).level(level).build());
        assert!(told("yup_oauth2::service_account", Level::Debug) && told("yup_oauth2", Level::Info));
        assert!(!told("yup_oauth2", Level::Warn) && !told("routing", Level::Debug));
    }

    #[test]
    fn libraries_are_kept_quieter_than_ourselves() {
        assert_eq!(quieter(LevelFilter::Info), LevelFilter::Warn);
        assert_eq!(quieter(LevelFilter::Error), LevelFilter::Error);
    }
}
