//! The real binary, started with a configuration of its own in a directory of its own.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::client::{Answer, Request};
use super::config::{Config, Found};
use super::stream::Events;
use super::{eventually, secs, until};

/// The binary under test: cargo's, or the one that `ROUTER_BINARY` names.
pub fn binary() -> PathBuf {
    let built = option_env!("CARGO_BIN_EXE_auto-ai-router").map(PathBuf::from);
    let named = std::env::var_os("ROUTER_BINARY").map(PathBuf::from);
    named.or(built).expect("cargo builds the binary, or ROUTER_BINARY names it")
}

/// A port below the ephemeral range, so that no outgoing connection can take it meanwhile. It is out of a block that no
/// other run of these tests has: holding the UDP port of the block's first number is the claim.
pub fn free_port() -> u16 {
    static CLAIMED: Mutex<(Vec<UdpSocket>, Range<u16>)> = Mutex::new((Vec::new(), 0..0));
    let (claims, block) = &mut *CLAIMED.lock().unwrap();
    loop {
        for port in block.by_ref() {
            let free = |host: &str| TcpListener::bind((host, port)).is_ok();
            if free("127.0.0.1") && free("0.0.0.0") {
                return port;
            }
        }
        let first = (12000..32000).step_by(200).find_map(|first| {
            claims.push(UdpSocket::bind(("127.0.0.1", first)).ok()?);
            Some(first)
        });
        let first = first.expect("a block of ports that no other run has claimed");
        *block = first..first + 200;
    }
}

type Text = Arc<Mutex<String>>;

/// A running router. Killed when dropped, with all processes that have taken over from it: they are in its group.
pub struct Router {
    pub port: u16,
    child: Child,
    dir: TempDir,
    config: Config,
    stdout: Text,
    stderr: Text,
}

impl Config {
    /// Starts a router with this configuration and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Router {
        self.start_on(free_port())
    }

    /// The same on a port chosen before, for routers that must know one another.
    #[track_caller]
    pub fn start_on(self, port: u16) -> Router {
        Router::launch(self, port, TempDir::new().expect("a directory for the router"))
    }

    /// The same in a directory that holds other files already.
    #[track_caller]
    pub fn start_in(self, dir: TempDir) -> Router {
        Router::launch(self, free_port(), dir)
    }
}

impl Router {
    #[track_caller]
    fn launch(config: Config, port: u16, dir: TempDir) -> Self {
        let mut start = command(dir.path());
        let file = dir.path().join("config.yaml");
        let yaml = match config.found {
            Found::Variables => None,
            Found::Lines => Some(config.yaml(port, &dir.path().display().to_string())),
            Found::ReadyMade => Some(with_port(&std::fs::read_to_string(&file).unwrap(), port)),
        };
        match yaml {
            None => start.arg("run").env("PORT", port.to_string()),
            Some(yaml) => {
                std::fs::write(file, yaml).unwrap();
                // A file of the first generation is named as there.
                let named: &[&str] =
                    if config.found == Found::ReadyMade { &["-config"] } else { &["run", "--config"] };
                start.args(named).arg("config.yaml")
            }
        };
        let mut child = start
            .envs(config.environment.iter().cloned())
            .stdout(config.stdout.as_ref().map_or_else(Stdio::piped, into_file))
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("the router starts");
        let stdout = child.stdout.take().map(collect).unwrap_or_default();
        let stderr = collect(child.stderr.take().unwrap());
        let mut router = Self { port, child, dir, config, stdout, stderr };
        router.wait_until_ready();
        router
    }

