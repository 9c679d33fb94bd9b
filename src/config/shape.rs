//! Walks the tree of a file along the schema of its structs and reports everything that does not fit, at once.
//!
//! What fits comes out as JSON for serde, references resolved and texts turned into the types that their keys want; what
//! does not is reported and left out, so that the relations of the rest can still be checked. The place of every value
//! is kept for those checks. A value is quoted in a problem only as it stands in the file, never as a variable gave it,
//! and a secret is not quoted at all.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::{Map, Value as Json};

use super::interpolate::Outside;
use super::node::{Entry, Node, Value};
use super::problem::{quoted, Fault, Report, Severity};
use super::quantity;
use super::schema::{bare, type_name};
use super::source::Text;
use super::suggest::nearest;

/// Where the values of a file were written, by dotted path.
#[derive(Debug, Default)]
pub struct Places {
    by_path: HashMap<String, Place>,
    secrets: Vec<Range<usize>>,
}

#[derive(Debug)]
struct Place {
    span: Range<usize>,
    written: String,
}

impl Places {
    /// Whether the file says anything at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    /// The place of `path`, or of the nearest thing around it that was written.
    pub fn span(&self, mut path: &str) -> Option<Range<usize>> {
        loop {
            if let Some(place) = self.by_path.get(path) {
                return Some(place.span.clone());
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// What was written at `path`, in back-ticks, quotes taken off; stars for a secret.
    pub fn written(&self, path: &str) -> String {
        self.by_path.get(path).map_or_else(|| "it".to_owned(), |place| place.written.clone())
    }

    /// The ranges that must not be shown.
    pub fn secrets(&self) -> &[Range<usize>] {
        &self.secrets
    }
}

/// What is left of a file once everything that does not fit is out.
pub struct Fitting {
    /// The values, as serde wants them.
    pub json: Json,
    /// Where they were written.
    pub places: Places,
}

/// Walks `root` along `schema`; problems go to `report`.
pub fn fit(root: &Node, schema: &Json, text: &Text, outside: Outside, report: &mut Report) -> Fitting {
    let mut walk = Walk { text, outside, report, schema, places: Places::default() };
    let json = walk.value(root, schema, "").unwrap_or_else(|| Json::Object(Map::new()));
    Fitting { json, places: walk.places }
}

struct Walk<'w, 'a> {
    text: &'w Text,
    outside: Outside<'w>,
    report: &'w mut Report<'a>,
    schema: &'w Json,
    places: Places,
}

impl Walk<'_, '_> {
    fn error(&mut self, span: &Range<usize>, path: &str, fault: Fault) {
        self.report.add(Severity::Error, Some(span.clone()), path, fault);
    }

    fn value(&mut self, node: &Node, schema: &Json, path: &str) -> Option<Json> {
        let schema = alternative(node, schema);
        let secret = is_secret(schema);
        let written = match &node.value {
            _ if secret => "***".to_owned(),
            Value::Scalar { .. } => self.quote(node),
            // A report names a section and never repeats it.
            Value::List(_) | Value::Map(_) => String::new(),
        };
        let span = place(node);
        self.places.by_path.insert(path.to_owned(), Place { span: span.clone(), written });
        match (&node.value, kind(schema)) {
            (Value::Map(entries), "object") => Some(self.map(node, entries, schema, path)),
            (Value::List(items), "array") => Some(self.list(node, items, schema, path)),
            (Value::Scalar { text, plain }, wanted) => {
                if secret {
                    self.places.secrets.push(node.span.clone());
                }
                if *plain && is_null(text) {
                    return self.absent(&span, path);
                }
                match wanted {
                    "object" | "array" => self.mismatch(node, schema, path),
                    _ => self.scalar(node, text, schema, path),
                }
            }
            _ => self.mismatch(node, schema, path),
        }
    }

    fn mismatch(&mut self, node: &Node, schema: &Json, path: &str) -> Option<Json> {
        self.hide(node);
        let found = match node.value {
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        };
        let fault =
            Fault::new(format!("{} must be {}, not {found}", named(path), article(&type_name(schema))));
        let fault = match kind(schema) {
            "array" => fault.help("a list is written `[a, b]`, or one `- ` line for each item"),
            "object" => fault.help("a map is written as indented `key: value` lines"),
            _ => fault,
        };
        self.error(&place(node), path, fault);
        None
    }

    fn list(&mut self, node: &Node, items: &[Node], schema: &Json, path: &str) -> Json {
        if items.is_empty() && schema.get("minItems").is_some() {
            let fault = Fault::new(format!("{} needs at least one entry", named(path)));
            self.error(&node.span, path, fault.help("without one there is nobody to send a request to"));
        }
        let inner = schema.get("items").unwrap_or(&Json::Null);
        let items = items
            .iter()
            .enumerate()
            .map(|(index, item)| self.value(item, inner, &format!("{path}[{index}]")));
        // An item that does not fit keeps its seat where items have keys, so that places and indices still agree.
        let seat = (kind(inner) == "object").then(|| Json::Object(Map::new()));
        Json::Array(items.filter_map(|item| item.or_else(|| seat.clone())).collect())
    }

    fn map(&mut self, node: &Node, entries: &[Entry], schema: &Json, path: &str) -> Json {
        let known = schema.get("properties").and_then(Json::as_object);
        let free = schema.get("additionalProperties").filter(|inner| inner.is_object());
        let mut out = Map::new();
        for entry in entries {
            let inner_path =
                if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
            match known.and_then(|known| known.get(&entry.key)).or(free) {
                Some(inner) => {
                    let value = self.entry(entry, inner, &inner_path);
                    out.extend(value.map(|value| (entry.key.clone(), value)));
                }
                None if entry.key.starts_with("x-") && schema.get("patternProperties").is_some() => {
                    self.hide(&entry.value);
                }
                None => self.unknown(entry, schema, path),
            }
        }
        self.required(node, entries, schema, path);
        Json::Object(out)
    }

    fn absent(&mut self, span: &Range<usize>, path: &str) -> Option<Json> {
        let fault = Fault::new(format!("{} has no value", named(path)));
        self.error(span, path, fault.help("give it one, or remove the key to have its default"));
        None
    }

    fn entry(&mut self, entry: &Entry, schema: &Json, path: &str) -> Option<Json> {
        if matches!(&entry.value.value, Value::Scalar { text, plain: true } if text.is_empty()) {
            // There is nothing to point at but the key; and the checks of relations must know that it is there.
            let place = Place { span: entry.at.clone(), written: String::new() };
            self.places.by_path.insert(path.to_owned(), place);
            return self.absent(&entry.at, path);
        }
        let value = self.value(&entry.value, schema, path);
        // A section, and a value that is not there at all, is best pointed at by its key.
        let collection = !matches!(entry.value.value, Value::Scalar { .. });
        if let Some(place) =
            self.places.by_path.get_mut(path).filter(|place| collection || place.span.is_empty())
        {
            place.span = entry.at.clone();
        }
        value
    }

    fn unknown(&mut self, entry: &Entry, schema: &Json, path: &str) {
        self.hide(&entry.value);
        let known = schema
            .get("properties")
            .and_then(Json::as_object)
            .into_iter()
            .flat_map(Map::keys)
            .map(String::as_str);
        let inside = if path.is_empty() { String::new() } else { format!(" in {}", quoted(path)) };
        let help = match (nearest(&entry.key, known.clone()), self.elsewhere(&entry.key)) {
            (Some(meant), _) => format!("did you mean `{meant}`?"),
            (None, Some(section)) => format!("`{}` belongs under `{section}`", entry.key),
            (None, None) => format!("known here: {}", known.collect::<Vec<_>>().join(", ")),
        };
        let fault = Fault::new(format!("unknown key {}{inside}", quoted(&entry.key))).help(help);
        self.error(&entry.at, path, fault);
    }

    /// The section that knows a key.
    fn elsewhere(&self, key: &str) -> Option<String> {
        let sections = self.schema.get("properties")?.as_object()?;
        let knows = |schema: &Json| schema.get("properties").is_some_and(|inner| inner.get(key).is_some());
        sections.iter().find_map(|(name, schema)| match schema.get("items") {
            Some(items) => knows(items).then(|| format!("{name}[]")),
            None => knows(schema).then(|| name.clone()),
        })
    }

    fn required(&mut self, node: &Node, entries: &[Entry], schema: &Json, path: &str) {
        let wanted =
            schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
        for key in wanted.filter(|key| entries.iter().all(|entry| entry.key != *key)) {
            let inner = schema.get("properties").and_then(|all| all.get(key)).unwrap_or(&Json::Null);
            let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            let below = inner.get("required").and_then(|list| list.get(0)).and_then(Json::as_str);
            let (path, meaning) = match below {
                Some(below) => {
                    (format!("{path}.{below}"), inner.pointer(&format!("/properties/{below}/description")))
                }
                None => (path, inner.get("description")),
            };
            let fault = Fault::new(format!("the key `{path}` is missing"));
            let meaning = meaning.and_then(Json::as_str).map(|text| text.replace('\n', " "));
            let fault = Fault { help: meaning, ..fault };
            self.error(&place(node), &path, fault);
        }
    }

    fn scalar(&mut self, node: &Node, text: &str, schema: &Json, path: &str) -> Option<Json> {
        let resolved = match self.outside.resolve(text) {
            Ok(resolved) => resolved,
            Err(unresolved) => {
                self.error(&node.span, path, Fault::new(format!("{}: {unresolved}", named(path))));
                return None;
            }
        };
        let value = resolved.as_deref().unwrap_or(text);
        if value.is_empty() {
            let fault = Fault::new(format!("{} is empty", named(path)));
            self.error(
                &node.span,
                path,
                fault.help("give it a value, or remove the key to have its default"),
            );
            return None;
        }
        let shown = if is_secret(schema) { "the value".to_owned() } else { quoted(text) };
        match typed(value, &shown, schema) {
            Ok(json) => Some(json),
            Err(fault) => {
                self.error(
                    &node.span,
                    path,
                    Fault { message: format!("{}: {}", named(path), fault.message), ..fault },
                );
                None
            }
        }
    }

    /// Keeps everything below a node from being shown.
    fn hide(&mut self, node: &Node) {
        match &node.value {
            Value::Scalar { .. } => self.places.secrets.push(node.span.clone()),
            Value::List(items) => items.iter().for_each(|item| self.hide(item)),
            Value::Map(entries) => entries.iter().for_each(|entry| self.hide(&entry.value)),
        }
    }

    fn quote(&self, node: &Node) -> String {
        let written = self.text.slice(node.span.clone()).trim_matches(['"', '\'']);
        quoted(written)
    }
}

/// The value as JSON of the wanted type; `shown` is how a problem may call it.
fn typed(value: &str, shown: &str, schema: &Json) -> Result<Json, Fault> {
    if let Some(choices) = schema.get("enum").and_then(Json::as_array) {
        return choice(value, shown, choices);
    }
    if let Some(read) =
        schema.get("format").and_then(Json::as_str).and_then(|format| quantity::check(format, value.trim()))
    {
        let text = Json::String(value.trim().to_owned());
        return read
            .map(|()| text)
            .map_err(|how| Fault::new(format!("{shown} is no {}", quantity_name(schema))).help(how));
    }
    match kind(schema) {
        "integer" => integer(value.trim(), shown, schema),
        "boolean" => match value.trim() {
            "true" | "True" | "TRUE" => Ok(Json::Bool(true)),
            "false" | "False" | "FALSE" => Ok(Json::Bool(false)),
            _ => Err(Fault::new(format!("{shown} is neither `true` nor `false`"))),
        },
        _ => Ok(Json::String(value.to_owned())),
    }
}

fn choice(value: &str, shown: &str, choices: &[Json]) -> Result<Json, Fault> {
    let known = choices.iter().filter_map(Json::as_str);
    if known.clone().any(|known| known == value) {
        return Ok(Json::String(value.to_owned()));
    }
    let list = choices.iter().map(|choice| format!("`{}`", bare(choice))).collect::<Vec<_>>().join(", ");
    let fault = Fault::new(format!("{shown} is none of {list}"));
    Err(match nearest(value, known) {
        Some(meant) => fault.help(format!("did you mean `{meant}`?")),
        None => fault,
    })
}

fn integer(value: &str, shown: &str, schema: &Json) -> Result<Json, Fault> {
    let number: i64 = value.parse().map_err(|_| Fault::new(format!("{shown} is no whole number")))?;
    let bound = |key: &str| schema.get(key).and_then(Json::as_i64);
    let (least, most) = (bound("minimum").unwrap_or(0), bound("maximum").unwrap_or(i64::MAX));
    if (least..=most).contains(&number) {
        return Ok(Json::from(number));
    }
    let range =
        if most == i64::MAX { format!("at least {least}") } else { format!("from {least} to {most}") };
    Err(Fault::new(format!("{shown} is out of range, it must be {range}")))
}

/// Which of several allowed shapes a node was probably meant to have: the one of its own kind.
fn alternative<'s>(node: &Node, schema: &'s Json) -> &'s Json {
    let Some(choices) = schema.get("anyOf").and_then(Json::as_array) else { return schema };
    let wanted = |kind: &str| match node.value {
        Value::Map(_) => kind == "object",
        Value::List(_) => kind == "array",
        Value::Scalar { .. } => !matches!(kind, "object" | "array"),
    };
    choices.iter().find(|choice| wanted(kind(choice))).or(choices.last()).unwrap_or(schema)
}

/// The JSON type of a schema; the first where it allows several.
fn kind(schema: &Json) -> &str {
    let kind = schema.get("type");
    kind.and_then(|kind| kind.as_str().or_else(|| kind.get(0)?.as_str())).unwrap_or_default()
}

fn is_secret(schema: &Json) -> bool {
    schema.get("writeOnly").is_some()
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Where to point for a node: a map's first key, a scalar's text.
fn place(node: &Node) -> Range<usize> {
    match &node.value {
        Value::Map(entries) if node.span.is_empty() => {
            entries.first().map_or(node.span.clone(), |entry| entry.at.clone())
        }
        Value::List(items) if node.span.is_empty() => items.first().map_or(node.span.clone(), place),
        _ => node.span.clone(),
    }
}

/// The last part of a path, as a problem calls it.
fn named(path: &str) -> String {
    match path.rsplit('.').next() {
        None | Some("") => "the file".to_owned(),
        Some(name) => format!("`{name}`"),
    }
}

fn quantity_name(schema: &Json) -> String {
    match kind(schema) {
        "integer" => "limit".to_owned(),
        _ => type_name(schema),
    }
}

fn article(name: &str) -> String {
    let vowel = name.starts_with(['a', 'e', 'i', 'o', 'u']);
    let article = if name.starts_with('`') {
        ""
    } else if vowel {
        "an "
    } else {
        "a "
    };
    format!("{article}{name}")
}
