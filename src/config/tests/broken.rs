//! Files that are wrong: each with the place and the words of its problem, and one with all of them at once.

use super::*;

/// Asserts that `text` has exactly these problems, as `line:column message`.
fn told(text: &str, expected: &[&str]) {
    let loaded = World::default().load(text);
    assert_eq!(lines(&loaded), expected, "{text}\n{}", loaded.render(false));
}

/// The same for a line after `GOOD`, which is line 4.
pub(super) fn after(line: &str, expected: &[&str]) {
    told(&format!("{GOOD}{line}\n"), expected);
}

/// The same for keys of the credential, which stand at line 3, column 6.
fn credential(keys: &str, expected: &[&str]) {
    told(&GOOD.replace("name: a", &format!("name: a, {keys}")), expected);
}

/// The same for keys of the server, which stand at line 1, column 10.
fn server(keys: &str, expected: &[&str]) {
    told(&GOOD.replace("{master_key: 0123456789abcdef", &format!("{{{keys}")), expected);
}

#[test]
fn an_empty_file_is_answered_with_the_smallest_one() {
    for text in ["", "\n\n", "# only a comment\n", "---\n"] {
        let loaded = World::default().load(text);
        assert!(loaded.settings.is_none());
        let rendered = loaded.render(false);
        if text != "---\n" {
            assert!(
                rendered.contains("config.yaml:1:1")
                    && rendered.contains("the file is empty")
                    && rendered.contains("master_key: os.environ"),
                "{rendered}"
            );
        }
    }
}

#[test]
fn syntax() {
    told("a: [1\nb: 2\n", &["2:2 this is not YAML: illegal placement of ':' indicator"]);
    told("server:\n\tport: 1\n", &["2:1 a tab is used for indentation"]);
    told("server: @x\n", &["1:9 this is not YAML: unexpected character: `@'"]);
    told("a: *nope\n", &["1:4 this is not YAML: while parsing node, found unknown anchor"]);
    told("a: 1\n---\nb: 1\n", &["2:1 a second document begins here"]);
    told("? [a]\n: 1\n", &["1:3 a key must be a plain text, not a list or a map"]);
    told("[a, b]\n", &["1:1 the file must be a map, not a list"]);
}

#[test]
fn unknown_keys() {
    after("modles: []", &["4:1 unknown key `modles`"]);
    credential("api_base: x", &["3:15 unknown key `api_base` in `credentials[0]`"]);
    server("master_key: 0123456789abcdef, prot: 1", &["1:40 unknown key `prot` in `server`"]);
    after("port: 1", &["4:1 unknown key `port`"]);
    let loaded =
        World::default().load(&format!("{GOOD}port: 1\nmodel_list: []\nrouting: {{retries: 1, zzz: 1}}\n"));
    let helps: Vec<_> = loaded.problems.iter().filter_map(|problem| problem.help.as_deref()).collect();
    assert_eq!(helps[0], "`port` belongs under `server`");
    assert_eq!(helps[1], "did you mean `models`?");
    assert_eq!(helps[2], "did you mean `max_attempts`?");
    assert!(helps[3].starts_with("known here: deadline, "), "{helps:?}");
}

#[test]
fn addresses_are_hosts_with_or_without_a_port() {
    for address in ["http://h", "h/path", "a b", "h:0", "h:99999", "user@h", "\u{e4}"] {
        let loaded =
            World::default().load(&GOOD.replace("name: a", &format!("name: a, addresses: ['{address}']")));
        assert!(loaded.settings.is_none(), "{address}");
        assert!(lines(&loaded)[0].ends_with("is no host"), "{address}: {:?}", lines(&loaded));
    }
    credential("addresses: [h, 'h:443']", &["3:15 an address is listed twice"]);
    let text =
        GOOD.replace("name: a", "name: a, addresses: [10.0.0.1, 'h:8080', '[::1]:9', '::1', h-2.internal]");
    let settings = World::default().load(&text).settings.expect("all of them are addresses");
    let expected = [("10.0.0.1", 443), ("h", 8080), ("::1", 9), ("::1", 443), ("h-2.internal", 443)];
    assert_eq!(settings.credentials[0].addresses, expected.map(|(host, port)| (host.to_owned(), port)));
}

