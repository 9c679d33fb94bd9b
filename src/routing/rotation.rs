//! Whose turn it is: one row of seats per model, and smooth weighted round robin, unless a strategy says otherwise.
//!
//! One index for all models, as routers of this kind often have, gives the credential behind a skipped one a double
//! share; a cursor per model over the seats that are available is fair when only some credentials serve a model. Rows
//! are made when a model is first asked for. Under an open binding anybody can make up names, so rows for names that
//! the configuration does not know are bounded; forgetting one costs no limit, because such pairs have none.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::catalog::{Candidate, Catalog};
use super::clock::Tick;
use super::fleet::Held;
use super::limits::{Limits, Meter};
use super::outlook::Outlook;
use super::plan::Plan;
use super::standing::Standing;
use super::strategy::{Choice, Pace, Strategy};

/// Pairs for names that are not configured, roughly: rows times credentials.
const MOST_SEEN_PAIRS: usize = 65_536;
/// Outlooks in the order in which a tier is asked: all tiers for the first round, then all for the second.
const ROUNDS: [[Outlook; 2]; 2] = [[Outlook::Fair, Outlook::Full], [Outlook::Draining, Outlook::Down]];

/// Windows, standing and use of one key: a credential, or a model on it.
pub(super) struct Account {
    pub(super) meter: Meter,
    pub(super) standing: Standing,
    pub(super) in_flight: u32,
    /// Tokens that those under way have taken.
    pub(super) reserved: u64,
    /// The fleet has refused it.
    pub(super) held: Option<Held>,
}

/// The seats of one model.
pub(super) struct Row {
    pub(super) seats: Vec<Seat>,
    pub(super) fallbacks: Arc<[Arc<str>]>,
    /// The name, shared; empty for requests without a model.
    pub(super) name: Arc<str>,
    pub(super) strategy: Strategy,
    configured: bool,
    version: u64,
}

/// One candidate of a model.
pub(super) struct Seat {
    pub(super) candidate: Candidate,
    current: i64,
    /// Made when the pair first serves.
    pub(super) pair: Option<Box<Account>>,
    /// Made where the strategy asks for it.
    pub(super) pace: Option<Box<Pace>>,
}

/// The rows of all models.
pub(super) struct Rows {
    named: HashMap<Arc<str>, Row>,
    nameless: Row,
    most_seen: usize,
    seen: usize,
}

impl Account {
    /// A key that has done nothing yet.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            meter: Meter::new(limits),
            standing: Standing::default(),
            in_flight: 0,
            reserved: 0,
            held: None,
        }
    }

    /// Whether forgetting it would lose nothing.
    fn is_idle(&self, tick: Tick) -> bool {
        self.in_flight == 0 && self.standing.is_blank(tick.now) && self.meter.is_idle(tick.moment())
    }
}

impl Seat {
    /// Requests that its candidate serves at the moment.
    pub(super) fn in_flight(&self) -> u32 {
        self.pair.as_ref().map_or(0, |pair| pair.in_flight)
    }
}

impl Rows {
    /// No row but that of requests without a model.
    pub(super) fn new(catalog: &Catalog, credentials: usize) -> Self {
        let most_seen = (MOST_SEEN_PAIRS / credentials.max(1)).clamp(64, 4096);
        let nameless = Row::new(catalog, None, Arc::default(), Vec::new());
        Self { named: HashMap::new(), nameless, most_seen, seen: 0 }
    }

    /// The row of `name`, made or renewed if need be; none if nobody serves it.
    pub(super) fn row(
        &mut self,
        catalog: &Catalog,
        name: Option<&str>,
        tick: Option<Tick>,
    ) -> Option<&mut Row> {
        let Some(name) = name else { return Some(&mut self.nameless) };
        if self.named.get(name).is_none_or(|row| row.version != catalog.version()) {
            self.renew(catalog, name, tick);
        }
        self.named.get_mut(name)
    }

    /// One of all open pairs of credential and model that `plan` draws from, each as likely as any other of the best
    /// tier and outlook: its row, the model's position in the plan, and the place of its seat.
    pub(super) fn draw(
        &mut self,
        catalog: &Catalog,
        plan: &Plan,
        tick: Tick,
        outlook: impl Fn(&Seat) -> Outlook,
        open: impl Fn(&Seat, usize) -> bool,
    ) -> Option<(&mut Row, usize, usize)> {
        let mut lot = plan.lot();
        let mut best = None;
        let mut count = 0;
        let mut drawn = None;
        for (position, model) in plan.targets() {
            let Some(row) = self.row(catalog, model.map(|name| &**name), Some(tick)) else { continue };
            for (at, seat) in row.seats.iter().enumerate().filter(|(_, seat)| open(seat, position)) {
                let outlook = outlook(seat);
                let group = (outlook.is_last(), seat.candidate.tier, outlook);
                if best.is_none_or(|best| group < best) {
                    (best, count) = (Some(group), 0);
                }
                if best == Some(group) {
                    count += 1;
                    if lot.is_drawn(count) {
                        drawn = Some((position, row.name.clone(), at));
                    }
                }
            }
        }
        let (position, name, at) = drawn?;
        Some((self.named.get_mut(&name)?, position, at))
    }

