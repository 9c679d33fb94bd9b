//! The configuration: one YAML file in, checked settings out, and every problem at once with its place.
//!
//! The way through: text (`source`), tree with places (`node`), the shape that the structs of `file` ask for (`shape`,
//! with `interpolate` and `quantity`), serde, then the relations between values (`check`). Pure: files and the
//! environment come in as closures. Secrets are masked before anything is rendered (`mask`).

mod changes;
mod check;
mod file;
mod interpolate;
mod mask;
mod network;
mod node;
mod problem;
mod quantity;
mod quotas;
mod schema;
pub mod sealed;
mod secret_text;
mod settings;
mod shape;
mod source;
mod suggest;
#[cfg(test)]
mod tests;

use crate::hex::hex;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use file::{File, ModelsFile};
use problem::{Fault, Report};
use shape::Places;
use source::Text;

pub use changes::{changes, Change};
pub use interpolate::{Files, Outside, Variables};
pub use problem::{Problem, Severity};
pub use schema::{schema, table};
pub use settings::{
    address, Admin, AdminListen, ClientKey, CodeRule, Credential, Fail2ban, Images, Kind, Listener, LogLevel,
    Model, Monitoring, Network, OnOutage, Origins, Otlp, Priority, Resume, Routing, Server, ServerTls,
    Settings, Shared, State, Term, UpstreamTls, Vertex, FOREVER,
};

/// The smallest configuration that works, shown to whoever has none.
pub const SMALLEST: &str = "\
server:
  master_key: os.environ/MASTER_KEY
credentials:
  - name: openai
    api_key: os.environ/OPENAI_API_KEY
    base_url: https://api.openai.com
";

/// A configuration file as it was read.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Its path, as it is to be shown; `models.yaml` is looked for beside it.
    pub path: &'a Path,
    /// Its text.
    pub text: &'a str,
}

/// What came of a configuration file.
#[derive(Debug)]
pub struct Loaded {
    /// The settings; none if any problem is an error.
    pub settings: Option<Settings>,
    /// Everything that is wrong, file by file and in the order of the lines.
    pub problems: Vec<Problem>,
    masked: Vec<(Arc<str>, String)>,
}

/// Reads and checks a configuration. `env` is the environment, `read` reads a file that the configuration names, and
/// `now` tells what is over.
pub fn load(source: Source, env: Variables, read: Files, now: SystemTime) -> Loaded {
    let outside = Outside { env, read };
    let mut loaded = Loaded { settings: None, problems: Vec::new(), masked: Vec::new() };
    let text = Text::new(&source.path.to_string_lossy(), source.text);
    let mut report = Report::new(&text);
    let Some((file, places)) = read_file::<File>(&text, outside, &mut report) else {
        if !report.has_errors() {
            report.add(Severity::Error, Some(0..0), "", empty());
        }
        loaded.take(&text, report, &Places::default());
        return loaded;
    };
    let names: Vec<String> =
        file.credentials.iter().filter_map(|credential| credential.name.clone()).collect();
    let limits = loaded.limits(source.path, &names, outside);
    let mut check = check::Check { report: &mut report, places: &places, outside };
    let mut settings = check::settings(file, limits, now, &mut check);
    settings.digest = digest(source.text);
    loaded.take(&text, report, &places);
    let refused = loaded.problems.iter().any(|problem| problem.severity == Severity::Error);
    loaded.settings = (!refused).then_some(settings);
    loaded
}

/// Where a secret stands in a text, and the secret.
pub type Found = (Range<usize>, Zeroizing<String>);

/// The secrets that stand in a file itself, neither sealed nor elsewhere, with their places in its text; an error says
/// what keeps it from being read.
pub fn plain_secrets(source: Source) -> Result<Vec<Found>, String> {
    let text = Text::new(&source.path.to_string_lossy(), source.text);
    let nothing = |_: &Path| Err(io::ErrorKind::NotFound.into());
    let outside = Outside { env: &|_| None, read: &nothing };
    let mut report = Report::new(&text);
    let mark = source.text.len() - text.as_str().len();
    if let Some((_, places)) = read_file::<File>(&text, outside, &mut report) {
        let mut ranges: Vec<_> = places.secrets().to_vec();
        ranges.sort_by_key(|range| range.start);
        ranges.dedup();
        let plain =
            ranges.into_iter().filter_map(|range| Some((range.clone(), node::lone(text.slice(range))?)));
        let plain = plain.filter(|(_, value)| !interpolate::is_elsewhere(value));
        return Ok(plain
            .map(|(range, value)| (range.start + mark..range.end + mark, value.into()))
            .collect());
    }
    let mut loaded = Loaded { settings: None, problems: Vec::new(), masked: Vec::new() };
    loaded.take(&text, report, &Places::default());
    Err(loaded.render(false))
}

