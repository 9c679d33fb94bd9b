//! A router of vendors and chance: `credentials.json` and `models.json`, taken over; any name, echoed; `?vendor=`.

use super::*;

/// Its files, taken over, with the two providers' scripted stand-ins.
fn taken_over(openai: &Upstream, gemini: &Upstream) -> Router {
    let credentials = json!([
        {"platform": "openai", "type": "api-key", "value": "sk-your-openai-key"},
        {"platform": "gemini", "type": "api-key", "value": "your-gemini-key"}
    ]);
    let models =
        json!([{"vendor": "gemini", "model": "gemini-2.0-flash"}, {"vendor": "openai", "model": "gpt-4o"}]);
    let files = [("credentials.json", credentials.to_string()), ("models.json", models.to_string())];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    moved_in(&files, |yaml| {
        let address = format!("type: openai\n    base_url: {}/v1", gemini.url());
        let yaml = yaml.replace("type: gemini", &address);
        yaml.replace("https://api.openai.com/v1", &format!("{}/v1", openai.url()))
    })
}

#[test]
fn its_examples_get_what_was_promised() {
    let (openai, gemini) = (Upstream::healthy(), Upstream::healthy());
    let router = taken_over(&openai, &gemini);
    let (status, health) = curl(&router, "/health", &[]);
    assert_eq!((status, &health["status"]), (200, &json!("healthy")));
    let models = curl(&router, "/v1/models", &[]).1;
    promised(
        &json!({"object": "list", "data": [{"id": "x", "object": "model", "created": 1, "owned_by": "x"}]}),
        &models,
    );
    assert!(ids(&models).contains(&"gemini-2.0-flash") && ids(&models).contains(&"gpt-4o"), "{models}");
    let (status, answer) = ask_by_curl(&router, "/v1/chat/completions", None, "my-preferred-model");
    assert_eq!((status, &answer["model"]), (200, &json!("my-preferred-model")), "{answer}");
    promised(&completion(), &answer);
    let before = openai.count();
    for _ in 0..4 {
        let (status, answer) = ask_by_curl(&router, "/v1/chat/completions?vendor=gemini", None, "my-model");
        assert_eq!((status, &answer["model"]), (200, &json!("my-model")), "{answer}");
    }
    assert_eq!(openai.count(), before, "a vendor that is named serves alone");
    let listed = curl(&router, "/v1/models?vendor=gemini", &[]).1;
    assert_eq!(ids(&listed), ["gemini-2.0-flash"]);
    let (status, refused) = ask_by_curl(&router, "/v1/chat/completions?vendor=nobody", None, "my-model");
    assert_eq!(status, 400);
    promised(&error(), &refused);
    for data in stream_by_curl(&router, None, "my-stream") {
        assert!(data == "[DONE]" || data.contains("\"model\":\"my-stream\""), "{data}");
    }
}

#[test]
fn each_pair_has_its_share() {
    let (openai, gemini) = (Upstream::healthy(), Upstream::healthy());
    let router = taken_over(&openai, &gemini);
    for _ in 0..200 {
        let sent = Request::post("/v1/chat/completions").keyless().json(&chat("any-model")).send(&router);
        assert_eq!(sent.status, 200);
    }
    // Of 200 by an even lot, fewer than 60 are 5.7 deviations off: once in 10^8 runs.
    assert!(openai.count() > 60 && gemini.count() > 60, "{} and {}", openai.count(), gemini.count());
    assert_eq!(openai.count() + gemini.count(), 200);
}

#[test]
fn its_example_clients_run_in_three_languages() {
    let (openai, gemini) = (Upstream::healthy(), Upstream::healthy());
    let router = taken_over(&openai, &gemini);
    let url = router.url();
    let model = |said: &str| serde_json::from_str::<Value>(said).unwrap()["model"].clone();
    if let Some(python) = Language::python() {
        let said = python.run(
            router.dir(),
            &format!(
                "import json, urllib.request\nbody = json.dumps({{\"model\": \"any-model\", \"messages\": [{{\"role\": \"user\", \
                 \"content\": \"Hello, how are you?\"}}]}}).encode()\nask = urllib.request.Request(\"{url}/v1/chat/completions\", \
                 body, {{\"Content-Type\": \"application/json\"}})\nprint(urllib.request.urlopen(ask).read().decode())\n"
            ),
        );
        assert_eq!(model(&said), "any-model");
    }
    if let Some(javascript) = Language::javascript() {
        let said = javascript.run(
            router.dir(),
            &format!(
                "const answer = await fetch(\"{url}/v1/chat/completions\", {{\n  method: \"POST\",\n  headers: {{ \"content-type\": \
                 \"application/json\" }},\n  body: JSON.stringify({{ model: \"any-model\", messages: [{{ role: \"user\", content: \
                 \"Hello, how are you?\" }}] }}),\n}});\nconsole.log(await answer.text());\n"
            ),
        );
        assert_eq!(model(&said), "any-model");
    }
    if let Some(go) = Language::go() {
        let said = go.run(
            router.dir(),
            &format!(
                "package main\n\nimport (\n\t\"io\"\n\t\"net/http\"\n\t\"os\"\n\t\"strings\"\n)\n\nfunc main() {{\n\tbody := \
                 `{{\"model\": \"any-model\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello, how are you?\"}}]}}`\n\t\
                 answer, err := http.Post(\"{url}/v1/chat/completions\", \"application/json\", strings.NewReader(body))\n\t\
                 if err != nil {{\n\t\tpanic(err)\n\t}}\n\tio.Copy(os.Stdout, answer.Body)\n}}\n"
            ),
        );
        assert_eq!(model(&said), "any-model");
    }
}
