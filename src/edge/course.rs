//! Where the requests of an edge are admitted: here, at the edge that a reload has put in its place, or in the process
//! that has taken over.
//!
//! An edge is one configuration at work. A request keeps the edge that it began with; when that one's pool is closed it
//! goes on with the next, with its body and nothing else, as if it had just come.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use pingora::protocols::l4::stream::Stream as SocketStream;
use tokio::sync::watch;

use super::drain::Connected;
use super::Edge;

/// The edge that new requests begin with.
pub struct Live(ArcSwap<Edge>);

impl Live {
    /// The first one.
    pub fn new(edge: Arc<Edge>) -> Arc<Self> {
        Arc::new(Self(ArcSwap::new(edge)))
    }

    /// The edge as it is now.
    pub fn edge(&self) -> Arc<Edge> {
        self.0.load_full()
    }

    /// Puts another one in its place.
    pub fn replace(&self, edge: Arc<Edge>) {
        self.0.store(edge);
    }
}

/// Where requests are admitted.
#[derive(Clone)]
pub enum Course {
    /// Here.
    Here,
    /// That is being settled; it takes milliseconds.
    Settling,
    /// By the edge of a newer configuration.
    Edge(Arc<Edge>),
    /// By another process.
    Process(Line),
}

impl Course {
    /// The newer edge, if requests go to one.
    pub fn edge(self) -> Option<Arc<Edge>> {
        match self {
            Self::Edge(next) => Some(next),
            Self::Here | Self::Settling | Self::Process(_) => None,
        }
    }
}

/// Says where, and lets requests wait until it is settled.
pub struct Courses(watch::Sender<Course>);

impl Default for Courses {
    fn default() -> Self {
        Self(watch::Sender::new(Course::Here))
    }
}

impl Courses {
    /// From now on.
    pub fn set(&self, course: Course) {
        self.0.send_replace(course);
    }

    /// Where requests go now, once that is settled.
    pub async fn settled(&self) -> Course {
        let mut courses = self.0.subscribe();
        let settled = courses.wait_for(|course| !matches!(course, Course::Settling)).await;
        settled.map_or(Course::Here, |course| course.clone())
    }

    /// Resolves when this is no longer the newest configuration.
    pub async fn changed(&self) {
        let mut courses = self.0.subscribe();
        if courses.wait_for(|course| matches!(course, Course::Edge(_))).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether requests are admitted here.
    pub fn is_here(&self) -> bool {
        matches!(*self.0.borrow(), Course::Here)
    }

    /// The other process, if requests go there now.
    pub fn process(&self) -> Option<Line> {
        match &*self.0.borrow() {
            Course::Process(line) => Some(line.clone()),
            _ => None,
        }
    }

    /// Resolves when requests go to another process, after the last reload if there were any.
    pub async fn leaves(&self) -> Line {
        let mut at = self.0.subscribe();
        loop {
            let moved = at.wait_for(|course| matches!(course, Course::Edge(_) | Course::Process(_))).await;
            let course = moved.map(|course| course.clone());
            match course {
                Ok(Course::Process(line)) => return line,
                Ok(Course::Edge(next)) => at = next.courses.0.subscribe(),
                _ => return std::future::pending().await,
            }
        }
    }
}

/// A client's connection between two requests, on its way to another process.
pub struct Moved {
    /// The connection.
    pub stream: SocketStream,
    /// Who it is from; none where it is no client's.
    pub caller: Option<SocketAddr>,
    /// What has been read of the next request.
    pub prefix: Bytes,
    /// Until it has gone, this process has it open.
    pub open: Option<Connected>,
}

/// The way to the process that has taken over.
#[derive(Clone)]
pub struct Line(Arc<dyn Fn(Moved) + Send + Sync>);

impl Line {
    /// A line by which `send` sends connections. One that cannot be sent is closed.
    pub fn new(send: impl Fn(Moved) + Send + Sync + 'static) -> Self {
        Self(Arc::new(send))
    }

    /// Gives a connection away.
    pub fn give(&self, moved: Moved) {
        (self.0)(moved);
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}
