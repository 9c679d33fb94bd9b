//! JSON written straight into a string: what a log line needs, without a tree and without a serializer.
//!
//! Only numbers, strings and separators. Strings are cut at a length the caller gives, since a line of a log must
//! stay short whatever a client sends.

use std::fmt::Write;
use std::time::Duration;

/// A line under construction: a JSON object with its fields in the order of the calls.
pub(crate) struct Object<'b> {
    out: &'b mut String,
    open: bool,
}

impl<'b> Object<'b> {
    /// Opens an object at the end of `out`.
    pub(crate) fn begin(out: &'b mut String) -> Self {
        out.push('{');
        Self { out, open: false }
    }

    /// Writes the name of the next field and gives the text to write its value to.
    pub(crate) fn field(&mut self, name: &'static str) -> &mut String {
        if std::mem::replace(&mut self.open, true) {
            self.out.push(',');
        }
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
        self.out
    }

    /// A string of at most `longest` bytes on the line.
    pub(crate) fn text(&mut self, name: &'static str, value: &str, longest: usize) {
        push_string(self.field(name), value, longest);
    }

    /// As `text`, or no field at all.
    pub(crate) fn text_if(&mut self, name: &'static str, value: Option<&str>, longest: usize) {
        if let Some(value) = value {
            self.text(name, value, longest);
        }
    }

    /// A whole number.
    pub(crate) fn number(&mut self, name: &'static str, value: u64) {
        push_number(self.field(name), value);
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, name: &'static str, value: bool) {
        self.field(name).push_str(if value { "true" } else { "false" });
    }

    /// Milliseconds with the microseconds behind the point.
    pub(crate) fn millis(&mut self, name: &'static str, value: Duration) {
        push_millis(self.field(name), value);
    }

    /// Closes the object.
    pub(crate) fn end(self) {
        self.out.push('}');
    }
}

/// A decimal number, without the formatting machinery: it is most of what a line holds.
pub(crate) fn push_number(out: &mut String, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        length += 1;
        if value == 0 {
            break;
        }
    }
    let written = digits.get(digits.len() - length..).unwrap_or_default();
    out.push_str(std::str::from_utf8(written).unwrap_or_default());
}

/// `12.345` for 12 345 microseconds.
pub(crate) fn push_millis(out: &mut String, value: Duration) {
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    push_number(out, micros / 1000);
    let rest = (micros % 1000) as u32;
    out.push('.');
    for unit in [100, 10, 1] {
        out.push(char::from_digit(rest / unit % 10, 10).unwrap_or('0'));
    }
}

/// A JSON string with quotes. Where it would take more than `longest` bytes between them it is cut, and `…` ends it.
pub(crate) fn push_string(out: &mut String, text: &str, longest: usize) {
    out.push('"');
    if text.len() <= longest && text.bytes().all(is_plain) {
        out.push_str(text);
    } else {
        push_escaped(out, text, longest);
    }
    out.push('"');
}

fn is_plain(byte: u8) -> bool {
    // The second set of control characters begins with 0xc2 0x80; such text takes the slow way.
    !matches!(byte, 0..=0x1f | b'"' | b'\\' | 0x7f | 0xc2)
}

fn push_escaped(out: &mut String, text: &str, longest: usize) {
    let start = out.len();
    for c in text.chars() {
        let before = out.len();
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Control characters of all kinds: a terminal obeys the second set as well.
            c if c.is_control() => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
        if out.len() - start > longest {
            out.truncate(before);
            out.push('…');
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn string(text: &str, longest: usize) -> String {
        let mut out = String::new();
        push_string(&mut out, text, longest);
        out
    }

    #[test]
    fn an_object_has_its_fields_in_order() {
        let mut out = String::new();
        let mut object = Object::begin(&mut out);
        object.text("a", "x\"y", 10);
        object.number("b", 0);
        object.number("c", u64::MAX);
        object.millis("d", Duration::from_micros(12_045));
        object.flag("e", true);
        object.text_if("f", None, 10);
        object.end();
        assert_eq!(out, r#"{"a":"x\"y","b":0,"c":18446744073709551615,"d":12.045,"e":true}"#);
    }

    #[test]
    fn a_long_string_is_cut_between_characters() {
        assert_eq!(string("äöü", 4), "\"äö…\"");
        assert_eq!(string("\u{1}\u{1}", 6), "\"\\u0001…\"");
        assert_eq!(string("abc", 3), "\"abc\"");
    }

    proptest! {
        #[test]
        fn every_string_reads_back_as_it_was(text in any::<String>()) {
            let read: String = serde_json::from_str(&string(&text, usize::MAX)).unwrap();
            prop_assert_eq!(read, text);
        }

        #[test]
        fn every_number_is_what_the_library_writes(value in any::<u64>()) {
            let mut out = String::new();
            push_number(&mut out, value);
            prop_assert_eq!(out, value.to_string());
        }
    }
}
