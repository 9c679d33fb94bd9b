//! Which credential owns an id that an upstream gave: a file, a batch, a stored response, a conversation.
//!
//! Bounded, oldest out first: an id is asked for soon after it was given, or seldom. Credentials are kept by name, so
//! that a file of pins outlives a change of the configuration. A line of such a file is the id, a tab, and the name.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// So many ids are remembered.
const MOST: usize = 100_000;
/// Longer texts are no ids.
const LONGEST: usize = 256;

/// Ids and their owners.
#[derive(Debug)]
pub struct Pins {
    owners: HashMap<Arc<str>, Arc<str>>,
    /// Oldest first.
    order: VecDeque<Arc<str>>,
    /// Each owner's name once.
    names: HashSet<Arc<str>>,
    most: usize,
}

impl Default for Pins {
    fn default() -> Self {
        Self::with_room_for(MOST)
    }
}

impl Pins {
    /// No pins, and room for `most`.
    pub fn with_room_for(most: usize) -> Self {
        let most = most.max(1);
        Self { owners: HashMap::new(), order: VecDeque::new(), names: HashSet::new(), most }
    }

    /// Pins from a file's text; later lines win. Lines that are none are skipped.
    pub fn from_lines(text: &str) -> Self {
        let mut pins = Self::default();
        for (id, name) in text.lines().filter_map(|line| line.split_once('\t')) {
            pins.learn(id, name);
        }
        pins
    }

    /// All pins as a file's text, oldest first.
    pub fn to_lines(&self) -> String {
        let pinned = self.order.iter().filter_map(|id| Some((id, self.owners.get(id)?)));
        pinned.map(|(id, name)| Self::line(id, name)).collect()
    }

    /// All pins, by the credential that they belong to; oldest first.
    pub fn by_owner(&self) -> BTreeMap<String, Vec<String>> {
        let mut owned: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for id in &self.order {
            if let Some(owner) = self.owners.get(id) {
                owned.entry(owner.to_string()).or_default().push(id.to_string());
            }
        }
        owned
    }

    /// One pin as a line of a file, with its end.
    pub fn line(id: &str, credential: &str) -> String {
        format!("{id}\t{credential}\n")
    }

    /// `id` belongs to `credential`. Whether that is news, and so worth a line. What cannot be an id is not learned.
    pub fn learn(&mut self, id: &str, credential: &str) -> bool {
        let plausible =
            !id.is_empty() && id.len() <= LONGEST && id.bytes().all(|byte| byte.is_ascii_graphic());
        if !plausible || credential.is_empty() || self.lookup(id) == Some(credential) {
            return false;
        }
        let name = self.name(credential);
        if let Some(owner) = self.owners.get_mut(id) {
            *owner = name;
            return true;
        }
        while self.order.len() >= self.most {
            if let Some(oldest) = self.order.pop_front() {
                self.owners.remove(&oldest);
            }
        }
        let id: Arc<str> = id.into();
        self.order.push_back(id.clone());
        self.owners.insert(id, name);
        true
    }

    /// The name of the credential that `id` belongs to.
    pub fn lookup(&self, id: &str) -> Option<&str> {
        self.owners.get(id).map(|name| &**name)
    }

    fn name(&mut self, credential: &str) -> Arc<str> {
        if let Some(name) = self.names.get(credential) {
            return name.clone();
        }
        let name: Arc<str> = credential.into();
        self.names.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_outlives_a_restart() {
        let mut pins = Pins::default();
        assert!(pins.learn("file-1", "main"));
        assert!(pins.learn("resp_2", "spare one"));
        assert!(!pins.learn("file-1", "main"), "no news");
        let again = Pins::from_lines(&pins.to_lines());
        assert_eq!(again.lookup("file-1"), Some("main"));
        assert_eq!(again.lookup("resp_2"), Some("spare one"));
        assert_eq!(again.to_lines(), "file-1\tmain\nresp_2\tspare one\n");
    }

    #[test]
    fn the_oldest_goes_first_and_a_new_owner_replaces_the_old() {
        let mut pins = Pins::with_room_for(2);
        for id in ["a", "b", "c"] {
            pins.learn(id, "main");
        }
        assert_eq!(pins.lookup("a"), None);
        assert!(pins.learn("b", "spare"));
        assert_eq!((pins.lookup("b"), pins.lookup("c")), (Some("spare"), Some("main")));
    }

    #[test]
    fn what_cannot_be_an_id_is_not_learned() {
        let mut pins = Pins::default();
        let long = "x".repeat(LONGEST + 1);
        for id in ["", "a b", "a\tb", "a\nb", "id\u{e9}", long.as_str()] {
            assert!(!pins.learn(id, "main"), "{id:?}");
        }
        assert_eq!(Pins::from_lines("no tab\n\tname\nid\t\nfile-1\tmain").to_lines(), "file-1\tmain\n");
    }
}
