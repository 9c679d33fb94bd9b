//! `monitoring.otlp`: a collector that can be reached, by a program that can speak to it.
//!
//! The address is the base that `OTEL_EXPORTER_OTLP_ENDPOINT` means, so that one value serves both: the path of the
//! signal comes behind it. Source: OpenTelemetry, "OTLP Exporter Configuration", endpoint URLs for OTLP/HTTP.

use url::Url;

use super::Check;
use crate::config::file;
use crate::config::problem::Fault;
use crate::config::settings::Otlp;

const PATH: &str = "monitoring.otlp.endpoint";
const SIGNAL: &str = "/v1/traces";

impl Check<'_, '_> {
    pub(super) fn otlp(&mut self, file: file::Otlp) -> Option<Otlp> {
        let Some(text) = file.endpoint.as_deref() else {
            if ["headers", "sample_percentage", "service_name"]
                .iter()
                .any(|key| self.places.has(&format!("monitoring.otlp.{key}")))
            {
                let fault = Fault::new("without an `endpoint`, no trace leaves");
                self.warn("monitoring.otlp", fault.help("name the collector, or remove `otlp`"));
            }
            return None;
        };
        if !cfg!(feature = "otlp") {
            let fault = Fault::new("this program was built without OTLP, so no trace can leave");
            self.error(
                PATH,
                fault.help("build it with `cargo build --release --features otlp`, or remove `otlp`"),
            );
        }
        let fits = |url: &Url| {
            let open = url.username().is_empty() && url.password().is_none();
            let bare = url.query().is_none() && url.fragment().is_none() && open;
            bare && matches!(url.scheme(), "http" | "https")
                && url.host_str().is_some_and(|host| !host.is_empty())
        };
        let Some(mut endpoint) = Url::parse(text.trim()).ok().filter(fits) else {
            let fault = Fault::new("`endpoint` is no address of a collector");
            self.error(PATH, fault.help("write `http://host:4318`, or `https://`; keys go into `headers`"));
            return None;
        };
        let base = endpoint.path().trim_end_matches('/');
        let base = base.strip_suffix(SIGNAL).unwrap_or(base).to_owned();
        endpoint.set_path(&format!("{base}{SIGNAL}"));
        if endpoint.port() == Some(4317) {
            let fault = Fault::new("4317 is the port of OTLP over gRPC, and this is OTLP over HTTP");
            self.warn(PATH, fault.help("collectors listen for it on port 4318"));
        }
        Some(Otlp {
            endpoint,
            headers: self.headers("monitoring.otlp.headers", file.headers),
            sample_percentage: file.sample_percentage,
            service_name: file.service_name,
        })
    }
}
