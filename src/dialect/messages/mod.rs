//! Anthropic Messages: what its clients send, and what its provider takes and answers.
//!
//! Clients: `request` reads, `writer` answers, `count` estimates. Providers: `compose` writes the request (`body` is its
//! shape; `turns`, `media`, `tools`, `names` and `thinking` its parts; `models` what each Claude takes), `reader` reads
//! the answer.

mod body;
pub mod compose;
pub mod count;
mod media;
mod models;
mod names;
pub mod reader;
pub mod request;
mod thinking;
mod tools;
mod turns;
pub mod writer;

/// Whether a model of this name goes on with a turn of its own that has begun.
pub fn goes_on(model: &str) -> bool {
    models::Model::named(model).prefill
}

#[cfg(test)]
mod tests;
