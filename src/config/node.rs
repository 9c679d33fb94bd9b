//! YAML text to a tree whose every node knows where it was written.
//!
//! Built from saphyr-parser's events rather than through serde, because serde's YAML knows one place per error, stops
//! at the first, and places a duplicate key wrongly. Scalars stay text: what a value means is decided by the key that
//! wants it, so `no` is never a boolean by accident. Aliases are copied against a budget, so that a small file cannot
//! grow into a large tree; merge keys (`<<`) are supported; tags and several documents are not.

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::problem::{quoted, Fault, Report, Severity};
use super::source::Text;

/// The most nodes that aliases may add, and the most levels that a file may nest.
const MAX_COPIED_NODES: usize = 50_000;
const MAX_DEPTH: usize = 64;

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// What was written.
    pub value: Value,
    /// Where: a scalar's whole range with its quotes, of a collection its beginning.
    pub span: Range<usize>,
}

/// The three shapes of YAML.
#[derive(Clone, Debug)]
pub enum Value {
    /// A scalar's text, and whether it was written without quotes.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file, keys unique.
    Map(Vec<Entry>),
}

/// One key of a map and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// The key's place.
    pub at: Range<usize>,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// How many nodes there are from here down.
    fn count(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Node::count).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.count()).sum(),
        }
    }
}

/// The tree of `text`; none if it is empty, or if it is no YAML and `report` says why.
pub fn parse(text: &Text, report: &mut Report) -> Option<Node> {
    let mut builder = Builder::new(text, report);
    let mut parser = Parser::new_from_str(text.as_str());
    while let Some(event) = parser.next_event() {
        let stop = match event {
            Ok((event, span)) => {
                let start = text.byte(span.start.line(), span.start.col());
                let end = text.byte(span.end.line(), span.end.col()).max(start);
                builder.event(event, start..end).err()
            }
            Err(error) => Some(syntax(text, &error)),
        };
        if let Some((span, fault)) = stop {
            builder.report.add(Severity::Error, Some(span), "", fault);
            return None;
        }
    }
    builder.root
}

/// What a scalar alone says, written as it stands in a file; none if it is anything else, such as an alias.
pub fn lone(written: &str) -> Option<String> {
    let text = Text::new("", written);
    match parse(&text, &mut Report::new(&text))?.value {
        Value::Scalar { text, .. } if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// A problem that ends the reading.
type Stop = (Range<usize>, Fault);

/// A collection that is still being read.
struct Open {
    anchor: usize,
    span: Range<usize>,
    body: Body,
}

enum Body {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(String, Range<usize>)> },
}

struct Builder<'a, 'r, 't> {
    text: &'t Text,
    report: &'r mut Report<'a>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    copied: usize,
    documents: usize,
    root: Option<Node>,
}

impl<'a, 'r, 't> Builder<'a, 'r, 't> {
    fn new(text: &'t Text, report: &'r mut Report<'a>) -> Self {
        Self { text, report, open: Vec::new(), anchors: HashMap::new(), copied: 0, documents: 0, root: None }
    }

