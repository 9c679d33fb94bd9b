//! What a Claude model takes, by its name.
//!
//! Anthropic refuses what a model has outgrown (400), and no answer of the API says beforehand what that is. So the
//! family and the version are read out of the name, in any order and with any prefix or date (`claude-3-5-sonnet-latest`,
//! `claude-sonnet-4@20250514`, `anthropic/claude-4.6-opus`), and the habits follow from them by generation: a rule for
//! each change instead of a row for each model, so that a dated or new name needs no release of ours. A name without
//! a version has the newest habits.
//!
//! Sources: platform.claude.com docs, models/overview (longest answers, default efforts), build-with-claude/effort
//! (levels), models/*/whats-new-* of 4.6, Opus 4.8, Opus 5.5, Sonnet 5.5 and Haiku 5.5 (prefill, sampling, thinking that
//! cannot be switched off, forced tools, turns of the operator); cloud.google.com, partner-models/claude
//! (structured outputs from 4.5 on); releases of @ai-sdk/anthropic 4.0.60 and later and of @langchain/anthropic 1.5.13,
//! which state the same per model.

use crate::dialect::conversation::Effort;

/// What one model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// Of `temperature`, `top_p` and `top_k`.
    pub sampling: Sampling,
    /// How it is told to think.
    pub thinking: Thinking,
    /// How it is told not to think.
    pub off: Off,
    /// The highest `output_config.effort`; `None`: it knows no such member.
    pub effort: Option<Effort>,
    /// Whether it knows `xhigh`, which came after `max`.
    pub xhigh: bool,
    /// Whether it knows `output_config.format`.
    pub structured: bool,
    /// Whether `tool_choice` may force a call.
    pub forced: bool,
    /// Whether it goes on from a last turn of its own.
    pub prefill: bool,
    /// Whether `messages` may hold turns of the operator.
    pub system_turns: bool,
    /// The longest answer, in tokens.
    pub max_tokens: u64,
}

/// Which sampling parameters a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// None.
    Refused,
    /// Temperature or `top_p`, not both.
    Either,
    /// Any.
    Any,
}

/// How a model is told to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// It cannot.
    Never,
    /// `enabled` with a budget.
    Budget,
    /// Both ways.
    Either,
    /// `adaptive` only.
    Adaptive,
}

/// How a model is told not to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// It does so only when asked.
    Silence,
    /// `disabled`, at an effort of `high` or less.
    Disabled,
    /// `between_tools`, at an effort of `high` or less.
    BetweenTools,
    /// It cannot be.
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Opus,
    Sonnet,
    Haiku,
    /// And Mythos, its sibling of equal habits.
    Fable,
    Other,
}

/// Later than anything.
const NEWEST: (u32, u32) = (u32::MAX, 0);

impl Model {
    /// The habits of the model of this name.
    pub fn named(name: &str) -> Self {
        let (family, version) = family_and_version(name);
        let after = |major, minor| version >= (major, minor);
        Self {
            sampling: match version {
                _ if after(4, 7) => Sampling::Refused,
                _ if after(4, 1) => Sampling::Either,
                _ => Sampling::Any,
            },
            thinking: match version {
                _ if after(4, 7) => Thinking::Adaptive,
                _ if after(4, 6) => Thinking::Either,
                _ if after(3, 7) => Thinking::Budget,
                _ => Thinking::Never,
            },
            off: off(family, version),
            effort: match family {
                _ if after(4, 6) => Some(Effort::Max),
                Family::Opus if after(4, 5) => Some(Effort::High),
                _ => None,
            },
            xhigh: after(4, 7),
            structured: after(4, 5),
            forced: match family {
                Family::Fable => !after(5, 1),
                Family::Haiku => version == NEWEST || !after(5, 6),
                _ => !after(5, 5),
            },
            prefill: !after(4, 6),
            // Sonnet 5 is said to have them by one source and not to by another: the operator's words in a turn of the
            // user are understood either way.
            system_turns: if family == Family::Sonnet { after(5, 5) } else { after(4, 8) },
            max_tokens: max_tokens(family, version),
        }
    }

    /// The word for an effort, at most as high as the model knows; `None` where it knows none.
    pub fn effort(&self, wanted: Effort) -> Option<Effort> {
        let highest = self.effort?;
        Some(match wanted {
            Effort::None | Effort::Minimal => Effort::Low,
            Effort::XHigh if !self.xhigh => Effort::High,
            wanted => wanted.min(highest),
        })
    }
}

fn off(family: Family, version: (u32, u32)) -> Off {
    match family {
        _ if version < (5, 0) => Off::Silence,
        Family::Haiku => Off::Disabled,
        Family::Opus | Family::Sonnet if version < (5, 5) => Off::Disabled,
        Family::Sonnet => Off::BetweenTools,
        Family::Opus | Family::Fable | Family::Other => Off::Never,
    }
}

fn max_tokens(family: Family, version: (u32, u32)) -> u64 {
    match version {
        _ if version >= (4, 6) => 128_000,
        _ if version >= (4, 5) => 64_000,
        _ if version >= (4, 0) && family == Family::Opus => 32_000,
        _ if version >= (3, 7) => 64_000,
        _ if version >= (3, 5) => 8_192,
        _ => 4_096,
    }
}

