//! Keeps what the pool remembers in a small file, so that a restart does not double a minute's quota or free a banned
//! key.
//!
//! Written every two seconds while something changes, and once more when the process stops, by way of a second file that
//! takes the first one's place: a crash leaves the last whole one. No request waits for it. Windows are counted by the
//! system's wall clock from one process to the next; should that have gone backwards, no time has passed. What was in
//! flight is not kept, but its reservations are: too much is counted for a minute rather than too little. The file has no
//! secret: it tells whether a key is still the same by a salted digest.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pingora::server::ShutdownWatch;
use serde::{Deserialize, Serialize};

use crate::clients;
use crate::edge::random::Random;
use crate::gateway::Gateway;
use crate::routing::Ledger;

const EVERY: Duration = Duration::from_secs(2);
/// The version of the file. Another one is not read.
const VERSION: u32 = 2;

/// The file.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// When the pool's clock began, in milliseconds of the Unix epoch, and how old it was then.
    epoch: u64,
    age: u64,
    salt: String,
    /// What the credentials' keys are, by their names.
    identities: HashMap<String, String>,
    ledger: Ledger,
    /// What the clients' accounts remember; their clock has an epoch of its own.
    #[serde(default)]
    clients: Option<Clients>,
}

#[derive(Serialize, Deserialize)]
struct Clients {
    epoch: u64,
    ledger: clients::Ledger,
}

/// Where it is kept; nowhere where there is no place for it.
pub struct Keeping {
    path: Option<PathBuf>,
    salt: String,
    /// What was written last.
    written: Mutex<Vec<u8>>,
}

impl Keeping {
    /// Keeps at `path`.
    pub fn at(path: Option<PathBuf>) -> Self {
        let salt = format!("{:016x}{:016x}", Random::next(), Random::next());
        Self { path, salt, written: Mutex::default() }
    }

    /// Lets a gateway go on with what an earlier process has kept.
    pub fn restore(&self, gateway: &Gateway) {
        let Some(path) = &self.path else { return };
        match read(path) {
            Ok(Some(kept)) => resume(gateway, &kept),
            Ok(None) => {}
            Err(why) => log::warn!("{}: limits and bans begin anew: {why}", path.display()),
        }
    }

    /// Writes what has changed since it was written last.
    pub fn keep(&self, gateway: &Gateway) {
        let Some(path) = &self.path else { return };
        let now = Instant::now();
        let ledger = gateway.pool.ledger(now).at_rest();
        let Some(epoch) = ledger.epoch else { return };
        let age = now.saturating_duration_since(epoch);
        let clients = gateway.roster.ledger(&self.salt, now).at_rest();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(entries) = serde_json::to_vec(&(ledger.entries(), clients.entries())) else { return };
        if *written == entries {
            return;
        }
        let kept = Kept {
            version: VERSION,
            epoch: unix(SystemTime::now()).saturating_sub(millis(age)),
            age: millis(age),
            salt: self.salt.clone(),
            identities: gateway.identities(&self.salt),
            ledger,
            clients: Some(Clients {
                epoch: unix(SystemTime::now()).saturating_sub(millis(clients.age)),
                ledger: clients,
            }),
        };
        match serde_json::to_vec(&kept).map_err(io::Error::from).and_then(|text| write(path, &text)) {
            Ok(()) => *written = entries,
            Err(why) => log::debug!("{}: limits and bans are not kept: {why}", path.display()),
        }
    }

    /// Keeps what `gateway` remembers until the shutdown, as long as it `serves`.
    pub(super) async fn run(&self, gateway: &Gateway, serves: impl Fn() -> bool, shutdown: ShutdownWatch) {
        super::every("keeping", EVERY, shutdown, || async {
            if serves() {
                self.keep(gateway);
            }
            EVERY
        })
        .await;
    }
}

fn read(path: &Path) -> Result<Option<Kept>, String> {
    let text = match fs::read(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|why| why.to_string())?,
    };
    let kept: Kept = serde_json::from_slice(&text).map_err(|why| why.to_string())?;
    match kept.version {
        VERSION => Ok(Some(kept)),
        version => Err(format!("it was written by another version ({version})")),
    }
}

fn resume(gateway: &Gateway, kept: &Kept) {
    // At least as old as it was: a wall clock that has gone backwards makes nothing younger.
    let age = unix(SystemTime::now()).saturating_sub(kept.epoch).max(kept.age);
    if let Some(epoch) = Instant::now().checked_sub(Duration::from_millis(age)) {
        let keeps = gateway.same_keys(&kept.salt, &kept.identities);
        gateway.pool.inherit(&kept.ledger, epoch, &keeps);
    }
    let Some(clients) = &kept.clients else { return };
    let age = unix(SystemTime::now()).saturating_sub(clients.epoch).max(millis(clients.ledger.age));
    if let Some(epoch) = Instant::now().checked_sub(Duration::from_millis(age)) {
        gateway.roster.inherit(&clients.ledger, &kept.salt, epoch);
    }
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut options = File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text)?;
    file.sync_data()?;
    fs::rename(&beside, path)
}

fn unix(at: SystemTime) -> u64 {
    millis(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
