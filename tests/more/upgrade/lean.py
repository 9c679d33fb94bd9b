"""Clients and a provider that cost next to nothing, and a ledger of what they ask: a million requests in minutes.

Ready-made load tools count errors, and do not say whose they are: what they do when a server ends a connection differs,
and none of them knows whether the answer was its own or what the provider has seen. Here each request has a number of its
own, in its text, in the answer, and in the ledger: asked, served by the provider (how often), and answered or lost.

Nothing is asked twice, but what the router says it has not seen (RFC 9113 sections 6.8 and 8.7). The end of a connection
behind a request that was written is a loss, whoever else may be to blame. The coding of HTTP/2 is by hand: the fields of a
request are the same bytes each time (RFC 7541 section 6.2.2), and of an answer's fields only the status counts, which comes
first and for 200 is one byte of the static table.
"""

import asyncio
import collections
import itertools
import multiprocessing
import random
import re

from clients import KEY

PATIENCE, TICK = 30, 0.02
CHUNK = 500
ASKED, ANSWERED, LOST = 1, 2, 3
NAME = re.compile(rb'"m(\d{8})"')
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
BODY = b'{"model":"lean","messages":[{"role":"user","content":"m%08d"}]}'
PATH = b"/v1/chat/completions"
HEAD = (b"POST " + PATH + b" HTTP/1.1\r\nHost: router\r\nAuthorization: Bearer " + KEY.encode() +
        b"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(BODY % 0))
ANSWER = (b'{"id":"a","object":"chat.completion","created":0,"model":"lean","choices":[{"index":0,"message":{"role":'
          b'"assistant","content":"m%08d"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":13,'
          b'"total_tokens":20}}')
ANSWER_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


class Ledger:
    """What became of each request, in memory that all processes share."""

    def __init__(self, total):
        self.total = total
        self.state = multiprocessing.RawArray("B", total)
        self.served = multiprocessing.RawArray("B", total)
        self.taken = multiprocessing.Value("Q", 0)
        self.results, self.begun = multiprocessing.Queue(), multiprocessing.Event()
        self.stood = multiprocessing.RawArray("d", 8)

    async def watch(self, process):
        """Notes for how long a process of ours stood still at most, so that this is not taken for the router's."""
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            await asyncio.sleep(TICK)
            self.stood[process] = max(self.stood[process], loop.time() - begun - TICK)

    def some(self):
        """The next numbers; none at the end."""
        with self.taken.get_lock():
            begin = self.taken.value
            self.taken.value = min(begin + CHUNK, self.total)
        return iter(range(begin, min(begin + CHUNK, self.total)))


class Provider(asyncio.Protocol):
    """One connection of the router's."""

    def __init__(self, ledger):
        self.ledger, self.transport, self.buffer = ledger, None, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(self.buffer, 0, end + 2)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < whole:
                return
            name = NAME.search(self.buffer, end, whole)
            self.buffer = self.buffer[whole:]
            if name is None:
                body = b'{"object":"list","data":[]}'
            else:
                number = int(name[1])
                self.ledger.served[number] = min(self.ledger.served[number] + 1, 255)
                body = ANSWER % number
            self.transport.write(ANSWER_HEAD % len(body) + body)


def provide(ledger, process, listener):
    """A process: the provider."""
    async def serve():
        watching = asyncio.create_task(ledger.watch(process))
        server = await asyncio.get_running_loop().create_server(lambda: Provider(ledger), sock=listener, backlog=4096)
        await asyncio.gather(watching, server.serve_forever())
    asyncio.run(serve())


class Crew:
    """The clients of one process. `doors` are the port and the TLS context of each kind of connection."""

    def __init__(self, ledger, doors):
        self.ledger, self.doors = ledger, doors
        self.numbers, self.again = iter(()), []
        self.pending, self.open = {}, 0
        self.got, self.slowest, self.moved = collections.Counter(), collections.Counter(), collections.Counter()
        self.chance = random.Random(7)
        self.loop = asyncio.get_running_loop()
        self.done = self.loop.create_future()

    def take(self, kind):
        """The next request, which is asked from now on; None when there are no more."""
        number = self.again.pop() if self.again else next(self.numbers, None)
        if number is None:
            self.numbers = self.ledger.some()
            number = next(self.numbers, None)
        if number is not None:
            self.ledger.state[number] = ASKED
            self.pending[number] = (self.loop.time(), kind)
        return number

    def judge(self, number, well, body, status):
        """An answer has come."""
        if not well:
            self.lost(number, f"status {status}: {bytes(body[:150])!r}")
        elif body != ANSWER % number:
            self.lost(number, f"not what the provider has said: {bytes(body[:300])!r}")
        elif number in self.pending:
            begun, kind = self.pending.pop(number)
            self.ledger.state[number] = ANSWERED
            self.got[kind] += 1
            self.slowest[kind] = max(self.slowest[kind], self.loop.time() - begun)

    def lost(self, number, why):
        """Nothing comes for this request, or the wrong thing; None where nothing was asked."""
        if number is None:
            self.moved[why] += 1
        elif number in self.pending:
            _, kind = self.pending.pop(number)
            self.ledger.state[number] = LOST
            self.ledger.results.put((kind, why))

    def unseen(self, number):
        """The router has said that it has not begun with this request."""
        if self.pending.pop(number, None):
            self.moved["HTTP/2 requests asked again"] += 1
            self.again.append(number)

    def start(self, kind, client, more):
        """Another client."""
        self.open += 1
        self.loop.create_task(self.connect(kind, client, more))

    def replace(self, client):
        """The connection of this client has ended."""
        self.open -= 1
        self.start(client.kind, type(client), client.more)

    async def connect(self, kind, client, more):
        """A connection for the next request, which is lost if there is none."""
        number = self.take(kind)
        while number is not None:
            port, tls = self.doors[kind]
            try:
                opened = self.loop.create_connection(lambda: client(self, kind, number, more), "127.0.0.1", port, ssl=tls)
                await asyncio.wait_for(opened, PATIENCE)
                return
            except (OSError, asyncio.TimeoutError) as why:
                self.lost(number, f"not connected: {why!r}")
                await asyncio.sleep(0.02)
                number = self.take(kind)
        self.left()

    def left(self):
        """A client has nothing more to ask."""
        self.open -= 1
        if self.open == 0:
            self.done.set_result(None)

    async def work(self):
        """Until everything is answered or lost."""
        while not self.done.done():
            await asyncio.wait([self.done], timeout=1)
            late = self.loop.time() - PATIENCE
            for number in [number for number, (begun, _) in self.pending.items() if begun < late]:
                self.lost(number, f"no answer within {PATIENCE} s")
        self.ledger.results.put((dict(self.got), dict(self.slowest), dict(self.moved)))


class Http1(asyncio.Protocol):
    """A connection of HTTP/1.1 for many requests, with a pause of up to `longest` between them; with None for one."""

    def __init__(self, crew, kind, number, longest):
        self.crew, self.kind, self.number, self.more = crew, kind, number, longest
        # Half of those for one request say so.
        self.fields = b"Connection: close\r\n\r\n" if longest is None and number % 2 else b"\r\n"
        self.transport, self.buffer, self.ends = None, b"", False

    def connection_made(self, transport):
        self.transport = transport
        self.write()

    def write(self):
        """The request."""
        self.transport.write(HEAD + self.fields + BODY % self.number)

    def ask(self):
        """The next request."""
        if self.ends:
            return
        self.number = self.crew.take(self.kind)
        if self.number is None:
            self.leave()
        else:
            self.write()

    def leave(self):
        """The client ends the connection."""
        self.ends = True
        self.transport.close()

    def data_received(self, data):
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = LENGTH.search(self.buffer, 0, end + 2)
        if length and len(self.buffer) < end + 4 + int(length[1]):
            return
        answered, head, body = self.number, self.buffer[:end + 2], self.buffer[end + 4:]
        self.number, self.buffer = None, b""
        if answered is None or not length or len(body) != int(length[1]):
            self.crew.lost(answered, f"bytes that nobody has asked for: {head + body!r}")
            self.leave()
            return
        self.crew.judge(answered, head.startswith(b"HTTP/1.1 200 "), body, head[9:12].decode("latin-1"))
        closes = CLOSES.search(head)
        if self.more is None:
            # One that was asked to close is the router's to close.
            self.ends = True
            if not (closes and len(self.fields) > 2):
                self.transport.close()
        elif closes:
            self.crew.moved[f"{self.kind}: closed behind an answer"] += 1
            self.leave()
        elif self.more:
            self.crew.loop.call_later(self.crew.chance.uniform(0, self.more), self.ask)
        else:
            self.ask()

    def connection_lost(self, exc):
        if self.number is not None:
            self.crew.lost(self.number, f"the connection ended: {exc!r} behind {self.buffer!r}")
        elif not self.ends:
            self.crew.moved[f"{self.kind}: closed while idle"] += 1
        self.ends = True
        self.crew.replace(self)


def field(index, value):
    """A field with an indexed name, without indexing."""
    name = bytes([index]) if index < 15 else bytes([15, index - 15])
    return name + bytes([len(value)]) + value


def frame(kind, flags, stream, payload=b""):
    """One frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_STREAM, END_HEADERS = 1, 1, 4
REFUSED_STREAM = 7
WINDOW = 1 << 30
PREFACE = (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0) +
           frame(WINDOW_UPDATE, 0, 0, WINDOW.to_bytes(4, "big")))
# Entries of the static table: POST and the schemes.
POST, SCHEMES = b"\x83", {False: b"\x86", True: b"\x87"}
FIELDS = (field(4, PATH) + field(1, b"router") + field(23, b"Bearer " + KEY.encode()) +
          field(31, b"application/json") + field(28, b"%d" % len(BODY % 0)))
STATUS_200 = 0x88


class Http2(asyncio.Protocol):
    """A connection of HTTP/2 with `width` requests at one time."""

    def __init__(self, crew, kind, number, width):
        self.crew, self.kind, self.more = crew, kind, width
        self.first, self.transport, self.buffer = number, None, b""
        self.ids, self.streams, self.window = itertools.count(1, 2), {}, (1 << 16) - 1
        self.fields, self.leaving, self.ends = None, False, False

    def connection_made(self, transport):
        self.transport = transport
        self.fields = POST + SCHEMES[transport.get_extra_info("ssl_object") is not None] + FIELDS
        transport.write(PREFACE)
        self.send(self.first)
        self.fill()

    def send(self, number):
        """A request."""
        body, at = BODY % number, next(self.ids)
        self.streams[at] = [number, None, b""]
        self.window -= len(body)
        self.transport.write(frame(HEADERS, END_HEADERS, at, self.fields) + frame(DATA, END_STREAM, at, body))

    def fill(self):
        """As many requests as there may be."""
        number, size = self.first, len(BODY % 0)
        while not self.leaving and number is not None and len(self.streams) < self.more and self.window >= size:
            number = self.crew.take(self.kind)
            if number is not None:
                self.send(number)
        if not self.streams and (self.leaving or number is None):
            self.ends = True
            self.transport.close()

    def data_received(self, data):
        self.buffer += data
        at = 0
        while len(self.buffer) >= at + 9:
            end = at + 9 + int.from_bytes(self.buffer[at:at + 3], "big")
            if len(self.buffer) < end:
                break
            stream = int.from_bytes(self.buffer[at + 5:at + 9], "big")
            self.read(self.buffer[at + 3], self.buffer[at + 4], stream, self.buffer[at + 9:end])
            at = end
        self.buffer = self.buffer[at:]
        self.fill()

    def read(self, kind, flags, stream, payload):
        """One frame from the router."""
        if kind in (SETTINGS, PING) and not flags & ACK:
            self.transport.write(frame(kind, ACK, 0, b"" if kind == SETTINGS else payload))
        elif kind == WINDOW_UPDATE and stream == 0:
            self.window += int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            self.goes(int.from_bytes(payload[:4], "big"), payload[4:])
        elif kind == RST_STREAM and stream in self.streams:
            number = self.streams.pop(stream)[0]
            code = int.from_bytes(payload, "big")
            if code == REFUSED_STREAM:
                self.crew.unseen(number)
            else:
                self.crew.lost(number, f"RST_STREAM {code}")
        elif kind in (HEADERS, DATA) and stream in self.streams:
            self.part(kind, flags, stream, payload)

    def goes(self, last, why):
        """GOAWAY: what comes behind `last` was not seen, the rest is answered, and more is asked elsewhere."""
        if not self.leaving:
            self.crew.moved[f"{self.kind}: connections replaced"] += 1
            self.crew.start(self.kind, Http2, self.more)
        if why[:4] != bytes(4):
            self.crew.moved[f"{self.kind}: GOAWAY {why!r}"] += 1
        self.leaving = True
        for at in [at for at in self.streams if at > last]:
            self.crew.unseen(self.streams.pop(at)[0])

    def part(self, kind, flags, at, payload):
        """A part of an answer. A size of the dynamic table may come before the status."""
        stream = self.streams[at]
        if kind == DATA:
            stream[2] += payload
        elif stream[1] is None:
            stream[1] = payload.lstrip(bytes(range(0x20, 0x40)))[:6]
        if flags & END_STREAM:
            del self.streams[at]
            self.crew.judge(stream[0], stream[1] and stream[1][0] == STATUS_200, stream[2], stream[1])

    def connection_lost(self, exc):
        for number, _, _ in self.streams.values():
            self.crew.lost(number, f"the connection ended: {exc!r} {'after' if self.leaving else 'without'} GOAWAY")
        self.streams.clear()
        if self.leaving:
            # The next one was begun at GOAWAY.
            return self.crew.left()
        self.crew.moved[f"{self.kind}: closed without GOAWAY"] += not self.ends
        self.leaving = True
        self.crew.replace(self)
        return None


# By kind: the client, what it is given, and how many of it there are in each process.
CLIENTS = {
    "kept": (Http1, 0, 16),
    "kept with pauses": (Http1, 2, 150),
    "fresh": (Http1, None, 24),
    "HTTP/2": (Http2, 8, 3),
    "kept, TLS": (Http1, 0, 2),
    "kept with pauses, TLS": (Http1, 2, 30),
    "HTTP/2, TLS": (Http2, 8, 1),
}


def work(ledger, process, doors):
    """A process: clients of all kinds, from the beginning until there is nothing more to ask."""
    async def run():
        crew, watching = Crew(ledger, doors), asyncio.create_task(ledger.watch(process))
        for kind, (client, more, times) in CLIENTS.items():
            for _ in range(times):
                crew.start(kind, client, more)
        await crew.work()
        watching.cancel()

    ledger.begun.wait()
    asyncio.run(run())
