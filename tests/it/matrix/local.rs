//! Rows 38, 40, 41, 42, 44 and 47: the host of the router is at fault, a router behind it talks nonsense, or everything is
//! down. Nobody is blamed for the former, and the latter makes no storm.
//!
//! A leap of the wall clock is played by a library that is loaded before libc, made with the C compiler that the build
//! needs anyway; a host without ports by a network namespace of its own, in which this program runs once more.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use super::ask::{Ask, Protocol};
use crate::support::router::command;
use crate::support::*;

/// Adds the seconds in the file `WALL_SHIFT` to the wall clock.
const SHIFT: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at);
    FILE *file = id == CLOCK_REALTIME ? fopen(getenv("WALL_SHIFT"), "r") : NULL;
    long seconds = 0;
    if (file) {
        if (fscanf(file, "%ld", &seconds) == 1) at->tv_sec += seconds;
        fclose(file);
    }
    return failed;
}
"#;

/// Makes the library in `dir`, and says where it is.
fn shifting(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("shift.c"), dir.join("shift.so"));
    std::fs::write(&source, SHIFT).unwrap();
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(made.expect("a C compiler").success());
    library
}

#[test]
fn a_leap_of_the_wall_clock_changes_no_limit_and_no_ban() {
    let dir = TempDir::new().unwrap();
    let shift = dir.path().join("seconds");
    std::fs::write(&shift, "0").unwrap();
    let upstream = Upstream::scripted(|call| match call.model().as_str() {
        "sick" => respond(500).error("no", "server_error", None),
        _ => Reply::good(call),
    });
    let router = Config::new()
        .fail2ban("max_attempts: 1\nban_duration: 2m")
        .credential("a", &upstream.url(), "rpm: 4")
        .environment("LD_PRELOAD", &shifting(dir.path()).display().to_string())
        .environment("WALL_SHIFT", &shift.display().to_string())
        .start();
    router.chat(&chat("sick")).expect(500);
    for _ in 0..3 {
        router.chat(&chat("m")).expect(200);
    }
    for seconds in ["3600", "-3600", "86400", "0"] {
        std::fs::write(&shift, seconds).unwrap();
        std::thread::sleep(ms(1200));
        let refused = router.chat(&chat("m")).expect(429);
        let wait: u64 = refused.header("retry-after").and_then(|wait| wait.parse().ok()).expect("a number");
        assert!((1..=60).contains(&wait), "{seconds}: {wait}");
        let health = router.health();
        let pair = &health["models"]["a:sick"];
        let left = pair["next_recovery"].as_u64().unwrap_or(0);
        assert!(pair["is_banned"] == true && (60..=120).contains(&left), "{seconds}: {pair:#}");
        assert_eq!(health["credentials"]["a"]["current_rpm"], 4, "{seconds}");
    }
    let days: std::collections::HashSet<String> =
        router.access_log().iter().map(|line| line["ts"].to_string()[..11].to_owned()).collect();
    assert!(days.len() > 1, "the clock has not leapt: {days:?}");
}

/// A router whose output goes to these places.
struct Unheard {
    child: Child,
    address: std::net::SocketAddr,
    _dir: TempDir,
}

impl Unheard {
    fn start(upstream: &Upstream, stdout: Stdio, stderr: Stdio) -> Self {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let config = Config::single(&upstream.url()).yaml(port, &dir.path().display().to_string());
        std::fs::write(dir.path().join("config.yaml"), config).unwrap();
        let mut start = command(dir.path());
        start.args(["run", "--config", "config.yaml"]).stdout(stdout).stderr(stderr);
        let unheard =
            Self { child: start.spawn().unwrap(), address: ([127, 0, 0, 1], port).into(), _dir: dir };
        until("it is ready", || unheard.get("/health/ready").is_some_and(|answer| answer.status == 200));
        unheard
    }

    fn get(&self, path: &str) -> Option<Answer> {
        let mut conn = Conn::try_open(self.address)?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {MASTER_KEY}\r\n\r\n");
        conn.try_write(head.as_bytes()).ok()?;
        conn.try_answer("GET")
    }

