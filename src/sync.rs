//! The locks and counters that requests share: std's own.
//!
//! In tests with the feature `shuttle` (`make check-threads`) they are those of a scheduler that runs one thread at a time
//! and tries the orders in which threads can meet, many thousands of them. shuttle was chosen over loom because what is
//! shared here is behind locks, or counts by itself: no weak ordering is relied upon, and loom's search of all orders
//! does not end for the pool.

#[cfg(not(all(test, feature = "shuttle")))]
pub use std::sync::{atomic, Mutex, MutexGuard};

#[cfg(all(test, feature = "shuttle"))]
pub use shuttle::sync::{atomic, Mutex, MutexGuard};

/// For tests of what threads do to each other.
#[cfg(test)]
pub mod threads {
    #[cfg(feature = "shuttle")]
    pub use shuttle::{future::block_on, thread};

    #[cfg(not(feature = "shuttle"))]
    pub use {futures::executor::block_on, std::thread};

    /// Runs a story in which threads meet: in as many orders as `SHUTTLE_ORDERS` says, or a hundred times as it happens.
    pub fn in_many_orders(story: fn()) {
        #[cfg(feature = "shuttle")]
        {
            let orders =
                std::env::var("SHUTTLE_ORDERS").ok().and_then(|orders| orders.parse().ok()).unwrap_or(10_000);
            shuttle::check_random(story, orders / 2);
            shuttle::check_pct(story, orders / 2, 3);
        }
        #[cfg(not(feature = "shuttle"))]
        (0..100).for_each(|_| story());
    }

    /// The same act on each of so many threads; returns when all are over.
    pub fn together(threads: usize, act: impl Fn(usize) + Clone + Send + 'static) {
        let begin = |number| {
            let act = act.clone();
            thread::spawn(move || act(number))
        };
        let all: Vec<_> = (0..threads).map(begin).collect();
        all.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
    }
}
