//! Each dialect in its own room, and what all of them have in common: what a failure means, and which headers pass.
//!
//! The rest of the router knows providers by two things only: how a request is dressed for one (`headers`, `openai`,
//! `chained`), and the `Verdict` on what came back (`judge`).

pub mod chained;
pub mod headers;
pub mod judge;
pub mod openai;
pub mod retry_after;
pub mod transport;
pub mod verdict;

pub use judge::{judge, judge_stream};
pub use transport::{judge_transport, Transport};
pub use verdict::{Blame, Next, Verdict};
