//! Who may look at `/vhealth` in a browser, which has no header for a key: a form takes the key once, and a cookie stands
//! for it from then on.
//!
//! The cookie is `EXPIRES.NUMBER.WHO.TAG`, the tag an HMAC-SHA256 over the others under a key that is derived (PBKDF2,
//! RFC 8018) from the master key. So it holds nothing secret, is worth nothing when it is over or when the master key
//! has changed, and is understood after a reload, by the process after an upgrade and by every router of a fleet, with
//! nothing kept. The derivation is slow on purpose: whoever gets hold of a cookie is not to find a short key by it.
//! Wrong keys are counted by address, in a sketch of fixed size; the login form is the only place where a browser would
//! go on guessing for somebody.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use http::header::COOKIE;
use http::HeaderMap;
use pingora_limits::rate::Rate;
use ring::digest::{digest, SHA256};
use ring::{hmac, pbkdf2};
use tokio::sync::Semaphore;

use super::random::Random;
use crate::clients::{Client, Roster};
use crate::hex::hex;

/// The cookie.
const NAME: &str = "auto_ai_router_session";
/// How long one login lasts.
const LASTS: Duration = Duration::from_secs(12 * 3600);
const ROUNDS: NonZeroU32 = NonZeroU32::new(100_000).unwrap();
const SALT: &[u8] = b"auto-ai-router session 1";
/// Wrong keys from one address in a minute, and from all together.
const GUESSES: isize = 10;
const ALL_GUESSES: isize = 300;
const MINUTE: Duration = Duration::from_secs(60);
/// How many sessions that were ended early are remembered.
const ENDED: usize = 1024;
/// How many browsers are kept up to date at one time.
const WATCHING: usize = 16;

/// The visitors of one process; what outlasts a reload is shared.
pub struct Visitors {
    /// Depends on the master key.
    key: OnceLock<hmac::Key>,
    lasting: Arc<Lasting>,
}

struct Lasting {
    guesses: LazyLock<Rate>,
    ended: Mutex<VecDeque<String>>,
    watching: Arc<Semaphore>,
}

impl Default for Visitors {
    fn default() -> Self {
        let lasting = Lasting {
            guesses: LazyLock::new(|| Rate::new(MINUTE)),
            ended: Mutex::default(),
            watching: Arc::new(Semaphore::new(WATCHING)),
        };
        Self { key: OnceLock::new(), lasting: Arc::new(lasting) }
    }
}

impl Visitors {
    /// The same with another configuration.
    pub fn renewed(&self) -> Self {
        Self { key: OnceLock::new(), lasting: self.lasting.clone() }
    }

    /// The places of those who are kept up to date.
    pub fn watching(&self) -> Arc<Semaphore> {
        self.lasting.watching.clone()
    }

    /// Whether somebody at this address has shown too many wrong keys of late, or all together have.
    pub fn is_guessing(&self, address: Option<IpAddr>) -> bool {
        let guesses = &self.lasting.guesses;
        guesses.observe(&network(address), 0) >= GUESSES || guesses.observe(&"all", 0) >= ALL_GUESSES
    }

    /// A wrong key has been shown.
    pub fn guessed(&self, address: Option<IpAddr>) {
        self.lasting.guesses.observe(&network(address), 1);
        self.lasting.guesses.observe(&"all", 1);
    }

    /// `Set-Cookie` of a new session of `client`. The first one takes tens of milliseconds.
    pub fn begin(&self, roster: &Roster, client: &Client, secure: bool, now: SystemTime) -> String {
        let number = Random::next();
        let claim = format!("{:x}.{number:016x}.{}", seconds(now + LASTS), who(client));
        let tag = hmac::sign(self.key(roster), claim.as_bytes());
        cookie(&format!("{claim}.{}", hex(tag.as_ref())), LASTS, secure)
    }

