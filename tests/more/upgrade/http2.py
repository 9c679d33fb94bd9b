"""A client of HTTP/2 by prior knowledge. hpack and hyperframe do the coding; the package h2 that is made of them reads
nothing more once GOAWAY has come, which is what this is about.

As real clients do, it begins nothing on a connection that has said GOAWAY, asks again elsewhere what the router says it
has not seen (a stream above the last one named, or one that is refused: RFC 9113 sections 6.8 and 8.7), and waits for
the rest.
"""

import asyncio

import hpack
from hyperframe import frame as frames

from clients import KEY, TLS, Lost, chat, check_plain, check_stream, soon

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REFUSED_STREAM = 7
WINDOW = 1 << 24


class Again(Exception):
    """The router has not seen this request."""


class Http2:
    """One connection."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.next, self.streams = 1, {}
        self.leaving, self.dead = False, None
        settings = frames.SettingsFrame(0, settings={4: WINDOW})
        window = frames.WindowUpdateFrame(0, window_increment=WINDOW)
        writer.write(PREFACE + settings.serialize() + window.serialize())
        self.reading = asyncio.create_task(self.read())

    @classmethod
    async def open(cls, port):
        """Connects."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=TLS.get((port, 2))))

    @property
    def is_done(self):
        """Nothing more can be asked here."""
        return self.leaving or self.dead is not None

    async def ask(self, body):
        """A chat request: status and body of its answer."""
        number, self.next = self.next, self.next + 2
        answer = asyncio.get_running_loop().create_future()
        self.streams[number] = (answer, [], [])
        fields = [(":method", "POST"), (":scheme", "http"), (":authority", "router"), (":path", "/v1/chat/completions")]
        fields += [("authorization", f"Bearer {KEY}"), ("content-type", "application/json")]
        head = frames.HeadersFrame(number, self.encoder.encode(fields), flags=["END_HEADERS"])
        data = frames.DataFrame(number, body, flags=["END_STREAM"])
        self.writer.write(head.serialize() + data.serialize())
        return await soon(answer)

    async def read(self):
        """Reads frames until the connection ends."""
        why = "closed by the router"
        try:
            while True:
                frame, length = frames.Frame.parse_frame_header(memoryview(await self.reader.readexactly(9)))
                frame.parse_body(memoryview(await self.reader.readexactly(length)))
                self.take(frame, length)
        except asyncio.IncompleteReadError:
            pass
        except OSError as error:
            why = str(error)
        self.dead = why
        for answer, _, _ in self.streams.values():
            if not answer.done():
                answer.set_exception(Lost(f"HTTP/2 connection {why} {'after' if self.leaving else 'without'} GOAWAY"))
        self.writer.close()

    def take(self, frame, length):
        """One frame."""
        if isinstance(frame, frames.SettingsFrame) and "ACK" not in frame.flags:
            self.writer.write(frames.SettingsFrame(0, flags=["ACK"]).serialize())
        elif isinstance(frame, frames.PingFrame) and "ACK" not in frame.flags:
            self.writer.write(frames.PingFrame(0, frame.opaque_data, flags=["ACK"]).serialize())
        elif isinstance(frame, frames.GoAwayFrame):
            self.leaving = True
            for number in [number for number in self.streams if number > frame.last_stream_id]:
                self.end(number, Again())
        elif isinstance(frame, frames.RstStreamFrame):
            lost = Again() if frame.error_code == REFUSED_STREAM else Lost(f"RST_STREAM {frame.error_code}")
            self.end(frame.stream_id, lost)
        elif isinstance(frame, frames.HeadersFrame):
            fields = self.decoder.decode(frame.data)
            if frame.stream_id in self.streams:
                self.streams[frame.stream_id][1].extend(fields)
        elif isinstance(frame, frames.DataFrame):
            if length:
                updates = [frames.WindowUpdateFrame(at, window_increment=length) for at in (0, frame.stream_id)]
                self.writer.write(b"".join(update.serialize() for update in updates))
            if frame.stream_id in self.streams:
                self.streams[frame.stream_id][2].append(bytes(frame.data))
        if "END_STREAM" in frame.flags:
            self.end(frame.stream_id)

    def end(self, number, error=None):
        """A stream is over."""
        answer, fields, data = self.streams.pop(number, (None, None, None))
        if answer is None or answer.done():
            return
        if error:
            answer.set_exception(error)
        else:
            answer.set_result((dict(fields)[":status"], b"".join(data)))


class Shared:
    """The connection that several clients share, replaced when the router leaves it."""

    def __init__(self):
        self.connection, self.changing = None, asyncio.Lock()

    async def get(self, load):
        """One that can be asked."""
        async with self.changing:
            if self.connection is None or self.connection.is_done:
                load.tally.moved["HTTP/2 connections replaced"] += self.connection is not None
                self.connection = await Http2.open(load.port)
                load.readers.append(self.connection.reading)
            return self.connection


async def multiplexed(load, kind, shared, longest, words=0):
    """A request on a shared connection; asked again as often as the router has not seen it."""
    await asyncio.sleep(load.chance.uniform(0, longest))
    name = load.name()
    while True:
        connection = await shared.get(load)
        try:
            status, body = await connection.ask(chat(f"stream{words}" if words else "plain", name))
        except Again:
            load.tally.moved["HTTP/2 requests asked again"] += 1
            continue
        break
    if status not in ("200", b"200"):
        raise Lost(f"status {status}: {body[:150]!r}")
    if words:
        check_stream(body, name, words)
    else:
        check_plain(body, name)
    load.tally.got[kind] += 1
