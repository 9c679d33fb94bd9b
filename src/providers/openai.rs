//! The OpenAI dialect, which is also what most clients speak to us: paths and bodies go on as they are.
//!
//! Only the address differs: an upstream's base URL may have a path of its own, with or without `/v1` at its end.
//! Hosts of this dialect have no other one: what a client asks in Anthropic's or Google's is asked in chat completions.

use std::ops::Deref;

use super::provider::Provider;
use super::route::{Ask, Route, Site, Task};
use crate::llm::Wire;

/// A request in the OpenAI dialect.
pub(super) struct Asked<'a> {
    ask: Ask<'a>,
    /// It came in this dialect.
    pub native: bool,
}

impl<'a> Deref for Asked<'a> {
    type Target = Ask<'a>;

    fn deref(&self) -> &Ask<'a> {
        &self.ask
    }
}

/// What is to be asked of a host that speaks this dialect and may lack some endpoints. None: it has nothing like it.
pub(super) fn in_dialect<'a>(provider: &Provider, has_responses: bool, ask: &Ask<'a>) -> Option<Asked<'a>> {
    let chat = || Ask { wire: Wire::Chat, path: "/v1/chat/completions", query: None, ..*ask };
    let foreign = ask.path.starts_with("/v1/messages")
        || ask.method().is_some()
        || ask.version.is_some() && ask.path.starts_with("/v1/files");
    let lacks = provider.lacks.iter().any(|start| ask.path.starts_with(start))
        || !has_responses && ask.path.starts_with("/v1/responses");
    match ask.wire {
        Wire::Messages | Wire::Gemini => ask.generates().then(|| Asked { ask: chat(), native: false }),
        Wire::Responses | Wire::Completions if lacks => {
            ask.generates().then(|| Asked { ask: chat(), native: false })
        }
        _ if foreign || lacks => None,
        _ => Some(Asked { ask: *ask, native: true }),
    }
}

/// The route of a request.
pub(super) fn route(provider: &Provider, site: &Site, ask: &Ask) -> Option<Route> {
    let asked = in_dialect(provider, provider.has_responses, ask)?;
    let path = if provider.unversioned { asked.path.strip_prefix("/v1")? } else { asked.path };
    Some(Route {
        wire: asked.wire,
        task: if asked.generates() { Task::Generate } else { Task::AsItCame },
        path_and_query: upstream_path(&site.base, path, asked.query),
        habits: provider.habits,
        native: asked.native,
        body_version: None,
    })
}

/// Where the models are listed.
pub(super) fn models(site: &Site) -> Option<String> {
    Some(upstream_path(&site.base, "/v1/models", None))
}

/// The same for a host whose base URL has the version inside.
pub(super) fn unversioned_models(site: &Site) -> Option<String> {
    Some(upstream_path(&site.base, "/models", None))
}

/// The path and query to ask an upstream for. `base` is the path of its base URL; a `/v1` that ends it is not doubled.
/// `path` is the client's, beginning with a slash.
pub fn upstream_path(base: &str, path: &str, query: Option<&str>) -> String {
    let base = base.trim_end_matches('/');
    let base = if path.starts_with("/v1/") { base.strip_suffix("/v1").unwrap_or(base) } else { base };
    let mut whole = String::with_capacity(base.len() + path.len() + query.map_or(0, |query| query.len() + 1));
    whole.push_str(base);
    whole.push_str(path);
    if let Some(query) = query {
        whole.push('?');
        whole.push_str(query);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_may_end_in_v1_or_not() {
        for base in ["", "/", "/v1", "/v1/"] {
            assert_eq!(upstream_path(base, "/v1/models", None), "/v1/models");
        }
        assert_eq!(upstream_path("/api/v1", "/v1/files/a", Some("x=1&y")), "/api/v1/files/a?x=1&y");
        assert_eq!(upstream_path("/openai", "/v1/models", None), "/openai/v1/models");
        assert_eq!(upstream_path("/v1", "/health", None), "/v1/health");
    }
}
