//! Ids that upstreams gave (files, batches, stored responses, conversations), each pinned to its credential, and the
//! small file that keeps them over a restart.
//!
//! Answers are not changed for it: the id that the client holds is the upstream's own. The file is a line a pin,
//! appended by a thread of its own, so that no request waits for a disk; without a place to write, pins last as long
//! as the process.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, Sender};
use std::sync::{Mutex, PoisonError};

use crate::routing::pins::Pins;

/// The pins of this process.
pub struct Pinboard {
    pins: Mutex<Pins>,
    lines: Option<Sender<String>>,
}

impl Pinboard {
    /// Pins that last as long as the process.
    pub fn in_memory() -> Self {
        Self { pins: Mutex::new(Pins::default()), lines: None }
    }

    /// What `path` holds, and a thread that adds to it. An unreadable file starts empty, with a warning.
    pub fn open(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let pins = Pins::from_lines(&text);
        // Rewritten at start, so that it holds each pin once.
        let written =
            fs::write(path, pins.to_lines()).and_then(|()| OpenOptions::new().append(true).open(path));
        match written {
            Ok(file) => Self { pins: Mutex::new(pins), lines: writer(file, path.to_owned()) },
            Err(why) => {
                log::warn!("{}: ids will be forgotten at a restart: {why}", path.display());
                Self { pins: Mutex::new(pins), lines: None }
            }
        }
    }

    /// Pins `ids` to the credential called `name`.
    pub fn learn<'i>(&self, ids: impl IntoIterator<Item = &'i String>, name: &str) {
        for id in ids {
            let new = self.pins.lock().unwrap_or_else(PoisonError::into_inner).learn(id, name);
            if let (true, Some(lines)) = (new, &self.lines) {
                let _ = lines.send(Pins::line(id, name));
            }
        }
    }

    /// All pins, by the name of the credential that they belong to.
    pub fn by_owner(&self) -> BTreeMap<String, Vec<String>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner).by_owner()
    }

    /// The names of the credentials that `ids` belong to, each once.
    pub fn owners<'i>(&self, ids: impl IntoIterator<Item = &'i str>) -> Vec<String> {
        let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let mut owners: Vec<String> = Vec::new();
        for owner in ids.into_iter().filter_map(|id| pins.lookup(id)) {
            if !owners.iter().any(|known| known == owner) {
                owners.push(owner.to_owned());
            }
        }
        owners
    }
}

fn writer(file: File, path: PathBuf) -> Option<Sender<String>> {
    let (lines, waiting) = channel::<String>();
    let write = move || {
        let mut file = BufWriter::new(file);
        while let Ok(line) = waiting.recv() {
            let more = waiting.try_iter();
            let written =
                std::iter::once(line).chain(more).try_for_each(|line| file.write_all(line.as_bytes()));
            if let Err(why) = written.and_then(|()| file.flush()) {
                log::warn!("{}: ids are not kept: {why}", path.display());
            }
        }
    };
    std::thread::Builder::new().name("pins".into()).spawn(write).ok().map(|_| lines)
}
