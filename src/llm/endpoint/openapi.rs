//! `/openapi.json`: what the router serves, made from the table that it goes by.
//!
//! An endpoint that passes bytes on is described as that: what is in them is the provider's business, and its own
//! description is the place to read about it. Source of the form: OpenAPI Specification 3.1.1.

use http::Method;
use serde_json::{json, Map, Value};

use super::table::{Gives, Row, Takes, ROWS};
use super::Endpoint;
use crate::llm::Wire;

/// The methods that an endpoint takes which takes any.
const ANY: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
/// What a failed request gets, of our own.
const ERRORS: [(&str, &str); 4] = [
    ("401", "No key, or a wrong one"),
    ("403", "The key is not for this"),
    ("404", "There is no such thing"),
    ("429", "A limit is full; Retry-After says until when"),
];

/// One endpoint, for a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// As OpenAPI writes paths: each part in braces has a name.
    pub path: String,
    /// The methods that it takes.
    pub methods: Vec<&'static str>,
    /// What it is.
    pub about: &'static str,
    /// Whom it answers: `anybody`, `key`, `master key`.
    pub whom: &'static str,
}

/// All endpoints, in the order of the table.
pub fn listed() -> Vec<Listed> {
    ROWS.iter().map(listed_row).collect()
}

fn listed_row(row: &'static Row) -> Listed {
    let methods: Vec<&'static str> = match row.allow {
        "" => ANY.to_vec(),
        allow => allow.split(", ").filter(|method| *method != "HEAD").collect(),
    };
    let whom = match row.takes {
        Takes::Page => "anybody",
        Takes::Act => "master key",
        _ => "key",
    };
    Listed { path: path(row.template), methods, about: row.about, whom }
}

/// `*` gets a name, and so does what stands for a model.
fn path(template: &str) -> String {
    let models = template.contains("/models/");
    let named = template.replace('*', if models { "{model}" } else { "{rest}" });
    if models {
        named.replace("{id}", "{model}")
    } else {
        named
    }
}

/// The description, with the version of the program. `header` is a further one for keys.
pub fn document(version: &str, header: Option<&str>) -> Value {
    let mut paths = Map::new();
    for row in &ROWS {
        let listed = listed_row(row);
        let methods = listed.methods.iter();
        let operations: Map<String, Value> =
            methods.map(|method| (method.to_lowercase(), operation(row, &listed, method))).collect();
        paths.insert(listed.path, Value::Object(operations));
    }
    let mut schemes = json!({
        "bearer": { "type": "http", "scheme": "bearer" },
        "anthropic": { "type": "apiKey", "in": "header", "name": "x-api-key" },
        "azure": { "type": "apiKey", "in": "header", "name": "api-key" },
        "google": { "type": "apiKey", "in": "header", "name": "x-goog-api-key" },
    });
    if let Some(header) = header {
        schemes["operator"] = json!({ "type": "apiKey", "in": "header", "name": header });
    }
    json!({
        "openapi": "3.1.1",
        "info": { "title": "Auto AI Router", "version": version },
        "paths": paths,
        "components": {
            "securitySchemes": schemes,
            "schemas": { "Error": error() },
            "responses": { "Error": { "description": "An error", "content": content("application/json", "Error") } },
        },
    })
}

