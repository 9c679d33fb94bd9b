//! Names of tools that chat hosts take: up to 64 letters, digits, `_` and `-` (OpenAI's API reference; others take no
//! less). Other dialects allow more: Anthropic 128 of them, Google dots and colons. What does not fit is replaced, and
//! the same by the same wherever it stands; the answer gets the client's name back.

use std::collections::HashMap;

use crate::dialect::conversation::{Conversation, Tool, ToolChoice, What};
use crate::dialect::taken::Taken;

const LONGEST: usize = 64;

/// The names that had to be replaced, the client's to the host's.
#[derive(Default)]
pub(super) struct Names<'c>(HashMap<&'c str, String>);

impl<'c> Names<'c> {
    /// Of all that the conversation names: tools that are offered, were called, or must be.
    pub(super) fn of(conversation: &'c Conversation) -> Self {
        let offered = conversation.tools.iter().filter_map(Tool::name).map(|name| &**name);
        let parts = conversation.turns.iter().flat_map(|turn| &turn.parts);
        let called = parts.filter_map(|part| match &part.what {
            What::ToolCall(call) => Some(&*call.name),
            _ => None,
        });
        let chosen = match &conversation.tool_choice {
            Some(ToolChoice::One(name)) => Some(&**name),
            _ => None,
        };
        let all = offered.chain(called).chain(chosen);
        let (fitting, others): (Vec<&str>, Vec<&str>) = all.partition(|name| fits(name));
        let mut names = Self::default();
        if others.is_empty() {
            return names;
        }
        let mut taken = Taken::default();
        fitting.into_iter().for_each(|name| taken.add(name));
        for name in others {
            names.0.entry(name).or_insert_with(|| taken.free(plain(name), LONGEST));
        }
        names
    }

    /// The host's name for a tool.
    pub(super) fn get(&'c self, name: &'c str) -> &'c str {
        self.0.get(name).map_or(name, |replacement| replacement)
    }

    /// The host's names and the client's.
    pub(super) fn renamed(self) -> Vec<(String, String)> {
        self.0.into_iter().map(|(client, host)| (host, client.to_owned())).collect()
    }
}

fn fits(name: &str) -> bool {
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(|byte| is_plain(byte.into()))
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

fn plain(name: &str) -> String {
    match name {
        "" => "tool".to_owned(),
        name => name.chars().map(|c| if is_plain(c) { c } else { '_' }).take(LONGEST).collect(),
    }
}
