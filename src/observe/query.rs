//! What a visitor of `/vhealth` asks for: which credentials, in which order, and in which form.
//!
//! Everything is in the query of the address, so that it works without a script and can be kept as a bookmark. What is
//! not understood is left out: a page with all is better than none.

use std::cmp::Ordering;

use url::form_urlencoded;

use super::recent::{Lately, Quantiles};
use super::view::{CredentialView, State, View};

/// The longest text to look for that is kept.
const LONGEST: usize = 100;

/// The form of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// A page for people.
    #[default]
    Html,
    /// All of it.
    Json,
    /// The table of credentials.
    Csv,
}

/// What the table of credentials can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Name.
    Name,
    /// Worst first.
    State,
    /// The last error, newest first.
    Error,
    /// Requests in the last minute.
    Rpm,
    /// Tokens in the last minute.
    Tpm,
    /// Requests under way.
    InFlight,
    /// Median time of an answer.
    Latency,
    /// Median time to the first output.
    FirstToken,
    /// Output tokens per second.
    Speed,
}

impl Column {
    /// All, with their names in the query.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Name, "name"),
        (Self::State, "state"),
        (Self::Error, "error"),
        (Self::Rpm, "rpm"),
        (Self::Tpm, "tpm"),
        (Self::InFlight, "in_flight"),
        (Self::Latency, "latency"),
        (Self::FirstToken, "first_token"),
        (Self::Speed, "speed"),
    ];

    /// Its name in the query.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(column, _)| *column == self).map_or("", |(_, word)| word)
    }

    /// Names begin with the first, figures with the largest.
    fn falls(self) -> bool {
        self != Self::Name
    }
}

/// Which credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Only {
    /// All.
    #[default]
    All,
    /// Those that take requests.
    Available,
    /// The others.
    Troubled,
}

/// What a visitor asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// In which form.
    pub form: Form,
    /// In which order; none: as in the file.
    pub sort: Option<Column>,
    /// The other way round.
    pub turned: bool,
    /// What name, type or model must have in it, whatever the case.
    pub text: String,
    /// Which.
    pub only: Only,
    /// The page does not load itself again.
    pub still: bool,
}

impl Query {
    /// From the query of an address, and from what the client takes where that says nothing.
    pub fn read(query: Option<&str>, accept: &str) -> Self {
        let json = accept.contains("application/json") && !accept.contains("text/html");
        let mut read = Self { form: if json { Form::Json } else { Form::Html }, ..Self::default() };
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match (&*name, &*value) {
                ("format", "json") => read.form = Form::Json,
                ("format", "csv") => read.form = Form::Csv,
                ("format", "html") => read.form = Form::Html,
                ("sort", word) => {
                    read.sort =
                        Column::ALL.iter().find(|(_, known)| *known == word).map(|(column, _)| *column)
                }
                ("turned", "1") => read.turned = true,
                ("q", text) => read.text = text.chars().take(LONGEST).collect(),
                ("only", "available") => read.only = Only::Available,
                ("only", "troubled") => read.only = Only::Troubled,
                ("still", "1") => read.still = true,
                _ => {}
            }
        }
        read
    }

    /// The address of the page that this asks for, relative to its own.
    pub fn address(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let form = match self.form {
            Form::Html => None,
            Form::Json => Some("json"),
            Form::Csv => Some("csv"),
        };
        let only = match self.only {
            Only::All => None,
            Only::Available => Some("available"),
            Only::Troubled => Some("troubled"),
        };
        let members = [
            ("format", form),
            ("q", Some(&*self.text).filter(|text| !text.is_empty())),
            ("only", only),
            ("sort", self.sort.map(Column::word)),
            ("turned", self.turned.then_some("1")),
            ("still", self.still.then_some("1")),
        ];
        let given = members.iter().filter_map(|(name, value)| Some((name, (*value)?)));
        query.extend_pairs(given);
        format!("?{}", query.finish())
    }

    /// The places of the credentials asked for, in the order asked for.
    pub fn select(&self, view: &View) -> Vec<usize> {
        let text = self.text.to_lowercase();
        let wanted = |credential: &CredentialView| {
            let well = !credential.banned && credential.standing.state == State::Available;
            let only = match self.only {
                Only::All => true,
                Only::Available => well,
                Only::Troubled => !well,
            };
            let has = |name: &str| name.to_lowercase().contains(&text);
            let named = || {
                has(&credential.name)
                    || has(credential.kind)
                    || credential.models.iter().any(|model| has(&model.model))
            };
            only && (text.is_empty() || named())
        };
        let mut places: Vec<(usize, &CredentialView)> =
            view.credentials.iter().enumerate().filter(|(_, credential)| wanted(credential)).collect();
        if let Some(column) = self.sort {
            let lately = |at: usize| view.page.as_ref().and_then(|page| page.lately.get(at));
            places.sort_by(|(a, one), (b, other)| {
                let order = compare(column, (one, lately(*a)), (other, lately(*b)));
                if self.turned == column.falls() {
                    order
                } else {
                    order.reverse()
                }
            });
        }
        places.into_iter().map(|(at, _)| at).collect()
    }
}

