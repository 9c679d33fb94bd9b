//! Another instance of ourselves: the OpenAI dialect, plus a header that names the routers a request has passed.
//!
//! A request that comes back to a router it has passed would go round for ever, and so would cost every limit on its
//! way; it ends at once, and nobody tries it again.

use super::openai::upstream_path;
use super::provider::Provider;
use super::route::{query_without, segment, with_query, Ask, Route, Site, Task};

/// Names the routers that a request has passed, in order, separated by commas. Sent to every upstream, because only
/// the operator knows which of them is a router.
pub const HOPS: &str = "x-auto-ai-router-hops";
/// Deeper chains than this are taken for loops.
pub const MOST_HOPS: usize = 8;

/// Whether a request with these hops has been at the router called `own` before.
pub fn is_loop(hops: &str, own: &str) -> bool {
    hops.split(',').any(|hop| hop.trim() == own) || hops.split(',').count() >= MOST_HOPS
}

/// The hops to send on.
pub fn passed(hops: Option<&str>, own: &str) -> String {
    match hops {
        Some(hops) => format!("{hops},{own}"),
        None => own.to_owned(),
    }
}

/// The route of a request: another router speaks every dialect.
pub(super) fn route(provider: &Provider, site: &Site, ask: &Ask) -> Option<Route> {
    let (Some(model), Some(method)) = (ask.model, ask.method()) else {
        return Some(ask.as_it_came(&site.base, provider.habits));
    };
    // The model is a part of this path, and may be called otherwise there.
    let path = format!("/v1beta/models/{}:{method}", segment(model)?);
    let path = with_query(upstream_path(&site.base, &path, None), query_without(ask.query, &["key"]));
    let task = if ask.generates() { Task::Generate } else { Task::AsItCame };
    Some(ask.native(path, task, provider.habits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_visit_is_a_loop() {
        let first = passed(None, "a");
        let second = passed(Some(&first), "b");
        assert_eq!(second, "a,b");
        assert!(!is_loop(&second, "c"));
        assert!(is_loop(&second, "a") && is_loop("x, b ,y", "b"));
        assert!(!is_loop("ab", "a"));
        assert!(is_loop("1,2,3,4,5,6,7,8", "9"));
    }
}
