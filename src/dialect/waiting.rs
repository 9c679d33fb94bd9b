//! The calls of a conversation that wait for their results.
//!
//! Clients tell results by the call's id or, as Gemini's older ones, by its name alone, in any order. A request may have
//! thousands of both, so a call is found by its key and never by going through all of them.

use std::collections::{HashMap, VecDeque};

/// Calls by number, in the order of the calls.
#[derive(Default)]
pub struct Waiting<'a> {
    by_id: HashMap<&'a str, VecDeque<usize>>,
    by_name: HashMap<&'a str, VecDeque<usize>>,
    all: VecDeque<usize>,
    answered: Vec<bool>,
}

impl<'a> Waiting<'a> {
    /// One more call. Numbers count from zero.
    pub fn add(&mut self, id: &'a str, name: &'a str) {
        let number = self.answered.len();
        self.by_id.entry(id).or_default().push_back(number);
        self.by_name.entry(name).or_default().push_back(number);
        self.all.push_back(number);
        self.answered.push(false);
    }

    /// The number of the first waiting call of this id; where a result has none, of this name; or else the first.
    pub fn take(&mut self, id: &str, name: Option<&str>) -> Option<usize> {
        let numbers = match name {
            _ if !id.is_empty() => self.by_id.get_mut(id)?,
            Some(name) => self.by_name.get_mut(name)?,
            None => &mut self.all,
        };
        // What the other key has found is still in this one.
        while let Some(number) = numbers.pop_front() {
            if let Some(answered @ false) = self.answered.get_mut(number) {
                *answered = true;
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_found_once_by_its_id_or_its_name() {
        let mut waiting = Waiting::default();
        for (id, name) in [("a", "f"), ("b", "f"), ("a", "g")] {
            waiting.add(id, name);
        }
        assert_eq!(waiting.take("a", Some("g")), Some(0));
        assert_eq!(waiting.take("", Some("f")), Some(1));
        assert_eq!(waiting.take("b", None), None);
        assert_eq!(waiting.take("a", None), Some(2));
        assert_eq!(waiting.take("", Some("g")), None);
        waiting.add("", "h");
        assert_eq!(waiting.take("", None), Some(3));
    }
}
