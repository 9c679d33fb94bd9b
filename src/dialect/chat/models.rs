//! What the name of a model tells about what it takes.
//!
//! OpenAI's models that reason refuse sampling settings, penalties and `stop` (its reasoning guide; in public issues
//! `Unsupported parameter: 'stop'` and `'presence_penalty'`). GPT-5.1 and 5.2 take them when told not to reason (its guide
//! to these; 5.6 is on record as refusing), and the `-chat` ones do not reason. The older ones refuse an effort. From GPT-5.4 on OpenAI has
//! tools in chat completions only without reasoning (`Function tools with reasoning_effort are not supported`, 400; 5.6
//! wants the word `none` even where no effort was asked for): a model that can act is worth more than one that thinks. What is not known takes all, or does not look at it.

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

/// How much the model is told to think when this is `asked`.
pub(super) fn effort(model: &str, asked: Option<Effort>, tools: bool) -> Option<Effort> {
    // At another host than OpenAI the maker stands before the name.
    let minor = model.strip_prefix("gpt-5.").and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
    match Family::of(model) {
        Family::OpenAiPlain => None,
        Family::OpenAiReasoning if tools && minor >= Some(4) => Some(Effort::None),
        _ => asked,
    }
}

/// Whether the model takes sampling settings when it is asked for this effort.
pub(super) fn takes_sampling(model: &str, effort: Option<Effort>) -> bool {
    let optional = ["gpt-5.1", "gpt-5.2"].iter().any(|beginning| short(model).starts_with(beginning));
    let may_not_reason = optional && effort == Some(Effort::None);
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
    fn the_newer_ones_have_tools_or_reasoning() {
        assert_eq!(effort("gpt-5.4-mini", Some(Effort::High), true), Some(Effort::None));
        assert_eq!(effort("gpt-5.6", None, true), Some(Effort::None));
        assert_eq!(effort("gpt-5.6", Some(Effort::High), false), Some(Effort::High));
        assert_eq!(effort("gpt-5.1", Some(Effort::High), true), Some(Effort::High));
        assert_eq!(effort("openai/gpt-5.6", Some(Effort::High), true), Some(Effort::High));
        assert_eq!(effort("gpt-4.1", Some(Effort::High), false), None);
    }

    #[test]
    fn models_that_may_not_reason_take_settings_then() {
        assert!(takes_sampling("gpt-5.2", Some(Effort::None)));
        assert!(!takes_sampling("gpt-5.2", None));
        assert!(!takes_sampling("gpt-5", Some(Effort::None)));
        assert!(!takes_sampling("gpt-5.6-luna", Some(Effort::None)));
        assert!(takes_sampling("gpt-4.1", None));
    }
}
