//! Arguments that come in pieces, each under a JSONPath (`partialArgs`).
//!
//! Vertex sends them so only where a request asks for it, and ours never does; a native client's might, and an answer
//! that began so must still be readable. A tree is built and written once the call is complete, since the pieces of
//! two members may alternate. Source: cloud.google.com, PartialArg of aiplatform v1; recorded traffic.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::json::Str;

/// More than any tool has, less than would hurt.
const MOST_ITEMS: usize = 4096;
const DEEPEST: usize = 32;

/// A piece.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartialArg<'a> {
    #[serde(borrow)]
    json_path: Option<Str<'a>>,
    #[serde(borrow)]
    string_value: Option<Str<'a>>,
    #[serde(borrow)]
    number_value: Option<&'a RawValue>,
    bool_value: Option<bool>,
}

/// The arguments so far.
#[derive(Default)]
pub enum Tree {
    #[default]
    Nothing,
    Text(String),
    Bare(String),
    Object(Vec<(String, Tree)>),
    Array(Vec<Tree>),
}

impl Tree {
    /// Adds a piece; one whose path makes no sense is left out.
    pub fn add(&mut self, piece: &PartialArg) {
        let path = piece.json_path.as_deref().unwrap_or_default();
        let steps: Option<Vec<Step>> = Steps(path.trim_start_matches('$')).take(DEEPEST + 1).collect();
        let Some(steps) = steps.filter(|steps| steps.len() <= DEEPEST) else { return };
        let mut place = self;
        for step in steps {
            match place.step(step) {
                Some(next) => place = next,
                None => return,
            }
        }
        match (place, &piece.string_value) {
            (Tree::Text(text), Some(more)) => text.push_str(more),
            (place, Some(text)) => *place = Tree::Text(text.to_string()),
            (place, None) => *place = Tree::Bare(piece.bare()),
        }
    }

    /// As JSON.
    pub fn json(&self) -> String {
        let mut out = String::new();
        match self {
            Tree::Nothing => out.push_str("{}"),
            tree => tree.write(&mut out),
        }
        out
    }

    fn step(&mut self, step: Step) -> Option<&mut Tree> {
        match step {
            Step::Member(name) => {
                if !matches!(self, Tree::Object(_)) {
                    *self = Tree::Object(Vec::new());
                }
                let Tree::Object(members) = self else { return None };
                let at = members.iter().position(|(known, _)| known == name).unwrap_or(members.len());
                if at == members.len() {
                    members.push((name.to_owned(), Tree::Nothing));
                }
                members.get_mut(at).map(|(_, tree)| tree)
            }
            Step::Item(at) => {
                if !matches!(self, Tree::Array(_)) {
                    *self = Tree::Array(Vec::new());
                }
                let Tree::Array(items) = self else { return None };
                if items.len() <= at {
                    items.resize_with(at + 1, Tree::default);
                }
                items.get_mut(at)
            }
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Tree::Nothing => out.push_str("null"),
            Tree::Bare(json) => out.push_str(json),
            Tree::Text(text) => string(text, out),
            Tree::Object(members) => {
                for (number, (name, tree)) in members.iter().enumerate() {
                    out.push(if number == 0 { '{' } else { ',' });
                    string(name, out);
                    out.push(':');
                    tree.write(out);
                }
                out.push('}');
            }
            Tree::Array(items) => {
                for (number, tree) in items.iter().enumerate() {
                    out.push(if number == 0 { '[' } else { ',' });
                    tree.write(out);
                }
                out.push(']');
            }
        }
    }
}

impl PartialArg<'_> {
    fn bare(&self) -> String {
        match (self.number_value, self.bool_value) {
            (Some(number), _) => number.get().to_owned(),
            (None, Some(flag)) => flag.to_string(),
            (None, None) => String::from("null"),
        }
    }
}

fn string(text: &str, out: &mut String) {
    // Texts always become JSON.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

enum Step<'a> {
    Member(&'a str),
    Item(usize),
}

/// The steps of a path such as `.a.b[0]['c d']`; `None` where it is none.
struct Steps<'a>(&'a str);

impl<'a> Iterator for Steps<'a> {
    type Item = Option<Step<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let step = self.step();
        if step.is_none() {
            self.0 = "";
        }
        Some(step)
    }
}

impl<'a> Steps<'a> {
    fn step(&mut self) -> Option<Step<'a>> {
        if let Some(rest) = self.0.strip_prefix('.') {
            let (name, rest) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
            self.0 = rest;
            return Some(Step::Member(name));
        }
        let rest = self.0.strip_prefix('[')?;
        if let Some(quote) = rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            let (name, rest) = rest.get(1..)?.split_once(quote)?;
            self.0 = rest.strip_prefix(']')?;
            return Some(Step::Member(name));
        }
        let (number, rest) = rest.split_once(']')?;
        self.0 = rest;
        number.parse().ok().filter(|at| *at < MOST_ITEMS).map(Step::Item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(pieces: &[&str]) -> String {
        let mut tree = Tree::default();
        pieces.iter().for_each(|piece| tree.add(&serde_json::from_str(piece).unwrap()));
        tree.json()
    }

    #[test]
    fn pieces_of_arguments_become_one_object() {
        let json = tree(&[
            r#"{"jsonPath":"$.a.b[1]['c d']","stringValue":"x\"","willContinue":true}"#,
            r#"{"jsonPath":"$.n","numberValue":1.5}"#,
            r#"{"jsonPath":"$.a.b[1]['c d']","stringValue":"y"}"#,
            r#"{"jsonPath":"$.t","boolValue":true}"#,
            r#"{"jsonPath":"$.z","nullValue":"NULL_VALUE"}"#,
        ]);
        assert_eq!(json, r#"{"a":{"b":[null,{"c d":"x\"y"}]},"n":1.5,"t":true,"z":null}"#);
    }

    #[test]
    fn paths_without_sense_are_left_out() {
        assert_eq!(tree(&[r#"{"jsonPath":"$.a[999999]","stringValue":"x"}"#]), "{}");
        assert_eq!(tree(&[r#"{"jsonPath":"$[","stringValue":"x"}"#]), "{}");
        assert_eq!(tree(&[]), "{}");
    }
}