    fn wait_until_ready(&mut self) {
        let ready = eventually(secs(20), || {
            let left = self.child.try_wait().unwrap();
            let ready =
                Request::get("/health/ready").keyless().try_send(self).is_some_and(|a| a.status == 200);
            (ready || left.is_some()).then_some(ready)
        });
        if ready != Some(true) {
            let path = self.dir.path().join("config.yaml");
            let config = std::fs::read_to_string(path).unwrap_or_default();
            panic!("the router was never ready\n{config}\n{}\n{}", self.stdout(), self.stderr());
        }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.config.plain.unwrap_or(self.port)))
    }

    /// Where TLS is spoken.
    pub fn secure_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The key its clients present.
    pub fn key(&self) -> &str {
        self.config.key()
    }

    /// The directory that holds `config.yaml`, `admin.sock` and `state`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Posts JSON with the master key.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        Request::post(path).json(body).send(self)
    }

    /// A chat request with the master key.
    #[track_caller]
    pub fn chat(&self, body: &Value) -> Answer {
        self.post("/v1/chat/completions", body)
    }

    /// A chat request whose answer is read event by event.
    #[track_caller]
    pub fn stream(&self, body: &Value) -> Events {
        Request::post("/v1/chat/completions").json(body).stream(self)
    }

    /// Gets a path with the master key.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        Request::get(path).send(self)
    }

    /// The details of `/health` for key holders.
    #[track_caller]
    pub fn health(&self) -> Value {
        self.get("/health").json()
    }

    /// The entry of one credential in `/health`.
    #[track_caller]
    pub fn health_of(&self, credential: &str) -> Value {
        let health = self.health();
        let entry = health["credentials"][credential].clone();
        assert!(entry.is_object(), "no credential {credential:?} in {health:#}");
        entry
    }

    /// Waits until the tokens of one credential's last minute are `tokens`; they are settled as an answer ends.
    #[track_caller]
    pub fn settles(&self, credential: &str, tokens: u64) {
        let settled =
            eventually(secs(10), || (self.health_of(credential)["current_tpm"] == tokens).then_some(()));
        assert!(settled.is_some(), "never {tokens} tokens: {:#}", self.health_of(credential));
    }

    /// The value of a metric whose line starts with `series`, labels included in any order given.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let text = Request::get("/metrics").send(self).text();
        let line = text.lines().find(|line| {
            let rest = line.strip_prefix(name).unwrap_or("");
            (rest.starts_with('{') || rest.starts_with(' '))
                && labels.iter().all(|(l, v)| rest.contains(&format!("{l}=\"{v}\"")))
        })?;
        line.rsplit(' ').next()?.parse().ok()
    }

    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// The access log so far: every line of standard output that is a JSON object.
    pub fn access_log(&self) -> Vec<Value> {
        let lines = self.stdout();
        lines.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()).filter(Value::is_object).collect()
    }

    /// The lines of the access log about chat completions.
    pub fn chat_log(&self) -> Vec<Value> {
        self.access_log().into_iter().filter(|line| line.to_string().contains("/chat/completions")).collect()
    }

    /// Resident memory, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
    }

    /// Posts to the admin listener, a unix socket: status and body.
    #[track_caller]
    pub fn admin(&self, path: &str) -> (u16, String) {
        self.admin_at("admin.sock", path)
    }

    /// The same at a socket of another name in the router's directory.
    #[track_caller]
    pub fn admin_at(&self, name: &str, path: &str) -> (u16, String) {
        let mut socket = UnixStream::connect(self.dir().join(name)).expect("the admin socket is there");
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer);
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_string()).unwrap_or_default())
    }

    pub fn sigterm(&self) {
        self.signal("-TERM");
    }

    /// Sends a signal, as `kill` spells it, to the process that was started.
    pub fn signal(&self, name: &str) {
        assert!(kill(name, &self.child.id().to_string()));
    }

    /// The same to the process that serves.
    pub fn signal_serving(&self, name: &str) {
        assert!(kill(name, &self.pid().to_string()));
    }

    /// The process that serves, as its file says.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        let path = self.dir().join(format!("auto-ai-router/router-{}.pid", self.port));
        let text = std::fs::read_to_string(&path).expect("the file with the number is there");
        text.trim().parse().expect("a number")
    }

    /// Lets the binary take over from itself, and returns the process that serves then.
    #[track_caller]
    pub fn upgrade(&self) -> u32 {
        let (code, stdout, stderr) = self.operate(&["upgrade"]);
        assert_eq!(code, 0, "{stdout}\n{stderr}\n{}", self.stderr());
        let serves = stdout.lines().find_map(|line| {
            let (_, rest) = line.split_once("  process ")?;
            rest.split_once(" serves")?.0.parse().ok()
        });
        let serves = serves.unwrap_or_else(|| panic!("who serves? {stdout}"));
        until("the file names the process that serves", || self.pid() == serves);
        serves
    }

    /// Runs one of the operator's commands: exit code, standard output, standard error.
    #[track_caller]
    pub fn operate(&self, args: &[&str]) -> (i32, String, String) {
        run(self.dir(), &[args, &["--config", "config.yaml"]].concat())
    }

    /// Puts another configuration into the file.
    pub fn rewrite(&self, config: &Config) {
        let yaml = config.yaml(self.port, &self.dir().display().to_string());
        std::fs::write(self.dir().join("config.yaml"), yaml).unwrap();
    }

    /// How the process that was started has ended, if it does within `limit`.
    pub fn exit(&mut self, limit: Duration) -> Option<ExitStatus> {
        eventually(limit, || self.child.try_wait().unwrap())
    }

    /// The configuration of its next start.
    pub fn reconfigure(&mut self, config: Config) {
        self.config = config;
    }

    /// Stops it in order and starts it again on the same port with the same state.
    #[track_caller]
    pub fn restart(self) -> Self {
        self.sigterm();
        self.relaunch()
    }

    /// Starts it again on the same port with the same state, once it has left.
    #[track_caller]
    pub fn relaunch(mut self) -> Self {
        self.exit(secs(15)).expect("the router leaves when idle");
        let dir = std::mem::replace(&mut self.dir, TempDir::new().unwrap());
        Self::launch(self.config.clone(), self.port, dir)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let ended = self.child.try_wait();
            eprintln!("the router on port {}: {ended:?}; it said:\n{}", self.port, self.stderr());
        }
        let _ = self.child.kill();
        kill("-KILL", &format!("-{}", self.child.id()));
        let _ = self.child.wait();
    }
}

