//! The command: `run` (also without a verb), `check`, `route`, `reload`, `upgrade`, `status`, `top`, `demo`, `schema`, `version`;
//! and, for supervisors and packages, `healthcheck`, `completions` and `man`, which the help leaves out.
//!
//! Exit codes: 0; 1 for a failure at run time; 2 for words that are no command (clap's); 78 (EX_CONFIG, sysexits.h)
//! for a configuration that cannot be used, so that a supervisor can tell it from a crash.

mod chance;
mod healthcheck;
mod import;
mod line;
mod operate;
mod paper;
mod route;
mod secrets;
mod status;
mod surroundings;
mod top;
mod variables;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use log::LevelFilter;
use pingora::services::listening::Service;

use crate::config::{self, Credential, LogLevel, Settings, Source};
use crate::demo::{self, DemoUpstream};
use crate::handover::incumbent;
use crate::handover::successor::Predecessor;
use crate::import::environment;
use crate::llm::ability::Ability;
use crate::loading::{self, Origin};
use crate::observe::access_log::AccessLog;
use crate::observe::logging::{self, Format};
use crate::observe::metrics::{self, Meters};
use crate::observe::recent::Recent;
use crate::observe::sink::Sink;
use crate::observe::Recorder;
use crate::server::{self, places, Process};

use surroundings::Surroundings;

const BAD_CONFIG: u8 = 78;

#[derive(Parser)]
#[command(
    name = "auto-ai-router",
    version,
    about = "An edge router for LLM APIs: one key in front, many credentials behind."
)]
struct Command {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    config: ConfigArg,
    /// Check the configuration and exit (the same as `check`)
    #[arg(short = 't')]
    test: bool,
}

