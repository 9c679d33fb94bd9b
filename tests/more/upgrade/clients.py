"""Clients over HTTP/1.1 that never stop, and a tally of what they got.

A client counts as lost whatever it was not given as asked: a connection refused, reset or closed under it, another
status than 200, another's answer, a word that is missing or comes twice, a stream without its usage and `[DONE]`.
"""

import asyncio
import base64
import collections
import hashlib
import json
import os
import random
import time

KEY = "sk-chaos-master-0123456789"
# For anything to come.
PATIENCE = 30
# What is spoken over TLS: by port and version.
TLS = {}


class Lost(Exception):
    """A request that did not get what it asked for."""


class Tally:
    """What was got and what was lost, by kind of client."""

    def __init__(self):
        self.got = collections.Counter()
        self.lost = []
        self.moved = collections.Counter()

    def mark(self):
        """A point to count from."""
        return sum(self.got.values()), len(self.lost)

    def since(self, mark):
        """Got and lost since then."""
        return sum(self.got.values()) - mark[0], self.lost[mark[1]:]


class Load:
    """Clients of one router, all in this event loop."""

    def __init__(self, port):
        self.port = port
        self.tally = Tally()
        self.on = True
        self.tasks = []
        self.chance = random.Random(7)
        self.count = 0
        self.streaming = 0
        self.asked = {}
        self.readers = []

    def name(self):
        """A new name for a request, unlike all of other loads."""
        self.count += 1
        return f"p{self.port}r{self.count}"

    def start(self, act, times, kind, *more):
        """Runs `act` over and over, that many at once."""
        for _ in range(times):
            self.tasks.append(asyncio.create_task(self.forever(act, kind, more)))

    async def forever(self, act, kind, more):
        """One client: what it loses is noted, and it goes on."""
        while self.on:
            try:
                await act(self, kind, *more)
            except (Lost, OSError, EOFError, ValueError, KeyError, IndexError, asyncio.TimeoutError) as why:
                self.tally.lost.append((time.monotonic(), kind, f"{type(why).__name__}: {why}"[:200]))
                await asyncio.sleep(0.02)

    async def stop(self):
        """Lets each client end what it has begun."""
        self.on = False
        await asyncio.gather(*self.tasks)
        for reader in self.readers:
            reader.cancel()


async def soon(coming):
    """What comes in time."""
    return await asyncio.wait_for(coming, PATIENCE)


class Connection:
    """A connection to the router."""

    key = KEY

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.ends = False

    @classmethod
    async def open(cls, port):
        """Connects."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20, ssl=TLS.get((port, 1))))

    def close(self):
        """Leaves."""
        self.writer.close()

    def send(self, method, path, body=b"", headers=()):
        """A request, whole."""
        self.writer.write(head(method, path, len(body), headers, self.key) + body)

    async def head(self):
        """Status and headers of an answer."""
        start = (await soon(self.reader.readuntil(b"\r\n\r\n"))).decode("latin-1").split("\r\n")
        headers = dict((name.lower(), value) for name, value in (line.split(": ", 1) for line in start[1:-2]))
        self.ends = headers.get("connection", "").lower() == "close"
        return int(start[0].split(" ")[1]), headers

    async def body(self, headers):
        """The rest of an answer."""
        if "content-length" in headers:
            return await soon(self.reader.readexactly(int(headers["content-length"])))
        parts = []
        while size := int(await soon(self.reader.readuntil(b"\r\n")), 16):
            parts.append((await self.reader.readexactly(size + 2))[:-2])
        await self.reader.readexactly(2)
        return b"".join(parts)

    async def answer(self):
        """The body of a 200."""
        status, headers = await self.head()
        body = await self.body(headers)
        if status != 200:
            raise Lost(f"status {status}: {body[:150]!r}")
        return body


def head(method, path, length, headers=(), key=KEY):
    """A request's head."""
    lines = [f"{method} {path} HTTP/1.1", "Host: router", f"Authorization: Bearer {key}"]
    lines += ["Content-Type: application/json"] if length and not headers else []
    lines += [f"Content-Length: {length}"] if length else []
    return ("\r\n".join([*lines, *headers]) + "\r\n\r\n").encode()


def chat(model, name, filling=0):
    """The body of a chat request."""
    content = name + (" " + "x" * filling if filling else "")
    asked = {"model": model, "messages": [{"role": "user", "content": content}]}
    if model.startswith("stream"):
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(asked).encode()


def check_plain(body, name):
    """The answer is this request's."""
    content = json.loads(body)["choices"][0]["message"]["content"]
    if content != name:
        raise Lost(f"the answer to {content!r} came to {name!r}")


def check_stream(body, name, words):
    """Every word once and in order, then the usage, then the end."""
    frames = [frame.removeprefix("data: ") for frame in body.decode().split("\n\n") if frame.startswith("data: ")]
    if not frames or frames[-1] != "[DONE]":
        raise Lost(f"a stream without [DONE]: {body[-150:]!r}")
    events = [json.loads(frame) for frame in frames[:-1]]
    if any("error" in event for event in events):
        raise Lost(f"an error in a stream: {body[-200:]!r}")
    text = "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
    if text != "".join(f"{name}:{number} " for number in range(words)):
        raise Lost(f"words are missing, repeated or strange in {name}: {text[-80:]!r}")
    if not events[-1].get("usage"):
        raise Lost("a stream without its usage")


