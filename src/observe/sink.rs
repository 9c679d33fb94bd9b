//! A place for lines to go that never makes a request wait: a bounded queue in memory, drained by one thread.
//!
//! Lines are appended to one flat buffer under a short lock; the thread takes the whole buffer and writes it with one
//! call. After the first line of a quiet time it waits ten milliseconds for company, so that a busy router pays one
//! wake-up per hundred lines instead of one per line. A full queue drops the new line and counts it: a slow or stuck
//! reader costs lines, never requests. A closed pipe closes the sink for good, without an error anywhere.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How many bytes may wait. 4 MiB is about ten thousand access lines: seconds of a stuck terminal.
pub const CAPACITY: usize = 4 << 20;

/// How long the thread gathers lines before it writes them.
const GATHER: Duration = Duration::from_millis(10);

/// What the buffer may keep between two writes, so that a burst gives its memory back.
const KEPT: usize = 64 << 10;

/// Lines lost by all sinks of this process.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines lost so far, by full queues and closed pipes together.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// A cheap-clone handle to one queue and its thread.
#[derive(Clone)]
pub struct Sink(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    drained: Condvar,
    capacity: usize,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    /// The thread waits for a first line.
    asleep: bool,
    /// Taken from the queue, but not written yet.
    writing: bool,
    /// The other end has gone.
    closed: bool,
    /// Somebody waits in `flush`: no gathering.
    urgent: bool,
}

impl Sink {
    /// Starts a thread called `name` that writes to `out`. Fails only where no thread can be started.
    pub fn new(name: &str, out: impl Write + Send + 'static) -> io::Result<Self> {
        Self::bounded(name, out, CAPACITY)
    }

    /// As `new`, with at most `capacity` bytes waiting.
    pub fn bounded(name: &str, out: impl Write + Send + 'static, capacity: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
            capacity,
        });
        let drain = Drain { shared: shared.clone(), out };
        thread::Builder::new().name(name.to_owned()).spawn(move || drain.run())?;
        Ok(Self(shared))
    }

    /// To the standard output, past the lock and the line buffer of the standard library.
    pub fn stdout() -> io::Result<Self> {
        Self::new("access-log", File::from(io::stdout().as_fd().try_clone_to_owned()?))
    }

    /// To the standard error.
    pub fn stderr() -> io::Result<Self> {
        Self::new("log", File::from(io::stderr().as_fd().try_clone_to_owned()?))
    }

    /// To the end of a file, which is made when missing.
    pub fn file(path: &Path) -> io::Result<Self> {
        Self::new("error-log", File::options().append(true).create(true).open(path)?)
    }

    /// Queues `line`, which ends in a line feed, or drops it and counts it. Never waits for I/O.
    pub fn line(&self, line: &[u8]) {
        let wake = {
            let mut queue = self.0.lock();
            if queue.closed || queue.bytes.len() + line.len() > self.0.capacity {
                DROPPED.fetch_add(1, Ordering::Relaxed);
                return;
            }
            queue.bytes.extend_from_slice(line);
            std::mem::take(&mut queue.asleep)
        };
        if wake {
            self.0.filled.notify_one();
        }
    }

    /// Waits until all lines have been written, or the sink is closed, or `timeout` has passed; says whether
    /// nothing is left. For the end of the process.
    pub fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut queue = self.0.lock();
        queue.urgent = true;
        queue.asleep = false;
        self.0.filled.notify_one();
        while !queue.closed && (queue.writing || !queue.bytes.is_empty()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                queue.urgent = false;
                return false;
            }
            queue = wait(&self.0.drained, queue, left);
        }
        queue.urgent = false;
        true
    }
}

/// Each `write` is one line: what the log library does with a record.
impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// A poisoned lock still holds whole lines: nothing in here can leave half of one.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'q>(condition: &Condvar, queue: MutexGuard<'q, Queue>, longest: Duration) -> MutexGuard<'q, Queue> {
    condition.wait_timeout(queue, longest).unwrap_or_else(PoisonError::into_inner).0
}

