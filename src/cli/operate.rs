//! `reload`, `upgrade` and `status`: what an operator asks of a router that runs on this machine, over its admin listener.
//!
//! The listener is where the configuration says; with a configuration that cannot be read, it is the one socket in the
//! runtime directory, since a router whose new file is bad must be told so by the running one's reload as well.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{complain, say, surroundings, BAD_CONFIG};
use crate::config::AdminListen;
use crate::loading;
use crate::secret::Secret;
use crate::server::places;

/// An upgrade waits for the new process to prove itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a running router listens to its operator.
enum Place {
    Unix(PathBuf),
    Tcp(std::net::SocketAddr, Secret),
}

/// Both halves of a connection.
trait Line: Read + Write {}
impl<T: Read + Write> Line for T {}

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

/// One line about the router.
pub fn status(config: Option<&Path>, socket: Option<PathBuf>) -> ExitCode {
    ask(config, socket, "GET", "/admin/status")
}

/// Whether the router takes traffic.
pub fn ready(config: Option<&Path>) -> ExitCode {
    ask(config, None, "GET", "/admin/ready")
}

fn ask(config: Option<&Path>, socket: Option<PathBuf>, method: &str, path: &str) -> ExitCode {
    let place = match socket.map(Place::Unix).map_or_else(|| find(config), Ok) {
        Ok(place) => place,
        Err(why) => {
            complain(&why);
            return ExitCode::FAILURE;
        }
    };
    match exchange(&place, method, path) {
        Ok(code) => code,
        Err(why) => {
            let place = match &place {
                Place::Unix(path) => path.display().to_string(),
                Place::Tcp(address, _) => address.to_string(),
            };
            complain(&format!("no router answers at {place}: {why}"));
            ExitCode::FAILURE
        }
    }
}

fn find(config: Option<&Path>) -> Result<Place, String> {
    let settings = surroundings::find(config).and_then(|(origin, _)| loading::settings(&origin, false));
    if let Ok((settings, _)) = settings {
        return match places::admin(&settings) {
            AdminListen::Unix(path) => Ok(Place::Unix(places::of_service(path))),
            AdminListen::Tcp(address) => match settings.server.master_key {
                Some(key) => Ok(Place::Tcp(address, key)),
                None => Err("over TCP the router obeys its master key only, and it has none".into()),
            },
            AdminListen::Off | AdminListen::Default => {
                Err("admin.listen is off: the router obeys signals only".into())
            }
        };
    }
    match places::admin_sockets().as_slice() {
        [only] => Ok(Place::Unix(only.clone())),
        [] => Err(format!("no router runs: there is no socket in {}", places::runtime_directory().display())),
        _ => Err("several routers run here: name one with --socket PATH".into()),
    }
}

fn exchange(place: &Place, method: &str, path: &str) -> std::io::Result<ExitCode> {
    let (mut line, key): (Box<dyn Line>, String) = match place {
        Place::Unix(path) => {
            let line = UnixStream::connect(path)?;
            line.set_read_timeout(Some(PATIENCE))?;
            (Box::new(line), String::new())
        }
        Place::Tcp(address, key) => {
            let line = TcpStream::connect(address)?;
            line.set_read_timeout(Some(PATIENCE))?;
            (Box::new(line), format!("Authorization: Bearer {}\r\n", key.expose()))
        }
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: admin\r\n{key}Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    line.write_all(head.as_bytes())?;
    let mut lines = BufReader::new(line);
    let mut text = String::new();
    // The head says nothing that the body does not.
    while lines.read_line(&mut text)? > 2 {
        text.clear();
    }
    let mut code = ExitCode::FAILURE;
    loop {
        text.clear();
        if lines.read_line(&mut text)? == 0 {
            return Ok(code);
        }
        if let Ok(told) = serde_json::from_str::<Value>(text.trim()) {
            code = show(&told);
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
        _ if told["status"].is_string() => say(&word("status")),
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