#[test]
fn missing_and_doubled_keys() {
    told(
        "credentials: [{name: a, api_key: k, base_url: https://h}]\n",
        &["1:1 the key `server.master_key` is missing"],
    );
    told("server: {master_key: 0123456789abcdef}\n", &["1:1 the key `credentials` is missing"]);
    told(
        "server: {master_key: 0123456789abcdef}\ncredentials: []\n",
        &["2:14 `credentials` needs at least one entry"],
    );
    server("port: 1", &["1:1 the key `server.master_key` is missing"]);
    server("master_key: 0123456789abcdef, port: 1, port: 2", &["1:49 the key `port` is here twice"]);
    after("routing:", &["4:1 `routing` has no value"]);
    told(&GOOD.replace("name: a, ", ""), &["3:5 the key `credentials[0].name` is missing"]);
    let no_key = GOOD.replace("api_key: key-of-a, ", "");
    told(&no_key, &["3:5 the key `api_key` is missing, which a credential of type `openai` needs"]);
    let no_url = GOOD.replace(", base_url: https://api.openai.com", "");
    told(&no_url, &["3:5 the key `base_url` is missing, which a credential of type `openai` needs"]);
    after("models: [{rpm: 5}]", &["4:10 the key `models[0].name` is missing"]);
}

#[test]
fn wrong_types_and_ranges() {
    let key = "master_key: 0123456789abcdef, ";
    for (keys, expected) in [
        ("port: eighty", "1:46 `port`: `eighty` is no whole number"),
        ("port: 70000", "1:46 `port`: `70000` is out of range, it must be from 1 to 65535"),
        ("port: [1]", "1:46 `port` must be a number, not a list"),
        ("replace_v1_models: yes", "1:59 `replace_v1_models`: `yes` is neither `true` nor `false`"),
        ("body_timeout: 5 parsecs", "1:54 `body_timeout`: `5 parsecs` is no time"),
        ("body_timeout: 0", "1:54 a time of 0 would end everything before it begins"),
        ("max_body_size: big", "1:55 `max_body_size`: `big` is no size"),
        ("max_body_size: 32", "1:55 a body of less than 1KiB holds no request"),
        ("max_buffered: 1MiB", "1:54 `max_buffered` is smaller than a single body may be"),
        ("default_models_rpm: 0", "1:60 a limit of 0 would refuse everything"),
        ("default_models_rpm: -2", "1:60 `default_models_rpm`: `-2` is no limit"),
        ("logging_level: loud", "1:55 `logging_level`: `loud` is none of `error`, `warn`, `info`, `debug`"),
        ("port: ~", "1:46 `port` has no value"),
        ("port: \"\"", "1:46 `port` is empty"),
        ("port: !env PORT", "1:46 the tag `!env` has no meaning here"),
    ] {
        let loaded =
            World::default().load(&GOOD.replace("{master_key: 0123456789abcdef", &format!("{{{key}{keys}")));
        assert_eq!(lines(&loaded)[0], expected);
    }
    after(
        "server2: 1\nrouting: [1]",
        &["4:1 unknown key `server2`", "5:10 `routing` must be a map, not a list"],
    );
    after("models: m", &["4:9 `models` must be a list, not a single value"]);
    after("models: [m]", &["4:10 `models[0]` must be a map, not a single value"]);
    after(
        "fail2ban: {error_codes: [42]}",
        &["4:26 `error_codes[0]`: `42` is out of range, it must be from 100 to 599"],
    );
    after("fail2ban: {ban_duration: forever}", &["4:26 `ban_duration`: `forever` is no time or `permanent`"]);
    after("routing: {max_attempts: 0}", &["4:25 a limit of 0 would refuse everything"]);
    after("fail2ban: {max_attempts: 0}", &["4:26 a ban takes at least one failure"]);
}

