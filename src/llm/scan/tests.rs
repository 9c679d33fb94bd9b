//! The cursor against serde_json: both accept the same documents.

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

fn accepts(document: &str) -> Result<(), Fault> {
    let mut cursor = Cursor::new(document.as_bytes(), 64);
    cursor.skip(&Text::NONE, &mut ())?;
    cursor.end()
}

#[test]
fn the_grammar_is_that_of_json() {
    for good in [
        "{}",
        "[]",
        " {\"a\" : [ 1 , -0.5e+3 ] } ",
        "\"\"",
        "0",
        "-0",
        "1E5",
        "true",
        "null",
        r#""\u00e9\n\/""#,
        r#""\ud800""#,
        "[[],{}]",
        "\"\u{7f}é日\"",
    ] {
        assert_eq!(accepts(good), Ok(()), "{good}");
        assert!(serde_json::from_str::<IgnoredAny>(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        " ",
        "{",
        "[1",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "[1,]",
        "01",
        "1.",
        ".5",
        "-",
        "1e",
        "tru",
        "nul",
        "NaN",
        "Infinity",
        "'a'",
        "\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u12",
        "\"a\nb\"",
        "{} {}",
        "{}x",
        "{a:1}",
        "+1",
        "1 2",
    ] {
        assert!(accepts(bad).is_err(), "{bad}");
        assert!(serde_json::from_str::<IgnoredAny>(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_fault_says_where() {
    let said = |document| accepts(document).unwrap_err().to_string();
    assert_eq!(said("{\"a\":1,}"), "unexpected '}' at byte 7");
    assert_eq!(said("{\"a\":"), "it ends at byte 5, in the middle of a value");
    assert_eq!(said("[trux]"), "unexpected 'x' at byte 4");
    assert_eq!(said("\"a\tb\""), "control character 0x09 in a string at byte 2");
    assert_eq!(said("\"\\q\""), "invalid escape at byte 1");
}

#[test]
fn a_lenient_cursor_leaves_escapes_to_others_and_nothing_else() {
    let accepts = |document: &str| {
        let mut cursor = Cursor::lenient(document.as_bytes(), 64);
        cursor.skip(&Text::NONE, &mut ()).and_then(|()| cursor.end()).is_ok()
    };
    for good in [r#""\q""#, r#""\u12""#, r#"["\\\"]","\\"]"#, " {\n} "] {
        assert!(accepts(good), "{good}");
    }
    for bad in [r#""\""#, r#""a\\\""#, "\"a\u{1}\"", r#""a"b"#, "[1,]"] {
        assert!(!accepts(bad), "{bad}");
    }
}

#[test]
fn sixty_four_levels_are_enough() {
    let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
    assert_eq!(accepts(&nested(64)), Ok(()));
    assert_eq!(accepts(&nested(65)), Err(Fault { problem: Problem::TooDeep, at: 64 }));
    assert!(accepts(&"[".repeat(100_000)).is_err());
    let wide = format!("[{}]", vec!["[[]]"; 200].join(","));
    assert_eq!(accepts(&wide), Ok(()));
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::hash_map(any::<String>(), inner, 0..8)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_valid_document_is_accepted(value in json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert_eq!(accepts(&text), Ok(()));
    }

    #[test]
    fn a_damaged_document_is_judged_as_serde_judges_it(value in json(), at in any::<prop::sample::Index>(), byte in 0u8..128) {
        let mut text = serde_json::to_vec(&value).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(text) = std::str::from_utf8(&text) {
            // serde_json refuses numbers that overflow and cuts nothing else off.
            let theirs = serde_json::from_str::<IgnoredAny>(text);
            let overflow = theirs.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
            prop_assert!(overflow || accepts(text).is_ok() == theirs.is_ok(), "{}", text);
        }
    }

    #[test]
    fn a_string_is_found_whole_wherever_it_ends(text in "[ -~\n\"\\\\é]{0,80}", after in "[ -~]{0,20}") {
        let quoted = serde_json::to_string(&text).unwrap();
        let document = format!("{quoted}{after}");
        let found = Cursor::new(document.as_bytes(), 1).string().unwrap();
        prop_assert_eq!(found.span(), 0..quoted.len());
        prop_assert_eq!(found.decode().unwrap(), text);
    }
}
