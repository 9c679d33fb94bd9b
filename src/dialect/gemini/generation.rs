//! What a Gemini model can do, as far as its name tells.
//!
//! Hosts answer 400 to members that a model does not know: call ids before 3, thinking levels before 3, budgets
//! before 2.5, penalties from 3 on. Names without a version (`gemini-flash-latest`) mean the newest; anything else
//! (Gemma, tuned endpoints) gets the plainest request. Sources: ai.google.dev/gemini-api/docs/thinking,
//! /docs/gemini-3, /docs/whats-new-gemini-3.7 (levels); cloud.google.com thinking (bounds of budgets);
//! /docs/models (output token limits).

use serde::Serialize;

use crate::dialect::conversation::{Effort, Reasoning};

/// A model.
#[derive(Clone, Copy)]
pub struct Model<'a> {
    name: &'a str,
    version: (u32, u32),
}

/// `thinkingConfig`: a level or a budget, never both.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Thinking {
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    include_thoughts: Option<bool>,
}

impl<'a> Model<'a> {
    /// The model of this name.
    pub fn new(name: &'a str) -> Self {
        Self { name, version: version(name) }
    }

    /// Gemini 3 and later: calls have ids and need their signatures, results hold pictures, tools and a format go
    /// together.
    pub fn is_third(self) -> bool {
        self.version >= (3, 0)
    }

    /// The longest answer that may be asked for; more is a 400. No bound where none is known.
    pub fn most_tokens(self) -> u64 {
        match self.version {
            (2, 0) => 8192,
            (2, 5) | (3, _) if self.name.contains("-image") => 32768,
            (2, 5) | (3, _) => 65536,
            _ => u64::MAX,
        }
    }

    /// Whether sampling is its caller's business.
    pub fn samples(self) -> bool {
        self.version < (3, 6) && !(self.version >= (3, 5) && self.name.contains("flash-lite"))
    }

    /// `thinkingConfig` for what the client wants; `None` where it says nothing or the model does not think.
    pub fn thinking(self, reasoning: &Reasoning) -> Option<Thinking> {
        let draws = self.version < (3, 0) && (self.name.contains("-image") || self.name.contains("-tts"));
        if self.version < (2, 5) || draws {
            return None;
        }
        let (level, budget) = match self.is_third() {
            true => (self.level(reasoning), None),
            false => (None, self.budget(reasoning)),
        };
        // Who asks for thought without a word on showing it has an API that shows it. To show thoughts where there are
        // none is a 400.
        let thinks = budget != Some(0) && reasoning.effort != Some(Effort::None);
        let asked = thinks && (level.is_some() || budget.is_some());
        let shown = reasoning.shown.or(asked.then_some(true)).filter(|_| budget != Some(0));
        (level.is_some() || budget.is_some() || shown.is_some()).then_some(Thinking {
            thinking_level: level,
            thinking_budget: budget,
            include_thoughts: shown,
        })
    }

    fn level(self, reasoning: &Reasoning) -> Option<&'static str> {
        let effort = reasoning.effort.or(reasoning.budget.map(|budget| match budget {
            0 => Effort::None,
            1..=4096 => Effort::Low,
            4097..=16384 => Effort::Medium,
            _ => Effort::High,
        }))?;
        let pro = self.name.contains("-pro");
        Some(match effort {
            // Thinking cannot be switched off; the least is not the same for all.
            Effort::None | Effort::Minimal if !pro && self.version < (3, 7) => "MINIMAL",
            Effort::None | Effort::Minimal | Effort::Low => "LOW",
            Effort::Medium if !(pro && self.version == (3, 0)) => "MEDIUM",
            _ => "HIGH",
        })
    }

    fn budget(self, reasoning: &Reasoning) -> Option<i64> {
        let (least, most) = match self.name {
            name if name.contains("-pro") => (128, 32768),
            name if name.contains("flash-lite") => (512, 24576),
            _ => (1, 24576),
        };
        let off = if least == 128 { 128 } else { 0 };
        // The steps of Google's own OpenAI-compatible endpoint.
        let of_effort = |effort| match effort {
            Effort::None => 0,
            Effort::Minimal | Effort::Low => 1024,
            Effort::Medium => 8192,
            Effort::High => 24576,
            Effort::XHigh | Effort::Max => most,
        };
        match reasoning.budget.or(reasoning.effort.map(of_effort)) {
            Some(0) => Some(off),
            Some(budget) => i64::try_from(budget.clamp(least, most)).ok(),
            None => reasoning.adaptive.then_some(-1),
        }
    }
}

fn version(name: &str) -> (u32, u32) {
    let Some((_, rest)) = name.split_once("gemini-") else { return (0, 0) };
    if rest.ends_with("latest") && !rest.starts_with(|c: char| c.is_ascii_digit()) {
        return (u32::MAX, 0);
    }
    let number = rest.split('-').next().unwrap_or_default();
    let mut numbers = number.split('.').map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
