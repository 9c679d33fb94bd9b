//! Configurations: any text is settings or a list of problems with places in it, and no problem shows a secret.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use auto_ai_router::config::{self, Severity, Source};

pub const WORDS: &[&str] = &[
    "server:",
    "credentials:",
    "models:",
    "fail2ban:",
    "listen: ",
    "master_key: ",
    "- name: ",
    "api_key: ",
    "base_url: ",
    "type: ",
    "openai",
    "vertex",
    "os.environ/KEY",
    "file:/x",
    "rpm: ",
    "tpm: -1",
    "30s",
    "1h",
    "64MiB",
    "permanent",
    "\n",
    "\n  ",
    "  - ",
    "&a ",
    "*a",
    "<<: *a",
    "!!str ",
    "? ",
    ": ",
    "|\n",
    ">-\n",
    "\"",
    "'",
    "{",
    "}",
    "[",
    "]",
    "#",
    "---\n",
    "\t",
    "\u{feff}",
    "\u{85}",
];

/// The value of every variable.
const SECRET: &str = "zq7-Canary-Secret-Of-The-Environment";

pub fn seeds() -> Vec<Vec<u8>> {
    let conf = super::read_all(&super::root().join("conf"), |path| {
        path.extension().is_some_and(|end| end == "yaml")
    });
    let sections = conf.iter().flat_map(|text| {
        let text = String::from_utf8_lossy(text).into_owned();
        let section = |part: &str| format!("{}{part}", config::SMALLEST).into_bytes();
        text.split("\n\n").map(section).collect::<Vec<_>>()
    });
    let odd = [
        "",
        "a: [1, 2\n",
        "server: &a {master_key: *a}\n",
        "server:\n\tport: 1\n",
        "? [a]\n: {b: c}\n",
        "server: !!binary x\n",
        "credentials: [{name: a, api_key: \"os.environ/KEY\", base_url: https://a, rpm: 1e3}]\n",
    ];
    let odd = odd.iter().map(|text| text.as_bytes().to_vec());
    odd.chain([config::SMALLEST.as_bytes().to_vec()]).chain(sections).collect()
}

pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let source = Source { path: Path::new("config.yaml"), text: &text };
    let nothing = |_: &Path| Err(io::ErrorKind::NotFound.into());
    let loaded = config::load(source, &|_| Some(SECRET.to_owned()), &nothing, SystemTime::UNIX_EPOCH);
    let refused = loaded.problems.iter().any(|problem| problem.severity == Severity::Error);
    assert_eq!(loaded.settings.is_none(), refused, "refused with a reason, or taken");
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
    for problem in &loaded.problems {
        let placed = (1..=lines + 1).contains(&problem.line) && problem.column >= 1;
        // A warning may be about what is not there.
        assert!(placed || problem.line == 0 && problem.severity == Severity::Warning, "{problem:?}");
    }
    let told = loaded.render(true);
    assert!(!told.contains(SECRET) && !format!("{loaded:?}").contains(SECRET), "{told}");
}
