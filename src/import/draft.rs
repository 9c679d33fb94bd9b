//! A configuration in the making: maps and lists of values with remarks between them, written out as YAML.
//!
//! serde_yaml writes no comments, and comments are what an import is read for: whatever has no equal stands where the
//! reader looks for it. Texts come from outside, so every one that YAML could read as something else is quoted, and what
//! cannot be printed is escaped (YAML 1.2, 5.7).

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text, quoted where it must be.
    Text(String),
    /// A number or a switch.
    Bare(String),
    List(Vec<Value>),
    Map(Map),
}

/// Keys with their values, and remarks, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map(Vec<Line>);

#[derive(Clone, Debug, PartialEq)]
enum Line {
    Pair(String, Value),
    Remark(String),
}

const WIDTH: usize = 100;

impl Map {
    /// Adds a key with its value.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.0.push(Line::Pair(key.to_owned(), value.into()));
        self
    }

    /// Adds a comment. What it says may come from outside: it cannot leave its line.
    pub fn remark(&mut self, text: &str) -> &mut Self {
        let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
        let text = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        self.0.push(Line::Remark(text));
        self
    }

    /// Adds all lines of another.
    pub fn append(&mut self, mut other: Self) -> &mut Self {
        self.0.append(&mut other.0);
        self
    }

    /// Whether there is neither a key nor a remark.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is no key, though there may be remarks.
    pub fn is_keyless(&self) -> bool {
        self.0.iter().all(|line| matches!(line, Line::Remark(_)))
    }

    /// Whether it has the key.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|line| matches!(line, Line::Pair(known, _) if known == key))
    }

    /// The whole text.
    pub fn yaml(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, indent: usize) {
        for line in &self.0 {
            match line {
                Line::Pair(key, value) => {
                    pad(out, indent);
                    out.push_str(&text(key));
                    out.push(':');
                    value.write(out, indent);
                }
                Line::Remark(remark) => comment(out, indent, remark),
            }
        }
    }
}

impl Value {
    /// Writes what stands after a colon of a line that begins at `indent`.
    fn write(&self, out: &mut String, indent: usize) {
        match self {
            Self::Text(value) => out.extend([" ", &text(value), "\n"]),
            Self::Bare(value) => out.extend([" ", value, "\n"]),
            Self::List(items) if items.is_empty() => out.push_str(" []\n"),
            Self::Map(map) if map.is_empty() => out.push_str(" {}\n"),
            Self::Map(map) => {
                out.push('\n');
                map.write(out, indent + 2);
            }
            Self::List(items) => {
                out.push('\n');
                items.iter().for_each(|item| item.write_item(out, indent + 2));
            }
        }
    }

    fn write_item(&self, out: &mut String, indent: usize) {
        let Self::Map(map) = self else {
            pad(out, indent);
            out.push('-');
            return self.write(out, indent);
        };
        let mut item = String::new();
        map.write(&mut item, indent + 2);
        // The dash belongs before the first key, after the remarks on it.
        let at = item.split_inclusive('\n').take_while(|line| line.trim_start().starts_with('#'));
        let at = at.map(str::len).sum::<usize>() + indent;
        if item.get(at..at + 2) == Some("  ") {
            item.replace_range(at..at + 2, "- ");
        }
        out.push_str(&item);
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(switch: bool) -> Self {
        Self::Bare(switch.to_string())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Bare(number.to_string())
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}

impl<V: Into<Value>> From<Vec<V>> for Value {
    fn from(items: Vec<V>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn comment(out: &mut String, indent: usize, remark: &str) {
    let mut length = WIDTH;
    for word in remark.split(' ') {
        if length + word.len() >= WIDTH {
            if length != WIDTH {
                out.push('\n');
            }
            pad(out, indent);
            out.push('#');
            length = indent + 1;
        }
        out.extend([" ", word]);
        length += 1 + word.len();
    }
    out.push('\n');
}

/// A text as YAML reads it back.
fn text(value: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || "_-./:@+%#".contains(c);
    let plain = value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && value.chars().all(word)
        && !value.ends_with(':')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&value.to_ascii_lowercase().as_str());
    match plain {
        true => value.to_owned(),
        false => quoted(value),
    }
}

fn quoted(value: &str) -> String {
    let mut out = String::from('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c if c.is_alphanumeric() => out.push(c),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn remarks_stand_before_the_item_that_they_are_about() {
        let mut first = Map::default();
        first.remark("`weight` has no equal").set("name", "a").set("rpm", 5);
        let mut second = Map::default();
        second.set("name", "b: c").set("models", vec!["x", "yes"]);
        let mut whole = Map::default();
        whole.set("credentials", vec![first, second]).set("open", true);
        let wanted = "\
credentials:
    # `weight` has no equal
  - name: a
    rpm: 5
  - name: \"b: c\"
    models:
      - x
      - \"yes\"
open: true
";
        assert_eq!(whole.yaml(), wanted);
    }

    #[test]
    fn a_long_remark_is_broken_between_words_and_cannot_leave_its_lines() {
        let mut map = Map::default();
        map.remark(&format!("{}\nmaster_key: stolen", "word ".repeat(40)));
        assert!(map.yaml().lines().all(|line| line.starts_with("# ") && line.len() <= WIDTH + 10));
        assert!(map.yaml().lines().count() > 1);
    }

    proptest! {
        #[test]
        fn every_text_is_read_back_as_it_was(text in any::<String>(), key in "[a-z*][ -~]{0,12}") {
            let mut inner = Map::default();
            inner.remark(&text).set(&key, text.as_str());
            let mut map = Map::default();
            map.set("list", vec![inner]);
            let read: serde_yaml::Value = serde_yaml::from_str(&map.yaml()).unwrap();
            prop_assert_eq!(read["list"][0][key.as_str()].as_str(), Some(text.as_str()));
        }
    }
}