#[derive(Args)]
struct ConfigArg {
    /// The configuration [default: ./config.yaml, then /etc/auto-ai-router/config.yaml]
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct SocketArg {
    /// The router's admin socket [default: where the configuration says]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve (the default)
    Run {
        /// Take over from the process at the standard input
        #[arg(long, hide = true)]
        successor: bool,
    },
    /// Report every problem of the configuration at once
    Check {
        /// Variables to add, NAME=value, one a line: those of the service
        #[arg(long, value_name = "FILE")]
        environment: Option<PathBuf>,
    },
    /// Dry run: which credentials would be tried for a model, in which order, and why the others would not
    Route {
        /// The model, by the name that clients use
        model: String,
        /// What the request needs: images, tools, documents, audio
        #[arg(long, value_enum, value_delimiter = ',')]
        needs: Vec<Ability>,
        /// Credentials of this type or name only
        #[arg(long)]
        vendor: Option<String>,
    },
    /// Start a process that is to take over, and end
    #[command(hide = true)]
    StartSuccessor {
        /// The program
        binary: PathBuf,
        /// Its configuration [default: the environment]
        config: Option<PathBuf>,
    },
    /// Let the running router read its configuration again, or its binary if that is another one now
    Reload {
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Let the binary on disk take over from the running router, without losing a request
    Upgrade {
        /// Another binary than the one that was started
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// One line about the running router; exit code 0, 1, 2 or 3 as monitoring plug-ins have it
    Status {
        #[command(flatten)]
        socket: SocketArg,
    },
    /// The running router on the terminal, live
    Top {
        /// Show it once and end
        #[arg(long)]
        once: bool,
        #[command(flatten)]
        socket: SocketArg,
    },
    /// Serve in front of an embedded upstream: no key and no network needed
    Demo {
        /// The port to listen on [default: 8080, or a free one]
        #[arg(long)]
        port: Option<u16>,
    },
    /// Make a configuration of another router's files: ROUTER_SERVICES or .env, config.json, credentials.json with
    /// models.json, LiteLLM's config.yaml
    Import {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The file to write, which must not exist [default: the standard output]
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Seal the secrets of files, and open them
    Secrets {
        #[command(subcommand)]
        what: secrets::Secrets,
    },
    /// Print the JSON Schema of the configuration
    Schema,
    /// Print the version
    Version,
    /// Ask the router that runs here whether it takes traffic
    #[command(hide = true)]
    Healthcheck,
    /// Print a script that completes this command in a shell
    #[command(hide = true)]
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

/// Reads the command line, does what it says, and returns the exit code.
pub fn main() -> ExitCode {
    let command = Command::parse_from(go_style(std::env::args_os()));
    let file = command.config.config.as_deref();
    let verb = if command.test { Some(Verb::Check { environment: None }) } else { command.verb };
    match verb.unwrap_or(Verb::Run { successor: false }) {
        Verb::Run { successor } => run(file, successor),
        Verb::Check { environment } => match environment.as_deref().map(variables::add).transpose() {
            Ok(_) => check(file),
            Err(code) => code,
        },
        Verb::Route { model, needs, vendor } => route::route(file, &model, &needs, vendor.as_deref()),
        Verb::StartSuccessor { binary, config } => match incumbent::start(&binary, config.as_deref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Verb::Reload { socket } => operate::reload(file, socket.socket),
        Verb::Upgrade { binary, socket } => operate::upgrade(file, socket.socket, binary),
        Verb::Status { socket } => status::status(file, socket.socket),
        Verb::Top { once, socket } => top::top(file, socket.socket, once),
        Verb::Demo { port } => demo(port),
        Verb::Import { files, out } => import::import(&files, out.as_deref()),
        Verb::Secrets { what } => secrets::run(&what),
        Verb::Schema => say(&config::schema()),
        Verb::Version => say(&format!("auto-ai-router {}", crate::VERSION)),
        Verb::Healthcheck => healthcheck::healthcheck(file),
        Verb::Completions { shell } => say(&paper::completions(Command::command(), shell)),
        Verb::Man => say(&paper::man(Command::command())),
    }
}

/// `-config FILE` and `-config=FILE`, as the first generation of this program took them.
fn go_style(args: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    args.map(|arg| match arg.to_str() {
        Some(text) if text == "-config" || text.starts_with("-config=") => format!("-{text}").into(),
        _ => arg,
    })
}

/// Writes to the standard output; a reader that has gone away is no failure of ours.
fn say(text: &str) -> ExitCode {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}

fn complain(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A configuration that can be used.
struct Found {
    settings: Settings,
    origin: Origin,
    around: Surroundings,
}

/// Settings that can be used; else what is wrong is shown, and said to the process before this one.
fn settings(file: Option<&Path>, predecessor: Option<&Predecessor>) -> Result<Found, ExitCode> {
    let color = std::io::stderr().is_terminal();
    let loaded = surroundings::find(file)
        .and_then(|(origin, around)| Ok((loading::settings(&origin, color)?, origin, around)));
    match loaded {
        Ok(((settings, report), origin, around)) => {
            if !report.is_empty() {
                complain(report.trim_end());
            }
            Ok(Found { settings, origin, around })
        }
        Err(report) => {
            complain(report.trim_end());
            if let Some(predecessor) = predecessor {
                predecessor.refuse(&report);
            }
            Err(ExitCode::from(BAD_CONFIG))
        }
    }
}

fn check(file: Option<&Path>) -> ExitCode {
    match settings(file, None) {
        Ok(Found { settings, around, .. }) => {
            around.notes.iter().for_each(|note| {
                say(note);
            });
            say(&format!(
                "the configuration can be used: {} credentials, {} models",
                settings.credentials.len(),
                settings.models.iter().filter(|model| !model.limits_only).count()
            ))
        }
        Err(code) => code,
    }
}

fn run(file: Option<&Path>, successor: bool) -> ExitCode {
    let predecessor = match successor.then(Predecessor::at_stdin).transpose() {
        Ok(predecessor) => predecessor,
        Err(why) => {
            complain(&format!("--successor is for a process that is started by a running one: {why}"));
            return ExitCode::FAILURE;
        }
    };
    match settings(file, predecessor.as_ref()) {
        Ok(Found { settings, origin, around }) => serve(settings, |process| {
            tell(&process.settings, &around);
            Process { origin: Some(origin), predecessor, ..process }
        }),
        Err(code) => code,
    }
}

/// Logs what a start without a file has found, and shows a key that was made, which no log should keep.
fn tell(settings: &Settings, around: &Surroundings) {
    around.notes.iter().for_each(|note| log::info!("{note}"));
    if let Some(key) = &around.key {
        complain(&format!(
            "No key for callers was given, so one was made for this run:\n\n  address  http://{}/v1\n  key      {key}\n\n\
             Set {} to have a lasting one.",
            places::main(settings),
            environment::MASTER_KEY
        ));
    }
}

fn serve(settings: Settings, finish: impl FnOnce(Process) -> Process) -> ExitCode {
    match process(settings) {
        Ok(process) => match server::serve(finish(process)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                complain(&why.to_string());
                ExitCode::FAILURE
            }
        },
        Err(why) => {
            complain(&format!("the log cannot be started: {why}"));
            ExitCode::FAILURE
        }
    }
}

fn process(settings: Settings) -> std::io::Result<Process> {
    let no_color = std::env::var("NO_COLOR").ok();
    let format = |terminal| Format::choose(terminal, no_color.as_deref());
    let log = logging::init(level(settings.server.logging_level), format(std::io::stderr().is_terminal()))?;
    let monitoring = &settings.monitoring;
    let errors = monitoring
        .errors_log_path
        .as_deref()
        .filter(|_| monitoring.log_errors)
        .map(|path| Sink::file(path).map_err(|why| unwritable(path, &why)))
        .transpose()?;
    let access = AccessLog::new(Sink::stdout()?, format(std::io::stdout().is_terminal()), errors);
    let meters = Meters::for_credentials(settings.credentials.iter().map(Credential::counted));
    let names = settings.credentials.iter().map(|credential| credential.name.as_str());
    let recorder = Recorder { meters, access, recent: Recent::default().for_credentials(names) };
    metrics::reloaded(true);
    Ok(Process { settings, origin: None, predecessor: None, recorder, log, more: Vec::new() })
}

fn unwritable(path: &Path, why: &std::io::Error) -> std::io::Error {
    std::io::Error::new(why.kind(), format!("monitoring.errors_log_path: {}: {why}", path.display()))
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    }
}

fn demo(port: Option<u16>) -> ExitCode {
    let ports = port.map_or_else(|| free_port(8080).or_else(|| free_port(0)), free_port).zip(free_port(0));
    let Some((port, upstream_port)) = ports else {
        complain("no port to listen on: choose another one with --port");
        return ExitCode::FAILURE;
    };
    let key = demo::fresh_key();
    let text = demo::config(port, upstream_port, &key);
    let source = Source { path: Path::new("demo.yaml"), text: &text };
    let missing = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    let loaded = config::load(source, &|_| None, &missing, std::time::SystemTime::now());
    let Some(settings) = loaded.settings else {
        complain(&loaded.render(false));
        return ExitCode::from(BAD_CONFIG);
    };
    let mut upstream = Service::new("demo upstream".into(), DemoUpstream::default());
    upstream.threads = Some(1);
    upstream.add_tcp(&format!("127.0.0.1:{upstream_port}"));
    say(&demo::banner(port, &key));
    serve(settings, |process| Process { more: vec![Box::new(upstream)], ..process })
}

/// `wanted` if it is free on loopback; 0 stands for any.
fn free_port(wanted: u16) -> Option<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).ok()?;
    listener.local_addr().ok().map(|address| address.port())
}
