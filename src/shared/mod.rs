//! Several routers with the same credentials hold their limits, bans and cool-downs together, on one Redis or Valkey.
//!
//! The pool of each router stays the first gate and picks the candidate. A lease that takes of something limited, or
//! that decides on a ban, is then confirmed by the store before anything is sent: one round trip, one script that reads
//! the store's clock, looks at the rolling minute of the credential and of the model on it and at the requests at one
//! time, and charges all or nothing (`script/admit.lua`, the same rule as `routing::limits`). What nobody limits is never
//! asked about. What becomes of a lease is told afterwards, off the request's path (`worker`).
//!
//! Leases of quota taken ahead were not chosen. They spare the round trip (0.2 ms at the median on one host,
//! `tests/FIGURES.md`, before a model that takes a second to answer), but quota that lies idle at one router has to come back before another may answer 429, which is a
//! question to all routers in the very moment when all are busy, and a dead router takes its part along until it
//! expires. One script is exact at every moment, and has nothing to hand back.
//!
//! A client's key with limits is asked about in the same way, by the same script, before its request has a lease
//! (`approve`). One round trip for both would need them on one node of a cluster, and would charge a credential for who is
//! refused.
//!
//! In an outage (`circuit`) each router goes on with its part of every limit, or refuses, as configured; of a day, with its
//! part of what was left when it last looked, a second ago (`worker`). Afterwards it charges the store with what it has
//! admitted. A question that was late may still be charged by the store: it counts
//! for a minute, to the safe side.

mod answer;
mod circuit;
mod keys;
mod store;
mod ticket;
mod words;
pub mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver, UnboundedSender};

use crate::clients::{Full, Seat};
use crate::config::{OnOutage, Shared};
use crate::observe::metrics;
use crate::observe::view::StateView;
use crate::routing::{Denial, Fact, Lease, Plan, Pool, Stretch, Transition, Word};

use answer::Answer;
use circuit::Circuit;
use keys::{Keys, Taken};
use store::{Charge, Line, Scripts, Silence};
use ticket::Ticket;

/// For the last settlements, at the end of the process.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// This router among the others: one for the process, whatever its configuration.
pub struct Fleet {
    shared: Shared,
    keys: Keys,
    scripts: Scripts,
    /// This process, unlike any other.
    id: String,
    line: ArcSwapOption<Line>,
    circuit: Mutex<Circuit>,
    numbers: AtomicU64,
    /// Requests at one time, by the key of their credential.
    leases: Mutex<HashMap<String, HashSet<String>>>,
    /// What days have seen in an outage and the store does not know of: requests and tokens.
    owed: Mutex<HashMap<Taken, (i64, i64)>>,
    work: UnboundedSender<Work>,
    waiting: AtomicUsize,
    inbox: Mutex<Option<UnboundedReceiver<Work>>>,
}

/// What is to be told to the store.
enum Work {
    /// Of a lease: whether it is over, and what it has seen more or less.
    Settle { taken: Arc<Taken>, id: Arc<str>, is_over: bool, charges: Vec<Charge> },
    /// A change of a standing, of the key with that digest.
    Tell { word: Word, identity: String, at: Instant },
    /// That this router is no more.
    Leave,
}

/// What comes of a lease that was confirmed, or not.
pub enum Leave {
    /// It may be used.
    Granted(Lease),
    /// It was given back; the plan goes on.
    Again,
    /// Nobody can say, and the policy is to refuse.
    Rejected,
}

/// What comes of a client's seat.
pub enum Approval {
    /// The request may go on.
    Granted,
    /// All routers together are at a limit of the key.
    Denied(Full),
    /// Nobody can say, and the policy is to refuse.
    Rejected,
}

