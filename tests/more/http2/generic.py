"""Traffic as it should be, of each type of frame: it is served."""

import wire
from outcomes import (BODY, GET, KEY, LONG, POST, SCHEME, SETTLED, alive, answer, case, chat, get, lives, over, post, that,
                      until)
from wire import (ACK, DATA, END_HEADERS, END_STREAM, FRAME, HEADERS, PADDED, PING, SETTINGS, WITH_PRIORITY, block,
                  continuation, data, headers, huffman, number, priority, settings, text, update, weight)

NOTHING = settings((wire.INITIAL_WINDOW_SIZE, 0))
HALF = len(GET) // 2


def greets(line):
    """Whether the first frame is SETTINGS that asks for nothing impossible, and ours are acknowledged."""
    first, frames = line.came[0], line.theirs.get(wire.MAX_FRAME_SIZE, FRAME)
    return first.kind == SETTINGS and not first.flags & ACK and frames >= FRAME and lives(line)


def received(line):
    """The sizes of all DATA so far."""
    return [len(one.payload) for one in line.came if one.kind == DATA]


def sizes(*wanted):
    """Whether so much of the answer comes in these pieces, and no more."""
    def judge(line):
        if not received(line):
            line.wait(lambda one: one.kind == DATA)
        return lives(line) and received(line) == list(wanted)
    return that(f"DATA of {wanted}", judge)


def only(most, size):
    """Whether the answer stops at `most` bytes, in frames of at most `size`."""
    def judge(line):
        while sum(received(line)) < most and line.wait(lambda one: one.kind == DATA):
            pass
        return lives(line) and sum(received(line)) == most and max(received(line)) <= size
    return that(f"{most} bytes of DATA", judge)


def unanswered(line):
    """Whether only the second of two pings is answered."""
    return lives(line) and all(one.payload != b"answered" for one in line.came if one.kind == PING)


def served(line):
    """Whether there is an answer, whatever becomes of the connection."""
    over(line)
    return line.statuses.get(1) == 200


def shrunk(line):
    """Whether the answer is coded without the table that was taken away (RFC 7541 section 4.2)."""
    line.decoder.max_allowed_table_size = 0
    line.send(get())
    came = line.wait(lambda one: one.kind == HEADERS)
    return bool(came) and came.payload[0] == 0x20 and line.statuses.get(1) == 200 and lives(line)


def padded(payload, pad):
    """With so much padding."""
    return bytes([pad]) + payload + bytes(pad)


