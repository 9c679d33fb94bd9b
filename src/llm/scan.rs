//! A JSON cursor: walks a document once, checks its grammar, and copies nothing.
//!
//! The caller asks for what it wants (`open_object`, `key`, `string`) and skips the rest, so a reader of a document is
//! a loop over its keys. There is no tree, and the bytes that matter are handed out as spans of the input. It is the
//! whole grammar of RFC 8259 except that the halves of a surrogate pair may stand alone (what is skipped is passed on
//! unread). A string's end is found by looking for quotes, by words and then by vectors, and counting the backslashes
//! before them, which is what makes it fast; where escapes count, by looking for both.
//! The input must be UTF-8; the cursor does not look at bytes above 0x7f.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use memchr::{memchr, memchr2};

/// What is wrong with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It ends in the middle of a value.
    Unfinished,
    /// A byte that cannot stand there.
    Unexpected(u8),
    /// A raw control character inside a string.
    Control(u8),
    /// A backslash followed by something that is no escape.
    Escape,
    /// Nested deeper than allowed.
    TooDeep,
}

/// What is wrong, and at which byte, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub problem: Problem,
    /// Where.
    pub at: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at;
        match self.problem {
            Problem::Unfinished => write!(f, "it ends at byte {at}, in the middle of a value"),
            Problem::Unexpected(byte) if byte.is_ascii_graphic() => {
                write!(f, "unexpected '{}' at byte {at}", byte as char)
            }
            Problem::Unexpected(byte) => write!(f, "unexpected byte 0x{byte:02x} at byte {at}"),
            Problem::Control(byte) => write!(f, "control character 0x{byte:02x} in a string at byte {at}"),
            Problem::Escape => write!(f, "invalid escape at byte {at}"),
            Problem::TooDeep => write!(f, "nested too deeply at byte {at}"),
        }
    }
}

/// A string of the document, quotes included.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    quoted: &'a [u8],
    at: usize,
}

impl<'a> Text<'a> {
    /// An empty text that stands nowhere.
    pub const NONE: Text<'static> = Text { quoted: b"\"\"", at: 0 };

    /// The bytes between the quotes, escapes as they are.
    pub fn raw(&self) -> &'a [u8] {
        &self.quoted[1..self.quoted.len() - 1]
    }

    /// Whether there is a backslash in it.
    pub fn is_escaped(&self) -> bool {
        memchr(b'\\', self.raw()).is_some()
    }

    /// The text itself; `None` where it is no Unicode (a lone surrogate).
    pub fn decode(&self) -> Option<Cow<'a, str>> {
        if self.is_escaped() {
            serde_json::from_slice::<String>(self.quoted).ok().map(Cow::Owned)
        } else {
            std::str::from_utf8(self.raw()).ok().map(Cow::Borrowed)
        }
    }

    /// Where it stands in the document, quotes included.
    pub fn span(&self) -> Range<usize> {
        self.at..self.at + self.quoted.len()
    }
}

/// Told about every string value and every object that `Cursor::skip` passes.
pub trait Watch<'a> {
    /// `value` is a string; `key` names the member that it (or the array around it) belongs to.
    fn text(&mut self, key: &Text<'a>, value: &Text<'a>);

    /// An object that is the value of `key`, or in an array that is, begins.
    fn opens(&mut self, _key: &Text<'a>) {}

    /// It ends.
    fn closes(&mut self, _key: &Text<'a>) {}
}

impl<'a> Watch<'a> for () {
    fn text(&mut self, _key: &Text<'a>, _value: &Text<'a>) {}
}

/// A place in a document.
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u8,
    most_depth: u8,
    /// Somewhere in the document, if only between values.
    has_controls: bool,
    checks_escapes: bool,
}

impl<'a> Cursor<'a> {
    /// At the first value of `bytes`, which must be UTF-8. More than `most_depth` open objects and arrays are a fault.
    pub fn new(bytes: &'a [u8], most_depth: u8) -> Self {
        let has_controls = lowest(bytes) < 0x20;
        let checks_escapes = memchr(b'\\', bytes).is_some();
        let mut cursor = Self { bytes, at: 0, depth: 0, most_depth, has_controls, checks_escapes };
        cursor.blanks();
        cursor
    }

