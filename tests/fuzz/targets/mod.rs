//! What is done with bytes of strangers, as eight targets: each a function that takes any bytes and panics where a
//! promise is broken, the corpus that it starts from, and the words that are worth trying.
//!
//! The same functions are driven twice: by libFuzzer, which follows the coverage (`make fuzz`, `tests/fuzz/src/main.rs`), and
//! by every test run for a second each without it (`tests/golden/strangers.rs`). Corpora are the recordings and the golden
//! cases of `tests/golden`, the files of `conf`, and what a recording cannot have. Inputs that once broke a promise lie in
//! `tests/fuzz/found/<target>` and are tried first, for ever.

mod answers;
mod config;
mod head;
mod peer_health;
mod request;
mod retry_after;
mod sse;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{clock_gettime, ClockId};

/// No input may take longer, counted on this thread's own clock.
const MOST_TIME: Duration = Duration::from_millis(100);

/// One thing that reads bytes of strangers.
pub struct Target {
    pub name: &'static str,
    /// Panics where a promise is broken.
    pub check: fn(&[u8]),
    /// What it starts from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// What stands in such bytes, for whoever puts new ones together.
    pub words: &'static [&'static str],
    /// Longer inputs show nothing new.
    pub most: usize,
}

const JSON: &[&str] = &[
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "false",
    "-1",
    "1e999",
    "18446744073709551615",
    "\\u0000",
    "\\ud83c",
    "\"model\"",
    "\"stream\"",
    "\"stream_options\"",
    "\"include_usage\"",
    "\"max_tokens\"",
];

/// All of them.
pub const TARGETS: [Target; 8] = [
    Target { name: "head", check: head::check, seeds: head::seeds, words: head::WORDS, most: 4096 },
    Target { name: "request", check: request::check, seeds: request::seeds, words: JSON, most: 8192 },
    Target { name: "sse", check: sse::check, seeds: sse::seeds, words: sse::WORDS, most: 4096 },
    Target {
        name: "anthropic",
        check: answers::anthropic,
        seeds: answers::of_anthropic,
        words: answers::ANTHROPIC,
        most: 8192,
    },
    Target {
        name: "gemini",
        check: answers::gemini,
        seeds: answers::of_gemini,
        words: answers::GEMINI,
        most: 8192,
    },
    Target {
        name: "retry-after",
        check: retry_after::check,
        seeds: retry_after::seeds,
        words: retry_after::WORDS,
        most: 512,
    },
    Target { name: "config", check: config::check, seeds: config::seeds, words: config::WORDS, most: 4096 },
    Target {
        name: "peer-health",
        check: peer_health::check,
        seeds: peer_health::seeds,
        words: peer_health::WORDS,
        most: 16384,
    },
];

impl Target {
    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// One input. A second look at what was slow: the first may have paid for a page fault or for a cold cache.
    pub fn run(&self, input: &[u8]) {
        let input = input.get(..self.most).unwrap_or(input);
        let took = (0..3).map(|_| took(|| (self.check)(input))).find(|took| *took <= MOST_TIME);
        assert!(took.is_some(), "{}: more than {MOST_TIME:?} thrice for {} bytes", self.name, input.len());
    }

    /// Seeds short enough to be worth bending, and what was once found.
    pub fn corpus(&self) -> Vec<Vec<u8>> {
        let found = read_all(&root().join("tests/fuzz/found").join(self.name), |_| true);
        (self.seeds)().into_iter().filter(|seed| seed.len() <= self.most).chain(found).collect()
    }
}

fn took(act: impl FnOnce()) -> Duration {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
    };
    let start = now();
    act();
    now() - start
}

/// The repository.
fn root() -> PathBuf {
    let is_root = |dir: &&Path| dir.join("tests/golden").is_dir();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().find(is_root).expect("below the repository").to_owned()
}

/// The files below `dir` that are wanted, in order.
fn read_all(dir: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<Vec<u8>> {
    let (mut left, mut files) = (vec![dir.to_owned()], Vec::new());
    while let Some(dir) = left.pop() {
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let (dirs, found): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
        left.extend(dirs);
        files.extend(found.into_iter().filter(|path| wanted(path)));
    }
    files.sort();
    files.iter().filter_map(|path| fs::read(path).ok()).collect()
}

/// Those below `tests/golden` whose path holds all of `parts`.
fn recorded(parts: &[&str]) -> Vec<Vec<u8>> {
    let wanted = |path: &Path| parts.iter().all(|part| path.to_string_lossy().contains(part));
    read_all(&root().join("tests/golden"), wanted)
}
