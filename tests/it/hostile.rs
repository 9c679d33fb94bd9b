//! What others write is text on every page, and no series of a metric: names of the file, of callers, of routers behind.

use std::collections::BTreeSet;

use serde_json::{json, Value};

use crate::support::*;

const PAYLOADS: [&str; 30] = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//x.example></ScRiPt>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<math><mi xlink:href='javascript:alert(1)'>x</mi></math>",
    "<a href=javascript:alert(1)>x</a>",
    "<form action=//x.example><input type=submit>",
    "<object data='data:text/html,<script>alert(1)</script>'>",
    "<embed src=//x.example>",
    "<link rel=stylesheet href=//x.example>",
    "<style>td{background:url(//x.example)}</style>",
    "<meta http-equiv=refresh content='0;url=//x.example'>",
    "<base href=//x.example>",
    "<marquee onstart=alert(1)>",
    "<video><source onerror=alert(1)>",
    "<!--><img src=x onerror=alert(1)>",
    "</td></tr></table><img src=x onerror=alert(1)>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><img src=x onerror=alert(1)>",
    "\" onmouseover=\"alert(1)",
    "' onfocus='alert(1)' autofocus='",
    "{{constructor.constructor('alert(1)')()}}<b>",
    "&lt;script&gt;&#60;img src=x onerror=alert(1)&#62;<i>",
];

/// The names of all elements and attributes of a page, as a browser would read them.
fn markup(page: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
        if name.is_empty() {
            continue;
        }
        rest = attributes(&rest[name.len()..], &mut names);
        // What stands in these two is no markup up to its end.
        if ["script", "style"].contains(&&*name.to_lowercase()) {
            rest = rest.find(&format!("</{name}")).map_or("", |end| &rest[end..]);
        }
        names.insert(name.to_lowercase());
    }
    names
}

/// Takes the attributes of a tag, up to its `>`.
fn attributes<'p>(tag: &'p str, names: &mut BTreeSet<String>) -> &'p str {
    let (mut quote, mut word) = (None, String::new());
    for (at, c) in tag.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => (quote, word) = (None, String::new()),
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '>') => return &tag[at + 1..],
            (None, c) if c.is_whitespace() || c == '=' => {
                if !word.is_empty() {
                    names.insert(format!("@{}", std::mem::take(&mut word).to_lowercase()));
                }
            }
            (None, c) => word.push(c),
        }
    }
    ""
}

/// A router that knows of each of `names` in every way: as a credential, a model, a model of a router behind, and one
/// that callers have asked for.
fn knowing(names: &[&str]) -> (Vec<Upstream>, Router) {
    let of_all =
        |value: Value| Value::Object(names.iter().map(|name| (name.to_string(), value.clone())).collect());
    let credential = json!({"type": "openai", "is_banned": true, "current_rpm": 1, "limit_rpm": 2, "current_tpm": 1,
        "limit_tpm": 2, "is_fallback": false, "last_error": names[0], "reason": names[1]});
    let health = json!({"status": "healthy", "version": names[0], "credentials": of_all(credential),
        "models": of_all(json!({"credential": names[0], "model": names[1], "current_rpm": 1, "limit_rpm": 3,
            "current_tpm": 1, "limit_tpm": 2, "is_banned": true}))});
    let ill = Upstream::always(respond(503).error(names[0], names[1], Some(names[2])));
    let behind = Upstream::healthy().lists(names).tells(respond(200).json(&health));
    let mut config = Config::new().fail2ban("max_attempts: 1\nban_duration: 1h\nerror_codes: [503]");
    config = config.proxy("behind", &behind.url(), "sk-behind-0123456789", "is_fallback: true");
    for (n, name) in names.iter().enumerate() {
        let extra = format!("api_key: sk-upstream-0123456789-{n}\nmodels: [{}, m]", json!(name));
        config = config.keyless("openai", name, &ill.url(), &extra);
    }
    let router = config.section("routing: {max_attempts: 3}").start();
    for name in names {
        router.chat(&chat(name));
    }
    (vec![ill, behind], router)
}

#[test]
fn nothing_that_others_write_is_markup_on_a_page() {
    let plain: Vec<String> = (0..PAYLOADS.len()).map(|n| format!("name-{n}")).collect();
    let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
    let (_kept, harmless) = knowing(&plain);
    let (_behind, hostile) = knowing(&PAYLOADS);
    let quoted = url::form_urlencoded::byte_serialize(PAYLOADS[0].as_bytes()).collect::<String>();
    let whole = markup(&harmless.get("/vhealth").text());
    for path in ["/vhealth".to_owned(), format!("/vhealth?q={quoted}"), "/docs".into(), "/redoc".into()] {
        let (known, found) = (markup(&harmless.get(&path).text()), markup(&hostile.get(&path).text()));
        // A search finds nothing among harmless names.
        let known = &known | &whole;
        let more: Vec<_> = found.difference(&known).collect();
        assert!(more.is_empty() && found.contains("html"), "{path}: {more:?}");
    }
    let page = hostile.get("/vhealth").expect(200);
    let policy = page.header("content-security-policy").unwrap_or_default().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe-inline"), "{policy}");
    let shown = page.text();
    assert!(shown.contains("alert(1)"), "the payloads are not on the page at all");
    for path in ["/health", "/trace", "/vhealth?format=json", "/vhealth?format=csv", "/v1/models"] {
        let kind = hostile.get(path).header("content-type").unwrap_or_default().to_owned();
        assert!(!kind.contains("html"), "{path}: {kind}");
    }
}

#[test]
fn names_that_callers_make_up_are_no_series() {
    let upstream = Upstream::healthy();
    let mut config = Config::new();
    for name in ["a", "b", "c", "d", "e"] {
        config = config.credential(name, &upstream.url(), "");
    }
    for n in 0..20 {
        config = config.model(&format!("name: model-{n}"));
    }
    let router = config.start();
    let series = || {
        let text = router.get("/metrics").text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect::<BTreeSet<_>>()
    };
    let ask = |names: std::ops::Range<usize>| {
        let mut conn = Conn::open(router.address());
        for n in names {
            conn.write(&Request::chat(&chat(&format!("made-up-{n}"))).bytes(&router));
            conn.answer().expect(404);
            conn.write(&Request::chat(&chat(&format!("model-{}", n % 20))).bytes(&router));
            conn.answer().expect(200);
        }
    };
    ask(0..100);
    // The look is a request itself, and what is counted is counted after the answer.
    until("the look is counted", || series().iter().any(|line| line.contains("/metrics")));
    let before = series();
    ask(100..600);
    let after = series();
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(before.len() <= 5 * 20 * 12 + 200, "{} series", before.len());
}
