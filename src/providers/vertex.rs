//! Google Vertex AI: Gemini and Claude in a project, or by an API key that knows its project itself.
//!
//! The publisher follows from the model: `claude-…` and `publishers/anthropic/models/…` are Anthropic's, spoken to in
//! Messages by `rawPredict`; `endpoints/…` are tuned models; all else is Google's. Claude there takes its version in the
//! body and no `model`, except to count tokens, where the model is in the body alone.
//! Sources: Vertex AI REST reference (publishers.models, endpoints) and "Deployments and endpoints" for the hosts; Anthropic's
//! and Google's own clients for the multi-region hosts and for what is percent-encoded.

use super::anthropic;
use super::gemini::Call;
use super::provider::Provider;
use super::route::{segment, with_query, Ask, Route, Site, Task};
use crate::llm::Wire;

/// The base URL of a location; none for a text that is none.
pub fn home(location: Option<&str>) -> Option<String> {
    let host = match location {
        None | Some("global") => "aiplatform.googleapis.com".to_owned(),
        Some(area @ ("us" | "eu")) => format!("aiplatform.{area}.rep.googleapis.com"),
        Some(region) => {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if region.is_empty() || !region.bytes().all(plain) {
                return None;
            }
            format!("{region}-aiplatform.googleapis.com")
        }
    };
    Some(format!("https://{host}"))
}

/// The route of a request.
pub(super) fn route(provider: &Provider, site: &Site, ask: &Ask) -> Option<Route> {
    let model = ask.model?;
    match model.strip_prefix("publishers/").and_then(|rest| rest.split_once("/models/")) {
        Some(("anthropic", claude)) => claude_route(provider, site, ask, claude),
        Some(("google", gemini)) => gemini_route(provider, site, ask, gemini),
        Some(_) => None,
        None if model.starts_with("claude-") => claude_route(provider, site, ask, model),
        None => gemini_route(provider, site, ask, model),
    }
}

fn gemini_route(provider: &Provider, site: &Site, ask: &Ask, model: &str) -> Option<Route> {
    let resource = match (model.strip_prefix("endpoints/"), &site.project) {
        (Some(endpoint), Some(_)) => format!("{}/endpoints/{}", parent(site)?, segment(endpoint)?),
        (Some(_), None) => return None,
        // It has no such method.
        (None, _) if ask.method() == Some("batchEmbedContents") => return None,
        (None, _) => format!("{}/publishers/google/models/{}", parent(site)?, segment(model)?),
    };
    Some(Call::of(ask, provider)?.at(&resource, ask, provider))
}

fn claude_route(provider: &Provider, site: &Site, ask: &Ask, model: &str) -> Option<Route> {
    site.project.as_ref()?;
    let (task, dialect, model) = match ask.counts() {
        Some(dialect) => (Task::Count, dialect, "count-tokens".to_owned()),
        None if ask.generates() => (Task::Generate, ask.wire, segment(model)?),
        None => return None,
    };
    let method = if ask.stream && task == Task::Generate { "streamRawPredict" } else { "rawPredict" };
    let native = dialect == Wire::Messages;
    let path = format!("{}/publishers/anthropic/models/{model}:{method}", parent(site)?);
    Some(Route {
        wire: Wire::Messages,
        task,
        // What a client's query turns on (`beta=true`) is turned on here by the header alone.
        path_and_query: with_query(path, None),
        habits: provider.habits,
        native,
        body_version: (native && task == Task::Generate).then(|| body_version(ask.version)),
    })
}

/// The version for the body: a client that still speaks the first version gets what has always been its like.
fn body_version(version: Option<&str>) -> &'static str {
    match version {
        Some("2023-06-01") => "vertex-2023-10-16",
        _ => anthropic::NEWEST_VERSION,
    }
}

fn parent(site: &Site) -> Option<String> {
    Some(match &site.project {
        Some((project, location)) => {
            format!("{}/v1/projects/{}/locations/{}", site.base, segment(project)?, segment(location)?)
        }
        None => format!("{}/v1", site.base),
    })
}
