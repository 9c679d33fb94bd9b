//! The text of one configuration file, and where in it a byte stands.
//!
//! Lines and columns are counted from one and in characters, as editors do. A byte order mark is dropped here, so
//! that every other place may forget that it exists.

use std::ops::Range;
use std::sync::Arc;

/// One file as it was read.
#[derive(Clone, Debug)]
pub struct Text {
    name: Arc<str>,
    body: String,
    starts: Vec<usize>,
}

impl Text {
    /// Takes the text of the file `name` (as it is to be shown in problems).
    pub fn new(name: &str, body: &str) -> Self {
        let body = body.strip_prefix('\u{feff}').unwrap_or(body).to_owned();
        let breaks = body.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(breaks).collect();
        Self { name: name.into(), body, starts }
    }

    /// The name of the file.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.body
    }

    /// The text of a range, or nothing where the range is not one of this text.
    pub fn slice(&self, range: Range<usize>) -> &str {
        self.body.get(range).unwrap_or_default()
    }

    /// Line and column, both from one, of a byte.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= byte);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        (line, self.slice(start..byte).chars().count() + 1)
    }

    /// The byte at a line (from one) and a column (from nought, in characters).
    pub fn byte(&self, line: usize, column: usize) -> usize {
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(self.body.len());
        let rest = self.slice(start..self.body.len());
        start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
    }

    /// The lines as byte ranges, without their line breaks.
    pub fn lines(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.starts.iter().enumerate().map(|(index, &start)| {
            let end = self.starts.get(index + 1).map_or(self.body.len(), |next| next - 1);
            start..end.max(start)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_positions_are_two_names_of_one_place() {
        let text = Text::new("f", "\u{feff}é: ü\nb: z\n");
        assert_eq!(text.position(0), (1, 1));
        assert_eq!(text.position(text.byte(1, 3)), (1, 4));
        assert_eq!(text.slice(text.byte(2, 3)..text.byte(2, 4)), "z");
        assert_eq!(text.byte(9, 9), text.as_str().len());
        assert_eq!(text.lines().map(|line| text.slice(line)).collect::<Vec<_>>(), ["é: ü", "b: z", ""]);
    }
}
