//! Google's generateContent, at AI Studio's host. The model is a part of the path, and its name may come with the
//! collection it is in (`models/x`, `tunedModels/x`).
//!
//! Streams are always asked for as server-sent events: without `alt=sse` they come as one JSON array. A `key` in the
//! query is the client's own and stays here. Source: Gemini API reference (models.generateContent, models.embedContent,
//! models.countTokens, models.list).

use super::provider::Provider;
use super::route::{query_without, segment, with_query, Ask, Route, Site, Task};
use crate::dialect::gemini::{embeddings, images};
use crate::llm::Wire;

/// Members of a client's query that do not go on.
const OURS: [&str; 4] = ["key", "alt", "$alt", "access_token"];

/// The method of a resource that answers a request.
pub(super) struct Call<'a> {
    pub method: &'a str,
    pub wire: Wire,
    pub task: Task,
    pub native: bool,
}

impl<'a> Call<'a> {
    /// What to call for a request; none if nothing does what it asks for.
    pub(super) fn of(ask: &'a Ask, provider: &Provider) -> Option<Self> {
        let native = ask.method().is_some();
        let own = |method, task| Some(Self { method, wire: Wire::Gemini, task, native });
        match (ask.counts(), ask.method()) {
            (Some(_), _) => own("countTokens", Task::Count),
            _ if ask.generates() && ask.stream => own("streamGenerateContent", Task::Generate),
            _ if ask.generates() => own("generateContent", Task::Generate),
            (None, Some(method)) => Some(Self { method, wire: ask.wire, task: Task::AsItCame, native }),
            (None, None) => match ask.path {
                "/v1/embeddings" => {
                    own(embeddings::operation(ask.model?, provider.habits.vertex), Task::Embed)
                }
                "/v1/images/generations" => own(images::operation(ask.model?, false)?, Task::Draw),
                "/v1/images/edits" => own(images::operation(ask.model?, true)?, Task::Draw),
                _ => None,
            },
        }
    }

    /// The route to this method of `resource`, which is a path.
    pub(super) fn at(self, resource: &str, ask: &Ask, provider: &Provider) -> Route {
        let events = (self.method == "streamGenerateContent").then_some("alt=sse");
        let query = query_without(ask.query.filter(|_| self.native), &OURS);
        Route {
            wire: self.wire,
            task: self.task,
            path_and_query: with_query(
                format!("{resource}:{}", self.method),
                events.into_iter().chain(query),
            ),
            habits: provider.habits,
            native: self.native,
            body_version: None,
        }
    }
}

/// The route of a request.
pub(super) fn route(provider: &Provider, site: &Site, ask: &Ask) -> Option<Route> {
    let (collection, name) = match ask.model?.split_once('/') {
        Some((collection @ ("models" | "tunedModels"), name)) => (collection, name),
        _ => ("models", ask.model?),
    };
    let resource = format!("{}/{collection}/{}", versioned(site), segment(name)?);
    Some(Call::of(ask, provider)?.at(&resource, ask, provider))
}

/// Where the models are listed; a page is 50 of them by default.
pub(super) fn models(site: &Site) -> Option<String> {
    Some(format!("{}/models?pageSize=1000", versioned(site)))
}

fn versioned(site: &Site) -> String {
    format!("{}/v1beta", site.base.strip_suffix("/v1beta").unwrap_or(&site.base))
}