    /// The row of `name`, if there is one.
    pub(super) fn existing(&mut self, name: Option<&str>) -> Option<&mut Row> {
        match name {
            Some(name) => self.named.get_mut(name),
            None => Some(&mut self.nameless),
        }
    }

    /// The same, to look at.
    pub(super) fn find(&self, name: Option<&str>) -> Option<&Row> {
        match name {
            Some(name) => self.named.get(name),
            None => Some(&self.nameless),
        }
    }

    /// All rows with a name.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Row> {
        self.named.values()
    }

    /// All pairs, with the names of their models.
    pub(super) fn pairs_mut(&mut self) -> impl Iterator<Item = (usize, &Arc<str>, &mut Account)> {
        self.named.values_mut().flat_map(|row| {
            let name = &row.name;
            row.seats
                .iter_mut()
                .filter_map(move |seat| Some((seat.candidate.credential, name, seat.pair.as_deref_mut()?)))
        })
    }

    fn renew(&mut self, catalog: &Catalog, name: &str, tick: Option<Tick>) {
        let old = self.named.remove(name);
        self.seen -= usize::from(old.as_ref().is_some_and(|row| !row.configured));
        let shared: Arc<str> = old.as_ref().map_or_else(|| name.into(), |row| row.name.clone());
        let row =
            Row::new(catalog, Some(&shared), shared.clone(), old.map(|row| row.seats).unwrap_or_default());
        if row.seats.is_empty() {
            return;
        }
        if !row.configured && self.seen >= self.most_seen {
            self.forget(tick);
        }
        self.seen += usize::from(!row.configured);
        self.named.insert(shared, row);
    }

    /// Makes room: drops rows of unconfigured names, the idle ones, or all if that is not enough.
    fn forget(&mut self, tick: Option<Tick>) {
        self.named.retain(|_, row| row.configured || tick.is_some_and(|tick| !row.is_idle(tick)));
        self.count_seen();
        if self.seen > self.most_seen / 2 {
            self.named.retain(|_, row| row.configured);
            self.count_seen();
        }
    }

    fn count_seen(&mut self) {
        self.seen = self.named.values().filter(|row| !row.configured).count();
    }
}

impl Row {
    fn new(catalog: &Catalog, asked: Option<&Arc<str>>, name: Arc<str>, old: Vec<Seat>) -> Self {
        let mut old: HashMap<usize, Seat> =
            old.into_iter().map(|seat| (seat.candidate.credential, seat)).collect();
        let candidates = catalog.candidates(asked).into_iter();
        let seats = candidates.map(|candidate| match old.remove(&candidate.credential) {
            Some(seat) => Seat { candidate, ..seat },
            None => Seat { candidate, current: 0, pair: None, pace: None },
        });
        Self {
            seats: seats.collect(),
            fallbacks: catalog.fallbacks(&name),
            strategy: catalog.strategy(&name),
            configured: catalog.is_configured(&name),
            version: catalog.version(),
            name,
        }
    }

    /// A row that nobody has used, for a look.
    pub(super) fn fresh(catalog: &Catalog, name: &Arc<str>) -> Self {
        Self::new(catalog, Some(name), name.clone(), Vec::new())
    }

    /// Whether no list has changed since it was made.
    pub(super) fn is_current(&self, catalog: &Catalog) -> bool {
        self.version == catalog.version()
    }

    /// What `credential` has done with this model.
    pub(super) fn pair(&self, credential: usize) -> Option<&Account> {
        self.seats.iter().find(|seat| seat.candidate.credential == credential)?.pair.as_deref()
    }

