//! What an operator can do to a running process: let it read its configuration again, or let another one take over.
//!
//! Both are asked for by signals and by the admin listener, log what they do, and leave everything as it was when
//! something is wrong.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::config::{changes, Change, Settings};
use crate::edge::course::Course;
use crate::edge::Edge;
use crate::handover::incumbent::{self, Start};
use crate::handover::{Reach, Running};
use crate::loading::{self, Origin};
use crate::observe::metrics;
use crate::observe::view::View;
use crate::supervisor;

/// The operator's hands.
pub struct Operator {
    /// What is operated.
    pub running: Arc<Running>,
    /// Where the configuration comes from; none for the demo.
    pub origin: Option<Origin>,
    binary: Option<Binary>,
}

/// The program on disk, as it was when this process started.
struct Binary {
    path: PathBuf,
    seen: (u64, u64, i64, i64),
}

impl Binary {
    fn own() -> Option<Self> {
        let path = std::env::current_exe().ok()?;
        let seen = Self::look(&fs::metadata(&path).ok()?);
        Some(Self { path, seen })
    }

    fn look(found: &Metadata) -> (u64, u64, i64, i64) {
        (found.dev(), found.ino(), found.mtime(), found.mtime_nsec())
    }

    fn is_replaced(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|found| Self::look(&found) != self.seen)
    }
}

/// What came of a reload.
pub enum Reloaded {
    /// The configuration is in place; what differs.
    Applied(Vec<Change>),
    /// It is not taken, and nothing has changed; the report of what is wrong.
    Refused(String),
    /// It needs what this process has not bought at start, and nothing has changed: another one has to take over, with
    /// the same program.
    Outgrown,
}

impl Operator {
    /// Hands for a process that has just started.
    pub fn new(running: Arc<Running>, origin: Option<Origin>) -> Self {
        // Links stay links: that is how some let a file be replaced.
        let origin = origin.map(|origin| match origin {
            Origin::File(file) => Origin::File(std::path::absolute(&file).unwrap_or(file)),
            Origin::Environment => Origin::Environment,
        });
        Self { running, origin, binary: Binary::own() }
    }

    /// Whether the program on disk is another one than this process.
    pub fn is_replaced(&self) -> bool {
        self.binary.as_ref().is_some_and(Binary::is_replaced)
    }

    /// Reads the configuration again and puts it in place of the old one, at once for all new requests. What the two
    /// have in common goes on: counts of a name, strikes and bans of a key, connections.
    pub fn reload(&self) -> Reloaded {
        let read = match &self.origin {
            Some(origin) => loading::settings(origin, false),
            None => Err("there is no configuration to read again".into()),
        };
        if read.as_ref().is_ok_and(|(settings, _)| !self.running.reach.covers(Reach::of(settings))) {
            return Reloaded::Outgrown;
        }
        supervisor::reloading();
        let applied = read.and_then(|(settings, report)| self.apply(settings, &report));
        supervisor::reloaded();
        metrics::reloaded(applied.is_ok());
        match &applied {
            Ok(changes) if changes.is_empty() => log::info!("configuration read again: nothing has changed"),
            Ok(changes) => changes.iter().for_each(|change| match change.needs_start {
                true => {
                    log::warn!("configuration: {} takes effect at the next upgrade or start", change.text)
                }
                false => log::info!("configuration: {}", change.text),
            }),
            Err(report) => log::error!("the configuration is not taken, the old one stays:\n{report}"),
        }
        applied.map_or_else(Reloaded::Refused, Reloaded::Applied)
    }

    fn apply(&self, settings: Settings, report: &str) -> Result<Vec<Change>, String> {
        if !report.is_empty() {
            log::warn!("{}", report.trim_end());
        }
        let Ok(_alone) = self.running.changing.try_lock() else {
            return Err("another reload or an upgrade is under way".into());
        };
        let old = self.running.live.edge();
        if old.courses.process().is_some() {
            return Err("another process has taken over from this one".into());
        }
        let changes = changes(&old.gateway.settings, &settings);
        // What the page says of the file is true after a change of its comments, too.
        if !changes.is_empty() || old.gateway.settings.digest != settings.digest {
            self.replace(&old, settings);
        }
        Ok(changes)
    }

