//! The access token of a credential that signs in by a service account.
//!
//! Requests only read it: `background::tokens` exchanges the account for a token before anybody needs one, and again
//! before it ends. A request that comes before the first exchange is over waits for it, a few seconds at most; where
//! exchanges fail, requests fail at once and go elsewhere. An upstream that refuses a token makes for one exchange out
//! of turn, however many requests it refuses.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use memchr::memmem;
use tokio::sync::{watch, Notify};
use tokio::time::timeout;

use crate::secret::Secret;

/// How long a request waits for a token that is being exchanged.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two exchanges that refusals ask for.
const RENEWALS: Duration = Duration::from_secs(30);

/// One service account and its token.
pub struct Token {
    /// The credential's name, for logs.
    pub credential: Arc<str>,
    /// The account, as JSON.
    pub account: Secret,
    current: ArcSwapOption<Current>,
    /// Exchanges that are over, good or bad.
    exchanges: watch::Sender<u64>,
    wanted: Notify,
    /// The last exchange that a refusal asked for: when, and after how many others.
    renewal: Mutex<Option<(Instant, u64)>>,
}

struct Current {
    value: HeaderValue,
    until: Instant,
}

impl Token {
    /// The token of an account, before the first exchange.
    pub fn new(credential: Arc<str>, account: Secret) -> Arc<Self> {
        Arc::new(Self {
            credential,
            account,
            current: ArcSwapOption::empty(),
            exchanges: watch::Sender::new(0),
            wanted: Notify::new(),
            renewal: Mutex::default(),
        })
    }

    /// The value of `Authorization`, if there is a token that has not ended.
    pub fn known(&self) -> Option<HeaderValue> {
        let current = self.current.load();
        current.as_ref().filter(|current| current.until > Instant::now()).map(|current| current.value.clone())
    }

    /// The value of `Authorization` and for how long it is good, if there is any.
    pub fn remaining(&self) -> Option<(HeaderValue, Duration)> {
        let current = self.current.load();
        let current = current.as_ref()?;
        let left = current.until.checked_duration_since(Instant::now())?;
        Some((current.value.clone(), left))
    }

    /// Whether the last token stands in `text`.
    pub fn is_in(&self, text: &[u8]) -> bool {
        let current = self.current.load();
        let token = current.as_ref().and_then(|current| current.value.as_bytes().strip_prefix(b"Bearer "));
        token.is_some_and(|token| memmem::find(text, token).is_some())
    }

    /// The same; where no exchange is over yet, it is waited for.
    pub async fn get(&self) -> Option<HeaderValue> {
        if self.known().is_none() && *self.exchanges.borrow() == 0 {
            self.exchanged(0).await;
        }
        self.known()
    }

    /// Another token than `refused`, which an upstream has not taken. None if there is none to be had soon.
    pub async fn renewed(&self, refused: &HeaderValue) -> Option<HeaderValue> {
        let other = || self.known().filter(|value| value != refused);
        if let Some(value) = other() {
            return Some(value);
        }
        let before = self.want()?;
        self.exchanged(before).await;
        other()
    }

    /// Asks for an exchange. After how many others it comes; none if the last one that was asked for is over and was
    /// a short time ago.
    fn want(&self) -> Option<u64> {
        let done = *self.exchanges.borrow();
        let mut renewal = self.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        match *renewal {
            Some((at, before)) if at.elapsed() < RENEWALS => (before == done).then_some(before),
            _ => {
                *renewal = Some((Instant::now(), done));
                self.wanted.notify_one();
                Some(done)
            }
        }
    }

    async fn exchanged(&self, before: u64) {
        let mut exchanges = self.exchanges.subscribe();
        let _ = timeout(PATIENCE, exchanges.wait_for(|done| *done > before)).await;
    }

    /// Waits until an exchange is asked for.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// An exchange has brought a token that is good for `life`.
    pub fn publish(&self, value: HeaderValue, life: Duration) {
        self.current.store(Some(Arc::new(Current { value, until: Instant::now() + life })));
        self.exchanges.send_modify(|done| *done += 1);
    }

    /// An exchange has brought nothing. The token before it stays, as long as it lasts.
    pub fn failed(&self) {
        self.exchanges.send_modify(|done| *done += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_wherever_it_stands() {
        let token = Token::new("v".into(), Secret::new("{}"));
        assert!(!token.is_in(b"ya29.abc"));
        token.publish(HeaderValue::from_static("Bearer ya29.abc"), Duration::from_secs(60));
        assert!(token.is_in(b"you said ya29.abc!") && !token.is_in(b"Bearer ya29."));
    }
}
