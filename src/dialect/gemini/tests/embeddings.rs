//! Embeddings, there and back.

use super::*;
use crate::dialect::gemini::embeddings::{compose, operation};
use crate::llm::usage::Usage;

fn target(model: &str, vertex: bool) -> Target<'_> {
    Target { model, habits: Habits { vertex, ..Habits::default() }, signature: &|_| None }
}

fn asked(json: &str, model: &str, vertex: bool) -> Result<Value, String> {
    compose(json, &target(model, vertex))
        .map(|(composed, _)| body(&composed))
        .map_err(|refusal| refusal.param)
}

fn answered(json: &str, answer: &str) -> (Value, Option<Usage>) {
    let (_, writer) = compose(json, &target("gemini-embedding-2", false)).unwrap();
    let (body, usage) = writer.whole(answer.as_bytes()).unwrap();
    (serde_json::from_slice(&body).unwrap(), usage)
}

#[test]
fn each_host_and_model_has_its_operation() {
    assert_eq!(operation("gemini-embedding-001", false), "batchEmbedContents");
    assert_eq!(operation("gemini-embedding-2", false), "batchEmbedContents");
    assert_eq!(operation("gemini-embedding-2", true), "embedContent");
    assert_eq!(operation("gemini-embedding-001", true), "predict");
    assert_eq!(operation("text-embedding-005", true), "predict");
}

#[test]
fn ai_studio_gets_a_batch() {
    let json = r#"{"model":"x","input":["First text","Second text"],"dimensions":768}"#;
    // As recorded.
    let expected = r#"{"requests":[{"model":"models/gemini-embedding-2","content":{"parts":[{"text":"First text"}]},
        "outputDimensionality":768},{"model":"models/gemini-embedding-2","content":{"parts":[{"text":"Second text"}]},
        "outputDimensionality":768}]}"#;
    assert_eq!(asked(json, "gemini-embedding-2", false), Ok(value(expected)));
}

#[test]
fn vertex_gets_instances_or_one_content() {
    let json = r#"{"input":"a","dimensions":8}"#;
    assert_eq!(
        asked(json, "text-embedding-005", true),
        Ok(value(r#"{"instances":[{"content":"a"}],"parameters":{"outputDimensionality":8}}"#))
    );
    assert_eq!(
        asked(json, "gemini-embedding-2", true),
        Ok(value(r#"{"content":{"parts":[{"text":"a"}]},"embedContentConfig":{"outputDimensionality":8}}"#))
    );
    assert_eq!(asked(r#"{"input":["a","b"]}"#, "gemini-embedding-2", true), Err("input".into()));
}

#[test]
fn tokens_and_nothing_are_refused() {
    for json in [r#"{"input":[1,2]}"#, r#"{"input":[[1],[2]]}"#, r#"{"input":[]}"#, "{}", r#"{"input":7}"#] {
        assert_eq!(asked(json, "gemini-embedding-001", false), Err("input".into()), "{json}");
    }
    let encoding = r#"{"input":"a","encoding_format":"hex"}"#;
    assert_eq!(asked(encoding, "gemini-embedding-001", false), Err("encoding_format".into()));
}

#[test]
fn a_recorded_batch_becomes_openais_list() {
    let recorded = include_str!("../../../../tests/golden/fixtures/llm-gemini/gemini/embedding_batch.json");
    let (list, usage) = answered(r#"{"input":["a","b"],"encoding_format":"float"}"#, recorded);
    let recorded = value(recorded);
    assert_eq!((&list["object"], &list["data"][1]["index"]), (&value("\"list\""), &value("1")));
    for at in [0, 1] {
        let floats = |values: &Value| -> Vec<f32> {
            values.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
        };
        assert_eq!(floats(&list["data"][at]["embedding"]), floats(&recorded["embeddings"][at]["values"]));
    }
    let prompt = recorded["usageMetadata"]["promptTokenCount"].as_u64().unwrap();
    assert_eq!(usage, Some(Usage { prompt, total: prompt, ..Usage::default() }));
    assert_eq!(list["usage"]["prompt_tokens"], prompt);
}

#[test]
fn a_recorded_prediction_counts_its_tokens() {
    let recorded =
        include_str!("../../../../tests/golden/fixtures/vercel-ai/gemini/google-vertex-embedding.json");
    let tokens: f64 = value(recorded)["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|prediction| prediction["embeddings"]["statistics"]["token_count"].as_f64().unwrap())
        .sum();
    let (_, usage) = answered(r#"{"input":"a"}"#, recorded);
    assert_eq!(usage.unwrap().prompt as f64, tokens);
}

#[test]
fn base64_is_of_little_endian_floats() {
    let answer = r#"{"embedding":{"values":[1.0,-2.5]},"usageMetadata":{"promptTokenCount":3}}"#;
    let (list, usage) = answered(r#"{"input":"a","encoding_format":"base64"}"#, answer);
    assert_eq!(list["data"][0]["embedding"], "AACAPwAAIMA=");
    assert_eq!(usage.unwrap().prompt, 3);
    let one = r#"{"embeddings":[{"values":[1]}]}"#;
    let (list, usage) = answered(r#"{"input":"a","encoding_format":"base64"}"#, one);
    assert_eq!((&list["data"][0]["embedding"], usage), (&value("\"AACAPw==\""), None));
}

#[test]
fn what_is_no_embedding_is_unreadable() {
    let (_, writer) = compose(r#"{"input":"a"}"#, &target("m", false)).unwrap();
    for body in ["", "{}", "[]", r#"{"embeddings":[{}]}"#, r#"{"embedding":{"values":["x"]}}"#] {
        assert_eq!(writer.whole(body.as_bytes()).unwrap_err(), Unreadable, "{body}");
    }
}
