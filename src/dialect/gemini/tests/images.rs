//! Pictures, there and back.

use serde_json::{json, Value};

use super::{body, value};
use crate::dialect::gemini::images::{compose, operation, ImagesWriter};
use crate::dialect::{Habits, Target};
use crate::llm::upstream_error::UpstreamError;

const NANO: &str = "gemini-2.5-flash-image";
const PRO: &str = "gemini-3-pro-image";
const IMAGEN: &str = "imagen-4.0-generate-001";

fn target(model: &str, vertex: bool) -> Target<'_> {
    Target { model, habits: Habits { vertex, ..Habits::default() }, signature: &|_| None }
}

fn asked_at(json: &Value, model: &str, vertex: bool) -> Result<Value, String> {
    compose(&json.to_string().into(), None, &target(model, vertex), 7)
        .map(|(composed, _)| body(&composed))
        .map_err(|refusal| refusal.param)
}

fn asked(json: Value, model: &str) -> Result<Value, String> {
    asked_at(&json, model, false)
}

/// What is asked besides the prompt.
fn config(mut members: Value, model: &str) -> Result<Value, String> {
    members["prompt"] = json!("a cat");
    let config = |body: Value| match model == IMAGEN {
        true => body["parameters"].clone(),
        false => body["generationConfig"].clone(),
    };
    asked_at(&members, model, true).map(config)
}

fn answered(answer: &Value) -> Value {
    let told = ImagesWriter::new(7).whole(answer.to_string().as_bytes()).unwrap();
    value(std::str::from_utf8(&told.body).unwrap())
}

fn refused(answer: &Value) -> UpstreamError {
    ImagesWriter::new(7).whole(answer.to_string().as_bytes()).unwrap_err().unwrap()
}

fn blob(data: &str) -> Value {
    json!({"inlineData": {"mimeType": "image/png", "data": data}})
}

#[test]
fn each_model_has_its_operation_and_imagen_edits_nothing() {
    assert_eq!(operation(NANO, false), Some("generateContent"));
    assert_eq!(operation(NANO, true), Some("generateContent"));
    assert_eq!(operation(IMAGEN, false), Some("predict"));
    assert_eq!(operation("publishers/google/models/imagegeneration@006", false), Some("predict"));
    assert_eq!(operation(IMAGEN, true), None);
}

#[test]
fn gemini_is_asked_for_pictures_only() {
    let expected = json!({
        "contents": [{"role": "user", "parts": [{"text": "a cat"}]}],
        "generationConfig": {"responseModalities": ["IMAGE"]},
    });
    let plain = json!({"model": "x", "prompt": "a cat", "user": "u", "n": 1, "moderation": "low"});
    assert_eq!(asked(plain, NANO), Ok(expected));
}

#[test]
fn imagen_is_asked_for_one_picture_and_its_reasons() {
    let expected = json!({
        "instances": [{"prompt": "a cat"}],
        "parameters": {"sampleCount": 1, "includeRaiReason": true},
    });
    assert_eq!(asked(json!({"prompt": "a cat"}), IMAGEN), Ok(expected));
    assert_eq!(config(json!({"n": 4}), IMAGEN).unwrap()["sampleCount"], 4);
}

#[test]
fn pixels_become_the_nearest_shape() {
    for (size, gemini, imagen) in [
        ("1024x1024", "1:1", "1:1"),
        ("256x256", "1:1", "1:1"),
        ("1536x1024", "3:2", "4:3"),
        ("1024x1536", "2:3", "3:4"),
        ("1792x1024", "16:9", "16:9"),
        ("1024x1792", "9:16", "9:16"),
    ] {
        let of = |model| config(json!({ "size": size }), model).unwrap();
        assert_eq!(of(NANO)["imageConfig"], json!({ "aspectRatio": gemini }), "{size}");
        assert_eq!(of(IMAGEN)["aspectRatio"], imagen, "{size}");
    }
    assert!(config(json!({"size": "auto"}), NANO).unwrap().get("imageConfig").is_none());
}

#[test]
fn more_pixels_are_asked_for_where_a_model_has_them() {
    let large = |model| config(json!({"size": "2048x2048"}), model);
    assert_eq!(large(PRO).unwrap()["imageConfig"], json!({"aspectRatio": "1:1", "imageSize": "2K"}));
    assert_eq!(large(IMAGEN).unwrap()["sampleImageSize"], "2K");
    assert_eq!(large(NANO), Err("size".into()));
    assert_eq!(config(json!({"size": "3840x2160"}), PRO).unwrap()["imageConfig"]["imageSize"], "4K");
    assert_eq!(config(json!({"size": "3840x2160"}), IMAGEN), Err("size".into()));
}