#[test]
fn references_without_a_value() {
    credential("rpm: os.environ/RPM", &["3:20 `rpm`: the environment variable `RPM` is not set"]);
    credential("rpm: \"${RPM}\"", &["3:20 `rpm`: the environment variable `RPM` is not set"]);
    credential(
        "rpm: file:/nowhere",
        &["3:20 `rpm`: the file `/nowhere` cannot be read: there is no such file"],
    );
    server("master_key: os.environ/KEY", &["1:22 `master_key`: the environment variable `KEY` is not set"]);
    let world = World::default().variable("EMPTY", "").variable("WORD", "many");
    let loaded = world.load(&GOOD.replace("name: a", "name: a, rpm: os.environ/EMPTY, tpm: \"${WORD}\""));
    let expected =
        ["3:20 `rpm`: the environment variable `EMPTY` is empty", "3:43 `tpm`: `${WORD}` is no limit"];
    assert_eq!(lines(&loaded), expected);
}

#[test]
fn servers() {
    server("master_key: short", &["1:22 `master_key` has fewer than 8 characters, which can be guessed"]);
    server("master_key: only10char", &["1:22 `master_key` has fewer than 16 characters"]);
    server("master_key: \"\"", &["1:22 `master_key` is empty"]);
    let blank = "1:22 `master_key` holds a blank, a line break or a character that no header can carry";
    server("master_key: \"0123456789 abcdef\"", &[blank]);
    let both = "1:79 `max_body_size` and `max_body_size_mb` are two names of one limit";
    server("master_key: 0123456789abcdef, max_body_size: 1MiB, max_body_size_mb: 1", &[both]);
    let loaded = World::default().load(&GOOD.replace("host: 127.0.0.1", "host: \"0.0.0.0:80\""));
    assert_eq!(loaded.problems[0].message, "`host`: `0.0.0.0:80` is no address and no name");
}

#[test]
fn an_open_address_is_told_where_it_is_written_or_would_be() {
    for (host, place) in [("", "config.yaml:1:1"), (", host: '::'", "config.yaml:1:46")] {
        let loaded = World::default().load(&GOOD.replace(", host: 127.0.0.1", host));
        assert!(loaded.settings.is_some());
        let rendered = loaded.render(false);
        assert!(
            rendered.starts_with("warning: the router listens on every address without TLS"),
            "{rendered}"
        );
        assert!(rendered.contains(place), "{rendered}");
    }
}

#[test]
fn what_is_no_text_has_a_place_too() {
    for (bytes, place) in
        [(&b"\xff"[..], (1, 1)), (b"a: 1\nb: \xe2\x82", (2, 4)), (b"\xef\xbb\xbfa\xffb", (1, 2))]
    {
        let valid = std::str::from_utf8(bytes).unwrap_err().valid_up_to();
        let loaded = not_utf8(Path::new("config.yaml"), bytes, valid);
        assert!(loaded.settings.is_none());
        let problem = &loaded.problems[0];
        assert_eq!((problem.line, problem.column), place);
        assert!(loaded.render(false).contains(&format!("config.yaml:{}:{}", place.0, place.1)));
    }
}

#[test]
fn credentials() {
    credential(
        "type: bedrock",
        &["3:21 `type`: `bedrock` is none of `openai`, `azure`, `anthropic`, `vertex-ai`, `gemini`, `proxy`, `openrouter`, `cerebras`, `deepinfra`, `ollama`, `groq`, `mistral`, `together`, `deepseek`, `xai`"],
    );
    credential("rpm: 0", &["3:20 a limit of 0 would refuse everything"]);
    credential("tpm: 0", &["3:20 `tpm: 0` is taken for no limit"]);
    credential("weight: 0", &["3:23 `weight`: `0` is out of range, it must be from 1 to 1000"]);
    credential(
        "is_fallback: true, priority: 2",
        &["3:44 `priority` says nothing beside `is_fallback: true`, which is the last tier"],
    );
    credential("project_id: p", &["3:27 this key is for `type: vertex-ai` only, and is not used here"]);
    credential("models: [m, {m: n}]", &["3:15 a model is listed twice here"]);
    credential("models: [\"a*b\"]", &["3:15 `*` in `a*b` is not at the end of the name"]);
    credential("models: [{m: \"n*\"}]", &["3:15 `*` there has nothing to stand for: `m` has none"]);
    credential("headers: {\"a b\": c}", &["3:32 this is not the name of a header"]);
    credential("headers: {Host: c}", &["3:31 the header `host` is set by the router itself"]);
    told(&GOOD.replace("name: a", "name: \"a\\n\""), &["3:12 `name`: a name holds printable characters only, and character 2 of this one is not printable"]);
    told(&GOOD.replace("key-of-a", "\"\""), &["3:24 `api_key` is empty"]);
    let second = "  - {name: a, type: proxy, base_url: http://10.0.0.1}\n";
    told(&format!("{GOOD}{second}"), &["4:12 the name `a` is taken"]);
    let vertex = "  - {name: v, type: vertex-ai, location: global}\n";
    told(
        &format!("{GOOD}{vertex}"),
        &[
            "4:5 the key `credentials_file` is missing, which a credential of type `vertex-ai` needs",
            "4:5 the key `project_id` is missing, which a credential of type `vertex-ai` needs",
        ],
    );
}

