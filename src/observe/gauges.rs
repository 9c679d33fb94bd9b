//! The gauges that describe the pool, computed at the moment of a scrape.
//!
//! A collector asks for one view of the router and turns it into samples, so that a scrape is never older than
//! itself and nothing has to keep gauges up to date between scrapes. The samples are put together here and not by the
//! library's vectors, which confuse two series whose label values join to the same text; model names are free text.

use std::sync::{Arc, PoisonError, RwLock};

use once_cell::sync::Lazy;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::metrics::PREFIX;
use super::sink;
use super::view::{ClientView, CredentialView, ModelView, PeerState, PeerView, QueueView, QuotaView, View};

type Source = Arc<dyn Fn() -> View + Send + Sync>;

static SOURCE: RwLock<Option<Source>> = RwLock::new(None);

static REGISTERED: Lazy<()> = Lazy::new(|| {
    // Refused only where a collector of that name exists already, and this runs once.
    let _ = prometheus::register(Box::new(AtScrape { first: first_desc() }));
});

/// Says where the view comes from; a later call replaces the source.
pub fn watch(source: impl Fn() -> View + Send + Sync + 'static) {
    *SOURCE.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(source));
    Lazy::force(&REGISTERED);
}

struct AtScrape {
    /// The registry wants one description to know a collector by.
    first: Desc,
}

fn first_desc() -> Desc {
    let labels = vec!["version".to_owned()];
    Desc::new(format!("{PREFIX}build_info"), "The running version".into(), labels, Default::default())
        .expect("a constant name with a constant label")
}

impl Collector for AtScrape {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.first]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let source = SOURCE.read().unwrap_or_else(PoisonError::into_inner).clone();
        source.map(|source| families(&source())).unwrap_or_default()
    }
}

const OF_CREDENTIALS: [&str; 3] =
    ["credential_quota_current", "credential_quota_limit", "credential_quota_reset_seconds"];
const OF_MODELS: [&str; 3] = ["model_quota_current", "model_quota_limit", "model_quota_reset_seconds"];

fn families(view: &View) -> Vec<MetricFamily> {
    let mut families = vec![
        family("build_info", "The running version", vec![sample(&[("version", view.version)], 1.0)]),
        log_dropped(),
    ];
    if let Some(state) = &view.state {
        let up = vec![sample(&[], as_sample(state.up.into()))];
        families.push(family("shared_state_up", "1 while the shared state is asked", up));
        families.push(counter(
            "shared_state_outages_total",
            "How often the shared state was lost",
            state.outages,
        ));
    }
    if let Some(queue) = &view.queue {
        families.extend(of_queue(queue));
    }
    let own = || view.credentials.iter().filter(|credential| credential.kind != "proxy");
    let mut of_credentials = |name, help, value: fn(&CredentialView) -> Option<f64>| {
        let samples = own().filter_map(|c| Some(sample(&[("credential", &c.name)], value(c)?)));
        families.push(family(name, help, samples.collect()));
    };
    of_credentials("credential_rpm_current", "Requests in the last minute", |c| {
        Some(as_sample(c.rpm.current))
    });
    of_credentials("credential_tpm_current", "Tokens in the last minute", |c| Some(as_sample(c.tpm.current)));
    of_credentials("credential_rpm_limit", "Requests allowed a minute", |c| c.rpm.limit.map(as_sample));
    of_credentials("credential_tpm_limit", "Tokens allowed a minute", |c| c.tpm.limit.map(as_sample));
    of_credentials("credential_banned", "1 while banned", |c| Some(as_sample(c.banned.into())));
    let of_credentials =
        own().flat_map(|c| c.quotas.iter().map(|quota| (vec![("credential", &*c.name)], quota)));
    families.extend(of_quotas(OF_CREDENTIALS, &of_credentials.collect::<Vec<_>>()));
    let up = |peer: &PeerView| !matches!(peer.state, PeerState::Down | PeerState::Draining);
    let peers = view.credentials.iter().filter_map(|c| Some((&c.name, up(c.peer.as_ref()?))));
    let peers = peers.map(|(name, up)| sample(&[("credential", name)], as_sample(up.into()))).collect();
    families.push(family("peer_up", "0 while a router behind this one is down or about to leave", peers));
    let pairs = || {
        own().flat_map(|c| c.models.iter().filter(|m| m.listed).map(move |model| (c.name.as_str(), model)))
    };
    let mut of_models = |name, help, value: fn(&ModelView) -> u64| {
        let samples = pairs().map(|(credential, model)| {
            sample(&[("credential", credential), ("model", &model.model)], as_sample(value(model)))
        });
        families.push(family(name, help, samples.collect()));
    };
    of_models("model_rpm_current", "Requests in the last minute", |model| model.rpm.current);
    of_models("model_tpm_current", "Tokens in the last minute", |model| model.tpm.current);
    let of_pairs = pairs().flat_map(|(credential, model)| {
        let labels = vec![("credential", credential), ("model", &*model.model)];
        model.quotas.iter().map(move |quota| (labels.clone(), quota))
    });
    families.extend(of_quotas(OF_MODELS, &of_pairs.collect::<Vec<_>>()));
    families.extend(of_clients(&view.clients));
    families
}

