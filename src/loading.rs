//! The configuration file: which one it is, and what it says right now.
//!
//! Read at start, by `check`, and at each reload; the pure part is `config`.

use std::path::{Path, PathBuf};

use crate::config::{self, Loaded, Settings, Source};

const PLACES: [&str; 2] = ["./config.yaml", "/etc/auto-ai-router/config.yaml"];

/// The file that was named, or the first that exists; else what to say.
pub fn find(named: Option<&Path>) -> Result<PathBuf, String> {
    let found = named.or_else(|| PLACES.into_iter().map(Path::new).find(|place| place.exists()));
    found.map(Path::to_owned).ok_or_else(|| {
        format!(
            "no configuration: neither {} exists, and none was named.\nName one with --config FILE, or try \
             `auto-ai-router demo`, which needs none.",
            PLACES.join(" nor ")
        )
    })
}

/// What the file says, with all that it names; an error where it cannot be read at all.
pub fn load(path: &Path) -> Result<Loaded, String> {
    let bytes = std::fs::read(path).map_err(|why| format!("{}: {why}", path.display()))?;
    Ok(match std::str::from_utf8(&bytes) {
        Ok(text) => config::load(Source { path, text }, &environment, &|path| std::fs::read_to_string(path)),
        Err(fault) => config::not_utf8(path, &bytes, fault.valid_up_to()),
    })
}

/// Settings that can be used, and the report of what is to be known besides; else the report of what is wrong.
pub fn settings(path: &Path, color: bool) -> Result<(Settings, String), String> {
    let loaded = load(path)?;
    let report = loaded.render(color);
    match loaded.settings {
        Some(settings) => Ok((settings, report)),
        None => Err(report),
    }
}

/// Host and port of the main listener, as far as the file says them, and whether plain HTTP is spoken there.
pub fn listener(path: &Path) -> std::io::Result<(String, u16, bool)> {
    let bytes = std::fs::read(path)?;
    let source = Source { path, text: &String::from_utf8_lossy(&bytes) };
    Ok(config::listener(source, &environment, &|path| std::fs::read_to_string(path)))
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