#[test]
fn keys_of_one_type_of_credential() {
    let told = |written: &str, expected: &[&str]| {
        let world = World::default().file("a.json", "{}");
        let loaded = world.load(&format!("{GOOD}  - {{name: b, {written}}}\n"));
        assert_eq!(lines(&loaded), expected, "{written}");
    };
    told(
        "type: anthropic",
        &["4:5 the key `api_key` is missing, which a credential of type `anthropic` needs"],
    );
    told(
        "type: azure, api_key: k",
        &["4:5 the key `base_url` is missing, which a credential of type `azure` needs"],
    );
    let azure = "type: azure, api_key: k, base_url: https://r.azure.com";
    told(&format!("{azure}, api_version: a/b"), &["4:84 `api_version` is no version of Azure's"]);
    told(
        &format!("{azure}/openai/v1, api_version: 2024-10-21"),
        &["4:94 `api_version` is a date, and `base_url` is of the API that has none"],
    );
    told(
        "type: gemini, api_key: k, api_version: v1",
        &["4:54 this key is for `type: azure` only, and is not used here"],
    );
    told(
        "type: vertex-ai, api_key: k, location: eu",
        &["4:54 `location` says nothing beside `api_key`, which knows its project itself"],
    );
    told(
        "type: vertex-ai, api_key: k, credentials_file: a.json",
        &["4:62 `api_key` and `credentials_file` are two ways to sign in"],
    );
    let vertex = "type: vertex-ai, project_id: p, location";
    told(
        &format!("{vertex}: EU, credentials_json: '{{}}'"),
        &[
            "4:57 this is no location",
            "4:79 `credentials_json` holds no service account that can sign in: it has no `private_key`",
        ],
    );
    told(
        &format!("{vertex}: eu, credentials_file: a.json"),
        &["4:79 `credentials_file` holds no service account that can sign in: it has no `private_key`"],
    );
}

#[test]
fn addresses() {
    for (url, message) in [
        ("https://h/v1/v1", "`base_url`: `https://h/v1/v1` has `/v1` twice"),
        ("https://h/v1/v1/", "`base_url`: `https://h/v1/v1/` has `/v1` twice"),
        ("https:///v1", "`base_url`: `https:///v1` has no host name"),
        ("http://:8080", "`base_url`: `http://:8080` has no host name"),
        ("ftp://h", "`base_url`: `ftp://h` does not begin with `https://` or `http://`"),
        ("api.openai.com", "`base_url`: `api.openai.com` does not begin with `https://` or `http://`"),
        ("https://h:99999", "`base_url`: `https://h:99999` has no valid port"),
        ("https://h/v1/chat/completions", "`base_url`: `https://h/v1/chat/completions` names an endpoint"),
        (
            "http://api.example.com",
            "`base_url` is plain http to a public host, so keys and texts travel readable",
        ),
        ("http://8.8.8.8", "`base_url` is plain http to a public host, so keys and texts travel readable"),
        (
            "http://127.0.0.1:8080/v1",
            "`base_url` is this router's own address, so every request would come back",
        ),
        (
            "http://localhost:8080",
            "`base_url` is this router's own address, so every request would come back",
        ),
    ] {
        told(&GOOD.replace("https://api.openai.com", &format!("\"{url}\"")), &[&format!("3:44 {message}")]);
    }
    for url in [
        "http://10.0.0.1",
        "http://100.64.0.1:1",
        "http://box:11434",
        "http://a.local",
        "http://[::1]:1",
        "http://127.0.0.1:8081",
    ] {
        told(&GOOD.replace("https://api.openai.com", &format!("\"{url}\"")), &[]);
    }
}

