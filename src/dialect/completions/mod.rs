//! OpenAI's older text completions, from the client's side: a prompt in, a text out.
//!
//! Hosts of the dialect still serve it themselves, and then nothing comes here. For all others a prompt is one turn of
//! a user, and what has no equal in a conversation is refused by name. Shapes after OpenAI's API reference.

pub mod reader;
pub mod request;
pub mod writer;

#[cfg(test)]
mod tests;
