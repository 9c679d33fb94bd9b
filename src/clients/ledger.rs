//! What accounts remember, as data for the state file and for another process, and what becomes of them afterwards.
//!
//! After a reload there is nothing to do: the next roster has the same accounts. Another process gets the ledger, and
//! from then on a [`Note`] of every change that requests of this one still make. Keys are told from each other by
//! digests with a salt; what is kept of a key that is there no longer is left out.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::account::{Account, Books, Counts, Tally};
use super::Roster;
use crate::routing::clock::Moment;
use crate::routing::limits::Sheet;
use crate::routing::Stretch;

/// Everything that accounts remember at one moment. Times are since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// How long ago the epoch is.
    pub age: Duration,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// The salted digest of the key.
    id: String,
    in_flight: u32,
    used: Vec<Sheet>,
    counts: Counts,
}

/// Something that has become of a request of another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    pub(super) id: String,
    pub(super) change: Change,
}

/// Who is told.
pub type Heir = Arc<dyn Fn(Note) + Send + Sync>;

/// One change of an account.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Change {
    /// What it is about.
    pub(super) at: Moment,
    /// Requests under way.
    pub(super) places: i32,
    /// A request is counted, with so many tokens.
    pub(super) charged: Option<u64>,
    /// Tokens that nobody had expected.
    pub(super) overshot: u64,
    /// Requests and tokens that are given back.
    pub(super) back: (u64, u64),
    /// A request's end.
    pub(super) ended: Option<Counts>,
}

impl Change {
    pub(super) fn at(at: Moment) -> Self {
        Self { at, ..Self::default() }
    }
}

impl Ledger {
    /// The same without what passes: requests under way end with their process.
    pub fn at_rest(mut self) -> Self {
        self.entries.iter_mut().for_each(|entry| entry.in_flight = 0);
        self
    }

    /// All but the time, which goes on by itself.
    pub fn entries(&self) -> &impl Serialize {
        &self.entries
    }
}

impl Roster {
    /// The first moment that the accounts count from.
    pub fn epoch(&self) -> Instant {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the accounts remember.
    pub fn ledger(&self, salt: &str, now: Instant) -> Ledger {
        self.written(now, |account| entry(&mut account.books(), account.digest().id(salt), now))
    }

    /// What was admitted since `since` of all that is limited, by default all that counts; each with the digest by which
    /// the fleet knows the key.
    pub fn spent(&self, salt: &str, since: Option<Instant>, now: Instant) -> Vec<(String, Tally)> {
        let of = |account: &Arc<Account>| {
            let spent = account.spent(since, now);
            let id = if spent.is_empty() { String::new() } else { account.digest().id(salt) };
            spent.into_iter().map(move |tally| (id.clone(), tally))
        };
        self.clients.iter().flat_map(|client| of(&client.account)).collect()
    }

    /// The days of now that limit something, with the same digest.
    pub fn days(&self, salt: &str, now: Instant, wall: SystemTime) -> Vec<(Arc<Account>, String, Stretch)> {
        let accounts = self.clients.iter().map(|client| &client.account);
        let days =
            accounts.flat_map(|account| account.days(now, wall).into_iter().map(move |day| (account, day)));
        days.map(|(account, day)| (account.clone(), account.digest().id(salt), day)).collect()
    }

    /// What the accounts remember; from now on `heir` is told of every change.
    pub fn close(&self, heir: &Heir, now: Instant) -> Ledger {
        self.written(now, |account| {
            let mut books = account.books();
            books.heir = Some(heir.clone());
            entry(&mut books, account.id.clone(), now)
        })
    }

    fn written(&self, now: Instant, entry: impl Fn(&Account) -> Option<Entry>) -> Ledger {
        let entries = self.clients.iter().filter_map(|client| entry(&client.account));
        Ledger { age: now.saturating_duration_since(self.epoch()), entries: entries.collect() }
    }

    /// Nobody is told any more.
    pub fn reopen(&self) {
        self.clients.iter().for_each(|client| client.account.books().heir = None);
    }

    /// Takes over what accounts remembered that counted from `epoch`.
    pub fn inherit(&self, ledger: &Ledger, salt: &str, epoch: Instant) {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
        let entries: HashMap<&str, &Entry> = ledger.entries.iter().map(|e| (e.id.as_str(), e)).collect();
        for client in &self.clients {
            let mut books = client.account.books();
            books.clock.resume(epoch, ledger.age);
            let Some(at) = books.clock.latest().map(|tick| tick.moment()) else { continue };
            let Some(entry) = entries.get(client.account.digest().id(salt).as_str()) else { continue };
            books.in_flight += entry.in_flight;
            books.counts.add(&entry.counts);
            if let Some(meter) = &mut books.meter {
                meter.restore(&entry.used, at);
            }
        }
    }

    /// Hears what has become of a request of the process before this one.
    pub fn hear(&self, note: &Note) {
        let of = |client: &&Arc<super::Client>| client.account.id == note.id;
        if let Some(client) = self.clients.iter().find(of) {
            client.account.hear(&note.change);
        }
    }
}

/// None where there is nothing to tell.
fn entry(books: &mut Books, id: String, now: Instant) -> Option<Entry> {
    let at = books.clock.tick(now).moment();
    let entry = Entry {
        id,
        in_flight: books.in_flight,
        used: books.meter.as_ref().map(|meter| meter.sheets(at)).unwrap_or_default(),
        counts: books.counts,
    };
    let blank = entry.in_flight == 0 && entry.counts == Counts::default() && entry.used.is_empty();
    (!blank).then_some(entry)
}
