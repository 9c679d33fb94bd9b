//! Which endpoint a request is for, and what that means: one row per endpoint, and everything else follows from it.
//!
//! A row's template is also the label in metrics and logs, so labels are bounded whatever clients ask for. Ids in
//! paths are found by their place in the template; Gemini's paths name the model and what to do with it. Base URLs that
//! are often set with a provider's name in front (`/anthropic/v1`, `/openai/v1`) mean the same without it. Paths that could be read in two ways (`//`, `..`, encoded slashes)
//! are refused. Source of the list: OpenAI API reference; Anthropic's for `/v1/messages`.

mod openapi;
mod table;

use http::Method;

use super::request::Need;
use super::Wire;
use table::{Gives, Row, Takes, NOWHERE, ROWS};

pub use openapi::{document, listed, Listed};

/// One of the router's own answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// To what a browser asks first, of any path; the path does not lead here.
    Preflight,
    /// `/`: so that a health check of the bare address finds somebody.
    Root,
    /// `/health`.
    Health,
    /// `/health/live`.
    Live,
    /// `/health/ready`.
    Ready,
    /// `/vhealth`.
    Vhealth,
    /// `/vhealth/events`: what changes on it.
    Events,
    /// `/vhealth/login`: a form with a key.
    Login,
    /// `/vhealth/logout`.
    Logout,
    /// `/explain`.
    Explain,
    /// `/trace`.
    Trace,
    /// `/metrics`.
    Metrics,
    /// `/v1/usage`.
    Usage,
    /// `/backend/info`.
    Backend,
    /// `/router/stats`.
    Stats,
    /// `/router/health`.
    Services,
    /// `/router/rate-limits`.
    RateLimits,
    /// `/router/reset-stats`.
    ResetStats,
    /// `/auth/status`.
    Keys,
    /// `/auth/metrics`.
    KeyMetrics,
    /// `/auth/reload-keys`.
    ReloadKeys,
    /// `/auth/reset-metrics`.
    ResetKeys,
    /// `/openapi.json`.
    OpenApi,
    /// `/docs` and `/redoc`.
    Docs,
    /// `/v1/models`.
    Models,
    /// `/v1/models/{id}`, decoded; ids may have slashes.
    Model(String),
    /// `/v1beta/models`, as Google lists them.
    GeminiModels,
    /// `/v1beta/models/{id}`, decoded.
    GeminiModel(String),
}

impl Page {
    /// Whether it is looked at in a browser.
    pub fn is_for_people(&self) -> bool {
        matches!(self, Self::Vhealth | Self::Events | Self::Login | Self::Logout)
    }
}

/// How a request's body comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// There is none.
    Nothing,
    /// With a Content-Length.
    Measured,
    /// Chunked, or over HTTP/2 without a length.
    Unmeasured,
    /// There is none, and what comes behind the head is to be a WebSocket.
    Socket,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// Answered here.
    Local(Page),
    /// Its body is read, and routed by what it says.
    Converse,
    /// Its bytes are carried without being looked into.
    PassThrough,
    /// It is a WebSocket, if an upstream agrees to it; routed by the model of its query.
    Socket,
    /// Neither the path nor anything like it is served, or not with this method.
    Refuse,
}

/// The endpoint of one request.
#[derive(Clone, Debug)]
pub struct Endpoint {
    row: &'static Row,
    method: Method,
    path: String,
    /// Of a path that names it.
    model: Option<String>,
}

impl Endpoint {
    /// What `path` (without its query) means. A path that is not served is an endpoint, too: its door refuses.
    pub fn of(method: &Method, path: &str) -> Self {
        let path = PREFIXES.iter().find_map(|prefix| prefixed(path, prefix)).unwrap_or(path);
        let call = gemini_call(path).filter(|_| method == Method::POST);
        let found = match call {
            Some((_, verb)) => ROWS.iter().find(|row| verb_of(row) == Some(verb)),
            None => ROWS.iter().find(|row| verb_of(row).is_none() && fits(row.template, path)),
        };
        let row = found.filter(|_| is_plain(path)).unwrap_or(&NOWHERE);
        let model = call.map(|(model, _)| decoded(model));
        Self { row, method: method.clone(), path: path.to_owned(), model }
    }

    /// The model, where the path names it.
    pub fn path_model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Whether the path itself asks for a stream.
    pub fn path_streams(&self) -> bool {
        verb_of(self.row) == Some("streamGenerateContent")
    }

    /// Whether it asks only how long a prompt is.
    pub fn counts_tokens(&self) -> bool {
        self.row.template == "/v1/messages/count_tokens"
    }

    /// Whose words its errors are in: Messages, Gemini, or else chat.
    pub fn tongue(&self) -> Wire {
        match self.row.template {
            template if template.starts_with("/v1beta/") => Wire::Gemini,
            template if template.starts_with("/v1/messages") => Wire::Messages,
            _ => Wire::Chat,
        }
    }