#[test]
fn high_quality_is_a_wish_for_more_pixels_where_the_size_is_open() {
    let high = |model, size| config(json!({"quality": "high", "size": size}), model).unwrap();
    assert_eq!(high(PRO, "auto")["imageConfig"], json!({"imageSize": "2K"}));
    assert_eq!(high(PRO, "1024x1024")["imageConfig"], json!({"aspectRatio": "1:1"}));
    assert!(high(NANO, "auto").get("imageConfig").is_none());
    assert!(config(json!({"quality": "medium"}), PRO).unwrap().get("imageConfig").is_none());
}

#[test]
fn what_google_cannot_do_names_its_member() {
    for (member, wrong) in [
        ("prompt", json!(" ")),
        ("n", json!(0)),
        ("n", json!(2)),
        ("size", json!("1024")),
        ("size", json!("0x1024")),
        ("size", json!("1024x128")),
        ("size", json!("9999x9999")),
        ("response_format", json!("url")),
        ("background", json!("transparent")),
        ("output_format", json!("webp")),
        ("stream", json!(true)),
        ("style", json!("vivid")),
        ("mask", json!({"file_id": "f"})),
        ("images[0]", json!([{"file_id": "f"}])),
        ("images[0]", json!([{"image_url": "data:image/png,raw"}])),
    ] {
        let mut request = json!({"prompt": "a cat"});
        request[member.split('[').next().unwrap()] = wrong.clone();
        assert_eq!(asked_at(&request, NANO, true), Err(member.into()), "{wrong}");
    }
    assert_eq!(config(json!({"n": 5}), IMAGEN), Err("n".into()));
    assert_eq!(asked(json!({}), NANO), Err("prompt".into()));
    assert_eq!(asked(json!({"prompt": 7}), NANO), Err("prompt".into()));
    let usual = json!({"background": "opaque", "response_format": "b64_json", "stream": false});
    assert!(config(usual, NANO).is_ok());
}

#[test]
fn the_format_is_the_clients_choice_where_the_host_leaves_it() {
    let jpeg = json!({"output_format": "jpeg", "output_compression": 80});
    let expected = json!({"mimeType": "image/jpeg", "compressionQuality": 80});
    assert_eq!(config(jpeg.clone(), NANO).unwrap()["imageConfig"]["imageOutputOptions"], expected);
    assert_eq!(config(jpeg.clone(), IMAGEN).unwrap()["outputOptions"], expected);
    let studio = |member: &str, value: Value| asked(json!({"prompt": "p", member: value}), NANO);
    assert_eq!(studio("output_format", json!("png")), Err("output_format".into()));
    assert_eq!(studio("output_compression", json!(80)), Err("output_compression".into()));
}

#[test]
fn pictures_to_draw_from_come_after_the_words() {
    let images = json!([{"image_url": "data:image/webp;base64,AAAA"}, {"image_url": "https://x.y/a.png"}]);
    let sent = asked(json!({"prompt": "older", "images": images}), NANO).unwrap();
    let expected = json!([
        {"text": "older"},
        {"inlineData": {"mimeType": "image/webp", "data": "AAAA"}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://x.y/a.png"}},
    ]);
    assert_eq!(sent["contents"][0]["parts"], expected);
}

fn form(fields: &[(&str, &str)]) -> String {
    let part = |(head, content): &(&str, &str)| {
        format!("--B\r\nContent-Disposition: form-data; name={head}\r\n\r\n{content}\r\n")
    };
    fields.iter().map(part).collect::<String>() + "--B--\r\n"
}

fn edited(fields: &[(&str, &str)]) -> Result<Value, String> {
    let kind = Some("multipart/form-data; boundary=B");
    compose(&form(fields).into(), kind, &target(NANO, true), 7)
        .map(|(composed, _)| body(&composed))
        .map_err(|refusal| refusal.param)
}

#[test]
fn a_form_says_the_same_as_json() {
    let picture = "\"image[]\"; filename=\"a.webp\"\r\nContent-Type: image/webp";
    let bare = "\"image\"; filename=\"b\"\r\nContent-Type: application/octet-stream";
    let sent = edited(&[
        ("\"model\"", "x"),
        ("\"prompt\"", "older"),
        ("\"n\"", "1"),
        (picture, "\0\u{1}\u{2}"),
        (bare, "ab"),
        ("\"size\"", "1536x1024"),
        ("\"output_compression\"", "9"),
    ]);
    let expected = json!({
        "contents": [{"role": "user", "parts": [
            {"text": "older"},
            {"inlineData": {"mimeType": "image/webp", "data": "AAEC"}},
            {"inlineData": {"mimeType": "image/png", "data": "YWI="}},
        ]}],
        "generationConfig": {
            "responseModalities": ["IMAGE"],
            "imageConfig": {"aspectRatio": "3:2", "imageOutputOptions": {"compressionQuality": 9}},
        },
    });
    assert_eq!(sent, Ok(expected));
    for (field, text) in [
        ("n", "two"),
        ("n", "2"),
        ("mask", "x"),
        ("stream", "true"),
        ("response_format", "url"),
        ("background", "transparent"),
        ("output_format", "webp"),
    ] {
        let wrong = edited(&[("\"prompt\"", "p"), (&format!("\"{field}\""), text)]);
        assert_eq!(wrong, Err(field.into()), "{field}={text}");
    }
}

#[test]
fn geminis_picture_is_openais_with_its_format_and_its_cost() {
    let answer = json!({
        "candidates": [{"finishReason": "STOP", "content": {"role": "model", "parts": [
            {"text": "First a draft", "thought": true},
            {"inlineData": {"mimeType": "image/png", "data": "DRAFT"}, "thought": true},
            {"text": "Here you are."},
            {"inlineData": {"mimeType": "image/jpeg", "data": "AB-_"}},
        ]}}],
        "usageMetadata": {
            "promptTokenCount": 267, "candidatesTokenCount": 1290, "totalTokenCount": 1557,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 9}, {"modality": "IMAGE", "tokenCount": 258}],
        },
    });
    let expected = json!({
        "created": 7,
        "data": [{"b64_json": "AB+/"}],
        "output_format": "jpeg",
        "usage": {
            "input_tokens": 267,
            "input_tokens_details": {"text_tokens": 9, "image_tokens": 258},
            "output_tokens": 1290,
            "total_tokens": 1557,
        },
    });
    assert_eq!(answered(&answer), expected);
    let told = ImagesWriter::new(7).whole(answer.to_string().as_bytes()).unwrap();
    assert_eq!(told.usage.map(|usage| usage.charge()), Some(1557));
}

