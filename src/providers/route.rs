//! Where a request goes at one upstream, and in which dialect: `Ask` in, `Route` out.
//!
//! A route is made for each attempt, because it depends on the credential and on what the model is called there. It is
//! pure text work: no route is ever looked up. What comes from a client or from the file is percent-encoded when it
//! becomes a part of a path, so that a model called `../x` asks for a model of that name and for nothing else.

use super::openai;
use crate::dialect::Habits;
use crate::llm::body::Edit;
use crate::llm::members::{self, Changes};
use crate::llm::Wire;

/// What a client asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The dialect of the endpoint; `Objects` and `Opaque` where only the path says what is meant.
    pub wire: Wire,
    /// The path, as the endpoint table has it: `/v1/…`, or `/v1beta/models/{model}:{method}`, whose model is not used.
    pub path: &'a str,
    /// The query, without its question mark.
    pub query: Option<&'a str>,
    /// The model, as this upstream calls it.
    pub model: Option<&'a str>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// The client's `anthropic-version`: where there is one, `/v1/files` is Anthropic's.
    pub version: Option<&'a str>,
}

/// What a request is at the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The dialect there.
    pub wire: Wire,
    /// What is asked in that dialect.
    pub task: Task,
    /// What to ask for, beginning with a slash.
    pub path_and_query: String,
    /// How this host differs from others of the dialect.
    pub habits: Habits,
    /// The upstream speaks the client's dialect: nothing is translated but for `edits`.
    pub native: bool,
    /// The version that a native body must name (Claude on Vertex).
    pub body_version: Option<&'static str>,
}

/// What is asked of an upstream. All but `AsItCame` have bodies that may need a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Make text.
    Generate,
    /// Count the tokens of a prompt.
    Count,
    /// Embed texts, in Google's shape.
    Embed,
    /// Draw pictures, in Google's shape.
    Draw,
    /// Something that is only forwarded.
    AsItCame,
}

/// The parts of a credential that paths are made of.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// The path of the base URL, without a slash at its end.
    pub base: String,
    /// Azure: the `api-version` of each request, where the address needs one.
    pub api_version: Option<String>,
    /// Vertex: project and location; none for an API key, which knows its project itself.
    pub project: Option<(String, String)>,
}

impl Route {
    /// Whether the upstream takes this member in a native body: one that it does not take goes, and must not be edited
    /// or added besides.
    pub fn takes(&self, member: &str) -> bool {
        !self.changes().refused.contains(&member)
    }

    /// The edits that make a native body one that this upstream takes.
    pub fn edits(&self, body: &[u8]) -> Vec<Edit> {
        let inside = body.iter().position(|&byte| byte == b'{').map(|at| at + 1);
        let version = self.body_version.zip(inside).map(|(version, at)| Edit {
            at: at..at,
            with: format!(r#""anthropic_version":"{version}","#).into(),
        });
        // What is put in at a place comes before what is taken out there.
        version.into_iter().chain(members::edits(body, self.changes())).collect()
    }

    fn changes(&self) -> Changes {
        match (self.native, self.wire) {
            (true, Wire::Chat) => Changes { refused: self.habits.refused, renamed: self.habits.renamed },
            (true, Wire::Messages) if self.body_version.is_some() => {
                Changes { refused: &["anthropic_version", "model"], renamed: &[] }
            }
            _ => Changes::default(),
        }
    }
}

impl Ask<'_> {
    /// The text endpoint that this is, if it is one: it names a model and its dialect can be translated.
    pub(super) fn generates(&self) -> bool {
        self.model.is_some() && !matches!(self.wire, Wire::Objects | Wire::Opaque)
    }

    /// The dialect in which tokens are to be counted, if they are.
    pub(super) fn counts(&self) -> Option<Wire> {
        match (self.path, self.method()) {
            ("/v1/messages/count_tokens", _) => Some(Wire::Messages),
            (_, Some("countTokens")) => Some(Wire::Gemini),
            _ => None,
        }
    }

    /// The method of a Gemini path: `generateContent` in `/v1beta/models/x:generateContent`.
    pub(super) fn method(&self) -> Option<&str> {
        let starts = ["/v1beta/", "/v1/models/"];
        let rest = starts.iter().find_map(|start| self.path.strip_prefix(start))?;
        let plain = |method: &str| !method.is_empty() && method.bytes().all(|b| b.is_ascii_alphanumeric());
        rest.rsplit_once(':').map(|(_, method)| method).filter(|method| plain(method))
    }

    /// A route that leaves the body to the client's dialect.
    pub(super) fn native(&self, path_and_query: String, task: Task, habits: Habits) -> Route {
        Route { wire: self.wire, task, path_and_query, habits, native: true, body_version: None }
    }

    /// The same for the path that was asked for, below `base`.
    pub(super) fn as_it_came(&self, base: &str, habits: Habits) -> Route {
        let task = if self.generates() { Task::Generate } else { Task::AsItCame };
        self.native(openai::upstream_path(base, self.path, self.query), task, habits)
    }
}

/// `text` as one segment of a path. None where it would be an empty one or a step up: servers resolve `%2E%2E`, too.
pub(super) fn segment(text: &str) -> Option<String> {
    if matches!(text, "" | "." | "..") {
        return None;
    }
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'@' => {
                encoded.push(byte.into())
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    Some(encoded)
}

/// The members of a query that may go on: all but those called one of `without`.
pub(super) fn query_without<'q>(
    query: Option<&'q str>,
    without: &'q [&'q str],
) -> impl Iterator<Item = &'q str> {
    let members = query.unwrap_or_default().split('&').filter(|member| !member.is_empty());
    members.filter(move |member| {
        let name = member.split_once('=').map_or(*member, |(name, _)| name);
        !without.contains(&name)
    })
}

/// `path` with the members as its query.
pub(super) fn with_query<'q>(path: String, members: impl IntoIterator<Item = &'q str>) -> String {
    members.into_iter().fold(path, |mut whole, member| {
        whole.push(if whole.contains('?') { '&' } else { '?' });
        whole.push_str(member);
        whole
    })
}
