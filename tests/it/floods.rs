//! HTTP/2 as nobody but an attacker speaks it: frames that cost work and ask for nothing. The connection ends, and all
//! others go on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use crate::support::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header block of a request for the models, with a key that is not the router's: nothing is indexed.
fn block() -> Vec<u8> {
    // :method GET and :scheme http by their numbers in the static table, :path and :authority as literals.
    let mut block = vec![0x82, 0x86];
    for (name, value) in [(0x04, "/v1/models"), (0x01, "a")] {
        block.extend_from_slice(&[name, u8::try_from(value.len()).unwrap()]);
        block.extend_from_slice(value.as_bytes());
    }
    block
}

/// Sends the frames that `next` makes until the connection ends; how many went, if it ends at all.
fn flood(router: &Router, most: u32, next: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
    let mut tcp = TcpStream::connect(router.address()).unwrap();
    tcp.set_read_timeout(Some(ms(1))).unwrap();
    tcp.set_write_timeout(Some(secs(5))).unwrap();
    tcp.write_all(PREFACE).unwrap();
    let mut sink = [0; 4096];
    for n in 0..most {
        if tcp.write_all(&next(n)).is_err() {
            return Some(n);
        }
        if n % 50 == 49 {
            match tcp.read(&mut sink) {
                Ok(0) => return Some(n),
                Err(why) if why.kind() == std::io::ErrorKind::ConnectionReset => return Some(n),
                _ => {}
            }
        }
    }
    let end = Instant::now();
    while end.elapsed() < secs(5) {
        match tcp.read(&mut sink) {
            Ok(0) => return Some(most),
            Err(why) if why.kind() == std::io::ErrorKind::ConnectionReset => return Some(most),
            _ => {}
        }
    }
    None
}

fn is_unimpressed(name: &str, next: impl Fn(u32) -> Vec<u8>) {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    router.get("/v1/models").expect(200);
    let before = router.resident_kib();
    let ended = flood(&router, 5000, next);
    assert!(ended.is_some_and(|frames| frames < 5000), "{name}: {ended:?}");
    let grown = router.resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{name}: {grown} KiB");
    router.chat(&chat("m")).expect(200);
}

#[test]
fn a_flood_of_pings_ends_its_connection() {
    is_unimpressed("pings", |_| frame(6, 0, 0, &[7; 8]));
}

#[test]
fn a_flood_of_settings_ends_its_connection() {
    is_unimpressed("settings", |_| frame(4, 0, 0, &[]));
}

#[test]
fn a_flood_of_empty_data_or_priorities_ends_its_connection() {
    is_unimpressed("priorities", |n| frame(2, 0, 2 * n + 1, &[0, 0, 0, 0, 9]));
    is_unimpressed("empty data", |n| match n {
        0 => frame(1, 4, 1, &block()),
        _ => frame(0, 0, 1, &[]),
    });
}

#[test]
fn streams_that_are_opened_and_reset_at_once_end_their_connection() {
    is_unimpressed("rapid reset", |n| {
        let stream = 2 * n + 1;
        [frame(1, 5, stream, &block()), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    });
}

#[test]
fn a_header_block_without_end_ends_its_connection() {
    is_unimpressed("continuations", |n| match n {
        0 => frame(1, 1, 1, &block()),
        _ => frame(9, 0, 1, &[]),
    });
    is_unimpressed("large continuations", |n| match n {
        0 => frame(1, 1, 1, &block()),
        _ => frame(9, 0, 1, &[0x82; 4096]),
    });
}

#[test]
fn a_small_block_that_unpacks_into_a_large_one_is_not_unpacked_for_long() {
    // One header of 4,000 bytes goes into the table; each byte after that is another copy of it.
    let mut bomb = block();
    bomb.extend_from_slice(&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    bomb.extend_from_slice(&[b'y'; 4000]);
    bomb.extend_from_slice(&[0xbe; 8000]);
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    router.get("/v1/models").expect(200);
    let before = router.resident_kib();
    let mut sent = 0;
    let lines: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut tcp = TcpStream::connect(router.address()).unwrap();
            tcp.write_all(PREFACE).unwrap();
            for n in 0..50 {
                let piece = frame(1, 5, 2 * n + 1, &bomb);
                sent += piece.len();
                if tcp.write_all(&piece).is_err() {
                    break;
                }
            }
            tcp
        })
        .collect();
    std::thread::sleep(ms(500));
    let grown = router.resident_kib().saturating_sub(before) as usize * 1024;
    assert!(grown < 5 * sent.max(4 << 20), "{grown} bytes for {sent}");
    drop(lines);
    router.chat(&chat("m")).expect(200);
}

#[test]
fn a_connection_that_does_not_begin_with_settings_ends() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let mut tcp = TcpStream::connect(router.address()).unwrap();
    tcp.set_read_timeout(Some(secs(8))).unwrap();
    let (line, _) = PREFACE.split_at(24);
    tcp.write_all(&[line, &frame(6, 0, 0, &[7; 8])].concat()).unwrap();
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer);
    assert!(!answer.windows(8).any(|bytes| bytes == [7; 8]), "the ping is answered");
    let rejected = router.metric("auto_ai_router_rejected_total", &[("reason", "http2_preface")]);
    assert_eq!(rejected, Some(1.0));
    router.chat(&chat("m")).expect(200);
}
