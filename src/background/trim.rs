//! Gives back what only a beginning or a crowd has needed of the program (`footprint`): half a second after an edge is at
//! work, and when a few seconds have gone by with hardly a request after there were many at one time.

use std::time::Duration;

use crate::edge::drain::Drain;
use crate::footprint;

/// From the start of an edge until nothing of its beginning is needed any more.
const BEGINNING: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_secs(1);
/// So many requests at one time are a crowd, and so few are none.
const CROWD: usize = 64;
const FEW: usize = 2;
/// Ticks without a crowd until it is gone.
const GONE: u32 = 3;

/// How long ago there was a crowd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Never,
    Ticks(u32),
}

pub(super) async fn keep(drain: &Drain) {
    tokio::time::sleep(BEGINNING).await;
    footprint::trim();
    let mut crowd = Seen::Never;
    loop {
        tokio::time::sleep(TICK).await;
        crowd = crowd.after(drain.in_flight());
        if crowd == Seen::Ticks(GONE) {
            footprint::trim();
            crowd = Seen::Never;
        }
    }
}

impl Seen {
    /// A tick later, with so many requests under way.
    fn after(self, requests: usize) -> Self {
        match self {
            _ if requests >= CROWD => Self::Ticks(0),
            Self::Ticks(ticks) if requests <= FEW => Self::Ticks(ticks + 1),
            Self::Ticks(_) => Self::Ticks(0),
            Self::Never => Self::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_gone_after_three_quiet_seconds_in_a_row() {
        let seen = |loads: &[usize]| loads.iter().fold(Seen::Never, |seen, load| seen.after(*load));
        assert_eq!(seen(&[1, 2, 30, 0, 0, 0]), Seen::Never, "it was none");
        assert_eq!(seen(&[64, 1, 0]), Seen::Ticks(2));
        assert_eq!(seen(&[64, 0, 0, 0]), Seen::Ticks(GONE));
        assert_eq!(seen(&[64, 0, 0, 3, 0]), Seen::Ticks(1), "it goes on");
    }
}
