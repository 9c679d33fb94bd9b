"""Frames that break a rule of sections 3 to 5: the stream or the connection ends, with the code that the rule names."""

import wire
from outcomes import BODY, GET, SETTLED, alive, answer, broken, case, closed, code_of, get, over, post, refused, that
from wire import (COMPRESSION, END_HEADERS, END_STREAM, FRAME, FRAME_SIZE, GOAWAY, PROTOCOL, REFUSED, RST_STREAM,
                  STREAM_CLOSED, WITH_PRIORITY, block, continuation, data, frame, headers, ping, priority, reset, settings,
                  update, weight)

# A header block, and what may follow it.
PART, JUNK = headers(1, block(*GET), END_STREAM), block(("x-test", "ok"))
# Longer than a frame may be.
LARGE = block(*GET, *[("x-filler", "f" * 4000)] * 5)
# Keeps answers from ending.
ZERO = settings((wire.INITIAL_WINDOW_SIZE, 0))
UNKNOWN = 0x16


def most(line):
    """The last stream that the router allows beside all before it."""
    return 2 * line.theirs[wire.MAX_CONCURRENT_STREAMS] - 1


def crowd(line):
    """One stream more than that."""
    return b"".join(get(stream) for stream in range(1, most(line) + 3, 2))


def one_too_many(line):
    """Whether that one is refused, and no other."""
    came = line.wait(lambda one: one.kind in (RST_STREAM, GOAWAY))
    return bool(came) and came.kind == RST_STREAM and came.stream == most(line) + 2 and code_of(came) in (PROTOCOL, REFUSED)


def alone(line):
    """Whether one stream is refused and the other one served."""
    return refused(PROTOCOL, stream=3).judge(line) and answer().judge(line)


def named(stream):
    """Whether GOAWAY comes and names that stream as the last one."""
    def judge(line):
        came = line.wait(lambda one: one.kind == GOAWAY)
        return bool(came) and came.payload[:4] == stream.to_bytes(4, "big")
    return that(f"GOAWAY that names stream {stream}", judge)


CASES = [
    case("3.4", "what is not the preface ends the connection", closed(), b"INVALID CONNECTION PREFACE\r\n\r\n",
         greeting=b""),
    case("3.4", "a preface whose last line is wrong ends the connection", closed(),
         b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX" + settings(), greeting=b""),
    case("3.4", "a preface without SETTINGS ends the connection", broken(PROTOCOL), wire.PREFACE + ping(), greeting=b""),
    case("4.1", "a frame of an unknown type is ignored", alive(), frame(UNKNOWN, 0, 0, bytes(8))),
    case("4.1", "flags that mean nothing are ignored", alive(), ping(b"12345678", 0x16)),
    case("4.1", "the reserved bit is ignored", alive(), ping(b"12345678", 0, 1 << 31)),
    case("4.2", "DATA of 16,384 bytes is taken", alive(), post(), data(1, bytes(FRAME)), reset(1)),
    case("4.2", "DATA that is larger than allowed is refused", refused(FRAME_SIZE), post(),
         data(1, bytes(FRAME + 1), END_STREAM)),
    case("4.2", "HEADERS that is larger than allowed ends the connection", broken(FRAME_SIZE), headers(1, LARGE)),
    case("4.2", "CONTINUATION that is larger than allowed ends the connection", broken(FRAME_SIZE), PART,
         continuation(1, LARGE)),
    case("4.2", "SETTINGS that are larger than allowed end the connection", broken(FRAME_SIZE),
         settings(*[(0x99, 1)] * (FRAME // 6 + 1))),
    case("4.3", "a header block that cannot be decoded ends the connection", broken(COMPRESSION), headers(1, b"\x40")),
    case("4.3", "PRIORITY within a header block ends the connection", broken(PROTOCOL), PART, priority(1),
         continuation(1, JUNK)),
    case("4.3", "HEADERS of another stream within a header block ends the connection", broken(PROTOCOL), PART, get(3),
         continuation(1, JUNK)),
    case("5.1", "DATA on an idle stream ends the connection", broken(PROTOCOL), data(1, b"test", END_STREAM)),
    case("5.1", "RST_STREAM on an idle stream ends the connection", broken(PROTOCOL), reset(1)),
    case("5.1", "WINDOW_UPDATE on an idle stream ends the connection", broken(PROTOCOL), update(1, 100)),
    case("5.1", "CONTINUATION on an idle stream ends the connection", broken(PROTOCOL), continuation(1, block(*GET))),
    case("5.1", "DATA on a half-closed stream is refused", refused(STREAM_CLOSED), ZERO, get(),
         data(1, b"test", END_STREAM)),
    case("5.1", "HEADERS on a half-closed stream is refused", refused(STREAM_CLOSED), ZERO, get(), get()),
    case("5.1", "CONTINUATION on a half-closed stream is refused", refused(STREAM_CLOSED, PROTOCOL), ZERO, get(),
         continuation(1, JUNK)),
    case("5.1", "DATA behind RST_STREAM is refused", refused(STREAM_CLOSED), post(), reset(1), data(1, b"test", END_STREAM)),
    case("5.1", "HEADERS behind RST_STREAM is refused", refused(STREAM_CLOSED), post(), reset(1), get()),
    case("5.1", "CONTINUATION behind RST_STREAM is refused", refused(STREAM_CLOSED, PROTOCOL), post(), reset(1),
         continuation(1, JUNK)),
    case("5.1", "HEADERS on a stream that is over ends the connection", broken(STREAM_CLOSED), get(), over, get()),
    case("5.1", "CONTINUATION on a stream that is over ends the connection", broken(STREAM_CLOSED, PROTOCOL), get(), over,
         continuation(1, JUNK)),
    case("5.1.1", "HEADERS on an even stream ends the connection", broken(PROTOCOL), get(2)),
    case("5.1.1", "HEADERS on a stream below another one ends the connection", broken(PROTOCOL), get(5), get(3)),
    case("5.1.2", "one stream more than allowed is refused", that("RST_STREAM on that one", one_too_many), ZERO,
         SETTLED, crowd),
    case("7540 5.3.1", "HEADERS that depends on its own stream is refused", refused(PROTOCOL),
         headers(1, weight(1) + block(*GET), END_STREAM | END_HEADERS | WITH_PRIORITY)),
    case("7540 5.3.1", "PRIORITY that depends on its own stream is refused", refused(PROTOCOL), post(),
         priority(1, weight(1))),
    case("7540 5.3.1", "PRIORITY of an idle stream that depends on itself is refused", refused(PROTOCOL),
         priority(1, weight(1))),
    case("5.4.1", "a connection error closes the connection", closed(), ping(stream=3)),
    case("5.4.1", "GOAWAY comes before that, and names no stream where there was none", named(0), ping(stream=3)),
    case("5.4.1", "GOAWAY names the last stream there was", named(5), get(3), get(5), ping(stream=3)),
    case("5.4.2", "a stream error leaves its neighbours alone", that("RST_STREAM on 3 and an answer on 1", alone), post(),
         headers(3, block(*GET[1:])), data(1, BODY, END_STREAM)),
    case("5.5", "an unknown frame on an open stream is ignored", alive(), post(), frame(0xfe, 0xff, 1, b"what?"), reset(1)),
    case("5.5", "an unknown frame within a header block ends the connection", broken(PROTOCOL), PART,
         frame(UNKNOWN, 0, 1, bytes(8)), continuation(1, JUNK)),
]
