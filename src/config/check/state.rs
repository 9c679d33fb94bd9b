//! `state`: where something is kept, and where several routers meet.
//!
//! The address may hold a password, so problems never quote it. `redis://` without TLS is right on a private network
//! and is not warned about there. Forms of the address: <https://github.com/redis/redis-specifications/tree/master/uri>.

use std::time::Duration;

use url::Url;

use super::Check;
use crate::config::file::{self, Cluster};
use crate::config::problem::Fault;
use crate::config::settings::{Shared, State};
use crate::secret::Secret;

/// A request waits for the answer, so more than this would be felt.
const LONGEST: Duration = Duration::from_secs(5);
const ADDRESS: &str = "write `redis://host:6379`, or `rediss://` for TLS; a password goes before the host: `redis://:password@host`";

impl Check<'_, '_> {
    pub(super) fn state(&mut self, file: file::State) -> State {
        let dir = file.dir.as_ref().map(Into::into);
        let Some(url) = file.url.as_ref() else {
            for key in ["cluster", "on_outage", "routers"] {
                if self.places.has(&format!("state.{key}")) {
                    let fault = Fault::new(format!("`{key}` means nothing without `state.url`"));
                    self.warn(&format!("state.{key}"), fault.help("name the store, or remove it"));
                }
            }
            return State { dir, shared: None };
        };
        let shared = self.store(url.0.expose()).map(|url| self.shared(&file, url));
        State { dir, shared }
    }

    fn store(&mut self, text: &str) -> Option<Url> {
        let url = Url::parse(text.trim()).ok();
        let fits = |url: &Url| {
            let host = url.host_str().is_some_and(|host| !host.is_empty());
            host && matches!(url.scheme(), "redis" | "rediss") && url.query().is_none()
        };
        let url = url.filter(fits);
        if url.is_none() {
            self.error("state.url", Fault::new("`url` is no address of a Redis or Valkey").help(ADDRESS));
        }
        url
    }

    fn shared(&mut self, file: &file::State, url: Url) -> Shared {
        let namespace = file.namespace.clone();
        if !namespace.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            let fault = Fault::new("`namespace` holds letters, digits, `-`, `_` and `.` only");
            self.error("state.namespace", fault.help("write a name such as `auto-ai-router`"));
        }
        let timeout = self.time("state.timeout", file.timeout).filter(|timeout| *timeout <= LONGEST);
        if timeout.is_none() {
            let fault = Fault::new("each limited request waits for the answer, at most this long");
            self.error("state.timeout", fault.help("write `100ms`, and never more than `5s`"));
        }
        let (cluster, others) = match &file.cluster {
            None => (false, [].as_slice()),
            Some(Cluster::Whole(cluster)) => (*cluster, [].as_slice()),
            Some(Cluster::Nodes(nodes)) => (true, nodes.as_slice()),
        };
        let others = others.iter().enumerate().filter_map(|(at, node)| self.node(at, node, &url));
        let mut nodes: Vec<Secret> = others.collect();
        nodes.insert(0, Secret::new(url.as_str()));
        Shared {
            nodes,
            cluster,
            on_outage: file.on_outage,
            namespace,
            timeout: timeout.unwrap_or(LONGEST),
            routers: u32::from(file.routers),
        }
    }

    /// A further node: `url` with another place.
    fn node(&mut self, at: usize, node: &str, url: &Url) -> Option<Secret> {
        let mut other = url.clone();
        let place = Url::parse(&format!("redis://{node}")).ok().filter(|place| {
            place.username().is_empty() && place.password().is_none() && matches!(place.path(), "" | "/")
        });
        let host = place.as_ref().and_then(Url::host_str).filter(|host| !host.is_empty());
        let set = host.is_some_and(|host| {
            let port = place.as_ref().and_then(Url::port);
            other.set_host(Some(host)).is_ok() && other.set_port(port).is_ok()
        });
        if !set {
            let path = format!("state.cluster[{at}]");
            let fault = Fault::new("a node is written `host:port`");
            self.error(&path, fault.help("user, password and TLS are those of `url`"));
        }
        set.then(|| Secret::new(other.as_str()))
    }
}
