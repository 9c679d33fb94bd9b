//! What a service manager hears: a socket stands in for systemd's, as sd_notify(3) describes it.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::*;

/// The manager's end.
struct Manager {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Manager {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        Self { socket, dir }
    }

    fn path(&self) -> String {
        self.dir.path().join("notify").display().to_string()
    }

    /// Waits for a message that has a line beginning with `wanted`, and returns all of that line.
    #[track_caller]
    fn hears(&self, wanted: &str, limit: Duration) -> String {
        let begun = std::time::Instant::now();
        let mut heard = Vec::new();
        while let Some(left) = limit.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut message = [0; 4096];
            let Ok(length) = self.socket.recv(&mut message) else { break };
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            if let Some(line) = text.lines().find(|line| line.starts_with(wanted)) {
                return line.to_owned();
            }
            heard.push(text);
        }
        panic!("no {wanted:?}, but {heard:?}");
    }

    /// Waits until all of `wanted` were heard, in any order, and returns what was.
    #[track_caller]
    fn hears_all(&self, wanted: &[&str], limit: Duration) -> String {
        let begun = std::time::Instant::now();
        let (mut heard, mut message) = (String::new(), [0; 4096]);
        while let Some(left) = limit.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            self.socket.set_read_timeout(Some(left)).unwrap();
            let Ok(length) = self.socket.recv(&mut message) else { break };
            heard += &String::from_utf8_lossy(&message[..length]);
            if wanted.iter().all(|wanted| heard.contains(wanted)) {
                return heard;
            }
        }
        panic!("not all of {wanted:?}, but {heard:?}");
    }
}

fn pid_of(router: &Router) -> u32 {
    let path = router.dir().join("auto-ai-router").join(format!("router-{}.pid", router.port));
    std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

/// Whether a process has ended; a child that nobody has waited for yet is a zombie, and has.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.is_empty() || rest.trim_start().starts_with('Z'))
}

fn router(manager: &Manager, upstream: &Upstream) -> Router {
    Config::single(&upstream.url())
        .environment("NOTIFY_SOCKET", &manager.path())
        .environment("WATCHDOG_USEC", "3000000")
        .start()
}

#[test]
fn the_manager_hears_ready_status_and_signs_of_life_and_the_end() {
    let (manager, upstream) = (Manager::new(), Upstream::healthy());
    let mut router = router(&manager, &upstream);
    manager.hears("READY=1", secs(5));
    let status = manager.hears("STATUS=", secs(5));
    assert!(
        status.contains(&format!(":{}", router.port)) && status.contains("1/1 credentials up"),
        "{status}"
    );
    manager.hears("WATCHDOG=1", secs(5));
    manager.hears("WATCHDOG=1", secs(3));
    let lines = router.access_log().len();
    assert_eq!(lines, router.access_log().iter().filter(|l| l["endpoint"] == "/health/ready").count());
    router.sigterm();
    manager.hears("STOPPING=1", secs(5));
    assert_eq!(router.exit(secs(8)).and_then(|status| status.code()), Some(0));
}

#[test]
fn a_reload_is_told_with_its_time_and_ends_with_ready() {
    let (manager, upstream) = (Manager::new(), Upstream::healthy());
    let router = router(&manager, &upstream);
    manager.hears("READY=1", secs(5));
    router.signal("-HUP");
    let since = manager.hears("MONOTONIC_USEC=", secs(5));
    assert!(since.trim_start_matches("MONOTONIC_USEC=").parse::<u64>().is_ok_and(|at| at > 0), "{since}");
    manager.hears("READY=1", secs(5));
}

#[test]
fn an_upgrade_makes_the_new_process_the_main_one_and_the_only_one_that_speaks() {
    let (manager, upstream) = (Manager::new(), Upstream::healthy());
    let router = router(&manager, &upstream);
    manager.hears("READY=1", secs(5));
    let old = pid_of(&router);
    router.signal("-USR2");
    let heard = manager.hears_all(&["MAINPID=", "READY=1", "generation 1"], secs(20));
    let main = heard.lines().find_map(|line| line.strip_prefix("MAINPID=")).unwrap();
    let main: u32 = main.parse().unwrap();
    assert_ne!(main, old);
    until("the new process says who it is", || pid_of(&router) == main);
    until("the old process has left", || has_ended(old));
    manager.hears("WATCHDOG=1", secs(5));
    router.chat(&chat("m")).expect(200);
    assert!(std::process::Command::new("kill").arg(main.to_string()).status().unwrap().success());
    manager.hears("STOPPING=1", secs(5));
}
