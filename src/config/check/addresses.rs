//! The address of an upstream: what it may look like, what of it is kept, and whether it leads back here.
//!
//! A trailing `/v1` is taken off, as in the original program, because request paths bring it along; any other prefix
//! stays (Azure's `/openai`). Problems quote only what stands in the file.

use std::net::{IpAddr, Ipv4Addr};

use url::{Host, ParseError, Url};

use super::Check;
use crate::config::problem::Fault;
use crate::config::settings::Server;

impl Check<'_, '_> {
    /// The address at `path`; none if it cannot be used, which has then been reported.
    pub(super) fn base_url(&mut self, path: &str, text: &str, server: &Server) -> Option<Url> {
        let mut url = match parse(text) {
            Ok(url) => url,
            Err((message, help)) => {
                let message = format!("`base_url`: {} {message}", self.places.written(path));
                self.error(path, Fault::new(message).help(help));
                return None;
            }
        };
        if leads_here(&url, server) {
            let fault =
                Fault::new("`base_url` is this router's own address, so every request would come back");
            self.error(path, fault.help("name another router, or another port"));
        }
        if url.scheme() == "http" && is_public(&url) {
            let fault =
                Fault::new("`base_url` is plain http to a public host, so keys and texts travel readable");
            self.warn(path, fault.help("write `https://` if the host has it"));
        }
        let prefix = url.path().trim_end_matches('/');
        let prefix = prefix.strip_suffix("/v1").unwrap_or(prefix).to_owned();
        url.set_path(&prefix);
        Some(url)
    }

    /// Hosts that stand in for the one of `base_url`, each with its port or that one's.
    pub(super) fn addresses(
        &mut self,
        path: &str,
        written: &[String],
        of: Option<&Url>,
    ) -> Vec<(String, u16)> {
        let usual = of.and_then(Url::port_or_known_default).unwrap_or(443);
        let checked = written.iter().enumerate().filter_map(|(index, text)| {
            let place = host_and_port(text).map(|(host, port)| (host, port.unwrap_or(usual)));
            if place.is_none() {
                let fault =
                    Fault::new(format!("{} is no host", self.places.written(&format!("{path}[{index}]"))));
                self.error(
                    &format!("{path}[{index}]"),
                    fault.help("write `10.0.0.1`, `10.0.0.1:8080` or a name"),
                );
            }
            place
        });
        let places: Vec<_> = checked.collect();
        if (1..places.len()).any(|at| places[..at].contains(&places[at])) {
            self.error(path, Fault::new("an address is listed twice").help("remove one"));
        }
        places
    }
}

/// A host, without brackets, and its port, if it has one.
pub(super) fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some((ip.to_string(), None));
    }
    // A scheme without a port of its own, so that every port that was written is kept.
    let url = Url::parse(&format!("tcp://{text}")).ok()?;
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    let host = url.host_str().filter(|_| bare && url.username().is_empty() && url.password().is_none())?;
    let named = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'[' | b']'));
    (named && url.port() != Some(0)).then(|| (host.trim_matches(['[', ']']).to_owned(), url.port()))
}

/// What is wrong with an address, and what to write instead.
type Wrong = (&'static str, &'static str);

fn parse(text: &str) -> Result<Url, Wrong> {
    let text = text.trim();
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !scheme.is_some_and(|scheme| matches!(scheme.as_str(), "http" | "https")) {
        return Err(("does not begin with `https://` or `http://`", "write it as `https://api.openai.com`"));
    }
    let no_host = ("has no host name", "write it as `https://api.openai.com`");
    if text
        .split_once("://")
        .is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with(['/', '?', '#', '\\']))
    {
        return Err(no_host);
    }
    let url = Url::parse(text).map_err(|error| match error {
        ParseError::EmptyHost => no_host,
        ParseError::InvalidPort => ("has no valid port", "a port is a number from 1 to 65535"),
        _ => ("is no URL", "write it as `https://api.openai.com`"),
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(("has a user name in it", "put credentials into `api_key` or `headers`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err((
            "has a `?` or a `#` in it",
            "an address ends with its path; a key goes into `api_key` or `headers`",
        ));
    }
    path(&url)?;
    Ok(url)
}

fn path(url: &Url) -> Result<(), Wrong> {
    let path = url.path().trim_end_matches('/');
    if path.contains("/v1/v1") {
        return Err(("has `/v1` twice", "write `/v1` once or leave it out, both are right"));
    }
    if path.ends_with("/completions") || path.ends_with("/embeddings") || path.ends_with("/responses") {
        return Err(("names an endpoint", "end it before the endpoint's path, at `/v1` or earlier"));
    }
    Ok(())
}

/// Whether the address is that of our own listener, as far as can be known without asking the network.
fn leads_here(url: &Url, server: &Server) -> bool {
    let own: Option<IpAddr> = server.host.parse().ok();
    let everywhere = own.is_some_and(|own| own.is_unspecified());
    let reaches = |ip: IpAddr| {
        own == Some(ip) || ip.is_unspecified() || (ip.is_loopback() && (everywhere || own.is_none()))
    };
    let here = match url.host() {
        Some(Host::Ipv4(ip)) => reaches(ip.into()),
        Some(Host::Ipv6(ip)) => reaches(ip.into()),
        Some(Host::Domain("localhost")) => everywhere || own.is_none_or(|own| own.is_loopback()),
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case(&server.host),
        None => false,
    };
    here && url.port_or_known_default() == Some(server.port)
}

/// Whether a host is likely to be reached over other people's networks.
fn is_public(url: &Url) -> bool {
    const INSIDE: [&str; 8] =
        [".local", ".localhost", ".internal", ".lan", ".home.arpa", ".svc", ".intranet", ".test"];
    match url.host() {
        Some(Host::Ipv4(ip)) => {
            !(ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_unspecified()
                || is_shared(ip))
        }
        Some(Host::Ipv6(ip)) => {
            !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified())
        }
        Some(Host::Domain(name)) => name.contains('.') && !INSIDE.iter().any(|suffix| name.ends_with(suffix)),
        None => false,
    }
}

/// 100.64.0.0/10, which carriers and overlay networks use.
fn is_shared(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 100 && (64..128).contains(&second)
}
