"""Frames of HTTP/2 as bytes (RFC 9113 section 4.1), also those that no library would send, and one connection.

Header blocks are coded by hand, without the dynamic table (RFC 7541 section 6.2.2), so that a case is the same bytes each
time; those of the router are read by the package hpack.
"""

import collections
import socket
import ssl
import struct
import time

import hpack
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
KINDS = ["DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE",
         "CONTINUATION"]
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20
NO_ERROR, PROTOCOL, INTERNAL, FLOW_CONTROL, _, STREAM_CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION = range(10)
CODES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
         "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"]
(HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE,
 MAX_HEADER_LIST_SIZE) = range(1, 7)
FRAME = 1 << 14
WINDOW = (1 << 31) - 1
# Longer than any answer takes on a busy machine; only what does not come is waited for so long.
PATIENCE = 5

HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
Frame = collections.namedtuple("Frame", "kind flags stream payload")


def frame(kind, flags, stream, payload=b"", length=None):
    """A frame; `length` is what its head says, if that is not the truth."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def data(stream, payload=b"", flags=0):
    """DATA."""
    return frame(DATA, flags, stream, payload)


def headers(stream, block, flags=END_HEADERS | END_STREAM):
    """HEADERS."""
    return frame(HEADERS, flags, stream, block)


def continuation(stream, block, flags=END_HEADERS):
    """CONTINUATION."""
    return frame(CONTINUATION, flags, stream, block)


def weight(on=0, exclusive=False, of=15):
    """What PRIORITY says, and HEADERS with that flag."""
    return struct.pack(">IB", on | exclusive << 31, of)


def priority(stream, says=None):
    """PRIORITY."""
    return frame(PRIORITY, 0, stream, weight() if says is None else says)


def reset(stream, code=CANCEL):
    """RST_STREAM."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def settings(*pairs):
    """SETTINGS."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def ping(payload=b"somebody", flags=0, stream=0):
    """PING."""
    return frame(PING, flags, stream, payload)


def update(stream, increment):
    """WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def number(value, bits, first=0):
    """An integer of HPACK behind the bits of `first` (RFC 7541 section 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    coded, value = bytearray([first | most]), value - most
    while value >= 128:
        coded.append(value % 128 | 128)
        value //= 128
    return bytes([*coded, value])


def text(value):
    """A string of HPACK without Huffman's code (section 5.2)."""
    value = value if isinstance(value, bytes) else value.encode()
    return number(len(value), 7) + value


def huffman(value):
    """The same in that code."""
    coded = HUFFMAN.encode(value.encode())
    return number(len(coded), 7, 0x80) + coded


def literal(name, value, form=0x00):
    """A field with its name; 0x00 is without indexing, 0x10 never indexed, 0x40 indexed (section 6.2)."""
    return bytes([form]) + text(name) + text(value)


def block(*fields):
    """A header block of pairs, and of bytes that are one already."""
    return b"".join(field if isinstance(field, bytes) else literal(*field) for field in fields)


def told(one):
    """A frame in words."""
    name = KINDS[one.kind] if one.kind < len(KINDS) else f"type {one.kind}"
    if one.kind in (GOAWAY, RST_STREAM):
        code = int.from_bytes(one.payload[4:8] if one.kind == GOAWAY else one.payload, "big")
        return f"{name} {CODES[code] if code < len(CODES) else code}"
    return f"{name} on {one.stream} of {len(one.payload)}"


class Connection:
    """One connection to the router, and all that came on it."""

    def __init__(self, port, tls=None, greeting=PREFACE + settings()):
        self.came, self.ended, self.decoder, self.statuses = [], False, hpack.Decoder(), {}
        self.theirs = {}
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
            if self.socket.selected_alpn_protocol() != "h2":
                raise RuntimeError("TLS without HTTP/2")
        if greeting:
            self.send(greeting)
            self.wait(lambda one: one.kind == SETTINGS and one.flags & ACK)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, payload):
        """Sends, even to somebody who has stopped listening: what it said is still to be read."""
        try:
            self.socket.sendall(payload)
        except OSError:
            pass

    def read(self, count, until):
        """So many bytes, or None at the end."""
        got = b""
        while len(got) < count:
            self.socket.settimeout(max(until - time.monotonic(), 0.001))
            try:
                piece = self.socket.recv(count - len(got))
            except TimeoutError:
                raise
            except OSError:
                piece = b""
            if not piece:
                return None
            got += piece
        return got

    def next(self, until):
        """The next frame; None at the end of the connection, TimeoutError when `until` is over."""
        head = None if self.ended else self.read(9, until)
        payload = head and self.read(int.from_bytes(head[:3], "big"), until)
        if payload is None:
            self.ended = True
            return None
        one = Frame(head[3], head[4], int.from_bytes(head[5:9], "big") & WINDOW, payload)
        self.came.append(one)
        if one.kind == SETTINGS and not one.flags & ACK:
            self.theirs.update(struct.iter_unpack(">HI", payload))
            self.send(frame(SETTINGS, ACK, 0))
        elif one.kind == HEADERS and one.flags & END_HEADERS:
            fields = dict(self.decoder.decode(payload))
            self.statuses.setdefault(one.stream, int(fields.get(":status", 0)))
        return one

    def wait(self, wanted, patience=PATIENCE):
        """The next frame that is wanted; None if the connection ends or nothing like it comes in time."""
        until = time.monotonic() + patience
        try:
            while (one := self.next(until)) is not None:
                if wanted(one):
                    return one
        except TimeoutError:
            pass
        return None

    def story(self):
        """What came, in words."""
        def status(one):
            return f" ({self.statuses[one.stream]})" if one.kind == HEADERS and one.stream in self.statuses else ""
        shown = [told(one) + status(one) for one in self.came if one.kind not in (SETTINGS, WINDOW_UPDATE)]
        return ", ".join(shown + ["end"] * self.ended) or "nothing"


def trust():
    """TLS that takes any certificate and asks for HTTP/2."""
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.set_alpn_protocols(["h2"])
    return made
