//! `reload` and `upgrade`: what an operator asks of a router that runs on this machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::Value;

use super::line::Line;
use super::{complain, say, BAD_CONFIG};

/// Lets the router read its configuration again. 78 if it is bad, 1 if there is no router.
pub fn reload(config: Option<&Path>, socket: Option<PathBuf>) -> ExitCode {
    ask(config, socket, "POST", "/admin/reload")
}

/// Lets another program take over.
pub fn upgrade(config: Option<&Path>, socket: Option<PathBuf>, binary: Option<PathBuf>) -> ExitCode {
    let path = match binary.map(std::fs::canonicalize) {
        None => "/admin/upgrade".to_owned(),
        Some(Ok(binary)) => {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("binary", &binary.to_string_lossy());
            format!("/admin/upgrade?{}", query.finish())
        }
        Some(Err(why)) => {
            complain(&format!("--binary: {why}"));
            return ExitCode::FAILURE;
        }
    };
    ask(config, socket, "POST", &path)
}

/// Whether the router takes traffic.
pub fn ready(config: Option<&Path>) -> ExitCode {
    ask(config, None, "GET", "/admin/ready")
}

fn ask(config: Option<&Path>, socket: Option<PathBuf>, method: &str, path: &str) -> ExitCode {
    let mut code = ExitCode::FAILURE;
    let asked =
        Line::find(config, socket).and_then(|line| line.ask(method, path, &mut |told| code = show(&told)));
    match asked {
        Ok(()) => code,
        Err(why) => {
            complain(&why);
            ExitCode::FAILURE
        }
    }
}

/// Shows one line of an answer. The exit code, should it be the last one.
fn show(told: &Value) -> ExitCode {
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    let word = |name: &str| told[name].as_str().unwrap_or_default().trim_end().to_owned();
    match told {
        // Only the last line says how it has ended.
        _ if told["step"].is_string() => {
            say(&format!("{now}  {}", word("step")));
            ExitCode::FAILURE
        }
        _ if told["upgraded"] == true => say(&format!("{now}  upgraded")),
        _ if told["upgraded"] == false => fail(&format!("{now}  not upgraded: {}", word("why")), 1),
        _ if told["reloaded"] == true => reloaded(told),
        _ if told["reloaded"] == false => {
            fail(&format!("{}\nnot reloaded: the old configuration stays", word("report")), BAD_CONFIG)
        }
        _ if told["ready"] == true => ExitCode::SUCCESS,
        _ if told["ready"] == false => fail("not ready: the router drains", 1),
        other => fail(&other.to_string(), 1),
    }
}

fn reloaded(told: &Value) -> ExitCode {
    let changes = told["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    for change in changes {
        let later = if change["needs_start"] == true { "  (at the next upgrade or start)" } else { "" };
        say(&format!("{}{later}", change["change"].as_str().unwrap_or_default()));
    }
    say(&format!("reloaded: {} changes", changes.len()))
}

fn fail(text: &str, code: u8) -> ExitCode {
    complain(text);
    ExitCode::from(code)
}
