//! What the store's answers mean.

use std::time::Duration;

use crate::routing::{Asked, Bound, Denial, Per, Question, Scope, Which};

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is charged.
    Granted {
        /// In this second of the store's clock.
        second: u64,
        /// Which was at so many milliseconds then.
        ms: u64,
    },
    /// Nothing was charged.
    Denied(Denial),
}

/// No wait is longer than that for the end of a day, and none for a window longer than the window.
const LONGEST: Duration = Duration::from_secs(2 * 86_400);

/// What the numbers that `admit.lua` returns say to a question. None if they are none of its answers.
pub fn answer(numbers: &[i64], question: &Question) -> Option<Answer> {
    let number = |at: usize| numbers.get(at).and_then(|number| u64::try_from(*number).ok());
    if number(0)? == 1 {
        return Some(Answer::Granted { second: number(1)?, ms: number(2)? });
    }
    let (place, amount) = (number(1)?, number(3)?);
    let asked = || question.limits.get(usize::try_from(place).ok()?.checked_sub(1)?);
    let bound = |asked: &Asked| Bound { amount, per: asked.stretch.per() };
    let (scope, limit) = match number(2)? {
        1 => (asked()?.scope, Some((Which::Requests, bound(asked()?)))),
        2 => (asked()?.scope, Some((Which::Tokens, bound(asked()?)))),
        3 => (Scope::Credential, Some((Which::Concurrency, Bound { amount, per: Per::Moment }))),
        4 => (question.probe.unwrap_or(Scope::Credential), None),
        _ => return None,
    };
    let longest = match limit.map(|(_, bound)| bound.per) {
        Some(Per::Seconds(seconds)) => Duration::from_secs(u64::from(seconds)),
        _ => LONGEST,
    };
    let wait = Duration::from_millis(number(4)?).min(longest);
    Some(Answer::Denied(Denial { scope, limit, wait }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Stretch;

    fn question(probe: Option<Scope>) -> Question {
        let asked = |scope, stretch| Asked { scope, stretch, requests: Some(5), tokens: Some(900) };
        Question {
            credential: "a".into(),
            model: None,
            limits: vec![
                asked(Scope::Credential, Stretch::Day { begin: 0, end: 86_400 }),
                asked(Scope::Model, Stretch::Rolling { seconds: 60, grain: 1, count: 61 }),
            ],
            most: None,
            tokens: 0,
            probe,
            among: 1,
        }
    }

    #[test]
    fn numbers_become_answers() {
        let asked = question(Some(Scope::Model));
        assert_eq!(answer(&[1, 17, 17_250], &asked), Some(Answer::Granted { second: 17, ms: 17_250 }));
        let denied =
            |scope, limit, ms| Some(Answer::Denied(Denial { scope, limit, wait: Duration::from_millis(ms) }));
        let bound = |amount, per| Bound { amount, per };
        assert_eq!(
            answer(&[0, 2, 2, 900, 4000], &asked),
            denied(Scope::Model, Some((Which::Tokens, bound(900, Per::Seconds(60)))), 4000)
        );
        assert_eq!(
            answer(&[0, 1, 1, 5, 7_000_000], &asked),
            denied(Scope::Credential, Some((Which::Requests, bound(5, Per::Day))), 7_000_000)
        );
        assert_eq!(
            answer(&[0, 0, 3, 4, 1000], &asked),
            denied(Scope::Credential, Some((Which::Concurrency, bound(4, Per::Moment))), 1000)
        );
        assert_eq!(answer(&[0, 0, 4, 0, 1000], &asked), denied(Scope::Model, None, 1000));
        assert_eq!(answer(&[0, 0, 4, 0, 1000], &question(None)), denied(Scope::Credential, None, 1000));
    }

    #[test]
    fn other_numbers_are_no_answer() {
        for numbers in
            [[].as_slice(), &[1], &[0, 1, 9, 1, 1], &[0, 1, 1, -1, 5], &[-1, 0, 0], &[0, 3, 1, 1, 1]]
        {
            assert_eq!(answer(numbers, &question(None)), None, "{numbers:?}");
        }
    }
}