# What says how a field is to be kept, and the bits that are left beside it (RFC 7541 section 6.2).
FORMS = {"with indexing": (0x40, 6), "without indexing": (0x00, 4), "never indexed": (0x10, 4)}
CODINGS = {"plain": text, "in Huffman's code": huffman}
USER_AGENT = 58
CASES = [
    case("3.4", "the first frame of the router is SETTINGS, and it acknowledges ours", that("SETTINGS", greets)),
    case("3.4", "SETTINGS with values in the preface are taken", answer(), get(),
         greeting=wire.PREFACE + settings((wire.INITIAL_WINDOW_SIZE, 65_535), (wire.ENABLE_PUSH, 0))),
    case("5.1", "PRIORITY on an idle stream is taken", alive(), priority(1)),
    case("5.1", "WINDOW_UPDATE on a half-closed stream is taken", sizes(1), NOTHING, get(), update(1, 1)),
    case("5.1", "PRIORITY on a half-closed stream is taken", sizes(1), NOTHING, get(), priority(1), update(1, 1)),
    case("5.1", "RST_STREAM on a half-closed stream is taken", alive(), NOTHING, get(), wire.reset(1)),
    case("5.1", "PRIORITY on a closed stream is taken", alive(), get(), over, priority(1)),
    case("5.1", "RST_STREAM behind the end of an answer is taken", alive(), get(), over, wire.reset(1)),
    case("5.1", "WINDOW_UPDATE behind the end of an answer is taken", alive(), get(), over, update(1, 1)),
    case("5.1.2", "a hundred streams at once are served", answer(stream=199), *[get(1 + 2 * n) for n in range(100)]),
    case("6.1", "DATA is taken", answer(), post(), data(1, BODY, END_STREAM)),
    case("6.1", "several frames of DATA are taken", answer(), post(), data(1, BODY[:9]), data(1, BODY[9:], END_STREAM)),
    case("6.1", "DATA with padding is taken", answer(), post(), data(1, padded(BODY, 6), END_STREAM | PADDED)),
    case("6.1", "DATA with as much padding as there can be is taken", answer(), post(),
         data(1, padded(BODY, 255), END_STREAM | PADDED)),
    case("6.1", "an empty frame of DATA may end a request", answer(), post(), data(1, BODY), data(1, b"", END_STREAM)),
    case("6.2", "HEADERS is taken", answer(), get()),
    case("6.2", "HEADERS with padding is taken", answer(),
         headers(1, padded(block(*GET), 6), END_STREAM | END_HEADERS | PADDED)),
    case("6.2", "HEADERS with a priority is taken", answer(),
         headers(1, weight(0, of=255) + block(*GET), END_STREAM | END_HEADERS | WITH_PRIORITY)),
    case("6.2", "HEADERS with padding and a priority is taken", answer(),
         headers(1, padded(weight() + block(*GET), 6), END_STREAM | END_HEADERS | WITH_PRIORITY | PADDED)),
    case("6.3", "PRIORITY of the least weight is taken", answer(), priority(1, weight(0, of=0)), get()),
    case("6.3", "PRIORITY of the greatest weight is taken", answer(), priority(1, weight(0, of=255)), get()),
    case("6.3", "PRIORITY that depends on another stream is taken", answer(stream=3), priority(3, weight(1)), get(3)),
    case("6.3", "PRIORITY that is exclusive is taken", answer(stream=3), priority(3, weight(1, True)), get(3)),
    case("6.3", "a stream below one that has had PRIORITY can be opened", answer(), priority(5), get(1)),
    case("6.4", "RST_STREAM is taken", alive(), post(), wire.reset(1)),
    case("6.5", "SETTINGS are taken and acknowledged", answer(), settings((wire.MAX_CONCURRENT_STREAMS, 7)), SETTLED, get()),
    case("6.5", "empty SETTINGS are acknowledged", alive(), settings(), SETTLED),
    case("6.5.2", "values at the edges of what is allowed are taken", answer(),
         settings((wire.MAX_FRAME_SIZE, FRAME), (wire.MAX_FRAME_SIZE, (1 << 24) - 1), (wire.ENABLE_PUSH, 0),
                  (wire.INITIAL_WINDOW_SIZE, wire.WINDOW), (wire.MAX_HEADER_LIST_SIZE, 1 << 20),
                  (wire.HEADER_TABLE_SIZE, 0)), SETTLED, get()),
    case("6.7", "PING is answered with the same bytes", alive(), wire.ping(b"12345678"), until(PING, flags=ACK)),
    case("6.7", "the answer to a ping is not answered", that("one PING", unanswered), wire.ping(b"answered", ACK)),
    case("6.8", "a request before GOAWAY of the client is answered", that("answer 200", served), get(),
         wire.frame(wire.GOAWAY, 0, 0, bytes(8))),
    case("6.9", "WINDOW_UPDATE of the connection is taken", answer(), update(0, 1), get()),
    case("6.9", "WINDOW_UPDATE of a stream is taken", answer(), post(), update(1, 1), data(1, BODY, END_STREAM)),
    case("6.9", "the greatest window is taken", answer(), update(0, wire.WINDOW - 65_535), get()),
    case("6.9.1", "an answer stops at the window of its stream", sizes(1), settings((wire.INITIAL_WINDOW_SIZE, 1)),
         SETTLED, get()),
    case("6.9.1", "an answer stops at the window of the connection, in frames of the size that was asked for",
         only(65_535, FRAME), settings((wire.INITIAL_WINDOW_SIZE, 1 << 20)), SETTLED, chat(POST, LONG)),
    case("6.9.2", "a wider window reaches streams that are open", sizes(1), NOTHING, SETTLED, get(), until(HEADERS),
         settings((wire.INITIAL_WINDOW_SIZE, 1))),
    case("6.9.2", "a window below nought is kept in mind", sizes(3, 1), settings((wire.INITIAL_WINDOW_SIZE, 3)),
         SETTLED, get(),
         until(DATA), settings((wire.INITIAL_WINDOW_SIZE, 2)), SETTLED, update(1, 2), until(DATA)),
    case("6.5.3", "of two values for one setting the last one holds", sizes(1),
         settings((wire.INITIAL_WINDOW_SIZE, 100), (wire.INITIAL_WINDOW_SIZE, 1)), SETTLED, get()),
    case("6.10", "CONTINUATION is taken", answer(), headers(1, block(*GET[:HALF]), END_STREAM),
         continuation(1, block(*GET[HALF:]))),
    case("6.10", "several CONTINUATION are taken, cut within a field", answer(), headers(1, block(*GET)[:20], END_STREAM),
         continuation(1, block(*GET)[20:31], 0), continuation(1, b"", 0), continuation(1, block(*GET)[31:])),
    case("8.1", "GET is answered", answer(), get()),
    case("8.1", "HEAD is answered without a body", answer(None), headers(1, block((":method", "HEAD"), *GET[1:]))),
    case("8.1", "POST is answered", answer(), chat(POST)),
    case("8.1", "POST with its length is answered", answer(), chat([*POST, ("content-length", str(len(BODY)))])),
    case("8.1", "POST with trailers is answered", answer(), post(1, ("trailer", "x-test")), data(1, BODY),
         headers(1, block(("x-test", "ok")))),
    case("8.1", "two requests at once are answered", answer(stream=1), post(1), get(3), until(DATA, 3, END_STREAM),
         data(1, BODY, END_STREAM)),
    case("8.2.2", "`te: trailers` is taken", answer(), get(1, ("te", "trailers"))),
    case("8.2.3", "cookies in several fields are taken", answer(), get(1, ("cookie", "a=b"), ("cookie", "c=d"))),
    case("8.3.1", "`host` that says the same as `:authority` is taken", answer(), get(1, ("host", "router"))),
    case("8.3.1", "`host` in place of `:authority` is taken", answer(),
         headers(1, block((":method", "GET"), SCHEME, (":path", "/v1/models"), ("host", "router"), KEY))),
    *[case("7541 6.2", f"a field {how}, with a name of the table, {coding}, is taken", answer(),
           headers(1, block(*GET, number(USER_AGENT, bits, form) + code("h2"))))
      for how, (form, bits) in FORMS.items() for coding, code in CODINGS.items()],
    *[case("7541 6.2", f"a field {how}, with a name of its own, {coding}, is taken", answer(),
           headers(1, block(*GET, bytes([form]) + code("x-test") + code("h2"))))
      for how, (form, _) in FORMS.items() for coding, code in CODINGS.items()],
    case("7541 6.1", "a field of the static table is taken", answer(), headers(1, block(b"\x82\x87", *GET[2:]))),
    case("7541 6.1", "a field of the dynamic table is taken", answer(stream=3),
         headers(1, block(*GET[:4], wire.literal(*KEY, 0x40))), headers(3, block(*GET[:4], b"\xbe"))),
    case("7541 6.3", "a smaller dynamic table is taken", answer(), headers(1, b"\x20" + block(*GET))),
    case("7541 4.2", "two changes of the dynamic table at the beginning are taken", answer(),
         headers(1, b"\x20\x3f\xe1\x1f" + block(*GET))),
    case("7541 4.2", "the router obeys a smaller table of ours", that("a size update and 200", shrunk),
         settings((wire.HEADER_TABLE_SIZE, 0)), SETTLED),
]
