//! What is wrong with a configuration, and how it is shown.
//!
//! Every check adds to a `Report` and goes on, so that one run shows all there is to mend. The rendering is
//! rustc's own (annotate-snippets): file, line, column, a caret, why, and what to write instead. The source line is
//! shown from a masked copy (`mask.rs`), so a caret next to a key never prints the key.

use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::mask;
use super::source::Text;

/// Whether a problem stops a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file is used; somebody should look.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it stops a start.
    pub severity: Severity,
    /// The file, as the caller named it.
    pub file: Arc<str>,
    /// Line from one; nought when the problem has no place in the file.
    pub line: usize,
    /// Column from one, in characters; nought when the problem has no place in the file.
    pub column: usize,
    /// The key, dotted (`credentials[0].base_url`); empty for the file as a whole.
    pub path: String,
    /// What is wrong, with no secret in it.
    pub message: String,
    /// Why, or what to write instead.
    pub help: Option<String>,
    span: Option<Range<usize>>,
}

/// The problems of one file, in the order in which they were found.
#[derive(Debug)]
pub struct Report<'a> {
    text: &'a Text,
    problems: Vec<Problem>,
}

impl<'a> Report<'a> {
    /// An empty report on `text`.
    pub fn new(text: &'a Text) -> Self {
        Self { text, problems: Vec::new() }
    }

    /// Adds a problem; `span` is its byte range, none when it has no place.
    pub fn add(&mut self, severity: Severity, span: Option<Range<usize>>, path: &str, fault: Fault) {
        let (line, column) = span.as_ref().map_or((0, 0), |span| self.text.position(span.start));
        let Fault { message, help } = fault;
        let (file, path) = (self.text.name().clone(), path.to_owned());
        self.problems.push(Problem { severity, file, line, column, path, message, help, span });
    }

    /// Whether something stops a start.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// The problems in the order of the file, errors without a place first.
    pub fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        self.problems.dedup();
        self.problems
    }
}

/// The words of a problem: what is wrong, and why or what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// Why, or what to write instead.
    pub help: Option<String>,
}

impl Fault {
    /// A fault without advice.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    /// The same with advice.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Problem {
    /// Renders the problem; `masked` is the text of its file with every secret replaced, byte for byte in place.
    pub fn render(&self, masked: &str, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = match &self.span {
            Some(_) => self.message.clone(),
            None => format!("{}: {}", self.file, self.message),
        };
        let mut group = level.primary_title(title).elements(None::<annotate_snippets::Padding>);
        if let Some(span) = &self.span {
            let shown = AnnotationKind::Primary.span(shown_span(masked, span)).label(self.path.as_str());
            group = group.element(Snippet::source(masked).path(&*self.file).annotation(shown));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        // A masked secret is as long as the secret, in blanks: none are left at the end of a line.
        renderer.render(&[group]).lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }
}

/// The part of a span that is underlined: its first line, and of a masked secret no more than its three stars, so
/// that the caret does not tell how long the secret is.
fn shown_span(masked: &str, span: &Range<usize>) -> Range<usize> {
    let text = masked.get(span.clone()).unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let length = if line.starts_with("***") { 3 } else { line.trim_end().len() };
    let start = span.start.min(masked.len());
    start..start + length
}

/// A text from the file, in back-ticks, shortened, with nothing in it that could move a terminal's cursor or that looks
/// like a secret.
pub fn quoted(text: &str) -> String {
    let mut masked = mask::masked(&Text::new("", text), &[]);
    if masked != text {
        masked = masked.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    let shown: String = masked.chars().take(60).flat_map(char::escape_debug).collect();
    let rest = if masked.chars().nth(60).is_some() { "…" } else { "" };
    format!("`{shown}{rest}`")
}
