//! A router of many keys of free tiers: `config.json`, taken over; `auto-model`, tools, streams, and `/v1/usage`.

use super::*;

const KEY: &str = "your-proxy-access-key";

/// Its file, taken over, with this provider in the place of both of its own.
fn taken_over(upstream: &Upstream) -> Router {
    let limits = json!({"max_request_day": 1500, "max_token_min": 150_000, "max_request_min": 15});
    let keys = |provider: &str| {
        let mut entry = limits.clone();
        entry["provider"] = json!(provider);
        entry["key"] = json!(["key1", "key2"]);
        entry
    };
    let file = json!({
        "access_key": KEY,
        "model_usage_gap_percentage": 5,
        "auto-models": ["gpt-3.5-turbo:free", "gemini-pro"],
        "provider_keys": [keys("openrouter"), keys("gemini")]
    });
    // The types stay, as names of providers in the usage; only their addresses are others.
    let address = format!("base_url: {}/v1\n", upstream.url());
    moved_in(&[("config.json", &file.to_string())], |yaml| {
        let yaml = yaml.replace("type: openrouter\n", &format!("type: openrouter\n    {address}"));
        yaml.replace("type: gemini\n", &format!("type: openai\n    {address}"))
    })
}

fn provider() -> Upstream {
    Upstream::scripted(|call: &Call| {
        if call.json()["tools"].is_null() {
            return Reply::good(call);
        }
        let mut body = completion();
        body["choices"][0] = json!({"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant",
            "content": null, "tool_calls": [{"id": "call_1", "type": "function",
            "function": {"name": "get_weather", "arguments": "{\"location\":\"Oslo\"}"}}]}});
        respond(200).json(&body)
    })
    .lists(&["gpt-3.5-turbo:free", "gemini-pro"])
}

#[test]
fn its_requests_get_what_was_promised() {
    let upstream = provider();
    let router = taken_over(&upstream);
    let chat = "/v1/chat/completions";
    let (status, answer) = ask_by_curl(&router, chat, Some(KEY), "gpt-3.5-turbo:free");
    assert_eq!((status, &answer["object"]), (200, &json!("chat.completion")), "{answer}");
    promised(&completion(), &answer);
    let tools = json!({
        "model": "gpt-3.5-turbo:free", "messages": [{"role": "user", "content": "Hello!"}], "stream": false,
        "tools": [{"type": "function", "function": {"name": "get_weather", "description": "Get weather information",
            "parameters": {"type": "object", "required": ["location"],
                "properties": {"location": {"type": "string", "description": "City name"}}}}}]
    });
    let (status, answer) = post_by_curl(&router, chat, Some(KEY), &tools);
    assert_eq!(status, 200);
    let call =
        json!({"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}});
    promised(&json!([call]), &answer["choices"][0]["message"]["tool_calls"]);
    assert_eq!(upstream.last().json()["tools"], tools["tools"]);
    let words = stream_by_curl(&router, Some(KEY), "gpt-3.5-turbo:free");
    assert_eq!(words.last().map(String::as_str), Some("[DONE]"));
    let (status, answer) = ask_by_curl(&router, chat, Some(KEY), "auto-model");
    assert_eq!((status, &answer["model"]), (200, &json!("auto-model")), "{answer}");
    assert_eq!(upstream.last().model(), "gpt-3.5-turbo:free", "the first of the list");
    let models = curl(&router, "/v1/models", &["-H", &format!("Authorization: Bearer {KEY}")]).1;
    for model in ["gpt-3.5-turbo:free", "gemini-pro", "auto-model"] {
        assert!(ids(&models).contains(&model), "{models}");
    }
    assert_eq!(ask_by_curl(&router, chat, Some("another-key"), "gemini-pro").0, 401);
}

#[test]
fn usage_has_the_documented_members_of_the_day() {
    let upstream = provider();
    let router = taken_over(&upstream);
    for _ in 0..6 {
        assert_eq!(ask_by_curl(&router, "/v1/chat/completions", Some(KEY), "gpt-3.5-turbo:free").0, 200);
    }
    assert_eq!(curl(&router, "/v1/usage", &[]).0, 401);
    let usage = curl(&router, "/v1/usage", &["-H", &format!("Authorization: Bearer {KEY}")]).1;
    let key = json!({"requests": 50, "usage_percentage": 3.33, "rate_limit_windows": {"req_min": 5, "req_day": 50}});
    let names: Vec<&String> = usage["details"]["openrouter"]["keys"].as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 2, "{usage:#}");
    promised(
        &json!({
            "overview": {"openrouter": {"total_requests": 100, "total_capacity": 3000, "usage_percentage": 3.33}},
            "details": {"openrouter": {
                "keys": {(names[0]): key, (names[1]): key},
                "rate_limits": {"max_request_day": 1500, "max_token_min": 150_000, "max_request_min": 15}
            }}
        }),
        &usage,
    );
    let (overview, details) = (&usage["overview"]["openrouter"], &usage["details"]["openrouter"]);
    assert_eq!(details["rate_limits"]["max_request_day"], 1500);
    assert_eq!(overview["total_capacity"], 3000, "two keys with 1500 a day: {usage:#}");
    let total = |provider: &str| usage["overview"][provider]["total_requests"].as_u64().unwrap();
    assert_eq!(total("openrouter") + total("openai"), 6);
    assert!(!usage.to_string().contains("key1"), "keys are masked: {usage}");
    for of_key in details["keys"].as_object().unwrap().values() {
        assert_eq!(of_key["requests"], of_key["rate_limit_windows"]["req_day"]);
    }
}

#[test]
fn keys_of_a_provider_stay_close_to_each_other() {
    let upstream = provider();
    let router = taken_over(&upstream);
    for _ in 0..20 {
        assert_eq!(ask_by_curl(&router, "/v1/chat/completions", Some(KEY), "gpt-3.5-turbo:free").0, 200);
    }
    let usage = curl(&router, "/v1/usage", &["-H", &format!("Authorization: Bearer {KEY}")]).1;
    let details = usage["details"].as_object().unwrap().values();
    let keys = details.flat_map(|provider| provider["keys"].as_object().unwrap().values());
    let counts: Vec<u64> = keys.filter_map(|key| key["requests"].as_u64()).collect();
    assert_eq!((counts.len(), counts.iter().sum()), (4, 20), "{usage:#}");
    assert!(counts.iter().all(|count| (4..=6).contains(count)), "{counts:?}");
}

#[test]
fn the_sdk_runs() {
    let Some(python) = Language::python() else { return };
    let upstream = provider();
    let router = taken_over(&upstream);
    let said = python.run(
        router.dir(),
        &format!(
            "import openai\nclient = openai.OpenAI(base_url=\"{}/v1\", api_key=\"{KEY}\")\n\
             chunks = client.chat.completions.create(model=\"auto-model\", stream=True, messages=[{{\"role\": \"user\", \
             \"content\": \"Hello!\"}}])\nprint(\"\".join(c.choices[0].delta.content or \"\" for c in chunks))\n",
            router.url()
        ),
    );
    assert_eq!(said, "Hello there\n");
}
