"""What may come of a case, and requests to make cases of."""

import collections
import pathlib
import sys

import wire
from wire import ACK, CODES, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "sdk"))

import router as routers  # noqa: E402

# `section` says where the rule is: "5.1" of RFC 9113, "7540 5.3.1" and "7541 6.1" of others. Of `steps`, bytes are sent and
# functions are called with the connection, and may return more to send.
Case = collections.namedtuple("Case", "section says outcome steps greeting")
# `judge` tells whether it came about; `may_reach`: such a case may bring a request to the upstream.
Outcome = collections.namedtuple("Outcome", "expected judge may_reach")

SCHEME = (":scheme", "https")
PATH = (":path", "/v1/chat/completions")
AUTHORITY = (":authority", "router")
KEY = ("authorization", f"Bearer {routers.KEY}")
GET = [(":method", "GET"), SCHEME, (":path", "/v1/models"), AUTHORITY, KEY]
REST = [SCHEME, PATH, AUTHORITY, KEY, ("content-type", "application/json")]
POST = [(":method", "POST"), *REST]
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
LONG = BODY.replace(b'"m"', b'"long"')


class Missed(Exception):
    """What a step waited for did not come."""


def case(section, says, outcome, *steps, greeting=wire.PREFACE + wire.settings()):
    """A row."""
    return Case(section, says, outcome, steps, greeting)


def get(stream=1, *more, flags=END_HEADERS | END_STREAM):
    """A question without a body."""
    return wire.headers(stream, wire.block(*GET, *more), flags)


def post(stream=1, *more, flags=END_HEADERS):
    """The head of a question with a body."""
    return wire.headers(stream, wire.block(*POST, *more), flags)


def chat(fields, body=BODY):
    """A question with a body, whose fields are as they are said to be."""
    return wire.headers(1, wire.block(*fields), END_HEADERS) + wire.data(1, body, END_STREAM)


def until(kind, stream=None, flags=0):
    """A step: waits for a frame."""
    def waits(line):
        if not line.wait(lambda one: one.kind == kind and stream in (None, one.stream) and one.flags & flags == flags):
            raise Missed(f"no {wire.KINDS[kind]}")
    return waits


SETTLED = until(SETTINGS, flags=ACK)


def over(line):
    """A step: waits until the answer on stream 1 is over."""
    if not line.wait(lambda one: one.stream == 1 and one.kind in (DATA, HEADERS) and one.flags & END_STREAM):
        raise Missed("no end of the answer")


def lives(line):
    """Whether the connection still answers."""
    line.send(wire.ping(b"are you?"))
    pong = line.wait(lambda one: one.kind == PING and one.flags & ACK and one.payload == b"are you?")
    return bool(pong) and all(one.kind != GOAWAY for one in line.came)


def code_of(one):
    """The error code of GOAWAY or RST_STREAM."""
    return int.from_bytes(one.payload[4:8] if one.kind == GOAWAY else one.payload, "big")


def names(codes):
    """Error codes in words."""
    return " or ".join(CODES[code] for code in codes)


def ends(line):
    """Whether the connection is closed."""
    line.wait(lambda _: False)
    return line.ended


def answer(status=200, stream=1):
    """An answer, to its end, of that status (any, if None), on a connection that goes on."""
    def last(one):
        return one.stream == stream and one.kind in (DATA, HEADERS) and one.flags & END_STREAM

    def judge(line):
        whole = any(map(last, line.came)) or line.wait(last)
        return bool(whole) and status in (None, line.statuses.get(stream)) and lives(line)
    return Outcome(f"answer {status}", judge, True)


def closed():
    """The connection is closed, whatever comes before."""
    return Outcome("end of the connection", ends, False)


def broken(*codes):
    """A connection error (section 5.4.1): GOAWAY with one of these codes and the end, or the end at once."""
    def judge(line):
        goaway = line.wait(lambda one: one.kind == GOAWAY)
        return ends(line) and (goaway is None or code_of(goaway) in codes)
    return Outcome(f"GOAWAY {names(codes)} and the end", judge, False)


def refused(*codes, answers=(), stream=1):
    """A stream error (section 5.4.2): RST_STREAM with one of these codes on a connection that goes on, or a connection
    error of that kind, or one of these answers (section 8.1.1 allows them for what is malformed)."""
    def wanted(one):
        return one.kind == GOAWAY or one.stream == stream and (
            one.kind == RST_STREAM or one.kind == HEADERS and bool(answers))

    def judge(line):
        came = line.wait(wanted)
        if came is None:
            return line.ended
        if came.kind == HEADERS:
            return line.statuses[stream] in answers and lives(line)
        return (ends if came.kind == GOAWAY else lives)(line) and code_of(came) in codes
    return Outcome(f"RST_STREAM {names(codes)}" + "".join(f" or {status}" for status in answers), judge, False)


def malformed():
    """What becomes of a malformed message (section 8.1.1)."""
    return refused(wire.PROTOCOL, answers=(400,))


def alive():
    """The connection goes on."""
    return Outcome("answer to a ping", lives, True)


def that(expected, judge):
    """Anything else."""
    return Outcome(expected, judge, True)
