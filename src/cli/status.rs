//! `status`: one line about a running router, for people and for whatever watches services.
//!
//! Line and exit codes are those of monitoring plug-ins (Monitoring Plugins Development Guidelines): `OK`, `WARNING`,
//! `CRITICAL` or `UNKNOWN`, then words, then `|` and figures; 0, 1, 2 and 3. What is a warning is the router's to say
//! (`Operator::status`); that nobody answers is critical, and not to know whom to ask is unknown.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use super::line::Line;
use super::say;

const LEVELS: [&str; 4] = ["OK", "WARNING", "CRITICAL", "UNKNOWN"];
const CRITICAL: u8 = 2;
const UNKNOWN: u8 = 3;

/// Says how the router is.
pub fn status(config: Option<&Path>, socket: Option<PathBuf>) -> ExitCode {
    let line = match Line::find(config, socket) {
        Ok(line) => line,
        Err(why) => return tell(UNKNOWN, &why),
    };
    let mut answer = Value::Null;
    if let Err(why) = line.ask("GET", "/admin/status", &mut |told| answer = told) {
        return tell(CRITICAL, &why);
    }
    match (answer["level"].as_u64(), answer["status"].as_str()) {
        (Some(level), Some(status)) => tell(u8::try_from(level).unwrap_or(UNKNOWN).min(UNKNOWN), status),
        _ => tell(UNKNOWN, &format!("the router at {line} says {answer}")),
    }
}

fn tell(level: u8, text: &str) -> ExitCode {
    say(&format!("{}: {text}", LEVELS.get(usize::from(level)).unwrap_or(&"UNKNOWN")));
    ExitCode::from(level)
}
