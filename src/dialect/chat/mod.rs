//! OpenAI Chat Completions, and the many hosts that speak it.
//!
//! The dialect that clients speak most and that hosts bend most. `request` and `writer` face clients and keep to what
//! OpenAI's SDKs accept; `compose` and `reader` face hosts, and so write little and accept much.

mod calls;
pub mod compose;
mod messages;
pub mod models;
mod names;
mod out;
mod parts;
pub mod reader;
pub mod request;
mod tools;
mod whole;
pub mod writer;

#[cfg(test)]
mod tests;

pub(super) use out::{json, reason, UsageOut};

/// The mark of a Google signature among `thinking_blocks`, which are Anthropic's but for it (OpenRouter's word for it).
const GOOGLE: &str = "google-gemini-v1";
