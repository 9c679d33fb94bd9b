//! What a router tells the store beside its requests, and hears from it: signs of life twice a second, settlements as they
//! come, and what to do when the store is lost and found.
//!
//! One task for the process, which goes on while the process drains, until its last word.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures::future::join_all;
use tokio::sync::mpsc::UnboundedReceiver;

use super::circuit::Reached;
use super::keys::{Owner, Taken};
use super::store::{self, Beat, Charge, Line, Silence};
use super::{words, Fleet, Work};
use crate::clients::Tally;
use crate::edge::course::Live;
use crate::routing::{Pool, Spent, Stretch};

const BEAT: Duration = Duration::from_millis(500);
/// How often it is tried again in an outage.
const RETRY: Duration = Duration::from_secs(1);
/// Leases are held for longer this often: three times in their life.
const RENEW: Duration = Duration::from_secs(10);
/// The days that limit something are looked at this often, so that little of them is unknown when the store is lost.
const LOOK: Duration = Duration::from_secs(1);
/// So many settlements are under way at once.
const MOST: usize = 256;
/// Words that wait for the end of an outage.
const MOST_WORDS: usize = 1024;

/// What the task remembers from one beat to the next.
struct Worker {
    fleet: Arc<Fleet>,
    live: Arc<Live>,
    /// The last change that is known.
    known: u64,
    /// Since when the store remembers; zero before it was met.
    born: u64,
    renewed: Instant,
    looked: Instant,
    /// Words that could not be told yet.
    unsaid: Vec<Work>,
}

/// Meets the store, if that is there, and works for `fleet` until it leaves. `live` is whose standing and use it tells.
/// Comes back after the first try: what a process inherits later has been charged by the one before it.
pub async fn begin(fleet: Arc<Fleet>, live: Arc<Live>) {
    let inbox = fleet.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(inbox) = inbox else { return };
    let mut worker = Worker {
        fleet,
        live,
        known: 0,
        born: 0,
        renewed: Instant::now(),
        looked: Instant::now(),
        unsaid: Vec::new(),
    };
    let next = Instant::now() + worker.beat().await;
    // It outlives the shutdown, since requests do.
    tokio::spawn(worker.run(inbox, next));
}

