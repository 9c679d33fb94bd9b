//! What routers tell each other of bans and cool-downs: entries of one hash, read again when its number has changed.
//!
//! A hash that is polled twice a second was chosen over publish and subscribe: who was away misses nothing, one
//! question a beat carries signs of life and news alike, and a cluster needs no second kind of connection. An entry is
//! the latest word on its key. Bans belong to a key and not to its name, so each carries the beginning of a digest of
//! kind, address and key; who has another key under that name does not listen.

use std::time::Duration;

use super::keys::{read, written};
use crate::routing::{Fact, Transition, Word};

/// Words that say that something is over are kept for as long.
const NEWS: Duration = Duration::from_secs(60);
/// Digits of a credential's digest: enough to tell two keys apart, too few to try keys against.
const DIGITS: usize = 8;

/// An entry as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which change it was.
    pub number: u64,
    /// What it says.
    pub word: Word,
    /// Of which key.
    pub identity: String,
    /// Who has told it.
    pub author: String,
    /// It says that something is over, and was told long ago: of no use to who knows nothing older.
    pub is_old: bool,
}

/// What a change has to tell to others.
pub fn of(change: &Transition) -> Option<Word> {
    let fact = match change {
        Transition::Banned { code, term, .. } => {
            let left = match term {
                crate::routing::Term::Permanent => None,
                crate::routing::Term::For(term) => Some(*term),
            };
            Fact::Banned { left, term: left.unwrap_or_default(), code: *code }
        }
        Transition::Unbanned { .. } => Fact::Cleared,
        Transition::CooledDown { code, term, .. } => Fact::Cooling { left: *term, code: *code },
        Transition::Expired { .. } => return None,
    };
    Some(Word { credential: change.credential().to_owned(), model: change.model().map(str::to_owned), fact })
}

/// The beginning of a digest.
pub fn identity(digest: &str) -> &str {
    digest.get(..DIGITS).unwrap_or(digest)
}

/// The entry's field: there is one word on bans and one on cool-downs of a key, and one of the operator on a credential.
pub fn field(word: &Word) -> String {
    let kind = match word.fact {
        Fact::Banned { .. } | Fact::Cleared => 'b',
        Fact::Cooling { .. } => 'c',
        Fact::Lifted => 'l',
    };
    let model = word.model.as_deref().map(|model| format!(":{}", written(model))).unwrap_or_default();
    format!("{kind}:{}{model}", written(&word.credential))
}

/// For how many milliseconds it holds, after `told` of them have passed; below zero for good. None if it is over.
pub fn left(word: &Word, told: Duration) -> Option<i64> {
    let left = match word.fact {
        Fact::Banned { left: None, .. } => return Some(-1),
        Fact::Banned { left: Some(left), .. } | Fact::Cooling { left, .. } => left.checked_sub(told)?,
        Fact::Cleared | Fact::Lifted => NEWS,
    };
    Some(i64::try_from(left.as_millis()).unwrap_or(i64::MAX >> 1))
}

/// The rest of its value.
pub fn value(word: &Word, identity: &str, author: &str) -> String {
    let (kind, term, code) = match word.fact {
        Fact::Banned { term, code, .. } => ("ban", term.as_millis(), code),
        Fact::Cleared => ("clear", 0, 0),
        Fact::Cooling { code, .. } => ("cool", 0, code),
        Fact::Lifted => ("lift", 0, 0),
    };
    format!("{kind} {term} {code} {identity} {author}")
}

/// An entry, read at `now` in the store's milliseconds; none if it says nothing any more, or nothing that is understood.
pub fn entry(field: &str, value: &str, now: u64) -> Option<Entry> {
    let mut names = field.split(':').skip(1);
    let credential = read(names.next()?)?;
    let model = match names.next() {
        Some(name) => Some(read(name)?),
        None => None,
    };
    let mut parts = value.split(' ');
    let number = parts.next()?.parse().ok()?;
    let ends: i64 = parts.next()?.parse().ok()?;
    let (kind, term, code) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let (identity, author) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let left = u64::try_from(ends).ok().map(|ends| Duration::from_millis(ends.saturating_sub(now)));
    let over = left.is_some_and(|left| left.is_zero());
    let fact = match kind {
        "ban" if !over => Fact::Banned { left, term: Duration::from_millis(term), code },
        "cool" if !over => Fact::Cooling { left: left?, code },
        "clear" => Fact::Cleared,
        "lift" => Fact::Lifted,
        _ => return None,
    };
    Some(Entry { number, word: Word { credential, model, fact }, identity, author, is_old: over })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(fact: Fact) -> Word {
        Word { credential: "a:b {x}".into(), model: Some("m/é:1".into()), fact }
    }

    /// As the store keeps it: told at 1000 ms, read at `now`.
    fn told(word: &Word, now: u64) -> Option<Entry> {
        let left = left(word, Duration::ZERO)?;
        let ends = if left < 0 { -1 } else { 1000 + left };
        entry(&field(word), &format!("7 {ends} {}", value(word, "0123abcd", "me")), now)
    }

    #[test]
    fn what_is_told_is_what_is_read_less_the_time_between() {
        let term = Duration::from_secs(20);
        let banned = |left| word(Fact::Banned { left: Some(left), term, code: 500 });
        let read = told(&banned(term), 4000).expect("an entry");
        assert_eq!(read.word, banned(Duration::from_secs(17)));
        assert_eq!((read.number, read.identity.as_str(), read.author.as_str()), (7, "0123abcd", "me"));
        let for_good = word(Fact::Banned { left: None, term: Duration::ZERO, code: 401 });
        assert_eq!(told(&for_good, u64::MAX).map(|entry| entry.word), Some(for_good));
        for fact in [Fact::Cleared, Fact::Lifted] {
            let at = |now| told(&word(fact), now).map(|entry| (entry.word, entry.is_old));
            assert_eq!(at(60_999), Some((word(fact), false)));
            assert_eq!(at(61_000), Some((word(fact), true)), "an hour later it is still the last word");
        }
    }

    #[test]
    fn a_ban_that_is_over_says_nothing() {
        let cool = word(Fact::Cooling { left: Duration::from_secs(2), code: 429 });
        assert!(told(&cool, 2999).is_some());
        assert_eq!(told(&cool, 3000), None);
        assert_eq!(left(&cool, Duration::from_secs(3)), None, "nor is it told late");
    }

    #[test]
    fn what_nobody_writes_is_not_understood() {
        for (field, value) in [
            ("", ""),
            ("b", "1 2 ban"),
            ("b:a", "x 2 ban 0 0 i a"),
            ("b:a%z", "1 -1 ban 0 0 i a"),
            ("b:a", "1 2"),
        ] {
            assert_eq!(entry(field, value, 0), None, "{field} {value}");
        }
    }
}
