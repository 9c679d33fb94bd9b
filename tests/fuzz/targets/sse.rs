//! Event streams: frames are the same wherever their bytes are cut, nothing is lost, and they say what the standard
//! says that they say.

use auto_ai_router::llm::sse::SseDecoder;
use bytes::Bytes;

pub const WORDS: &[&str] = &[
    "data:", "data: ", "data", "event: ", "id: 1", ":", "\n", "\r", "\r\n", "\n\n", "\r\n\r\n", "\u{feff}",
    "[DONE]",
];

/// Inputs up to this length are cut at every place, longer ones at as many places.
const CUTS: usize = 256;

pub fn seeds() -> Vec<Vec<u8>> {
    let odd = [
        "data: a\n\nevent: b\r\ndata: c\rdata\r\r: d\n\n\n",
        "\u{feff}data: 1\r\n\r\ndata: 2",
        "\r\n\r\n\n\rdata:x",
    ];
    let streams = super::recorded(&[".sse"]).into_iter().map(|mut stream| {
        stream.truncate(CUTS * 4);
        stream
    });
    odd.iter().map(|text| text.as_bytes().to_vec()).chain(streams).collect()
}

pub fn check(input: &[u8]) {
    let whole = frames([input]);
    assert_eq!(
        whole.iter().flat_map(|frame| frame.raw.iter().copied()).collect::<Vec<_>>(),
        input,
        "nothing is lost"
    );
    assert_eq!(frames(input.chunks(1)), whole, "byte by byte");
    let step = input.len() / CUTS + 1;
    for cut in (1..input.len()).step_by(step) {
        let (one, other) = input.split_at(cut);
        assert_eq!(frames([one, other]), whole, "cut at {cut}");
    }
    if !input.windows(3).any(|bytes| bytes == "\u{feff}".as_bytes()) {
        let said = whole.into_iter().filter_map(|frame| Some((frame.event.unwrap_or_default(), frame.data?)));
        assert_eq!(said.collect::<Vec<_>>(), by_the_standard(input));
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Said {
    raw: Bytes,
    event: Option<Vec<u8>>,
    data: Option<Vec<u8>>,
    is_comment: bool,
}

fn frames<'i>(chunks: impl IntoIterator<Item = &'i [u8]>) -> Vec<Said> {
    let (mut decoder, mut found) = (SseDecoder::default(), Vec::new());
    let mut take = |frame: auto_ai_router::llm::sse::Frame| {
        found.push(Said {
            event: frame.event().map(<[u8]>::to_vec),
            data: frame.data().map(|data| data.to_vec()),
            is_comment: frame.is_comment(),
            raw: frame.raw,
        });
    };
    for chunk in chunks {
        decoder.push(Bytes::copy_from_slice(chunk));
        while let Some(frame) = decoder.next_frame().expect("small") {
            take(frame);
        }
    }
    decoder.finish().map(&mut take);
    found
}

/// Name and data of each event (HTML standard, section 9.2.6), line by line, and of one whose blank line is missing.
fn by_the_standard(input: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut found, mut event, mut data) = (Vec::new(), Vec::new(), None::<Vec<u8>>);
    for line in lines(input).into_iter().chain([&b""[..]]) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"" if line.is_empty() => {
                found.extend(data.take().map(|data| (std::mem::take(&mut event), data)));
                event.clear();
            }
            b"event" => event = value.to_vec(),
            b"data" => {
                data = Some(data.take().map_or(value.to_vec(), |data| [&data, &b"\n"[..], value].concat()))
            }
            _ => {}
        }
    }
    found
}

/// Lines end in CR LF, LF or CR.
fn lines(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        found.push(&rest[..end]);
        let ends = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + ends..];
    }
    found.push(rest);
    found
}
