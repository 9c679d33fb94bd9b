//! `/vhealth`: the state of the router on one page, for people.
//!
//! One HTML document rendered here, with its style inside: no script, no further request, nothing from elsewhere, so
//! it works in any browser, through any tunnel, and under a policy that allows inline style and nothing else. Bars are
//! `<meter>` elements, which turn yellow above 60 % and red above 80 % by themselves. Everything that is not ours is
//! escaped by the template.

use std::time::Duration;

use askama::Template;

use super::chain::Chain;
use super::view::{CredentialView, ModelView, QuotaView, Standing, State, Used, View};

/// How many models the table shows: the busiest. `/health` has all.
const MODELS: usize = 200;

/// Renders the page.
pub fn render(view: &View) -> String {
    let mut models: Vec<ModelRow<'_>> = view.credentials.iter().flat_map(ModelRow::all_of).collect();
    models.sort_by(|a, b| b.busy().total_cmp(&a.busy()));
    let hidden = models.len().saturating_sub(MODELS);
    models.truncate(MODELS);
    let (credentials, chain) = (view.credentials.iter().map(Row::of).collect(), Chain::of(&view.credentials));
    let page = Page { view, credentials, chain, models, hidden };
    // Rendering writes to a string, and nothing in the template can fail.
    page.render().unwrap_or_default()
}

#[derive(Template)]
#[template(path = "vhealth.html", config = "src/observe/askama.toml")]
struct Page<'v> {
    view: &'v View,
    credentials: Vec<Row<'v>>,
    chain: Chain<'v>,
    models: Vec<ModelRow<'v>>,
    hidden: usize,
}

impl Page<'_> {
    fn uptime(&self) -> String {
        span(self.view.uptime)
    }
}

struct Row<'v> {
    name: &'v str,
    badge: String,
    is_fallback: bool,
    tier: String,
    weight: u32,
    in_flight: u32,
    rpm: Bar,
    tpm: Bar,
    quotas: Vec<String>,
    state: StateCell<'v>,
}

impl<'v> Row<'v> {
    fn of(credential: &'v CredentialView) -> Self {
        Self {
            name: &credential.name,
            badge: credential.kind.replace('-', " ").to_uppercase(),
            is_fallback: credential.is_fallback,
            tier: if credential.is_fallback { "last".into() } else { credential.tier.to_string() },
            weight: credential.weight,
            in_flight: credential.in_flight,
            rpm: Bar(credential.rpm),
            tpm: Bar(credential.tpm),
            quotas: credential.quotas.iter().map(quota).collect(),
            state: StateCell::of(&credential.standing, credential.banned),
        }
    }
}

struct ModelRow<'v> {
    model: &'v str,
    credential: &'v str,
    rpm: Bar,
    tpm: Bar,
    quotas: Vec<String>,
    state: StateCell<'v>,
}

impl<'v> ModelRow<'v> {
    fn all_of(credential: &'v CredentialView) -> impl Iterator<Item = Self> {
        let row = |model: &'v ModelView| Self {
            model: &model.model,
            credential: &credential.name,
            rpm: Bar(model.rpm),
            tpm: Bar(model.tpm),
            quotas: model.quotas.iter().map(quota).collect(),
            state: StateCell::of(&model.standing, model.banned),
        };
        credential.models.iter().map(row)
    }

    /// What the table is sorted by: in trouble first, then the fullest, then the most used.
    fn busy(&self) -> f64 {
        let trouble = if self.state.class == "up" { 0.0 } else { 10.0 };
        let used = (self.rpm.0.current + self.tpm.0.current) as f64;
        trouble + self.rpm.0.share().max(self.tpm.0.share()) + used / (used + 1e9)
    }
}

/// The use of a limit over another time than a minute, in words.
fn quota(quota: &QuotaView) -> String {
    let QuotaView { of, per, current, limit, .. } = quota;
    format!("{current} of {limit} {of} per {per}")
}

/// The words and the colour of a state. Never the colour alone.
struct StateCell<'v> {
    class: &'static str,
    word: &'static str,
    reason: &'v str,
    recovery: Option<String>,
}

impl<'v> StateCell<'v> {
    fn of(standing: &'v Standing, banned: bool) -> Self {
        let (class, word) = match standing.state {
            // All of its models are banned, although it is not.
            State::Available if banned => ("down", "✕ all models banned"),
            State::Available => ("up", "● available"),
            State::CoolDown => ("wait", "◌ cooling down"),
            State::Probation => ("wait", "◌ on probation"),
            State::Banned => ("down", "✕ banned"),
            State::BannedForGood => ("down", "✕ banned for good"),
        };
        let reason = standing.reason.as_deref().unwrap_or_default();
        Self { class, word, reason, recovery: standing.next_recovery.map(span) }
    }
}

/// Use of a limit.
struct Bar(Used);

impl Bar {
    fn limited(&self) -> bool {
        self.0.limit.is_some()
    }

    fn share(&self) -> String {
        format!("{:.3}", self.0.share())
    }

    fn text(&self) -> String {
        match self.0.limit {
            Some(limit) => format!("{} / {limit}", self.0.current),
            None => format!("{} / ∞", self.0.current),
        }
    }
}

/// A time in its two largest units, rounded up to seconds: `1 d 2 h`, `3 min 20 s`, `12 s`.
fn span(time: Duration) -> String {
    let seconds = time.as_millis().div_ceil(1000);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::samples::{credential, view};
    use super::*;
    use std::time::Instant;

    #[test]
    fn the_page_shows_tiles_states_and_limits() {
        let page = render(&view());
        for text in
            ["1.2.3", "1 d 2 h", "✕ banned", "3 x 500", "in 12 s", "PROXY", "FALLBACK", "7 / 10", "900 / ∞"]
        {
            assert!(page.contains(text), "{text} is missing in\n{page}");
        }
        assert!(page.contains("value=\"0.700\"") && page.contains("value=\"0.900\""));
        assert!(!page.contains("<script") && !page.contains("://"));
    }

    #[test]
    fn the_page_shows_the_routers_behind_this_one_as_lists_in_lists() {
        let page = render(&view());
        for text in
            ["5 s ago", "version &#60;0.9&#62;", "RPM 3 / 50", "<strong>far</strong>", "35 s ago", "stale"]
        {
            assert!(page.contains(text), "{text} is missing in\n{page}");
        }
        assert_eq!(page.matches("<ul>").count(), 2);
        let alone = View { credentials: vec![credential("a")], ..view() };
        assert!(!render(&alone).contains("Routers behind"));
    }

    #[test]
    fn a_hostile_name_stays_text() {
        let mut view = view();
        view.credentials[0].name = "<script>alert('1')</script>\"".into();
        view.credentials[0].models[0].model = "</td><img src=x onerror=y>".into();
        view.credentials[1].standing.reason = Some("<b>&".into());
        let page = render(&view);
        assert!(!page.contains("<script>") && !page.contains("<img") && !page.contains("<b>&"));
    }

    #[test]
    fn a_small_page_is_small_and_a_large_one_is_quick() {
        assert!(render(&view()).len() < 12_000);
        let mut large = view();
        large.credentials = (0..300).map(|n| credential(&format!("credential-{n}"))).collect();
        let start = Instant::now();
        let page = render(&large);
        assert!(start.elapsed() < Duration::from_millis(500));
        assert!(page.contains("credential-299") && page.contains("100 more"), "{}", page.len());
    }

    #[test]
    fn a_span_has_two_units() {
        let said = [0, 59, 60, 3_600, 90_000].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(said, ["0 s", "59 s", "1 min 0 s", "1 h 0 min", "1 d 1 h"]);
    }
}
