//! Exchanges service accounts for access tokens: each account at start, again when four fifths of a token's life are over,
//! and when an upstream has refused the token. Failures are repeated ever more rarely.
//!
//! yup-oauth2 signs and posts. Its own cache is not used, because it keeps an error body as a token that never ends, and
//! lets every waiting caller exchange for itself: each exchange here has an authenticator of its own, and each account
//! one task. It sets no time limit on a stalled body, so there is one here; it panics on an address that is none, so the
//! account is looked at before; and it logs what it sends, so `observe::logging` holds it to warnings.
//! Sources: yup-oauth2 12.1.2; RFC 7523; Google, "Using OAuth 2.0 for server to server applications".

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::future::join_all;
use futures::FutureExt;
use http::HeaderValue;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::time::timeout;
use yup_oauth2::{parse_service_account_key, ServiceAccountAuthenticator};

use crate::edge::course::Live;
use crate::edge::random::Random;
use crate::edge::token::Token;
use crate::providers::service_account;
use crate::secret::Secret;

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// For a whole exchange.
const PATIENCE: Duration = Duration::from_secs(10);
/// After the first failure; doubled by each further one.
const AGAIN: Duration = Duration::from_secs(1);
const MOST_AGAIN: Duration = Duration::from_secs(300);
/// A token that lives shorter than this is no token.
const LEAST_LIFE: Duration = Duration::from_secs(1);

/// The service.
pub struct Tokens(pub Arc<Live>);

#[async_trait]
impl BackgroundService for Tokens {
    async fn start(&self, shutdown: ShutdownWatch) {
        loop {
            let edge = self.0.edge();
            let gateway = &edge.gateway;
            let tell = |why: &str| gateway.scrubber.scrub(why).into_owned();
            let keeping = gateway.tokens().map(|token| keep(token, PATIENCE, shutdown.clone(), tell));
            tokio::select! {
                _ = join_all(keeping) => {}
                () = edge.courses.changed() => continue,
            }
            tokio::select! {
                () = edge.courses.changed() => {}
                () = super::down(shutdown.clone()) => return,
            }
        }
    }
}

/// Keeps one token fresh until the shutdown. `tell` takes the secrets out of a text.
async fn keep(token: &Token, patience: Duration, mut shutdown: ShutdownWatch, tell: impl Fn(&str) -> String) {
    let mut failures = 0;
    // What an earlier configuration or another process has got is good for a while.
    if let Some((_, left)) = token.remaining() {
        tokio::select! {
            () = tokio::time::sleep(jittered(left.mul_f64(0.8))) => {}
            () = token.wanted() => {}
            _ = shutdown.wait_for(|down| *down) => return,
        }
    }
    loop {
        let exchanging = AssertUnwindSafe(exchange(&token.account, patience)).catch_unwind();
        let pause = match exchanging.await.unwrap_or_else(|_| Err("the exchange panicked".to_owned())) {
            Ok((value, life)) => {
                failures = 0;
                token.publish(value, life);
                jittered(life.mul_f64(0.8))
            }
            Err(why) => {
                failures += 1;
                token.failed();
                let pause = jittered(back_off(failures));
                let (name, why) = (token.credential.escape_debug(), tell(&why));
                log::warn!("{name}: no access token, next try in {} s: {why}", pause.as_secs().max(1));
                pause
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = token.wanted() => {}
            _ = shutdown.wait_for(|down| *down) => return,
        }
    }
}

/// One exchange: the value of `Authorization`, and for how long it is good.
async fn exchange(account: &Secret, patience: Duration) -> Result<(HeaderValue, Duration), String> {
    if let Some(fault) = service_account::fault(account.expose()) {
        return Err(fault);
    }
    let key = parse_service_account_key(account.expose()).map_err(|why| why.to_string())?;
    let exchanging = async {
        let authenticator =
            ServiceAccountAuthenticator::builder(key).build().await.map_err(|e| e.to_string())?;
        authenticator.token(&[SCOPE]).await.map_err(|e| e.to_string())
    };
    let token = timeout(patience, exchanging).await.map_err(|_| "no answer in time")??;
    // What is an error of the server's in a shape that the library does not know is an empty token to it.
    let text = token.token().filter(|text| !text.is_empty()).ok_or("the answer holds no token")?;
    let ends = token.expiration_time().ok_or("the answer does not say how long the token lives")?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ends = Duration::from_secs(u64::try_from(ends.unix_timestamp()).unwrap_or_default());
    let life = ends.saturating_sub(now);
    if life < LEAST_LIFE {
        return Err("the token has ended already".to_owned());
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| "the token is no text")?;
    value.set_sensitive(true);
    Ok((value, life))
}

fn back_off(failures: u32) -> Duration {
    AGAIN.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1))).min(MOST_AGAIN)
}

/// A tenth more or less, so that many routers do not ask at one time.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.9 + (Random::next() % 201) as f64 / 1000.0)
}

#[cfg(test)]
mod tests;
