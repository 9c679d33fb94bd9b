//! `/vhealth`: the state of the router on one page, for people.
//!
//! One HTML document rendered here, complete without a script, with style and script inside and nothing from elsewhere:
//! it works in any browser, through any tunnel, and under a policy that names the two by their digests. With the script
//! it is live: what it shows is made of parts with ids, and `Changes` tells which of them differ from a moment ago, so
//! that a second of a quiet router costs a few bytes. Everything that is not ours is escaped by the templates.

mod cells;
mod changes;

use std::sync::LazyLock;
use std::time::Duration;

use askama::Template;
use ring::digest::{digest, SHA256};

use super::chain::Chain;
use super::query::{Column, Only, Query};
use super::recent::Failure;
use super::view::{CredentialView, ModelView, PageView, QuotaView, RouteView, Used, View};
use crate::hex::hex;
use cells::{instant, span, Bar, Spark, StateCell, Times};

pub use changes::Changes;

/// How many models on credentials the table shows: the busiest. `/health` has all.
const PAIRS: usize = 200;
/// How many of a model's candidates are named, and how many reasons why others are none.
const NAMED: usize = 8;

const STYLE: &str = include_str!("templates/vhealth.css");
const SCRIPT: &str = include_str!("templates/vhealth.js");

/// What the page may do: use its own style and script, ask its own router, send its own forms.
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    let (style, script) = (source(STYLE), source(SCRIPT));
    format!(
        "default-src 'none'; style-src {style}; script-src {script}; img-src data:; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'"
    )
});

/// How a policy names an inline text: base64 (RFC 4648) of its SHA-256.
fn source(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digest = digest(&SHA256, text.as_bytes());
    let mut base64 = String::new();
    for three in digest.as_ref().chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | three.get(at).map_or(0, |byte| u32::from(*byte)));
        let digit =
            |at: usize| DIGITS.get((bits >> (18 - 6 * at) & 63) as usize).map_or('A', |d| char::from(*d));
        base64.extend((0..=three.len()).map(digit));
        base64.extend((three.len()..3).map(|_| '='));
    }
    format!("'sha256-{base64}'")
}

/// The whole document.
pub fn render(view: &View, query: &Query) -> String {
    let body = Body::of(view, query).html();
    let shell = Shell { style: STYLE, script: SCRIPT, title: title(view), query, body };
    // Rendering writes to a string, and nothing in the templates can fail.
    shell.render().unwrap_or_default()
}

/// What a visitor without a key gets: a form to show one. `trouble` says why the last one was not taken.
pub fn login(trouble: Option<&str>) -> String {
    Login { style: STYLE, trouble }.render().unwrap_or_default()
}

fn title(view: &View) -> String {
    format!("{}/{} available · Auto AI Router", view.available(), view.credentials.len())
}

#[derive(Template)]
#[template(path = "vhealth.html", config = "src/observe/askama.toml")]
struct Shell<'v> {
    style: &'static str,
    script: &'static str,
    title: String,
    query: &'v Query,
    body: String,
}

impl Shell<'_> {
    fn is(&self, only: &str) -> bool {
        let word = match self.query.only {
            Only::All => "",
            Only::Available => "available",
            Only::Troubled => "troubled",
        };
        word == only
    }

    fn turned(&self, change: impl FnOnce(&mut Query)) -> String {
        let mut query = self.query.clone();
        change(&mut query);
        query.address()
    }

    fn json(&self) -> String {
        self.turned(|query| query.form = super::query::Form::Json)
    }

    fn csv(&self) -> String {
        self.turned(|query| query.form = super::query::Form::Csv)
    }

    fn stopped(&self) -> String {
        self.turned(|query| query.still = true)
    }
}

#[derive(Template)]
#[template(path = "login.html", config = "src/observe/askama.toml")]
struct Login<'v> {
    style: &'static str,
    trouble: Option<&'v str>,
}

/// A piece of the page with an id.
struct Part {
    id: String,
    html: String,
}

impl Part {
    fn new(id: String, of: &impl Template) -> Self {
        Self { id, html: of.render().unwrap_or_default() }
    }
}

/// Everything that changes: what stands inside `main`.
#[derive(Template)]
#[template(path = "body.html", config = "src/observe/askama.toml")]
struct Body {
    heads: Vec<Head>,
    summary: Part,
    rows: Vec<Part>,
    /// How many credentials are not shown.
    left_out: usize,
    chain: Part,
    routes: Vec<Part>,
    /// How many models are not shown.
    unexplained: usize,
    pairs: Vec<Part>,
    hidden: usize,
    failures: Part,
}

