"""What somebody without good intentions can do to a router, and what it costs: attack.py BINARY [PROBE...].

Slow uploads, readers that stall, idle crowds, heads that drip, floods of HTTP/2 frames, and heads that can be read in two
ways. Each probe has its own router, is bounded in time, prints its figures and judges them. About four minutes in all.
"""

import asyncio
import logging
import os
import pathlib
import resource
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "sdk"))

import router as routers  # noqa: E402

MIB = 1024 * 1024
SMALL = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
STREAM = SMALL[:-1] + b',"stream":true}'
CHAT = b'{"id":"x","object":"chat.completion","choices":[{"index":0,"finish_reason":"stop",' \
       b'"message":{"role":"assistant","content":"hello"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
EVENT = b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"' + \
        b"w" * 16_000 + b'"}}]}\n\n'
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
READERS = int(os.environ.get("READERS", "1000"))
FAULTS = []


def judge(holds, what):
    """Prints a figure and whether it is as it should be."""
    print(("ok    " if holds else "FAULT ") + what, flush=True)
    if not holds:
        FAULTS.append(what)


class Upstream:
    """Answers at once; a stream never ends."""

    def __init__(self):
        self.requests = 0
        self.server = None
        # Of each stream that has ended: how long nobody took anything of it before.
        self.waits = []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=4096)
        return self

    async def __aexit__(self, *_):
        self.server.close()

    @property
    def url(self):
        """Where it is."""
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def serve(self, reader, writer):
        """One connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
                body = await reader.readexactly(int(fields.get(b"content-length", 0)))
                if head.startswith(b"GET"):
                    writer.write(b"HTTP/1.1 404 None\r\ncontent-length: 0\r\n\r\n")
                    continue
                self.requests += 1
                if b'"stream":true' in body:
                    await self.stream(writer)
                head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                writer.write(head % len(CHAT) + CHAT)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def stream(self, writer):
        """As much as is taken."""
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        # What waits here would be taken for what waits in the router.
        writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        piece = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
        taken = time.monotonic()
        try:
            while True:
                writer.write(piece)
                await writer.drain()
                taken = time.monotonic()
        finally:
            self.waits.append(time.monotonic() - taken)


class Target(routers.Router):
    """The router under attack."""

    def __init__(self, binary, upstream, server=""):
        credentials = routers.CREDENTIALS
        before = routers.CONFIG
        routers.CONFIG = before.replace("  master_key:", f"{server}  master_key:")
        try:
            super().__init__(binary, upstream, credentials)
        finally:
            routers.CONFIG = before

    def memory(self):
        """Resident bytes."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024

    def cpu(self):
        """Seconds of processor time."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def head(self, length, path="/v1/chat/completions"):
        """The head of a chat request."""
        return (f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {routers.KEY}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n").encode()

    async def open(self, window=None):
        """A connection, with a receive window of so many bytes."""
        line = socket.socket()
        line.setblocking(False)
        if window:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", self.port))
        return await asyncio.open_connection(sock=line, limit=4096)

    async def small(self):
        """Whether a small request on a connection of its own is answered."""
        try:
            reader, writer = await self.open()
            writer.write(self.head(len(SMALL)) + SMALL)
            line = await asyncio.wait_for(reader.readline(), 5)
            writer.close()
            return b" 200 " in line
        except (OSError, asyncio.TimeoutError):
            return False


async def crowd(count, act):
    """Runs `act` so many times at once; what each returned."""
    return await asyncio.gather(*(act(number) for number in range(count)), return_exceptions=True)


async def peak_of(router, work):
    """What `work` returns, and the most memory that the router had meanwhile."""
    peak = router.memory()
    task = asyncio.ensure_future(work)
    while not task.done():
        peak = max(peak, router.memory())
        await asyncio.sleep(0.1)
    return task.result(), peak


async def slow_uploads(binary):
    """A thousand uploads of 20 MB that never end, and small requests beside them."""
    async with Upstream() as upstream:
        with Target(binary, upstream.url) as router:
            await router.small()
            idle = router.memory()
            until = time.monotonic() + 25

            async def upload(_):
                reader, writer = await router.open()
                writer.write(router.head(20_000_000) + b'{"model":"m","x":"')
                while time.monotonic() < until and not reader.at_eof():
                    writer.write(b"x" * 16_384)
                    await asyncio.sleep(0.8)
                writer.close()

            async def others():
                served = []
                while time.monotonic() < until:
                    served.append(await router.small())
                    await asyncio.sleep(0.01)
                return served

            (_, served), peak = await peak_of(router, asyncio.gather(crowd(1000, upload), others()))
            grown = (peak - idle) / MIB
            judge(grown <= 256 + 64, f"1,000 slow uploads: {grown:.0f} MiB more at the most (budget 256 + 64)")
            share = 100 * sum(served) / len(served)
            judge(share >= 99.9, f"meanwhile {share:.2f} % of {len(served)} small requests were answered")


async def stalled_readers(binary):
    """READERS (1,000) of endless streams that read nothing. Each takes as much as its socket holds, some MB, before it stalls."""
    async with Upstream() as upstream:
        with Target(binary, upstream.url) as router:
            await router.small()
            idle = router.memory()

            async def stall(_):
                reader, writer = await router.open(8192)
                writer.transport.pause_reading()
                writer.write(router.head(len(STREAM)) + STREAM)
                return reader, writer

            kept = await crowd(READERS, stall)
            _, peak = await peak_of(router, asyncio.sleep(35))
            each = (peak - idle) / READERS / 1024
            judge(each < 64, f"{READERS} stalled readers: {each:.1f} KiB each (64)")
            judge(await router.small(), "a small request is answered meanwhile")
            until = time.monotonic() + 90
            while len(upstream.waits) < READERS and time.monotonic() < until:
                await asyncio.sleep(0.5)
            left, took = READERS - len(upstream.waits), max(upstream.waits, default=0)
            judge(not left and took <= 61, f"all but {left} are let go, {took:.1f} s after the last byte was taken (61)")
            del kept


async def idle_crowd(binary):
    """Ten thousand connections that have asked once and say nothing more."""
    async with Upstream() as upstream:
        with Target(binary, upstream.url, "  keepalive_timeout: 20s\n") as router:
            await router.small()
            idle = router.memory()
            ask = f"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n".encode()
            gate = asyncio.Semaphore(200)

            async def sit(_):
                async with gate:
                    reader, writer = await router.open()
                    writer.write(ask)
                    await reader.readuntil(b"alive")
                await reader.read()
                writer.close()
                return time.monotonic()

            sitting = asyncio.ensure_future(crowd(10_000, sit))
            await asyncio.sleep(14)
            each = (router.memory() - idle) / 10_000 / 1024
            judge(each < 10, f"10,000 idle connections: {each:.1f} KiB each (10)")
            judge(await router.small(), "a small request is answered meanwhile")
            ended = await asyncio.wait_for(sitting, 40)
            failed = [end for end in ended if not isinstance(end, float)]
            judge(not failed, f"all were closed in time; {len(failed)} otherwise {failed[:1]}")


async def slow_heads(binary):
    """A thousand heads that come byte by byte."""
    async with Upstream() as upstream:
        with Target(binary, upstream.url) as router:

            async def drip(_):
                reader, writer = await router.open()
                began = time.monotonic()
                writer.write(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n")
                while time.monotonic() - began < 30 and not reader.at_eof():
                    try:
                        writer.write(b"X")
                        await asyncio.wait_for(reader.read(100), 0.5)
                    except asyncio.TimeoutError:
                        continue
                    except OSError:
                        break
                    break
                return time.monotonic() - began

            dripping = asyncio.ensure_future(crowd(1000, drip))
            await asyncio.sleep(5)
            judge(await router.small(), "a small request is answered beside 1,000 heads that drip")
            times = [took for took in await dripping if isinstance(took, float)]
            judge(max(times) <= 11.5, f"1,000 dripping heads: the last is cut after {max(times):.1f} s (11)")


def frame(kind, flags, stream, payload):
    """A frame of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


