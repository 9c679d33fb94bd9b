//! Who may ask: the callers' keys, what each of them may use, and how much of it.
//!
//! A [`Roster`] is the keys of one configuration: it finds the [`Client`] that a key belongs to. The master key is one
//! of them, without limits, and so is "anybody" where no key is asked for: there is one way through the door. What a
//! client has used is in its [`Account`], which goes from one roster to the next as long as the key stays, and to
//! another process by way of `ledger`. A request that is let in takes a [`Seat`]. Time is an argument, as in routing.

mod account;
mod digest;
mod ledger;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

pub use account::{Account, Counts, Full, Seat, Standing, Tally};
pub use digest::Digest;
pub use ledger::{Heir, Ledger, Note};

use crate::config::{ClientKey, Priority, Settings};
use crate::routing::Class;
use crate::secret::Secret;
use account::Allowance;

/// The name of the master key.
pub const MASTER: &str = "master";
/// The name of whoever asks where no key is needed.
pub const OPEN: &str = "anybody";
/// A longer key is none, whatever its digest would be: hashing stays cheap for us.
pub const MOST_KEY: usize = 512;

/// One caller's key.
#[derive(Debug)]
pub struct Client {
    /// Unique.
    pub name: Arc<str>,
    /// The key as it may be shown.
    pub hint: String,
    /// It may do everything.
    pub is_master: bool,
    /// Whose turn it is where requests wait.
    pub class: Class,
    /// What it has used.
    pub account: Arc<Account>,
    models: Option<Vec<String>>,
    expires: Option<SystemTime>,
}

impl Client {
    /// Whether it may ask for this model, or for each of a list of them (`a|b`).
    pub fn may_use(&self, model: &str) -> bool {
        let open = |model: &str, models: &[String]| models.iter().any(|pattern| fits(pattern, model));
        let each = |models| model.split('|').all(|model| open(model.trim(), models));
        self.models.as_deref().is_none_or(each)
    }

    /// Whether some models are closed to it.
    pub fn is_confined(&self) -> bool {
        self.models.is_some()
    }

    /// What it may ask for, as the file says it; none is everything.
    pub fn models(&self) -> Option<&[String]> {
        self.models.as_deref()
    }

    /// From when on it is refused.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Whether it is refused by now.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// The keys of one configuration.
#[derive(Debug)]
pub struct Roster {
    master: Secret,
    /// The file names a master key.
    has_master: bool,
    /// Nobody needs a key.
    open: bool,
    /// What accounts count from; another process's, where that one's were taken over.
    epoch: Mutex<Instant>,
    /// The master key first, then in the order of the file.
    clients: Vec<Arc<Client>>,
    by_key: HashMap<Digest, usize>,
}

impl Roster {
    /// The keys of `settings`. `spare` is the master key where the file has none; nobody knows it. Accounts of keys
    /// that were in `before` go on, under the limits of today.
    pub fn new(settings: &Settings, spare: Secret, before: Option<&Self>, now: Instant) -> Self {
        let server = &settings.server;
        let epoch = before.map_or(now, Self::epoch);
        let known = |digest: &Digest| before?.by_key.get(digest).and_then(|at| before?.clients.get(*at));
        let account = |digest: Digest, allowance: Allowance| match known(&digest) {
            Some(client) => {
                client.account.relimit(allowance, now);
                client.account.clone()
            }
            None => Arc::new(Account::new(digest, allowance, epoch)),
        };
        let has_master = server.master_key.is_some();
        let master = server.master_key.clone().unwrap_or(spare);
        let digest = Digest::of(master.expose().as_bytes());
        let first = Client {
            name: if server.enable_auth { MASTER } else { OPEN }.into(),
            hint: digest.hint(),
            is_master: true,
            class: Class::Normal,
            account: account(digest, Allowance::default()),
            models: None,
            expires: None,
        };
        let of_file = |key: &ClientKey| Client {
            name: key.name.as_str().into(),
            hint: key.hint.clone(),
            is_master: false,
            class: match key.priority {
                Priority::High => Class::High,
                Priority::Normal => Class::Normal,
                Priority::Low => Class::Low,
            },
            account: account(key.digest, Allowance::of(key)),
            models: key.models.clone(),
            expires: key.expires,
        };
        let of_file = settings.client_keys.iter().map(of_file);
        let clients = std::iter::once(first).chain(of_file).map(Arc::new).collect();
        let digests = settings.client_keys.iter().map(|key| key.digest).enumerate();
        let mut by_key: HashMap<Digest, usize> = digests.map(|(at, digest)| (digest, at + 1)).collect();
        by_key.insert(digest, 0);
        Self { master, has_master, open: !server.enable_auth, epoch: Mutex::new(epoch), clients, by_key }
    }

    /// Whose key is among those that a request shows; the first one, should there be several. Every key is looked at.
    pub fn known<'k>(&self, presented: impl Iterator<Item = &'k [u8]>) -> Option<&Arc<Client>> {
        let found = presented.fold(None, |known, key| {
            let found = self.owner(key);
            known.or(found)
        });
        found.or_else(|| self.clients.first().filter(|_| self.open))
    }

    fn owner(&self, key: &[u8]) -> Option<&Arc<Client>> {
        if self.master.matches(key) {
            return self.clients.first();
        }
        if self.clients.len() == 1 || key.len() > MOST_KEY {
            return None;
        }
        self.clients.get(*self.by_key.get(&Digest::of(key))?)
    }

    /// The master key, or one that nobody knows: for what the router asks of itself.
    pub fn master(&self) -> &Secret {
        &self.master
    }

    /// Whether nobody needs a key.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// All of them, the master key first; without one that nobody knows.
    pub fn clients(&self) -> &[Arc<Client>] {
        self.clients.get(usize::from(!self.has_master && !self.open)..).unwrap_or_default()
    }

    /// How many keys are good at `now`.
    pub fn valid(&self, now: SystemTime) -> usize {
        let keys = self.clients.get(usize::from(!self.has_master)..).unwrap_or_default();
        keys.iter().filter(|client| !client.is_expired(now)).count()
    }
}

/// Whether `text` is what `pattern` says, in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(left) = text.strip_prefix(start) else { return false };
    (pattern, text) = (rest, left);
    while let Some((part, rest)) = pattern.split_once('*') {
        let Some((_, left)) = text.split_once(part) else { return false };
        (pattern, text) = (rest, left);
    }
    text.ends_with(pattern)
}
