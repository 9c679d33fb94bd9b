//! What the name of a model tells about what it takes.
//!
//! OpenAI's models that reason refuse sampling settings, penalties and `stop` (its reasoning guide and API reference);
//! those after GPT-5 take them when told not to reason (its guide to GPT-5.2), and the `-chat` ones do not reason. The
//! older ones refuse an effort. What is not known takes all, or does not look at it.

use crate::dialect::conversation::Effort;

/// Whose model it is, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// OpenAI's that reason: o1 and later, GPT-5 and later.
    OpenAiReasoning,
    /// OpenAI's that do not.
    OpenAiPlain,
    /// Google's Gemini.
    Gemini,
    /// Another.
    Unknown,
}

impl Family {
    /// By the model's name, with or without the maker's before it.
    pub fn of(model: &str) -> Self {
        let name = short(model);
        let is = |beginnings: &[&str]| beginnings.iter().any(|beginning| name.starts_with(beginning));
        if is(&["gpt-3.5", "gpt-4", "chatgpt-"]) || (is(&["gpt-5"]) && name.contains("-chat")) {
            Self::OpenAiPlain
        } else if is(&["gpt-5"]) || matches!(name.split('-').next(), Some("o1" | "o3" | "o4")) {
            Self::OpenAiReasoning
        } else if is(&["gemini"]) {
            Self::Gemini
        } else {
            Self::Unknown
        }
    }
}

/// Whether the model may be told how much to think.
pub(super) fn takes_effort(model: &str) -> bool {
    Family::of(model) != Family::OpenAiPlain
}

/// Whether the model takes sampling settings when it is asked for this effort.
pub(super) fn takes_sampling(model: &str, effort: Option<Effort>) -> bool {
    let may_not_reason = short(model).starts_with("gpt-5.") && effort == Some(Effort::None);
    Family::of(model) != Family::OpenAiReasoning || may_not_reason
}

fn short(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.strip_prefix("ft:").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_family() {
        for (name, family) in [
            ("gpt-5-mini", Family::OpenAiReasoning),
            ("openai/o3", Family::OpenAiReasoning),
            ("o4-mini-2025-04-16", Family::OpenAiReasoning),
            ("gpt-5-chat-latest", Family::OpenAiPlain),
            ("ft:gpt-4o-mini:us::1", Family::OpenAiPlain),
            ("models/gemini-3-pro", Family::Gemini),
            ("openai/gpt-oss-120b", Family::Unknown),
            ("o1x", Family::Unknown),
            ("", Family::Unknown),
        ] {
            assert_eq!(Family::of(name), family, "{name}");
        }
    }

    #[test]
    fn models_that_may_not_reason_take_settings_then() {
        assert!(takes_sampling("gpt-5.2", Some(Effort::None)));
        assert!(!takes_sampling("gpt-5.2", None));
        assert!(!takes_sampling("gpt-5", Some(Effort::None)));
        assert!(takes_sampling("gpt-4.1", None));
    }
}