    fn chat(&self) -> u16 {
        let mut conn = Conn::open(self.address);
        let body = chat("m").to_string();
        let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json";
        let key = format!("Authorization: Bearer {MASTER_KEY}\r\nContent-Length: {}", body.len());
        conn.write(format!("{head}\r\n{key}\r\n\r\n{body}").as_bytes());
        conn.answer().status
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_log_that_nobody_takes_costs_lines_and_no_request() {
    let upstream = Upstream::healthy();
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let on_a_full_disk = Unheard::start(&upstream, full(), full());
    let mut unread = Unheard::start(&upstream, Stdio::piped(), Stdio::piped());
    drop((unread.child.stdout.take(), unread.child.stderr.take()));
    for router in [&on_a_full_disk, &unread] {
        for _ in 0..20 {
            assert_eq!(router.chat(), 200);
        }
        until("lost lines are counted", || {
            let metrics = router.get("/metrics").unwrap().text();
            let dropped = metrics.lines().find_map(|l| l.strip_prefix("auto_ai_router_log_dropped_total "));
            dropped.and_then(|count| count.parse::<f64>().ok()).is_some_and(|count| count >= 1.0)
        });
        assert_eq!(router.chat(), 200);
    }
}

/// Lets a process have so many descriptors.
fn limit_descriptors(pid: u32, most: usize) {
    let limit = format!("--nofile={most}:");
    let set = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status();
    assert!(set.expect("prlimit is there").success());
}

/// Processor time of a process in clock ticks, a hundredth of a second each.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
    fields.map(|field| field.parse::<u64>().unwrap()).sum()
}

#[test]
fn without_descriptors_nobody_is_blamed_and_all_is_well_again_when_there_are_some() {
    let upstream = Upstream::scripted(|call| Reply::good(call).close());
    let config = Config::single(&upstream.url()).fail2ban("max_attempts: 1\nban_duration: permanent");
    let router = config.model("name: m\nrpm: 100").start();
    let pid = router.pid();
    let request = Request::chat(&chat("m"));
    let mut kept = Conn::open(router.address());
    kept.write(&request.bytes(&router));
    kept.answer().expect(200);
    let mut watching = Conn::open(router.address());
    watching.write(&Request::get("/health").bytes(&router));
    watching.answer().expect(200);
    limit_descriptors(pid, 0);
    kept.write(&request.bytes(&router));
    let answer = kept.answer().expect(503);
    assert!(!answer.message().is_empty());
    let before = ticks(pid);
    let mut waiting = Conn::open(router.address());
    waiting.write(&request.bytes(&router));
    std::thread::sleep(secs(2));
    let spent = ticks(pid) - before;
    assert!(spent < 60, "{spent} hundredths of a second of processor time in two seconds");
    watching.write(&Request::get("/health").bytes(&router));
    let health = watching.answer().expect(200).json();
    let entry = &health["models"]["a:m"];
    assert!(entry["strikes"] == 0 && entry["current_rpm"] == 1, "{entry:#}");
    limit_descriptors(pid, 1024);
    waiting.answer().expect(200);
    router.chat(&chat("m")).expect(200);
}

/// A shell's lines in a network of its own with ten ports, and then this program.
const FEW_PORTS: &str =
    r#"ip link set lo up && echo "40000 40009" > /proc/sys/net/ipv4/ip_local_port_range && exec "$0" "$@""#;

#[test]
fn without_ports_nobody_is_blamed_and_another_address_serves() {
    let alone = |script: &str| {
        let mut shell = Command::new("unshare");
        shell.args(["-rn", "sh", "-c", script]);
        shell
    };
    let may = alone(FEW_PORTS).arg("true").output();
    if !may.is_ok_and(|may| may.status.success()) {
        eprintln!("no network namespaces here: not tried");
        return;
    }
    let own = std::env::current_exe().unwrap();
    let inside = "matrix::local::inside_a_host_with_ten_ports";
    let ran = alone(FEW_PORTS).arg(own).args(["--exact", inside, "--ignored"]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "in a network of its own; see the test before"]
fn inside_a_host_with_ten_ports() {
    let listing = respond(200).json(&json!({"object": "list", "data": []})).close();
    let (lost, well) = (Upstream::healthy().lists_with(listing), Upstream::healthy());
    let router = Config::new()
        .fail2ban("max_attempts: 1\nban_duration: permanent")
        .credential("lost", &lost.url(), "priority: 0\nrpm: 100")
        .credential("well", &well.url(), "priority: 1\nmodels: [m]")
        .start();
    until("its models were asked for", || lost.discoveries() > 0);
    // A port that was used comes back after a second.
    std::thread::sleep(ms(1500));
    let taken: Vec<_> = std::iter::from_fn(|| std::net::TcpStream::connect(lost.address).ok()).collect();
    assert!(taken.len() > 2, "{} ports", taken.len());
    router.chat(&chat("m")).expect(200);
    router.chat(&chat("alone")).expect(503);
    assert_eq!((lost.count(), well.count()), (0, 1));
    let entry = router.health_of("lost");
    assert!(entry["is_banned"] == false && entry["strikes"] == 0 && entry["current_rpm"] == 0, "{entry:#}");
    drop(taken);
}

/// What a router says that wants to be markup, and more than there is.
fn hostile() -> Reply {
    let name = "<script>alert(1)</script>";
    let credential =
        json!({"type": name, "current_rpm": -5, "limit_rpm": 1e300, "limit_tpm": "many", "reason": name});
    respond(200)
        .json(&json!({"status": name, "version": name, "credentials_available": 1, "total_credentials": 1,
        "credentials": {name: credential}, "models": {name: {"model": name, "credential": name}}}))
}

#[test]
fn a_router_whose_health_is_huge_slow_deep_or_hostile_harms_nobody() {
    let deep = format!("{{\"credentials\":{}1{}}}", "{\"a\":".repeat(5000), "}".repeat(5000));
    let huge = vec![b' '; 48 << 20];
    let drip = respond(200).header("content-length", "900").head().send("{\"status\":").paced(secs(1)).hang();
    let says = [
        ("huge", respond(200).body("application/json", huge)),
        ("slow", drip),
        ("deep", respond(200).body("application/json", deep)),
        ("failing", respond(500).body("text/plain", "no")),
        ("hostile", hostile()),
    ];
    let peers = says.map(|(name, health)| (name, Upstream::healthy().tells(health)));
    let config = Config::new().monitoring("peer_health_interval: 200ms").fail2ban("max_attempts: 1");
    let config = peers.iter().fold(config, |config, (name, peer)| {
        config.proxy(name, &peer.url(), &key_of(name), &format!("models: [{name}]"))
    });
    let router = config.start();
    let before = router.resident_kib();
    std::thread::sleep(secs(2));
    for (name, _) in &peers {
        let answer = router.chat(&chat(name)).expect(200);
        assert!(answer.took < secs(3), "{name}: {:?}", answer.took);
        let entry = router.health_of(name);
        assert!(entry["strikes"] == 0 && entry["is_banned"] == false, "{entry:#}");
    }
    for page in ["/vhealth", "/trace", "/vhealth?format=csv"] {
        let answer = router.get(page).expect(200);
        let html = answer.header("content-type").is_some_and(|kind| kind.contains("html"));
        assert!(!html || !answer.text().contains("<script>alert"), "{page} has markup of a stranger");
    }
    let more = router.resident_kib().saturating_sub(before);
    assert!(more < 96 << 10, "{more} KiB more");
}

#[test]
fn in_a_total_outage_attempts_stay_within_the_budget() {
    const REQUESTS: usize = 400;
    let fail = |_: &Call| respond(500).error("no", "server_error", None);
    let upstreams = [(); 3].map(|()| Upstream::scripted(fail));
    let names = ["a", "b", "c"].iter().zip(&upstreams);
    let config =
        names.fold(Config::new().never_bans(), |config, (name, at)| config.credential(name, &at.url(), ""));
    let router = config.start();
    let start = std::time::Instant::now();
    let ask = Ask::chat(router.key(), "m", false);
    let slowest = at_once(8, |_| {
        let answers = (0..REQUESTS / 8).map(|_| {
            let seen = ask.send(&router, Protocol::H1);
            assert_eq!(seen.status, Some(500), "{}", seen.text());
            seen.took
        });
        answers.max().unwrap_or_default()
    });
    let took = start.elapsed();
    let attempts: usize = upstreams.iter().map(Upstream::count).sum();
    let allowed = REQUESTS + REQUESTS / 5 + 10 * (took.as_secs() as usize + 10);
    assert!(attempts >= REQUESTS && attempts <= allowed, "{attempts} attempts of {allowed}, {took:?}");
    assert!(slowest.iter().all(|time| *time < secs(5)), "{slowest:?}");
    let spent = router.metric("auto_ai_router_rejected_total", &[("reason", "retry_budget")]);
    assert!(spent.is_some_and(|count| count > 0.0), "the budget was never spent");
}
