//! The targets of `make fuzz`, for FUZZ_SECONDS (one) each in every test run, without a compiler's help.
//!
//! Every seed and everything that was once found, then seeds with bytes changed, cut, doubled, put together and salted
//! with words. That finds less in a minute than libFuzzer, which follows the branches, but needs nothing and is there
//! in every run; both call the same functions.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use targets::{Target, TARGETS};

/// What is done to bytes.
#[derive(Clone, Debug)]
enum Change {
    Byte(Index, u8),
    Flip(Index, u8),
    Cut(Index, Index),
    Double(Index, Index),
    Word(Index, Index),
    /// The rest becomes that of another seed.
    Splice(Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    prop_oneof![
        1 => (index(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        1 => (index(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        1 => (index(), index()).prop_map(|(from, to)| Change::Cut(from, to)),
        1 => (index(), index()).prop_map(|(from, to)| Change::Double(from, to)),
        4 => (index(), index()).prop_map(|(at, word)| Change::Word(at, word)),
        1 => (index(), index(), index()).prop_map(|(at, seed, from)| Change::Splice(at, seed, from)),
    ]
}

fn changed(target: &Target, corpus: &[Vec<u8>], mut bytes: Vec<u8>, change: &Change) -> Vec<u8> {
    let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
    let stretch = |from: &Index, to: &Index, bytes: &[u8]| {
        let (from, to) = (place(from, bytes), place(to, bytes));
        from.min(to)..from.max(to)
    };
    match change {
        Change::Byte(at, byte) => bytes.insert(place(at, &bytes), *byte),
        Change::Flip(at, bits) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        Change::Flip(..) => {}
        Change::Cut(from, to) => drop(bytes.drain(stretch(from, to, &bytes))),
        Change::Double(from, to) => bytes.extend_from_within(stretch(from, to, &bytes)),
        Change::Word(at, word) => {
            let at = place(at, &bytes);
            bytes.splice(at..at, word.get(target.words).bytes());
        }
        Change::Splice(at, seed, from) => {
            let other = seed.get(corpus);
            bytes.truncate(place(at, &bytes));
            bytes.extend_from_slice(&other[place(from, other)..]);
        }
    }
    bytes
}

fn fuzz(name: &str) {
    let target = Target::named(name).expect("a target");
    let corpus = target.corpus();
    assert!(!corpus.is_empty(), "{name} has no corpus");
    corpus.iter().for_each(|seed| target.run(seed));
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(1);
    let (start, mut cases) = (Instant::now(), corpus.len());
    while start.elapsed() < Duration::from_secs(seconds) {
        let config = Config { cases: 50, failure_persistence: None, ..Config::default() };
        let changes = prop::collection::vec(change(), 1..5);
        let result = TestRunner::new(config).run(&(any::<Index>(), changes), |(seed, changes)| {
            let seed = seed.get(&corpus).clone();
            target.run(&changes.iter().fold(seed, |bytes, change| changed(target, &corpus, bytes, change)));
            Ok(())
        });
        result.unwrap_or_else(|failure| panic!("{name}: {failure}"));
        cases += 50;
    }
    println!("{name}: {cases} executions in {seconds} s");
}

#[test]
fn no_two_targets_share_a_name() {
    let mut names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 8);
}

#[test]
fn a_head_that_is_taken_means_one_thing() {
    fuzz("head");
}

#[test]
fn a_request_is_what_a_tree_says_and_a_rewrite_keeps_the_rest() {
    fuzz("request");
}

#[test]
fn events_are_the_same_wherever_their_bytes_are_cut() {
    fuzz("sse");
}

#[test]
fn anthropic_and_openai_understand_each_other_or_say_so() {
    fuzz("anthropic");
}

#[test]
fn gemini_and_openai_understand_each_other_or_say_so() {
    fuzz("gemini");
}

#[test]
fn a_wait_can_be_waited() {
    fuzz("retry-after");
}

#[test]
fn any_text_is_a_configuration_or_has_problems_with_places() {
    fuzz("config");
}

#[test]
fn what_a_peer_says_of_itself_is_bounded() {
    fuzz("peer-health");
}