/// Words and numbers of the name. A number of more than two digits is a date, and what follows it no version.
fn family_and_version(name: &str) -> (Family, (u32, u32)) {
    let name = name.to_ascii_lowercase();
    let name = name.find("claude").and_then(|at| name.get(at..)).unwrap_or(&name);
    let mut family = Family::Other;
    let mut numbers = Vec::new();
    for word in name.split(|c: char| !c.is_ascii_alphanumeric()) {
        match word {
            "opus" => family = Family::Opus,
            "sonnet" => family = Family::Sonnet,
            "haiku" => family = Family::Haiku,
            "fable" | "mythos" => family = Family::Fable,
            "instant" => return (Family::Other, (1, 0)),
            word => match word.parse() {
                Ok(number) if word.len() <= 2 => numbers.push(number),
                Ok(_) => break,
                Err(_) => {}
            },
        }
    }
    match numbers.as_slice() {
        [] => (family, NEWEST),
        [major] => (family, (*major, 0)),
        [major, minor, ..] => (family, (*major, *minor)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_make_are_read() {
        let of = family_and_version;
        assert_eq!(of("claude-3-5-sonnet-20241022"), (Family::Sonnet, (3, 5)));
        assert_eq!(of("claude-sonnet-4@20250514"), (Family::Sonnet, (4, 0)));
        assert_eq!(of("claude-opus-4-20250514"), (Family::Opus, (4, 0)));
        assert_eq!(of("anthropic/claude-4.6-opus"), (Family::Opus, (4, 6)));
        assert_eq!(of("us.anthropic.claude-haiku-4-5-20251001-v1:0"), (Family::Haiku, (4, 5)));
        assert_eq!(of("claude-opus-5"), (Family::Opus, (5, 0)));
        assert_eq!(of("claude-mythos-5-1"), (Family::Fable, (5, 1)));
        assert_eq!(of("claude-2.1"), (Family::Other, (2, 1)));
        assert_eq!(of("claude-sonnet-latest"), (Family::Sonnet, NEWEST));
        assert_eq!(of("house-model"), (Family::Other, NEWEST));
        assert_eq!(of(""), (Family::Other, NEWEST));
    }

    #[test]
    fn sampling_ends_with_the_seventh_of_the_fourth() {
        let sampling = |name| Model::named(name).sampling;
        assert_eq!(sampling("claude-3-5-haiku-latest"), Sampling::Any);
        assert_eq!(sampling("claude-sonnet-4-5-20250929"), Sampling::Either);
        assert_eq!(sampling("claude-opus-4-6"), Sampling::Either);
        for name in ["claude-opus-4-7", "claude-sonnet-5", "claude-haiku-5-5", "claude-fable-5", "unheard-of"]
        {
            assert_eq!(sampling(name), Sampling::Refused, "{name}");
        }
    }

    #[test]
    fn thinking_is_budgeted_then_adaptive() {
        let thinking = |name| Model::named(name).thinking;
        assert_eq!(thinking("claude-3-5-sonnet-20241022"), Thinking::Never);
        assert_eq!(thinking("claude-3-7-sonnet-20250219"), Thinking::Budget);
        assert_eq!(thinking("claude-haiku-4-5"), Thinking::Budget);
        assert_eq!(thinking("claude-sonnet-4-6"), Thinking::Either);
        assert_eq!(thinking("claude-opus-4-8"), Thinking::Adaptive);
    }

    #[test]
    fn thinking_stops_in_four_ways() {
        let off = |name| Model::named(name).off;
        assert_eq!(off("claude-opus-4-8"), Off::Silence);
        assert_eq!(off("claude-opus-5"), Off::Disabled);
        assert_eq!(off("claude-haiku-5-5"), Off::Disabled);
        assert_eq!(off("claude-sonnet-5-5"), Off::BetweenTools);
        assert_eq!(off("claude-opus-5-5"), Off::Never);
        assert_eq!(off("claude-fable-5"), Off::Never);
    }

    #[test]
    fn an_effort_that_is_not_known_becomes_the_next_lower_one() {
        let effort = |name, wanted| Model::named(name).effort(wanted);
        assert_eq!(effort("claude-sonnet-4-5", Effort::High), None);
        assert_eq!(effort("claude-opus-4-5", Effort::Max), Some(Effort::High));
        assert_eq!(effort("claude-opus-4-6", Effort::XHigh), Some(Effort::High));
        assert_eq!(effort("claude-opus-4-6", Effort::Max), Some(Effort::Max));
        assert_eq!(effort("claude-opus-4-7", Effort::XHigh), Some(Effort::XHigh));
        assert_eq!(effort("claude-opus-5", Effort::Minimal), Some(Effort::Low));
    }

    #[test]
    fn some_models_cannot_be_forced_to_call() {
        for name in ["claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-1", "claude-opus-latest"] {
            assert!(!Model::named(name).forced, "{name}");
        }
        for name in ["claude-opus-5", "claude-fable-5", "claude-haiku-5-5", "claude-3-haiku-20240307"] {
            assert!(Model::named(name).forced, "{name}");
        }
    }

    #[test]
    fn schemas_prefill_and_lengths_follow_the_generation() {
        let of = |name| {
            let model = Model::named(name);
            (model.structured, model.prefill, model.system_turns, model.max_tokens)
        };
        assert_eq!(of("claude-3-haiku-20240307"), (false, true, false, 4_096));
        assert_eq!(of("claude-3-5-sonnet-20241022"), (false, true, false, 8_192));
        assert_eq!(of("claude-opus-4-1-20250805"), (false, true, false, 32_000));
        assert_eq!(of("claude-sonnet-4@20250514"), (false, true, false, 64_000));
        assert_eq!(of("claude-haiku-4-5-20251001"), (true, true, false, 64_000));
        assert_eq!(of("claude-opus-4-6"), (true, false, false, 128_000));
        assert_eq!(of("claude-opus-4-8"), (true, false, true, 128_000));
        assert_eq!(of("claude-sonnet-5"), (true, false, false, 128_000));
        assert_eq!(of("claude-sonnet-5-5"), (true, false, true, 128_000));
    }
}
