//! `healthcheck`: whether the router on this machine takes traffic, for images that have no curl.
//!
//! One request for `/health/ready`, over plain TCP: the main port has no TLS, and a supervisor that asks every few
//! seconds should not start a runtime for it. Only host and port are taken from the configuration, so that a file
//! that is being edited does not turn a serving router into a sick one.

use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::{complain, surroundings};
use crate::loading;

/// For each step; Docker gives up after 30 s unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(3);

/// More than any status line has.
const LONGEST: u64 = 256;

/// 0 where the router of this configuration takes traffic, else 1, as Docker wants it.
pub fn healthcheck(file: Option<&Path>) -> ExitCode {
    let found = surroundings::find(file).map_err(Error::other);
    let listener = found.and_then(|(origin, _)| loading::listener(&origin));
    let asked = listener.and_then(|(host, port)| ask(&host, port));
    match asked {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            complain(&format!("not ready: {why}"));
            ExitCode::FAILURE
        }
    }
}

/// Asks the router that listens on `host` and `port`; the error says what came instead of 200.
fn ask(host: &str, port: u16) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&nearest(host, port)?, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut line)?;
    match line.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some(status) => Err(Error::other(format!("/health/ready answers {status}"))),
        None => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// Where a router that listens on `host` is reached from its own machine.
fn nearest(host: &str, port: u16) -> io::Result<SocketAddr> {
    let host = host.trim_matches(['[', ']']);
    let found = (host, port).to_socket_addrs()?.next().ok_or(ErrorKind::AddrNotAvailable)?;
    let ip = match found.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_that_listens_everywhere_is_asked_over_loopback() {
        let reached = |host| nearest(host, 8080).unwrap().to_string();
        assert_eq!(reached("0.0.0.0"), "127.0.0.1:8080");
        assert_eq!(reached("::"), "[::1]:8080");
        assert_eq!(reached("[::]"), "[::1]:8080");
        assert_eq!(reached("192.0.2.7"), "192.0.2.7:8080");
    }
}
