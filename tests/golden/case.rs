//! One folder: its four files, and the conversation that they are.
//!
//! The files are compared as text. Whole bodies are laid out first, so that they can be read; the order of their keys
//! is kept and so compared as well. The cases of a pair run in the order of their names and share what a router
//! remembers of thought signatures, so that a second turn finds those of the first.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use auto_ai_router::dialect::conversation::Conversation;
use auto_ai_router::dialect::translation::{Translated, Translation};
use auto_ai_router::dialect::{self, Composed, Habits, Stamp, Target};
use auto_ai_router::llm::Wire;
use serde_json::value::RawValue;
use serde_json::Value;

pub const STAMP: Stamp = Stamp { seed: 0xc0ffee, created: 1_700_000_000 };

const CLIENTS: [(&str, Wire); 5] = [
    ("chat", Wire::Chat),
    ("completions", Wire::Completions),
    ("gemini", Wire::Gemini),
    ("messages", Wire::Messages),
    ("responses", Wire::Responses),
];
const PROVIDERS: [(&str, Wire); 3] =
    [("chat", Wire::Chat), ("gemini", Wire::Gemini), ("messages", Wire::Messages)];

/// A client and a provider whose dialects differ.
#[derive(Clone, Copy)]
pub struct Pair {
    pub client: Wire,
    pub provider: Wire,
    names: (&'static str, &'static str),
}

