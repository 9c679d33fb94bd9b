//! A JSON request, read once: which model, streaming or not, how much it may cost, which stored ids it names.
//!
//! One borrowing pass over the bytes, no tree; what will be rewritten is remembered as a span. What could mean one
//! thing to us and another to an upstream is refused: a routed key that comes twice, in another case (some parsers
//! fold case, two of them even `ſ` and the Kelvin sign), or spelt with escapes.
//! What the rest says all the same is noted in `notes`.
//! Field names: OpenAI API reference (chat completions, completions, embeddings, responses).

mod conversation;
mod notes;

use std::ops::Range;

use bytes::Bytes;

use super::ability::Abilities;
use super::body::{Body, Edit};
use super::scan::{utf8_fault, Cursor, Fault, Text};
use notes::{Marks, Notes};

/// Deeper bodies are refused.
pub const MOST_DEPTH: u8 = 64;
/// Longer model names are refused.
const MOST_MODEL_CHARS: usize = 256;
/// What a picture or a sound counts for, instead of its base64 text.
const BINARY_TOKENS: u64 = 1000;
/// The answer's size where the request sets no limit.
const DEFAULT_OUTPUT_TOKENS: u64 = 256;
/// The top-level keys that we act on.
const ROUTED: [&str; 7] =
    ["model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "max_output_tokens", "n"];

/// Whether an endpoint can do without a `model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It cannot.
    Required,
    /// It can: the upstream has a default, or an id says where to go.
    Optional,
}

/// A body that the caller must mend: always a 400.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadBody {
    /// What is wrong, and where.
    pub message: String,
    /// The member at fault, if it is one.
    pub param: Option<&'static str>,
}

impl BadBody {
    /// A fault of the whole body.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), param: None }
    }

    /// A fault of one member.
    pub fn member(param: &'static str, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param) }
    }
}

impl From<Fault> for BadBody {
    fn from(fault: Fault) -> Self {
        Self::new(format!("The request body is not valid JSON: {fault}."))
    }
}

/// What a request says, as far as routing needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    model: Option<(String, Range<usize>)>,
    /// What the path says, in APIs where it is the path that says it.
    addressed: Option<(String, bool)>,
    stream: bool,
    stream_end: usize,
    store: Option<bool>,
    options: Options,
    ids: Vec<String>,
    needs: Abilities,
    marks: Marks,
    prompt_tokens: u64,
    output_tokens: Option<u64>,
    answers: u64,
}

/// `stream_options`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Options {
    #[default]
    Absent,
    Null(Range<usize>),
    /// An object: behind its brace, whether it has members, and `include_usage` with its span.
    Object {
        inside: usize,
        empty: bool,
        usage: Option<(bool, Range<usize>)>,
    },
}

impl Request {
    /// Reads a whole body. The message of an error says what is wrong and at which byte.
    pub fn read(body: &[u8], model: Need) -> Result<Self, BadBody> {
        if body.trim_ascii().is_empty() {
            return Err(BadBody::new("The request body is empty; a JSON object is expected."));
        }
        if let Some(at) = utf8_fault(body) {
            return Err(BadBody::new(format!("The request body is not valid UTF-8 at byte {at}.")));
        }
        let mut reader = Reader {
            cursor: Cursor::lenient(body, MOST_DEPTH),
            request: Request { answers: 1, ..Request::default() },
            seen: [false; ROUTED.len()],
            notes: Notes::default(),
            need: model,
        };
        reader.object()?;
        let Reader { mut request, notes, .. } = reader;
        if request.model.is_none() && model == Need::Required {
            return Err(BadBody::member("model", "The request body has no 'model'."));
        }
        let text = (body.len() - notes.binary_bytes.min(body.len())) as u64;
        request.prompt_tokens = text / 4 + notes.binaries * BINARY_TOKENS;
        request.ids = notes.ids;
        request.needs.join(notes.needs);
        Ok(request)
    }

    /// The same, of an API whose paths name the model and say whether the answer is to be a stream.
    pub fn addressed(mut self, model: &str, stream: bool) -> Self {
        self.addressed = Some((model.to_owned(), stream));
        self
    }

    /// The model asked for.
    pub fn model(&self) -> Option<&str> {
        let addressed = self.addressed.as_ref().map(|(model, _)| model);
        addressed.or(self.model.as_ref().map(|(name, _)| name)).map(String::as_str)
    }

    /// Whether the answer is to be a stream.
    pub fn stream(&self) -> bool {
        self.addressed.as_ref().map_or(self.stream, |(_, stream)| *stream)
    }

    /// Whether the client itself asked for usage in the stream.
    pub fn asked_usage(&self) -> bool {
        matches!(self.options, Options::Object { usage: Some((true, _)), .. })
    }

    /// Whether the upstream is asked to keep the answer (`"store": true`).
    pub fn stores(&self) -> bool {
        self.is_stored(false)
    }

    /// Whether the answer is kept, in an API where that is so `by_default`.
    pub fn is_stored(&self, by_default: bool) -> bool {
        self.store.unwrap_or(by_default)
    }

