//! Whole files in, settings or problems out.

mod broken;
mod client_keys;
mod entrances;
mod examples;
mod naming;
#[cfg(feature = "otlp")]
mod otlp;
mod secrets;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;

/// Files and variables that a test pretends to have.
#[derive(Default)]
struct World {
    files: HashMap<&'static str, String>,
    variables: HashMap<&'static str, &'static str>,
}

impl World {
    fn file(mut self, path: &'static str, text: &str) -> Self {
        self.files.insert(path, text.to_owned());
        self
    }

    fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.insert(name, value);
        self
    }

    fn load(&self, text: &str) -> Loaded {
        let env = |name: &str| self.variables.get(name).map(|value| (*value).to_owned());
        let read = |path: &Path| {
            let found = path.to_str().and_then(|path| self.files.get(path));
            found.cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        // Before 2027 and after 2020.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        load(Source { path: Path::new("config.yaml"), text }, &env, &read, now)
    }
}

/// The settings of a text that has no errors.
fn settings(text: &str) -> Settings {
    let loaded = World::default().load(text);
    let rendered = loaded.render(false);
    loaded.settings.unwrap_or_else(|| panic!("{rendered}"))
}

/// The problems as `line:column message` lines; the warning about the open address is left out.
fn lines(loaded: &Loaded) -> Vec<String> {
    let told = loaded.problems.iter().filter(|problem| problem.path != "server.host");
    told.map(|problem| format!("{}:{} {}", problem.line, problem.column, problem.message)).collect()
}

/// A server and a credential that nothing is wrong with, for tests of the rest.
const GOOD: &str = "\
server: {master_key: 0123456789abcdef, host: 127.0.0.1}
credentials:
  - {name: a, api_key: key-of-a, base_url: https://api.openai.com}
";
