"""Requests that are malformed (section 8), and header blocks that break RFC 7541. None of them reaches an upstream."""

import wire
from outcomes import AUTHORITY, BODY, GET, KEY, PATH, POST, REST, SCHEME, broken, case, chat, malformed, post, refused
from wire import COMPRESSION, END_HEADERS, END_STREAM, PROTOCOL, PUSH_PROMISE, block, continuation, data, frame, headers

METHOD = POST[0]
FILLER = ("x-filler", "f" * 3000)
TRAILER = ("x-test", "ok")


def fields(section, says, *more):
    """A chat with such fields behind its own."""
    return case(section, says, malformed(), chat([*POST, *more]))


def coded(section, says, rest):
    """A header block with such bytes behind it."""
    return case(section, says, broken(COMPRESSION), headers(1, block(*GET) + rest))


def crowded(line):
    """A header list that is larger than SETTINGS allow, each frame as large as it may be."""
    most = line.theirs[wire.MAX_HEADER_LIST_SIZE] // len(FILLER[1])
    parts = [block(*[FILLER] * 5)] * (most // 5 + 1)
    return headers(1, block(*GET), END_STREAM) + b"".join(continuation(1, part, 0) for part in parts) + continuation(1, b"")


def length(says, *bodies):
    """A request whose length is said to be one more than the first of its pieces."""
    pieces = [data(1, piece, END_STREAM if at == len(bodies) else 0) for at, piece in enumerate(bodies, 1)]
    return case("8.1.1", says, malformed(), post(1, ("content-length", str(len(bodies[0]) + 1))), *pieces)


CASES = [
    case("8.1", "HEADERS in the middle of a body is malformed", malformed(), post(), data(1, b"test"),
         headers(1, block(TRAILER), END_HEADERS), data(1, BODY, END_STREAM)),
    case("8.1", "a pseudo-header field in trailers is malformed", malformed(), post(), data(1, BODY),
         headers(1, block((":method", "POST")))),
    case("8.1", "a pseudo-header field in the middle of a body is malformed", malformed(), post(), data(1, BODY),
         headers(1, block((":method", "POST")), END_HEADERS)),
    case("8.1", "a field in capitals in trailers is malformed", malformed(), post(), data(1, BODY),
         headers(1, block(("X-Test", "ok")))),
    length("a body that is shorter than its length is malformed", BODY),
    length("a body in pieces that is longer than its length is malformed", BODY, b"  "),
    case("8.1.1", "a body that is longer than its length is malformed", malformed(), post(1, ("content-length", "1")),
         data(1, BODY, END_STREAM)),
    case("8.1.1", "a length without a body is malformed", malformed(),
         headers(1, block(*POST, ("content-length", str(len(BODY)))))),
    case("8.1.1", "a length that is no number is malformed", malformed(), chat([*POST, ("content-length", "57x")])),
    case("8.1.1", "a length below nought is malformed", malformed(), chat([*POST, ("content-length", "-1")])),
    case("8.1.1", "two lengths are malformed", malformed(),
         chat([*POST, ("content-length", "57"), ("content-length", "58")])),
    fields("8.2.1", "a field in capitals is malformed", ("X-Test", "ok")),
    fields("8.2.1", "a field without a name is malformed", ("", "ok")),
    fields("8.2.1", "a space in a name is malformed", ("x test", "ok")),
    fields("8.2.1", "a colon in a name is malformed", ("x:test", "ok")),
    fields("8.2.1", "a byte above 0x7e in a name is malformed", (b"x-\xc3\xa4", "ok")),
    fields("8.2.1", "a line feed in a value is malformed", ("x-test", "a\nb")),
    fields("8.2.1", "a carriage return in a value is malformed", ("x-test", "a\rb")),
    fields("8.2.1", "a zero byte in a value is malformed", ("x-test", "a\0b")),
    fields("8.2.1", "a space before a value is malformed", ("x-test", " ok")),
    fields("8.2.1", "a tab behind a value is malformed", ("x-test", "ok\t")),
    fields("8.2.2", "`connection` is malformed", ("connection", "keep-alive")),
    fields("8.2.2", "`keep-alive` is malformed", ("keep-alive", "timeout=5")),
    fields("8.2.2", "`proxy-connection` is malformed", ("proxy-connection", "keep-alive")),
    fields("8.2.2", "`transfer-encoding` is malformed", ("transfer-encoding", "chunked")),
    fields("8.2.2", "`upgrade` is malformed", ("upgrade", "websocket")),
    fields("8.2.2", "`te` of anything but trailers is malformed", ("te", "trailers, deflate;q=0.5")),
    fields("8.3", "a pseudo-header field that nobody knows is malformed", (":test", "ok")),
    fields("8.3", "a pseudo-header field of answers is malformed", (":status", "200")),
    case("8.3", "an unknown pseudo-header field among the others is malformed", malformed(),
         chat([METHOD, (":test", "ok"), *REST])),
    case("8.3", "a pseudo-header field of answers among the others is malformed", malformed(),
         chat([METHOD, (":status", "200"), *REST])),
    case("8.3", "a pseudo-header field behind another field is malformed", malformed(),
         chat([METHOD, SCHEME, AUTHORITY, TRAILER, PATH, KEY])),
    case("8.3.1", "an empty `:path` is malformed", malformed(), chat([METHOD, SCHEME, (":path", ""), AUTHORITY, KEY])),
    case("8.3.1", "no `:method` is malformed", malformed(), chat(REST)),
    case("8.3.1", "no `:scheme` is malformed", malformed(), chat([METHOD, *REST[1:]])),
    case("8.3.1", "no `:path` is malformed", malformed(), chat([METHOD, SCHEME, AUTHORITY, KEY])),
    case("8.3.1", "two `:method` are malformed", malformed(), chat([METHOD, METHOD, *REST])),
    case("8.3.1", "two `:scheme` are malformed", malformed(), chat([METHOD, SCHEME, *REST])),
    case("8.3.1", "two `:path` are malformed", malformed(), chat([METHOD, PATH, *REST])),
    case("8.3.1", "two `:authority` are malformed", malformed(), chat([METHOD, AUTHORITY, *REST])),
    case("8.3.1", "a `:path` that is no path is malformed", malformed(),
         chat([METHOD, SCHEME, (":path", "v1/chat/completions"), AUTHORITY, KEY])),
    case("8.3.1", "a `:path` that is a whole address is malformed", malformed(),
         chat([METHOD, SCHEME, (":path", "https://router/v1/chat/completions"), AUTHORITY, KEY])),
    case("8.3.1", "a `:path` with an empty segment is malformed", malformed(),
         chat([METHOD, SCHEME, (":path", "/v1//chat/completions"), AUTHORITY, KEY])),
    case("8.3.1", "a `:path` with a fragment is malformed", malformed(),
         chat([METHOD, SCHEME, (":path", "/v1/chat/completions#x"), AUTHORITY, KEY])),
    case("8.3.1", "a `:path` of 9,000 bytes is refused", refused(PROTOCOL, answers=(414,)),
         chat([METHOD, SCHEME, (":path", "/v1/chat/completions?" + "x" * 9000), AUTHORITY, KEY])),
    case("8.3.1", "a `:path` with a space is malformed", malformed(),
         chat([METHOD, SCHEME, (":path", "/v1/chat/completions x"), AUTHORITY, KEY])),
    case("8.3.1", "an `:authority` with a user is malformed", malformed(),
         chat([METHOD, SCHEME, PATH, (":authority", "me@router"), KEY])),
    fields("8.3.1", "`host` that says otherwise than `:authority` is malformed", ("host", "elsewhere")),
    case("8.3.1", "neither `:authority` nor `host` is malformed", malformed(), chat([METHOD, SCHEME, PATH, KEY])),
    case("8.4", "PUSH_PROMISE of a client ends the connection", broken(PROTOCOL),
         frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + block(*GET))),
    case("8.5", "CONNECT with a path is malformed", refused(PROTOCOL, answers=(400, 405)),
         headers(1, block((":method", "CONNECT"), *GET[1:]))),
    case("8.5", "CONNECT is not served", refused(PROTOCOL, answers=(400, 405)),
         headers(1, block((":method", "CONNECT"), (":authority", "router:443"), KEY))),
    case("8.5", "TRACE is not served", refused(PROTOCOL, answers=(405,)), headers(1, block((":method", "TRACE"), *GET[1:]))),
    case("10.5.1", "more fields than a hundred are refused", refused(PROTOCOL, answers=(431,)),
         chat([*POST, *[TRAILER] * 100])),
    case("10.5.1", "more bytes of fields than the router allows are refused", refused(PROTOCOL, answers=(431,)), crowded),
    coded("7541 2.3.3", "an index beyond both tables ends the connection", b"\xff\x80\x01"),
    coded("7541 2.3.3", "a name of an index beyond both tables ends the connection", b"\x7f\x80\x01" + wire.text("ok")),
    coded("7541 4.2", "a change of the table behind the fields ends the connection", b"\x20"),
    coded("7541 5.1", "an integer beyond all bounds ends the connection", b"\xff" + b"\xff" * 9 + b"\x01"),
    coded("7541 5.2", "padding of Huffman's code of more than seven bits ends the connection",
          b"\x00" + wire.text("x-test") + b"\x82\x1f\xff"),
    coded("7541 5.2", "padding of Huffman's code with zeros ends the connection",
         b"\x00" + wire.text("x-test") + b"\x81\x18"),
    coded("7541 5.2", "the end of Huffman's code within a string ends the connection",
          b"\x00" + wire.text("x-test") + b"\x84\xff\xff\xff\xff"),
    coded("7541 5.2", "a string that is longer than its block ends the connection",
         b"\x00" + wire.text("x-test") + b"\x05ok"),
    coded("7541 6.1", "index 0 ends the connection", b"\x80"),
    case("7541 6.3", "a table larger than allowed ends the connection", broken(COMPRESSION),
         headers(1, wire.number(4097, 5, 0x20) + block(*GET))),
]
