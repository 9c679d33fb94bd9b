//! How much a model is to think, in the words that it knows.
//!
//! Older models have a budget in tokens, newer ones decide by themselves within an effort, and those of 4.6 know both.
//! What the client says in one way is said in the other where it must be; nothing is said twice, since a budget and an
//! effort that are both guessed contradict each other. Thoughts are asked for in words, which newer models leave out by
//! default, unless the client wants none.
//!
//! A forced call and thoughts exclude each other. The call is what the client wants, so a model that thinks by itself
//! is then told not to. Sources: build-with-claude/effort, adaptive-thinking and extended-thinking of
//! platform.claude.com, what's new in Opus 5.5 and in Sonnet 5.5.

use super::body::Thinking as Written;
use super::models::{Model, Off, Thinking};
use crate::dialect::conversation::{Effort, Reasoning};

/// The smallest budget that is taken.
const LEAST_BUDGET: u64 = 1024;

/// What the thinking depends on.
pub struct Thoughts {
    /// The model.
    pub model: Model,
    /// What the client wants.
    pub wanted: Option<Reasoning>,
    /// Nothing forbids it: no forced call, no beginning of the answer.
    pub may: bool,
    /// The model does not wait for results of calls that it made without a thought: with a budget it must think first.
    pub may_begin: bool,
    /// What thoughts and answer may take.
    pub max_tokens: u64,
}

/// The thinking, as it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thought {
    /// The member `thinking`.
    pub thinking: Option<Written>,
    /// The member `output_config.effort`.
    pub effort: Option<Effort>,
}

impl Thought {
    /// Whether the model is told to think.
    pub fn is_on(&self) -> bool {
        matches!(self.thinking, Some(Written::Adaptive { .. } | Written::Enabled { .. }))
    }
}

impl Thoughts {
    /// The thinking.
    pub fn thought(&self) -> Thought {
        let wanted = self.wanted.unwrap_or_default();
        let refused = wanted.effort == Some(Effort::None) || wanted.budget == Some(0);
        let silenced = !self.may && matches!(self.model.off, Off::Disabled | Off::BetweenTools);
        if refused || silenced {
            return self.off(wanted);
        }
        if wanted == Reasoning::default() || !self.may {
            let effort = wanted.effort.and_then(|effort| self.model.effort(effort));
            return Thought { thinking: None, effort };
        }
        match self.model.thinking {
            Thinking::Never => Thought::default(),
            Thinking::Budget => self.budgeted(wanted),
            Thinking::Either if wanted.budget.is_some() => self.budgeted(wanted),
            Thinking::Either | Thinking::Adaptive => self.adaptive(wanted),
        }
    }

    fn off(&self, wanted: Reasoning) -> Thought {
        let effort = wanted.effort.filter(|effort| *effort != Effort::None);
        let known = |effort| self.model.effort(effort);
        // Above `high` a model will not stop thinking.
        let low = effort.and_then(known).map(|effort| effort.min(Effort::High));
        match self.model.off {
            Off::Silence => Thought { thinking: None, effort: effort.and_then(known) },
            Off::Disabled => Thought { thinking: Some(Written::Disabled), effort: low },
            Off::BetweenTools => Thought { thinking: Some(Written::BetweenTools), effort: low },
            Off::Never => Thought { thinking: None, effort: effort.or(Some(Effort::Low)).and_then(known) },
        }
    }

    fn budgeted(&self, wanted: Reasoning) -> Thought {
        let effort = wanted.effort.and_then(|effort| self.model.effort(effort));
        let guessed = match wanted.effort {
            None if !wanted.adaptive => None,
            Some(Effort::None | Effort::Minimal) => Some(LEAST_BUDGET),
            Some(Effort::Low) => Some(2048),
            Some(Effort::Medium) => Some(8192),
            Some(Effort::High) | None => Some(16_384),
            Some(Effort::XHigh | Effort::Max) => Some(32_000),
        };
        // At least a quarter is left for the answer.
        let most =
            if wanted.budget.is_some() { self.max_tokens.saturating_sub(1) } else { self.max_tokens / 4 * 3 };
        let budget = wanted.budget.or(guessed).map(|budget| budget.max(LEAST_BUDGET).min(most));
        let display = (wanted.shown == Some(false)).then_some("omitted");
        let thinking = budget
            .filter(|budget| *budget >= LEAST_BUDGET && self.may_begin)
            .map(|budget_tokens| Written::Enabled { budget_tokens, display });
        Thought { thinking, effort }
    }

    fn adaptive(&self, wanted: Reasoning) -> Thought {
        let guessed = wanted.budget.map(|budget| match budget {
            0..4096 => Effort::Low,
            4096..16_384 => Effort::Medium,
            _ => Effort::High,
        });
        let effort = wanted.effort.or(guessed).and_then(|effort| self.model.effort(effort));
        let display = if wanted.shown == Some(false) { "omitted" } else { "summarized" };
        Thought { thinking: Some(Written::Adaptive { display }), effort }
    }
}
