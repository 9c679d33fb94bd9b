//! What another router says of itself: hostile JSON becomes something bounded, or nothing.

use auto_ai_router::providers::peer_health::{PeerHealth, MOST_DEPTH};

pub const WORDS: &[&str] = &[
    "\"instance\":\"b\"",
    "\"instance\":\"us\"",
    "\"credentials\":{",
    "\"models\":{",
    "\"peer\":{",
    "\"state\":\"fresh\"",
    "\"age_seconds\":",
    "\"limit_rpm\":-1",
    "\"current_tpm\":18446744073709551615",
    "\"is_banned\":true",
    "\"is_fallback\":true",
    "\"draining\":true",
    "null",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"a\":{",
];

pub fn seeds() -> Vec<Vec<u8>> {
    let first = r#"{"status":"healthy","credentials_available":2,"credentials":{"one":{"type":"openai","is_fallback":false,
        "current_rpm":3,"current_tpm":30,"limit_rpm":50,"limit_tpm":-1}},"models":{"one:gpt":{"credential":"one","model":"gpt",
        "current_rpm":3,"current_tpm":9,"limit_rpm":40,"limit_tpm":1000}}}"#;
    let ours = r#"{"status":"unhealthy","instance":"b","version":"0.1.0","uptime_seconds":5,"draining":true,"credentials":{"c":{
        "type":"proxy","is_banned":true,"peer":{"state":"stale","age_seconds":3,"instance":"d","credentials":{"e":{"is_fallback":true,
        "peer":{"instance":"us"}}}}}}}"#;
    let deep = |depth| {
        format!(
            "{}{}",
            r#"{"credentials":{"a":{"peer":"#.repeat(depth),
            "{}".to_owned() + &"}}}".repeat(depth)
        )
    };
    [first.to_owned(), ours.to_owned(), deep(5), deep(30), "[]".into()].map(String::into_bytes).to_vec()
}

pub fn check(input: &[u8]) {
    let Some(health) = PeerHealth::read(input, "us") else { return };
    let mut left = 200;
    bounded(&health, 1, &mut left);
    assert!(!health.is_full() || health.load().is_some());
    assert_eq!(PeerHealth::read(input, "us"), Some(health), "the same bytes mean the same");
}

/// No more routers than are kept, no deeper than is looked, no longer names than are meant, and never ourselves.
fn bounded(health: &PeerHealth, depth: usize, left: &mut usize) {
    assert!(depth <= MOST_DEPTH + 1);
    *left = left.checked_sub(1).expect("at most 200 routers");
    let texts = [&health.instance, &health.version];
    assert!(texts
        .into_iter()
        .flatten()
        .all(|text| text.len() <= 256 && text != "us" || Some(text) == health.version.as_ref()));
    assert!(health.models.keys().all(|name| name.len() <= 256));
    for (name, credential) in &health.credentials {
        assert!(name.len() <= 512 && credential.kind.len() <= 256);
        if let Some(behind) = &credential.peer {
            bounded(&behind.health, depth + 1, left);
        }
    }
}
