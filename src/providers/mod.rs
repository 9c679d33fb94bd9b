//! Each kind of provider in its own room, and what all of them have in common: what a failure means, and which headers
//! pass.
//!
//! The rest of the router knows providers by three things only: the row of each in a table (`provider`), the `Route` that
//! a request takes there, and the `Verdict` on what came back (`judge`).

mod anthropic;
pub mod azure;
pub mod chained;
mod day;
mod gemini;
pub mod headers;
pub mod judge;
mod kind;
pub mod listing;
mod openai;
pub mod peer_health;
mod provider;
pub mod retry_after;
mod route;
pub mod service_account;
pub mod transport;
pub mod verdict;
pub mod vertex;

pub use anthropic::NEWEST_VERSION as NEWEST_ANTHROPIC;
pub use judge::{judge, judge_stream};
pub use kind::Kind;
pub use provider::{Auth, Home, KeyNeed, Provider, Versions, PROVIDERS};
pub use route::{Ask, Route, Site, Task};
pub use transport::{judge_transport, Transport};
pub use verdict::{Blame, Next, Verdict};
