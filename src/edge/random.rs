//! Luck for request ids and back-off jitter: an xorshift generator per thread, seeded by the standard library.
//!
//! Nothing secret is drawn here.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

thread_local! {
    static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(std::thread::current().id()) | 1);
}

/// A source of luck.
pub struct Random;

impl Random {
    /// The next 64 bits of this thread.
    pub fn next() -> u64 {
        STATE.with(|state| {
            let mut x = state.get();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            state.set(x);
            x.wrapping_mul(0x2545_f491_4f6c_dd1d)
        })
    }
}
