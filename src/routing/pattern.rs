//! Beginnings of names in the list of a credential: `openai/*` here, `*` there.
//!
//! A name that is written out anywhere belongs to those who write it; any other to those with its longest beginning. So
//! it is with routes of web servers, and with the wildcards of LiteLLM (its documentation, "Provider specific Wildcard
//! routing"). One `*` at the end is enough for what providers' names look like, and has one meaning.

use std::sync::Arc;

/// Any text, at the end of a name.
pub(crate) const REST: char = '*';

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    here: Box<str>,
    there: Box<str>,
    /// What follows the beginning here, follows the one there.
    carries: bool,
}

impl Pattern {
    /// The entry, if it is one.
    pub(crate) fn read(here: &str, there: &str) -> Option<Self> {
        let here = here.strip_suffix(REST)?;
        let beginning = there.strip_suffix(REST);
        Some(Self {
            here: here.into(),
            there: beginning.unwrap_or(there).into(),
            carries: beginning.is_some(),
        })
    }

    /// What a name begins with that is meant.
    pub(crate) fn beginning(&self) -> &str {
        &self.here
    }

    /// The name there; none if another is meant.
    pub(crate) fn there(&self, name: &str) -> Option<Arc<str>> {
        moved(name, &self.here, &self.there, self.carries)
    }

    /// The name here of what is called `there` there; none if it has none.
    pub(crate) fn here(&self, there: &str) -> Option<Arc<str>> {
        moved(there, &self.there, &self.here, true).filter(|_| self.carries)
    }
}

fn moved(name: &str, from: &str, to: &str, carries: bool) -> Option<Arc<str>> {
    let rest = name.strip_prefix(from)?;
    Some(if carries { [to, rest].concat().into() } else { to.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_changed_and_the_rest_is_kept() {
        let openai = Pattern::read("openai/*", "*").unwrap();
        assert_eq!(openai.there("openai/gpt-4o").as_deref(), Some("gpt-4o"));
        assert_eq!(openai.there("gpt-4o"), None);
        assert_eq!(openai.here("gpt-4o").as_deref(), Some("openai/gpt-4o"));
        let same = Pattern::read("claude-*", "claude-*").unwrap();
        assert_eq!(same.there("claude-x").as_deref(), Some("claude-x"));
        assert_eq!((same.here("claude-x").as_deref(), same.here("gpt")), (Some("claude-x"), None));
        let one = Pattern::read("gpt-*", "gpt-4o").unwrap();
        assert_eq!((one.there("gpt-9").as_deref(), one.here("gpt-4o")), (Some("gpt-4o"), None));
        assert_eq!(Pattern::read("gpt-4o", "gpt-4o"), None);
    }
}
