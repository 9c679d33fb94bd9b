//! Files that are wrong about how connections come in.

use super::*;

/// The problems with these lines in the `server` section.
fn told(lines: &str) -> Vec<String> {
    let text = format!(
        "server:\n  master_key: 0123456789abcdef\n  host: 127.0.0.1\n{}credentials:\n  - {{name: a, api_key: key-of-a, base_url: \"https://h\"}}\n",
        lines.lines().map(|line| format!("  {line}\n")).collect::<String>()
    );
    let world = World::default().file("empty.pem", "nothing\n");
    let loaded = world.load(&text);
    loaded
        .problems
        .iter()
        .map(|problem| format!("{}:{} {}", problem.line, problem.column, problem.message))
        .collect()
}

#[test]
fn a_certificate_comes_with_its_key_and_out_of_a_file_that_holds_it() {
    assert_eq!(told("tls: {certificate: a.pem}"), ["4:22 `key` is missing beside it"]);
    assert_eq!(told("tls: {key: a.pem}"), ["4:14 `certificate` is missing beside it"]);
    let missing = told("tls: {certificate: a.pem, key: b.pem}");
    assert_eq!(missing, ["4:22 `certificate`: the file `a.pem` cannot be read: there is no such file"]);
    let empty = told("tls: {certificate: empty.pem, key: b.pem}");
    assert_eq!(empty, ["4:22 the file `empty.pem` holds no certificate (PEM) that can be read"]);
    assert_eq!(
        told("tls: {client_ca: a.pem}"),
        ["4:20 `client_ca` means nothing without `server.tls.certificate`"]
    );
}

#[test]
fn a_place_to_listen_is_an_address_of_its_own_and_speaks_what_it_can() {
    assert_eq!(told("listen: [{address: \"127.0.0.1:8080\"}]"), ["4:22 the router listens there already"]);
    assert_eq!(
        told("listen: [{address: \"127.0.0.1:1\", tls: true}]"),
        ["4:42 there is no certificate to speak TLS with"]
    );
    assert_eq!(told("listen: [{address: \"unix:/x\"}]"), ["4:22 callers are met at an address and a port"]);
    let public = told("listen: [{address: \"203.0.113.1:1\"}, {address: \"10.0.0.1:1\"}]");
    assert_eq!(public.len(), 1, "{public:?}");
    assert!(public[0].starts_with("4:22 the router listens on a public address without TLS"), "{public:?}");
}

#[test]
fn proxies_are_networks_and_must_be_named_where_their_protocol_is_taken() {
    assert_eq!(told("trusted_proxies: [10.0.0.0/8, ten]"), ["4:33 `ten` is no network"]);
    let nobody = told("proxy_protocol: true");
    assert_eq!(nobody.len(), 1, "{nobody:?}");
    assert!(nobody[0].ends_with("`proxy_protocol` is taken from `trusted_proxies` only, and there are none"));
    assert_eq!(told("proxy_protocol: true\ntrusted_proxies: [127.0.0.1]"), Vec::<String>::new());
}