type Seen<'v> = (&'v CredentialView, Option<&'v Lately>);

/// From the least to the most.
fn compare(column: Column, (a, recent_a): Seen<'_>, (b, recent_b): Seen<'_>) -> Ordering {
    let median = |times: Option<Quantiles>| times.map(|(median, _)| median);
    let recent = |of: fn(&Lately) -> Option<Quantiles>| {
        median(recent_a.and_then(of)).cmp(&median(recent_b.and_then(of)))
    };
    match column {
        Column::Name => a.name.cmp(&b.name),
        Column::State => (a.banned, a.standing.state).cmp(&(b.banned, b.standing.state)),
        Column::Error => {
            let at = |recent: Option<&Lately>| recent.and_then(|recent| Some(recent.last_error.as_ref()?.at));
            at(recent_a).cmp(&at(recent_b))
        }
        Column::Rpm => a.rpm.current.cmp(&b.rpm.current),
        Column::Tpm => a.tpm.current.cmp(&b.tpm.current),
        Column::InFlight => a.in_flight.cmp(&b.in_flight),
        Column::Latency => recent(|recent| recent.latency),
        Column::FirstToken => recent(|recent| recent.first_token),
        Column::Speed => {
            let speed = |recent: Option<&Lately>| recent.map_or(0.0, |recent| recent.tokens_per_second);
            speed(recent_a).total_cmp(&speed(recent_b))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::samples::view;
    use super::*;

    fn names(query: &str) -> Vec<String> {
        let view = view();
        let places = Query::read(Some(query), "").select(&view);
        places.into_iter().map(|at| view.credentials[at].name.clone()).collect()
    }

    #[test]
    fn an_address_is_read_as_it_was_written() {
        let query = Query {
            form: Form::Csv,
            sort: Some(Column::FirstToken),
            turned: true,
            text: "a b&c=\"ö".into(),
            only: Only::Troubled,
            still: true,
        };
        assert_eq!(Query::read(query.address().strip_prefix('?'), ""), query);
        assert_eq!(Query::default().address(), "?");
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let read = Query::read(Some("format=exe&sort=age&only=x&%ff=%&&&turned=yes"), "");
        assert_eq!(read, Query::default());
        assert_eq!(Query::read(Some(&format!("q={}", "x".repeat(500))), "").text.len(), LONGEST);
    }

    #[test]
    fn programs_get_json_and_browsers_a_page() {
        assert_eq!(Query::read(None, "application/json").form, Form::Json);
        assert_eq!(Query::read(None, "text/html,application/json").form, Form::Html);
        assert_eq!(Query::read(Some("format=html"), "application/json").form, Form::Html);
        assert_eq!(Query::read(None, "*/*").form, Form::Html);
    }

    #[test]
    fn credentials_are_found_by_name_type_and_model() {
        assert_eq!(names(""), ["main", "spare", "peer"]);
        assert_eq!(names("q=SPA"), ["spare"]);
        assert_eq!(names("q=proxy"), ["peer"]);
        assert_eq!(names("q=GPT-5").len(), 3);
        assert_eq!(names("q=nobody").len(), 0);
        assert_eq!(names("only=troubled"), ["spare"]);
        assert_eq!(names("only=available"), ["main", "peer"]);
    }

    #[test]
    fn names_go_up_and_troubles_come_first_unless_turned() {
        assert_eq!(names("sort=name"), ["main", "peer", "spare"]);
        assert_eq!(names("sort=name&turned=1"), ["spare", "peer", "main"]);
        assert_eq!(names("sort=state"), ["spare", "main", "peer"]);
        assert_eq!(names("sort=state&turned=1"), ["main", "peer", "spare"]);
    }
}