BLOCK = bytes([0x82, 0x86, 4, 10]) + b"/v1/models" + bytes([1, 1]) + b"a"
BOMB = BLOCK + bytes([0x40, 1]) + b"x" + bytes([0x7f, 0xa1, 0x1e]) + b"y" * 4000 + b"\xbe" * 8000
FLOODS = {
    "pings": lambda n: frame(6, 0, 0, b"12345678"),
    "settings": lambda n: frame(4, 0, 0, b""),
    "priorities": lambda n: frame(2, 0, 2 * n + 1, b"\0\0\0\0\x09"),
    "rapid reset": lambda n: frame(1, 5, 2 * n + 1, BLOCK) + frame(3, 0, 2 * n + 1, b"\0\0\0\x08"),
    "window updates": lambda n: frame(8, 0, 0, b"\0\0\0\x01"),
    "continuations": lambda n: frame(9, 0, 1, b"\x82" * 1000) if n else frame(1, 1, 1, BLOCK),
    "empty data": lambda n: frame(0, 0, 1, b"") if n else frame(1, 4, 1, BLOCK),
    "header bomb": lambda n: frame(1, 5, 2 * n + 1, BOMB),
}


async def floods(binary):
    """Frames that cost work and ask for nothing, five connections of each kind."""
    async with Upstream() as upstream:
        for name, make in FLOODS.items():
            with Target(binary, upstream.url) as router:
                await router.small()
                idle, before = router.memory(), router.cpu()
                sent = 0

                async def flood(_):
                    nonlocal sent
                    reader, writer = await router.open()
                    writer.write(PREFACE)
                    drain = asyncio.ensure_future(reader.read())
                    for number in range(5000):
                        if writer.is_closing() or drain.done():
                            return number
                        piece = make(number)
                        sent += len(piece)
                        writer.write(piece)
                        if number % 20 == 19:
                            await asyncio.sleep(0.001)
                    return 5000

                frames, peak = await peak_of(router, crowd(5, flood))
                spent, grown = router.cpu() - before, (peak - idle) / MIB
                what = f"{name}: ended after {max(frames)} frames, {spent / 5:.3f} s of processor each, {grown:.1f} MiB more"
                if name == "header bomb":
                    judge(peak - idle <= max(5 * sent, 16 * MIB), f"{what} for {sent / MIB:.1f} MiB sent (5 x)")
                else:
                    judge(max(frames) <= 1000 and spent < 0.5 and grown < 16, what + " (1,000; 0.1 s; 16 MiB)")
                judge(await router.small(), f"a small request is answered after {name}")


