//! The side of the process that serves: starts the other one, watches what it does, and leaves or stays.
//!
//! A thread of its own, since it waits; requests go on meanwhile. Only between closing the books and the other side's word
//! that it serves do new requests wait, for as long as it takes to copy what is remembered.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{kill_process, Pid, Signal};

use super::wire::{self, receive, Estate, Message, PROTOCOL};
use super::{shared, Running};
use crate::clients;
use crate::edge::course::{Course, Line, Moved};
use crate::edge::Edge;
use crate::server::places;
use crate::supervisor;

/// For the new process to check its configuration, and to prove itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// For it to take over what is remembered; requests wait meanwhile.
const SHORT_PATIENCE: Duration = Duration::from_secs(5);

/// How the new process is started.
pub struct Start<'a> {
    /// The program.
    pub binary: &'a Path,
    /// The file of its configuration; none where that is the environment.
    pub config: Option<&'a Path>,
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
                    let message = Message::Connection { caller: moved.caller, prefix: moved.prefix.to_vec() };
                    let sent = wire::send(socket, &message, &[fd]);
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
    /// Who has started it, and waits for its end.
    starter: Child,
    pid: Option<Pid>,
    socket: UnixStream,
    serves: bool,
}

impl Candidate {
    fn number(&self) -> u32 {
        self.pid.map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs())
    }

    /// Ends its starter, so that the service manager becomes its parent.
    fn set_free(&mut self) {
        let _ = self.starter.kill();
        let _ = self.starter.wait();
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        if self.serves {
            return;
        }
        // As long as its starter is there, its number is its own; that one ends with it.
        if let (Ok(None), Some(pid)) = (self.starter.try_wait(), self.pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.starter.wait();
    }
}

/// Starts another process and lets it take over. `say` is told each step. An error says why this process goes on.
pub fn upgrade(running: &Arc<Running>, start: &Start, say: &dyn Fn(&str)) -> Result<(), String> {
    let Ok(_alone) = running.changing.try_lock() else {
        return Err("a reload or an upgrade is under way".into());
    };
    may_leave(running)?;
    let (mut candidate, early) = launch(start)?;
    say(&format!("started {} as process {}", start.binary.display(), candidate.number()));
    let version = match early {
        Some(version) => version,
        None => hello(hear(&candidate.socket, PATIENCE)?)?,
    };
    say(&format!("its configuration is good and its routes are built: version {version}"));
    hand_sockets(running, &candidate)?;
    match hear(&candidate.socket, PATIENCE)? {
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
        edge.gateway.roster.reopen();
        edge.courses.set(Course::Here);
        return Err(why);
    }
    take_leave(running, &edge, candidate, (mail, queue), say);
    Ok(())
}

/// Whether this process is the one that serves, and can leave.
fn may_leave(running: &Running) -> Result<(), String> {
    if running.live.edge().courses.process().is_some() {
        return Err("another process has taken over from this one".into());
    }
    if running.drain.is_draining() {
        return Err("this process is stopping".into());
    }
    if std::process::id() == 1 {
        return Err("process 1 of a container cannot leave without ending it: replace the container".into());
    }
    Ok(())
}

/// The new process, and its version if it has said that already.
fn launch(start: &Start) -> Result<(Candidate, Option<String>), String> {
    let (ours, theirs) = UnixStream::pair().map_err(|why| format!("no pair of sockets: {why}"))?;
    // This very program, even where another one lies at its place now.
    let starter = Command::new("/proc/self/exe")
        .arg("start-successor")
        .arg(start.binary)
        .args(start.config)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn();
    let starter = starter.map_err(|why| format!("no process can be started: {why}"))?;
    let mut candidate = Candidate { starter, pid: None, socket: ours, serves: false };
    let (number, early) = started(&candidate.socket)?;
    candidate.pid = i32::try_from(number).ok().and_then(Pid::from_raw);
    Ok((candidate, early))
}

/// What the starter says. On a busy machine the process that it has started may have said hello before it.
fn started(socket: &UnixStream) -> Result<(u32, Option<String>), String> {
    let mut early = None;
    loop {
        match hear(socket, SHORT_PATIENCE)? {
            Message::Started(number) => return Ok((number, early)),
            first if early.is_none() => early = Some(hello(first)?),
            other => return Err(unexpected(&other)),
        }
    }
}

