//! What a pool remembers, as data, and what happens afterwards to the leases that it has given out. Both go to the
//! pool that takes its place: after a reload in this process, after an upgrade in the next one.
//!
//! Copying counts is not enough, because streams go on: a lease of the old pool is settled minutes later, and its
//! failure is a strike. So a closed pool admits nothing, and each thing that becomes of its leases is a [`Note`] for its
//! heir. Seconds and tickets are the same in both pools, since the heir takes over the clock's epoch and goes on
//! counting tickets. Limits belong to a name, so counts are kept for it; strikes and bans belong to a key, so they are
//! kept only where the key is the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::catalog::Catalog;
use super::clock::{Moment, Tick};
use super::lease::Claim;
use super::limits::Sheet;
use super::rotation::Account;
use super::standing::Stood;
use super::state::State;
use super::transition::Transition;
use crate::providers::verdict::{Blame, Next, Verdict};

/// Everything a pool remembers at one moment. Times are since its epoch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// The pool's first moment; it means nothing to another process.
    #[serde(skip)]
    pub epoch: Option<Instant>,
    age: Duration,
    tickets: u64,
    accounts: Vec<Entry>,
    /// The models that were learned, by credential.
    learned: Vec<(String, Vec<String>)>,
}

/// A credential, or a model on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    credential: String,
    model: Option<String>,
    in_flight: u32,
    /// Tokens that those under way have taken.
    #[serde(default)]
    reserved: u64,
    #[serde(default)]
    used: Vec<Sheet>,
    standing: Option<Stood>,
}

/// Something that has become of a lease of a closed pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    credential: String,
    model: Option<String>,
    ticket: u64,
    #[serde(flatten)]
    at: Moment,
    tokens: u64,
    cost: u64,
    sent: bool,
    event: Event,
}

/// What it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Event {
    Sent,
    Overshot,
    Released,
    Succeeded,
    Failed {
        code: u16,
        blame: Blame,
        cool_down: Option<Duration>,
        #[serde(default)]
        out_for_the_day: bool,
        may_be_poison: bool,
    },
}

/// Who takes notes. Called under the pool's lock, so it must not wait.
pub type Heir = Arc<dyn Fn(Note) + Send + Sync>;

/// Where the notes of a closed pool go.
pub(super) enum Succession {
    /// Nobody takes them yet.
    Open(Vec<Note>),
    Settled(Heir),
}

impl Ledger {
    /// The same for a time without a process: nothing is in flight.
    pub fn at_rest(mut self) -> Self {
        for entry in &mut self.accounts {
            entry.in_flight = 0;
            entry.reserved = 0;
            if let Some(standing) = &mut entry.standing {
                standing.rest();
            }
        }
        self.accounts.retain(|entry| !entry.is_blank());
        self
    }

    /// What is remembered, without when: equal as long as nothing has changed.
    pub fn entries(&self) -> impl Serialize + '_ {
        (&self.accounts, &self.learned)
    }
}

impl State {
    /// Closes the books, and says what is in them.
    pub(super) fn close(&mut self, now: Instant) -> Ledger {
        self.succession = Some(Succession::Open(Vec::new()));
        self.queue.dissolve();
        self.ledger(now)
    }

    /// What is in the books.
    pub(super) fn ledger(&mut self, now: Instant) -> Ledger {
        let tick = self.clock.tick(now);
        let epoch = self.clock.epoch().unwrap_or(now);
        let entry = |name: &Arc<str>, model, account| Entry::of(name, model, account, (epoch, tick));
        let members = self.members.iter().map(|member| entry(&member.name, None, &member.account));
        let pairs = self.rows.iter().flat_map(|row| {
            let pairs = row.seats.iter().filter_map(|seat| Some((seat, seat.pair.as_deref()?)));
            pairs.filter_map(|(seat, pair)| {
                let member = self.members.get(seat.candidate.credential)?;
                Some(entry(&member.name, Some(&row.name), pair))
            })
        });
        let learned = self.members.iter().enumerate().filter_map(|(at, member)| {
            let names = self.catalog.learned(at)?;
            Some((member.name.to_string(), names.iter().map(ToString::to_string).collect()))
        });
        Ledger {
            epoch: Some(epoch),
            age: tick.age,
            tickets: self.tickets,
            accounts: members.chain(pairs).filter(|entry| !entry.is_blank()).collect(),
            learned: learned.collect(),
        }
    }

    /// Says who takes the notes of these closed books; those that have waited go first.
    pub(super) fn bequeath(&mut self, heir: Heir) {
        if let Some(Succession::Open(waiting)) = self.succession.replace(Succession::Settled(heir.clone())) {
            waiting.into_iter().for_each(|note| heir(note));
        }
    }

