//! The admin side: where it listens, who may act there, and what happens when its place is taken.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::support::router::free_port;
use crate::support::*;

const UNBAN: &str = "/admin/credentials/a/unban";

/// A credential that its first failure bans for good, and that has failed.
fn banned(config: Config, upstream: &Upstream) -> Router {
    let config = config.fail2ban("max_attempts: 1\nban_duration: permanent");
    let router = config.credential("a", &upstream.url(), "").start();
    upstream.set(|_| respond(500).error("no", "server_error", None));
    router.chat(&chat("m"));
    assert_eq!(router.health_of("a")["is_banned"], true);
    router
}

/// Posts to the admin listener at a loopback port.
fn post_at(port: u16, path: &str, key: Option<&str>) -> Answer {
    let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    let mut conn = Conn::open(([127, 0, 0, 1], port).into());
    conn.write(format!("POST {path} HTTP/1.1\r\nHost: x\r\n{key}Content-Length: 0\r\n\r\n").as_bytes());
    conn.answer()
}

#[test]
fn over_tcp_it_takes_the_master_key_and_nothing_less() {
    let upstream = Upstream::healthy();
    let port = free_port();
    let router = banned(Config::new().admin(&format!("listen: 127.0.0.1:{port}")), &upstream);
    for key in [None, Some("sk-wrong"), Some(key_of("a").as_str())] {
        assert_eq!(post_at(port, UNBAN, key).expect(401).code(), "invalid_api_key");
    }
    assert_eq!(router.health_of("a")["is_banned"], true);
    assert_eq!(post_at(port, UNBAN, Some(MASTER_KEY)).expect(200).json()["credential"], "a");
    assert_eq!(router.health_of("a")["is_banned"], false);
    post_at(port, "/admin/credentials/b/unban", Some(MASTER_KEY)).expect(404).error();
    post_at(port, "/v1/models", Some(MASTER_KEY)).expect(404).error();
}

#[test]
fn without_a_word_it_is_a_private_socket_named_after_the_port() {
    let upstream = Upstream::healthy();
    let router = banned(Config::new().admin(""), &upstream);
    let name = format!("auto-ai-router/admin-{}.sock", router.port);
    let mode = std::fs::metadata(router.dir().join(&name)).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    assert_eq!(router.admin_at(&name, UNBAN).0, 200);
    assert_eq!(router.health_of("a")["is_banned"], false);
}

#[test]
fn a_place_in_use_is_a_warning_and_no_failed_start() {
    let upstream = Upstream::healthy();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = taken.local_addr().unwrap().to_string();
    let first = Config::single(&upstream.url()).start();
    let socket = format!("unix:{}", first.dir().join("admin.sock").display());
    for (admin, monitoring, named) in [
        (place.as_str(), "\"off\"", "admin.listen"),
        (socket.as_str(), "\"off\"", "admin.listen"),
        ("\"off\"", place.as_str(), "monitoring.prometheus_listen"),
    ] {
        let config = Config::single(&upstream.url()).admin(&format!("listen: {admin}"));
        let router = config.monitoring(&format!("prometheus_listen: {monitoring}")).start();
        router.chat(&chat("m")).expect(200);
        until("the warning is told", || router.stderr().contains(named));
    }
    assert_eq!(first.admin(UNBAN).0, 200, "the first router keeps its socket");
}

#[test]
fn a_socket_that_a_dead_router_has_left_is_no_hindrance() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    router.signal("-KILL");
    let router = router.relaunch();
    assert_eq!(router.admin(UNBAN).0, 200);
}
