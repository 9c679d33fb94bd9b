//! One of the targets (`FUZZ_TARGET`) under libFuzzer, which makes new inputs of those that reached new branches.
//!
//! No nightly compiler is needed: the counters are put in by LLVM's own pass, which a stable rustc runs
//! (`tests/fuzz/rustc`), and libFuzzer is built from source with a C++ compiler. There is no address sanitizer, which a
//! stable compiler does not have: but for one line nothing of the router is `unsafe`. Before libFuzzer reads its corpus,
//! the seeds and the words are written to the directory `FUZZ_SEEDS`.
#![no_main]

#[path = "../../golden/invariants.rs"]
#[allow(dead_code)]
mod invariants;
#[path = "../targets/mod.rs"]
mod targets;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use targets::Target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    Target::named(&name).unwrap_or_else(|| {
        let known: Vec<_> = targets::TARGETS.iter().map(|target| target.name).collect();
        panic!("FUZZ_TARGET must be one of {known:?}")
    })
});

fn write_seeds(dir: &Path) -> std::io::Result<()> {
    fs::create_dir_all(dir.join("corpus"))?;
    for (number, seed) in TARGET.corpus().iter().enumerate() {
        fs::write(dir.join(format!("corpus/seed-{number:04}")), seed)?;
    }
    let escaped = |word: &&str| word.bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let words: String = TARGET.words.iter().map(|word| format!("\"{}\"\n", escaped(word))).collect();
    fs::write(dir.join("words"), words)
}

fuzz_target!(
    init: {
        if let Some(dir) = std::env::var_os("FUZZ_SEEDS") {
            write_seeds(Path::new(&dir)).expect("FUZZ_SEEDS can be written");
        }
    },
    |input: &[u8]| TARGET.run(input)
);