impl Fleet {
    /// A router that has not met the others yet. `id` is unlike that of any other process.
    pub fn new(shared: Shared, id: String) -> Arc<Self> {
        let (work, inbox) = unbounded_channel();
        Arc::new(Self {
            keys: Keys::new(&shared.namespace),
            scripts: Scripts::new(shared.timeout),
            circuit: Mutex::new(Circuit::new(shared.routers, Instant::now())),
            id,
            line: ArcSwapOption::empty(),
            numbers: AtomicU64::new(0),
            leases: Mutex::default(),
            owed: Mutex::default(),
            work,
            waiting: AtomicUsize::new(0),
            inbox: Mutex::new(Some(inbox)),
            shared,
        })
    }

    /// Confirms a lease. Takes no longer than the configured time.
    pub async fn confirm(self: &Arc<Self>, pool: &Pool, plan: &mut Plan, mut lease: Lease) -> Leave {
        let Some(question) = lease.question() else { return Leave::Granted(lease) };
        let taken = Arc::new(self.keys.taken(&question));
        let id = self.number();
        let is_counted = question.most.is_some();
        let ticket = |granted| Ticket::new(self.clone(), taken.clone(), id.clone(), is_counted, granted);
        let Some(mut line) = self.line() else {
            return match self.shared.on_outage {
                OnOutage::Reject => Leave::Rejected,
                // Admitted just before the store was lost, and not out of this router's part.
                OnOutage::LocalShare if question.among < self.among() => self.again(pool, plan, lease),
                OnOutage::LocalShare => {
                    self.owe(&taken, 1, i64::try_from(question.tokens).unwrap_or(i64::MAX));
                    lease.confirm(Box::new(ticket(None)));
                    Leave::Granted(lease)
                }
            };
        };
        let asked = Instant::now();
        let answered = self.scripts.admit(&mut line, &taken, &question, &id).await;
        metrics::asked(asked.elapsed());
        match answered {
            Ok(Answer::Granted { second, ms }) => {
                lease.confirm(Box::new(ticket(Some((second, ms, asked)))));
                Leave::Granted(lease)
            }
            Ok(Answer::Denied(denial)) => {
                pool.denied(plan, lease, denial, Instant::now());
                Leave::Again
            }
            Err(why) => {
                self.failed(&why);
                self.again(pool, plan, lease)
            }
        }
    }

    /// The same for a client's seat, before its request has any lease: nothing of a client is on the node of a credential,
    /// and who is at a limit of its own takes of no other's. A key without limits is not asked about.
    pub async fn approve(self: &Arc<Self>, seat: &mut Seat) -> Approval {
        while let Some(question) = seat.question(self.namespace()) {
            let taken = Arc::new(self.keys.seat(&question));
            let id = self.number();
            let is_counted = question.most.is_some();
            let ticket = |granted| Ticket::new(self.clone(), taken.clone(), id.clone(), is_counted, granted);
            let Some(mut line) = self.line() else {
                let among = self.among();
                match self.shared.on_outage {
                    OnOutage::Reject => {
                        seat.withdraw();
                        return Approval::Rejected;
                    }
                    OnOutage::LocalShare if question.among < among => {
                        if let Err(full) = seat.recount(Instant::now(), among) {
                            return Approval::Denied(full);
                        }
                    }
                    OnOutage::LocalShare => {
                        self.owe(&taken, 1, i64::try_from(question.tokens).unwrap_or(i64::MAX));
                        seat.confirm(Box::new(ticket(None)));
                    }
                }
                continue;
            };
            let asked = Instant::now();
            let answered = self.scripts.admit(&mut line, &taken, &question, &id).await;
            metrics::asked(asked.elapsed());
            match answered {
                Ok(Answer::Granted { second, ms }) => {
                    seat.confirm(Box::new(ticket(Some((second, ms, asked)))))
                }
                Ok(Answer::Denied(Denial { limit: Some((which, bound)), wait, .. })) => {
                    let full = Full { which, bound, wait };
                    seat.deny(full, Instant::now());
                    return Approval::Denied(full);
                }
                // It has no probe that could stand in its way.
                Ok(Answer::Denied(_)) => self.failed(&Silence::Garbled),
                Err(why) => self.failed(&why),
            }
        }
        Approval::Granted
    }

