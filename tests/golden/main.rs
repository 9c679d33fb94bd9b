//! Golden round trips: a request of a client, what a provider is asked, what it answers, and what the client reads.
//!
//! Every folder `<client>-to-<provider>/<case>` holds these four as files that can be read. The providers' answers are
//! recordings (see `fixtures/README.md`), shortened in the middle where they were long; what no recording has (a filter,
//! a signature given back) is made after the providers' references. `UPDATE_GOLDEN=1 cargo test --test golden` writes
//! the second and the fourth file anew; the difference is then to be read, because a file is right only if somebody has
//! held it against the dialect.
//!
//! One room a file: `case` runs a folder, `streams` cuts its streams into pieces, `invariants` says what every answer
//! of a dialect must be, `pictures` runs those of the images API, `usage` adds up tokens by itself,
//! `fuzz` bends the recordings until something gives, `strangers` does so with the bytes of whatever they send.

mod case;
mod fuzz;
mod invariants;
mod pictures;
mod strangers;
mod streams;
mod usage;
