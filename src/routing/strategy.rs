//! Who of several equals serves: the strategies, each a pure choice among the open seats of a tier.
//!
//! Tiers and outlooks stand above all of them. An enum with a function each was chosen over trait objects: the choice
//! is made for each request under the pool's lock, and round robin, which is what most use, stays the plain loop that
//! it was (`rotation`). Weights count where there are shares: round robin, least used, affinity.
//!
//! Sources: peak-EWMA as Finagle's load balancers have it (a slower answer counts at once, faster ones and silence win
//! back by and by); weighted rendezvous hashing (Schindelhauer and Schomaker) with a bound on the load (Mirrokni,
//! Thorup, Zadimoghaddam), so that a key moves only when its credential leaves or is crowded.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::clock::Tick;
use super::plan::Plan;
use super::rotation::{turn, Seat};
use super::state::Member;

/// In this time an estimate of latency decays to a third.
const DECAY: Duration = Duration::from_secs(10);
/// Affinity: how far above its share of the requests in flight a credential may be.
const BOUND: f64 = 1.25;
/// But so many are no crowd yet: agents ask several things of one conversation at once.
const NO_CROWD: u32 = 8;

/// How one of several equals is chosen. What its variants are is no doc comment: the schema would take it for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Strategy {
    // In turn, by weight.
    #[default]
    RoundRobin,
    // The first in the order of the file.
    Priority,
    // The one that has used least of its limits.
    LeastUsed,
    // Any, by lot.
    Even,
    // The one that answers soonest.
    Latency,
    // The same for the same conversation.
    Affinity,
}

/// What a choice looks at besides the seats.
pub(super) struct Choice<'c> {
    pub(super) strategy: Strategy,
    /// For `LeastUsed`: percent.
    pub(super) gap: u8,
    pub(super) members: &'c [Member],
    pub(super) plan: &'c Plan,
    pub(super) tick: Tick,
}

/// Numbers by lot, from a seed.
pub(super) struct Lot(u64);

/// How soon a candidate answers: the time to the first token of a stream, and that to a whole answer.
#[derive(Clone, Copy, Default)]
pub(super) struct Pace {
    streamed: Estimate,
    whole: Estimate,
}

#[derive(Clone, Copy, Default)]
struct Estimate {
    seconds: f64,
    at: Option<Instant>,
}

impl Strategy {
    /// How the dry run says that the order it shows is not the only one.
    pub(super) fn remark(self) -> Option<&'static str> {
        match self {
            Self::RoundRobin | Self::Priority => None,
            Self::LeastUsed => Some("by its use, among its tier"),
            Self::Even => Some("by lot, among its tier"),
            Self::Latency => Some("by its latency, among its tier"),
            Self::Affinity => Some("by the conversation, among its tier"),
        }
    }
}

