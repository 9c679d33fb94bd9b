//! The configuration: where it comes from, and what it says right now.
//!
//! A file, or, where there is none, the variables of the environment, from which a text is made that is then read as a
//! file is. Read at start, by `check`, and at each reload; the pure parts are `config` and `import`. A process with threads
//! cannot change its variables, so those that `.env` gave are looked up there again, each time.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::config::{self, Loaded, Settings, Source};
use crate::import::{dotenv, environment};

/// Variables beside the configuration.
pub const DOTENV: &str = ".env";
/// The variable that names those which `.env` has given; it is there where `.env` counts.
pub const GIVEN: &str = "AUTO_AI_ROUTER_DOTENV";
/// The configuration that a working directory may hold.
pub const HERE: &str = "./config.yaml";
const PLACES: [&str; 2] = [HERE, "/etc/auto-ai-router/config.yaml"];
/// What stands for a file's name in problems.
const NAME: &str = "environment";

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// The variables of this process.
    Environment,
}

impl Origin {
    /// Its file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Environment => None,
        }
    }

    fn read(&self, surrounding: &Surrounding) -> Result<Vec<u8>, String> {
        match self {
            Self::File(path) => std::fs::read(path).map_err(|why| format!("{}: {why}", path.display())),
            Self::Environment => match environment::read(&surrounding.lookup())? {
                Some(found) => Ok(found.yaml.into_bytes()),
                None => Err(nothing()),
            },
        }
    }

    fn name(&self) -> &Path {
        self.file().unwrap_or(Path::new(NAME))
    }
}

/// The first file that exists.
pub fn file() -> Option<&'static Path> {
    PLACES.into_iter().map(Path::new).find(|place| place.exists())
}

/// The file that was named, or the first that exists, or the environment where it names a provider; else what to say.
pub fn find(named: Option<&Path>) -> Result<Origin, String> {
    match named.or(file()) {
        Some(file) => Ok(Origin::File(file.to_owned())),
        None => environment::read(&variable)?.map(|_| Origin::Environment).ok_or_else(nothing),
    }
}

fn nothing() -> String {
    format!(
        "no configuration: neither {} exists, none was named, and no variable such as OPENAI_API_KEY or \
         {} is set.\nName a file with --config FILE, set the key of a provider, or try `auto-ai-router demo`, \
         which needs none.",
        PLACES.join(" nor "),
        environment::SERVICES,
    )
}

/// What the configuration says, with all that it names; an error where it cannot be read at all.
pub fn load(origin: &Origin) -> Result<Loaded, String> {
    let surrounding = Surrounding::now();
    let (path, bytes) = (origin.name(), origin.read(&surrounding)?);
    Ok(match std::str::from_utf8(&bytes) {
        Ok(text) => {
            let read = |path: &Path| std::fs::read_to_string(path);
            config::load(Source { path, text }, &surrounding.lookup(), &read, SystemTime::now())
        }
        Err(fault) => config::not_utf8(path, &bytes, fault.valid_up_to()),
    })
}

/// Settings that can be used, and the report of what is to be known besides; else the report of what is wrong.
pub fn settings(origin: &Origin, color: bool) -> Result<(Settings, String), String> {
    let loaded = load(origin)?;
    let report = loaded.render(color);
    match loaded.settings {
        Some(settings) => Ok((settings, report)),
        None => Err(report),
    }
}

/// Host and port of the main listener, as far as the configuration says them, and whether plain HTTP is spoken there.
pub fn listener(origin: &Origin) -> std::io::Result<(String, u16, bool)> {
    let bytes = origin.read(&Surrounding::now()).map_err(std::io::Error::other)?;
    let source = Source { path: origin.name(), text: &String::from_utf8_lossy(&bytes) };
    Ok(config::listener(source, &variable, &|path| std::fs::read_to_string(path)))
}

/// The variables, as they are now.
struct Surrounding {
    given: Vec<String>,
    dotenv: Vec<(String, String)>,
}

impl Surrounding {
    fn now() -> Self {
        let counts = std::env::var_os(GIVEN).is_some();
        let text = counts.then(|| std::fs::read_to_string(DOTENV).ok()).flatten();
        Self { given: given(), dotenv: text.map(|text| dotenv::read(&text)).unwrap_or_default() }
    }

    fn lookup(&self) -> impl Fn(&str) -> Option<String> + '_ {
        |name| {
            let own = variable(name).filter(|_| self.given.iter().all(|given| given != name));
            let last = || self.dotenv.iter().rev().find(|(known, _)| known == name);
            own.or_else(|| last().map(|(_, value)| value.clone()))
        }
    }
}

/// The names of the variables that `.env` gave when this process began.
pub fn given() -> Vec<String> {
    let names = variable(GIVEN).unwrap_or_default();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A variable of this process.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