/// Starts the new process and waits for its end, to tell how it was: the body of a command that the old process calls. It
/// is ended when the new one takes over, so that this becomes a child of the service manager's, which waits for its own
/// children only. The socket is the standard input.
pub fn start(binary: &Path, config: Option<&Path>) -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut successor = Command::new(binary);
    successor.args(["run", "--successor"]);
    if let Some(config) = config {
        successor.arg("--config").arg(config);
    }
    let started = successor.spawn();
    let why = match started {
        Ok(mut child) => {
            wire::send(&socket, &Message::Started(child.id()), &[])?;
            format!("it has ended ({})", child.wait()?)
        }
        Err(why) => format!("{} cannot be started: {why}", binary.display()),
    };
    wire::send(&socket, &Message::Unfit(why), &[])
}

fn hello(message: Message) -> Result<String, String> {
    match message {
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
    let used = mail.clone();
    let heir: clients::Heir = Arc::new(move |note| used.put(Outgoing::Message(Message::Used(note))));
    let roster = &edge.gateway.roster;
    let tokens = edge.gateway.tokens().filter_map(|token| {
        let (value, left) = token.remaining()?;
        Some((token.credential.to_string(), value.to_str().ok()?.to_owned(), left))
    });
    let estate = Estate {
        epoch: ledger.epoch.map(shared).unwrap_or_default(),
        ledger,
        clients: (roster.close(&heir, Instant::now()), shared(roster.epoch())),
        identities: edge.gateway.identities(""),
        tokens: tokens.collect(),
        generation: running.generation.load(Ordering::SeqCst),
    };
    wire::send(&candidate.socket, &Message::Estate(Box::new(estate)), &[]).map_err(unsent)?;
    match hear(&candidate.socket, SHORT_PATIENCE)? {
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
    mut candidate: Candidate,
    (mail, queue): (Mail, Receiver<Outgoing>),
    say: &dyn Fn(&str),
) {
    let (post, notes) = (mail.clone(), mail.clone());
    edge.gateway.pool.bequeath(Arc::new(move |note| notes.put(Outgoing::Message(Message::Note(note)))));
    edge.courses
        .set(Course::Process(Line::new(move |moved| post.put(Outgoing::Connection(Box::new(moved))))));
    running.gate.send_replace(false);
    running.before.part();
    candidate.set_free();
    let pid = candidate.number();
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
fn follow(running: &Arc<Running>, edge: &Edge, candidate: Candidate, mail: &Mail, queue: Receiver<Outgoing>) {
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
    let is_needed = || running.before.is_there() || !mail.is_empty();
    let idle = edge.gateway.settings.server.keepalive_timeout;
    running.drain.leave_to_another(is_back, is_needed, idle, || running.last_words());
    log::error!("process {}, which had taken over, is gone; this one serves again", candidate.number());
    edge.gateway.memory.bequeath(None);
    edge.gateway.pool.reopen();
    edge.gateway.roster.reopen();
    edge.courses.set(Course::Here);
    running.gate.send_replace(true);
    places::write_pid(edge.gateway.settings.server.port);
    supervisor::take_back();
}

/// The next message, or why there is none.
fn hear(socket: &UnixStream, patience: Duration) -> Result<Message, String> {
    let _ = socket.set_read_timeout(Some(patience));
    match receive(socket) {
        Ok(Some((Message::Unfit(why), _))) => Err(format!("the new process cannot serve: {why}")),
        Ok(Some((message, _))) => Ok(message),
        Ok(None) => Err("the new process is not there any more".into()),
        Err(why) if why.kind() == io::ErrorKind::WouldBlock => {
            Err(format!("the new process has said nothing for {} s", patience.as_secs()))
        }
        Err(why) => Err(format!("the new process cannot be understood: {why}")),
    }
}

fn unexpected(message: &Message) -> String {
    format!("the new process said {:?} out of turn", message.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_say_hello_before_its_starter_has_told_its_number() {
        let hello = || Message::Hello { protocol: PROTOCOL, version: "1.2.3".into() };
        let heard = |said: &[Message]| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            said.iter().for_each(|message| wire::send(&theirs, message, &[]).unwrap());
            drop(theirs);
            started(&ours)
        };
        assert_eq!(heard(&[Message::Started(7), hello()]), Ok((7, None)));
        assert_eq!(heard(&[hello(), Message::Started(7)]), Ok((7, Some("1.2.3".into()))));
        let twice = heard(&[hello(), hello()]).unwrap_err();
        assert!(twice.contains("out of turn"), "{twice}");
        let other = heard(&[Message::Hello { protocol: 0, version: "0.0.1".into() }]).unwrap_err();
        assert!(other.contains("cannot take over"), "{other}");
    }
}
