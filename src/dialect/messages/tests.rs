//! What the rooms of this dialect do together; each room's own tests stand in it.

mod answers;
mod composed;
mod fixtures;
mod garbage;
mod requests;
mod settings;
mod thinking;

use serde_json::{json, Value};

use super::compose::compose;
use super::request::read;
use crate::dialect::conversation::{Conversation, Untranslatable};
use crate::dialect::reply::{Piece, Sink};
use crate::dialect::{Composed, Habits, Stamp, Target};

const STAMP: Stamp = Stamp { seed: 0xc0ffee, created: 1_700_000_000 };

fn composed_for(model: &str, vertex: bool, conversation: &Conversation) -> Result<Composed, Untranslatable> {
    let habits = Habits { vertex, ..Habits::default() };
    compose(conversation, &Target { model, habits, signature: &|_| None })
}

/// What becomes of a conversation at an older model, which takes most.
fn body_of(conversation: &Conversation) -> Value {
    body_for("claude-sonnet-4-5", conversation)
}

fn body_for(model: &str, conversation: &Conversation) -> Value {
    serde_json::from_slice(&composed_for(model, false, conversation).unwrap().body.contiguous()).unwrap()
}

/// A client's request on its way to a model of the same dialect.
fn passed(model: &str, request: Value) -> Value {
    body_for(model, &read(&request.to_string()).unwrap())
}

fn asked(content: Value) -> Value {
    json!([{"role": "user", "content": content}])
}

/// Pieces, written down.
#[derive(Default)]
struct Heard(Vec<String>);

impl Sink for Heard {
    fn piece(&mut self, choice: u32, piece: Piece<'_>) {
        assert_eq!(choice, 0);
        self.0.push(format!("{piece:?}"));
    }
}
