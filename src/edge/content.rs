//! A request that has been read: JSON, a multipart form, bytes that mean nothing to us, or the wish for a WebSocket.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::HeaderMap;

use super::wish;
use crate::llm::ability::Abilities;
use crate::llm::body::{Body, Edit};
use crate::llm::endpoint::Endpoint;
use crate::llm::multipart::model_field;
use crate::llm::request::{BadBody, Need, Request};
use crate::llm::socket;

/// What a body says.
pub enum Content {
    /// A JSON object.
    Json(Box<Request>),
    /// A form: its `model` field, and the estimate of its tokens.
    Form(Option<(String, Range<usize>)>),
    /// Neither.
    Bytes,
    /// None: it opens a WebSocket. The model of its query.
    Socket(Option<String>),
}

impl Content {
    /// Reads `body` as what the endpoint and the content type say that it is.
    pub fn read(endpoint: &Endpoint, headers: &HeaderMap, body: &Bytes) -> Result<Self, BadBody> {
        let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let is = |wanted: &str| kind.get(..wanted.len()).is_some_and(|k| k.eq_ignore_ascii_case(wanted));
        let need = endpoint.need();
        if is("multipart/") {
            let model = model_field(kind, body)?;
            if model.is_none() && need == Need::Required {
                return Err(BadBody::member("model", "The form has no field 'model'."));
            }
            return Ok(Self::Form(model));
        }
        if let Some(model) = endpoint.path_model() {
            let request = Request::read(body, need)?.addressed(model, endpoint.path_streams());
            return Ok(Self::Json(Box::new(request)));
        }
        if need == Need::Required || is("application/json") {
            return Ok(Self::Json(Box::new(Request::read(body, need)?)));
        }
        Ok(Self::Bytes)
    }

    /// What a WebSocket's opening says, by its query.
    pub fn socket(query: Option<&str>) -> Self {
        Self::Socket(query.and_then(socket::model))
    }

    /// Whether it opens a WebSocket.
    pub fn is_socket(&self) -> bool {
        matches!(self, Self::Socket(_))
    }

    /// The query for an upstream that knows the model as `model`.
    pub fn query<'q>(&self, query: Option<&'q str>, model: &str) -> Option<Cow<'q, str>> {
        let query = wish::without_vendor(query);
        match self {
            Self::Socket(Some(asked)) if asked != model => {
                query.map(|query| socket::with_model(&query, model).into())
            }
            _ => query,
        }
    }

    /// The JSON request, if it is one.
    pub fn request(&self) -> Option<&Request> {
        match self {
            Self::Json(request) => Some(request),
            _ => None,
        }
    }

    /// What a model must be able to do to serve it.
    pub fn needs(&self) -> Abilities {
        self.request().map_or(Abilities::NONE, |request| request.needs())
    }

    /// The model asked for.
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::Json(request) => request.model(),
            Self::Form(model) => model.as_ref().map(|(name, _)| name.as_str()),
            Self::Bytes => None,
            Self::Socket(model) => model.as_deref(),
        }
    }

    /// Whether the answer is to be a stream.
    pub fn stream(&self) -> bool {
        matches!(self, Self::Json(request) if request.stream())
    }

    /// Whether the client itself asked for usage in the stream.
    pub fn asked_usage(&self) -> bool {
        matches!(self, Self::Json(request) if request.asked_usage())
    }

    /// Whether the upstream is asked to keep the answer.
    pub fn stores(&self) -> bool {
        matches!(self, Self::Json(request) if request.stores())
    }

    /// Whether the answer is kept, in an API where that is so `by_default`.
    pub fn is_stored(&self, by_default: bool) -> bool {
        matches!(self, Self::Json(request) if request.is_stored(by_default))
    }

    /// Ids of stored things that the request refers to.
    pub fn ids(&self) -> &[String] {
        match self {
            Self::Json(request) => request.ids(),
            _ => &[],
        }
    }

    /// Tokens that the request will probably cost.
    pub fn estimate(&self, endpoint: &Endpoint) -> u64 {
        match self {
            Self::Json(request) => request.estimate(endpoint.generates()),
            _ => 0,
        }
    }

    /// The part of the estimate that is the prompt.
    pub fn prompt_estimate(&self) -> u64 {
        match self {
            Self::Json(request) => request.prompt_estimate(),
            _ => 0,
        }
    }

    /// The body for an upstream that knows the model as `model`, with usage asked for where a stream does not yet, and
    /// further edits of a JSON body made.
    pub fn rewrite(&self, body: &Bytes, model: Option<&str>, include_usage: bool, edits: Vec<Edit>) -> Body {
        match (self, model) {
            (Self::Json(request), _) => request.rewrite(body, model, include_usage, edits),
            (Self::Form(Some((_, span))), Some(model)) => {
                let with = Bytes::copy_from_slice(model.as_bytes());
                Body::spliced(body, vec![Edit { at: span.clone(), with }])
            }
            _ => Body::whole(body.clone()),
        }
    }
}
