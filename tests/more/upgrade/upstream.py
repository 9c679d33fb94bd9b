"""A scripted provider on asyncio: chat completions, streams, files and a WebSocket that repeats what it hears.

A request is known by the text of its last message; every word of the answer carries it, so that a client sees at once
when it has got another's answer. The model says how: `plain`, or `streamN` for N words, one each TICK.
"""

import asyncio
import base64
import collections
import hashlib
import json
import time

TICK = 0.25
# What a stream reports at its end.
USAGE = {"prompt_tokens": 7, "completion_tokens": 13, "total_tokens": 20}
ENVELOPE = {"created": 0, "model": "m"}
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
SOCKET_HEAD = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: "
SOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

Call = collections.namedtuple("Call", "at key path name")


class Upstream:
    """The provider. `calls` is its log; `refused` are keys that it answers with 401; `paces` delays plain answers;
    `digests` are of the bytes of streams, by name, where it is told to keep them."""

    def __init__(self):
        self.calls = []
        self.refused = set()
        self.paces = {}
        self.open = collections.Counter()
        self.most_open = collections.Counter()
        self.url, self.digests = None, None

    async def start(self):
        """Begins to listen."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Exchange(self), "127.0.0.1", 0, backlog=4096)
        self.url = "http://127.0.0.1:{}".format(server.sockets[0].getsockname()[1])
        return server

    def of(self, key):
        """The chat calls with a key."""
        return [call for call in self.calls if call.key == key and call.path.endswith("/chat/completions")]

    def enter(self, key):
        """A chat call has begun."""
        self.open[key] += 1
        self.most_open[key] = max(self.most_open[key], self.open[key])


class Exchange(asyncio.Protocol):
    """One connection of the router's."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.transport = None
        self.buffer = bytearray()
        self.socket = False
        self.busy = self.said = None

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, _):
        self.over()

    def data_received(self, data):
        self.buffer += data
        if self.socket:
            return self.repeat()
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        start, *lines = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
        headers = dict((name.lower(), value) for name, value in (line.split(": ", 1) for line in lines))
        length = int(headers.get("content-length", 0))
        if len(self.buffer) < end + 4 + length:
            return None
        body = bytes(self.buffer[end + 4:end + 4 + length])
        del self.buffer[:end + 4 + length]
        return self.answer(start.split(" ")[:2], headers, body)

    def answer(self, start, headers, body):
        """One request, whole."""
        method, path = start
        key = headers.get("authorization", "").removeprefix("Bearer ")
        if headers.get("upgrade") == "websocket":
            return self.accept(headers)
        if path.startswith("/v1/models"):
            return self.json(200, {"object": "list", "data": []})
        name = ""
        if path.endswith("/chat/completions"):
            asked = json.loads(body)
            name = asked["messages"][-1]["content"].split(" ", 1)[0]
        self.upstream.calls.append(Call(time.monotonic(), key, path.split("?")[0], name))
        if key in self.upstream.refused:
            return self.json(401, {"error": {"message": "bad key", "type": "authentication_error"}})
        if path.startswith("/v1/files"):
            return self.files(method, path, body)
        self.busy = key
        self.upstream.enter(key)
        if asked["model"].startswith("stream"):
            return self.stream(name, int(asked["model"].removeprefix("stream")))
        pace = self.upstream.paces.get(key, 0.005)
        asyncio.get_running_loop().call_later(pace, self.plain, name)
        return None

    def over(self):
        """The chat call has its answer."""
        if self.busy is not None:
            self.upstream.open[self.busy] -= 1
            self.busy = None

    def plain(self, name):
        """A whole chat answer."""
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": name}}
        self.over()
        self.json(200, ENVELOPE | {"object": "chat.completion", "id": name, "choices": [choice], "usage": USAGE})

    def files(self, method, path, body):
        """A list that repeats its query, or what an upload has weighed."""
        if method == "GET":
            return self.json(200, {"object": "list", "data": [], "asked": path.partition("?")[2]})
        digest = hashlib.sha256(body).hexdigest()
        return self.json(200, {"id": "file-" + digest[:8], "object": "file", "bytes": len(body), "filename": digest})

    def json(self, status, value):
        """An answer with a length."""
        text = json.dumps(value).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n"
        if not self.transport.is_closing():
            self.transport.write(head.encode() + text)

    def stream(self, name, words):
        """One word each TICK, then the usage."""
        loop = asyncio.get_running_loop()
        self.transport.write(STREAM_HEAD)
        self.said = hashlib.sha256()

        def step(number):
            if self.transport.is_closing():
                return
            if number < words:
                self.event(name, [{"index": 0, "delta": {"content": f"{name}:{number} "}, "finish_reason": None}])
                loop.call_later(TICK, step, number + 1)
                return
            self.event(name, [{"index": 0, "delta": {}, "finish_reason": "stop"}])
            self.event(name, [], USAGE)
            self.chunk(b"data: [DONE]\n\n")
            if self.upstream.digests is not None:
                self.upstream.digests[name] = self.said.hexdigest()
            self.over()
            self.transport.write(b"0\r\n\r\n")

        step(0)

    def event(self, name, choices, usage=None):
        """One chunk of a chat stream."""
        value = {"object": "chat.completion.chunk", "id": name, "choices": choices, "usage": usage}
        self.chunk(b"data: " + json.dumps(ENVELOPE | value).encode() + b"\n\n")

    def chunk(self, data):
        """One chunk of a body."""
        self.said.update(data)
        self.transport.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def accept(self, headers):
        """Becomes a WebSocket (RFC 6455)."""
        digest = hashlib.sha1(headers["sec-websocket-key"].encode() + SOCKET_GUID).digest()
        self.socket = True
        self.transport.write(SOCKET_HEAD + base64.b64encode(digest) + b"\r\n\r\n")
        self.repeat()

    def repeat(self):
        """Says each short message of the client's again; ends when told so."""
        while len(self.buffer) >= 6 and len(self.buffer) >= 6 + (self.buffer[1] & 0x7F):
            length = self.buffer[1] & 0x7F
            mask, text = self.buffer[2:6], self.buffer[6:6 + length]
            text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))
            self.transport.write(bytes([self.buffer[0], length]) + text)
            if self.buffer[0] & 0x0F == 8:
                return self.transport.close()
            del self.buffer[:6 + length]
        return None