    /// A name for something that is asked about, unlike any other.
    fn number(&self) -> Arc<str> {
        format!("{}-{}", self.id, self.numbers.fetch_add(1, Ordering::Relaxed)).into()
    }

    /// Gives a lease back, so that the next one is out of this router's part.
    fn again(&self, pool: &Pool, plan: &mut Plan, lease: Lease) -> Leave {
        pool.join(self.among());
        pool.withdraw(plan, lease);
        Leave::Again
    }

    /// Tells the others what has changed here. `identity` gives the digest of a credential by its name.
    pub fn tell(&self, change: &Transition, identity: impl FnOnce(&str) -> Option<String>) {
        let Some(word) = words::of(change) else { return };
        let digest = identity(&word.credential).unwrap_or_default();
        self.put(Work::Tell { word, identity: words::identity(&digest).to_owned(), at: Instant::now() });
    }

    /// Tells the others that an operator has lifted all that stood against a credential, whoever's key it is.
    pub fn lifted(&self, credential: &str) {
        let word = Word { credential: credential.to_owned(), model: None, fact: Fact::Lifted };
        self.put(Work::Tell { word, identity: String::new(), at: Instant::now() });
    }

    /// What all routers of the fleet have in common: a salt for digests.
    pub fn namespace(&self) -> &str {
        &self.shared.namespace
    }

    /// By how much each limit is divided at this moment.
    pub fn among(&self) -> u32 {
        self.circuit().among()
    }

    /// As `/health` and the metrics show it.
    pub fn view(&self) -> StateView {
        let circuit = self.circuit();
        StateView {
            mode: match self.shared.on_outage {
                _ if circuit.is_up() => "shared",
                OnOutage::Reject if circuit.asks() => "shared",
                policy => policy.as_str(),
            },
            up: circuit.asks(),
            routers: circuit.routers(),
            since: circuit.since().elapsed(),
            outages: circuit.outages(),
        }
    }

    /// The last words of the process: waits, in a thread, until all is settled, for a second at most.
    pub fn leave(&self) {
        self.put(Work::Leave);
        let begun = Instant::now();
        while self.waiting.load(Ordering::SeqCst) > 0 && begun.elapsed() < LAST_WORDS {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn put(&self, work: Work) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        if self.work.send(work).is_err() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// The line, while it is relied on.
    fn line(&self) -> Option<Line> {
        self.line.load().as_deref().cloned()
    }

    /// The store has not answered: from now on nobody asks until it has given a sign of life.
    fn failed(&self, why: &Silence) {
        let mut circuit = self.circuit();
        let news = circuit.failed(Instant::now());
        let routers = circuit.routers();
        self.line.store(None);
        drop(circuit);
        if !news {
            return;
        }
        match self.shared.on_outage {
            OnOutage::LocalShare => log::warn!(
                "the shared state is out ({why}): each limit is divided by {routers} routers until it is back"
            ),
            OnOutage::Reject => {
                log::warn!("the shared state is out ({why}): limited requests are refused until it is back");
            }
        }
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The requests at one time that are under way, by the key of their credential.
    fn held(&self) -> Vec<(String, Vec<String>)> {
        let mut leases = self.leases();
        leases.retain(|_, ids| !ids.is_empty());
        leases.iter().map(|(key, ids)| (key.clone(), ids.iter().cloned().collect())).collect()
    }

    /// Notes what the store is to be told of the days in `taken` when it is back. Of a rolling window the pool itself
    /// knows what was admitted when.
    fn owe(&self, taken: &Taken, requests: i64, tokens: i64) {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        for window in taken.windows.iter().filter(|(_, stretch)| matches!(stretch, Stretch::Day { .. })) {
            let (asked, cost) = owed.entry(taken.only(window.clone())).or_default();
            *asked = asked.saturating_add(requests);
            *cost = cost.saturating_add(tokens);
        }
    }

    /// What was noted so, once.
    fn debts(&self) -> HashMap<Taken, (i64, i64)> {
        std::mem::take(&mut self.owed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn leases(&self) -> MutexGuard<'_, HashMap<String, HashSet<String>>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
