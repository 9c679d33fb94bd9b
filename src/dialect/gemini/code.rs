//! Code that Google ran, as text: other dialects have no parts for it, and it is part of what the model said.

use serde::Deserialize;

use crate::dialect::json::Str;

/// `executableCode`.
#[derive(Deserialize)]
pub struct Executable<'a> {
    #[serde(borrow)]
    language: Option<Str<'a>>,
    #[serde(borrow)]
    code: Option<Str<'a>>,
}

/// `codeExecutionResult`.
#[derive(Deserialize)]
pub struct Executed<'a> {
    #[serde(borrow)]
    output: Option<Str<'a>>,
}

impl Executable<'_> {
    /// In a fenced block.
    pub fn fenced(&self) -> String {
        let language = self.language.as_deref().unwrap_or_default().to_ascii_lowercase();
        fenced(&language, self.code.as_deref().unwrap_or_default())
    }
}

impl Executed<'_> {
    /// In a fenced block.
    pub fn fenced(&self) -> String {
        fenced("", self.output.as_deref().unwrap_or_default())
    }
}

fn fenced(language: &str, text: &str) -> String {
    format!("\n```{language}\n{}\n```\n", text.trim_end_matches('\n'))
}
