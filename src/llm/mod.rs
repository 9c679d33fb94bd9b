//! What all dialects have in common: the bytes of requests, answers, streams and errors, without any I/O.
//!
//! A request is read once (`request`, `multipart`), without a tree, and rewritten by splicing; a stream is cut into
//! frames (`sse`), watched (`event`, `stream`) and forwarded as it came; an answer is checked (`answer`); what it cost
//! is read from it (`usage`). `error` holds both kinds of error, ours and the upstream's, and `scrub` keeps keys out
//! of what is told about the latter. `ability` is what a request may need of a model. `scan` is the JSON cursor beneath
//! all of them.

pub mod ability;
pub mod answer;
pub mod body;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod members;
pub mod multipart;
pub mod request;
pub mod scan;
pub mod scrub;
pub mod socket;
pub mod sse;
pub mod stream;
pub mod upstream_error;
pub mod usage;

/// The header by which clients of the Anthropic API can be told.
pub const ANTHROPIC_VERSION: &str = "anthropic-version";

/// The shape of what a client and an upstream say to each other, as far as we look into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Chat completions.
    Chat,
    /// The older text completions.
    Completions,
    /// The Responses API.
    Responses,
    /// Anthropic Messages.
    Messages,
    /// Google's generateContent.
    Gemini,
    /// Stored objects (files, batches, conversations): every id in them belongs to the credential that gave it.
    Objects,
    /// Anything else: forwarded, not understood.
    Opaque,
}