impl Choice<'_> {
    /// The seat of `tier` that serves, among those that are `open`.
    pub(super) fn of(&self, tier: &mut [Seat], mut open: impl FnMut(&Seat) -> bool) -> Option<usize> {
        match (self.strategy, self.plan.key()) {
            (Strategy::RoundRobin, _) | (Strategy::Affinity, None) => turn(tier, open),
            (Strategy::Priority, _) => tier.iter().position(open),
            (Strategy::LeastUsed, _) => self.least_used(tier, open),
            (Strategy::Even, _) => {
                let mut lot = self.plan.lot();
                let mut drawn = None;
                let mut count = 0;
                for (at, _) in tier.iter().enumerate().filter(|(_, seat)| open(seat)) {
                    count += 1;
                    if lot.is_drawn(count) {
                        drawn = Some(at);
                    }
                }
                drawn
            }
            (Strategy::Latency, _) => {
                let open = tier.iter().enumerate().filter(|(_, seat)| open(seat));
                open.min_by(|(_, a), (_, b)| self.delay(a).total_cmp(&self.delay(b))).map(|(at, _)| at)
            }
            (Strategy::Affinity, Some(key)) => self.home(key, tier, open),
        }
    }

    /// What the dry run sorts a tier by.
    pub(super) fn rank(&self, seat: &Seat) -> f64 {
        match self.strategy {
            Strategy::LeastUsed => self.share(seat).unwrap_or_else(|| self.requests(seat)),
            Strategy::Latency => self.delay(seat),
            _ => 0.0,
        }
    }

    /// In turn among those within the gap of the least used one. Where all have limits, use is what they have used of
    /// them; else what they have served, relative to the busiest.
    fn least_used(&self, tier: &mut [Seat], mut open: impl FnMut(&Seat) -> bool) -> Option<usize> {
        let mut used: Vec<Option<(Option<f64>, f64)>> = Vec::with_capacity(tier.len());
        used.extend(tier.iter().map(|seat| open(seat).then(|| (self.share(seat), self.requests(seat)))));
        let limited = used.iter().flatten().all(|(share, _)| share.is_some());
        let busiest = used.iter().flatten().map(|(_, requests)| *requests).fold(1.0, f64::max);
        let percent = |(share, requests): (Option<f64>, f64)| match share {
            Some(share) if limited => share,
            _ => 100.0 * requests / busiest,
        };
        let least = used.iter().flatten().map(|used| percent(*used)).fold(f64::INFINITY, f64::min);
        let most = least + f64::from(self.gap);
        let mut used = used.into_iter();
        turn(tier, |_| used.next().flatten().is_some_and(|used| percent(used) <= most))
    }

    /// Percent used of the limit that is closest to its end, of the credential's and the model's on it; none without
    /// any limit.
    fn share(&self, seat: &Seat) -> Option<f64> {
        let member = self.members.get(seat.candidate.credential)?;
        let now = self.tick.moment();
        let shares = [Some(&member.account), seat.pair.as_deref()].into_iter().flatten();
        shares.filter_map(|account| account.meter.share(now)).reduce(f64::max)
    }

    /// Requests that the credential has served in the last minute.
    fn requests(&self, seat: &Seat) -> f64 {
        let member = self.members.get(seat.candidate.credential);
        let now = self.tick.moment();
        member.map_or(0.0, |member| member.account.meter.requests(now) as f64)
    }

    /// How long it will probably take: its estimate, once for each that waits there already. Who is not known is asked at
    /// once, by one request at a time.
    fn delay(&self, seat: &Seat) -> f64 {
        let waiting = seat.in_flight();
        match (seat.pace.estimate(self.plan.streams()).seconds(self.tick.now), waiting) {
            (Some(seconds), _) => seconds * f64::from(waiting + 1),
            (None, 0) => 0.0,
            (None, _) => f64::from(waiting) * 1e9,
        }
    }

    /// Where `key` is at home: the nearest that is not crowded.
    fn home(&self, key: u64, tier: &[Seat], mut open: impl FnMut(&Seat) -> bool) -> Option<usize> {
        let open: Vec<(usize, &Seat)> = tier.iter().enumerate().filter(|(_, seat)| open(seat)).collect();
        let weight = |seat: &Seat| seat.candidate.weight.max(1) as f64;
        let all = open.iter().map(|(_, seat)| weight(seat)).sum::<f64>();
        let requests = open.iter().map(|(_, seat)| f64::from(seat.in_flight())).sum::<f64>() + 1.0;
        let crowded = |seat: &Seat| {
            let most = (BOUND * requests * weight(seat) / all).ceil();
            seat.in_flight() >= NO_CROWD && f64::from(seat.in_flight()) >= most
        };
        let distance = |seat: &Seat| {
            let mark = self.members.get(seat.candidate.credential).map_or(0, |member| member.mark);
            distance(key, mark, weight(seat))
        };
        let nearest = |crowds: bool| {
            let fit = open.iter().filter(|(_, seat)| crowds || !crowded(seat));
            fit.min_by(|(_, a), (_, b)| distance(a).total_cmp(&distance(b))).map(|(at, _)| *at)
        };
        nearest(false).or_else(|| nearest(true))
    }
}

/// How far a key is from a credential: an exponential draw by weight, always the same for the two.
fn distance(key: u64, mark: u64, weight: f64) -> f64 {
    // 53 bits, so that the number is exact, and never nought.
    let drawn = ((scatter(key ^ scatter(mark)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -drawn.ln() / weight
}

/// What stands for a credential's name in distances.
pub(super) fn mark(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// Splitmix64: spreads numbers that are close together.
pub(super) fn scatter(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Lot {
    /// The numbers of `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self(scatter(seed))
    }

    /// Whether the last of `count` is drawn so far: with one call for each of them, each is the last drawn equally often.
    pub(super) fn is_drawn(&mut self, count: u64) -> bool {
        self.0 = scatter(self.0);
        (u128::from(self.0) * u128::from(count)) >> 64 == 0
    }
}

impl Pace {
    /// An answer, or its first token, took this long.
    pub(super) fn note(&mut self, streamed: bool, took: Duration, now: Instant) {
        let estimate = if streamed { &mut self.streamed } else { &mut self.whole };
        let (took, weight) = (took.as_secs_f64(), estimate.weight(now));
        let seconds = estimate.seconds;
        estimate.seconds = if took >= seconds { took } else { seconds * weight + took * (1.0 - weight) };
        estimate.at = Some(now);
    }

    fn estimate(&self, streamed: bool) -> Estimate {
        if streamed {
            self.streamed
        } else {
            self.whole
        }
    }
}

impl Estimate {
    /// What is left of it: who has not been asked for long gets another chance.
    fn seconds(&self, now: Instant) -> Option<f64> {
        self.at.map(|_| self.seconds * self.weight(now))
    }

    fn weight(&self, now: Instant) -> f64 {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        (-since.as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}
