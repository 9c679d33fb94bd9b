//! What is known of a candidate without having asked it for anything: what another router says of itself.
//!
//! It changes the order in which candidates are asked and nothing else. A router that is about to leave or seems to be
//! gone is asked after everybody else who serves the model, because whoever says so may be wrong by now and an answer
//! from there is better than none. One that seems to have used up its own limits is asked after the others of its tier:
//! its figures are as old as the last look at it. Nobody is struck, charged or refused for an outlook.

use std::fmt;
use std::time::Instant;

use super::pool::Pool;
use super::state::Member;
use super::transition::Transition;

/// How a candidate seems to stand. `Display` says it after the candidate's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outlook {
    /// Nothing is said against it.
    #[default]
    Fair,
    /// It has used up its own limits.
    Full,
    /// It is about to leave.
    Draining,
    /// It does not answer, or can serve nothing.
    Down,
}

impl Outlook {
    /// Whether it is asked after all others, of whatever tier.
    pub(super) fn is_last(self) -> bool {
        self >= Self::Draining
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fair => "is available",
            Self::Full => "seems to be at its own limits: asked after the others of its tier",
            Self::Draining => "is about to leave: asked after all others",
            Self::Down => "seems to be down: asked after all others",
        })
    }
}

impl Member {
    /// A success is better evidence than a look that failed.
    pub(super) fn answered(&mut self) {
        if self.outlook == Outlook::Down {
            self.outlook = Outlook::Fair;
        }
    }
}

impl Pool {
    /// Takes note of how `credential` seems to stand. What was known until now.
    pub fn regard(&self, credential: usize, outlook: Outlook) -> Outlook {
        let mut state = self.lock();
        let member = state.members.get_mut(credential);
        member.map_or(outlook, |member| std::mem::replace(&mut member.outlook, outlook))
    }

    /// The host of `credential` says that it is well: cool-downs for errors of a host end; `back`: it was gone, so bans
    /// for them end as well, unless they are for good.
    #[must_use = "changes are to be told"]
    pub fn vouch(&self, credential: usize, back: bool, now: Instant) -> Vec<Transition> {
        let mut state = self.lock();
        let changes = state.vouch(credential, back, now);
        state.news(changes)
    }

    /// How `credential` seems to stand.
    pub fn outlook(&self, credential: usize) -> Outlook {
        self.lock().members.get(credential).map(|member| member.outlook).unwrap_or_default()
    }
}