    /// The seat of `credential`.
    pub(super) fn seat(&mut self, credential: usize) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.candidate.credential == credential)
    }

    /// The place of the next seat among those that are `open`: of the first tier that has one, and there of those with
    /// the best outlook, by `choice`; those that are asked last come after all tiers.
    pub(super) fn rotate(
        &mut self,
        choice: &Choice,
        outlook: impl Fn(&Seat) -> Outlook,
        open: impl FnMut(&Seat) -> bool,
    ) -> Option<usize> {
        rotate(&mut self.seats, choice, outlook, open)
    }

    /// The order in which its seats would be tried from here on, each once, as places in `seats`. `available` says
    /// with which outlook.
    pub(super) fn order(
        &self,
        choice: &Choice,
        available: impl FnMut(&Seat) -> Option<Outlook>,
    ) -> Vec<usize> {
        let outlooks = self.seats.iter().map(available).enumerate();
        let mut open: Vec<_> =
            outlooks.filter_map(|(at, outlook)| Some((group(self.seats.get(at)?, outlook?), at))).collect();
        open.sort_unstable();
        let mut order = Vec::with_capacity(open.len());
        for equals in open.chunk_by(|(one, _), (other, _)| one == other) {
            let seats = equals.iter().filter_map(|&(_, at)| Some((at, self.seats.get(at)?)));
            match choice.strategy {
                Strategy::RoundRobin => in_turn(seats, &mut order),
                _ => {
                    let mut ranked: Vec<_> = seats.map(|(at, seat)| (choice.rank(seat), at)).collect();
                    ranked.sort_by(|(one, _), (other, _)| one.total_cmp(other));
                    order.extend(ranked.into_iter().map(|(_, at)| at));
                }
            }
        }
        order
    }

    fn is_idle(&self, tick: Tick) -> bool {
        self.seats.iter().all(|seat| seat.pair.as_ref().is_none_or(|pair| pair.is_idle(tick)))
    }
}

/// Seats are sorted by tier. What decides on a turn is cheap for those who are looked at in vain: of most pools, all
/// have a fair outlook.
fn rotate(
    seats: &mut [Seat],
    choice: &Choice,
    outlook: impl Fn(&Seat) -> Outlook,
    mut open: impl FnMut(&Seat) -> bool,
) -> Option<usize> {
    for round in ROUNDS {
        let mut from = 0;
        while let Some(tier) = seats.get(from).map(|seat| seat.candidate.tier) {
            let rest = seats.get_mut(from..).unwrap_or_default();
            let size = rest.iter().take_while(|seat| seat.candidate.tier == tier).count();
            let (tier, _) = rest.split_at_mut(size);
            for wanted in round {
                if let Some(at) = choice.of(tier, |seat| outlook(seat) == wanted && open(seat)) {
                    return Some(from + at);
                }
            }
            from += size;
        }
    }
    None
}

/// Smooth weighted round robin: everybody available gains its weight, the richest serves and pays what all have
/// gained. The earlier seat wins a tie.
pub(super) fn turn(tier: &mut [Seat], mut available: impl FnMut(&Seat) -> bool) -> Option<usize> {
    let mut best: Option<(usize, i64)> = None;
    let mut gained = 0;
    for (at, seat) in tier.iter_mut().enumerate() {
        if !available(seat) {
            continue;
        }
        seat.current += seat.candidate.weight;
        gained += seat.candidate.weight;
        if best.is_none_or(|(_, current)| seat.current > current) {
            best = Some((at, seat.current));
        }
    }
    let (at, _) = best?;
    tier.get_mut(at)?.current -= gained;
    Some(at)
}

/// The order that `turn` gives to `seats`, where each that has had its turn leaves. With each turn all who are left gain
/// their weight, so those of one weight stay in the order that they are in, and only the first of each weight has to be
/// looked at.
fn in_turn<'s>(seats: impl Iterator<Item = (usize, &'s Seat)>, order: &mut Vec<usize>) {
    // What each has, and its place: the earlier seat wins a tie.
    type Equals = Vec<(i64, Reverse<usize>)>;
    let mut weights: BTreeMap<i64, Equals> = BTreeMap::new();
    for (at, seat) in seats {
        weights.entry(seat.candidate.weight).or_default().push((seat.current, Reverse(at)));
    }
    // The next one is the last of its list.
    weights.values_mut().for_each(|equals| equals.sort_unstable());
    for turns in 1.. {
        let gained = |(weight, equals): (&i64, &Equals)| {
            let (current, at) = equals.last()?;
            Some((current.saturating_add(weight.saturating_mul(turns)), *at, *weight))
        };
        let Some((_, Reverse(at), weight)) = weights.iter().filter_map(gained).max() else { return };
        order.push(at);
        weights.get_mut(&weight).map(Vec::pop);
    }
}

/// Seats that are equals have the same; the least is asked first.
fn group(seat: &Seat, outlook: Outlook) -> (bool, u16, Outlook) {
    (outlook.is_last(), seat.candidate.tier, outlook)
}

#[cfg(test)]
mod tests;
