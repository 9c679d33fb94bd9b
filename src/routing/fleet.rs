//! What a pool has to do with other routers that use the same keys: what it asks of them, what it makes of their
//! answers, and its share while they cannot be asked.
//!
//! The pool stays the first gate and picks the candidate; a [`Question`] goes with each lease that takes of something
//! that is limited, or that decides on a ban. A refusal drops the lease and holds its key for a moment, so that the
//! requests behind it go elsewhere without asking again; the moment is short, because what others give back cannot be
//! heard of. While nobody can be asked each limit is divided by the number of routers, and never below one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::availability::{Block, PROBE};
use super::clock::{Moment, Tick};
use super::lease::Claim;
use super::limits::{Bound, Need, Stretch};
use super::plan::Which;
use super::rotation::Account;
use super::standing::Gate;
use super::state::State;
use super::transition::{By, Transition};

/// A key that was refused is asked about again this soon.
const AGAIN: Duration = Duration::from_millis(250);

/// What one lease asks of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The credential's name.
    pub credential: Arc<str>,
    /// The model's name here, if a limit or a ban of its own is asked about.
    pub model: Option<Arc<str>>,
    /// The limits of the credential and of the model on it.
    pub limits: Vec<Asked>,
    /// Requests at the same time.
    pub most: Option<u32>,
    /// Tokens that are reserved.
    pub tokens: u64,
    /// It decides on a ban of that scope: there is one such request in the fleet.
    pub probe: Option<Scope>,
    /// By how much each limit was divided when it was admitted here.
    pub among: u32,
}

/// One limit of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whose it is.
    pub scope: Scope,
    /// Over what time.
    pub stretch: Stretch,
    /// Requests in it; none = unlimited.
    pub requests: Option<u64>,
    /// Tokens in it; none = unlimited.
    pub tokens: Option<u64>,
}

/// Which of a lease's two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The credential.
    Credential,
    /// The model on it.
    Model,
}

/// Why the fleet says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// On account of which key.
    pub scope: Scope,
    /// What stands in the way; none = another router's probe.
    pub limit: Option<(Which, Bound)>,
    /// When it will not any more, if nothing else happens.
    pub wait: Duration,
}

/// What others are to know of a key's standing, or have told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The credential's name.
    pub credential: String,
    /// The model on it; none = the credential itself.
    pub model: Option<String>,
    /// What of it.
    pub fact: Fact,
}

/// A change of a key's standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Banned.
    Banned {
        /// For how long from now; none = for good.
        left: Option<Duration>,
        /// The whole term, to be doubled; zero if for good.
        term: Duration,
        /// The code of the last strike.
        code: u16,
    },
    /// Not banned any more.
    Cleared,
    /// Left alone because it asked for it.
    Cooling {
        /// For how long from now.
        left: Duration,
        /// The code that came with it.
        code: u16,
    },
    /// An operator has lifted all that stood against the credential and its models.
    Lifted,
}

/// What this router has admitted in one slot of a limit, and not given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// The credential's name.
    pub credential: Arc<str>,
    /// The model on it; none = the credential itself.
    pub model: Option<Arc<str>>,
    /// Over what time it counts.
    pub stretch: Stretch,
    /// How many seconds ago the slot began; 0 for a day.
    pub age: u64,
    /// Requests.
    pub requests: u64,
    /// Tokens.
    pub tokens: u64,
}

/// A limit per day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// The credential's name.
    pub credential: Arc<str>,
    /// The model on it; none = the credential itself.
    pub model: Option<Arc<str>>,
    /// Which day.
    pub stretch: Stretch,
}

/// The fleet's side of a lease. Told after the pool, outside its lock; must not wait.
pub trait Receipt: Send + Sync {
    /// The request goes upstream now.
    fn sent(&mut self);
    /// It has cost so many tokens more than were reserved.
    fn overshot(&mut self, more: u64);
    /// It is over. What is given back: the request itself if it was never sent, and tokens.
    fn settled(&mut self, unsent: bool, tokens: u64);
}

/// A key that the fleet has refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    limit: Option<(Which, Bound)>,
    /// Requests with fewer tokens may fit.
    tokens: u64,
    again: Instant,
    until: Instant,
}

impl Held {
    /// What stands in the way of a request with `tokens`, while it does.
    pub(super) fn block(&self, tokens: u64, now: Instant) -> Option<Block> {
        let spared = matches!(self.limit, Some((Which::Tokens, _))) && tokens < self.tokens;
        if self.again <= now || spared {
            return None;
        }
        Some(self.limit.map_or(Block::Gate(Gate::Probing), |(which, limit)| Block::Limit(which, limit)))
    }

    /// For how long.
    pub(super) fn left(&self, tokens: u64, now: Instant) -> Duration {
        let blocks = self.block(tokens, now).is_some();
        if blocks {
            self.until.saturating_duration_since(now)
        } else {
            Duration::ZERO
        }
    }

    /// Whether a request that ends makes room.
    pub(super) fn is_crowded(&self) -> bool {
        matches!(self.limit, Some((Which::Concurrency, _)))
    }
}

