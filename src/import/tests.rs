//! What is made of variables and files passes the checks of any configuration.

mod environment;
mod files;

use std::path::Path;

use crate::config::{self, Settings, Source};

/// The settings that a text makes with variables; no problem may be an error.
pub(super) fn checked(yaml: &str, env: &dyn Fn(&str) -> Option<String>) -> Settings {
    let source = Source { path: Path::new("imported"), text: yaml };
    let missing = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    let loaded = config::load(source, env, &missing, std::time::SystemTime::UNIX_EPOCH);
    let report = loaded.render(false);
    loaded.settings.unwrap_or_else(|| panic!("{yaml}\n{report}"))
}
