//! A client's request in the words of one upstream, and how that upstream's answer is to be read.
//!
//! An upstream that speaks the client's dialect gets the client's bytes, with a few places spliced. For any other the
//! request is read as a conversation, once and only when the first such upstream is tried, and composed anew for each
//! attempt, because versions, names and abilities differ from host to host.

use std::sync::OnceLock;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::HeaderName;

use super::content::Content;
use super::Edge;
use crate::dialect::conversation::{Conversation, Untranslatable};
use crate::dialect::gemini::embeddings::{self, EmbeddingsWriter};
use crate::dialect::gemini::images::{self, ImagesWriter};
use crate::dialect::resume::{self, Begins, Told};
use crate::dialect::translation::{Translated, Translation};
use crate::dialect::{self, Composed, Stamp, Target};
use crate::gateway::Upstream;
use crate::llm::answer::Answer as Facts;
use crate::llm::body::Body;
use crate::llm::endpoint::Endpoint;
use crate::llm::upstream_error::UpstreamError;
use crate::llm::{members, socket, Wire, ANTHROPIC_VERSION};
use crate::providers::{Ask, Route, Task};

/// Headers that a composed body needs beside it, or the opening of a WebSocket.
pub type Headers = Vec<(HeaderName, String)>;

/// What a client said.
pub struct Spoken<'a> {
    /// To which endpoint.
    pub endpoint: &'a Endpoint,
    /// What is known of the body,
    pub content: &'a Content,
    /// and its bytes.
    pub body: &'a Bytes,
    /// The body as it is read, where that differs.
    prepared: &'a OnceLock<Option<String>>,
    echoes: bool,
    conversation: OnceLock<Result<Box<Conversation<'a>>, Untranslatable>>,
}

/// What is wanted of one upstream.
#[derive(Clone, Copy)]
pub struct Wanted<'w> {
    /// The model, as it is called there.
    pub model: &'w str,
    /// What the client has been told, where the answer is to go on from there.
    pub told: Option<&'w Told>,
    /// Whether the model is said to go on with an answer that has begun.
    pub prefill: bool,
    /// Unique to the request.
    pub seed: u64,
}

/// A request as one upstream gets it.
pub struct Phrased {
    /// Where it goes there.
    pub route: Route,
    /// What is sent.
    pub body: Body,
    /// What is said beside it.
    pub headers: Headers,
}

/// How an upstream's answer is to be read.
pub enum Tongue {
    /// It is in the client's dialect.
    Native,
    /// It is translated.
    Foreign(Box<Translation>),
    /// It is a list of vectors in Google's shape.
    Vectors(EmbeddingsWriter),
    /// It is pictures in Google's shape.
    Pictures(ImagesWriter),
}

/// Why a whole answer is none.
pub enum NoAnswer {
    /// It is not what it should be.
    Malformed,
    /// It is an error.
    Error(Box<UpstreamError>),
}

impl<'a> Spoken<'a> {
    /// A request whose body has been read. `prepared` is a place for another form of the body, if one is needed.
    pub fn new(
        endpoint: &'a Endpoint,
        content: &'a Content,
        body: &'a Bytes,
        prepared: &'a OnceLock<Option<String>>,
    ) -> Self {
        Self { endpoint, content, body, prepared, echoes: false, conversation: OnceLock::new() }
    }

    /// Whether the answer is to name the model that was asked for, and not the one that answered.
    pub fn echoing(self, echoes: bool) -> Self {
        Self { echoes, ..self }
    }