/// The text with another number behind its first `port:`.
fn with_port(yaml: &str, port: u16) -> String {
    let (before, rest) = yaml.split_once("port: ").expect("the file says the port");
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{before}port: {port}{rest}")
}

fn kill(signal: &str, whom: &str) -> bool {
    let sent = Command::new("kill").args([signal, "--", whom]).stderr(Stdio::null()).status();
    sent.expect("kill is there").success()
}

/// The binary with a clean environment, in `dir`.
pub fn command(dir: &Path) -> Command {
    let mut command = Command::new(binary());
    command.current_dir(dir).stdin(Stdio::null()).env_clear();
    command
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("XDG_RUNTIME_DIR", dir)
        .env("HOME", dir);
    command
}

/// Runs the binary to its end: exit code, standard output, standard error.
#[track_caller]
pub fn run(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let mut child = command(dir).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (whole(child.stdout.take().unwrap()), whole(child.stderr.take().unwrap()));
    let status = eventually(secs(20), || child.try_wait().unwrap());
    let _ = child.kill();
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let Some(status) = status else { panic!("{args:?} does not end\n{stdout}\n{stderr}") };
    (status.code().unwrap_or(-1), stdout, stderr)
}

/// Everything that comes, once it has ended.
fn whole(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn into_file(path: &PathBuf) -> Stdio {
    OpenOptions::new().write(true).open(path).expect("a place for the lines").into()
}

fn collect(from: impl Read + Send + 'static) -> Text {
    let text = Text::default();
    let into = text.clone();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(from);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    text
}
