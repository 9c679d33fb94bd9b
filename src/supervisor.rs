//! What the service manager is told: ready, reloading, stopping, alive, a line of status, and who the main process is.
//!
//! systemd's notify protocol (sd_notify(3)), spoken by the crate sd-notify; nothing happens where no manager listens.
//! Only the main process speaks. When another one takes over, the old one says so and is silent from then on, so that
//! `NotifyAccess=main` suffices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

static SPEAKS: AtomicBool = AtomicBool::new(false);

fn tell(states: &[NotifyState]) {
    if let Err(why) = sd_notify::notify(states) {
        log::debug!("the service manager does not listen: {why}");
    }
}

/// This process serves, and is the one that speaks.
pub fn ready() {
    SPEAKS.store(true, Ordering::SeqCst);
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again; `ready` follows.
pub fn reloading() {
    if SPEAKS.load(Ordering::SeqCst) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }
}

/// The reload is over, whatever came of it.
pub fn reloaded() {
    if SPEAKS.load(Ordering::SeqCst) {
        tell(&[NotifyState::Ready]);
    }
}

/// The process leaves.
pub fn stopping() {
    if SPEAKS.load(Ordering::SeqCst) {
        tell(&[NotifyState::Stopping]);
    }
}

/// One line for people. Whether it was said: nothing is while another process speaks.
pub fn status(text: &str) -> bool {
    let speaks = SPEAKS.load(Ordering::SeqCst);
    if speaks {
        tell(&[NotifyState::Status(text)]);
    }
    speaks
}

/// The process still answers.
pub fn alive() {
    if SPEAKS.load(Ordering::SeqCst) {
        tell(&[NotifyState::Watchdog]);
    }
}

/// Another process is the main one from now on, and the one that speaks.
pub fn hand_over(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
    SPEAKS.store(false, Ordering::SeqCst);
}

/// This process is the main one again.
pub fn take_back() {
    tell(&[NotifyState::MainPid(std::process::id())]);
    ready();
}

/// How often the manager wants to hear that the process is alive. `WATCHDOG_PID` is not asked: it names the first process
/// of a line of processes that have taken over from one another.
pub fn watchdog() -> Option<Duration> {
    let microseconds = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    Some(Duration::from_micros(microseconds)).filter(|time| !time.is_zero())
}
