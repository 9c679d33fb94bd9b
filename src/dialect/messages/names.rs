//! Names of tools and ids of calls that Anthropic takes: letters, digits, `_` and `-`, names up to 128 of them.
//!
//! Others are replaced, and the same one by the same one wherever it stands. Names come back in the answer and are told
//! to the caller; ids of the past do not come back. An id that is empty, or was used before, is replaced too, since
//! Anthropic finds a result's call by nothing else. Source: the API reference (patterns of `name` and `id`).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::dialect::conversation::{Conversation, Part, Tool, ToolChoice, What};
use crate::dialect::taken::Taken;
use crate::dialect::waiting::Waiting;

const LONGEST_NAME: usize = 128;

/// Whether the API takes it as an id.
pub fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_plain_byte)
}

/// An id with everything else as `_`.
pub fn plain(id: &str) -> Cow<'_, str> {
    match is_plain(id) {
        true => Cow::Borrowed(id),
        false => Cow::Owned(id.chars().map(plain_char).collect()),
    }
}

fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn plain_char(c: char) -> char {
    match u8::try_from(c) {
        Ok(byte) if is_plain_byte(byte) => c,
        _ => '_',
    }
}

/// The tools' names, the client's to the provider's.
pub struct Names<'a> {
    taken: Taken<'a>,
    replaced: HashMap<&'a str, String>,
}

impl<'a> Names<'a> {
    /// The names that the conversation has anywhere.
    pub fn of(conversation: &'a Conversation) -> Self {
        let offered = conversation.tools.iter().filter_map(Tool::name).map(|name| &**name);
        let parts = conversation.turns.iter().flat_map(|turn| &turn.parts);
        let called = parts.filter_map(called);
        let chosen = match &conversation.tool_choice {
            Some(ToolChoice::One(name)) => Some(&**name),
            _ => None,
        };
        let all: Vec<&str> = offered.chain(called).chain(chosen).collect();
        let mut names = Self { taken: Taken::default(), replaced: HashMap::new() };
        let fits = |name: &&&str| is_plain(name) && name.len() <= LONGEST_NAME;
        all.iter().filter(fits).for_each(|name| names.taken.add(name));
        for name in all.iter().filter(|name| !fits(name)) {
            if !names.replaced.contains_key(name) {
                let replacement = names.free(name);
                names.replaced.insert(name, replacement);
            }
        }
        names
    }

    /// The provider's name for a tool.
    pub fn get(&self, name: &'a str) -> Cow<'a, str> {
        match self.replaced.get(name) {
            Some(replacement) => Cow::Owned(replacement.clone()),
            None => Cow::Borrowed(name),
        }
    }

    /// A name like this one that no other tool has.
    pub fn free(&mut self, name: &str) -> String {
        let plain: String = name.chars().map(plain_char).take(LONGEST_NAME).collect();
        self.taken.free(if plain.is_empty() { "tool".to_owned() } else { plain }, LONGEST_NAME)
    }
}

fn called<'a>(part: &'a Part) -> Option<&'a str> {
    match &part.what {
        What::ToolCall(call) => Some(&call.name),
        _ => None,
    }
}

/// The calls of a conversation, as far as it has been gone through.
#[derive(Default)]
pub struct Calls<'a> {
    used: HashSet<Cow<'a, str>>,
    /// How many ids have been made up.
    made_up: usize,
    /// The ids of the calls since the last turn that answered, until they are answered.
    open: Vec<Option<Cow<'a, str>>>,
    waiting: Waiting<'a>,
}

impl<'a> Calls<'a> {
    /// A call: the id that it has for the provider.
    pub fn call(&mut self, id: &'a str, name: &'a str) -> Cow<'a, str> {
        let mut ours = plain(id);
        while ours.is_empty() || self.used.contains(&ours) {
            self.made_up += 1;
            ours = Cow::Owned(format!("call_{}", self.made_up));
        }
        self.used.insert(ours.clone());
        self.open.push(Some(ours.clone()));
        self.waiting.add(id, name);
        ours
    }

    /// A result: the id of its call. A result without an id is that of the first call of its name, or else of the first.
    pub fn result(&mut self, id: &str, name: Option<&str>) -> Option<Cow<'a, str>> {
        let number = self.waiting.take(id, name)?;
        self.open.get_mut(number)?.take()
    }

    /// The calls that have no result and can have none any more.
    pub fn unanswered(&mut self) -> impl Iterator<Item = Cow<'a, str>> + '_ {
        self.waiting = Waiting::default();
        self.open.drain(..).flatten()
    }

    /// Whether any call waits.
    pub fn any_open(&self) -> bool {
        self.open.iter().any(Option::is_some)
    }

    /// Whether there was any call.
    pub fn any(&self) -> bool {
        !self.used.is_empty()
    }
}
