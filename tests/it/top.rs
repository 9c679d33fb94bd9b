//! `status` and `top`: the running router as a supervisor and as a terminal see it.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::router::{binary, run};
use crate::support::*;

fn failing() -> Reply {
    respond(503).error("no", "server_error", None)
}

#[test]
fn status_says_with_its_exit_code_how_the_router_is() {
    let (well, ill) = (Upstream::healthy(), Upstream::healthy());
    let router = Config::new()
        .fail2ban("max_attempts: 1\nban_duration: 1h\nerror_codes: [503]")
        .credential("well", &well.url(), "models: [m]")
        .credential("i|l", &ill.url(), "models: [bad]")
        .start();
    let (code, line, _) = router.operate(&["status"]);
    assert_eq!(code, 0, "{line}");
    assert!(line.starts_with("OK: ") && line.ends_with("| credentials_up=2;;;0;2 in_flight=0\n"), "{line}");
    ill.set(|_| failing());
    router.chat(&chat("bad"));
    let (code, line, _) = router.operate(&["status"]);
    assert_eq!(code, 1, "{line}");
    assert!(line.starts_with("WARNING: ") && line.contains("banned: i/l | "), "{line}");
    well.set(|_| failing());
    router.chat(&chat("m"));
    let (code, line, _) = router.operate(&["status"]);
    assert_eq!(code, 2, "{line}");
    assert!(line.starts_with("CRITICAL: ") && line.contains("nothing can be served"), "{line}");
}

#[test]
fn status_warns_of_a_reload_that_was_refused() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let file = router.dir().join("config.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{good}\nnonsense: 1\n")).unwrap();
    assert_eq!(router.operate(&["reload", "--socket", "admin.sock"]).0, 78);
    let (code, line, _) = router.operate(&["status", "--socket", "admin.sock"]);
    assert!(code == 1 && line.contains("the last reload was refused"), "{code}: {line}");
}

#[test]
fn status_of_no_router_is_critical_and_of_nobody_knows_which_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let (code, line, _) = run(dir.path(), &["status", "--socket", "nobody.sock"]);
    assert!(code == 2 && line.starts_with("CRITICAL: no router answers at nobody.sock"), "{code}: {line}");
    let (code, line, _) = run(dir.path(), &["status"]);
    assert!(code == 3 && line.starts_with("UNKNOWN: "), "{code}: {line}");
}

#[test]
fn top_prints_one_picture_where_there_is_no_terminal() {
    let upstream = Upstream::healthy();
    let router = Config::new().credential("main", &upstream.url(), "rpm: 10").start();
    router.chat(&chat("m")).expect(200);
    for args in [&["top", "--once"][..], &["top"]] {
        let (code, picture, _) = router.operate(args);
        assert_eq!(code, 0, "{picture}");
        for text in ["healthy: 1/1 credentials available", "main", "available", "1/10"] {
            assert!(picture.contains(text), "{text} is missing in\n{picture}");
        }
        assert!(!picture.contains('\x1b'), "{picture:?}");
    }
    let (code, _, complaint) = run(router.dir(), &["top", "--once", "--socket", "nobody.sock"]);
    assert!(code == 1 && complaint.contains("no router answers at nobody.sock"), "{code}: {complaint}");
}

/// What a terminal shows on which `commands` run, with `TOP` for the command, and whether it is then as it was before:
/// `script` of util-linux is the terminal. `keys` are pressed after three seconds.
fn on_a_terminal(router: &Router, commands: &str, keys: &str) -> String {
    let commands = commands.replace("TOP", &format!("{} top", binary().display()));
    let commands = format!(
        "stty rows 20 cols 120; stty -a > before; {commands}; stty -a > after; cmp before after && echo restored"
    );
    let mut script = Command::new("script")
        .args(["-qec", &commands, "/dev/null"])
        .current_dir(router.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script of util-linux is there");
    let mut pressed = script.stdin.take().unwrap();
    std::thread::sleep(secs(3));
    pressed.write_all(keys.as_bytes()).unwrap();
    let out = script.wait_with_output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn top_is_live_on_a_terminal_and_puts_it_back_whether_by_key_or_by_signal() {
    let upstream = Upstream::healthy();
    let router = Config::new().credential("main", &upstream.url(), "").start();
    let terminated = "TOP < /dev/tty & sleep 3; kill -TERM $!; wait $!";
    for (commands, keys) in [("TOP", "sq"), ("TOP", "\u{3}"), (terminated, "")] {
        let seen = on_a_terminal(&router, commands, keys);
        assert!(seen.contains("\x1b[?1049h") && seen.contains("\x1b[?1049l"), "{seen:?}");
        assert!(seen.matches("healthy: 1/1 credentials available").count() >= 2, "{seen:?}");
        assert!(seen.trim_end().ends_with("restored"), "{seen:?}");
    }
}