/// Host and port of the main listener, as far as the file says them: whatever else is wrong with it, a router that
/// took an earlier text still listens there. Whether plain HTTP is spoken there, too.
pub fn listener(source: Source, env: Variables, read: Files) -> (String, u16, bool) {
    let text = Text::new(&source.path.to_string_lossy(), source.text);
    let outside = Outside { env, read };
    let file = read_file::<File>(&text, outside, &mut Report::new(&text)).map(|(file, _)| file);
    let server = file.unwrap_or_default().server;
    let is_plain = server.tls.certificate.is_none() && !server.proxy_protocol;
    (server.host, server.port, is_plain)
}

/// What comes of a file that is no text: `valid` of its bytes are UTF-8.
pub fn not_utf8(path: &Path, bytes: &[u8], valid: usize) -> Loaded {
    let text = Text::new(&path.to_string_lossy(), &String::from_utf8_lossy(bytes));
    let mut report = Report::new(&text);
    // A byte order mark is not part of the text.
    let mark = if bytes.starts_with("\u{feff}".as_bytes()) { '\u{feff}'.len_utf8() } else { 0 };
    let at = valid.saturating_sub(mark);
    let fault = Fault::new("the file is not UTF-8 from here on").help("save it as UTF-8");
    report.add(Severity::Error, Some(at..at + char::REPLACEMENT_CHARACTER.len_utf8()), "", fault);
    let mut loaded = Loaded { settings: None, problems: Vec::new(), masked: Vec::new() };
    loaded.take(&text, report, &Places::default());
    loaded
}

/// One file as its struct, with what does not fit reported and left out; none if there is no tree at all.
fn read_file<T>(text: &Text, outside: Outside, report: &mut Report) -> Option<(T, Places)>
where
    T: DeserializeOwned + Default + JsonSchema,
{
    let root = node::parse(text, report)?;
    let fitting = shape::fit(&root, &schema::plain::<T>(), text, outside, report);
    let file = serde_json::from_value(fitting.json).unwrap_or_else(|_| {
        // The walk and serde read the same structs; should they ever disagree, nothing of the value is shown.
        report.add(
            Severity::Error,
            None,
            "",
            Fault::new("the file does not have the shape of a configuration"),
        );
        T::default()
    });
    Some((file, fitting.places))
}

fn empty() -> Fault {
    Fault::new("the file is empty").help(format!("the smallest one that works:\n\n{SMALLEST}"))
}

impl Loaded {
    /// All problems, rendered for a terminal (`color`) or for a log, and a last line that counts them.
    pub fn render(&self, color: bool) -> String {
        let mut out = String::new();
        for problem in &self.problems {
            let masked =
                self.masked.iter().find(|(file, _)| *file == problem.file).map_or("", |(_, text)| text);
            out.push_str(&problem.render(masked, color));
            out.push_str("\n\n");
        }
        let count = |severity| self.problems.iter().filter(|problem| problem.severity == severity).count();
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        if errors + warnings > 0 {
            out.push_str(&format!("{}, {}\n", counted(errors, "error"), counted(warnings, "warning")));
        }
        out
    }

    /// Takes a file's problems over, if there are any, and its text without secrets.
    fn take(&mut self, text: &Text, report: Report, places: &Places) {
        let problems = report.into_problems();
        if !problems.is_empty() {
            self.masked.push((text.name().clone(), mask::masked(text, places.secrets())));
        }
        self.problems.extend(problems);
    }

    /// `models.yaml` beside the configuration, if there is one.
    fn limits(&mut self, beside: &Path, names: &[String], outside: Outside) -> ModelsFile {
        let path = beside.with_file_name("models.yaml");
        let read = match (outside.read)(&path) {
            _ if path == beside => return ModelsFile::default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return ModelsFile::default(),
            read => read,
        };
        let text = Text::new(&path.to_string_lossy(), read.as_deref().unwrap_or_default());
        let mut report = Report::new(&text);
        if let Err(error) = read {
            let fault = Fault::new(format!("it is here but cannot be read: {}", error.kind()));
            report.add(Severity::Error, None, "", fault);
        }
        let Some((limits, places)) = read_file::<ModelsFile>(&text, outside, &mut report) else {
            self.take(&text, report, &Places::default());
            return ModelsFile::default();
        };
        check::limits(&limits, names, &mut check::Check { report: &mut report, places: &places, outside });
        self.take(&text, report, &places);
        limits
    }
}

/// Enough of it to tell two files from each other.
fn digest(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    hex(&digest.as_ref()[..6])
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
