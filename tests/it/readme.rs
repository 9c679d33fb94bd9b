//! Every code block of the README does what the README says: configurations pass `check` and start, shell lines run,
//! Python runs with the real SDK.
//!
//! The configuration's providers are replaced by a scripted one and its port by a free one; all else runs as printed.
//! Where a language is not here and nobody asked for it, its test says so and passes.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::support::router::{binary, command, free_port};
use crate::support::{eventually, secs, Call, Language, Reply, Upstream};

const KEY: &str = "sk-readme-0123456789abcdef";
const VARIABLES: [&str; 6] = [
    "OPENAI_API_KEY",
    "OPENAI_API_KEY_2",
    "OPENAI_API_KEY_3",
    "NEXT_ROUTER_KEY",
    "TEAM_A_KEY",
    "COLLECTOR_KEY",
];

/// The code blocks in `language`.
fn blocks(language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in readme().lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some((wanted, text))) => {
                if *wanted {
                    found.push(std::mem::take(text));
                }
                open = None;
            }
            (Some(info), None) => open = Some((info == language, String::new())),
            (None, Some((_, text))) => text.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    found
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory with the configuration of a block in it. A block without a `server` section gets the README's first.
fn place(yaml: &str, provider: &str, port: u16) -> TempDir {
    let server = if yaml.contains("server:") { "" } else { "server:\n  master_key: os.environ/ROUTER_KEY\n" };
    let dir = TempDir::new().unwrap();
    let own = format!("admin:\n  listen: {0}/admin.sock\nstate:\n  dir: {0}/state\n", dir.path().display());
    let quiet = "monitoring:\n  prometheus_listen: \"off\"\n";
    let own = if yaml.contains(quiet.lines().next().unwrap()) { own } else { own + quiet };
    let here = format!("server:\n  host: 127.0.0.1\n  port: {port}\n");
    let text = format!("{server}{yaml}{own}").replacen("server:\n", &here, 1);
    let text = text.replace("https://api.openai.com/v1", provider);
    fs::write(dir.path().join("config.yaml"), text).unwrap();
    dir
}

fn with_keys(mut command: Command) -> Command {
    command
        .env("ROUTER_KEY", KEY)
        .envs(VARIABLES.map(|name| (name, format!("sk-{}-0123456789", name.to_lowercase()))));
    command
}

/// The router of the README's first block, in front of a scripted provider.
struct Running {
    child: Child,
    dir: TempDir,
    port: u16,
    provider: Upstream,
}

impl Running {
    fn start() -> Self {
        let provider = Upstream::scripted(|call: &Call| Reply::good(call));
        let port = free_port();
        let dir = place(&blocks("yaml")[0], &provider.url(), port);
        let mut start = with_keys(command(dir.path()));
        let child = start.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let running = Self { child, dir, port, provider };
        let ready = || std::net::TcpStream::connect(("127.0.0.1", running.port)).ok();
        assert!(eventually(secs(20), ready).is_some(), "the README's configuration does not start");
        running
    }

    fn at_its_address(&self, text: &str) -> String {
        text.replace("http://127.0.0.1:8080", &format!("http://127.0.0.1:{}", self.port))
    }

    /// Runs a program beside the configuration, with the text's address moved to this router.
    fn run(&self, program: &Path, text: &str) -> Output {
        let text = self.at_its_address(text);
        let mut run = with_keys(Command::new(program));
        let path = std::env::var("PATH").unwrap_or_default();
        let own = binary();
        run.env("PATH", format!("{}:{path}", own.parent().unwrap().display()));
        run.current_dir(self.dir.path()).arg("-c").arg(text).output().unwrap()
    }

    /// The same in a client's language; what it has printed.
    fn run_in(&self, language: &Language, text: &str) -> String {
        language
            .run_with(self.dir.path(), &self.at_its_address(text), |command| command.env("ROUTER_KEY", KEY))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn assert_success(output: &Output, block: &str) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{block}\n{stdout}\n{stderr}");
    stdout
}

#[test]
fn every_block_is_in_a_language_that_is_tested() {
    let opened: Vec<String> =
        readme().lines().filter_map(|l| Some(l.strip_prefix("```")?.to_owned())).collect();
    let languages: Vec<&String> = opened.iter().step_by(2).collect();
    assert!(languages.len() >= 6, "{languages:?}");
    assert!(
        languages.iter().all(|l| ["yaml", "sh", "python", "javascript", "go"].contains(&l.as_str())),
        "{languages:?}"
    );
    assert!(opened.iter().skip(1).step_by(2).all(String::is_empty), "a block is not closed");
}

#[test]
fn every_configuration_passes_check() {
    for block in blocks("yaml") {
        let dir = place(&block, "https://api.openai.com/v1", free_port());
        let mut check = with_keys(command(dir.path()));
        let said = check.arg("check").output().unwrap();
        if block.contains("--features otlp") && !cfg!(feature = "otlp") {
            assert!(!said.status.success() && block.contains("  otlp:"), "{block}");
            continue;
        }
        assert_success(&said, &block);
    }
}

#[test]
fn the_first_configuration_has_twelve_lines() {
    assert_eq!(blocks("yaml")[0].lines().count(), 12);
}

#[test]
fn every_shell_block_runs() {
    let running = Running::start();
    for block in blocks("sh") {
        if block.lines().all(|line| line.starts_with("make ")) {
            // A dry run, since one of them is what runs this test.
            let goals = block.split_whitespace().filter(|word| *word != "make");
            let dry = Command::new("make").arg("-n").args(goals).current_dir(root()).output().unwrap();
            assert_success(&dry, &block);
            continue;
        }
        let said = assert_success(&running.run(Path::new("sh"), &format!("set -e\n{block}")), &block);
        if block.contains("curl") {
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&said).unwrap()["object"],
                json!("chat.completion")
            );
            assert_eq!(running.provider.last().model(), "gpt-4o");
        }
    }
}

#[test]
fn every_python_block_runs_with_the_sdk() {
    let Some(python) = Language::python() else { return };
    let running = Running::start();
    for block in blocks("python") {
        assert!(!running.run_in(&python, &block).trim().is_empty(), "nothing was streamed by\n{block}");
    }
    assert!(running.provider.last().wants_stream());
}

#[test]
fn every_block_of_javascript_and_go_runs_where_its_language_is() {
    let running = Running::start();
    for (name, language) in [("javascript", Language::javascript()), ("go", Language::go())] {
        let Some(language) = language else { continue };
        for block in blocks(name) {
            assert!(!running.run_in(&language, &block).trim().is_empty(), "nothing was said by\n{block}");
            assert_eq!(running.provider.last().model(), "gpt-4o");
        }
    }
}