async def fresh(load, kind, pause):
    """A connection for one request."""
    connection, name = await Connection.open(load.port), load.name()
    try:
        connection.send("POST", "/v1/chat/completions", chat("plain", name))
        check_plain(await connection.answer(), name)
        load.tally.got[kind] += 1
    finally:
        connection.close()
    await asyncio.sleep(pause)


async def kept(load, kind, longest):
    """A connection for many requests, with time to think in between. One that the router closes meanwhile is counted
    apart, though a client that looks before it writes loses nothing by it."""
    connection = await Connection.open(load.port)
    try:
        while load.on and not connection.ends:
            await asyncio.sleep(load.chance.uniform(0, longest))
            if connection.reader.at_eof():
                load.tally.moved["closed while idle"] += 1
                return
            name = load.name()
            connection.send("POST", "/v1/chat/completions", chat("plain", name))
            check_plain(await connection.answer(), name)
            load.tally.got[kind] += 1
        load.tally.moved["asked to close"] += connection.ends
    finally:
        connection.close()


async def streams(load, kind, words, digests=None):
    """One stream after the other, the first one shorter, so that several do not end at once."""
    await stream(load, kind, load.chance.randint(1, words), digests)
    while load.on:
        await stream(load, kind, words, digests)


async def stream(load, kind, words, digests=None):
    """A stream on a connection of its own. Where there are digests of what the provider has said, it is the same bytes."""
    connection, name = await Connection.open(load.port), load.name()
    load.streaming += 1
    try:
        connection.send("POST", "/v1/chat/completions", chat(f"stream{words}", name))
        body = await connection.answer()
        check_stream(body, name, words)
        if digests is not None and hashlib.sha256(body).hexdigest() != digests.pop(name):
            raise Lost(f"a stream that is not what the provider has said: {body[-300:]!r}")
        load.tally.got[kind] += 1
    finally:
        load.streaming -= 1
        connection.close()


async def slow(load, kind, size, seconds, path="/v1/chat/completions"):
    """A large body that takes its time."""
    connection, name = await Connection.open(load.port), load.name()
    try:
        if path == "/v1/files":
            body, headers = multipart(size), ["Content-Type: multipart/form-data; boundary=edge"]
        else:
            body, headers = chat("plain", name, size), ()
        connection.writer.write(head("POST", path, len(body), headers))
        piece = len(body) // 20 + 1
        for at in range(0, len(body), piece):
            connection.writer.write(body[at:at + piece])
            await connection.writer.drain()
            await asyncio.sleep(seconds / 20)
        answer = await connection.answer()
        if path == "/v1/files":
            if json.loads(answer)["filename"] != hashlib.sha256(body).hexdigest():
                raise Lost("an upload has changed on its way")
        else:
            check_plain(answer, name)
        load.tally.got[kind] += 1
    finally:
        connection.close()


def multipart(size):
    """A form with one file."""
    begin = b'--edge\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--edge\r\n'
    begin += b'Content-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    return begin + os.urandom(size) + b"\r\n--edge--\r\n"


async def listed(load, kind, longest):
    """A connection that asks for lists of files, which are handed on unread."""
    connection = await Connection.open(load.port)
    try:
        while load.on and not connection.ends:
            await asyncio.sleep(load.chance.uniform(0, longest))
            if connection.reader.at_eof():
                load.tally.moved["closed while idle"] += 1
                return
            name = load.name()
            connection.send("GET", f"/v1/files?after={name}")
            if json.loads(await connection.answer())["asked"] != f"after={name}":
                raise Lost("another's list")
            load.tally.got[kind] += 1
        load.tally.moved["asked to close"] += connection.ends
    finally:
        connection.close()


async def socket(load, kind, words):
    """A WebSocket on which each word comes back."""
    connection, name = await Connection.open(load.port), load.name()
    try:
        nonce = base64.b64encode(os.urandom(16)).decode()
        headers = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        headers += [f"Sec-WebSocket-Key: {nonce}"]
        connection.send("GET", "/v1/realtime?model=plain", headers=headers)
        status, _ = await connection.head()
        if status != 101:
            raise Lost(f"status {status} to a WebSocket")
        for number in range(words):
            said = f"{name}:{number}".encode()
            connection.writer.write(bytes([0x81, 0x80 | len(said), 0, 0, 0, 0]) + said)
            heard = await soon(connection.reader.readexactly(2 + len(said)))
            if heard[2:] != said:
                raise Lost(f"a WebSocket said {heard!r} to {said!r}")
            await asyncio.sleep(0.25)
        connection.writer.write(bytes([0x88, 0x82, 0, 0, 0, 0, 3, 0xE8]))
        if (await connection.reader.read(2))[:1] != b"\x88":
            raise Lost("a WebSocket did not say goodbye")
        load.tally.got[kind] += 1
    finally:
        connection.close()