#[test]
fn models() {
    after("models: [{name: m, credential: b}]", &["4:32 there is no credential `b`"]);
    after("models: [{name: m, rpm: 0}]", &["4:25 a limit of 0 would refuse everything"]);
    after("models: [{name: m}, {name: m}]", &["4:28 the model `m` is listed twice for the same credential"]);
    after("models: [{name: m, fallbacks: [m]}]", &["4:32 the model `m` is its own fallback"]);
    after(
        "models: [{name: m, fallbacks: [n]}]",
        &["4:32 the fallback `n` is not in `models`, so nobody serves it"],
    );
    after("models: [{name: m, fallbacks: [n, n]}, {name: n}]", &["4:35 the fallback `n` is listed twice"]);
    let limited = GOOD.replace("name: a", "name: a, rpm: 5");
    let above = "4:40 this `rpm` is above the credential's own, which holds first";
    told(&format!("{limited}models: [{{name: m, credential: a, rpm: 6}}]\n"), &[above]);
    let narrow = GOOD.replace("name: a", "name: a, models: [n]");
    let unserved = "4:32 the `models` of this credential do not name this model, so nobody serves it";
    told(&format!("{narrow}models: [{{name: m, credential: a}}]\n"), &[unserved]);
}

#[test]
fn the_other_sections() {
    after(
        "monitoring: {health_check_path: health}",
        &["4:33 a path begins with `/` and has no blank, `?` or `#`"],
    );
    after("monitoring: {health_check_path: /v1/health}", &["4:33 this path belongs to the API"]);
    after("monitoring: {log_errors: true}", &["4:26 `log_errors` needs `errors_log_path`"]);
    after(
        "monitoring: {prometheus_listen: 9464}",
        &["4:33 `prometheus_listen`: `9464` is no address, `unix:/path` or `off`"],
    );
    after(
        "admin: {listen: 0.0.0.0:9465}",
        &["4:17 the admin side has no key of its own and must not leave this host"],
    );
    after(
        "fail2ban: {ban_duration: permanent}",
        &["4:26 a busy minute bans for good: 429 counts, and the ban is permanent"],
    );
    after("fail2ban: {ban_duration: permanent, error_code_rules: [{code: 429, ban_duration: 1m}]}", &[]);
    after("fail2ban: {error_code_rules: [{max_attempts: 1}]}", &["4:31 this rule is for no code"]);
    after(
        "fail2ban: {error_code_rules: [{code: 500, codes: [500]}]}",
        &["4:31 the code 500 is in a rule already"],
    );
}

#[test]
fn shared_states() {
    for url in ["http://store", "store:6379", "redis://", "redis://store?x=1"] {
        after(&format!("state: {{url: {url}}}"), &["4:14 `url` is no address of a Redis or Valkey"]);
    }
    after(
        "state: {url: redis://s, namespace: 'a b'}",
        &["4:36 `namespace` holds letters, digits, `-`, `_` and `.` only"],
    );
    after(
        "state: {url: redis://s, timeout: 6s}",
        &["4:34 each limited request waits for the answer, at most this long"],
    );
    after("state: {url: redis://s, cluster: ['a:b']}", &["4:35 a node is written `host:port`"]);
    after("state: {url: redis://s, cluster: ['u:p@a']}", &["4:35 a node is written `host:port`"]);
    after(
        "state: {url: redis://s, on_outage: panic}",
        &["4:36 `on_outage`: `panic` is none of `local_share`, `reject`"],
    );
    after("state: {on_outage: reject}", &["4:20 `on_outage` means nothing without `state.url`"]);
}

