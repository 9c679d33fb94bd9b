//! The beginning of a process that takes over from another: it asks itself for an answer first, with its gate closed, and
//! then listens to the process before it.

use std::sync::{Arc, Mutex, PoisonError};

use pingora::server::ShutdownWatch;
use tokio::sync::mpsc::UnboundedSender;

use crate::edge::front::Front;
use crate::handover::successor::{Arrived, Predecessor};
use crate::handover::Running;

/// Who takes over from whom.
pub struct Succession {
    /// Who serves until then.
    pub predecessor: Mutex<Option<Predecessor>>,
    /// Who answers.
    pub front: Arc<Front>,
    /// Where connections go that the other process gives away.
    pub arrivals: UnboundedSender<Arrived>,
}

impl Succession {
    pub(super) async fn begin(&self, running: &Arc<Running>, shutdown: &ShutdownWatch) {
        let predecessor = self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(predecessor) = predecessor else { return };
        if !self.front.answers("/v1/models", shutdown).await {
            predecessor.refuse("a request to itself was not answered");
            std::process::exit(1);
        }
        let (running, arrivals) = (running.clone(), self.arrivals.clone());
        std::thread::spawn(move || predecessor.follow(&running, &arrivals));
    }
}