impl Worker {
    async fn run(mut self, mut inbox: UnboundedReceiver<Work>, mut next: Instant) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(next.into()) => next = Instant::now() + self.beat().await,
                count = inbox.recv_many(&mut batch, MOST) => {
                    let leaves = self.work(&mut batch).await;
                    self.fleet.waiting.fetch_sub(count, Ordering::SeqCst);
                    if leaves || count == 0 {
                        return;
                    }
                }
            }
        }
    }

    /// Tells the next few things. Whether the last one was that it leaves.
    async fn work(&mut self, batch: &mut Vec<Work>) -> bool {
        let (mut settled, mut leaves) = (Vec::new(), false);
        for work in batch.drain(..) {
            match work {
                Work::Settle { .. } => settled.push(work),
                Work::Tell { .. } => self.unsaid.push(work),
                Work::Leave => leaves = true,
            }
        }
        if let Some(line) = self.fleet.line() {
            let settling = join_all(settled.iter().map(|work| settle(&self.fleet, line.clone(), work)));
            self.heed::<()>(settling.await.into_iter().collect());
            self.say(line).await;
        } else {
            settled.iter().for_each(|work| defer(&self.fleet, work));
        }
        self.unsaid.truncate(MOST_WORDS);
        if leaves {
            if let Some(mut line) = self.fleet.line() {
                let _ = self.ask(&mut line, true).await;
            }
        }
        leaves
    }

    /// Tells what has changed here, in that order.
    async fn say(&mut self, mut line: Line) {
        let keys = [self.fleet.keys.fleet("standings"), self.fleet.keys.fleet("changes")];
        while let Some(Work::Tell { word, identity, at }) = self.unsaid.first() {
            if let Some(left) = words::left(word, at.elapsed()) {
                let value = words::value(word, identity, &self.fleet.id);
                let told = self.fleet.scripts.tell(&mut line, &keys, &words::field(word), left, &value).await;
                if self.heed(told).is_none() {
                    return;
                }
            }
            self.unsaid.remove(0);
        }
    }

    /// One sign of life. How long until the next one.
    async fn beat(&mut self) -> Duration {
        let fleet = self.fleet.clone();
        let line = match fleet.line() {
            Some(line) => Ok(line),
            None => store::connect(&fleet.shared).await,
        };
        let beat = match line {
            Ok(mut line) => self.ask(&mut line, false).await.map(|beat| (line, beat)),
            Err(why) => Err(why),
        };
        match beat {
            Ok((line, beat)) => self.heard(line, beat).await,
            Err(why) => {
                log::debug!("the shared state: {why}");
                self.heed::<()>(Err(why));
            }
        }
        self.pool().join(fleet.among());
        if fleet.line().is_some() {
            BEAT
        } else {
            RETRY
        }
    }

    async fn ask(&self, line: &mut Line, leaves: bool) -> Result<Beat, Silence> {
        let keys = ["routers", "standings", "changes", "born"].map(|what| self.fleet.keys.fleet(what));
        self.fleet.scripts.beat(line, &keys, &self.fleet.id, self.known, leaves).await
    }

    async fn heard(&mut self, line: Line, beat: Beat) {
        let reached = self.fleet.circuit().reached(beat.routers, Instant::now());
        let is_another = self.born != 0 && self.born != beat.born;
        self.born = beat.born;
        if let Reached::Back(since) = reached {
            log::info!("the shared state is there: {} routers, asked from now on", beat.routers);
            self.pool().join(self.fleet.among());
            self.fleet.line.store(Some(Arc::new(line.clone())));
            // A store that has forgotten all is told all that counts; another one only what it has missed.
            let since = (!is_another).then_some(since);
            let mut debts: Vec<Debt> = self.fleet.debts().into_iter().map(Debt::of_day).collect();
            debts.retain(|_| !is_another);
            let edge = self.live.edge();
            let spent = edge.gateway.pool.spent(since, Instant::now());
            debts.extend(spent.iter().map(|spent| Debt::of_credential(&self.fleet, spent)));
            let spent = edge.gateway.roster.spent(self.fleet.namespace(), since, Instant::now());
            debts.extend(
                spent.iter().map(|(id, tally)| Debt::of(&self.fleet, Owner::Client(id), None, *tally)),
            );
            let owing = join_all(debts.iter().map(|debt| debt.pay(&self.fleet, line.clone())));
            self.heed::<()>(owing.await.into_iter().collect());
            self.say(line.clone()).await;
        }
        if matches!(reached, Reached::Back(_)) || self.renewed.elapsed() >= RENEW {
            self.renew(line.clone()).await;
        }
        if matches!(reached, Reached::Back(_)) || self.looked.elapsed() >= LOOK {
            self.look(line).await;
        }
        self.listen(&beat);
    }

    /// Takes over what others have told, in that order.
    fn listen(&mut self, beat: &Beat) {
        if beat.last == self.known {
            return;
        }
        let is_new = self.known == 0;
        self.known = beat.last;
        let edge = self.live.edge();
        let identities = edge.gateway.identities(self.fleet.namespace());
        let fields = beat.changes.chunks_exact(2);
        let entries = fields.filter_map(|entry| match entry {
            [field, value] => words::entry(field, value, beat.now),
            _ => None,
        });
        let mut entries: Vec<_> = entries.filter(|entry| entry.author != self.fleet.id).collect();
        entries.sort_by_key(|entry| entry.number);
        // What was lifted long ago must not lift what this process has inherited since.
        entries.retain(|entry| !(is_new && entry.is_old));
        for words::Entry { word, identity, .. } in entries {
            let own = identities.get(&word.credential).map(|digest| words::identity(digest));
            if identity.is_empty() || own == Some(&identity) {
                for change in edge.gateway.pool.adopt(&word, Instant::now()) {
                    log::info!("{change} (told by another router)");
                }
            }
        }
    }

    async fn renew(&mut self, line: Line) {
        self.renewed = Instant::now();
        for (key, ids) in self.fleet.held() {
            let renewed = self.fleet.scripts.renew(&mut line.clone(), &key, &ids).await;
            self.heed(renewed);
        }
    }

    /// Learns what all routers have used of the days that limit something.
    async fn look(&mut self, line: Line) {
        self.looked = Instant::now();
        let (fleet, gateway, line) = (&self.fleet, &self.live.edge().gateway, &line);
        let of_pool = gateway.pool.days(self.looked).into_iter().map(|day| async move {
            let owner = Owner::Credential(&day.credential);
            let taken = Taken::of(&fleet.keys, owner, day.model.as_deref(), day.stretch);
            let used = fleet.scripts.look(&mut line.clone(), &taken).await?;
            gateway.pool.hear_of(&day, used, Instant::now());
            Ok(())
        });
        let days = gateway.roster.days(fleet.namespace(), self.looked, SystemTime::now());
        let of_clients = days.into_iter().map(|(account, id, stretch)| async move {
            let taken = Taken::of(&fleet.keys, Owner::Client(&id), None, stretch);
            let used = fleet.scripts.look(&mut line.clone(), &taken).await?;
            account.hear_of(stretch, used, Instant::now());
            Ok(())
        });
        let (pool, clients) = (join_all(of_pool).await, join_all(of_clients).await);
        self.heed::<()>(pool.into_iter().chain(clients).collect());
    }

    /// What was answered; a failure is one of the store.
    fn heed<T>(&self, answered: Result<T, Silence>) -> Option<T> {
        answered
            .map_err(|why| {
                self.fleet.failed(&why);
                self.pool().join(self.fleet.among());
            })
            .ok()
    }

    fn pool(&self) -> Pool {
        self.live.edge().gateway.pool.clone()
    }
}