impl State {
    /// What the lease with `claim` has to ask; none if nothing that it takes is shared.
    pub(super) fn question(&mut self, claim: &Claim) -> Option<Box<Question>> {
        let member = self.members.get(claim.credential)?;
        let (credential, most, among) = (member.name.clone(), member.max_concurrent, self.among);
        let (mut limits, mut probe) = (Vec::new(), None);
        for (account, scope) in self.accounts(claim).zip([Scope::Credential, Scope::Model]) {
            limits.extend(account.asked(scope, claim.at));
            if probe.is_none() && account.standing.is_probed_by(claim.ticket) {
                probe = Some(scope);
            }
        }
        if limits.is_empty() && most.is_none() && probe.is_none() {
            return None;
        }
        let of_model = |asked: &Asked| asked.scope == Scope::Model;
        let asks_model = limits.iter().any(of_model) || probe == Some(Scope::Model);
        Some(Box::new(Question {
            credential,
            model: claim.model.clone().filter(|_| asks_model),
            limits,
            most,
            tokens: claim.tokens,
            probe,
            among,
        }))
    }

    /// Holds the key that the fleet has refused to the lease with `claim`.
    pub(super) fn hold(&mut self, claim: &Claim, denial: Denial, now: Instant) {
        let now = self.clock.tick(now).now;
        let model = claim.model.as_deref().filter(|_| denial.scope == Scope::Model);
        let wait = if denial.limit.is_none() { PROBE } else { denial.wait };
        let held = Held {
            limit: denial.limit,
            tokens: claim.tokens,
            again: now + wait.min(AGAIN),
            until: now + wait,
        };
        if let Some(account) = self.account(claim.credential, model) {
            account.held = Some(held);
        }
    }

    /// Takes over what another router has told of a key.
    pub(super) fn adopt(&mut self, word: &Word, now: Instant) -> Vec<Transition> {
        let tick = self.clock.tick(now);
        let place = self.members.iter().position(|member| *member.name == *word.credential);
        let Some(credential) = place.filter(|_| self.succession.is_none()) else { return Vec::new() };
        if word.fact == Fact::Lifted {
            return self.unban(&word.credential, now).unwrap_or_default();
        }
        let model: Option<Arc<str>> = word.model.as_deref().map(Arc::from);
        let Some(account) = self.account_made(credential, model.as_deref()) else { return Vec::new() };
        let changed = account.standing.adopt(word.fact, tick.now);
        let ends = account.standing.term_ends();
        self.next_expiry = self.next_expiry.into_iter().chain(ends).min();
        let credential = self.name_of(credential);
        let change = match word.fact {
            Fact::Banned { left, code, .. } => {
                let term = left.map_or(super::Term::Permanent, super::Term::For);
                Transition::Banned { credential, model, code, strikes: 1, term }
            }
            Fact::Cleared | Fact::Lifted => Transition::Unbanned { credential, model, by: By::Fleet },
            Fact::Cooling { left, code } => Transition::CooledDown { credential, model, code, term: left },
        };
        changed.then_some(change).into_iter().collect()
    }

    /// What was admitted since `since` of all that is limited, by default all that counts. Of a day nobody knows how much
    /// was admitted since some moment in it: it is told only where all is.
    pub(super) fn spent(&mut self, since: Option<Instant>, now: Instant) -> Vec<Spent> {
        let tick = self.clock.tick(now);
        let spent = self.named_accounts().flat_map(|(credential, model, account)| {
            let of = move |(stretch, age, requests, tokens)| Spent {
                credential: credential.clone(),
                model: model.cloned(),
                stretch,
                age,
                requests,
                tokens,
            };
            account.meter.spent(tick.moment()).map(of)
        });
        let Some(since) = since else { return spent.collect() };
        let seconds = tick.seconds_since(since);
        spent.filter(|spent| spent.stretch.is_recent(spent.age, seconds)).collect()
    }

    /// The days of now that limit something, of all that has an account.
    pub(super) fn days(&mut self, now: Instant) -> Vec<Day> {
        let at = self.clock.tick(now).moment();
        let days = self.named_accounts().flat_map(|(credential, model, account)| {
            let of = move |stretch| Day { credential: credential.clone(), model: model.cloned(), stretch };
            account.meter.days(at).map(of)
        });
        days.collect()
    }

    /// All routers together have used so many requests and tokens of a day.
    pub(super) fn hear_of(&mut self, day: &Day, used: [u64; 2], now: Instant) {
        let at = self.clock.tick(now).moment();
        let Some(credential) = self.members.iter().position(|member| member.name == day.credential) else {
            return;
        };
        if let Some(account) = self.account(credential, day.model.as_deref()) {
            account.meter.hear(day.stretch, used, at);
        }
    }

    fn named_accounts(&self) -> impl Iterator<Item = (&Arc<str>, Option<&Arc<str>>, &Account)> {
        let members = self.members.iter().map(|member| (&member.name, None, &member.account));
        let pairs = self.rows.iter().flat_map(|row| {
            row.seats.iter().filter_map(|seat| {
                let member = self.members.get(seat.candidate.credential)?;
                Some((&member.name, Some(&row.name), seat.pair.as_deref()?))
            })
        });
        members.chain(pairs)
    }

    /// What a request with `tokens` needs.
    pub(super) fn need(&self, tokens: u64) -> Need {
        Need { tokens, among: u64::from(self.among) }
    }
}

impl Account {
    /// What limits it, as the store is asked about it.
    fn asked(&self, scope: Scope, at: Moment) -> impl Iterator<Item = Asked> + '_ {
        self.meter.limited().map(move |(span, [requests, tokens])| Asked {
            scope,
            stretch: span.stretch(at),
            requests,
            tokens,
        })
    }

    /// What the fleet has refused, while that counts.
    pub(super) fn held(&self, need: Need, tick: Tick) -> Option<Block> {
        self.held.and_then(|held| held.block(need.tokens, tick.now))
    }
}
