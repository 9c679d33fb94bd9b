//! The line to a router that runs on this machine: its admin listener, and one question at a time.
//!
//! The listener is where the configuration says; with a configuration that cannot be read, it is the one socket in the
//! runtime directory, since a router whose new file is bad must be told so by the running one's reload as well.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::surroundings;
use crate::config::AdminListen;
use crate::loading;
use crate::secret::Secret;
use crate::server::places;

/// An upgrade waits for the new process to prove itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a running router listens to its operator.
pub enum Line {
    /// A socket that only its owner can open.
    Unix(PathBuf),
    /// A loopback port, with the key that it wants.
    Tcp(SocketAddr, Secret),
}

/// Both halves of a connection.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Line {
    /// The router of this configuration, or the one at this socket. An error says why it is not known which one.
    pub fn find(config: Option<&Path>, socket: Option<PathBuf>) -> Result<Self, String> {
        if let Some(socket) = socket {
            return Ok(Self::Unix(socket));
        }
        let settings = surroundings::find(config).and_then(|(origin, _)| loading::settings(&origin, false));
        if let Ok((settings, _)) = settings {
            return match places::admin(&settings) {
                AdminListen::Unix(path) => Ok(Self::Unix(places::of_service(path))),
                AdminListen::Tcp(address) => match settings.server.master_key {
                    Some(key) => Ok(Self::Tcp(address, key)),
                    None => Err("over TCP the router obeys its master key only, and it has none".into()),
                },
                AdminListen::Off | AdminListen::Default => {
                    Err("admin.listen is off: the router obeys signals only".into())
                }
            };
        }
        match places::admin_sockets().as_slice() {
            [only] => Ok(Self::Unix(only.clone())),
            [] => Err(format!(
                "no router runs: there is no socket in {}",
                places::runtime_directory().display()
            )),
            _ => Err("several routers run here: name one with --socket PATH".into()),
        }
    }

    /// Asks, and hands over each line of the answer as it comes. An error says that nobody answers, and where.
    pub fn ask(&self, method: &str, path: &str, told: &mut dyn FnMut(Value)) -> Result<(), String> {
        self.exchange(method, path, told).map_err(|why| format!("no router answers at {self}: {why}"))
    }

    fn exchange(&self, method: &str, path: &str, told: &mut dyn FnMut(Value)) -> io::Result<()> {
        let (mut stream, key): (Box<dyn Stream>, String) = match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                (Box::new(stream), String::new())
            }
            Self::Tcp(address, key) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                (Box::new(stream), format!("Authorization: Bearer {}\r\n", key.expose()))
            }
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: admin\r\n{key}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        let mut lines = BufReader::new(stream);
        let mut text = String::new();
        // The head says nothing that the body does not.
        while lines.read_line(&mut text)? > 2 {
            text.clear();
        }
        loop {
            text.clear();
            if lines.read_line(&mut text)? == 0 {
                return Ok(());
            }
            if let Ok(line) = serde_json::from_str(text.trim()) {
                told(line);
            }
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address, _) => address.fmt(f),
        }
    }
}
