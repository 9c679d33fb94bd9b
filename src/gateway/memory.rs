//! What the router has learned from answers and must not forget when its configuration or its process changes: which
//! credential owns an id, and the thought signatures of tool calls.
//!
//! One memory lasts from the start of a process to its end, over all reloads. When another process takes over, what is
//! known goes there, and from then on what is learned from streams that are still open.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::dialect::signatures::Signatures;
use crate::edge::pins::Pinboard;

/// Something learned.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Learned {
    /// Ids, and the name of the credential that they belong to.
    Pins(Vec<String>, String),
    /// Tool calls, and the thought signatures that came with them.
    Signatures(Vec<(String, String)>),
}

/// Who is told what is learned from now on.
pub type Heir = Arc<dyn Fn(Learned) + Send + Sync>;

/// What is known.
pub struct Memory {
    pins: Pinboard,
    signatures: Mutex<Signatures>,
    heir: Mutex<Option<Heir>>,
}

impl Memory {
    /// What an earlier run has left.
    pub fn new(pins: Pinboard) -> Arc<Self> {
        Arc::new(Self { pins, signatures: Mutex::default(), heir: Mutex::default() })
    }

    /// Learns something.
    pub fn learn(&self, learned: Learned) {
        match &learned {
            Learned::Pins(ids, credential) => self.pins.learn(ids, credential),
            Learned::Signatures(signatures) => {
                let mut known = self.signatures.lock().unwrap_or_else(PoisonError::into_inner);
                signatures.iter().for_each(|(id, signature)| known.learn(id, signature));
            }
        }
        let heir = self.heir.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(heir) = heir {
            heir(learned);
        }
    }

    /// Pins `ids` to the credential called `name`.
    pub fn pin(&self, ids: &[String], name: &str) {
        if !ids.is_empty() {
            self.learn(Learned::Pins(ids.to_vec(), name.to_owned()));
        }
    }

    /// The names of the credentials that `ids` belong to, each once.
    pub fn owners<'i>(&self, ids: impl IntoIterator<Item = &'i str>) -> Vec<String> {
        self.pins.owners(ids)
    }

    /// The thought signature of an earlier tool call.
    pub fn signature(&self, call: &str) -> Option<String> {
        self.signatures.lock().unwrap_or_else(PoisonError::into_inner).get(call)
    }

    /// Tells `heir` all that is known, and from now on all that is learned; nobody any more if it is none.
    pub fn bequeath(&self, heir: Option<Heir>) {
        *self.heir.lock().unwrap_or_else(PoisonError::into_inner) = heir.clone();
        let Some(heir) = heir else { return };
        self.pins.by_owner().into_iter().for_each(|(owner, ids)| heir(Learned::Pins(ids, owner)));
        let signatures = self.signatures.lock().unwrap_or_else(PoisonError::into_inner).all();
        heir(Learned::Signatures(signatures));
    }
}