/// A limit over another time than a minute, with the labels of what it limits.
type Limit<'v> = (Vec<(&'v str, &'v str)>, &'v QuotaView);

/// Use, amount and end of such limits.
fn of_quotas(names: [&str; 3], quotas: &[Limit]) -> [MetricFamily; 3] {
    let [current, limit, reset] = names;
    let family_of = |name: &str, help: &str, value: fn(&QuotaView) -> f64| {
        let samples = quotas.iter().map(|(labels, quota)| {
            let labels = [labels.as_slice(), &[("of", quota.of), ("per", &quota.per)]].concat();
            sample(&labels, value(quota))
        });
        family(name, help, samples.collect())
    };
    let anew = "Seconds until nothing counts any more of what counts now";
    [
        family_of(current, "Use of the limits over other times than a minute", |q| as_sample(q.current)),
        family_of(limit, "What these allow", |q| as_sample(q.limit)),
        family_of(reset, anew, |q| q.resets.unwrap_or_default().as_secs_f64()),
    ]
}

fn of_queue(queue: &QueueView) -> [MetricFamily; 3] {
    let waiting = queue.waiting.iter().map(|(class, count)| sample(&[("class", class)], *count as f64));
    [
        family("queue_waiting", "Requests that wait for a limit", waiting.collect()),
        counter("queue_given_up_total", "Requests that have waited in vain", queue.given_up),
        counter("queue_refused_total", "Requests that found the queue full", queue.refused),
    ]
}

/// Names of keys are those of the configuration.
fn of_clients(clients: &[ClientView]) -> [MetricFamily; 3] {
    let by = |label: &str, values: [&str; 2], counts: fn(&ClientView) -> [u64; 2]| {
        let of = |client: &ClientView| {
            let pairs = values.into_iter().zip(counts(client));
            let sample = |(value, count)| count_sample(&[("client", &client.name), (label, value)], count);
            pairs.map(sample).collect::<Vec<_>>()
        };
        clients.iter().flat_map(of).collect::<Vec<_>>()
    };
    let requests = by("outcome", ["ok", "failed"], |client| client.requests);
    let tokens = by("type", ["input", "output"], |client| client.tokens);
    let in_flight = clients.iter().map(|c| sample(&[("client", &c.name)], as_sample(c.in_flight.into())));
    [
        counters("client_requests_total", "Requests by key", requests),
        counters("client_tokens_total", "Tokens by key", tokens),
        family("client_in_flight", "Requests under way by key", in_flight.collect()),
    ]
}

/// Samples are floating point numbers; above 2^53 the last digits go.
fn as_sample(value: u64) -> f64 {
    value as f64
}

fn log_dropped() -> MetricFamily {
    counter("log_dropped_total", "Log lines lost, since nobody read them in time", sink::dropped())
}

fn counter(name: &str, help: &str, value: u64) -> MetricFamily {
    counters(name, help, vec![count_sample(&[], value)])
}

fn counters(name: &str, help: &str, samples: Vec<Metric>) -> MetricFamily {
    let mut family = family(name, help, samples);
    family.set_field_type(MetricType::COUNTER);
    family
}

