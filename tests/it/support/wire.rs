//! HTTP/1.1 heads, read by hand: shared by the scripted provider and the raw client.

/// A start line and its headers.
#[derive(Clone, Debug)]
pub struct Head {
    pub start: String,
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// Takes a whole head from the front of `unread`, if it is there.
    pub fn take(unread: &mut Vec<u8>) -> Option<Self> {
        let end = unread.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let rest = unread.split_off(end);
        let text = std::mem::replace(unread, rest);
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut lines = text.split("\r\n");
        let start = lines.next()?.to_string();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(n, v)| (n.trim().to_string(), v.trim().to_string())).collect();
        Some(Self { start, headers })
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}
