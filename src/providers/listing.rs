//! Model lists: which models an upstream says that it has.
//!
//! Three shapes are about: OpenAI's and Anthropic's `{"data": [{"id"}]}`, Together's bare array of the same, and Google's
//! `{"models": [{"name": "models/x"}]}`. Sources: the vendors' API references.

use serde::Deserialize;

/// Longer names are none.
const MOST_NAME: usize = 256;
/// More models than these are not learned.
const MOST_MODELS: usize = 10_000;

#[derive(Deserialize)]
#[serde(untagged)]
enum List {
    Open { data: Vec<Model> },
    Google { models: Vec<Model> },
    Bare(Vec<Model>),
}

#[derive(Deserialize)]
struct Model {
    id: Option<String>,
    name: Option<String>,
}

/// The names in a model list, as they are asked for. None if it is no such list.
pub fn names(body: &[u8]) -> Option<Vec<String>> {
    let models = match serde_json::from_slice(body).ok()? {
        List::Open { data } => data,
        List::Google { models } | List::Bare(models) => models,
    };
    let names: Option<Vec<String>> = models.into_iter().map(|model| model.id.or(model.name)).collect();
    let names = names?.into_iter().map(|name| match name.strip_prefix("models/") {
        Some(bare) => bare.to_owned(),
        None => name,
    });
    Some(names.filter(|name| name.len() <= MOST_NAME).take(MOST_MODELS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vendors_list_is_read() {
        for body in [
            r#"{"object":"list","data":[{"id":"a","object":"model"},{"id":"b","name":"B"}]}"#,
            r#"{"data":[{"type":"model","id":"a","display_name":"A"},{"id":"b"}],"has_more":false}"#,
            r#"[{"id":"a","type":"chat"},{"id":"b"}]"#,
            r#"{"models":[{"name":"models/a","displayName":"A"},{"name":"models/b"}],"nextPageToken":"x"}"#,
        ] {
            assert_eq!(names(body.as_bytes()), Some(vec!["a".to_owned(), "b".to_owned()]), "{body}");
        }
        assert_eq!(names(br#"{"data":[]}"#), Some(Vec::new()));
        for body in ["", "{}", "null", r#"{"error":{"message":"m"}}"#, r#"{"data":[{"x":1}]}"#] {
            assert_eq!(names(body.as_bytes()), None, "{body}");
        }
    }
}
