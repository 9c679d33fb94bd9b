//! When failures become bans: the policy of `fail2ban`, as data.
//!
//! `error_codes` share one counter; each rule has one of its own, and its codes count whether they are in
//! `error_codes` or not, since who writes a rule for a code wants it counted.

use std::fmt;
use std::time::Duration;

/// A repeated ban never lasts longer than this, unless the file's term does.
const LONGEST: Duration = Duration::from_secs(600);

/// `fail2ban`, as checked.
#[derive(Clone, Debug)]
pub struct BanPolicy {
    /// Strikes in a row that make a ban; 0 counts as 1.
    pub max_attempts: u32,
    /// For how long.
    pub ban: Term,
    /// The codes that strike.
    pub error_codes: Vec<u16>,
    /// Codes with a counter and a term of their own.
    pub rules: Vec<CodeRule>,
}

/// One entry of `fail2ban.error_code_rules`.
#[derive(Clone, Debug)]
pub struct CodeRule {
    /// The codes it is about.
    pub codes: Vec<u16>,
    /// Strikes in a row that make a ban; 0 counts as 1.
    pub max_attempts: u32,
    /// For how long.
    pub ban: Term,
}

/// How long a ban lasts. For good is not a very long time: it is never added to a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// That long, and then one request decides.
    For(Duration),
    /// Until an operator lifts it, or the key is another one.
    Permanent,
}

/// What a code counts toward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measure {
    /// Which counter: 0 is that of `error_codes`, then one for each rule.
    pub(super) counter: usize,
    pub(super) max_attempts: u32,
    pub(super) term: Term,
}

impl BanPolicy {
    /// What `code` counts toward; none if it is no strike.
    pub(super) fn measure(&self, code: u16) -> Option<Measure> {
        let rule = self.rules.iter().position(|rule| rule.codes.contains(&code));
        match rule.and_then(|at| Some((at + 1, self.rules.get(at)?))) {
            Some((counter, rule)) => {
                Some(Measure { counter, max_attempts: rule.max_attempts.max(1), term: rule.ban })
            }
            None if self.error_codes.contains(&code) => {
                Some(Measure { counter: 0, max_attempts: self.max_attempts.max(1), term: self.ban })
            }
            None => None,
        }
    }
}

impl Term {
    /// The term after a failed probe, when the last one was `last`: twice as long, up to ten minutes, and never
    /// shorter than this one.
    pub(super) fn doubled(self, last: Duration) -> Self {
        match self {
            Self::Permanent => Self::Permanent,
            Self::For(own) => Self::For(last.saturating_mul(2).min(LONGEST).max(own)),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(time) => write!(f, "for {}", humantime::format_duration(*time)),
            Self::Permanent => f.write_str("for good"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Term {
        Term::For(Duration::from_secs(count))
    }

    #[test]
    fn a_rule_has_its_own_counter_and_others_share_one() {
        let rule = CodeRule { codes: vec![429], max_attempts: 5, ban: seconds(7) };
        let policy = BanPolicy {
            max_attempts: 3,
            ban: Term::Permanent,
            error_codes: vec![500, 429],
            rules: vec![rule],
        };
        assert_eq!(policy.measure(500), Some(Measure { counter: 0, max_attempts: 3, term: Term::Permanent }));
        assert_eq!(policy.measure(429), Some(Measure { counter: 1, max_attempts: 5, term: seconds(7) }));
        assert_eq!(policy.measure(400), None);
    }

    #[test]
    fn a_term_doubles_up_to_ten_minutes_and_never_below_the_file() {
        let last = Duration::from_secs(400);
        assert_eq!(seconds(10).doubled(Duration::from_secs(10)), seconds(20));
        assert_eq!(seconds(10).doubled(last), seconds(600));
        assert_eq!(seconds(3600).doubled(last), seconds(3600));
        assert_eq!(Term::Permanent.doubled(last), Term::Permanent);
    }
}
