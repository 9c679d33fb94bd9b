//! Azure OpenAI: the OpenAI dialect under two kinds of addresses.
//!
//! The older API has a date as its version, which every request names, and a path per deployment; the newer one
//! (`/openai/v1`) is OpenAI's own, with the deployment's name in the place of the model's. A date as `api_version`
//! chooses the older one. What `models` of the credential gives as the name there is the deployment's name.
//! Source: Azure OpenAI in Foundry Models, REST API reference and "API version lifecycle".

use super::openai;
use super::provider::Provider;
use super::route::{query_without, segment, with_query, Ask, Route, Site, Task};

/// The last version of the older API that is not a preview.
pub const NEWEST_VERSION: &str = "2024-10-21";
/// The first one with the Responses API.
const FIRST_WITH_RESPONSES: &str = "2025-03-01";
/// In the older API a session names its deployment in the query.
const REALTIME: &str = "/v1/realtime";
/// What belongs to a deployment; all else belongs to the resource.
const OF_DEPLOYMENT: [&str; 5] =
    ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/audio/", "/v1/images/"];

/// Whether the version is a date, and so the older API's.
pub fn is_dated(version: &str) -> bool {
    version.starts_with(|first: char| first.is_ascii_digit())
}

/// The route of a request.
pub(super) fn route(provider: &Provider, site: &Site, ask: &Ask) -> Option<Route> {
    let version = site.api_version.as_deref();
    let dated = version.filter(|version| is_dated(version));
    let has_responses = dated.is_none_or(|version| version >= FIRST_WITH_RESPONSES);
    let ask = openai::in_dialect(provider, has_responses, ask)?;
    let base = site.base.strip_suffix("/openai").unwrap_or(&site.base);
    let path = match dated {
        None => format!("{base}/openai{}", ask.path),
        Some(_) => older_path(base, &ask)?,
    };
    let version = version.map(|version| format!("api-version={version}"));
    let deployment = match ask.model.filter(|_| dated.is_some() && ask.path == REALTIME) {
        Some(model) => Some(format!("deployment={}", segment(model)?)),
        None => None,
    };
    let ours =
        if deployment.is_some() { &["api-version", "deployment", "model"][..] } else { &["api-version"] };
    let members = version.iter().chain(&deployment).map(String::as_str);
    Some(Route {
        wire: ask.wire,
        task: if ask.generates() { Task::Generate } else { Task::AsItCame },
        path_and_query: with_query(path, members.chain(query_without(ask.query, ours))),
        habits: provider.habits,
        native: ask.native,
        body_version: None,
    })
}

fn older_path(base: &str, ask: &Ask) -> Option<String> {
    let rest = ask.path.strip_prefix("/v1")?;
    match ask.model.filter(|_| OF_DEPLOYMENT.iter().any(|start| ask.path.starts_with(start))) {
        Some(deployment) => Some(format!("{base}/openai/deployments/{}{rest}", segment(deployment)?)),
        None => Some(format!("{base}/openai{rest}")),
    }
}

/// Where the models are listed: the older API lists what could be deployed, which is nothing that can be asked for.
pub(super) fn models(site: &Site) -> Option<String> {
    let base = site.base.strip_suffix("/openai").unwrap_or(&site.base);
    let version = site.api_version.as_deref();
    let member = version.map(|version| format!("api-version={version}"));
    version
        .is_none_or(|version| !is_dated(version))
        .then(|| with_query(format!("{base}/openai/v1/models"), member.as_deref()))
}
