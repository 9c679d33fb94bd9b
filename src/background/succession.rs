//! The beginning of a process that takes over from another: it asks itself for an answer first, with its gate closed, and
//! then listens to the process before it.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::sync::mpsc::UnboundedSender;

use crate::edge::front::Front;
use crate::handover::successor::{Arrived, Predecessor};
use crate::handover::Running;

/// The service.
pub struct Succession {
    /// Who serves until then.
    pub predecessor: Mutex<Option<Predecessor>>,
    /// This process.
    pub running: Arc<Running>,
    /// Who answers.
    pub front: Arc<Front>,
    /// Where connections go that the other process gives away.
    pub arrivals: UnboundedSender<Arrived>,
}

#[async_trait]
impl BackgroundService for Succession {
    async fn start(&self, shutdown: ShutdownWatch) {
        let predecessor = self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(predecessor) = predecessor else { return };
        if !self.front.answers("/v1/models", &shutdown).await {
            predecessor.refuse("a request to itself was not answered");
            std::process::exit(1);
        }
        let (running, arrivals) = (self.running.clone(), self.arrivals.clone());
        std::thread::spawn(move || predecessor.follow(&running, &arrivals));
    }
}
