//! What the store's answers mean.

use std::time::Duration;

use crate::routing::{Denial, Scope, Which};

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

/// The numbers that `admit.lua` returns. `model_probe` says whether the probe, if any, is one of a model. None if they are
/// none of its answers.
pub fn answer(numbers: &[i64], model_probe: bool) -> Option<Answer> {
    let number = |at: usize| numbers.get(at).and_then(|number| u64::try_from(*number).ok());
    if number(0)? == 1 {
        return Some(Answer::Granted { second: number(1)?, ms: number(2)? });
    }
    let limit = number(3)?;
    let limit = match number(2)? {
        1 => Some((Which::Requests, limit)),
        2 => Some((Which::Tokens, limit)),
        3 => Some((Which::Concurrency, limit)),
        4 => None,
        _ => return None,
    };
    let scope = match (number(1)?, limit) {
        (_, None) if model_probe => Scope::Model,
        (2, _) => Scope::Model,
        _ => Scope::Credential,
    };
    Some(Answer::Denied(Denial { scope, limit, wait: Duration::from_millis(number(4)?.min(61_000)) }))
}

/// A scope, as the script is told of it.
pub fn code(scope: Scope) -> i64 {
    match scope {
        Scope::Credential => 1,
        Scope::Model => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_answers() {
        assert_eq!(answer(&[1, 17, 17_250], false), Some(Answer::Granted { second: 17, ms: 17_250 }));
        let denied =
            |scope, limit, ms| Some(Answer::Denied(Denial { scope, limit, wait: Duration::from_millis(ms) }));
        assert_eq!(
            answer(&[0, 2, 2, 900, 4000], false),
            denied(Scope::Model, Some((Which::Tokens, 900)), 4000)
        );
        assert_eq!(answer(&[0, 0, 4, 0, 1000], true), denied(Scope::Model, None, 1000));
        assert_eq!(answer(&[0, 0, 4, 0, 1000], false), denied(Scope::Credential, None, 1000));
    }

    #[test]
    fn other_numbers_are_no_answer() {
        for numbers in [[].as_slice(), &[1], &[0, 1, 9, 1, 1], &[0, 1, 1, -1, 5], &[-1, 0, 0]] {
            assert_eq!(answer(numbers, false), None, "{numbers:?}");
        }
    }
}
