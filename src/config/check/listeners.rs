//! Where the router listens, how many may come, and which proxies in front of it are believed.

use std::net::IpAddr;

use super::Check;
use crate::config::file;
use crate::config::network::Network;
use crate::config::problem::Fault;
use crate::config::quantity::Listen;
use crate::config::settings::{address, Listener};

impl Check<'_, '_> {
    /// All places: the one of `host` and `port` first.
    pub(super) fn listeners(&mut self, file: &file::Server, host: &str) -> Vec<Listener> {
        let has_tls = file.tls.certificate.is_some();
        let main =
            Listener { address: address(host, file.port), tls: has_tls, proxy_protocol: file.proxy_protocol };
        if !has_tls {
            self.cleartext("server.host", host.parse().ok());
        }
        let mut listeners = vec![main];
        for (at, more) in file.listen.iter().enumerate() {
            let path = format!("server.listen[{at}]");
            let Some(address) = self.listen_address(&format!("{path}.address"), more.address.as_ref()) else {
                continue;
            };
            let tls = more.tls.unwrap_or(has_tls);
            if tls && !has_tls {
                let fault = Fault::new("there is no certificate to speak TLS with");
                self.error(&format!("{path}.tls"), fault.help("name one in `server.tls.certificate`"));
            }
            if !tls {
                self.cleartext(&format!("{path}.address"), Some(address.ip()));
            }
            let address = address.to_string();
            if listeners.iter().any(|other| other.address == address) {
                let fault = Fault::new("the router listens there already");
                self.error(&format!("{path}.address"), fault.help("remove one of the two"));
            }
            listeners.push(Listener { address, tls, proxy_protocol: more.proxy_protocol });
        }
        self.proxy_protocol(file, &listeners);
        listeners
    }

    fn listen_address(&mut self, path: &str, listen: Option<&Listen>) -> Option<std::net::SocketAddr> {
        match listen? {
            Listen::Tcp(address) => Some(*address),
            Listen::Unix(_) | Listen::Off => {
                let fault = Fault::new("callers are met at an address and a port");
                self.error(path, fault.help("write `0.0.0.0:8443`, or `[::]:8443`"));
                None
            }
        }
    }

    /// The protocol is believed from trusted proxies only, so without any it can only refuse.
    fn proxy_protocol(&mut self, file: &file::Server, listeners: &[Listener]) {
        let used = listeners.iter().any(|listener| listener.proxy_protocol);
        if used && file.trusted_proxies.is_empty() {
            let fault =
                Fault::new("`proxy_protocol` is taken from `trusted_proxies` only, and there are none");
            self.error(
                "server",
                fault.help("write `trusted_proxies: [10.0.0.0/8]` with the networks of yours"),
            );
        }
    }

    pub(super) fn trusted_proxies(&mut self, written: &[String]) -> Vec<Network> {
        let read = written.iter().enumerate().filter_map(|(at, text)| {
            let network = text.trim().parse().ok();
            if network.is_none() {
                let path = format!("server.trusted_proxies[{at}]");
                let fault = Fault::new(format!("{} is no network", self.places.written(&path)));
                self.error(&path, fault.help("write `10.0.0.0/8`, `fd00::/8` or a single address"));
            }
            network
        });
        read.collect()
    }

    fn cleartext(&mut self, path: &str, address: Option<IpAddr>) {
        let message = match address {
            Some(address) if address.is_unspecified() => {
                "the router listens on every address without TLS, so keys cross the network readable; set \
                 `server.host: 127.0.0.1`, or give it a certificate in `server.tls`, or put TLS in front"
            }
            Some(address) if is_public(address) => {
                "the router listens on a public address without TLS, so keys cross the network readable; give it a \
                 certificate in `server.tls`, or put TLS in front"
            }
            _ => return,
        };
        self.warn(path, Fault::new(message));
    }
}

/// Whether an address is one of those that the whole world reaches.
fn is_public(address: IpAddr) -> bool {
    const INSIDE: [&str; 9] = [
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1",
        "fc00::/7",
        "fe80::/10",
    ];
    !INSIDE.iter().filter_map(|text| text.parse::<Network>().ok()).any(|network| network.has(address))
}