fn operation(row: &Row, listed: &Listed, method: &str) -> Value {
    let name =
        |path: &str| path.split(['/', '{', '}', ':']).filter(|p| !p.is_empty()).collect::<Vec<_>>().join("_");
    let mut operation = json!({
        "operationId": format!("{}_{}", method.to_lowercase(), if listed.path == "/" { "root".into() } else { name(&listed.path) }),
        "summary": row.about,
        "tags": [tag(row)],
        "responses": { "200": success(row) },
    });
    let parameters: Vec<Value> = listed
        .path
        .split('{')
        .skip(1)
        .filter_map(|part| {
            let (name, _) = part.split_once('}')?;
            Some(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        })
        .collect();
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if listed.whom != "anybody" {
        operation["security"] =
            json!([{ "bearer": [] }, { "anthropic": [] }, { "azure": [] }, { "google": [] }]);
    }
    for (status, description) in ERRORS {
        operation["responses"][status] =
            json!({ "description": description, "content": content("application/json", "Error") });
    }
    if let Some(body) = body(row, method) {
        operation["requestBody"] = body;
    }
    operation
}

fn body(row: &Row, method: &str) -> Option<Value> {
    let endpoint =
        Endpoint::of(&Method::from_bytes(method.as_bytes()).ok()?, &row.template.replace('*', "x"));
    let named =
        json!({ "type": "object", "required": ["model"], "properties": { "model": { "type": "string" } } });
    let schema = match row.takes {
        _ if !matches!(method, "POST" | "PUT" | "PATCH") => return None,
        Takes::Page | Takes::Keyed | Takes::Act => return None,
        Takes::Model if endpoint.path_model().is_none() => named,
        _ => json!({ "type": "object" }),
    };
    let kind = if row.takes == Takes::Upload { "multipart/form-data" } else { "application/json" };
    Some(json!({ "content": { kind: { "schema": schema } } }))
}

fn success(row: &Row) -> Value {
    let any = json!({ "schema": {} });
    let mut contents = Map::from_iter([("application/json".to_owned(), any.clone())]);
    match (row.gives, row.takes) {
        (Gives::Text, _) => {
            contents.insert("text/event-stream".into(), any);
        }
        (Gives::Either, Takes::Page | Takes::Keyed) => {
            contents = Map::from_iter([("text/*".to_owned(), any)]);
        }
        (Gives::Either, _) => {
            contents.insert("*/*".into(), any);
        }
        (Gives::Json, _) => {}
    }
    json!({ "description": row.about, "content": contents })
}

fn tag(row: &Row) -> &'static str {
    match row.wire {
        _ if !row.template.starts_with("/v1") => "Router",
        _ if row.template.starts_with("/v1/messages") => "Anthropic",
        _ if row.template.starts_with("/v1beta") => "Google",
        Wire::Chat | Wire::Completions | Wire::Responses | Wire::Opaque => "OpenAI",
        _ => "OpenAI, stored objects",
    }
}

fn content(kind: &str, schema: &str) -> Value {
    json!({ kind: { "schema": { "$ref": format!("#/components/schemas/{schema}") } } })
}

fn error() -> Value {
    let text = json!({ "type": ["string", "null"] });
    json!({
        "type": "object",
        "required": ["error"],
        "properties": { "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": { "message": { "type": "string" }, "type": { "type": "string" }, "param": text, "code": text },
        } },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::llm::endpoint::{Door, Sent};

    #[test]
    fn every_endpoint_is_described_once_and_every_description_is_served() {
        let document = document("1.2.3", None);
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(paths.len(), ROWS.len());
        for listed in listed() {
            assert!(!listed.about.is_empty(), "{}", listed.path);
            let operations = paths[&listed.path].as_object().unwrap();
            for method in operations.keys() {
                let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let path = listed.path.replace("{model}", "m").replace("{id}", "x").replace("{rest}", "x");
                let sent = if verb == Method::POST { Sent::Measured } else { Sent::Nothing };
                let door = Endpoint::of(&verb, &path).door(sent);
                assert_ne!(door, Door::Refuse, "{verb} {path}");
            }
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let document = document("1", Some("x-token"));
        let mut names = HashSet::new();
        for operations in document["paths"].as_object().unwrap().values() {
            for operation in operations.as_object().unwrap().values() {
                assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
            }
        }
        assert_eq!(document["components"]["securitySchemes"]["operator"]["name"], "x-token");
    }

    #[test]
    fn what_takes_a_model_says_so() {
        let document = document("1", None);
        let chat = &document["paths"]["/v1/chat/completions"]["post"];
        let schema = &chat["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(schema["required"], json!(["model"]));
        assert!(chat["responses"]["200"]["content"].get("text/event-stream").is_some());
        assert!(document["paths"]["/health"]["get"].get("security").is_none());
    }
}
