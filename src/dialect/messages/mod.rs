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

#[cfg(test)]
mod tests;
