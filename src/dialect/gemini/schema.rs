//! The OpenAPI subset of a client's `parameters` and `responseSchema`, as JSON Schema.
//!
//! Types in capitals, `nullable`, counts written as texts and snake_case keywords are Google's only; every other
//! dialect takes JSON Schema. Only keywords are touched: a property may be named `type` or `ref`. The order of keys is
//! kept, because it is the order in which models write. Source: ai.google.dev/api/caching#Schema.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::json::{Members, Str};

/// Deeper schemas stay as they are below this.
const DEEPEST: usize = 48;

/// A body with its schemas in JSON Schema.
pub fn prepare(body: &str) -> Cow<'_, str> {
    let Ok(sites) = serde_json::from_str::<Sites>(body) else { return body.into() };
    let mut out = String::new();
    let mut copied = 0;
    for site in sites.all() {
        let old = site.get();
        // A raw value is a piece of the body: its address tells where.
        let start = (old.as_ptr() as usize).saturating_sub(body.as_ptr() as usize);
        let mut new = String::with_capacity(old.len());
        translate(site, DEEPEST, &mut new);
        let (Some(before), true) = (body.get(copied..start), new != old) else { continue };
        out.push_str(before);
        out.push_str(&new);
        copied = start + old.len();
    }
    match copied {
        0 => body.into(),
        _ => Cow::Owned(out + body.get(copied..).unwrap_or_default()),
    }
}

/// Where in a request such schemas stand.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sites<'a> {
    #[serde(borrow)]
    tools: Option<Vec<ToolSite<'a>>>,
    #[serde(borrow, alias = "generation_config")]
    generation_config: Option<ConfigSite<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolSite<'a> {
    #[serde(borrow, alias = "function_declarations")]
    function_declarations: Option<Vec<FunctionSite<'a>>>,
}

#[derive(Deserialize)]
struct FunctionSite<'a> {
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigSite<'a> {
    #[serde(borrow, alias = "response_schema")]
    response_schema: Option<&'a RawValue>,
}

impl<'a> Sites<'a> {
    /// In the order of the body.
    fn all(self) -> Vec<&'a RawValue> {
        let tools = self.tools.into_iter().flatten();
        let functions = tools.flat_map(|tool| tool.function_declarations.into_iter().flatten());
        let mut all: Vec<&RawValue> = functions.filter_map(|function| function.parameters).collect();
        all.extend(self.generation_config.and_then(|config| config.response_schema));
        all.sort_by_key(|site| site.get().as_ptr() as usize);
        all
    }
}

fn translate(schema: &RawValue, depth: usize, out: &mut String) {
    match serde_json::from_str::<Members>(schema.get()) {
        Ok(members) if depth > 0 => object(&members.0, depth - 1, out),
        _ => out.push_str(schema.get()),
    }
}

fn object(members: &[(Str, &RawValue)], depth: usize, out: &mut String) {
    let nullable = members.iter().any(|(key, value)| **key == *"nullable" && value.get() == "true");
    let has_type = members.iter().any(|(key, _)| **key == *"type");
    out.push('{');
    let start = out.len();
    for (key, value) in members {
        let key = keyword(key);
        if matches!(key, "nullable" | "propertyOrdering" | "example") {
            continue;
        }
        if out.len() > start {
            out.push(',');
        }
        text(key, out);
        out.push(':');
        match key {
            "type" => types(value, nullable, out),
            "properties" | "$defs" => each_member(value, depth, out),
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
                each_item(value, depth, nullable && !has_type && key == "anyOf", out)
            }
            "items" | "additionalProperties" | "not" => translate(value, depth, out),
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
                count(value, out)
            }
            _ => out.push_str(value.get()),
        }
    }
    out.push('}');
}

/// JSON Schema's word for one of Google's.
fn keyword(key: &str) -> &str {
    match key {
        "any_of" => "anyOf",
        "one_of" => "oneOf",
        "prefix_items" => "prefixItems",
        "additional_properties" => "additionalProperties",
        "property_ordering" => "propertyOrdering",
        "min_items" => "minItems",
        "max_items" => "maxItems",
        "min_length" => "minLength",
        "max_length" => "maxLength",
        "min_properties" => "minProperties",
        "max_properties" => "maxProperties",
        "defs" => "$defs",
        "ref" => "$ref",
        key => key,
    }
}

fn types(value: &RawValue, nullable: bool, out: &mut String) {
    let lower = value.get().to_ascii_lowercase();
    match nullable && lower.starts_with('"') {
        true => {
            out.push('[');
            out.push_str(&lower);
            out.push_str(",\"null\"]");
        }
        false => out.push_str(&lower),
    }
}

fn each_member(value: &RawValue, depth: usize, out: &mut String) {
    let Ok(Members(members)) = serde_json::from_str::<Members>(value.get()) else {
        return out.push_str(value.get());
    };
    out.push('{');
    for (number, (name, schema)) in members.iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        text(name, out);
        out.push(':');
        translate(schema, depth, out);
    }
    out.push('}');
}

fn each_item(value: &RawValue, depth: usize, or_null: bool, out: &mut String) {
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else {
        return out.push_str(value.get());
    };
    out.push('[');
    for (number, schema) in items.iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        translate(schema, depth, out);
    }
    if or_null {
        out.push_str(if items.is_empty() { "" } else { "," });
        out.push_str(r#"{"type":"null"}"#);
    }
    out.push(']');
}

/// protobuf's JSON writes 64-bit numbers as texts.
fn count(value: &RawValue, out: &mut String) {
    let digits = value.get().trim_matches('"');
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    out.push_str(if is_number { digits } else { value.get() });
}

fn text(text: &str, out: &mut String) {
    // Texts always become JSON.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}
