//! The side of the process that serves: starts the other one, watches what it does, and leaves or stays.
//!
//! A thread of its own, since it waits; requests go on meanwhile. Only between closing the books and the other side's word
//! that it serves do new requests wait, for as long as it takes to copy what is remembered.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::wire::{self, receive, Estate, Message, PROTOCOL};
use super::{shared, Running};
use crate::edge::course::{Course, Line, Moved};
use crate::edge::Edge;
use crate::server::places;
use crate::supervisor;

/// For the new process to check its configuration, and to prove itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// For it to take over what is remembered; requests wait meanwhile.
const SHORT_PATIENCE: Duration = Duration::from_secs(5);
/// For a process that was told to end.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// How the new process is started.
pub struct Start<'a> {
    /// The program.
    pub binary: &'a Path,
    /// Its configuration.
    pub config: &'a Path,
}

/// What is still to be written to the other process.
enum Outgoing {
    Message(Message),
    Connection(Box<Moved>),
}

/// The way to the other process: a queue, written by a thread.
#[derive(Clone)]
struct Mail {
    queue: Sender<Outgoing>,
    waiting: Arc<AtomicUsize>,
}

impl Mail {
    fn new() -> (Self, Receiver<Outgoing>) {
        let (queue, end) = mpsc::channel();
        (Self { queue, waiting: Arc::default() }, end)
    }