async fn settle(fleet: &Fleet, mut line: Line, work: &Work) -> Result<(), Silence> {
    let Work::Settle { taken, id, is_over, charges } = work else { return Ok(()) };
    fleet.scripts.settle(&mut line, taken, id, *is_over, charges).await
}

/// Notes what cannot be settled now, as far as the pool itself does not know it.
fn defer(fleet: &Fleet, work: &Work) {
    let Work::Settle { taken, charges, .. } = work else { return };
    charges.iter().for_each(|(_, requests, tokens)| fleet.owe(taken, *requests, *tokens));
}

/// What was admitted without asking.
struct Debt {
    taken: Taken,
    charge: Charge,
}

impl Debt {
    fn of_day((taken, (requests, tokens)): (Taken, (i64, i64))) -> Self {
        Self { taken, charge: (0, requests, tokens) }
    }

    fn of_credential(fleet: &Fleet, spent: &Spent) -> Self {
        let tally = (spent.stretch, spent.age, spent.requests, spent.tokens);
        Self::of(fleet, Owner::Credential(&spent.credential), spent.model.as_deref(), tally)
    }

    /// The two clocks tick at different moments, so that a slot of the one may begin in the slot before it by the other:
    /// it counts in the later one.
    fn of(fleet: &Fleet, owner: Owner, model: Option<&str>, tally: Tally) -> Self {
        let (stretch, age, requests, tokens) = tally;
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let later = match stretch {
            Stretch::Rolling { grain, .. } => signed(grain) - signed(age),
            Stretch::Day { .. } => 0,
        };
        let taken = Taken::of(&fleet.keys, owner, model, stretch);
        Self { taken, charge: (later, signed(requests), signed(tokens)) }
    }

    async fn pay(&self, fleet: &Fleet, mut line: Line) -> Result<(), Silence> {
        fleet.scripts.settle(&mut line, &self.taken, "", false, &[self.charge]).await
    }
}
