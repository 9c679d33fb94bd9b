//! `.env`: variables in a file beside the working directory.
//!
//! Read as python-dotenv does (its README, "File format"), since that is what those who have one wrote it for: `export`
//! before a name, values bare or quoted, quoted ones over several lines, a comment after a blank and `#`. The crates at
//! hand take the quotes out of a bare value, which breaks every JSON list. References to other variables stay as they
//! are written.

/// Names and values in the order of the file; a line of another form is passed over, and NUL, which no variable can hold.
pub fn read(text: &str) -> Vec<(String, String)> {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    while !rest.is_empty() {
        let line = rest.split_inclusive('\n').next().unwrap_or(rest);
        let name = line.split_once('=').map(|(name, _)| bare_name(name)).filter(|name| is_name(name));
        let Some((name, (_, value))) = name.zip(rest.split_once('=')) else {
            rest = &rest[line.len()..];
            continue;
        };
        let (mut value, after) = read_value(value.trim_start_matches([' ', '\t']));
        value.retain(|c| c != '\0');
        found.push((name.to_owned(), value));
        rest = after;
    }
    found
}

fn bare_name(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).map_or(text, str::trim)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The value that `text` begins with, and what comes after its line.
fn read_value(text: &str) -> (String, &str) {
    let line = text.split_inclusive('\n').next().unwrap_or(text);
    let quoted = text
        .chars()
        .next()
        .filter(|quote| matches!(quote, '"' | '\''))
        .and_then(|quote| unquote(text, quote));
    if let Some((value, after)) = quoted {
        let tail = after.split_inclusive('\n').next().unwrap_or(after);
        return (value, &after[tail.len()..]);
    }
    let end = line.match_indices('#').map(|(at, _)| at).find(|at| {
        let before = &line[..*at];
        before.is_empty() || before.ends_with([' ', '\t'])
    });
    let value = line[..end.unwrap_or(line.len())].trim();
    (value.to_owned(), &text[line.len()..])
}

/// A quoted value without its quotes, and what comes after; none if it has no end.
fn unquote(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((value, &text[at + quote.len_utf8()..])),
            '\\' => match (chars.next()?.1, quote) {
                ('n', '"') => value.push('\n'),
                ('t', '"') => value.push('\t'),
                ('r', '"') => value.push('\r'),
                (c, quote) if c == quote || c == '\\' => value.push(c),
                (c, _) => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_read_bare_and_quoted_and_over_several_lines() {
        let text = "\
# a comment
A=one # two
export B = 'it''s' after
C=\"x\\ny\"
D='[
  {\"name\": \"a\"}
]'
E=[{\"name\": \"b#c\"}]
F=
no line
1G=x
H='open
I=last
";
        let found = read(text);
        let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let wanted = [
            ("A", "one"),
            ("B", "it"),
            ("C", "x\ny"),
            ("D", "[\n  {\"name\": \"a\"}\n]"),
            ("E", "[{\"name\": \"b#c\"}]"),
            ("F", ""),
            ("H", "'open"),
            ("I", "last"),
        ];
        assert_eq!(found, wanted);
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in "[ -~\n\0é\"'=#\\\\]{0,200}") {
            for (name, value) in read(&text) {
                prop_assert!(is_name(&name) && !value.contains('\0'));
            }
        }
    }
}
