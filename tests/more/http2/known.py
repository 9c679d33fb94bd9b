"""What the router does otherwise, and why that stands.

Each such case must still go that way, and harms nobody: the connection ends or goes on as well as ever, and what reaches the
upstream is a whole request and nothing besides.
"""

import collections

Known = collections.namedtuple("Known", "comes why may_reach", defaults=[False])

# The h2 crate (0.4, `codec/framed_read.rs`) has this one code for all frames and header blocks that it cannot read.
COARSE = Known(r"(HEADERS on 1 of \d+ \(\d+\), )?(DATA on 1 of \d+, )?GOAWAY PROTOCOL_ERROR, end",
               "the connection ends, but h2 says PROTOCOL_ERROR for what has a code of its own")
KNOWN = {says: COARSE for says in [
    "a header block that cannot be decoded ends the connection",
    "DATA on a half-closed stream is refused",
    "HEADERS on a half-closed stream is refused",
    "HEADERS behind RST_STREAM is refused",
    "HEADERS on a stream that is over ends the connection",
    "DATA behind the end of a request is refused",
    "PRIORITY of four bytes is refused",
    "RST_STREAM of three bytes ends the connection",
    "SETTINGS that acknowledge and say something end the connection",
    "SETTINGS of eight bytes end the connection",
    "a window that is too large ends the connection",
    "PING of six bytes ends the connection",
    "GOAWAY of seven bytes ends the connection",
    "WINDOW_UPDATE of three bytes ends the connection",
    "an index beyond both tables ends the connection",
    "a name of an index beyond both tables ends the connection",
    "a change of the table behind the fields ends the connection",
    "an integer beyond all bounds ends the connection",
    "padding of Huffman's code of more than seven bits ends the connection",
    "padding of Huffman's code with zeros ends the connection",
    "the end of Huffman's code within a string ends the connection",
    "a string that is longer than its block ends the connection",
    "index 0 ends the connection",
    "a table larger than allowed ends the connection",
]}
KNOWN["a pseudo-header field in trailers is malformed"] = Known(
    r"HEADERS on 1 of \d+ \(200\)", "h2 drops it with the other trailers, none of which goes anywhere", True)
KNOWN["a `:path` with a fragment is malformed"] = Known(
    r"HEADERS on 1 of \d+ \(200\)", "h2 reads it by the http crate, which cuts a fragment off", True)