    /// Ids of stored things that the request refers to: files, batches, responses, conversations.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// What a model must be able to do to understand it.
    pub fn needs(&self) -> Abilities {
        self.needs
    }

    /// The name that the client has given to the conversation for caches, as written. `body` must be the bytes that were
    /// read.
    pub fn cache_key<'b>(&self, body: &'b [u8]) -> Option<&'b [u8]> {
        body.get(self.marks.cache_key.clone()?)
    }

    /// Whose it is, as written.
    pub fn user<'b>(&self, body: &'b [u8]) -> Option<&'b [u8]> {
        body.get(self.marks.user.clone()?)
    }

    /// The head of the conversation, as written: what stays the same from turn to turn.
    pub fn head<'b>(&self, body: &'b [u8]) -> [&'b [u8]; 2] {
        let part =
            |mark: &Option<Range<usize>>| mark.clone().and_then(|mark| body.get(mark)).unwrap_or_default();
        [part(&self.marks.system), part(&self.marks.turns)]
    }

    /// Tokens that the request will probably cost; `generates` is false where no text is made (embeddings,
    /// moderations). Four bytes to a token, plus the answers up to their allowed length.
    pub fn estimate(&self, generates: bool) -> u64 {
        let output = self.output_tokens.unwrap_or(DEFAULT_OUTPUT_TOKENS).saturating_mul(self.answers);
        self.prompt_tokens.saturating_add(if generates { output } else { 0 })
    }

    /// The part of `estimate` that is the prompt.
    pub fn prompt_estimate(&self) -> u64 {
        self.prompt_tokens
    }

    /// The body for an upstream: with another model name, with usage asked for where a stream does not yet, and with
    /// further `edits`. `body` must be the bytes that were read.
    pub fn rewrite(
        &self,
        body: &Bytes,
        model: Option<&str>,
        include_usage: bool,
        mut edits: Vec<Edit>,
    ) -> Body {
        let own = self.model.as_ref().filter(|_| self.addressed.is_none());
        if let (Some(name), Some((_, span))) = (model, own) {
            let quoted = serde_json::Value::from(name).to_string();
            edits.push(Edit { at: span.clone(), with: quoted.into() });
        }
        if include_usage && self.stream {
            edits.extend(self.usage_edit());
        }
        Body::spliced(body, edits)
    }

    fn usage_edit(&self) -> Option<Edit> {
        let (at, with) = match &self.options {
            Options::Object { usage: Some((true, _)), .. } => return None,
            Options::Object { usage: Some((false, span)), .. } => (span.clone(), "true"),
            Options::Object { inside, empty: true, .. } => (*inside..*inside, r#""include_usage":true"#),
            Options::Object { inside, .. } => (*inside..*inside, r#""include_usage":true,"#),
            Options::Null(span) => (span.clone(), r#"{"include_usage":true}"#),
            Options::Absent => {
                (self.stream_end..self.stream_end, r#","stream_options":{"include_usage":true}"#)
            }
        };
        Some(Edit { at, with: Bytes::from_static(with.as_bytes()) })
    }
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    request: Request,
    seen: [bool; ROUTED.len()],
    notes: Notes,
    need: Need,
}

impl<'a> Reader<'a> {
    fn object(&mut self) -> Result<(), BadBody> {
        if self.cursor.peek() != b'{' {
            // Broken JSON and valid JSON that is no object are told apart.
            self.cursor.skip(&Text::NONE, &mut ())?;
            self.cursor.end()?;
            return Err(BadBody::new("The request body must be a JSON object."));
        }
        let mut more = self.cursor.open_object()?;
        while more {
            let key = self.cursor.key()?;
            match self.routed(&key)? {
                Some(name) => self.member(name)?,
                None => self.unrouted(&key)?,
            }
            more = self.cursor.more_members()?;
        }
        self.cursor.end().map_err(|fault| {
            BadBody::new(format!("The request body goes on behind its JSON object: {fault}."))
        })
    }

    /// A member that decides nothing by itself.
    fn unrouted(&mut self, key: &Text<'a>) -> Result<(), BadBody> {
        let (at, first) = (self.cursor.at(), self.cursor.peek());
        match key.raw() {
            b"conversation" => return self.conversation(),
            b"messages" | b"input" | b"contents" if first == b'[' => return self.turns(),
            b"tools" | b"functions" if first == b'[' => return self.tools(key),
            b"metadata" if first == b'{' => return self.metadata(),
            b"store" => self.request.store = (first != b'n').then_some(first == b't'),
            _ => {}
        }
        self.cursor.skip(key, &mut self.notes)?;
        let marks = &mut self.request.marks;
        let mark = match key.raw() {
            b"prompt_cache_key" => &mut marks.cache_key,
            b"user" => &mut marks.user,
            b"system" | b"instructions" | b"systemInstruction" | b"system_instruction" => &mut marks.system,
            b"input" | b"prompt" => &mut marks.turns,
            _ => return Ok(()),
        };
        // Null is not there.
        *mark = (first != b'n').then(|| at..self.cursor.at());
        Ok(())
    }

    /// Which routed key this is. Anything that some parser could take for one is refused unless it is spelt plainly.
    fn routed(&mut self, key: &Text) -> Result<Option<&'static str>, BadBody> {
        let raw = key.raw();
        let plain = !key.is_escaped() && raw.is_ascii();
        if plain && !matches!(raw.first(), Some(b'm' | b's' | b'n' | b'M' | b'S' | b'N')) {
            return Ok(None);
        }
        let Some(index) = routed_index(key, plain) else { return Ok(None) };
        let name = ROUTED[index];
        if raw != name.as_bytes() {
            let at = key.span().start;
            let message = format!("The key at byte {at} must be written exactly '{name}'.");
            return Err(BadBody::member(name, message));
        }
        if std::mem::replace(&mut self.seen[index], true) {
            let at = key.span().start;
            return Err(BadBody::member(name, format!("'{name}' appears a second time at byte {at}.")));
        }
        Ok(Some(name))
    }

    fn member(&mut self, name: &'static str) -> Result<(), BadBody> {
        match name {
            "model" => self.model(),
            "stream" => self.stream(),
            "stream_options" => self.options(),
            "n" => {
                self.request.answers = self.cursor.number_or_skip()?.unwrap_or(1).max(1);
                Ok(())
            }
            _ => {
                let limit = self.cursor.number_or_skip()?;
                self.request.output_tokens = self.request.output_tokens.max(limit);
                Ok(())
            }
        }
    }

    fn model(&mut self) -> Result<(), BadBody> {
        let at = self.cursor.at();
        let bad = |why: &str| BadBody::member("model", format!("'model' at byte {at} {why}."));
        let is_null = self.cursor.peek() == b'n';
        let Some(text) = self.cursor.string_or_skip()? else {
            let absent = is_null && self.need == Need::Optional;
            return if absent { Ok(()) } else { Err(bad("must be a string")) };
        };
        let name = text.decode().ok_or_else(|| bad("is not valid Unicode"))?;
        if name.trim().is_empty() {
            return Err(bad("is empty"));
        }
        if name.chars().count() > MOST_MODEL_CHARS {
            return Err(bad("is longer than 256 characters"));
        }
        if name.chars().any(char::is_control) {
            return Err(bad("has a character that cannot be printed"));
        }
        self.request.model = Some((name.into_owned(), text.span()));
        Ok(())
    }

    fn stream(&mut self) -> Result<(), BadBody> {
        let at = self.cursor.at();
        self.request.stream = match self.cursor.peek() {
            b't' => true,
            b'f' | b'n' => false,
            _ => {
                self.cursor.skip(&Text::NONE, &mut ())?;
                return Err(BadBody::member(
                    "stream",
                    format!("'stream' at byte {at} must be true or false."),
                ));
            }
        };
        self.cursor.skip(&Text::NONE, &mut ())?;
        self.request.stream_end = self.cursor.at();
        Ok(())
    }

    fn options(&mut self) -> Result<(), BadBody> {
        let start = self.cursor.at();
        match self.cursor.peek() {
            b'{' => {}
            b'n' => {
                self.cursor.skip(&Text::NONE, &mut ())?;
                self.request.options = Options::Null(start..self.cursor.at());
                return Ok(());
            }
            _ => {
                self.cursor.skip(&Text::NONE, &mut ())?;
                let message = format!("'stream_options' at byte {start} must be an object.");
                return Err(BadBody::member("stream_options", message));
            }
        }
        let mut more = self.cursor.open_object()?;
        let empty = !more;
        let mut usage = None;
        while more {
            let key = self.cursor.key()?;
            let (at, value) = (self.cursor.at(), self.cursor.peek());
            self.cursor.skip(&key, &mut ())?;
            if key.raw() == b"include_usage" && usage.replace((value == b't', at..self.cursor.at())).is_some()
            {
                let message = format!("'include_usage' appears a second time before byte {at}.");
                return Err(BadBody::member("stream_options", message));
            }
            more = self.cursor.more_members()?;
        }
        self.request.options = Options::Object { inside: start + 1, empty, usage };
        Ok(())
    }

    /// An id, or an object with one.
    fn conversation(&mut self) -> Result<(), BadBody> {
        if self.cursor.peek() != b'{' {
            let id = self.cursor.string_or_skip()?;
            id.iter().for_each(|id| self.notes.id(id));
            return Ok(());
        }
        let mut more = self.cursor.open_object()?;
        while more {
            let key = self.cursor.key()?;
            if key.raw() == b"id" {
                let id = self.cursor.string_or_skip()?;
                id.iter().for_each(|id| self.notes.id(id));
            } else {
                self.cursor.skip(&key, &mut self.notes)?;
            }
            more = self.cursor.more_members()?;
        }
        Ok(())
    }
}

/// Which of `ROUTED` some parser might take `key` for.
fn routed_index(key: &Text, plain: bool) -> Option<usize> {
    if plain {
        return ROUTED.iter().position(|name| key.raw().eq_ignore_ascii_case(name.as_bytes()));
    }
    let key = key.decode()?;
    let folded: String = key.chars().map(folded).collect();
    ROUTED.iter().position(|name| *name == folded)
}

fn folded(c: char) -> char {
    match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests;
