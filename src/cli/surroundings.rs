//! What lies around a router that nobody named a file for: `.env` in the working directory, and no key for callers.
//!
//! `.env` counts beside a `./config.yaml`, and where there is no file at all; never for a file that was named or that
//! of `/etc`, so that no directory changes a service. It sets what is not set already, and says which names these are, so
//! that a reload and a successor can read them anew. A key that nobody gave is made here and put among the variables,
//! where both find it again.

use std::path::Path;

use super::chance;
use crate::import::{dotenv, environment};
use crate::loading::{self, Origin, DOTENV, GIVEN};

/// What was found.
#[derive(Default)]
pub struct Surroundings {
    /// Sentences on it; never a value.
    pub notes: Vec<String>,
    /// The key that was made.
    pub key: Option<String>,
}

/// Finds the configuration and completes the variables of this process, which has no second thread yet.
pub fn find(named: Option<&Path>) -> Result<(Origin, Surroundings), String> {
    let mut found = Surroundings::default();
    if named.is_none() && loading::file().is_none_or(|file| file == Path::new(loading::HERE)) {
        found.notes.extend(read_dotenv()?);
    }
    let origin = loading::find(named)?;
    if origin == Origin::Environment {
        if environment::lacks_key(&loading::variable) {
            let key = chance::key()?;
            std::env::set_var(environment::MASTER_KEY, &key);
            found.key = Some(key);
        }
        let read = environment::read(&loading::variable)?;
        found.notes.extend(read.map(|read| read.notes).unwrap_or_default());
    }
    Ok((origin, found))
}

fn read_dotenv() -> Result<Option<String>, String> {
    let text = match std::fs::read_to_string(DOTENV) {
        Ok(text) => text,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(format!("{DOTENV}: {why}")),
    };
    let before = loading::given();
    let mut names: Vec<String> = Vec::new();
    for (name, value) in dotenv::read(&text) {
        // The last line of a name counts, the process's own variable before all.
        if names.contains(&name) || before.contains(&name) || std::env::var_os(&name).is_none() {
            std::env::set_var(&name, value);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    // A successor has the variables of the process before it, those that have left `.env` included.
    before.iter().filter(|name| !names.contains(name)).for_each(|name| std::env::remove_var(name));
    std::env::set_var(GIVEN, names.join(","));
    Ok((!names.is_empty()).then(|| format!("{DOTENV} gives {}", names.join(", "))))
}