    fn event(&mut self, event: Event, span: Range<usize>) -> Result<(), Stop> {
        match event {
            Event::DocumentStart(_) => self.document(span),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                self.tag(tag.as_deref(), &span);
                self.scalar(text.into_owned(), style, anchor, span)
            }
            Event::SequenceStart(anchor, tag) => {
                self.tag(tag.as_deref(), &span);
                self.begin(anchor, span, Body::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.tag(tag.as_deref(), &span);
                self.begin(anchor, span, Body::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn document(&mut self, span: Range<usize>) -> Result<(), Stop> {
        self.documents += 1;
        if self.documents > 1 {
            let fault = Fault::new("a second document begins here")
                .help("a configuration is one document: remove `---`");
            return Err((span, fault));
        }
        Ok(())
    }

    /// Tags of the core schema say nothing that the wanted type does not say; any other is refused.
    fn tag(&mut self, tag: Option<&saphyr_parser::Tag>, span: &Range<usize>) {
        let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) else { return };
        let fault = Fault::new(format!("the tag {} has no meaning here", quoted(&tag.to_string())))
            .help("a value from the environment is written `os.environ/NAME` or `${NAME}`");
        self.report.add(Severity::Error, Some(span.clone()), "", fault);
    }

    fn scalar(
        &mut self,
        text: String,
        style: ScalarStyle,
        anchor: usize,
        span: Range<usize>,
    ) -> Result<(), Stop> {
        let span = self.trimmed(style, span);
        let node = Node { value: Value::Scalar { text, plain: style == ScalarStyle::Plain }, span };
        self.finish(anchor, node)
    }

    /// The parser's range of a quoted scalar runs on over the blanks and the comment behind it.
    fn trimmed(&self, style: ScalarStyle, span: Range<usize>) -> Range<usize> {
        let written = self.text.slice(span.clone());
        let length = match style {
            ScalarStyle::DoubleQuoted => closing(written, '"', '\\'),
            ScalarStyle::SingleQuoted => closing(written, '\'', '\''),
            _ => written.trim_end().len(),
        };
        span.start..span.start + length
    }

    fn alias(&mut self, anchor: usize, span: Range<usize>) -> Result<(), Stop> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err((span, Fault::new("this alias is part of what it stands for")));
        };
        self.copied += node.count();
        if self.copied > MAX_COPIED_NODES {
            let fault = Fault::new("the aliases of this file stand for more than 50000 values");
            return Err((span, fault.help("write the values out, or use fewer aliases of aliases")));
        }
        let node = node.clone();
        self.finish(0, node)
    }

    fn begin(&mut self, anchor: usize, span: Range<usize>, body: Body) -> Result<(), Stop> {
        if self.open.len() >= MAX_DEPTH {
            return Err((span, Fault::new("values are nested more than 64 levels deep")));
        }
        self.open.push(Open { anchor, span, body });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Stop> {
        let Some(Open { anchor, span, body }) = self.open.pop() else { return Ok(()) };
        let value = match body {
            Body::List(items) => Value::List(items),
            Body::Map { entries, .. } => Value::Map(self.merged(entries)),
        };
        self.finish(anchor, Node { value, span })
    }

    /// Gives a complete node to the collection that it belongs to.
    fn finish(&mut self, anchor: usize, node: Node) -> Result<(), Stop> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.body) {
            None => self.root = Some(node),
            Some(Body::List(items)) => items.push(node),
            Some(Body::Map { entries, key }) => match key.take() {
                Some((key, at)) => match entries.iter().find(|entry| entry.key == key) {
                    Some(first) => {
                        let (line, _) = self.text.position(first.at.start);
                        let fault = Fault::new(format!("the key {} is here twice", quoted(&key)))
                            .help(format!("it is first on line {line}; only one of them can hold"));
                        self.report.add(Severity::Error, Some(at), "", fault);
                    }
                    None => entries.push(Entry { key, at, value: node }),
                },
                None => match node.value {
                    Value::Scalar { text, .. } => *key = Some((text, node.span)),
                    _ => {
                        return Err((
                            node.span,
                            Fault::new("a key must be a plain text, not a list or a map"),
                        ))
                    }
                },
            },
        }
        Ok(())
    }

    /// Resolves `<<`: the keys of the maps that it names, where the map itself has none of that name.
    fn merged(&mut self, mut entries: Vec<Entry>) -> Vec<Entry> {
        let Some(at) = entries.iter().position(|entry| entry.key == "<<") else { return entries };
        let merge = entries.remove(at);
        let sources = match merge.value.value {
            Value::List(items) => items,
            _ => vec![merge.value],
        };
        for source in sources {
            let Value::Map(inherited) = source.value else {
                let fault = Fault::new("`<<` takes a map, or a list of maps").help("write `<<: *anchor`");
                self.report.add(Severity::Error, Some(merge.at.clone()), "<<", fault);
                continue;
            };
            for entry in inherited {
                if entries.iter().all(|own| own.key != entry.key) {
                    entries.push(entry);
                }
            }
        }
        entries
    }
}

