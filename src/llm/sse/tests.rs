//! Frames, however the bytes come.

use proptest::prelude::*;

use super::*;

/// All frames of a stream that comes in these pieces; the unfinished rest last.
fn frames(pieces: &[&[u8]]) -> Vec<Frame> {
    let mut decoder = SseDecoder::default();
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(frame) = decoder.next_frame().unwrap() {
            frames.push(frame);
        }
    }
    frames.extend(decoder.finish());
    frames
}

fn data(stream: &str) -> Vec<String> {
    let text = |frame: &Frame| frame.data().map(|data| String::from_utf8(data.to_vec()).unwrap());
    frames(&[stream.as_bytes()]).iter().filter_map(text).collect()
}

#[test]
fn all_three_line_ends_are_understood() {
    for stream in [
        "data: a\n\ndata: b\n\n",
        "data: a\r\n\r\ndata: b\r\n\r\n",
        "data: a\r\rdata: b\r\r",
        "data:a\r\n\ndata:b\n\r\n",
        "\u{feff}data: a\n\ndata: b",
        "data: a\n\ndata: b\n",
    ] {
        assert_eq!(data(stream), ["a", "b"], "{stream:?}");
    }
}

#[test]
fn data_lines_are_joined_and_lose_one_space() {
    assert_eq!(data("data:  a\ndata\nid: 1\ndata:b\n\n"), [" a\n\nb"]);
    assert_eq!(data("datax: a\n: data: b\n\n"), Vec::<String>::new());
}

#[test]
fn a_frame_says_what_it_is() {
    let all = frames(&[b": hello\n\nevent: ping\ndata: {}\n\nretry: 5\n\n\n"]);
    assert!(all[0].is_comment() && all[0].data().is_none());
    assert_eq!(all[1].event(), Some(&b"ping"[..]));
    assert!(!all[1].is_comment() && !all[2].is_comment());
    assert_eq!(all[3].raw, "\n");
    assert!(all[3].is_comment());
}

#[test]
fn a_whole_frame_is_not_copied() {
    let chunk = Bytes::from_static(b"data: 1\n\ndata: 2\n\n");
    let mut decoder = SseDecoder::default();
    decoder.push(chunk.clone());
    let first = decoder.next_frame().unwrap().unwrap();
    let second = decoder.next_frame().unwrap().unwrap();
    assert_eq!((first.at, second.at), (Some(0), Some(9)));
    assert_eq!(second.raw.as_ptr(), chunk[9..].as_ptr());
    assert_eq!(decoder.next_frame(), Ok(None));
}

#[test]
fn a_stream_of_lone_carriage_returns_is_not_held_back() {
    let mut decoder = SseDecoder::default();
    decoder.push(Bytes::from_static(b"data: 1\r\r"));
    assert!(decoder.next_frame().unwrap().is_some());
}

#[test]
fn a_frame_that_never_ends_is_a_fault() {
    let mut decoder = SseDecoder::default();
    for _ in 0..MOST_FRAME >> 20 {
        decoder.push(Bytes::from(vec![b'x'; 1 << 20]));
        assert_eq!(decoder.next_frame(), Ok(None));
    }
    decoder.push(Bytes::from_static(b"x"));
    assert_eq!(decoder.next_frame(), Err(FrameTooLarge));
    decoder = SseDecoder::default();
    decoder.push(Bytes::from([vec![b'x'; MOST_FRAME], b"\n\n".to_vec()].concat()));
    assert_eq!(decoder.next_frame(), Err(FrameTooLarge));
}

proptest! {
    #[test]
    fn cuts_change_nothing(
        stream in "(data: |event: |a|é|:|\n|\r|\r\n|\n\n|\r\n\r\n|\u{feff}){0,24}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let bytes = stream.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        let seen = |pieces: &[&[u8]]| -> Vec<_> {
            frames(pieces).iter().map(|f| (f.raw.clone(), f.data().map(|d| d.to_vec()), f.first, f.lines)).collect()
        };
        let whole = seen(&[bytes]);
        prop_assert_eq!(&seen(&pieces), &whole);
        prop_assert_eq!(&seen(&single), &whole);
        let together: Vec<u8> = whole.iter().flat_map(|(raw, ..)| raw.to_vec()).collect();
        prop_assert_eq!(together, bytes);
    }
}