/// The thread's side.
struct Drain<W> {
    shared: Arc<Shared>,
    out: W,
}

impl<W: Write> Drain<W> {
    fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            self.gather(&mut batch);
            let open = self.write(&batch);
            batch.clear();
            batch.shrink_to(KEPT);
            let mut queue = self.shared.lock();
            queue.writing = false;
            queue.closed |= !open;
            self.shared.drained.notify_all();
            if queue.closed {
                queue.bytes = Vec::new();
                return;
            }
        }
    }

    /// Waits for a first line, then for its company, and takes all of them.
    fn gather(&self, batch: &mut Vec<u8>) {
        let mut queue = self.shared.lock();
        while queue.bytes.is_empty() {
            queue.asleep = true;
            queue = self.shared.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.asleep = false;
        if !queue.urgent {
            queue = wait(&self.shared.filled, queue, GATHER);
        }
        std::mem::swap(&mut queue.bytes, batch);
        queue.writing = true;
    }

    /// Writes the batch; false when the other end has gone. Another fault (a full disk) loses this batch only.
    fn write(&mut self, mut batch: &[u8]) -> bool {
        while !batch.is_empty() {
            match self.out.write(batch) {
                Ok(0) => return false,
                Ok(written) => batch = batch.get(written..).unwrap_or_default(),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // A terminal that somebody else made non-blocking.
                Err(e) if e.kind() == ErrorKind::WouldBlock => thread::sleep(GATHER),
                Err(e) => {
                    DROPPED.fetch_add(memchr::memchr_iter(b'\n', batch).count() as u64, Ordering::Relaxed);
                    return e.kind() != ErrorKind::BrokenPipe;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{channel, Receiver, Sender};

    /// Hands over what is written, and waits for a permit before each write.
    struct Gate(Sender<Vec<u8>>, Receiver<()>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.recv().map_err(|_| io::Error::from(ErrorKind::BrokenPipe))?;
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Gated {
        sink: Sink,
        seen: Receiver<Vec<u8>>,
        permit: Sender<()>,
    }

    fn gated(capacity: usize) -> Gated {
        let (written, seen) = channel();
        let (permit, permits) = channel();
        Gated { sink: Sink::bounded("test", Gate(written, permits), capacity).unwrap(), seen, permit }
    }

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let Gated { sink, seen, permit } = gated(1 << 20);
        (0..3).for_each(|_| permit.send(()).unwrap());
        sink.line(b"one\n");
        sink.line(b"two\n");
        assert!(sink.flush(Duration::from_secs(5)));
        assert_eq!(seen.try_iter().flatten().collect::<Vec<_>>(), b"one\ntwo\n");
    }

    #[test]
    fn a_stuck_reader_costs_lines_and_no_time() {
        let Gated { sink, seen: _seen, permit: _permit } = gated(1000);
        let line = [b'x'; 100];
        let before = dropped();
        let start = Instant::now();
        (0..10_000).for_each(|_| sink.line(&line));
        assert!(start.elapsed() < Duration::from_secs(2));
        assert!(dropped() - before >= 9_900);
        assert!(!sink.flush(Duration::from_millis(30)));
    }

    #[test]
    fn a_closed_pipe_closes_the_sink_without_a_word() {
        let Gated { sink, seen: _seen, permit } = gated(1000);
        drop(permit);
        sink.line(b"into the void\n");
        assert!(sink.flush(Duration::from_secs(5)));
        let before = dropped();
        sink.line(b"more\n");
        assert!(dropped() > before);
    }

    #[test]
    fn a_file_is_appended_to() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("errors.jsonl");
        for line in ["a\n", "b\n"] {
            let sink = Sink::file(&path).unwrap();
            sink.line(line.as_bytes());
            assert!(sink.flush(Duration::from_secs(5)));
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\n");
    }
}
