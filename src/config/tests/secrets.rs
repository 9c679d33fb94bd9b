//! No rendering ever holds a secret, however broken the file is.

use proptest::prelude::*;

use super::*;

const SECRET: &str = "hush-4f9a0c77e1b2";

/// Files that hold the secret in every place where one may be put, or is put by mistake.
const PLACES: [&str; 14] = [
    "server: {master_key: SECRET, prot: 1}\n",
    "server:\n  masterkey: SECRET\n",
    "server:\n  master_key: [SECRET]\n",
    "server: {master_key: \"SECRET x\"}\n",
    "credentials: [{name: a, api_key: 'SECRET', rpm: x}]\n",
    "credentials:\n  - name: a\n    apikey: SECRET\n    token: SECRET\n",
    "credentials:\n  - {name: a, headers: {x-one: SECRET, \"a b\": SECRET}}\n",
    "credentials:\n  - name: a\n    type: vertex-ai\n    credentials_json: |\n      {\"private_key\": \"SECRET\"}\n",
    "credentials:\n  - {name: a, base_url: \"https://user:SECRET@host/\"}\n",
    "credentials:\n  - {name: a, api_key: \"${KEY:-SECRET}\", rpm: x}\n",
    "x-keys: {a: &k SECRET}\ncredentials: [{name: a, api_key: *k, rpm: x}]\n",
    "server: {master_key: SECRET\n",
    "server:\n  master_key: \"SECRET\n  port: 1\n",
    "server:\n\tmaster_key: SECRET\n",
];

#[test]
fn no_rendering_holds_a_secret() {
    for text in PLACES {
        let loaded = World::default().load(&text.replace("SECRET", SECRET));
        let rendered = loaded.render(false) + &loaded.render(true) + &format!("{loaded:?}");
        assert!(!loaded.problems.is_empty(), "{text}");
        assert!(!rendered.contains(SECRET), "{text}\n{rendered}");
        assert!(!rendered.contains(&SECRET[5..]), "{text}\n{rendered}");
    }
}

#[test]
fn a_value_from_outside_is_never_shown() {
    let world = World::default().variable("VALUE", SECRET);
    for key in [
        "port",
        "host",
        "body_timeout",
        "max_body_size",
        "logging_level",
        "replace_v1_models",
        "default_models_rpm",
    ] {
        let text = GOOD.replace("{master_key", &format!("{{{key}: os.environ/VALUE, master_key"));
        let text = if key == "host" { text.replace(", host: 127.0.0.1", "") } else { text };
        assert!(!world.load(&text).render(false).contains(SECRET), "{key}");
    }
    for key in ["type", "base_url", "rpm", "weight", "is_fallback", "project_id"] {
        let text = format!("{GOOD}  - {{name: b, {key}: os.environ/VALUE}}\n");
        let loaded = world.load(&text);
        assert!(!loaded.problems.is_empty(), "{key}");
        assert!(!loaded.render(false).contains(SECRET), "{key}");
    }
}

#[test]
fn the_line_of_a_key_is_shown_with_stars_and_a_short_caret() {
    let loaded = World::default()
        .load("server:\n  master_key: hush1\ncredentials: [{name: a, api_key: k, base_url: https://h}]\n");
    let rendered = loaded.render(false);
    assert!(rendered.contains("2 |   master_key: ***\n"), "{rendered}");
    assert!(rendered.contains("^^^ server.master_key"), "{rendered}");
    assert!(!rendered.contains("^^^^ server.master_key"), "{rendered}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any text at all: no panic, and a place inside the file for every problem that has one.
    #[test]
    fn any_text_is_answered(text in "([a-z]{1,8}: ?|[\\[\\]{}\"'&*#|>:\\-,\t ]|\n *|[0-9]{1,3}|é|server|credentials|name|sk-abcdefgh){0,40}") {
        let loaded = World::default().load(&text);
        let lines = text.lines().count().max(1) + 1;
        prop_assert!(loaded.problems.iter().all(|problem| problem.line <= lines));
        prop_assert!(!loaded.render(false).contains("sk-abcdefgh"));
    }

    /// A good file with one byte changed: no panic, and the secret stays hidden.
    #[test]
    fn a_changed_character_never_shows_the_key(at in 0usize..200, with in "[\\[\\]{}\"'&*#|>:\\-,\t\n a]") {
        let text = format!("server:\n  master_key: {SECRET}\n  port: 1\ncredentials:\n  - name: a\n    api_key: \"{SECRET}\"\n    rpm: x\n");
        let mut chars: Vec<char> = text.chars().collect();
        let secret_at = |chars: &[char]| chars.iter().collect::<String>().contains(SECRET);
        let at = at % chars.len();
        chars[at] = with.chars().next().unwrap_or(' ');
        prop_assume!(secret_at(&chars));
        let changed: String = chars.into_iter().collect();
        let rendered = World::default().load(&changed).render(false);
        // A broken key name is no longer known to be one; a caret elsewhere must still not show the value.
        let known = changed.matches("master_key:").count() + changed.matches("api_key:").count() == 2;
        prop_assert!(!known || !rendered.contains(SECRET), "{}", rendered);
    }
}