    /// Ends the session of a request: the `Set-Cookie` that takes it from the browser. It is not taken any more, either.
    pub fn end(&self, headers: &HeaderMap, roster: &Roster, secure: bool, now: SystemTime) -> String {
        if self.knows(headers, roster, now) {
            let mut ended = self.lasting.ended.lock().unwrap_or_else(PoisonError::into_inner);
            if ended.len() == ENDED {
                ended.pop_front();
            }
            ended.extend(presented(headers).map(str::to_owned));
        }
        cookie("", Duration::ZERO, secure)
    }

    /// Whether the request shows a session that lasts, of a key that is still good.
    pub fn knows(&self, headers: &HeaderMap, roster: &Roster, now: SystemTime) -> bool {
        presented(headers).is_some_and(|token| self.verify(token, roster, now).is_some())
    }

    fn verify(&self, token: &str, roster: &Roster, now: SystemTime) -> Option<()> {
        let (claim, tag) = token.rsplit_once('.')?;
        let mut parts = claim.split('.');
        let (expires, _, whose) = (parts.next()?, parts.next()?, parts.next()?);
        hmac::verify(self.key(roster), claim.as_bytes(), &unhex(tag)?).ok()?;
        let lasts = u64::from_str_radix(expires, 16).ok()? > seconds(now);
        let mut good = roster.clients().iter().filter(|client| !client.is_expired(now));
        let is_good = good.any(|client| who(client) == whose);
        let ended = self.lasting.ended.lock().unwrap_or_else(PoisonError::into_inner);
        (lasts && is_good && !ended.iter().any(|known| known == token)).then_some(())
    }

    fn key(&self, roster: &Roster) -> &hmac::Key {
        self.key.get_or_init(|| {
            let master = roster.master().expose().as_bytes();
            let mut key = [0; 32];
            pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, SALT, master, &mut key);
            hmac::Key::new(hmac::HMAC_SHA256, &key)
        })
    }
}

/// What names a client's key in a session: another name or another key is another.
fn who(client: &Client) -> String {
    let named = digest(&SHA256, format!("{}\n{}", client.name, client.hint).as_bytes());
    hex(named.as_ref().get(..8).unwrap_or_default())
}

/// Whom an address stands for: of IPv6, one has a whole network of them.
fn network(address: Option<IpAddr>) -> Option<IpAddr> {
    match address?.to_canonical() {
        IpAddr::V6(ip) => Some(IpAddr::V6((u128::from(ip) >> 64 << 64).into())),
        ip => Some(ip),
    }
}

/// The token in the cookies of a request; the first one if there are several.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == NAME).map(|(_, token)| token).filter(|token| token.len() < 256)
}