    /// Where the request goes, given how its body comes.
    pub fn door(&self, sent: Sent) -> Door {
        if sent == Sent::Socket && self.opens_sockets() {
            return Door::Socket;
        }
        if self.row.template == NOWHERE.template || !self.allowed() {
            return Door::Refuse;
        }
        match (self.row.takes, sent) {
            (Takes::Page, _) if self.row.allow == "POST" => Door::Local(self.page()),
            (Takes::Page | Takes::Keyed, _) if self.is_page_method() => Door::Local(self.page()),
            (Takes::Act, _) => Door::Local(self.page()),
            (Takes::Page | Takes::Keyed, _) => Door::PassThrough,
            // A body that must be there and is not gets its 400 from whoever reads it.
            (Takes::Model | Takes::MayModel, _) if self.method == Method::POST => Door::Converse,
            (_, Sent::Nothing | Sent::Socket) | (Takes::Upload, Sent::Measured) => Door::PassThrough,
            _ => Door::Converse,
        }
    }

    /// The path as a template: a bounded label.
    pub fn template(&self) -> &'static str {
        self.row.template
    }

    /// The path as it was asked for.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The methods that it takes, where this one is not among them.
    pub fn allow(&self) -> Option<&'static str> {
        (!self.allowed()).then_some(self.row.allow)
    }

    /// Whether the doorstep lets everybody in (what is shown to whom is the page's business).
    pub fn is_open(&self) -> bool {
        self.row.takes == Takes::Page && self.row.template != NOWHERE.template
    }

    /// The shape of its answers. What is got where chats are posted is a list of stored ones, and where responses are
    /// it is a WebSocket.
    pub fn wire(&self) -> Wire {
        match self.row.wire {
            Wire::Chat if self.method == Method::GET => Wire::Objects,
            Wire::Responses if self.method == Method::GET => Wire::Opaque,
            wire => wire,
        }
    }

    /// Whether its body must name a model.
    pub fn need(&self) -> Need {
        if self.row.takes == Takes::Model && self.model.is_none() {
            Need::Required
        } else {
            Need::Optional
        }
    }

    /// Whether a request can make a model work that it does not name (or that is not the one it `names`): by default, by
    /// what lies in a file, or by what is said in a WebSocket later on.
    pub fn may_use_any_model(&self, names: bool) -> bool {
        let reads = matches!(self.method, Method::GET | Method::HEAD | Method::DELETE);
        let socket = self.method == Method::GET && self.row.template == "/v1/responses";
        let works = matches!(self.row.takes, Takes::Model | Takes::MayModel);
        let queues = ["/v1/batches", "/v1/messages/batches", "/v1/fine_tuning/*", "/v1/*"];
        let unnamed = (works || queues.contains(&self.row.template)) && !reads;
        socket || !names && (unnamed || self.row.template == "/v1/realtime")
    }

    /// Whether it makes text, whose length is part of the estimate.
    pub fn generates(&self) -> bool {
        self.row.gives == Gives::Text
    }

    /// Whether its streams have usage only when `stream_options.include_usage` asks for it.
    pub fn wants_usage(&self) -> bool {
        matches!(self.row.wire, Wire::Chat | Wire::Completions)
    }

    /// Whether a 200 that is neither a stream nor JSON is a broken answer.
    pub fn answers_json(&self) -> bool {
        self.row.gives != Gives::Either
    }

    /// Whether its answers hold ids that must be pinned to the credential that gave them.
    pub fn gives_ids(&self) -> bool {
        matches!(self.wire(), Wire::Objects | Wire::Responses)
    }

    /// Ids in the path: what stands for `{id}`, and what follows under `*`.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let named = !matches!(self.row.takes, Takes::Page | Takes::Keyed) && self.row.template != "/v1/*";
        let mut pattern = self.row.template.split('/');
        let mut open_end = false;
        self.path.split('/').filter(move |segment| {
            let part = if open_end { "*" } else { pattern.next().unwrap_or("*") };
            open_end |= part == "*";
            named && !segment.is_empty() && matches!(part, "{id}" | "*")
        })
    }

    /// Ids in a query: where a page of a list begins or ends.
    pub fn cursors(query: &str) -> Vec<String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let cursors = pairs.filter(|(name, id)| matches!(*name, "after" | "before") && !id.is_empty());
        cursors.map(|(_, id)| decoded(id)).collect()
    }

    /// The endpoint that was probably meant by a path that is not served.
    pub fn nearest(path: &str) -> Option<String> {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let segments: Vec<&str> =
            path.split('/').filter(|s| !s.is_empty() && !matches!(*s, "." | "..")).collect();
        let known = |rest: &[&str]| {
            let path = format!("/v1/{}", rest.join("/"));
            let row = ROWS.iter().find(|row| fits(row.template, &path))?;
            (row.template != "/v1/*").then_some(path)
        };
        (0..segments.len()).find_map(|skip| known(&segments[skip..])).or_else(|| similar(path))
    }

    fn allowed(&self) -> bool {
        let allow = self.row.allow;
        let deletes_model = self.row.template == "/v1/models/*" && self.method == Method::DELETE;
        allow.is_empty() || deletes_model || allow.split(", ").any(|method| method == self.method.as_str())
    }

    /// Whether a WebSocket can be had here: the Responses API has one, and what this version does not know may be one.
    fn opens_sockets(&self) -> bool {
        let open = self.row.takes == Takes::Anything || self.row.template == "/v1/responses";
        open && self.method == Method::GET
    }

    fn is_page_method(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    fn page(&self) -> Page {
        match self.row.template {
            "/health" => Page::Health,
            "/health/live" => Page::Live,
            "/health/ready" => Page::Ready,
            "/vhealth" => Page::Vhealth,
            "/vhealth/events" => Page::Events,
            "/vhealth/login" => Page::Login,
            "/vhealth/logout" => Page::Logout,
            "/explain" => Page::Explain,
            "/trace" => Page::Trace,
            "/metrics" => Page::Metrics,
            "/v1/usage" => Page::Usage,
            "/backend/info" => Page::Backend,
            "/router/stats" => Page::Stats,
            "/router/health" => Page::Services,
            "/router/rate-limits" => Page::RateLimits,
            "/router/reset-stats" => Page::ResetStats,
            "/auth/status" => Page::Keys,
            "/auth/metrics" => Page::KeyMetrics,
            "/auth/reload-keys" => Page::ReloadKeys,
            "/auth/reset-metrics" => Page::ResetKeys,
            "/openapi.json" => Page::OpenApi,
            "/docs" | "/redoc" => Page::Docs,
            "/v1/models" => Page::Models,
            "/v1beta/models" => Page::GeminiModels,
            "/v1beta/models/*" => {
                Page::GeminiModel(decoded(self.path.strip_prefix("/v1beta/models/").unwrap_or_default()))
            }
            "/v1/models/*" => Page::Model(decoded(self.path.strip_prefix("/v1/models/").unwrap_or_default())),
            _ => Page::Root,
        }
    }
}

