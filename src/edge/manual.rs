//! What the router says of how to use it: `/openapi.json`, `/docs`, `/redoc`.
//!
//! It is the same for as long as its configuration is, and large, so it is made once, when somebody first asks: most
//! routers are never asked. Whoever has it already is told so (RFC 9110, 13.1.2).

use std::sync::OnceLock;

use bytes::Bytes;
use http::header::IF_NONE_MATCH;
use http::HeaderMap;
use ring::digest::{digest, SHA256};

use super::local::{HTML, JSON};
use crate::hex::hex;
use crate::llm::endpoint::{document, Page};
use crate::observe::seeds::docs;

/// The sheets of one configuration.
#[derive(Default)]
pub struct Manual {
    openapi: OnceLock<Sheet>,
    docs: OnceLock<Sheet>,
}

/// One of them.
pub struct Sheet {
    /// Its type.
    pub kind: &'static str,
    /// All of it.
    pub body: Bytes,
    /// What tells it from another, in quotes.
    pub tag: String,
}

impl Manual {
    /// The sheet that a page is, if it is one. `header` is a further one for keys.
    pub fn sheet(&self, page: &Page, header: Option<&str>) -> Option<&Sheet> {
        let openapi = || Sheet::new(JSON, document(crate::VERSION, header).to_string());
        match page {
            Page::OpenApi => Some(self.openapi.get_or_init(openapi)),
            Page::Docs => Some(self.docs.get_or_init(|| Sheet::new(HTML, docs::render()))),
            _ => None,
        }
    }
}

impl Sheet {
    fn new(kind: &'static str, text: String) -> Self {
        let digest = digest(&SHA256, text.as_bytes());
        let tag = format!("\"{}\"", hex(&digest.as_ref()[..8]));
        Self { kind, body: text.into(), tag }
    }

    /// Whether a client has it already.
    pub fn is_known(&self, headers: &HeaderMap) -> bool {
        let named = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut tags = named.flat_map(|value| value.split(',')).map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_is_made_once_and_known_by_its_tag() {
        let manual = Manual::default();
        let sheet = manual.sheet(&Page::OpenApi, None).unwrap();
        assert!(std::ptr::eq(sheet, manual.sheet(&Page::OpenApi, None).unwrap()));
        assert_ne!(sheet.tag, manual.sheet(&Page::Docs, None).unwrap().tag);
        assert!(manual.sheet(&Page::Root, None).is_none());
        let asked =
            |tags: &str| sheet.is_known(&HeaderMap::from_iter([(IF_NONE_MATCH, tags.parse().unwrap())]));
        assert!(asked(&sheet.tag) && asked(&format!("\"a\", W/{}", sheet.tag)) && asked("*"));
        assert!(!asked("\"a\"") && !sheet.is_known(&HeaderMap::new()));
    }
}