#[test]
fn models_yaml_has_problems_of_its_own() {
    let world = World::default().file(
        "models.yaml",
        "models:\n  - name: m\n    rpm: 0\n    fallbacks: [n]\n  - name: n\n    credential: b\n",
    );
    let loaded = world.load(GOOD);
    assert!(loaded.settings.is_none());
    assert!(loaded.problems.iter().all(|problem| &*problem.file == "models.yaml"));
    let expected = [
        "3:10 a limit of 0 would refuse everything",
        "4:5 unknown key `fallbacks` in `models[0]`",
        "6:17 there is no credential `b`",
    ];
    assert_eq!(lines(&loaded), expected);
}

#[test]
fn all_problems_of_a_file_are_told_at_once() {
    let text = "\
server:
  prot: 8080
  master_key: short
  logging_level: loud
credentials:
  - name: main
    api_key: os.environ/MISSING
    api_base: https://api.openai.com
  - name: main
    type: proxy
    base_url: https://h/v1/v1
    rpm: many
models:
  - name: m
    credential: mian
    fallbacks: [m]
fail2ban:
  error_codes: [9]
";
    told(
        text,
        &[
            "2:3 unknown key `prot` in `server`",
            "3:15 `master_key` has fewer than 8 characters, which can be guessed",
            "4:18 `logging_level`: `loud` is none of `error`, `warn`, `info`, `debug`",
            "6:5 the key `base_url` is missing, which a credential of type `openai` needs",
            "7:14 `api_key`: the environment variable `MISSING` is not set",
            "8:5 unknown key `api_base` in `credentials[0]`",
            "9:11 the name `main` is taken",
            "11:15 `base_url`: `https://h/v1/v1` has `/v1` twice",
            "12:10 `rpm`: `many` is no limit",
            "15:17 there is no credential `mian`",
            "16:17 the model `m` is its own fallback",
            "18:17 `error_codes[0]`: `9` is out of range, it must be from 100 to 599",
        ],
    );
    let rendered = World::default().load(text).render(false);
    assert!(rendered.contains("--> config.yaml:8:5"), "{rendered}");
    assert!(
        rendered.contains("did you mean `base_url`?") && rendered.contains("did you mean `main`?"),
        "{rendered}"
    );
    assert!(rendered.ends_with("12 errors, 1 warning\n"), "{rendered}");
}

#[test]
fn limits_over_any_time_are_each_given_once_and_in_a_zone_that_there_is() {
    let credential = |more: &str, expected: &[&str]| {
        let text = GOOD.replace("name: a", &format!("name: a, {more}"));
        assert_eq!(lines(&World::default().load(&text)), expected, "{more}");
    };
    credential("requests: 100 per day, rpm: 5", &[]);
    credential("requests: many", &["3:25 `requests`: `many` is no rate"]);
    credential("rpd: 0", &["3:20 a limit of 0 would refuse everything"]);
    credential("requests: 0 per hour", &["3:25 a limit of 0 would refuse everything"]);
    credential("rpm: 5, requests: [7 per 60s]", &["3:34 two limits of requests per minute"]);
    credential("rpd: 5, requests: [3 per 1h, 7 per day]", &["3:44 two limits of requests per day"]);
    credential("rpd: 5, time_zone: Mars/Olympus", &["3:34 there is no time zone `Mars/Olympus`"]);
    credential("request: 5 per day", &["3:15 unknown key `request` in `credentials[0]`"]);
    let text = GOOD.replace("credentials", "routing: {time_zone: UTC+1}\ncredentials");
    assert_eq!(lines(&World::default().load(&text)), ["2:22 there is no time zone `UTC+1`"]);
    let world = World::default().file(
        "models.yaml",
        "models: [{name: m, tokens: 5 per 1h, tpd: 0}, {name: n, time_zone: Nowhere}]\n",
    );
    let expected = ["1:43 a limit of 0 would refuse everything", "1:68 there is no time zone `Nowhere`"];
    assert_eq!(lines(&world.load(GOOD)), expected);
}