/// A folder.
pub struct Case {
    pub pair: Pair,
    pub folder: PathBuf,
    pub request: String,
    pub upstream_reply: Vec<u8>,
    /// Whether that is a stream.
    pub streamed: bool,
    prepared: Option<String>,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

pub fn pairs() -> Vec<Pair> {
    let all = CLIENTS.iter().flat_map(|client| PROVIDERS.iter().map(move |provider| (client, provider)));
    let different = all.filter(|(client, provider)| client.1 != provider.1);
    let pair = |((client_name, client), (provider_name, provider)): (&(&'static str, Wire), &(_, Wire))| {
        Pair { client: *client, provider: *provider, names: (*client_name, *provider_name) }
    };
    different.map(pair).collect()
}

impl Pair {
    /// Its cases, by name.
    pub fn cases(self) -> Vec<Case> {
        let folder = root().join(format!("{}-to-{}", self.names.0, self.names.1));
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        folders.into_iter().map(|folder| Case::read(self, folder)).collect()
    }
}

impl Case {
    fn read(pair: Pair, folder: PathBuf) -> Self {
        let request = compact(&fs::read_to_string(folder.join("client-request.json")).unwrap());
        let streamed = folder.join("upstream-reply.sse").exists();
        let reply = folder.join(if streamed { "upstream-reply.sse" } else { "upstream-reply.json" });
        let said = fs::read_to_string(&reply).unwrap_or_else(|e| panic!("{}: {e}", reply.display()));
        let upstream_reply = if streamed { said } else { compact(&said) }.into_bytes();
        let prepared = dialect::prepare(pair.client, &request);
        Self { pair, folder, request, upstream_reply, streamed, prepared }
    }

    pub fn name(&self) -> String {
        self.folder.strip_prefix(root()).unwrap().display().to_string()
    }

    /// What the client says.
    pub fn conversation(&self) -> Conversation<'_> {
        let body = self.prepared.as_deref().unwrap_or(&self.request);
        dialect::read(self.pair.client, body, self.streamed)
            .unwrap_or_else(|e| panic!("{}: {e:?}", self.name()))
    }

    /// The model asked for; Gemini's clients name it in the address, so there it is the one that answers.
    fn model(&self) -> String {
        let request: Value = serde_json::from_str(&self.request).unwrap();
        let answer = String::from_utf8_lossy(&self.upstream_reply).into_owned();
        let answering = || {
            let mut models = answer.split(r#""model""#).skip(1).filter_map(|rest| rest.split('"').nth(1));
            models.find(|model| !model.is_empty()).map(str::to_owned)
        };
        request["model"].as_str().map(str::to_owned).or_else(answering).unwrap()
    }

    /// What the provider is asked; `signatures` is what is remembered of earlier turns.
    pub fn compose(&self, signatures: &HashMap<String, String>) -> Composed {
        let (model, signature) = (self.model(), |id: &str| signatures.get(id).cloned());
        let target = Target { model: &model, habits: Habits::default(), signature: &signature };
        dialect::compose(self.pair.provider, &self.conversation(), &target)
            .unwrap_or_else(|e| panic!("{}: {e:?}", self.name()))
    }

    /// The translation of its answer.
    pub fn translation(&self) -> Translation {
        let conversation = self.conversation();
        let mut composed = self.compose(&HashMap::new());
        let reader = dialect::reader(self.pair.provider, STAMP);
        let writer = dialect::writer(self.pair.client, &conversation, STAMP, self.pair.provider);
        Translation::new(reader, writer, &mut composed, self.several())
    }

    /// Whether only the end of its stream is the end.
    pub fn several(&self) -> bool {
        dialect::ends_by_ending(self.pair.provider, &self.conversation())
    }

    pub fn whole(&self) -> Translated {
        let whole = self.translation().whole(&self.upstream_reply);
        whole.unwrap_or_else(|e| panic!("{}: {e:?}", self.name()))
    }

    fn check(&self, signatures: &RefCell<HashMap<String, String>>, differences: &mut Vec<String>) {
        let composed = self.compose(&signatures.borrow());
        compare(&self.folder, "upstream-request.json", &laid_out(&composed.body.contiguous()), differences);
        let headers = composed.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
        compare(&self.folder, "upstream-request.headers", &headers.collect::<String>(), differences);
        let (file, answer, new) = if self.streamed {
            let told = crate::streams::replay(self, std::iter::once(&self.upstream_reply[..]));
            ("client-reply.sse", String::from_utf8(told.bytes).unwrap(), told.signatures)
        } else {
            let whole = self.whole();
            ("client-reply.json", laid_out(&whole.body), whole.signatures)
        };
        compare(&self.folder, file, &answer, differences);
        signatures.borrow_mut().extend(new);
    }
}

/// Notes where a file of a case says something else, or writes it anew.
pub fn compare(folder: &Path, file: &str, is: &str, differences: &mut Vec<String>) {
    let path = folder.join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() && (path.exists() || !is.is_empty()) {
        fs::write(&path, is).unwrap();
    }
    let should = fs::read_to_string(&path).unwrap_or_default();
    if is != should {
        let line = is.lines().zip(should.lines()).position(|(is, should)| is != should);
        let line = line.unwrap_or_else(|| is.lines().count().min(should.lines().count()));
        let show = |text: &str| text.lines().nth(line).unwrap_or("(nothing)").to_owned();
        let (is, should) = (show(is), show(&should));
        let place = format!("{}:{}", path.strip_prefix(root()).unwrap().display(), line + 1);
        differences.push(format!("{place}\n  is     {is}\n  should {should}"));
    }
}

/// JSON as it goes over the wire, without the white space that makes it readable.
pub fn compact(json: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    let mut inside = |c: char| {
        let was_quoted = quoted;
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        was_quoted || !c.is_whitespace()
    };
    json.chars().filter(|c| inside(*c)).collect()
}

/// JSON with line breaks, its keys in their order.
pub fn laid_out(body: &[u8]) -> String {
    let body = std::str::from_utf8(body).unwrap();
    assert!(serde_json::from_str::<&RawValue>(body).is_ok(), "{body}");
    let (mut out, mut depth, mut quoted, mut escaped) = (String::new(), 0, false, false);
    for c in compact(body).chars() {
        let closes = !quoted && matches!(c, '}' | ']');
        depth -= usize::from(closes);
        if !quoted && (out.ends_with(['{', '[']) ^ closes || out.ends_with(',')) {
            out.push_str(&format!("\n{}", "  ".repeat(depth)));
        }
        out.push(c);
        depth += usize::from(!quoted && matches!(c, '{' | '['));
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        if !quoted && c == ':' {
            out.push(' ');
        }
    }
    out.push('\n');
    out
}

#[test]
fn every_request_and_every_answer_is_told_as_the_files_say() {
    let mut differences = Vec::new();
    let mut cases = 0;
    for pair in pairs() {
        let signatures = RefCell::new(HashMap::new());
        for case in pair.cases() {
            case.check(&signatures, &mut differences);
            cases += 1;
        }
    }
    assert!(cases > 150, "{cases}");
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}
