//! What a row of the matrix is made of: faults, the shapes that each is tried in, and what must come of it.

use crate::support::*;

use super::ask::{Ask, Protocol, Seen};

/// A row: a kind of fault, and what proves that it comes out right.
pub struct Row {
    pub number: u8,
    pub fault: &'static str,
    /// What the client sees, whom it strikes, what it counts: in words.
    pub client: &'static str,
    pub blame: &'static str,
    pub counts: &'static str,
    /// Tried by the rig, each in its shapes.
    pub faults: Vec<Fault>,
    /// Other tests that prove it, by name.
    pub tests: &'static [&'static str],
}

impl Row {
    /// How many cases its faults make.
    pub fn cases(&self) -> usize {
        self.faults.iter().map(|fault| fault.shapes().len()).sum()
    }
}

/// How a fault is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub stream: bool,
    pub protocol: Protocol,
    pub candidates: usize,
}

/// Where the first candidate is, and what it does.
#[derive(Clone, Copy)]
pub enum Place {
    /// A scripted provider.
    Scripted(fn(&Call) -> Reply),
    /// Nobody listens there.
    Refuses,
    /// It takes no connection, and refuses none.
    Deaf,
    /// The name of its host has no address.
    Nameless,
    /// It speaks TLS with a certificate of nobody that is trusted.
    Untrusted,
}

/// What the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A whole answer of a candidate.
    Served,
    /// An error: status and code.
    Error(u16, &'static str),
    /// The same, and the connection ends with it (over HTTP/1.1).
    Closing(u16, &'static str),
    /// The head of a 200 and some output, then an error event with this code and no `[DONE]`.
    Broken(&'static str),
    /// Nothing any more: it has left.
    Gone,
}

/// What is struck, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strikes {
    None,
    /// The credential with this model.
    Pair(u64),
    /// The credential with all models.
    Key(u64),
    /// The pair, until it was banned.
    Banned,
}

/// What tokens are charged to the first candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    None,
    /// As many as each answer reported: 12.
    Reported,
    /// An estimate of what was asked and seen.
    Estimated,
}

/// What must come of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Then {
    pub told: Told,
    pub strikes: Strikes,
    /// Requests counted at the first candidate.
    pub requests: u64,
    pub tokens: Tokens,
    /// The first candidate is left alone for a while because it asked for it.
    pub cooled: bool,
}

/// Nobody was asked, nothing is counted.
pub const fn refused(status: u16, code: &'static str) -> Then {
    then(Told::Error(status, code), Strikes::None, 0)
}

/// The same, and the connection ends.
pub const fn closed(status: u16, code: &'static str) -> Then {
    then(Told::Closing(status, code), Strikes::None, 0)
}

/// This comes of it; no tokens.
pub const fn then(told: Told, strikes: Strikes, requests: u64) -> Then {
    Then { told, strikes, requests, tokens: Tokens::None, cooled: false }
}

impl Then {
    pub const fn tokens(self, tokens: Tokens) -> Self {
        Self { tokens, ..self }
    }

    pub const fn cooled(self) -> Self {
        Self { cooled: true, ..self }
    }
}

/// One way in which something goes wrong.
#[derive(Clone)]
pub struct Fault {
    pub name: &'static str,
    pub first: Place,
    /// What the candidates behind the first do.
    pub others: fn(&Call) -> Reply,
    /// How the client's request differs from a usual one.
    pub ask: fn(Ask) -> Ask,
    /// More lines for every candidate.
    pub lines: &'static str,
    /// So many requests go before the one that counts.
    pub before: usize,
    /// Looks at what else must be true of what the client saw: what is wrong, or nothing.
    pub also: fn(&Seen, Shape) -> Option<String>,
    /// With one candidate and with three of falling priority; none: it means nothing there.
    pub alone: Option<Then>,
    pub three: Option<Then>,
    streams: &'static [bool],
    protocols: &'static [Protocol],
}

/// A fault of the first candidate.
pub fn fault(name: &'static str, reply: fn(&Call) -> Reply) -> Fault {
    at(name, Place::Scripted(reply))
}

/// A fault of the client's: it never gets as far as a candidate, or its candidates are well.
pub fn asked(name: &'static str, ask: fn(Ask) -> Ask) -> Fault {
    Fault { ask, ..fault(name, Reply::good) }
}

/// A fault of the place where the first candidate is.
pub fn at(name: &'static str, first: Place) -> Fault {
    Fault {
        name,
        first,
        others: Reply::good,
        ask: |ask| ask,
        lines: "",
        before: 0,
        also: |_, _| None,
        alone: None,
        three: None,
        streams: &[false, true],
        protocols: &[Protocol::H1, Protocol::H2],
    }
}

impl Fault {
    pub fn alone(self, then: Then) -> Self {
        Self { alone: Some(then), ..self }
    }

    pub fn three(self, then: Then) -> Self {
        Self { three: Some(then), ..self }
    }

    /// The same with one candidate and with three.
    pub fn both(self, then: Then) -> Self {
        self.alone(then).three(then)
    }

    /// With three, another one serves, and this is what the first is left with.
    pub fn passed_on(self, strikes: Strikes, requests: u64) -> Self {
        self.three(then(Told::Served, strikes, requests))
    }

    pub fn unary(self) -> Self {
        Self { streams: &[false], ..self }
    }

    pub fn streamed(self) -> Self {
        Self { streams: &[true], ..self }
    }

    pub fn h1(self) -> Self {
        Self { protocols: &[Protocol::H1], ..self }
    }

    pub fn first(self, script: fn(&Call) -> Reply) -> Self {
        Self { first: Place::Scripted(script), ..self }
    }

    pub fn others(self, others: fn(&Call) -> Reply) -> Self {
        Self { others, ..self }
    }

    pub fn lines(self, lines: &'static str) -> Self {
        Self { lines, ..self }
    }

    pub fn before(self, before: usize) -> Self {
        Self { before, ..self }
    }

    pub fn also(self, also: fn(&Seen, Shape) -> Option<String>) -> Self {
        Self { also, ..self }
    }

    /// All shapes that it means something in.
    pub fn shapes(&self) -> Vec<Shape> {
        let counts = [(1, self.alone.is_some()), (3, self.three.is_some())];
        let mut shapes = Vec::new();
        for &stream in self.streams {
            for &protocol in self.protocols {
                let meant = counts.iter().filter(|(_, meant)| *meant);
                shapes.extend(meant.map(|&(candidates, _)| Shape { stream, protocol, candidates }));
            }
        }
        shapes
    }

    /// What must come of it in a shape.
    pub fn expected(&self, shape: Shape) -> Then {
        let expected = if shape.candidates == 1 { self.alone } else { self.three };
        expected.expect("a shape of this fault")
    }

    /// Its shapes in words.
    pub fn shapes_in_words(&self) -> String {
        let streams: Vec<_> = self.streams.iter().map(|s| if *s { "stream" } else { "unary" }).collect();
        let protocols: Vec<_> =
            self.protocols.iter().map(|p| if *p == Protocol::H1 { "h1" } else { "h2" }).collect();
        let counts: Vec<_> =
            [("1", self.alone), ("3", self.three)].iter().filter_map(|(n, t)| t.map(|_| *n)).collect();
        format!("{} × {} × {}", streams.join(", "), protocols.join(", "), counts.join(", "))
    }
}
