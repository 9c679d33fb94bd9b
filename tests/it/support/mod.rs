//! The harness: a scripted provider, the real binary in front of it, and a client that sees every byte.
//!
//! A test arranges in a line or two, acts once, and asserts what the client saw and what the upstream saw.

pub mod authority;
pub mod client;
pub mod config;
pub mod deaf;
pub mod h2c;
pub mod languages;
pub mod reply;
pub mod router;
pub mod stream;
pub mod tls;
pub mod upstream;
pub mod wire;

pub use client::{Answer, Conn, Request};
pub use config::{client_key, key_of, resuming, Config, MASTER_KEY};
pub use deaf::Deaf;
pub use languages::Language;
pub use reply::{chat_frames, chunk, frame, respond, role, stop, word, Reply, DONE};
pub use router::{free_port, Router};
pub use stream::{End, Events};
pub use upstream::{Call, Upstream};

use serde_json::{json, Value};
use std::time::{Duration, Instant};

/// Seconds.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Milliseconds.
pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Asks `probe` until it answers, at most for `limit`.
pub fn eventually<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(ms(5));
    }
}

/// Waits until `condition` holds; fails with `what` otherwise.
#[track_caller]
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let held = eventually(secs(15), || condition().then_some(()));
    assert!(held.is_some(), "never came true: {what}");
}

/// A chat request for `model`.
pub fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Say hello."}]})
}

/// A streamed chat request for `model`.
pub fn chat_streamed(model: &str) -> Value {
    json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "Say hello."}]})
}

/// A chat request of at least `bytes` bytes.
pub fn chat_of_size(model: &str, bytes: usize) -> Vec<u8> {
    let text: String = "0123456789abcdef".chars().cycle().take(bytes).collect();
    json!({"model": model, "messages": [{"role": "user", "content": text}]}).to_string().into_bytes()
}

/// Runs `act` on `n` threads at once and gives back what each returned.
pub fn at_once<T: Send>(n: usize, act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let gate = std::sync::Barrier::new(n);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..n)
            .map(|i| {
                let (gate, act) = (&gate, &act);
                scope.spawn(move || {
                    gate.wait();
                    act(i)
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().expect("a client failed")).collect()
    })
}
