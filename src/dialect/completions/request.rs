//! A client's completions request.
//!
//! `echo`, `suffix`, `logprobs`, `best_of` over one, token ids and several prompts at once are asked of the bare model
//! behind a completion and have no equal in a conversation.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::Number;

use crate::dialect::chat::request::{stop, StreamOptions};
use crate::dialect::conversation::{Conversation, Part, Role, Turn, Untranslatable};
use crate::dialect::fault::{self, TextOrList};
use crate::dialect::json::{OneOrMany, Str, Text};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Request<'a> {
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    max_tokens: Option<u64>,
    temperature: Option<Number>,
    top_p: Option<Number>,
    presence_penalty: Option<Number>,
    frequency_penalty: Option<Number>,
    seed: Option<Number>,
    stop: Option<OneOrMany<'a, Str<'a>>>,
    n: Option<u32>,
    best_of: Option<u32>,
    echo: Option<bool>,
    logprobs: Option<u32>,
    suffix: Option<Str<'a>>,
    user: Option<Str<'a>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

/// Reads the body of a request.
pub fn read(body: &str) -> Result<Conversation<'_>, Untranslatable> {
    let request: Request = fault::read(body)?;
    request.check()?;
    let text = prompt(request.prompt)?;
    Ok(Conversation {
        turns: vec![Turn { role: Role::User, parts: vec![Part::text(text)] }],
        max_tokens: request.max_tokens,
        temperature: request.temperature,
        top_p: request.top_p,
        presence_penalty: request.presence_penalty,
        frequency_penalty: request.frequency_penalty,
        seed: request.seed,
        stop: stop(request.stop),
        answers: request.n,
        user: request.user,
        stream: request.stream.unwrap_or(false),
        wants_usage: request.stream_options.and_then(|options| options.include_usage).unwrap_or(false),
        ..Conversation::default()
    })
}

impl Request<'_> {
    fn check(&self) -> Result<(), Untranslatable> {
        let asked = [
            ("echo", self.echo == Some(true)),
            ("suffix", self.suffix.as_deref().is_some_and(|suffix| !suffix.is_empty())),
            ("logprobs", self.logprobs.is_some()),
            ("best_of", self.best_of.is_some_and(|best_of| best_of > 1)),
        ];
        match asked.into_iter().find(|(_, asked)| *asked) {
            Some((member, _)) => Err(Untranslatable::new(
                member,
                format!("The provider of this model serves conversations, which have no `{member}`."),
            )),
            None => Ok(()),
        }
    }
}

/// The one prompt, in words.
fn prompt(prompt: Option<&RawValue>) -> Result<Text<'_>, Untranslatable> {
    let unfit = || {
        let why = "The provider of this model takes one prompt, as text: a string, or a list of one.";
        Untranslatable::new("prompt", why)
    };
    match fault::text_or_list(prompt.ok_or_else(unfit)?, "prompt").map_err(|_| unfit())? {
        TextOrList::Text(text) => Ok(text),
        TextOrList::List(texts) => match <[Str; 1]>::try_from(texts) {
            Ok([text]) => Ok(text.into()),
            Err(_) => Err(unfit()),
        },
    }
}
