//! Errors in every shape.

use super::*;

fn parse(status: u16, body: &str) -> UpstreamError {
    UpstreamError::parse(status, "application/json", body.as_bytes())
}

#[test]
fn every_shape_gives_a_message() {
    for (body, message) in [
        (r#"{"error":{"message":"m","type":"t","param":null,"code":null}}"#, "m"),
        (r#"[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]"#, "m"),
        (r#"{"error":"m"}"#, "m"),
        (r#"{"error":"code","message":"m"}"#, "m"),
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"m"},"request_id":"r"}"#, "m"),
        (r#"{"detail":"m"}"#, "m"),
        (r#"{"detail":[{"msg":"m"}]}"#, r#"[{"msg":"m"}]"#),
        (r#"{"message":"m"}"#, "m"),
        (r#""m""#, "m"),
        ("m\n", "m"),
        ("<html><title> 502 Bad Gateway </title>", "The upstream answered with a web page: 502 Bad Gateway"),
        ("<html>", "The upstream answered with a web page."),
        ("", "The upstream answered with status 502 and said nothing more."),
        ("{}", "The upstream answered with status 502 and said nothing more."),
        ("null", "The upstream answered with status 502 and said nothing more."),
    ] {
        assert_eq!(parse(502, body).message, message, "{body}");
    }
    let error = parse(400, &format!(r#"{{"error":{{"message":"{}\nb"}}}}"#, "é".repeat(600)));
    assert_eq!(error.message.chars().count(), 512);
    assert!(!parse(400, r#"{"error":{"message":"a\nb"}}"#).message.contains('\n'));
}

#[test]
fn codes_are_texts() {
    let router = parse(
        429,
        r#"{"error":{"code":429,"message":"Provider returned error","metadata":{"raw":"slow down","provider_name":"X"}}}"#,
    );
    assert_eq!(router.code.as_deref(), Some("429"));
    assert_eq!(router.message, "Provider returned error: slow down");
    assert_eq!(router.shape, None);
    for (body, shape) in [
        (r#"{"error":{"message":"m","type":"t","param":null,"code":"c"}}"#, Some(Wire::Chat)),
        (r#"{"error":{"message":"m"},"request_id":"x"}"#, Some(Wire::Chat)),
        (r#"{"type":"error","error":{"type":"t","message":"m"}}"#, Some(Wire::Messages)),
        (r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}"#, Some(Wire::Gemini)),
        (r#"{"error":{"code":400,"message":"m"}}"#, None),
        (r#"{"error":"m"}"#, None),
    ] {
        assert_eq!(parse(400, body).shape, shape, "{body}");
    }
}

#[test]
fn what_an_error_is_about_is_recognised() {
    let policy = r#"{"error":{"message":"m","code":"content_filter","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#;
    assert!(parse(400, policy).content_policy());
    assert!(parse(
        403,
        r#"{"error":{"code":403,"message":"m","metadata":{"reasons":["x"],"flagged_input":"y"}}}"#
    )
    .content_policy());
    for message in [
        "This model's maximum context length is 8192 tokens",
        "The input token count (9) exceeds the maximum number of tokens allowed (8)",
        "prompt is too long: 9 tokens > 8 maximum",
    ] {
        assert!(
            parse(400, &format!(r#"{{"error":{{"message":"{message}"}}}}"#)).context_length(),
            "{message}"
        );
        assert!(
            !parse(500, &format!(r#"{{"error":{{"message":"{message}"}}}}"#)).context_length(),
            "{message}"
        );
    }
    assert!(parse(400, r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#).context_length());
    assert!(parse(
        429,
        r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#
    )
    .quota_exhausted());
    assert!(parse(429, r#"{"error":{"message":"m","type":"rate_limit_error","details":{"error_code":"enforced_spend_limit_reached"}}}"#).quota_exhausted());
    assert!(!parse(429, r#"{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}"#)
        .quota_exhausted());
    assert!(parse(404, r#"{"error":{"message":"model \"x\" not found, try pulling it first"}}"#)
        .model_not_found());
    assert!(!parse(404, "404 page not found").model_not_found());
    let google = r#"[{"error":{"code":400,"message":"API key not valid","status":"INVALID_ARGUMENT",
        "details":[{"@type":"x/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}]"#;
    assert!(parse(400, google).key_invalid());
}

#[test]
fn googles_delay_and_daily_quota_are_read() {
    let body = r#"[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[
        {"@type":"q","violations":[{"quotaId":"GenerateRequestsPerDayPerProject"}]},
        {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.4s"}]}}]"#;
    let error = parse(429, body);
    assert_eq!(error.retry_delay, Some(Duration::from_millis(34_400)));
    assert!(error.quota_exhausted());
    assert_eq!(parse(429, r#"{"error":{"details":[{"retryDelay":"-3s"}]}}"#).retry_delay, None);
}

/// As recorded: the message is that of an empty account, and the quota is that of a minute.
#[test]
fn googles_full_minute_is_no_empty_account() {
    let body = r#"{"error": {"code": 429, "message": "You exceeded your current quota, please check your plan.",
        "status": "RESOURCE_EXHAUSTED", "details": [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [
            {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}]}}"#;
    let error = parse(429, body);
    assert!(!error.quota_exhausted());
    assert_eq!(error.retry_delay, Some(Duration::from_millis(34_400)));
    let both = body.replace(
        r#"{"quotaId": "GenerateRequestsPerMinute"#,
        r#"{"quotaId": "X"}, {"quotaId": "RequestsPerDayPerProject"}, {"quotaId": "GenerateRequestsPerMinute"#,
    );
    assert!(parse(429, &both).quota_exhausted(), "the day decides, wherever it stands");
    let openai = r#"{"error":{"message":"You exceeded your current quota, please check your plan"}}"#;
    assert!(parse(429, openai).quota_exhausted());
}

#[test]
fn an_error_inside_a_stream_stands_for_a_status() {
    for (data, status) in [
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#, 529),
        (r#"{"error":{"code":502,"message":"m"},"choices":[{"finish_reason":"error"}]}"#, 502),
        (r#"{"error":{"message":"m","type":"rate_limit_error"}}"#, 429),
        (
            r#"{"type":"response.failed","response":{"id":"r","error":{"code":"server_error","message":"m"}}}"#,
            500,
        ),
        (
            r#"{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded","message":"m"}}}"#,
            429,
        ),
        (r#"{"type":"error","code":"ERR","message":"m","param":null}"#, 500),
        (r#"{"choices":[{"error":{"code":429,"message":"m"}}]}"#, 429),
        (r#"{"error":{"message":"m","code":"context_length_exceeded","type":"invalid_request_error"}}"#, 400),
    ] {
        let error = UpstreamError::in_stream(data.as_bytes());
        assert_eq!((error.status, error.message.as_str()), (status, "m"), "{data}");
    }
    assert!(UpstreamError::in_stream(b"").message.contains("said nothing"));
}

#[test]
fn what_the_caller_wrote_bans_nobody() {
    for message in [
        "Invalid value: 'spend limit'. Supported values are: 'system', 'user'.",
        "Unknown role \"your credit balance is too low\"",
        "No such member `exceeded your current quota`",
        "Unrecognized request argument supplied: spend limit",
        "credit balance is too low: Extra inputs are not permitted",
    ] {
        let error = parse(400, &format!(r#"{{"error":{{"message":{}}}}}"#, serde_json::Value::from(message)));
        assert!(!error.quota_exhausted() && !error.key_invalid(), "{message}");
    }
    let own = "This request would exceed your organization's spend limit.";
    assert!(parse(400, &format!(r#"{{"error":{{"message":"{own}"}}}}"#)).quota_exhausted());
}