/// The head of a column.
struct Head {
    id: &'static str,
    label: &'static str,
    /// Where it is sorted by this.
    address: String,
    /// `ascending`, `descending` or `none`.
    order: &'static str,
}

impl Body {
    fn of(view: &View, query: &Query) -> Self {
        let selected = query.select(view);
        let row =
            |at: &usize| Some(Part::new(format!("c{at}"), &Row::of(*at, view.credentials.get(*at)?, view)));
        let mut pairs: Vec<Pair<'_>> =
            selected.iter().filter_map(|at| view.credentials.get(*at)).flat_map(Pair::all_of).collect();
        pairs.sort_by(|a, b| b.busy().total_cmp(&a.busy()));
        let hidden = pairs.len().saturating_sub(PAIRS);
        let pairs = pairs.iter().take(PAIRS);
        let page = view.page.as_ref();
        let routes = page.into_iter().flat_map(|page| &page.routes).enumerate();
        let failures = page.map_or(&[][..], |page| &page.failures);
        Self {
            heads: Column::ALL.iter().map(|(column, id)| Head::of(*column, id, query)).collect(),
            summary: Part::new("summary".into(), &Summary { view, page }),
            rows: selected.iter().filter_map(row).collect(),
            left_out: view.credentials.len() - selected.len(),
            chain: Part::new("chain".into(), &Peers { chain: Chain::of(&view.credentials) }),
            unexplained: page.map_or(0, |page| page.left_out),
            routes: routes.map(|(at, route)| Part::new(format!("m{at}"), &RouteRow::of(at, route))).collect(),
            pairs: pairs.map(|pair| Part::new(pair.id(), pair)).collect(),
            hidden,
            failures: Part::new("errors".into(), &Failures { failures }),
        }
    }

    fn html(&self) -> String {
        self.render().unwrap_or_default()
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        let single = [&self.summary, &self.chain, &self.failures];
        single.into_iter().chain(&self.rows).chain(&self.routes).chain(&self.pairs)
    }
}

impl Head {
    fn of(column: Column, id: &'static str, query: &Query) -> Self {
        let label = match column {
            Column::Name => "Name",
            Column::State => "State",
            Column::Error => "Last error",
            Column::Rpm => "RPM",
            Column::Tpm => "TPM",
            Column::InFlight => "In flight",
            Column::Latency => "Answer, p50 / p95",
            Column::FirstToken => "First token, p50 / p95",
            Column::Speed => "Tokens/s",
        };
        let sorted = query.sort == Some(column);
        let next = Query { sort: Some(column), turned: sorted && !query.turned, ..query.clone() };
        let order = match sorted {
            false => "none",
            true if query.turned == (column == Column::Name) => "descending",
            true => "ascending",
        };
        Self { id, label, address: next.address(), order }
    }
}

#[derive(Template)]
#[template(path = "summary.html", config = "src/observe/askama.toml")]
struct Summary<'v> {
    view: &'v View,
    page: Option<&'v PageView>,
}

impl Summary<'_> {
    fn title(&self) -> String {
        title(self.view)
    }

    fn uptime(&self) -> String {
        span(self.view.uptime)
    }

    fn since(&self, time: Duration) -> String {
        span(time)
    }
}

#[derive(Template)]
#[template(path = "row.html", config = "src/observe/askama.toml")]
struct Row<'v> {
    id: usize,
    name: &'v str,
    badge: String,
    is_fallback: bool,
    tier: String,
    weight: u32,
    in_flight: u32,
    most: Option<u32>,
    rpm: Bar,
    tpm: Bar,
    quotas: Vec<Quota<'v>>,
    state: StateCell<'v>,
    error: Option<&'v Failure>,
    latency: Times,
    first_token: Times,
    speed: String,
    spark: Spark<'v>,
}