    fn put(&self, out: Outgoing) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        if self.queue.send(out).is_err() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }

    /// Writes what comes, until nobody can send any more.
    fn write(&self, queue: &Receiver<Outgoing>, socket: &UnixStream) {
        for out in queue {
            let sent = match out {
                Outgoing::Message(message) => wire::send(socket, &message, &[]),
                Outgoing::Connection(moved) => {
                    let fd = moved.stream.as_raw_fd();
                    let sent = wire::send(socket, &Message::Connection(moved.prefix.to_vec()), &[fd]);
                    drop(moved);
                    sent
                }
            };
            if let Err(why) = sent {
                log::debug!("the other process does not listen: {why}");
            }
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The new process, while it has not taken over: it ends if it does not come to that.
struct Candidate {
    child: Child,
    socket: UnixStream,
    serves: bool,
}

impl Drop for Candidate {
    fn drop(&mut self) {
        if !self.serves {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Starts another process and lets it take over. `say` is told each step. An error says why this process goes on.
pub fn upgrade(running: &Arc<Running>, start: &Start, say: &dyn Fn(&str)) -> Result<(), String> {
    let Ok(_alone) = running.changing.try_lock() else {
        return Err("a reload or an upgrade is under way".into());
    };
    if running.live.edge().courses.process().is_some() {
        return Err("another process has taken over from this one".into());
    }
    let mut candidate = launch(start)?;
    say(&format!("started {} as process {}", start.binary.display(), candidate.child.id()));
    let version = hello(&mut candidate)?;
    say(&format!("its configuration is good and its routes are built: version {version}"));
    hand_sockets(running, &candidate)?;
    match hear(&mut candidate, PATIENCE)? {
        Message::Proven => say("it has the listening sockets, and has answered a request to itself"),
        other => return Err(unexpected(&other)),
    }
    let edge = running.live.edge();
    let (mail, queue) = Mail::new();
    let learned = mail.clone();
    let heir = move |learned_now| learned.put(Outgoing::Message(Message::Learned(learned_now)));
    edge.gateway.memory.bequeath(Some(Arc::new(heir)));
    if let Err(why) = hand_estate(running, &edge, &mut candidate, &mail, &queue) {
        edge.gateway.memory.bequeath(None);
        edge.gateway.pool.reopen();
        edge.courses.set(Course::Here);
        return Err(why);
    }
    take_leave(running, &edge, candidate, (mail, queue), say);
    Ok(())
}

fn launch(start: &Start) -> Result<Candidate, String> {
    let (ours, theirs) = UnixStream::pair().map_err(|why| format!("no pair of sockets: {why}"))?;
    let child = Command::new(start.binary)
        .args(["run", "--successor", "--config"])
        .arg(start.config)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn();
    let child = child.map_err(|why| format!("{} cannot be started: {why}", start.binary.display()))?;
    Ok(Candidate { child, socket: ours, serves: false })
}

fn hello(candidate: &mut Candidate) -> Result<String, String> {
    match hear(candidate, PATIENCE)? {
        Message::Hello { protocol: PROTOCOL, version } => Ok(version),
        Message::Hello { version, .. } => {
            Err(format!("version {version} cannot take over from {}: restart instead", crate::VERSION))
        }
        other => Err(unexpected(&other)),
    }
}

fn hand_sockets(running: &Running, candidate: &Candidate) -> Result<(), String> {
    let (places, sockets): (Vec<_>, Vec<_>) = running.sockets.used().into_iter().unzip();
    let fds: Vec<_> = sockets.iter().map(|socket| socket.as_raw_fd()).collect();
    let sent = wire::send(&candidate.socket, &Message::Sockets(places), &fds);
    sent.map_err(|why| format!("the sockets could not be sent: {why}"))
}

/// Closes the books and sends them. Requests wait from here to the other side's word.
fn hand_estate(
    running: &Running,
    edge: &Arc<Edge>,
    candidate: &mut Candidate,
    mail: &Mail,
    queue: &Receiver<Outgoing>,
) -> Result<(), String> {
    let unsent = |why| format!("the state could not be sent: {why}");
    for out in queue.try_iter() {
        if let Outgoing::Message(message) = out {
            wire::send(&candidate.socket, &message, &[]).map_err(unsent)?;
        }
        mail.waiting.fetch_sub(1, Ordering::SeqCst);
    }
    edge.courses.set(Course::Settling);
    let ledger = edge.gateway.pool.close(Instant::now());
    let tokens = edge.gateway.tokens().filter_map(|token| {
        let (value, left) = token.remaining()?;
        Some((token.credential.to_string(), value.to_str().ok()?.to_owned(), left))
    });
    let estate = Estate {
        epoch: ledger.epoch.map(shared).unwrap_or_default(),
        ledger,
        identities: edge.gateway.identities(),
        tokens: tokens.collect(),
        generation: running.generation.load(Ordering::SeqCst),
    };
    wire::send(&candidate.socket, &Message::Estate(Box::new(estate)), &[]).map_err(unsent)?;
    match hear(candidate, SHORT_PATIENCE)? {
        Message::Serving if running.drain.is_draining() => Err("this process has been told to stop".into()),
        Message::Serving => {
            candidate.serves = true;
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

/// The other process serves. This one stops accepting, passes on what becomes of its streams, and leaves.
fn take_leave(
    running: &Arc<Running>,
    edge: &Arc<Edge>,
    candidate: Candidate,
    (mail, queue): (Mail, Receiver<Outgoing>),
    say: &dyn Fn(&str),
) {
    let (post, notes) = (mail.clone(), mail.clone());
    edge.gateway.pool.bequeath(Arc::new(move |note| notes.put(Outgoing::Message(Message::Note(note)))));
    edge.courses
        .set(Course::Process(Line::new(move |moved| post.put(Outgoing::Connection(Box::new(moved))))));
    running.gate.send_replace(false);
    running.before.part();
    let pid = candidate.child.id();
    supervisor::hand_over(pid);
    mail.put(Outgoing::Message(Message::Main));
    say(&format!(
        "process {pid} serves; process {} drains {} requests in flight",
        std::process::id(),
        running.drain.in_flight()
    ));
    let (running, edge) = (running.clone(), edge.clone());
    std::thread::spawn(move || follow(&running, &edge, candidate, &mail, queue));
}

/// Stays until the last stream has ended, or takes the work back if the other process dies before that.
fn follow(
    running: &Arc<Running>,
    edge: &Edge,
    mut candidate: Candidate,
    mail: &Mail,
    queue: Receiver<Outgoing>,
) {
    let gone = Arc::new(AtomicBool::new(false));
    if let (Ok(reading), Ok(writing)) = (candidate.socket.try_clone(), candidate.socket.try_clone()) {
        let (gone, writer) = (gone.clone(), mail.clone());
        std::thread::spawn(move || writer.write(&queue, &writing));
        std::thread::spawn(move || {
            let _ = reading.set_read_timeout(None);
            let mut parts = false;
            while let Ok(Some((message, _))) = receive(&reading) {
                parts |= matches!(message, Message::Parting);
            }
            gone.store(!parts, Ordering::SeqCst);
        });
    }
    let is_back = || gone.load(Ordering::SeqCst);
    running.drain.leave_to_another(is_back, || running.before.is_there() || !mail.is_empty());
    let ended = candidate.child.wait().map_or_else(|why| why.to_string(), |status| status.to_string());
    log::error!("the process that had taken over is gone ({ended}); this one serves again");
    edge.gateway.memory.bequeath(None);
    edge.gateway.pool.reopen();
    edge.courses.set(Course::Here);
    running.gate.send_replace(true);
    places::write_pid(edge.gateway.settings.server.port);
    supervisor::take_back();
}

/// The next message, or why there is none.
fn hear(candidate: &mut Candidate, patience: Duration) -> Result<Message, String> {
    let _ = candidate.socket.set_read_timeout(Some(patience));
    match receive(&candidate.socket) {
        Ok(Some((Message::Unfit(why), _))) => Err(format!("the new process cannot serve: {why}")),
        Ok(Some((message, _))) => Ok(message),
        Ok(None) => Err(format!("the new process has ended ({})", ending(&mut candidate.child))),
        Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => {
            Err(format!("the new process has said nothing for {} s", patience.as_secs()))
        }
        Err(why) => Err(format!("the new process cannot be understood: {why}")),
    }
}

fn ending(child: &mut Child) -> String {
    let begun = Instant::now();
    while begun.elapsed() < LAST_PATIENCE {
        match child.try_wait() {
            Ok(Some(status)) => return status.to_string(),
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Err(why) => return why.to_string(),
        }
    }
    "its socket is closed".into()
}

fn unexpected(message: &Message) -> String {
    format!("the new process said {:?} out of turn", message.kind())
}
