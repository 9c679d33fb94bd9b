//! Members of a JSON object taken out or renamed by splicing: what a host refuses must not reach it, and everything
//! else stays the bytes that it was.

use std::ops::Range;

use bytes::Bytes;

use super::body::Edit;
use super::request::MOST_DEPTH;
use super::scan::{Cursor, Fault, Text, Watch};

/// What to do with the members of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Members that go.
    pub refused: &'static [&'static str],
    /// Members with another name there: here, there. Where the object has both, the one named here goes.
    pub renamed: &'static [(&'static str, &'static str)],
}

/// The edits that make `changes` to the object `body`, for `Body::spliced`; none where it is no object.
pub fn edits(body: &[u8], changes: Changes) -> Vec<Edit> {
    if changes == Changes::default() {
        return Vec::new();
    }
    let members = members(body).unwrap_or_default();
    let has = |name: &str| members.iter().any(|member| member.name == name.as_bytes());
    // Worked out once: a body may have a member as often as its writer likes.
    let taken: Vec<&str> =
        changes.renamed.iter().map(|(_, there)| *there).filter(|there| has(there)).collect();
    let new_name = |member: &Member| {
        let renamed = changes.renamed.iter().find(|(here, _)| here.as_bytes() == member.name);
        renamed.map(|(_, there)| *there)
    };
    let goes = |member: &Member| {
        changes.refused.iter().any(|name| name.as_bytes() == member.name)
            || new_name(member).is_some_and(|there| taken.contains(&there))
    };
    let spans: Vec<Range<usize>> = members.iter().map(|member| member.key.start..member.end).collect();
    let gone: Vec<bool> = members.iter().map(goes).collect();
    let mut edits = cuts(&spans, &gone);
    for (member, _) in members.iter().zip(&gone).filter(|(_, gone)| !**gone) {
        if let Some(there) = new_name(member) {
            edits.push(Edit { at: member.key.clone(), with: format!("\"{there}\"").into() });
        }
    }
    edits
}

/// The cuts that take some members of an object, or items of an array, out with their commas. `spans` is where all of
/// them are, in order; `gone` which of them go.
pub fn cuts(spans: &[Range<usize>], gone: &[bool]) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut kept = false;
    for (place, (span, gone)) in spans.iter().zip(gone).enumerate() {
        if !gone {
            kept = true;
            continue;
        }
        let before = place.checked_sub(1).and_then(|before| spans.get(before)).filter(|_| kept);
        let at = match (before, spans.get(place + 1)) {
            (Some(before), _) => before.end..span.end,
            (None, Some(next)) => span.start..next.start,
            (None, None) => span.clone(),
        };
        edits.push(Edit { at, with: Bytes::new() });
    }
    edits
}

/// The edits that put `to` in the place of every text that is one of `from` and a member called `key`, however deep.
pub fn values(body: &[u8], key: &[u8], from: &[&str], to: &str) -> Vec<Edit> {
    let mut found = Found { key, from, spans: Vec::new() };
    let skipped = Cursor::lenient(body, MOST_DEPTH).skip(&Text::NONE, &mut found);
    if skipped.is_err() {
        return Vec::new();
    }
    let with: Bytes = serde_json::Value::from(to).to_string().into();
    found.spans.into_iter().map(|at| Edit { at, with: with.clone() }).collect()
}

struct Found<'f> {
    key: &'f [u8],
    from: &'f [&'f str],
    spans: Vec<Range<usize>>,
}

impl<'a> Watch<'a> for Found<'_> {
    fn text(&mut self, key: &Text<'a>, value: &Text<'a>) {
        if key.raw() == self.key && self.from.iter().any(|from| from.as_bytes() == value.raw()) {
            self.spans.push(value.span());
        }
    }
}

struct Member<'a> {
    name: &'a [u8],
    /// With its quotes.
    key: Range<usize>,
    /// Behind its value.
    end: usize,
}

fn members(body: &[u8]) -> Result<Vec<Member<'_>>, Fault> {
    let mut cursor = Cursor::lenient(body, MOST_DEPTH);
    let mut members = Vec::new();
    if cursor.peek() != b'{' {
        return Ok(members);
    }
    let mut more = cursor.open_object()?;
    while more {
        let start = cursor.at();
        let key = cursor.key()?;
        let name = key.raw();
        cursor.skip(&key, &mut ())?;
        members.push(Member { name, key: start..start + name.len() + 2, end: cursor.at() });
        more = cursor.more_members()?;
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::body::Body;

    const CHANGES: Changes = Changes { refused: &["a", "b"], renamed: &[("long", "short")] };

    fn changed(body: &'static str) -> String {
        let bytes = Bytes::from_static(body.as_bytes());
        let changed = Body::spliced(&bytes, edits(&bytes, CHANGES)).contiguous();
        String::from_utf8(changed.to_vec()).unwrap()
    }

    #[test]
    fn refused_members_go_with_their_commas_and_nothing_else() {
        for (before, after) in [
            (r#"{"a":1}"#, "{}"),
            (r#"{"a":1,"b":[2]}"#, "{}"),
            (r#"{ "a" : 1 , "x" : {"a":1} }"#, r#"{ "x" : {"a":1} }"#),
            (r#"{"x":1,"a":{},"b":2,"y":3}"#, r#"{"x":1,"y":3}"#),
            (r#"{"a":1,"x":1,"b":2}"#, r#"{"x":1}"#),
            (r#"{"x":"a","y":1}"#, r#"{"x":"a","y":1}"#),
            ("[1]", "[1]"),
        ] {
            assert_eq!(changed(before), after);
        }
    }

    #[test]
    fn a_name_is_replaced_wherever_it_stands() {
        let body = r#"{"requests":[{"model":"models/a","content":"models/a"},{"model":"b"}],"model":"a"}"#;
        let bytes = Bytes::from_static(body.as_bytes());
        let edits = values(&bytes, b"model", &["models/a", "a"], "models/x");
        let changed = Body::spliced(&bytes, edits).contiguous();
        let expected =
            r#"{"requests":[{"model":"models/x","content":"models/a"},{"model":"b"}],"model":"models/x"}"#;
        assert_eq!(changed, expected);
    }

    #[test]
    fn a_renamed_member_gives_way_to_one_that_has_the_name_already() {
        assert_eq!(changed(r#"{"x":1, "long" :5}"#), r#"{"x":1, "short" :5}"#);
        assert_eq!(changed(r#"{"long":5,"short":6}"#), r#"{"short":6}"#);
    }
}
