//! The metrics and the words of OpenTelemetry's conventions for GenAI, so that dashboards made for them fit.
//!
//! Four histograms of answers that were whole, as seen from here: what an upstream took, from when it was asked on. Their
//! labels are the operation and the provider alone, which are constants: models are callers' words, and what of them is
//! configured has our own metrics. Tokens that we have estimated are left out, as the conventions want it; so are routers
//! behind this one, which count for themselves.
//! Source: open-telemetry/semantic-conventions-genai, docs/gen-ai/gen-ai-metrics.md (names, buckets, well-known values);
//! OpenTelemetry, "Prometheus and OpenMetrics compatibility" (dots become `_`, units are suffixes).

use once_cell::sync::Lazy;
use prometheus::{Histogram, HistogramOpts, HistogramVec};

use super::metrics::{registered, VALID};
use super::outcome::Outcome;

const TOKENS: &[f64] = &[
    1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0,
    16777216.0, 67108864.0,
];
const DURATION: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST_TOKEN: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const OUTPUT_TOKEN: &[f64] = &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];

static TABLE: Lazy<Table> = Lazy::new(Table::registered);

struct Table {
    tokens: HistogramVec,
    duration: HistogramVec,
    first_token: HistogramVec,
    output_token: HistogramVec,
}

impl Table {
    fn registered() -> Self {
        let seconds = |name, help, buckets| histograms(name, help, buckets, &[]);
        Self {
            tokens: histograms("client_token_usage", "Tokens of an answer", TOKENS, &["gen_ai_token_type"]),
            duration: seconds("server_request_duration_seconds", "To the end of the answer", DURATION),
            first_token: seconds("server_time_to_first_token_seconds", "To the first output", FIRST_TOKEN),
            output_token: seconds(
                "server_time_per_output_token_seconds",
                "For each output token after the first",
                OUTPUT_TOKEN,
            ),
        }
    }
}

fn histograms(name: &str, help: &str, buckets: &[f64], more: &[&str]) -> HistogramVec {
    let options = HistogramOpts::new(format!("gen_ai_{name}"), help).buckets(buckets.to_vec());
    let labels = [&["gen_ai_operation_name", "gen_ai_provider_name"][..], more].concat();
    registered(HistogramVec::new(options, &labels).expect(VALID))
}

/// The handles of one operation at one provider.
pub struct Meters {
    tokens: [Histogram; 2],
    duration: Histogram,
    first_token: Histogram,
    output_token: Histogram,
}

impl Meters {
    /// Of an endpoint that has a well-known name, at a provider that is named as in the configuration.
    pub fn of(endpoint: &str, kind: &'static str) -> Option<Self> {
        let labels = [operation(endpoint)?, provider(kind)];
        Some(Self {
            tokens: ["input", "output"]
                .map(|kind| TABLE.tokens.with_label_values(&[labels[0], labels[1], kind])),
            duration: TABLE.duration.with_label_values(&labels),
            first_token: TABLE.first_token.with_label_values(&labels),
            output_token: TABLE.output_token.with_label_values(&labels),
        })
    }

    /// Counts one answer.
    pub fn record(&self, outcome: &Outcome) {
        let asked = outcome.attempts.last().map(|attempt| attempt.begun).unwrap_or_default();
        if !outcome.succeeded() {
            return;
        }
        self.duration.observe(outcome.total.saturating_sub(asked).as_secs_f64());
        let usage = outcome.usage.filter(|usage| !usage.estimated);
        for (meter, count) in self.tokens.iter().zip(usage.iter().flat_map(|u| [u.prompt, u.completion])) {
            meter.observe(count as f64);
        }
        let Some(first) = outcome.first_token.filter(|_| outcome.stream) else { return };
        self.first_token.observe(first.saturating_sub(asked).as_secs_f64());
        if let Some(more) = usage.map(|usage| usage.completion.saturating_sub(1)).filter(|more| *more > 0) {
            self.output_token.observe(outcome.total.saturating_sub(first).as_secs_f64() / more as f64);
        }
    }
}

/// The well-known name of what an endpoint does, if it has one.
pub fn operation(endpoint: &str) -> Option<&'static str> {
    match endpoint {
        "/v1/chat/completions" | "/v1/responses" | "/v1/messages" => Some("chat"),
        "/v1/completions" => Some("text_completion"),
        "/v1/embeddings" => Some("embeddings"),
        _ if endpoint.ends_with("enerateContent") => Some("generate_content"),
        _ if endpoint.ends_with("mbedContent") || endpoint.ends_with("mbedContents") => Some("embeddings"),
        _ => None,
    }
}

/// The well-known name of a provider; our own where there is none.
pub fn provider(kind: &'static str) -> &'static str {
    match kind {
        "azure" => "azure.ai.openai",
        "vertex-ai" => "gcp.vertex_ai",
        "gemini" => "gcp.gemini",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        kind => kind,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::observe::metrics::encode;
    use crate::observe::outcome::{Ended, TokenCount};

    fn streamed(total: u64, first: u64, estimated: bool) -> Outcome {
        let mut outcome = Outcome::begun("r".into(), http::Method::POST, "e", SystemTime::UNIX_EPOCH);
        (outcome.status, outcome.ended, outcome.stream) = (200, Ended::Complete, true);
        (outcome.total, outcome.first_token) = (Duration::from_secs(total), Some(Duration::from_secs(first)));
        outcome.usage = Some(TokenCount { prompt: 60, completion: 11, estimated, ..TokenCount::default() });
        outcome
    }

    #[test]
    fn a_whole_answer_is_counted_by_operation_and_provider() {
        let meters = Meters::of("/v1beta/models/{id}:streamGenerateContent", "vertex-ai").unwrap();
        meters.record(&streamed(7, 2, false));
        meters.record(&streamed(7, 2, true));
        meters.record(&Outcome { ended: Ended::Truncated, ..streamed(7, 2, false) });
        let text = String::from_utf8(encode().1).unwrap();
        let of = "{gen_ai_operation_name=\"generate_content\",gen_ai_provider_name=\"gcp.vertex_ai\"";
        for line in [
            format!("gen_ai_server_request_duration_seconds_sum{of}}} 14"),
            format!("gen_ai_server_time_to_first_token_seconds_sum{of}}} 4"),
            format!("gen_ai_server_time_per_output_token_seconds_sum{of}}} 0.5"),
            format!("gen_ai_client_token_usage_sum{of},gen_ai_token_type=\"input\"}} 60"),
            format!("gen_ai_client_token_usage_bucket{of},gen_ai_token_type=\"output\",le=\"16\"}} 1"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn what_has_no_name_in_the_conventions_is_not_counted() {
        assert!(Meters::of("/v1/files/{id}", "openai").is_none());
        assert_eq!(["azure", "gemini", "groq"].map(provider), ["azure.ai.openai", "gcp.gemini", "groq"]);
    }
}
