//! `top`: what `/vhealth` shows, on a terminal and live, over the admin listener; so it needs no key and works through ssh.
//!
//! Plain escape sequences on the alternate screen, drawn anew each second; `screen` makes the text. A terminal library
//! would be the largest part of the program for a table. The terminal is put back as it was by `Drop`, also when this
//! process is told to end. Where the output is no terminal, or with `--once`, one picture is printed without sequences.

mod screen;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustix::termios::{tcgetattr, tcgetwinsize, tcsetattr, LocalModes, OptionalActions, Termios};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{signal, Signal, SignalKind};

use super::line::Line;
use super::{complain, say};
use crate::observe::query::Column;
use screen::Size;

const BEAT: Duration = Duration::from_secs(1);
/// Alternate screen, no cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Top left, and nothing below what is written.
const HOME: &str = "\x1b[H";
const CLEAR_REST: &str = "\x1b[J";
const CTRL_C: u8 = 3;

/// Shows the router until `q`, or once.
pub fn top(config: Option<&Path>, socket: Option<PathBuf>, once: bool) -> ExitCode {
    let line = match Line::find(config, socket) {
        Ok(line) => line,
        Err(why) => {
            complain(&why);
            return ExitCode::FAILURE;
        }
    };
    let done = if once || !io::stdout().is_terminal() { print(&line) } else { watch(line) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            complain(&why);
            ExitCode::FAILURE
        }
    }
}

fn print(line: &Line) -> Result<(), String> {
    let sheet = look(line, None)?;
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(160);
    let size = Size { columns, lines: usize::MAX };
    say(screen::draw(&sheet, size, false).trim_end());
    Ok(())
}

fn look(line: &Line, sort: Option<Column>) -> Result<Value, String> {
    let mut sheet = Value::Null;
    let path = match sort {
        Some(column) => format!("/admin/view?sort={}", column.word()),
        None => "/admin/view".to_owned(),
    };
    line.ask("GET", &path, &mut |told| sheet = told)?;
    Ok(sheet)
}

/// The terminal, set to give each key at once and to show none; as it was before on drop.
struct Screen {
    before: Termios,
}

impl Screen {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut keys = before.clone();
        keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        tcsetattr(io::stdin(), OptionalActions::Now, &keys)?;
        let screen = Self { before };
        screen.write(ENTER)?;
        Ok(screen)
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.write(LEAVE);
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn watch(line: Line) -> Result<(), String> {
    let why = |why: io::Error| format!("the terminal cannot be used: {why}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(why)?;
    let screen = Screen::enter().map_err(why)?;
    let watched = runtime.block_on(follow(line, &screen)).map_err(why);
    drop(screen);
    // A thread still waits for a key.
    runtime.shutdown_background();
    watched
}

/// Draws until a key or a signal ends it. A router that does not answer is said so, and asked again.
async fn follow(line: Line, screen: &Screen) -> io::Result<()> {
    let line = std::sync::Arc::new(line);
    let mut keys = tokio::io::stdin();
    let (mut end, mut resized) = (signal(SignalKind::terminate())?, signal(SignalKind::window_change())?);
    let (mut sort, mut sorts) = (None, Column::ALL.iter().map(|(column, _)| *column).cycle());
    loop {
        let asked = line.clone();
        let seen = tokio::task::spawn_blocking(move || look(&asked, sort)).await.map_err(io::Error::other)?;
        let size = size();
        let picture = match &seen {
            Ok(sheet) => screen::draw(sheet, size, true),
            Err(why) => screen::fit(why, size.columns),
        };
        // In raw lines a line feed does not return to the first column on every terminal.
        let picture = picture.replace('\n', "\x1b[K\r\n");
        screen.write(&format!("{HOME}{picture}{CLEAR_REST}"))?;
        match next(&mut keys, &mut end, &mut resized).await? {
            Next::Quit => return Ok(()),
            Next::Sort => sort = sorts.next(),
            Next::Look => {}
        }
    }
}

enum Next {
    Look,
    Sort,
    Quit,
}

/// What comes first: a key, a signal, or the next second.
async fn next(keys: &mut tokio::io::Stdin, end: &mut Signal, resized: &mut Signal) -> io::Result<Next> {
    tokio::select! {
        key = keys.read_u8() => Ok(match key {
            Ok(b'q' | b'Q' | CTRL_C) | Err(_) => Next::Quit,
            Ok(b's' | b'S') => Next::Sort,
            Ok(_) => Next::Look,
        }),
        _ = end.recv() => Ok(Next::Quit),
        _ = resized.recv() => Ok(Next::Look),
        () = tokio::time::sleep(BEAT) => Ok(Next::Look),
    }
}

fn size() -> Size {
    let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or(Size { columns: 80, lines: 24 }, |size| Size {
        columns: size.ws_col.into(),
        lines: size.ws_row.into(),
    })
}