    /// The name that the answer is to give the model; none = its own.
    pub fn echo(&self) -> Option<&'a str> {
        self.content.model().filter(|_| self.echoes)
    }

    /// The request in the words of `upstream`, and how its answer is to be read.
    ///
    /// # Errors
    /// It has no words for it.
    pub fn phrase(
        &self,
        edge: &Edge,
        upstream: &Upstream,
        client: &pingora::http::RequestHeader,
        wanted: Wanted,
    ) -> Result<(Phrased, Tongue), Untranslatable> {
        let model = wanted.model;
        let query = self.content.query(client.uri.query(), model);
        let ask = Ask {
            wire: self.endpoint.wire(),
            path: self.endpoint.path(),
            query: query.as_deref(),
            model: self.content.model().map(|_| model),
            stream: self.content.stream(),
            version: client.headers.get(ANTHROPIC_VERSION).and_then(|version| version.to_str().ok()),
        };
        let route = upstream.route(&ask).ok_or_else(|| Untranslatable::unserved(self.endpoint.path()))?;
        if route.native && !self.goes_on_there(&route, &wanted) {
            let headers =
                if self.content.is_socket() { socket::opening(&client.headers) } else { Vec::new() };
            let tongue = match wanted.told {
                None => Tongue::Native,
                Some(_) => self.tongue(route.wire, &mut Composed::default(), &wanted, Begins::Again)?,
            };
            return Ok((Phrased { headers, ..self.native(route, upstream, model) }, tongue));
        }
        let target = Target { model, habits: route.habits, signature: &|_: &str| None };
        match route.task {
            Task::Generate => self.translated(edge, route, &wanted),
            Task::Draw => {
                let kind = client.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
                let form = kind.filter(|_| matches!(self.content, Content::Form(_)));
                let (composed, writer) = images::compose(self.body, form, &target, unix_now())?;
                Ok((phrased(route, composed), Tongue::Pictures(writer)))
            }
            Task::Embed => {
                let (composed, writer) = embeddings::compose(self.text()?, &target)?;
                Ok((phrased(route, composed), Tongue::Vectors(writer.named(self.echo()))))
            }
            Task::Count | Task::AsItCame => Err(Untranslatable::unserved(self.endpoint.path())),
        }
    }

    /// An estimate of the prompt's tokens, for upstreams that cannot count them.
    ///
    /// # Errors
    /// The body is no conversation.
    pub fn count(&self) -> Result<Bytes, Untranslatable> {
        let conversation = dialect::read(Wire::Messages, self.text()?, false)?;
        Ok(dialect::messages::count::body(&conversation).into())
    }

    /// A whole answer as the client gets it, and what it says.
    ///
    /// # Errors
    /// It is none.
    pub fn understand(&self, edge: &Edge, tongue: Tongue, body: Bytes) -> Result<(Bytes, Facts), NoAnswer> {
        let wire = self.endpoint.wire();
        match tongue {
            Tongue::Native => {
                let mut facts = Facts::read(&body, wire).map_err(|_| NoAnswer::Malformed)?;
                if self.content.stores() {
                    facts.keep_chat(wire);
                }
                match facts.error.take() {
                    Some(error) => Err(NoAnswer::Error(Box::new(error))),
                    None => Ok((facts.named(body, self.echo()), facts)),
                }
            }
            Tongue::Foreign(translation) => told(edge, translation.whole(&body)),
            Tongue::Pictures(writer) => told(edge, writer.whole(&body)),
            Tongue::Vectors(writer) => {
                let (body, usage) = writer.whole(&body).map_err(|_| NoAnswer::Malformed)?;
                Ok((body.into(), Facts { usage, ..Facts::default() }))
            }
        }
    }

    fn native(&self, route: Route, upstream: &Upstream, model: &str) -> Phrased {
        let inject = self.endpoint.wants_usage() && self.content.stream() && route.takes("stream_options");
        let named = |asked: &&str| *asked != model && route.takes("model");
        let renamed = self.content.model().filter(named).map(|_| model);
        let mut edits = route.edits(self.body);
        // Google's bodies for vectors and counts repeat the model of their path, and must say the same.
        if let Some(asked) =
            self.endpoint.path_model().filter(|asked| *asked != model && !self.endpoint.generates())
        {
            let names = [&format!("models/{asked}"), asked];
            edits.extend(members::values(self.body, b"model", &names, &format!("models/{model}")));
        }
        // Another router knows best whom it will ask.
        if !upstream.provider.is_router {
            edits.extend(dialect::foreign::edits(route.wire, self.body, route.habits, model));
        }
        let body = self.content.rewrite(self.body, renamed, inject, edits);
        Phrased { route, body, headers: Headers::new() }
    }

    fn translated(
        &self,
        edge: &Edge,
        route: Route,
        wanted: &Wanted,
    ) -> Result<(Phrased, Tongue), Untranslatable> {
        let conversation = self.conversation()?;
        let signature = |id: &str| edge.gateway.signature(id);
        let target = Target { model: wanted.model, habits: route.habits, signature: &signature };
        let begun = self.begun(&route, wanted);
        let (conversation, begins) =
            begun.as_ref().map_or((conversation, Begins::Again), |(begun, begins)| (begun, *begins));
        let mut composed = dialect::compose(route.wire, conversation, &target)?;
        let tongue = self.tongue(route.wire, &mut composed, wanted, begins)?;
        Ok((phrased(route, composed), tongue))
    }

    /// The request with the answer's beginning, where the model goes on with one.
    fn begun(&self, route: &Route, wanted: &Wanted) -> Option<(Conversation<'a>, Begins)> {
        let text = wanted.told.filter(|_| wanted.prefill)?.text()?;
        resume::begun(self.conversation().ok()?, text, route.wire, route.habits, wanted.model)
    }

    /// Whether what goes there is not what the client has sent, though it is in the client's dialect.
    fn goes_on_there(&self, route: &Route, wanted: &Wanted) -> bool {
        wanted.prefill && self.begun(route, wanted).is_some()
    }

    /// How the answer of a provider that speaks `from` is told to the client.
    fn tongue(
        &self,
        from: Wire,
        composed: &mut Composed,
        wanted: &Wanted,
        begins: Begins,
    ) -> Result<Tongue, Untranslatable> {
        let conversation = self.conversation()?;
        let created = wanted.told.and_then(Told::created).unwrap_or_else(unix_now);
        let stamp = Stamp { seed: wanted.seed, created };
        let mut writer = dialect::writer(self.endpoint.wire(), conversation, stamp, from);
        if let Some(told) = wanted.told {
            let unlike = || Untranslatable::new("", "The answer cannot go on where it broke off.");
            writer = told.resumed(writer, begins).ok_or_else(unlike)?;
        }
        let several = dialect::ends_by_ending(from, conversation);
        let reader = dialect::reader(from, stamp);
        let translation = Translation::new(reader, writer, composed, several).named(self.echo());
        Ok(Tongue::Foreign(Box::new(translation)))
    }

    /// Whether another answer could go on with one to this request.
    pub fn is_plain(&self) -> bool {
        self.conversation().is_ok_and(|conversation| resume::is_plain(conversation, self.endpoint.wire()))
    }

    fn conversation(&self) -> Result<&Conversation<'a>, Untranslatable> {
        let read = self.conversation.get_or_init(|| {
            let (wire, body) = (self.endpoint.wire(), self.text()?);
            let prepared = self.prepared.get_or_init(|| dialect::prepare(wire, body));
            let body = prepared.as_deref().unwrap_or(body);
            let read = dialect::read(wire, body, self.content.stream())?;
            Ok(Box::new(Conversation { body: self.body.clone(), ..read }))
        });
        read.as_deref().map_err(Clone::clone)
    }

    fn text(&self) -> Result<&'a str, Untranslatable> {
        let text = std::str::from_utf8(self.body);
        text.map_err(|_| Untranslatable::new("", "The request body is not valid UTF-8."))
    }
}

fn told(
    edge: &Edge,
    translated: Result<Translated, Option<UpstreamError>>,
) -> Result<(Bytes, Facts), NoAnswer> {
    let Translated { body, usage, signatures } = translated.map_err(|error| match error {
        Some(error) => NoAnswer::Error(Box::new(error)),
        None => NoAnswer::Malformed,
    })?;
    edge.gateway.remember(signatures);
    Ok((body.into(), Facts { usage, ..Facts::default() }))
}

fn phrased(route: Route, composed: Composed) -> Phrased {
    let headers = composed.headers.into_iter();
    let headers = headers.map(|(name, value)| (HeaderName::from_static(name), value)).collect();
    Phrased { route, body: composed.body, headers }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
