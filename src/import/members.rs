//! What an object of another program's file says, member by member, so that nothing of it is lost in silence.

use serde_json::{Map as Object, Value as Json};

use super::draft::Map;

/// An object, where it stands, and which of its members have been asked for.
pub struct Members<'o> {
    place: String,
    members: &'o Object<String, Json>,
    asked: Vec<&'static str>,
}

impl<'o> Members<'o> {
    /// An object at `place`; an error if it is none.
    pub fn of(place: impl Into<String>, value: &'o Json) -> Result<Self, String> {
        let place = place.into();
        match value.as_object() {
            Some(members) => Ok(Self { place, members, asked: Vec::new() }),
            None => Err(format!("{place} must be an object")),
        }
    }

    /// A fault of a member.
    pub fn wrong(&self, key: &str, what: &str) -> String {
        format!("{} {what}", self.path(key))
    }

    /// A member, unless it is null or empty.
    pub fn get(&mut self, key: &'static str) -> Option<&'o Json> {
        self.asked.push(key);
        self.members.get(key).filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    /// A text, as it is written here; numbers are taken for one.
    pub fn text(&mut self, key: &'static str) -> Result<Option<String>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(plain(text))),
            Some(Json::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(self.wrong(key, "must be a text")),
        }
    }

    /// A text that must be there.
    pub fn needed(&mut self, key: &'static str) -> Result<String, String> {
        self.text(key)?.ok_or_else(|| self.wrong(key, "is missing"))
    }

    /// A whole number, rounded up; what is below nought counts as nought.
    pub fn number(&mut self, key: &'static str) -> Result<Option<u64>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::Number(number)) => {
                let rounded = number.as_f64().map(|number| number.ceil().max(0.0) as u64);
                Ok(number.as_u64().or(rounded))
            }
            Some(_) => Err(self.wrong(key, "must be a number")),
        }
    }

    /// A list; empty where there is none.
    pub fn list(&mut self, key: &'static str) -> Result<&'o [Json], String> {
        match self.get(key) {
            None => Ok(&[]),
            Some(Json::Array(items)) => Ok(items),
            Some(_) => Err(self.wrong(key, "must be a list")),
        }
    }

    /// A list of texts.
    pub fn texts(&mut self, key: &'static str) -> Result<Vec<String>, String> {
        let items = self.list(key)?.iter();
        let texts = items.map(|item| item.as_str().map(plain));
        texts.collect::<Option<_>>().ok_or_else(|| self.wrong(key, "must be a list of texts"))
    }

    /// The object below a member; none where there is none.
    pub fn object(&mut self, key: &'static str) -> Result<Option<Self>, String> {
        let place = self.path(key);
        self.get(key).map(|value| Members::of(place, value)).transpose()
    }

    /// Remarks on the members that nobody has asked for. Their values may be secrets and are not shown.
    pub fn remark_rest(&self, map: &mut Map) {
        for key in self.members.keys().filter(|key| !self.asked.contains(&key.as_str())) {
            map.remark(&format!("`{}` has no equal here.", self.path(key)));
        }
    }

    fn path(&self, key: &str) -> String {
        if self.place.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.place)
        }
    }
}

/// A text of another program as it is written here. None of them reads `${…}` as a reference; `os.environ/` is LiteLLM's
/// own word, and means the same.
pub fn plain(text: &str) -> String {
    text.replace("${", "$${")
}
