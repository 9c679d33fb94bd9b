//! What a model can do and a request may need: a set in one byte, so that passing a candidate over costs one comparison.
//!
//! The names are those of the users: images, tools, documents, audio. `prefill` (going on from an assistant's
//! turn that has begun) is never needed by a request; it is said of a model for those who want to continue an answer.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that a model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Ability {
    // It sees pictures.
    Images,
    // It calls tools.
    Tools,
    // It reads files such as PDF.
    Documents,
    // It hears sound.
    Audio,
    // It goes on where an assistant's turn breaks off.
    Prefill,
}

/// Some of them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities(u8);

const ALL: [Ability; 5] =
    [Ability::Images, Ability::Tools, Ability::Documents, Ability::Audio, Ability::Prefill];

impl Ability {
    /// As the configuration spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Tools => "tools",
            Self::Documents => "documents",
            Self::Audio => "audio",
            Self::Prefill => "prefill",
        }
    }
}

impl Abilities {
    /// None.
    pub const NONE: Self = Self(0);

    /// Those of a model of which nothing is said: all but `prefill`, which many hosts refuse.
    pub fn assumed() -> Self {
        ALL.into_iter().filter(|ability| *ability != Ability::Prefill).collect()
    }

    /// Adds one.
    pub fn add(&mut self, ability: Ability) {
        self.0 |= 1 << ability as u8;
    }

    /// Adds all of `other`.
    pub fn join(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether `ability` is among them.
    pub fn has(self, ability: Ability) -> bool {
        self.0 & (1 << ability as u8) != 0
    }

    /// Whether all of `needed` are among them.
    pub fn cover(self, needed: Self) -> bool {
        needed.0 & !self.0 == 0
    }

    /// Those that both have.
    pub fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those of `self` that `other` has not.
    pub fn beyond(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Ability> for Abilities {
    fn from_iter<T: IntoIterator<Item = Ability>>(abilities: T) -> Self {
        let mut all = Self::NONE;
        abilities.into_iter().for_each(|ability| all.add(ability));
        all
    }
}

/// Their names with commas.
impl fmt::Display for Abilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = ALL.into_iter().filter(|ability| self.has(*ability)).map(Ability::as_str);
        f.write_str(names.next().unwrap_or("nothing"))?;
        names.try_for_each(|name| write!(f, ", {name}"))
    }
}

impl fmt::Debug for Abilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Abilities({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_of_which_nothing_is_said_can_do_all_but_go_on_from_a_prefill() {
        let assumed = Abilities::assumed();
        assert!(assumed.has(Ability::Images) && !assumed.has(Ability::Prefill));
        assert_eq!(assumed.to_string(), "images, tools, documents, audio");
    }

    #[test]
    fn a_set_covers_what_is_in_it_and_no_more() {
        let some: Abilities = [Ability::Tools, Ability::Images].into_iter().collect();
        let more: Abilities = [Ability::Tools, Ability::Audio].into_iter().collect();
        assert!(some.cover(Abilities::NONE) && some.cover(some) && !some.cover(more));
        assert_eq!(more.beyond(some).to_string(), "audio");
        assert_eq!(more.common(some).to_string(), "tools");
    }
}
