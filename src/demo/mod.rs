//! The demonstration: an upstream that needs no key and no network, and the configuration that puts the router in
//! front of it.
//!
//! It speaks enough of the OpenAI API for an SDK to be pointed at it, and misbehaves on request, so that failover, bans
//! and limits can be watched. Never part of a running router otherwise.

mod answers;
mod config;
mod upstream;

pub use config::{banner, config, fresh_key};
pub use upstream::DemoUpstream;

/// What the demonstration serves: name, and what it is for.
pub const MODELS: [(&str, &str); 4] = [
    ("demo-echo", "says what you said, word by word"),
    ("demo-slow", "first token after three seconds, then slowly"),
    ("demo-flaky", "fails one time in three: watch the router try another credential"),
    ("demo-limited", "always 429 with retry-after: 20"),
];
