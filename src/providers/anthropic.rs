//! Anthropic: the Messages API and what belongs to it.
//!
//! Versions: the client's own `anthropic-version` goes on natively, a request without one gets the newest, and a
//! composed request brings its own along. Source: Anthropic API reference ("Versions", "Messages", "Files").

use super::openai::upstream_path;
use super::provider::Provider;
use super::route::{Ask, Route, Site, Task};
use crate::llm::Wire;

/// The version of a request that names none.
pub const NEWEST_VERSION: &str = "2026-10-21";
const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";

/// The route of a request.
pub(super) fn route(provider: &Provider, site: &Site, ask: &Ask) -> Option<Route> {
    let own = |task, path, native: bool| Route {
        wire: Wire::Messages,
        task,
        path_and_query: upstream_path(&site.base, path, ask.query.filter(|_| native)),
        habits: provider.habits,
        native,
        body_version: None,
    };
    match ask.counts() {
        Some(wire) => return Some(own(Task::Count, COUNT, wire == Wire::Messages)),
        None if ask.generates() => return Some(own(Task::Generate, MESSAGES, ask.wire == Wire::Messages)),
        None => {}
    }
    let is_own =
        ask.path.starts_with("/v1/messages/") || ask.version.is_some() && ask.path.starts_with("/v1/");
    let as_it_came = matches!(ask.wire, Wire::Objects | Wire::Opaque) && is_own;
    as_it_came.then(|| ask.as_it_came(&site.base, provider.habits))
}

/// Where the models are listed; a page is 20 of them by default.
pub(super) fn models(site: &Site) -> Option<String> {
    Some(upstream_path(&site.base, "/v1/models", Some("limit=1000")))
}
