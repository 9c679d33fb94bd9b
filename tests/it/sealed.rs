//! Secrets at rest: sealed on the command line, opened by the router.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::router::command;
use crate::support::*;

const KEY: &str = "AUTO_AI_ROUTER_SECRET_KEY";
const OLD: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const NEW: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

/// Runs it with text at its standard input: exit code, standard output and error.
fn pipe(mut command: Command, args: &[&str], input: &str) -> (i32, String, String) {
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn with_key(dir: &Path, key: &str) -> Command {
    let mut command = command(dir);
    command.env(KEY, key);
    command
}

fn seal(text: &str) -> String {
    let dir = TempDir::new().unwrap();
    let (code, out, err) = pipe(with_key(dir.path(), OLD), &["secrets", "encrypt"], text);
    assert_eq!(code, 0, "{err}");
    out.trim().to_owned()
}

#[test]
fn a_sealed_key_is_what_the_upstream_gets() {
    let upstream = Upstream::healthy();
    let sealed = seal("sk-upstream-sealed-0123456789\n");
    assert!(sealed.starts_with("enc:v1:") && !sealed.contains("upstream"));
    let extra = format!("api_key: {sealed}");
    let config = Config::new().keyless("openai", "a", &upstream.url(), &extra).environment(KEY, OLD);
    let router = config.start();
    router.chat(&chat("m")).expect(200);
    assert_eq!(upstream.only().key.as_deref(), Some("sk-upstream-sealed-0123456789"));
}

#[test]
fn what_was_sealed_opens_with_its_key_alone() {
    let dir = TempDir::new().unwrap();
    let sealed = seal("two words");
    assert_eq!(pipe(with_key(dir.path(), OLD), &["secrets", "decrypt"], &sealed).1, "two words\n");
    let (code, out, err) = pipe(with_key(dir.path(), NEW), &["secrets", "decrypt"], &sealed);
    assert!(code == 78 && out.is_empty() && err.contains("sealed with another one"), "{code} {out} {err}");
    let (code, _, err) = pipe(command(dir.path()), &["secrets", "decrypt"], &sealed);
    assert!(code == 78 && err.contains(KEY), "{code} {err}");
    let (code, key, _) = pipe(command(dir.path()), &["secrets", "key"], "");
    assert!(code == 0 && key.trim().len() == 64, "{key}");
}

const FILE: &str = "\
# Kept as it is: sk-comment.
server:
  host: 127.0.0.1
  master_key: 'sk-master-0123456789abcdef'   # why
credentials:
  - {name: a, api_key: sk-first-0123456789, base_url: https://api.openai.com}
  - name: b
    api_key: os.environ/B_KEY
    base_url: https://api.openai.com
    headers:
      x-token: \"a \\\"quoted\\\" token\"
";

#[test]
fn a_file_is_sealed_where_its_secrets_stand_and_nowhere_else() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("config.yaml");
    std::fs::write(&file, FILE).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let args = ["secrets", "encrypt", "config.yaml"];
    let (code, out, err) = pipe(with_key(dir.path(), OLD), &args, "");
    assert_eq!((code, out.as_str()), (0, "config.yaml: 3 sealed\n"), "{err}");
    let text = std::fs::read_to_string(&file).unwrap();
    for secret in ["sk-master", "sk-first", "quoted"] {
        assert!(!text.contains(secret), "{text}");
    }
    for kept in
        ["# Kept as it is: sk-comment.\n", "   # why\n", "os.environ/B_KEY\n", "- {name: a, api_key: enc:v1:"]
    {
        assert!(text.contains(kept), "{kept} in\n{text}");
    }
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(pipe(with_key(dir.path(), OLD), &args, "").1, "config.yaml: 0 sealed\n");
    let check = |key: &str| {
        let mut command = with_key(dir.path(), key);
        command.env("B_KEY", "sk-second-0123456789");
        pipe(command, &["check", "-c", "config.yaml"], "")
    };
    assert_eq!(check(OLD).0, 0, "{}", check(OLD).2);
    let (code, _, err) = check(NEW);
    assert!(code == 78 && err.contains("config.yaml:4:15") && err.contains("no key opens"), "{err}");
    assert!(!err.contains("sk-master"), "{err}");
}

#[test]
fn a_rotation_needs_both_keys_and_keeps_every_other_byte() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("config.yaml");
    let sealed = [seal("one"), seal("two")];
    let text = format!("a: \"{}\" # \u{e9}\r\nb: [{}]\n", sealed[0], sealed[1]);
    std::fs::write(&file, &text).unwrap();
    let args = ["secrets", "rotate", "config.yaml"];
    let (code, _, err) = pipe(with_key(dir.path(), NEW), &args, "");
    assert!(code == 78 && err.contains("config.yaml:1: "), "{err}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "all or nothing");
    let (code, out, err) = pipe(with_key(dir.path(), &format!("{NEW}\n{OLD}")), &args, "");
    assert_eq!((code, out.as_str()), (0, "config.yaml: 2 sealed again\n"), "{err}");
    let new = std::fs::read_to_string(&file).unwrap();
    let value = |from: &str, to: &str| new.split_once(from).unwrap().1.split_once(to).unwrap().0.to_owned();
    let values = [value("a: \"", "\""), value("[", "]")];
    assert_eq!(new, text.replace(&sealed[0], &values[0]).replace(&sealed[1], &values[1]));
    for (value, wanted) in values.iter().zip(["one\n", "two\n"]) {
        assert_eq!(pipe(with_key(dir.path(), NEW), &["secrets", "decrypt"], value).1, wanted);
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside the file");
}

#[test]
fn the_key_may_come_from_a_file_or_from_the_service_manager() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("secret-key"), format!("{OLD}\n")).unwrap();
    let sealed = seal("x");
    for (name, value) in [
        ("AUTO_AI_ROUTER_SECRET_KEY_FILE", dir.path().join("secret-key")),
        ("CREDENTIALS_DIRECTORY", dir.path().to_owned()),
    ] {
        let mut command = command(dir.path());
        command.env(name, value);
        assert_eq!(pipe(command, &["secrets", "decrypt"], &sealed).1, "x\n", "{name}");
    }
}
