//! Luck for request ids and back-off jitter: an xorshift generator per thread, seeded by the standard library.
//!
//! Nothing secret is drawn from it; the one secret that the router makes up comes from the system.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use ring::rand::{SecureRandom, SystemRandom};

use crate::secret::Secret;

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

/// A key that nobody can guess. Should the system have no randomness, one that no header can carry.
pub fn unguessable() -> Secret {
    let mut bytes = [0; 16];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => Secret::new(format!("{:032x}", u128::from_ne_bytes(bytes))),
        Err(_) => Secret::new("\n"),
    }
}
