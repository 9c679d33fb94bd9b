//! What is known of another router: what it said of itself when it was last asked, and how often it has not answered
//! since.
//!
//! A router that was away and is back begins with a clean sheet: what failed meanwhile failed because it was away.
//! One missed answer is only shown; three in a row, or a refused connection, make a router seem down. Both end with the
//! next answer. What it means for routing is an `Outlook` in the pool, which also ends when a request succeeds there: so
//! a router whose `/health` is broken, but which serves, is asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::providers::peer_health::PeerHealth;
use crate::routing::Outlook;

/// So many answers missed in a row are taken for a router that is gone.
const MOST_MISSES: u32 = 3;

/// Another router, as seen from here.
#[derive(Default)]
pub struct Peer(Mutex<Seen>);

/// What is known of it.
#[derive(Clone, Default)]
pub struct Seen {
    /// What it said last; none if it never answered.
    pub health: Option<Arc<PeerHealth>>,
    /// When that was.
    pub at: Option<Instant>,
    /// How often it has been asked in vain since.
    pub misses: u32,
}

impl Peer {
    /// It has answered. How it seems to stand, and whether it is back: it had not answered before, could serve nothing,
    /// or is another process than it was. `alone`: nobody else answers in its place, so that another process says
    /// something.
    pub fn answered(&self, health: PeerHealth, alone: bool, now: Instant) -> (Outlook, bool) {
        let outlook = match &health {
            PeerHealth { unhealthy: true, .. } => Outlook::Down,
            PeerHealth { draining: true, .. } => Outlook::Draining,
            health if health.is_full() => Outlook::Full,
            _ => Outlook::Fair,
        };
        let mut seen = self.lock();
        let another = |was: &PeerHealth| alone && was.instance != health.instance;
        let away = seen.health.as_ref().is_some_and(|was| was.unhealthy || another(was));
        let back = outlook != Outlook::Down && (away || seen.misses > 0);
        *seen = Seen { health: Some(Arc::new(health)), at: Some(now), misses: 0 };
        (outlook, back)
    }

    /// It has not. `refused`: there is nobody. `known` is its outlook until now.
    pub fn missed(&self, refused: bool, known: Outlook) -> Outlook {
        let mut seen = self.lock();
        // A request has succeeded since it was taken for down.
        let again = seen.misses >= MOST_MISSES && known != Outlook::Down;
        seen.misses = if again { 1 } else { seen.misses.saturating_add(1) };
        if refused {
            seen.misses = seen.misses.max(MOST_MISSES);
        }
        if seen.misses >= MOST_MISSES {
            Outlook::Down
        } else {
            known
        }
    }

    /// What is known.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> PeerHealth {
        PeerHealth::default()
    }

    fn answers(peer: &Peer, health: PeerHealth) -> (Outlook, bool) {
        peer.answered(health, true, Instant::now())
    }

    #[test]
    fn three_missed_answers_in_a_row_are_down_and_an_answer_ends_it() {
        let peer = Peer::default();
        assert_eq!(answers(&peer, healthy()), (Outlook::Fair, false));
        assert_eq!(
            [(); 3].map(|()| peer.missed(false, Outlook::Fair)),
            [Outlook::Fair, Outlook::Fair, Outlook::Down]
        );
        assert_eq!(peer.missed(false, Outlook::Down), Outlook::Down);
        assert_eq!((answers(&peer, healthy()), peer.seen().misses), ((Outlook::Fair, true), 0));
    }

    #[test]
    fn another_process_in_its_place_is_back_and_so_is_one_that_could_serve_nothing() {
        let peer = Peer::default();
        let named = |name: &str| PeerHealth { instance: Some(name.into()), ..healthy() };
        let back = |health| answers(&peer, health).1;
        assert_eq!([named("a"), named("a"), named("b"), named("b")].map(back), [false, false, true, false]);
        assert!(!back(PeerHealth { unhealthy: true, ..named("b") }) && back(named("b")));
        assert!(!peer.answered(named("c"), false, Instant::now()).1, "one of several at one name");
    }

    #[test]
    fn a_refused_connection_is_down_at_once() {
        assert_eq!(Peer::default().missed(true, Outlook::Fair), Outlook::Down);
    }

    #[test]
    fn a_success_meanwhile_begins_the_count_anew() {
        let peer = Peer::default();
        (0..5).for_each(|_| _ = peer.missed(false, Outlook::Down));
        assert_eq!(peer.missed(false, Outlook::Fair), Outlook::Fair);
        assert_eq!(peer.seen().misses, 1);
    }

    #[test]
    fn a_draining_router_that_stops_answering_stays_draining_until_it_is_down() {
        let peer = Peer::default();
        let leaving = PeerHealth { draining: true, ..healthy() };
        assert_eq!(answers(&peer, leaving).0, Outlook::Draining);
        assert_eq!(peer.missed(false, Outlook::Draining), Outlook::Draining);
    }

    #[test]
    fn a_router_with_nothing_available_is_down() {
        let empty = PeerHealth { unhealthy: true, ..healthy() };
        assert_eq!(answers(&Peer::default(), empty), (Outlook::Down, false));
    }
}