/// The length of a quoted text up to its closing quote; `escape` before a character makes it an ordinary one.
fn closing(written: &str, quote: char, escape: char) -> usize {
    let mut chars = written.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        let escaped =
            c == escape && (escape != quote || chars.peek().is_some_and(|(_, next)| *next == quote));
        if escaped {
            chars.next();
        } else if c == quote {
            return at + 1;
        }
    }
    written.trim_end().len()
}

/// What the parser stumbled over, with the tab named where there is one.
fn syntax(text: &Text, error: &ScanError) -> Stop {
    let marker = error.marker();
    let near = marker.line().saturating_sub(2)..=marker.line();
    let tab = text.lines().enumerate().filter(|(index, _)| near.contains(index)).find_map(|(_, range)| {
        let line = text.slice(range.clone());
        let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
        line[..blank].find('\t').map(|at| range.start + at)
    });
    if let Some(tab) = tab {
        let fault = Fault::new("a tab is used for indentation").help("YAML is indented with spaces only");
        return (tab..tab + 1, fault);
    }
    let start = text.byte(marker.line(), marker.col());
    let end = text
        .as_str()
        .get(start..)
        .and_then(|rest| rest.chars().next())
        .map_or(start, |c| start + c.len_utf8());
    let fault = Fault::new(format!("this is not YAML: {}", error.info()));
    (start..end, fault.help("a text with `: `, ` #`, or a first `@`, `*`, `&`, `[` or `{` needs quotes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> (Option<Node>, Vec<String>) {
        let text = Text::new("f", body);
        let mut report = Report::new(&text);
        let root = parse(&text, &mut report);
        let problems = report.into_problems();
        (root, problems.iter().map(|p| format!("{}:{}: {}", p.line, p.column, p.message)).collect())
    }

    fn outline(node: &Node) -> String {
        match &node.value {
            Value::Scalar { text, .. } => text.clone(),
            Value::List(items) => format!("[{}]", items.iter().map(outline).collect::<Vec<_>>().join(",")),
            Value::Map(entries) => {
                let pairs = entries.iter().map(|entry| format!("{}={}", entry.key, outline(&entry.value)));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
            }
        }
    }

    #[test]
    fn aliases_and_merge_keys_are_resolved() {
        let (root, problems) =
            read("a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\nc: [*x]\nd:\n  <<: [*x, {m: 4}]\n");
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(outline(&root.unwrap()), "{a={k=1,l=2},b={k=3,l=2},c=[{k=1,l=2}],d={k=1,l=2,m=4}}");
    }

    #[test]
    fn a_small_file_cannot_grow_into_a_large_tree() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let items = vec![format!("*a{}", level - 1); 10].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        let (root, problems) = read(&bomb);
        assert!(root.is_none());
        assert!(problems[0].contains("more than 50000 values"), "{problems:?}");
        let (_, problems) = read(&"- ".repeat(100));
        assert_eq!(problems, ["1:129: values are nested more than 64 levels deep"]);
        let (_, problems) = read("a: &x [*x]");
        assert_eq!(problems, ["1:8: this alias is part of what it stands for"]);
    }

    #[test]
    fn a_second_key_is_reported_where_it_stands() {
        let (_, problems) = read("a: 1\nb:\n  c: 1\n  c: 2\n");
        assert_eq!(problems, ["4:3: the key `c` is here twice"]);
    }

    #[test]
    fn a_tab_is_named() {
        assert_eq!(read("a:\n\tb: 1\n").1, ["2:1: a tab is used for indentation"]);
        assert_eq!(read("a:\n  b: 1\n\tc: 1\n").1, ["3:1: a tab is used for indentation"]);
    }

    #[test]
    fn a_quoted_text_ends_at_its_quote() {
        for (body, written) in
            [(r#"a: "x\" y" # c"#, r#""x\" y""#), ("a: 'x''y' # c", "'x''y'"), ("a: x y # c", "x y")]
        {
            let Some(Node { value: Value::Map(entries), .. }) = read(body).0 else { panic!("no map") };
            assert_eq!(&body[entries[0].value.span.clone()], written);
        }
    }
}