    /// Takes over what another pool remembered, whose epoch was `epoch`. `keeps` says of a credential whether its key
    /// is still the same.
    pub(super) fn inherit(&mut self, ledger: &Ledger, epoch: Instant, keeps: &dyn Fn(&str) -> bool) {
        self.clock.resume(epoch, ledger.age);
        let now = self.clock.peek(epoch).moment();
        self.tickets = ledger.tickets;
        for member in &mut self.members {
            member.stranger = if keeps(&member.name) { 0 } else { ledger.tickets };
        }
        let names = self.members.iter().enumerate().map(|(at, member)| (member.name.clone(), at));
        let places: HashMap<Arc<str>, usize> = names.collect();
        for (name, models) in ledger.learned.iter().filter(|(name, _)| keeps(name)) {
            if let Some(at) = places.get(name.as_str()) {
                Catalog::learn(&mut self.catalog, *at, models.clone());
            }
        }
        for entry in &ledger.accounts {
            let Some(&at) = places.get(entry.credential.as_str()) else { continue };
            let standing = entry.standing.as_ref().filter(|_| keeps(&entry.credential));
            if let Some(account) = self.account_made(at, entry.model.as_deref()) {
                account.in_flight += entry.in_flight;
                account.reserved += entry.reserved;
                account.meter.restore(&entry.used, now);
                if let Some(standing) = standing {
                    account.standing.resume(standing, epoch);
                }
            }
        }
        self.next_expiry = Some(epoch);
    }

    /// Enters what has become of a lease of the pool before this one.
    pub(super) fn enter(&mut self, note: &Note, now: Instant) -> Vec<Transition> {
        let tick = self.clock.tick(now);
        let place = self.members.iter().position(|member| *member.name == note.credential);
        let Some(credential) = place else { return Vec::new() };
        let mut claim = Claim {
            credential,
            model: note.model.as_deref().map(Arc::from),
            ticket: note.ticket,
            at: note.at,
            tokens: note.tokens,
            cost: note.cost,
            sent: note.sent,
        };
        match &note.event {
            Event::Sent => self.sent(&mut claim),
            Event::Overshot => self.overshoot(&mut claim),
            Event::Released => self.release(&claim),
            Event::Succeeded | Event::Failed { .. } if self.is_stranger(&claim) => {}
            Event::Succeeded => return self.succeeded(&claim, now),
            Event::Failed { code, blame, cool_down, out_for_the_day, may_be_poison } => {
                self.note(&claim, || note.event.clone());
                let (cool_down, out_for_the_day) = (*cool_down, *out_for_the_day);
                let verdict = Verdict::new(*blame, Next::Stop, *code);
                let verdict = Verdict { cool_down, out_for_the_day, ..verdict };
                return self.blame(&claim, &verdict, *may_be_poison, tick);
            }
        }
        Vec::new()
    }

    /// Whether a claim is from a time when its credential had another key, so that what comes of it says nothing about
    /// the key that is there now.
    fn is_stranger(&self, claim: &Claim) -> bool {
        self.members.get(claim.credential).is_some_and(|member| claim.ticket <= member.stranger)
    }

    /// Tells the heir, if there is one or is to be one.
    pub(super) fn note(&mut self, claim: &Claim, event: impl FnOnce() -> Event) {
        let Some(succession) = &mut self.succession else { return };
        let Some(member) = self.members.get(claim.credential) else { return };
        let note = Note {
            credential: member.name.to_string(),
            model: claim.model.as_ref().map(ToString::to_string),
            ticket: claim.ticket,
            at: claim.at,
            tokens: claim.tokens,
            cost: claim.cost,
            sent: claim.sent,
            event: event(),
        };
        match succession {
            Succession::Open(waiting) => waiting.push(note),
            Succession::Settled(heir) => heir(note),
        }
    }

    /// Changes as they are to be told: what changes in closed books is told by the heir.
    pub(super) fn news(&self, changes: Vec<Transition>) -> Vec<Transition> {
        if self.succession.is_some() {
            return Vec::new();
        }
        changes
    }

    /// The account of a model on a credential, made if need be; none where the credential does not serve the model.
    pub(super) fn account_made(&mut self, credential: usize, model: Option<&str>) -> Option<&mut Account> {
        let Some(model) = model else { return self.account(credential, None) };
        let latest: Option<Tick> = self.clock.latest();
        let limits = self.catalog.limits(credential, model);
        let seat = self.rows.row(&self.catalog, Some(model), latest)?.seat(credential)?;
        Some(seat.pair.get_or_insert_with(|| Box::new(Account::new(&limits))))
    }
}

impl Entry {
    fn of(
        credential: &Arc<str>,
        model: Option<&Arc<str>>,
        account: &Account,
        (epoch, tick): (Instant, Tick),
    ) -> Self {
        Self {
            credential: credential.to_string(),
            model: model.map(ToString::to_string),
            in_flight: account.in_flight,
            reserved: account.reserved,
            used: account.meter.sheets(tick.moment()),
            standing: account.standing.stood(epoch),
        }
    }

    fn is_blank(&self) -> bool {
        self.in_flight == 0 && self.used.is_empty() && self.standing.is_none()
    }
}
