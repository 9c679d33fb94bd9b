//! What the page shows, what it never does, and how large and how quick it is.

use super::super::recent::Lately;
use super::super::view::samples::{credential, view, watched};
use super::*;
use std::sync::Arc;
use std::time::Instant;

fn shown(view: &View) -> String {
    render(view, &Query::default())
}

#[test]
fn the_page_shows_states_limits_times_and_errors() {
    let page = shown(&watched());
    for text in [
        "1.2.3",
        "1 d 2 h",
        "✕ banned",
        "3 x 500",
        "in 12 s",
        "PROXY",
        "FALLBACK",
        "7 / 10",
        "900 / ∞ (300 reserved)",
        "since <time>2026-05-28 20:26:52Z</time>",
        "503 status",
        "<code>req_7</code>",
        "120 ms / 900 ms",
        "41.5",
        "last five minutes: 60 answers, 0 errors",
        "configuration <code>0123456789ab</code>",
        "generation 2",
        "<li>main</li>",
        "is banned for 12s",
        "2 / 8",
        "12 / 1500 requests per day, anew in 1 h 0 min",
    ] {
        assert!(page.contains(text), "{text} is missing in\n{page}");
    }
    assert!(!page.contains("://"), "something is loaded from elsewhere");
}

#[test]
fn the_page_is_complete_without_a_script_and_its_policy_names_the_only_one() {
    let page = shown(&watched());
    assert_eq!((page.matches("<script").count(), page.matches("<style").count()), (1, 1));
    assert!(!page.contains(" style=") && !page.contains(" onclick="));
    assert!(page.contains("<noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>"));
    assert!(!render(&view(), &Query { still: true, ..Query::default() }).contains("http-equiv"));
    assert!(POLICY.contains("script-src 'sha256-") && !POLICY.contains("unsafe"));
    assert_eq!(source(""), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
}

#[test]
fn the_page_shows_the_routers_behind_this_one_as_lists_in_lists() {
    let page = shown(&view());
    for text in
        ["5 s ago", "version &#60;0.9&#62;", "RPM 3 / 50", "<strong>far</strong>", "35 s ago", "stale"]
    {
        assert!(page.contains(text), "{text} is missing in\n{page}");
    }
    assert_eq!(page.matches("<ul>").count(), 2);
    let alone = View { credentials: vec![credential("a")], ..view() };
    assert!(shown(&alone).contains("<section id=\"chain\" hidden>"));
}

#[test]
fn a_hostile_name_stays_text() {
    let mut view = watched();
    view.credentials[0].name = "<script>alert('1')</script>\"".into();
    view.credentials[0].models[0].model = "</td><img src=x onerror=y>".into();
    view.credentials[1].standing.reason = Some("<b>&".into());
    let page = view.page.as_mut().unwrap();
    page.routes[0].model = "</script><b>&".into();
    page.failures[0].model = Some("<b>&".into());
    let query = Query { text: "\"><b>&".into(), ..Query::default() };
    let body = Body::of(&view, &Query::default()).html();
    let all = render(&view, &query) + &body + &Changes::default().next(&view, &Query::default()).unwrap();
    assert!(!all.contains("<script>alert") && !all.contains("<img") && !all.contains("<b>&"));
}

#[test]
fn the_heads_sort_and_the_links_keep_what_was_chosen() {
    let query = Query::read(Some("q=a&sort=rpm"), "");
    let page = render(&watched(), &query);
    assert!(
        page.contains("aria-sort=\"descending\"><a id=\"by-rpm\" href=\"?q=a&#38;sort=rpm&#38;turned=1\""),
        "{page}"
    );
    assert!(page.contains("href=\"?format=csv&#38;q=a&#38;sort=rpm\"") && page.contains("value=\"a\""));
    assert!(page.contains("<input type=\"hidden\" name=\"sort\" value=\"rpm\">"));
    let only = render(&watched(), &Query::read(Some("only=troubled"), ""));
    assert!(only.contains("value=\"troubled\" selected") && only.contains("2 more are not shown"));
    assert!(!only.contains("id=\"c0\"") && only.contains("id=\"c1\""));
}

#[test]
fn the_first_change_is_everything_and_then_only_what_differs() {
    let (mut changes, mut view, query) = (Changes::default(), watched(), Query::default());
    let first = changes.next(&view, &query).expect("everything is new");
    assert!(first.starts_with("event: whole\ndata: \"") && first.ends_with("\"\n\n"));
    assert_eq!(changes.next(&view, &query), None);
    view.credentials[1].in_flight = 7;
    let second = changes.next(&view, &query).expect("a row has changed");
    let data = second.strip_prefix("event: parts\ndata: ").expect("parts").trim_end();
    let parts: serde_json::Value = serde_json::from_str(data).unwrap();
    let ids: Vec<_> = parts.as_object().unwrap().keys().collect();
    assert_eq!(ids, ["c1"]);
    assert!(parts["c1"].as_str().unwrap().starts_with("<tr id=\"c1\">"));
    view.credentials.swap(0, 1);
    view.credentials.pop();
    assert!(changes.next(&view, &query).expect("rows have gone").starts_with("event: whole\n"));
}

#[test]
fn the_form_for_a_key_says_what_was_wrong() {
    assert!(!login(None).contains("role=\"alert\""));
    let page = login(Some("<no>"));
    assert!(
        page.contains("role=\"alert\"")
            && page.contains("&#60;no&#62;")
            && page.contains("type=\"password\"")
    );
}

#[test]
fn a_small_page_is_small_and_a_long_list_is_cut() {
    assert!(shown(&watched()).len() < 30_000, "{}", shown(&watched()).len());
    let mut large = view();
    large.credentials = (0..300).map(|n| credential(&format!("credential-{n}"))).collect();
    let page = shown(&large);
    assert!(page.contains("credential-299") && page.contains("100 more"), "{}", page.len());
}

/// Run with `--ignored --nocapture` on a release build.
#[test]
#[ignore = "a measurement"]
fn the_cost_of_a_page() {
    let mut large = watched();
    large.credentials = (0..500).map(|n| credential(&format!("credential-{n}"))).collect();
    let page = large.page.as_mut().unwrap();
    page.lately = vec![Lately { answers: vec![3; 60], errors: vec![1; 60], ..page.lately[1].clone() }; 500];
    page.routes =
        (0..200).map(|n| RouteView { model: format!("model-{n}"), ..page.routes[0].clone() }).collect();
    page.routes[0].others = vec![("is banned".into(), vec![Arc::from("a"); 500])];
    let start = Instant::now();
    let length = shown(std::hint::black_box(&large)).len();
    println!("a page of 500 credentials and 200 models: {:?}, {length} bytes", start.elapsed());
}