HEADS = [
    "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
    "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n",
    "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n",
    "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n",
    "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX: y\r\n Transfer-Encoding: chunked\r\n",
    "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
    "POST /v1/chat/completions HTTP/1.1\r\n",
    "POST /v1//chat/completions HTTP/1.1\r\nHost: a\r\n",
    "POST /v1/x/../chat/completions HTTP/1.1\r\nHost: a\r\n",
    "POST /v1%2fchat/completions HTTP/1.1\r\nHost: a\r\n",
    "POST /v1/chat/completions\0 HTTP/1.1\r\nHost: a\r\n",
    "TRACE /v1/chat/completions HTTP/1.1\r\nHost: a\r\n",
]


async def smuggling(binary):
    """Heads that can be read in two ways: what they reach, and what refusing them costs."""
    async with Upstream() as upstream:
        with Target(binary, upstream.url) as router:
            await router.small()
            reached, before, total = upstream.requests, router.cpu(), 3000
            rest = f"Authorization: Bearer {routers.KEY}\r\nContent-Length: {len(SMALL)}\r\n\r\n".encode() + SMALL
            gate = asyncio.Semaphore(50)

            async def probe(number):
                async with gate:
                    reader, writer = await router.open()
                    writer.write(HEADS[number % len(HEADS)].encode() + rest)
                    answer = await asyncio.wait_for(reader.read(), 10)
                    writer.close()
                    return answer.count(b"HTTP/1.1 ") == 1 and answer[9:10] == b"4"

            refused = await crowd(total, probe)
            spent = 1e6 * (router.cpu() - before) / total
            judge(all(one is True for one in refused), f"{refused.count(True)} of {total} ambiguous heads refused")
            judge(upstream.requests == reached, f"{upstream.requests - reached} of them reached the upstream")
            judge(spent < 2000, f"{spent:.0f} us of processor for each, its connection included")
            judge(await router.small(), "nobody is banned")


PROBES = [slow_heads, smuggling, floods, slow_uploads, idle_crowd, stalled_readers]


def main(binary, names):
    """Runs the probes that are named, or all."""
    logging.disable(logging.WARNING)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    began = time.monotonic()
    for probe in PROBES:
        if not names or probe.__name__ in names:
            asyncio.run(asyncio.wait_for(probe(binary), 150))
    print(f"attack: {len(FAULTS)} faults in {time.monotonic() - began:.0f} s")
    return 1 if FAULTS else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