impl<'v> Row<'v> {
    fn of(id: usize, credential: &'v CredentialView, view: &'v View) -> Self {
        let lately = view.page.as_ref().and_then(|page| page.lately.get(id));
        let tokens = lately.map_or(0.0, |lately| lately.tokens_per_second);
        Self {
            id,
            name: &credential.name,
            badge: credential.kind.replace('-', " ").to_uppercase(),
            is_fallback: credential.is_fallback,
            tier: if credential.is_fallback { "last".into() } else { credential.tier.to_string() },
            weight: credential.weight,
            in_flight: credential.in_flight,
            most: credential.max_concurrent,
            rpm: Bar::new(credential.rpm, 0),
            tpm: Bar::new(credential.tpm, credential.reserved),
            quotas: credential.quotas.iter().map(Quota::of).collect(),
            state: StateCell::of(credential, lately, view),
            error: lately.and_then(|lately| lately.last_error.as_ref()),
            latency: Times(lately.and_then(|lately| lately.latency)),
            first_token: Times(lately.and_then(|lately| lately.first_token)),
            speed: if tokens > 0.0 { format!("{tokens:.1}") } else { "–".into() },
            spark: Spark::of(lately),
        }
    }
}

/// Use of a limit over another time than a minute.
struct Quota<'v> {
    bar: Bar,
    of: &'static str,
    per: &'v str,
    /// Until it begins anew.
    resets: Option<String>,
}

impl<'v> Quota<'v> {
    fn of(quota: &'v QuotaView) -> Self {
        let QuotaView { of, per, current, limit, resets } = quota;
        let bar = Bar::new(Used { current: *current, limit: Some(*limit) }, 0);
        Self { bar, of, per, resets: resets.map(span) }
    }
}

#[derive(Template)]
#[template(path = "peers.html", config = "src/observe/askama.toml")]
struct Peers<'v> {
    chain: Chain<'v>,
}

#[derive(Template)]
#[template(path = "route.html", config = "src/observe/askama.toml")]
struct RouteRow<'v> {
    id: usize,
    route: &'v RouteView,
    /// Candidates that are not named.
    more: usize,
    others: Vec<Others<'v>>,
}

struct Others<'v> {
    why: &'v str,
    count: usize,
    names: String,
}

impl<'v> RouteRow<'v> {
    fn of(id: usize, route: &'v RouteView) -> Self {
        let others = route.others.iter().take(NAMED).map(|(why, names)| {
            let named: Vec<&str> = names.iter().take(NAMED).map(|name| &**name).collect();
            let more = if names.len() > NAMED { ", …" } else { "" };
            Others { why, count: names.len(), names: named.join(", ") + more }
        });
        Self { id, route, more: route.order.len().saturating_sub(NAMED), others: others.collect() }
    }
}

#[derive(Template)]
#[template(path = "pair.html", config = "src/observe/askama.toml")]
struct Pair<'v> {
    model: &'v str,
    credential: &'v str,
    rpm: Bar,
    tpm: Bar,
    quotas: Vec<Quota<'v>>,
    state: StateCell<'v>,
}

impl<'v> Pair<'v> {
    /// Those that have a limit, a use or a trouble.
    fn all_of(credential: &'v CredentialView) -> impl Iterator<Item = Self> {
        let row = |model: &'v ModelView| Self {
            model: &model.model,
            credential: &credential.name,
            rpm: Bar::new(model.rpm, 0),
            tpm: Bar::new(model.tpm, 0),
            quotas: model.quotas.iter().map(Quota::of).collect(),
            state: StateCell::brief(&model.standing, model.banned),
        };
        let told = |pair: &Self| {
            let used = pair.rpm.is_used() || pair.tpm.is_used();
            let limited = pair.rpm.limit().or(pair.tpm.limit()).is_some() || !pair.quotas.is_empty();
            used || limited || pair.state.class != "up"
        };
        credential.models.iter().map(row).filter(told)
    }

    /// The two names, so that a row stays itself when others come before it. An id has no spaces.
    fn id(&self) -> String {
        let names = digest(&SHA256, format!("{}\n{}", self.credential, self.model).as_bytes());
        format!("p{}", hex(&names.as_ref()[..6]))
    }

    /// What the table is sorted by: in trouble first, then the fullest, then the most used.
    fn busy(&self) -> f64 {
        let trouble = if self.state.class == "up" { 0.0 } else { 10.0 };
        let used = (self.rpm.used() + self.tpm.used()) as f64;
        trouble + self.rpm.share().max(self.tpm.share()) + used / (used + 1e9)
    }
}

#[derive(Template)]
#[template(path = "failures.html", config = "src/observe/askama.toml")]
struct Failures<'v> {
    failures: &'v [Failure],
}

#[cfg(test)]
mod tests;