#[test]
fn imagens_pictures_are_a_list_without_those_that_were_held_back() {
    let answer = json!({"predictions": [
        {"mimeType": "image/png", "bytesBase64Encoded": "AAAA", "prompt": "a fine cat"},
        {"raiFilteredReason": "Violence"},
        {"mimeType": "image/png", "bytesBase64Encoded": "BBBB"},
    ]});
    let expected = json!({
        "created": 7,
        "data": [{"b64_json": "AAAA", "revised_prompt": "a fine cat"}, {"b64_json": "BBBB"}],
        "output_format": "png",
    });
    assert_eq!(answered(&answer), expected);
}

#[test]
fn what_was_held_back_is_the_callers_error_with_the_reason() {
    let message = "Unable to show the generated image.";
    for (answer, reason) in [
        (json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}), "PROHIBITED_CONTENT"),
        (
            json!({"candidates": [{"finishReason": "IMAGE_SAFETY", "finishMessage": message}]}),
            "IMAGE_SAFETY. Unable to show",
        ),
        (json!({"predictions": [{"raiFilteredReason": "Code 39322018"}]}), "Code 39322018"),
    ] {
        let error = refused(&answer);
        assert_eq!((error.status, error.code.as_deref()), (400, Some("moderation_blocked")), "{answer}");
        assert!(error.message.contains(reason), "{}", error.message);
        assert!(error.content_policy());
    }
}

#[test]
fn words_without_a_picture_are_told_to_the_caller() {
    let parts = json!([{"text": "Hm.", "thought": true}, {"text": "I do not draw maps."}]);
    let error = refused(&json!({"candidates": [{"finishReason": "STOP", "content": {"parts": parts}}]}));
    assert_eq!((error.status, error.code), (400, None));
    assert!(error.message.ends_with("drew nothing: I do not draw maps."), "{}", error.message);
}

#[test]
fn an_answer_of_nothing_is_a_slip_and_no_answer_is_unreadable() {
    for reason in ["NO_IMAGE", "IMAGE_OTHER", "STOP", "MAX_TOKENS"] {
        let error = refused(&json!({"candidates": [{"finishReason": reason, "content": {}}]}));
        assert!(error.is_slip() && error.status == 502, "{reason}");
    }
    let error = refused(&json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m"}}));
    assert_eq!(error.status, 429);
    for body in ["", "{}", "[]", r#"{"predictions":[]}"#, r#"{"candidates":[{"content":7}]}"#] {
        assert_eq!(ImagesWriter::new(7).whole(body.as_bytes()).unwrap_err(), None, "{body}");
    }
}

#[test]
fn a_sound_is_no_picture() {
    let sound = json!({"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}});
    let answer = json!({"candidates": [{"content": {"parts": [sound, blob("BBBB")]}}]});
    assert_eq!(answered(&answer)["data"], json!([{"b64_json": "BBBB"}]));
}
