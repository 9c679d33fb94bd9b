//! Names that are taken, and others that are like them and free.
//!
//! A provider's alphabet makes one name of many, and a request may have thousands; so each remembers how far its numbers
//! have gone, and finding a free one does not begin again at two.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Room for a number at the end of a name that is as long as a name may be.
const ENDING: usize = 8;

/// The names.
#[derive(Default)]
pub struct Taken<'a> {
    names: HashSet<Cow<'a, str>>,
    /// The last number given, by what stands before it.
    numbers: HashMap<String, usize>,
}

impl<'a> Taken<'a> {
    /// Takes a name.
    pub fn add(&mut self, name: &'a str) {
        self.names.insert(Cow::Borrowed(name));
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Takes `like` if it is free, or else it with the next number. It is ASCII and at most `longest` long.
    pub fn free(&mut self, like: String, longest: usize) -> String {
        let name = if self.has(&like) { self.numbered(like, longest) } else { like };
        self.names.insert(Cow::Owned(name.clone()));
        name
    }

    fn numbered(&mut self, mut base: String, longest: usize) -> String {
        base.truncate(longest.saturating_sub(ENDING));
        let mut number = self.numbers.get(&base).copied().unwrap_or(1);
        let name = loop {
            number += 1;
            let name = format!("{base}_{number}");
            if !self.has(&name) {
                break name;
            }
        };
        self.numbers.insert(base, number);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_where_they_stopped_and_pass_over_what_is_taken() {
        let mut taken = Taken::default();
        taken.add("a_3");
        let names: Vec<_> = (0..4).map(|_| taken.free("a".to_owned(), 20)).collect();
        assert_eq!(names, ["a", "a_2", "a_4", "a_5"]);
    }

    #[test]
    fn a_name_of_full_length_is_cut_for_its_number() {
        let mut taken = Taken::default();
        let long = "x".repeat(20);
        assert_eq!(taken.free(long.clone(), 20), long);
        assert_eq!(taken.free(long, 20), format!("{}_2", "x".repeat(12)));
    }
}