    /// The same, but what follows a backslash is left for others to judge. Where strings end does not depend on it, and
    /// it takes most of the time in long texts.
    pub fn lenient(bytes: &'a [u8], most_depth: u8) -> Self {
        let has_controls = lowest(bytes) < 0x20;
        let mut cursor = Self { bytes, at: 0, depth: 0, most_depth, has_controls, checks_escapes: false };
        cursor.blanks();
        cursor
    }

    /// The byte offset: that of the value to be read next, or just behind what was read last.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The first byte of the next value; 0 at the end.
    pub fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Enters an object. False: it is empty, and has been left again.
    pub fn open_object(&mut self) -> Result<bool, Fault> {
        self.open(b'{', b'}')
    }

    /// Enters an array. False: it is empty, and has been left again.
    pub fn open_array(&mut self) -> Result<bool, Fault> {
        self.open(b'[', b']')
    }

    /// A key with its colon; the cursor is then at the member's value.
    pub fn key(&mut self) -> Result<Text<'a>, Fault> {
        let key = self.string()?;
        self.blanks();
        self.expect(b':')?;
        self.blanks();
        Ok(key)
    }

    /// Behind a member: past the comma (true), or out of the object (false).
    pub fn more_members(&mut self) -> Result<bool, Fault> {
        self.more(b'}')
    }

    /// Behind an item: past the comma (true), or out of the array (false).
    pub fn more_items(&mut self) -> Result<bool, Fault> {
        self.more(b']')
    }

    /// A string.
    pub fn string(&mut self) -> Result<Text<'a>, Fault> {
        let start = self.at;
        self.expect(b'"')?;
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = if self.checks_escapes { self.checked(rest)? } else { closing_quote(rest) };
        let Some(length) = length else {
            self.at = self.bytes.len();
            return Err(self.fault(Problem::Unfinished));
        };
        let raw = &rest[..length];
        if self.has_controls && lowest(raw) < 0x20 {
            self.at += raw.iter().position(|&b| b < 0x20).unwrap_or(0);
            return Err(self.fault(Problem::Control(self.peek())));
        }
        self.at += length + 1;
        Ok(Text { quoted: &self.bytes[start..self.at], at: start })
    }

    /// The string that comes next; any other value is skipped.
    pub fn string_or_skip(&mut self) -> Result<Option<Text<'a>>, Fault> {
        if self.peek() == b'"' {
            return self.string().map(Some);
        }
        self.skip(&Text::NONE, &mut ())?;
        Ok(None)
    }

    /// The unsigned whole number that comes next; any other value is skipped.
    pub fn number_or_skip(&mut self) -> Result<Option<u64>, Fault> {
        let start = self.at;
        self.skip(&Text::NONE, &mut ())?;
        let text = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default();
        Ok(text.parse().ok())
    }

    /// Skips one value of any kind.
    pub fn skip<W: Watch<'a>>(&mut self, key: &Text<'a>, watch: &mut W) -> Result<(), Fault> {
        match self.peek() {
            b'"' => {
                let text = self.string()?;
                watch.text(key, &text);
                Ok(())
            }
            b'{' => {
                watch.opens(key);
                self.skip_object(watch)?;
                watch.closes(key);
                Ok(())
            }
            b'[' => self.skip_array(key, watch),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(self.unexpected()),
        }
    }

    /// Nothing but white space may be left.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.blanks();
        match self.bytes.get(self.at) {
            Some(_) => Err(self.unexpected()),
            None => Ok(()),
        }
    }

    fn skip_object<W: Watch<'a>>(&mut self, watch: &mut W) -> Result<(), Fault> {
        let mut more = self.open_object()?;
        while more {
            let key = self.key()?;
            self.skip(&key, watch)?;
            more = self.more_members()?;
        }
        Ok(())
    }

    fn skip_array<W: Watch<'a>>(&mut self, key: &Text<'a>, watch: &mut W) -> Result<(), Fault> {
        let mut more = self.open_array()?;
        while more {
            self.skip(key, watch)?;
            more = self.more_items()?;
        }
        Ok(())
    }

    fn open(&mut self, opening: u8, closing: u8) -> Result<bool, Fault> {
        self.expect(opening)?;
        if self.depth >= self.most_depth {
            self.at -= 1;
            return Err(self.fault(Problem::TooDeep));
        }
        self.blanks();
        if self.peek() == closing {
            self.at += 1;
            return Ok(false);
        }
        self.depth += 1;
        Ok(true)
    }

    fn more(&mut self, closing: u8) -> Result<bool, Fault> {
        self.blanks();
        match self.peek() {
            b',' => {
                self.at += 1;
                self.blanks();
                Ok(true)
            }
            byte if byte == closing => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// Where the string that the cursor is in ends, its escapes being some; `None`: nowhere.
    fn checked(&self, rest: &[u8]) -> Result<Option<usize>, Fault> {
        let mut at = 0;
        while let Some(found) = memchr2(b'"', b'\\', rest.get(at..).unwrap_or_default()) {
            at += found;
            if rest[at] == b'"' {
                return Ok(Some(at));
            }
            match escape(&rest[at..]) {
                Some(length) => at += length,
                // Of a string without an end, this is what is told.
                None if closing_quote(rest).is_none() => break,
                None => return Err(Fault { problem: Problem::Escape, at: self.at + at }),
            }
        }
        Ok(None)
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start {
            Err(self.unexpected())
        } else {
            Ok(())
        }
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        self.at += rest.iter().zip(word).take_while(|(a, b)| a == b).count();
        Err(self.unexpected())
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.peek() != byte {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    fn unexpected(&self) -> Fault {
        match self.bytes.get(self.at) {
            Some(&byte) => self.fault(Problem::Unexpected(byte)),
            None => self.fault(Problem::Unfinished),
        }
    }

    fn fault(&self, problem: Problem) -> Fault {
        Fault { problem, at: self.at }
    }
}

/// The length of the escape that `rest` begins with.
fn escape(rest: &[u8]) -> Option<usize> {
    match rest.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => rest.get(2..6)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

/// Where the first quote is that no backslash escapes.
fn closing_quote(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + next_quote(bytes.get(from..)?)?;
        let slashes = bytes[from..at].iter().rev().take_while(|&&b| b == b'\\').count();
        if slashes % 2 == 0 {
            return Some(at);
        }
        from = at + 1;
    }
}

/// Where the first quote is. Most are near (keys, roles, ids), and found in a word or two.
fn next_quote(bytes: &[u8]) -> Option<usize> {
    let (near, far) = bytes.split_at(bytes.len().min(NEAR));
    let mut passed = 0;
    let (words, last) = near.as_chunks::<8>();
    for word in words {
        let found = quotes(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(passed + (found.trailing_zeros() / 8) as usize);
        }
        passed += 8;
    }
    if let Some(found) = last.iter().position(|&b| b == b'"') {
        return Some(passed + found);
    }
    memchr(b'"', far).map(|found| near.len() + found)
}

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
/// How far a quote is near.
const NEAR: usize = 16;

/// Marks the high bit of quotes. A borrow can mark bytes above the lowest marked one wrongly, so only that one counts.
fn quotes(word: u64) -> u64 {
    let differs = word ^ (ONES * b'"' as u64);
    differs.wrapping_sub(ONES) & !differs & HIGHS
}

/// The lowest byte. Written so that it becomes vector instructions.
fn lowest(bytes: &[u8]) -> u8 {
    bytes.iter().fold(u8::MAX, |lowest, &b| lowest.min(b))
}

/// Where `bytes` stop being UTF-8. The usual text, all ASCII, is seen to be so in one fast pass.
pub fn utf8_fault(bytes: &[u8]) -> Option<usize> {
    if bytes.iter().fold(0, |all, &b| all | b) < 0x80 {
        return None;
    }
    std::str::from_utf8(bytes).err().map(|e| e.valid_up_to())
}

#[cfg(test)]
mod tests;