fn cookie(token: &str, lasts: Duration, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{NAME}={token}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}", lasts.as_secs())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use http::HeaderValue;

    use super::*;
    use crate::config::{self, Source};
    use crate::secret::Secret;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    /// The keys of a router: the master key, and those of two clients of which one is good for a minute.
    fn roster(master: &str) -> Roster {
        let text = format!(
            "server: {{master_key: {master}}}\nclient_keys:\n  - {{name: ada, key: sk-ada-0123456789abcdef}}\n  \
             - {{name: bob, key: sk-bob-0123456789abcdef, expires: 1970-01-01T00:01:00Z}}\n\
             credentials: [{{name: a, api_key: sk-a-0123456789, base_url: 'http://127.0.0.1:9'}}]\n"
        );
        let source = Source { path: Path::new("c.yaml"), text: &text };
        let missing = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let loaded = config::load(source, &|_| None, &missing, SystemTime::UNIX_EPOCH);
        let report = loaded.render(false);
        Roster::new(
            &loaded.settings.expect(&report),
            Secret::new("sk-spare-0123456789"),
            None,
            Instant::now(),
        )
    }

    fn master() -> Roster {
        roster("sk-master-0123456789")
    }

    /// A session of one of them, by its place.
    fn begun(visitors: &Visitors, roster: &Roster, client: usize) -> String {
        visitors.begin(roster, &roster.clients()[client], false, NOW)
    }

    /// What a browser sends back of a `Set-Cookie`.
    fn sent(cookie: &str) -> HeaderMap {
        let pair = cookie.split(';').next().unwrap();
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&format!("theme=dark; {pair}")).unwrap())])
    }

    #[test]
    fn a_session_lasts_its_time_and_no_longer() {
        let visitors = Visitors::default();
        let cookie = begun(&visitors, &master(), 0);
        assert!(cookie.contains("; HttpOnly; SameSite=Strict") && !cookie.contains("Secure"));
        assert!(!cookie.contains("sk-"));
        assert!(visitors.knows(&sent(&cookie), &master(), NOW + LASTS - Duration::from_secs(1)));
        assert!(!visitors.knows(&sent(&cookie), &master(), NOW + LASTS));
        let secure = visitors.begin(&master(), &master().clients()[0], true, NOW);
        assert!(secure.ends_with("; Secure"));
    }

    #[test]
    fn a_session_is_known_by_all_with_the_same_key_and_by_nobody_else() {
        let cookie = begun(&Visitors::default(), &master(), 0);
        assert!(Visitors::default().knows(&sent(&cookie), &master(), NOW));
        assert!(!Visitors::default().knows(&sent(&cookie), &roster("sk-other-0123456789"), NOW));
    }

    #[test]
    fn a_session_ends_with_the_key_that_it_stands_for() {
        let (visitors, minute) = (Visitors::default(), Duration::from_secs(60));
        let [ada, bob] = [1, 2].map(|client| sent(&begun(&visitors, &master(), client)));
        assert!(visitors.knows(&ada, &master(), NOW + minute) && visitors.knows(&bob, &master(), NOW));
        assert!(!visitors.knows(&bob, &master(), NOW + minute));
    }

    #[test]
    fn a_forged_session_is_none() {
        let visitors = Visitors::default();
        let cookie = begun(&visitors, &master(), 0);
        let token = cookie.split(['=', ';']).nth(1).unwrap().to_owned();
        let later = token.replacen("a8c0", "a8c1", 1);
        assert_ne!(later, token);
        for forged in [
            &later,
            &token[..token.len() - 2],
            "",
            ".",
            "..",
            "ffffffff.0.0.",
            "ffffffff.0.0.é",
            &"f".repeat(300),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_bytes(format!("{NAME}={forged}").as_bytes()).unwrap());
            assert!(!visitors.knows(&headers, &master(), NOW), "{forged}");
        }
        assert!(!visitors.knows(&HeaderMap::new(), &master(), NOW));
    }

    #[test]
    fn a_session_that_was_ended_is_over_after_a_reload_too() {
        let visitors = Visitors::default();
        let (one, other) = (begun(&visitors, &master(), 0), begun(&visitors, &master(), 0));
        assert!(visitors.end(&sent(&one), &master(), false, NOW).contains("Max-Age=0"));
        for visitors in [&visitors, &visitors.renewed()] {
            assert!(!visitors.knows(&sent(&one), &master(), NOW));
            assert!(visitors.knows(&sent(&other), &master(), NOW));
        }
    }

    #[test]
    fn guesses_are_bounded_for_each_network() {
        let visitors = Visitors::default();
        let at = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        (0..GUESSES).for_each(|_| visitors.guessed(at("2001:db8::1")));
        assert!(visitors.is_guessing(at("2001:db8::2")) && !visitors.is_guessing(at("2001:db9::1")));
        assert!(visitors.renewed().is_guessing(at("2001:db8::3")));
        (0..GUESSES).for_each(|_| visitors.guessed(at("192.0.2.1")));
        assert!(visitors.is_guessing(at("::ffff:192.0.2.1")) && !visitors.is_guessing(at("192.0.2.2")));
        (0..ALL_GUESSES).for_each(|_| visitors.guessed(at("192.0.2.3")));
        assert!(visitors.is_guessing(at("192.0.2.4")));
    }
}
