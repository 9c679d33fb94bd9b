//! The JSON Schema of the file, made from the structs of `file.rs`, and the table of keys made from that.
//!
//! The plain schema drives our own walk. The one for editors also allows a reference in place of any number, because
//! `port: ${PORT}` is right and a red line under it would be wrong.

use std::fmt::Write;

use schemars::generate::SchemaSettings;
use schemars::JsonSchema;
use serde_json::{json, Map, Value};

use super::file::File;

/// The schema of `T` without references and without nulls: an absent key is absent, `null` is refused.
pub(super) fn plain<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    without_nulls(&mut schema);
    schema
}

/// The JSON Schema of `config.yaml` for editors, as text.
pub fn schema() -> String {
    let mut schema = plain::<File>();
    with_references(&mut schema);
    format!("{schema:#}\n")
}

/// Takes out the `null` that an optional field brings, defaults of `null`, and the default of a section as a whole, which
/// its keys say better.
fn without_nulls(schema: &mut Value) {
    if let Value::Object(map) = schema {
        for list in ["type", "enum"] {
            let Some(Value::Array(choices)) = map.get_mut(list) else { continue };
            choices.retain(|choice| !choice.is_null() && choice != "null");
            if let ([only], "type") = (choices.as_slice(), list) {
                let only = only.clone();
                map.insert(list.into(), only);
            }
        }
        let section = map.contains_key("properties");
        if section || map.get("default").is_some_and(Value::is_null) {
            map.remove("default");
        }
        let real = |choice: &Value| choice.get("type").is_none_or(|kind| kind != "null");
        if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
            choices.retain(real);
        }
        unwrap_single(map);
        map.values_mut().for_each(without_nulls);
    } else if let Value::Array(items) = schema {
        items.iter_mut().for_each(without_nulls);
    }
}

/// Replaces an `anyOf` of one by that one.
fn unwrap_single(map: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = map.get_mut("anyOf") else { return };
    if choices.len() != 1 {
        return;
    }
    if let Some(Value::Object(only)) = choices.pop() {
        map.remove("anyOf");
        for (key, value) in only {
            map.entry(key).or_insert(value);
        }
    }
}

/// Allows a reference to the environment or to a file wherever something else than free text is wanted.
fn with_references(schema: &mut Value) {
    const REFERENCE: &str = r"^os\.environ/|^file:|\$\{";
    match schema {
        Value::Array(items) => items.iter_mut().for_each(with_references),
        Value::Object(map) => {
            map.values_mut().for_each(with_references);
            let kind = map.get("type").and_then(Value::as_str);
            let narrow = matches!(kind, Some("integer" | "boolean"))
                || map.contains_key("enum")
                || map.contains_key("pattern");
            if narrow {
                let mut outer = Map::new();
                for kept in ["description", "default"] {
                    outer.extend(map.remove(kept).map(|value| (kept.to_owned(), value)));
                }
                let inner = Value::Object(std::mem::take(map));
                outer.insert("anyOf".into(), json!([inner, { "type": "string", "pattern": REFERENCE }]));
                *map = outer;
            }
        }
        _ => {}
    }
}

/// Every key in Markdown, a row each, in the order of the reference file: key, type, default, meaning.
pub fn table() -> String {
    let schema = plain::<File>();
    let mut keys = keys(&schema, "");
    keys.sort_by_key(|(path, _)| order(path));
    let mut rows = "| key | type | default | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for (path, schema) in keys {
        let default = schema.get("default").map(|value| format!("`{}`", bare(value))).unwrap_or_default();
        let meaning = text(schema, "description").replace('\n', " ");
        let _ = writeln!(rows, "| `{path}` | {} | {default} | {meaning} |", type_name(schema));
    }
    rows
}

/// Where the reference file has a key: its section, then the key itself below that.
fn order(path: &str) -> (usize, usize) {
    const REFERENCE: &str = include_str!("../../conf/reference.yaml");
    let mut names = path.split(['.', '[', ']']).filter(|name| !name.is_empty());
    let name = names.next().unwrap_or_default();
    let written = ["\n", "\n# "].map(|before| REFERENCE.find(&format!("{before}{name}:")));
    let section = written.into_iter().flatten().next().unwrap_or(REFERENCE.len());
    let below = REFERENCE.get(section..).unwrap_or_default();
    let key = below.find(&format!(" {}:", names.next().unwrap_or_default())).unwrap_or(below.len());
    (section, key)
}

/// The path and schema of every key, sections left out.
pub(super) fn keys<'s>(schema: &'s Value, path: &str) -> Vec<(String, &'s Value)> {
    let mut found = Vec::new();
    for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let items = inner.get("items").filter(|items| items.get("properties").is_some());
        match items {
            Some(items) => found.extend(keys(items, &format!("{path}[]"))),
            None if inner.get("properties").is_some() => found.extend(keys(inner, &path)),
            None => found.push((path, inner)),
        }
    }
    found
}

/// What a reader of the table calls the type.
pub(super) fn type_name(schema: &Value) -> String {
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        return choices.iter().map(|choice| format!("`{}`", bare(choice))).collect::<Vec<_>>().join(", ");
    }
    let name = match text(schema, "format") {
        "duration" => "time",
        "term" => "time or `permanent`",
        "size" => "size",
        "listen" => "address, `unix:/path` or `off`",
        _ if schema.get("writeOnly").is_some() => "secret",
        "rate" => "rate",
        _ if schema.pointer("/anyOf/0/format").is_some_and(|format| format == "rate") => {
            "rate, or a list of them"
        }
        _ if schema.get("anyOf").is_some() => "list or map",
        _ => match text(schema, "type") {
            "integer" => "number",
            "boolean" => "`true` or `false`",
            "array" => "list",
            "object" => "map",
            _ => "text",
        },
    };
    name.to_owned()
}

/// A value as the file would spell it.
pub(super) fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string().replace(',', ", "), str::to_owned)
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}