fn family(name: &str, help: &str, samples: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(format!("{PREFIX}{name}"));
    family.set_help(help.to_owned());
    family.set_field_type(MetricType::GAUGE);
    family.set_metric(samples);
    family
}

fn sample(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = labelled(labels);
    metric.set_gauge(gauge);
    metric
}

fn count_sample(labels: &[(&str, &str)], value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(as_sample(value));
    let mut metric = labelled(labels);
    metric.set_counter(counter);
    metric
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::super::view::samples::{credential, view};
    use super::*;
    use prometheus::{Encoder, TextEncoder};

    fn text(view: &View) -> String {
        let mut families = families(view);
        families.retain(|family| !family.get_metric().is_empty());
        let mut out = Vec::new();
        TextEncoder::new().encode(&families, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_gauges_have_the_first_generation_names_and_labels() {
        let text = text(&view());
        for line in [
            "# TYPE auto_ai_router_credential_rpm_current gauge",
            "auto_ai_router_credential_rpm_current{credential=\"main\"} 7",
            "auto_ai_router_credential_tpm_current{credential=\"main\"} 900",
            "auto_ai_router_credential_banned{credential=\"main\"} 0",
            "auto_ai_router_credential_banned{credential=\"spare\"} 1",
            "auto_ai_router_model_rpm_current{credential=\"main\",model=\"gpt-5\"} 7",
            "auto_ai_router_model_tpm_current{credential=\"main\",model=\"gpt-5\"} 900",
            "auto_ai_router_credential_rpm_limit{credential=\"main\"} 10",
            "auto_ai_router_credential_quota_current{credential=\"main\",of=\"requests\",per=\"day\"} 12",
            "auto_ai_router_credential_quota_limit{credential=\"main\",of=\"requests\",per=\"day\"} 1500",
            "auto_ai_router_credential_quota_reset_seconds{credential=\"main\",of=\"requests\",per=\"day\"} 3600.2",
            "auto_ai_router_model_quota_current{credential=\"main\",model=\"gpt-5\",of=\"tokens\",per=\"hour\"} 900",
            "auto_ai_router_model_quota_limit{credential=\"main\",model=\"gpt-5\",of=\"tokens\",per=\"hour\"} 5000",
            "auto_ai_router_model_quota_reset_seconds{credential=\"main\",model=\"gpt-5\",of=\"tokens\",per=\"hour\"} 0",
            "auto_ai_router_build_info{version=\"1.2.3\"} 1",
            "# TYPE auto_ai_router_log_dropped_total counter",
            "# TYPE auto_ai_router_client_requests_total counter",
            "auto_ai_router_client_requests_total{client=\"team\",outcome=\"ok\"} 5",
            "auto_ai_router_client_requests_total{client=\"team\",outcome=\"failed\"} 2",
            "auto_ai_router_client_tokens_total{client=\"team\",type=\"output\"} 40",
            "auto_ai_router_client_in_flight{client=\"team\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn an_unlimited_credential_has_no_limit_series_and_a_peer_has_only_its_state() {
        let mut down = view();
        let text = text(&down);
        assert!(!text.contains("credential_tpm_limit{"));
        let told: Vec<_> = text.lines().filter(|line| line.contains("\"peer\"")).collect();
        assert_eq!(told, ["auto_ai_router_peer_up{credential=\"peer\"} 1"]);
        down.credentials[2].peer.as_mut().unwrap().state = PeerState::Down;
        assert!(self::text(&down).contains("auto_ai_router_peer_up{credential=\"peer\"} 0"));
    }

    #[test]
    fn names_that_join_to_the_same_text_stay_apart() {
        let mut view = view();
        view.credentials = vec![credential("ab"), credential("a")];
        view.credentials[0].models[0].model = "c".into();
        view.credentials[1].models[0].model = "bc".into();
        let text = text(&view);
        assert!(
            text.contains("{credential=\"ab\",model=\"c\"}")
                && text.contains("{credential=\"a\",model=\"bc\"}")
        );
    }

    #[test]
    fn names_are_escaped() {
        let mut view = view();
        view.credentials[0].name = "a\"b\\c\nd".into();
        assert!(text(&view).contains(r#"{credential="a\"b\\c\nd"}"#));
    }
}