    /// One pool closes its books, the next one opens with them.
    fn replace(&self, old: &Arc<Edge>, settings: Settings) {
        self.running.drain.set_limit(settings.server.drain_timeout);
        let new = Arc::new(old.renewed(settings));
        let identities = old.gateway.identities("");
        let keeps = new.gateway.same_keys("", &identities);
        old.courses.set(Course::Settling);
        let ledger = old.gateway.pool.close(Instant::now());
        if let Some(epoch) = ledger.epoch {
            new.gateway.pool.inherit(&ledger, epoch, &keeps);
        }
        self.running.live.replace(new.clone());
        let heir = new.clone();
        old.gateway.pool.bequeath(Arc::new(move |note| {
            heir.tell(heir.gateway.pool.hear(&note, Instant::now()));
        }));
        old.courses.set(Course::Edge(new));
    }

    /// Starts the program at `binary`, by default the one that this process was started from, and lets it take over.
    /// `say` is told each step. An error says why this process goes on.
    pub fn upgrade(&self, binary: Option<&Path>, say: &dyn Fn(&str)) -> Result<(), String> {
        let Some(origin) = &self.origin else { return Err("the demo has no configuration".into()) };
        let config = origin.file();
        let own = self.binary.as_ref().map(|own| own.path.as_path());
        let Some(binary) = binary.or(own) else { return Err("it is not known where the program is".into()) };
        let say = |step: &str| {
            log::info!("upgrade: {step}");
            say(step);
        };
        let upgraded = incumbent::upgrade(&self.running, &Start { binary, config }, &say);
        if let Err(why) = &upgraded {
            log::error!("upgrade: {why}; this process goes on serving");
        }
        upgraded
    }

    /// Lets the holder of the master key ask for a reload over the main port.
    pub fn attend(self: &Arc<Self>, edge: &Edge) {
        let operator = Arc::downgrade(self);
        let reload = move || {
            let Some(operator) = operator.upgrade() else {
                return (Reloaded::Refused("the router is stopping".into()), 0);
            };
            let reloaded = operator.reload();
            (reloaded, operator.running.live.edge().gateway.roster.valid(SystemTime::now()))
        };
        let _ = edge.reload.set(Box::new(reload));
    }

    /// One line about the process.
    pub fn status(&self) -> String {
        self.line(&self.running.live.edge().busy_view())
    }

    /// How the process is: 0 is well, 1 is something to look at, 2 is that nothing can be served; and a line that says
    /// what is to be looked at, with figures behind a bar.
    pub fn health(&self) -> (u8, String) {
        let view = self.running.live.edge().busy_view();
        let banned = || view.credentials.iter().filter(|credential| credential.banned);
        let names: Vec<&str> = banned().map(|credential| credential.name.as_str()).take(5).collect();
        let mut troubles = Vec::new();
        if !view.healthy() {
            troubles.push("nothing can be served".to_owned());
        }
        if view.draining {
            troubles.push("it is stopping".into());
        }
        if !metrics::last_reload().0 {
            troubles.push("the last reload was refused".into());
        }
        if view.state.is_some_and(|state| !state.up) {
            troubles.push("the shared state is out".into());
        }
        let down = view.credentials.len() - view.banned() - view.available();
        if down > 0 {
            troubles.push(format!("routers behind it that are down: {down}"));
        }
        if !names.is_empty() {
            let more = if view.banned() > names.len() { ", …" } else { "" };
            troubles.push(format!("banned: {}{more}", names.join(", ")));
        }
        let level = match troubles.is_empty() {
            _ if !view.healthy() => 2,
            true => 0,
            false => 1,
        };
        troubles.insert(0, self.line(&view));
        let (total, in_flight) = (view.credentials.len(), self.running.drain.in_flight());
        let figures = format!("credentials_up={};;;0;{total} in_flight={in_flight}", total - view.banned());
        // A bar in a name would begin the figures.
        (level, format!("{} | {figures}", troubles.join("; ").replace('|', "/")))
    }

    fn line(&self, view: &View) -> String {
        let total = view.credentials.len();
        format!(
            "serving {}, {}/{total} credentials up, {} in flight, generation {}",
            crate::server::places::main(&self.running.live.edge().gateway.settings),
            total - view.banned(),
            self.running.drain.in_flight(),
            self.running.generation.load(Ordering::SeqCst),
        )
    }
}
