//! The fault matrix: what can go wrong, in every shape in which it means something, against the real binary.
//!
//! `row` says what a row is made of, `rig` plays the cases and looks at what they leave behind, `ask` is the client.
//! `edge`, `connect`, `answers`, `streams` and `process` hold the rows, in the order in which a request meets them; `local`
//! has the tests of faults of the host. `secrets` finds what must not be seen, and `slots` has a secret in every slot.
//! `page` makes `tests/FAULTS.md` of the rows; a row that other tests prove names them.

mod answers;
mod ask;
mod connect;
mod edge;
mod local;
mod page;
mod process;
mod rig;
mod row;
mod secrets;
mod slots;
mod streams;

#[test]
fn on_the_way_to_an_upstream() {
    rig::play(rig::usual(), connect::rows());
}

#[test]
fn answers_that_are_errors_or_none() {
    rig::play(rig::usual(), answers::rows());
}

#[test]
fn streams_that_have_begun() {
    rig::play(rig::usual(), streams::rows());
}

#[test]
fn before_any_upstream_is_asked() {
    rig::play(rig::usual(), edge::rows());
}
