//! The retry budget: how many second and further attempts there may be, over all requests.
//!
//! One failed request may be tried elsewhere; when all fail, attempts upon attempts would make the outage worse. Of the
//! requests of the last ten seconds a fifth may be tried again, and ten a second besides, so that a quiet router is not
//! held back. These are the figures of Finagle's and linkerd's retry budgets
//! (<https://linkerd.io/2-edge/reference/service-profiles/>). Each router retries among its own candidates only.

use std::time::Duration;

const SECONDS: usize = 10;
const A_SECOND: u64 = 10;
const ONE_IN: u64 = 5;

/// First and further attempts of the last ten seconds.
#[derive(Debug, Default)]
pub(super) struct Retries {
    seconds: [Second; SECONDS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    at: u64,
    requests: u64,
    retries: u64,
}

impl Retries {
    /// Whether another attempt of a request that has failed fits at `age`.
    pub(super) fn allow(&self, age: Duration) -> bool {
        let now = age.as_secs();
        let recent = self.seconds.iter().filter(|second| now - second.at.min(now) < SECONDS as u64);
        let (requests, retries) =
            recent.fold((0, 0), |(requests, retries), at| (requests + at.requests, retries + at.retries));
        retries < requests / ONE_IN + A_SECOND * SECONDS as u64
    }

    /// An attempt is made at `age`: a request's first, or `again`.
    pub(super) fn count(&mut self, again: bool, age: Duration) {
        let now = age.as_secs();
        let Some(second) = self.seconds.get_mut((now % SECONDS as u64) as usize) else { return };
        if second.at != now {
            *second = Second { at: now, ..Second::default() };
        }
        match again {
            true => second.retries += 1,
            false => second.requests += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many retries there are of `requests`, all of which fail, at one moment.
    fn granted(retries: &mut Retries, requests: u64, at: u64) -> u64 {
        let age = Duration::from_secs(at);
        let mut granted = 0;
        for _ in 0..requests {
            retries.count(false, age);
            while granted < 10 * requests && retries.allow(age) {
                retries.count(true, age);
                granted += 1;
            }
        }
        granted
    }

    #[test]
    fn a_fifth_of_the_requests_and_ten_a_second_may_be_tried_again() {
        assert_eq!(granted(&mut Retries::default(), 20, 100), 104);
        assert_eq!(granted(&mut Retries::default(), 10_000, 100), 2100);
    }

    #[test]
    fn what_was_more_than_ten_seconds_ago_is_forgotten() {
        let mut retries = Retries::default();
        assert_eq!(granted(&mut retries, 1000, 0), 300);
        assert_eq!(granted(&mut retries, 10, 9), 2);
        assert_eq!(granted(&mut retries, 100, 10), 100 + 22 - 2);
        assert!(retries.allow(Duration::from_secs(60)));
    }
}
