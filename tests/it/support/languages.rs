//! The languages that clients are written in: what of them is here, and a program in one of them, run to its end.
//!
//! `SDK_PYTHON` names an interpreter with OpenAI's SDK, as `make test` does, `SDK_JS` a directory whose `node_modules` has
//! it, as `make test-js` does, and `GO` a Go compiler, as `make test-go` does. What is named must work; what is not here
//! and not named is passed over, and said to be.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A language in which a client can be run here.
pub enum Language {
    Python(PathBuf),
    /// With the directory that has the SDK, where there is one.
    JavaScript(Option<PathBuf>),
    Go(PathBuf),
}

impl Language {
    /// The interpreter that `SDK_PYTHON` names, or else a `python3` that happens to have the SDK.
    pub fn python() -> Option<Self> {
        let (program, named) = named("SDK_PYTHON", "python3");
        let works = succeeds(Command::new(&program).args(["-c", "import openai"]));
        assert!(works || !named, "SDK_PYTHON={} has no OpenAI SDK", program.display());
        here(works, "Python with the OpenAI SDK").then_some(Self::Python(program))
    }

    /// Node, with nothing but itself.
    pub fn javascript() -> Option<Self> {
        here(succeeds(Command::new("node").arg("--version")), "node").then_some(Self::JavaScript(None))
    }

    /// Node with the SDK below `SDK_JS`.
    pub fn javascript_sdk() -> Option<Self> {
        let Some(dir) = std::env::var_os("SDK_JS").map(PathBuf::from) else {
            here(false, "OpenAI SDK for JavaScript");
            return None;
        };
        assert!(dir.join("node_modules/openai").is_dir(), "SDK_JS={} has no OpenAI SDK", dir.display());
        Some(Self::JavaScript(Some(dir)))
    }

    /// The compiler that `GO` names, or else any.
    pub fn go() -> Option<Self> {
        let (program, named) = named("GO", "go");
        let works = succeeds(Command::new(&program).arg("version"));
        assert!(works || !named, "GO={} does not run", program.display());
        here(works, "Go compiler").then_some(Self::Go(program))
    }

    /// Runs a program in `dir`, and returns what it has printed.
    #[track_caller]
    pub fn run(&self, dir: &Path, text: &str) -> String {
        self.run_with(dir, text, |command| command)
    }

    /// The same with what else the command needs.
    #[track_caller]
    pub fn run_with(&self, dir: &Path, text: &str, more: impl Fn(&mut Command) -> &mut Command) -> String {
        let (mut command, file) = match self {
            Self::Python(program) => (Command::new(program), "client.py"),
            Self::JavaScript(_) => (Command::new("node"), "client.mjs"),
            Self::Go(program) => (Command::new(program), "client.go"),
        };
        match self {
            Self::Go(_) => drop(command.arg("run").env("GOTOOLCHAIN", "local")),
            Self::JavaScript(Some(sdk)) => {
                let _ = std::os::unix::fs::symlink(sdk.join("node_modules"), dir.join("node_modules"));
            }
            Self::Python(_) | Self::JavaScript(None) => {}
        }
        std::fs::write(dir.join(file), text).unwrap();
        let output: Output = more(command.arg(file).current_dir(dir)).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{text}\n{out}\n{err}");
        out.into_owned()
    }
}

/// The program that a variable names, or `usual`; and whether it does.
fn named(variable: &str, usual: &str) -> (PathBuf, bool) {
    let named = std::env::var_os(variable).map(PathBuf::from);
    (named.clone().unwrap_or_else(|| usual.into()), named.is_some())
}

fn here(works: bool, what: &str) -> bool {
    if !works {
        println!("no {what} here: its programs are not run");
    }
    works
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