/// What may stand before `/v1`, and means nothing.
const PREFIXES: [&str; 2] = ["/anthropic", "/openai"];

fn prefixed<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    path.strip_prefix(prefix).filter(|rest| rest.starts_with("/v1/"))
}

/// The model and the verb of one of Gemini's paths, such as `/v1beta/models/gemini-pro:generateContent`.
fn gemini_call(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/v1beta/models/").or_else(|| path.strip_prefix("/v1/models/"))?;
    rest.rsplit_once(':').filter(|(model, _)| !model.is_empty())
}

/// The verb at the end of a row's template.
fn verb_of(row: &Row) -> Option<&'static str> {
    row.template.strip_prefix("/v1beta/models/{id}:")
}

fn fits(template: &str, path: &str) -> bool {
    let Some(fixed) = template.split(['{', '*']).next().filter(|fixed| fixed.len() < template.len()) else {
        return template == path;
    };
    let Some(rest) = path.strip_prefix(fixed) else { return false };
    if template.as_bytes().get(fixed.len()) == Some(&b'*') {
        return !rest.is_empty();
    }
    let (id, after) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    !id.is_empty() && fits(&template[fixed.len() + "{id}".len()..], after)
}

/// Whether a path has one reading only. Under `/v1/models/` an encoded slash is a part of the id.
fn is_plain(path: &str) -> bool {
    let model = path.starts_with("/v1/models/") || path.starts_with("/v1beta/models/");
    let dotted = path.split('/').any(|segment| matches!(segment, "." | ".."));
    let encoded = path.contains('%') && {
        let lower = path.to_ascii_lowercase();
        ["%2e", "%5c", "%00"].iter().any(|odd| lower.contains(odd)) || !model && lower.contains("%2f")
    };
    let ends = path == "/" || !path.ends_with('/');
    ends && !path.contains("//")
        && !dotted
        && !encoded
        && !path.starts_with("/v1/v1/")
        && !path.contains('\\')
}

/// The fixed path that differs least, if it differs little.
fn similar(path: &str) -> Option<String> {
    let fixed = ROWS.iter().filter(|row| !row.template.contains(['{', '*']) && row.template.len() > 1);
    let scored = fixed.map(|row| (strsim::normalized_levenshtein(path, row.template), row.template));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.7).then(|| best.1.to_owned())
}

/// Percent-decoding; what is not valid stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests;
