"""Routers on hosts of their own, and links that are cut: hosts.py BINARY [STORY...], as root, at most 4 minutes.

A host is a network namespace (ip-netns(8)) with a cable to a switch, all inside one namespace of this program's own, so
that the machine's network is left alone and everything is gone when the program ends. A cable that is pulled out of the
switch drops what is sent without a word: no reset, no refused connection, as with a cut link between two sites.
"""

import asyncio
import ctypes
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import shared  # noqa: E402

KEY = shared.routers.KEY
MARK = "AUTO_AI_ROUTER_HOSTS"
PORT = 8080
HERE, LEFT, RIGHT = "10.77.0.1", "10.77.0.2", "10.77.0.3"
# Of the right host and the store, behind the cables that are pulled out.
FAR, STORE = "10.78.0.3", "10.78.0.4"
TIMEOUT = 0.3
CONFIG = """
server: {{host: {address}, port: 8080, master_key: {key}, drain_timeout: 5s}}
monitoring: {{prometheus_listen: "off", peer_health_interval: 1s}}
admin: {{listen: "unix:{dir}/admin.sock"}}
"""


def run(*command):
    """A command that must succeed."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Net:
    """A switch to which hosts have a cable each; host 1 is this program."""

    def __init__(self, name, number):
        self.name, self.number = name, number
        run("ip", "link", "add", name, "type", "bridge")
        run("ip", "address", "add", f"10.{number}.0.1/24", "dev", name)
        run("ip", "link", "set", name, "up")

    def cable(self, host, number):
        """Connects a host."""
        run("ip", "link", "add", f"{self.name}-{host}", "type", "veth", "peer", "name", self.name, "netns", host)
        run("ip", "-n", host, "address", "add", f"10.{self.number}.0.{number}/24", "dev", self.name)
        run("ip", "-n", host, "link", "set", self.name, "up")
        run("ip", "link", "set", f"{self.name}-{host}", "up")
        self.mend(host)

    def cut(self, host):
        """Pulls its cable out."""
        run("ip", "link", "set", f"{self.name}-{host}", "nomaster")

    def mend(self, host):
        """Puts it in again."""
        run("ip", "link", "set", f"{self.name}-{host}", "master", self.name)


class Host:
    """A router on a host of its own; ended when the block ends."""

    def __init__(self, binary, name, address, config):
        self.name, self.address = name, address
        self.dir = tempfile.TemporaryDirectory()
        path = pathlib.Path(self.dir.name, "config.yaml")
        head = CONFIG.format(address=self.address, key=KEY, dir=self.dir.name)
        path.write_text(head + config.format(dir=self.dir.name), encoding="utf-8")
        self.command = ["ip", "netns", "exec", name, binary, "run", "--config", str(path)]
        self.process = None

    def __enter__(self):
        with open(f"{self.dir.name}/log", "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        return self

    def __exit__(self, kind, *_):
        self.process.kill()
        self.process.wait()
        if kind:
            log = pathlib.Path(self.dir.name, "log").read_text(encoding="utf-8").splitlines()
            print(*(line for line in log if "ended" not in line), sep="\n", file=sys.stderr)

    async def get(self, path):
        """What it says about itself; none while it does not answer."""
        try:
            _, _, body = await asyncio.wait_for(talk(self.address, "GET", path), 2)
            return json.loads(body)
        except (OSError, asyncio.TimeoutError, ValueError, IndexError):
            return None

    async def until(self, what, within, holds):
        """Seconds until something holds of its health."""
        began = time.monotonic()
        while True:
            health = await self.get("/health")
            if health and holds(health):
                return time.monotonic() - began
            assert time.monotonic() - began < within, f"{self.name}: {what}: not within {within} s: {health}"
            await asyncio.sleep(0.05)


async def talk(address, method, path, body=b""):
    """One request, to the end of its answer: status, headers, body."""
    reader, writer = await asyncio.open_connection(address, PORT)
    head = (f"{method} {path} HTTP/1.1\r\nhost: r\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n")
    try:
        writer.write(head.encode() + body)
        answer = await reader.read()
    finally:
        writer.close()
    head, body = answer.split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), dict(line.lower().split(": ", 1) for line in lines[1:]), body


class Load:
    """So many clients that ask one router again and again."""

    def __init__(self, address, clients, pause):
        self.address, self.pause, self.seen, self.over = address, pause, [], False
        self.tasks = [asyncio.create_task(self.client()) for _ in range(clients)]

    async def client(self):
        """One of them."""
        while not self.over:
            began = time.monotonic()
            try:
                asked = talk(self.address, "POST", "/v1/chat/completions", shared.BODY)
                status, *_ = await asyncio.wait_for(asked, 30)
            except (OSError, IndexError, asyncio.TimeoutError):
                status = 0
            self.seen.append((began, status, time.monotonic() - began))
            await asyncio.sleep(self.pause)

    async def end(self):
        """Enough."""
        self.over = True
        await asyncio.gather(*self.tasks)

    count, slowest = shared.Load.count, shared.Load.slowest


class Provider(shared.Provider):
    """Answers, and streams a word each half second where that is asked for."""

    async def start(self):
        """Listens where every host reaches it."""
        self.server = await asyncio.start_server(self.serve, HERE, 0)
        return f"http://{HERE}:{self.server.sockets[0].getsockname()[1]}"


class Streaming(Provider):
    """Every answer is a stream of twenty words, one each quarter of a second."""

    async def serve(self, reader, writer):
        """One connection."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                return writer.write(shared.reply(404, b"{}"))
            self.came.append(time.monotonic())
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
            for number in range(20):
                writer.write(frame({"content": f"{number} "}))
                await writer.drain()
                await asyncio.sleep(0.25)
            writer.write(frame({}, "stop") + b"data: [DONE]\n\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def frame(delta, finish=None):
    """An event of a chat."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


async def store(binary):
    """Two routers share a limit; the cable of one to the store is pulled out for ten seconds."""
    provider = Provider()
    url = await provider.start()
    limit = shared.LIMIT
    config = (f"state: {{{{dir: \"{{dir}}/state\", url: \"redis://{STORE}/\", timeout: {int(TIMEOUT * 1000)}ms}}}}\n"
              f"credentials: [{{{{name: key, api_key: sk-upstream-0123456789, base_url: \"{url}\", rpm: {limit}}}}}]\n")
    redis = subprocess.Popen(
        ["ip", "netns", "exec", "store", "redis-server", "--bind", STORE, "--protected-mode", "no", "--save", ""],
        stdout=subprocess.DEVNULL)
    try:
        with Host(binary, "left", LEFT, config) as left, Host(binary, "right", RIGHT, config) as right:
            def met(health):
                return health["state"]["mode"] == "shared" and health["state"]["routers"] == 2
            for host in (left, right):
                await host.until("they have met", 15, met)
            loads = [Load(host.address, 16, 0.1) for host in (left, right)]
            await asyncio.sleep(4)
            assert len(provider.came) == limit, len(provider.came)
            cut = time.monotonic()
            SITES.cut("right")
            alone = await right.until("it is alone", 5, lambda health: health["state"]["mode"] == "local_share")
            await asyncio.sleep(10 - alone)
            assert met(await left.get("/health")) or (await left.get("/health"))["state"]["mode"] == "shared"
            SITES.mend("right")
            back = await right.until("it is back", 15, lambda health: health["state"]["mode"] == "shared")
            mended = time.monotonic()
            await asyncio.sleep(125 - (mended - cut))
            for load in loads:
                await load.end()
            most, later = shared.fullest(provider.came), shared.fullest([came for came in provider.came if came > cut])
            slowest = [load.slowest(cut - 0.2, mended) for load in loads]
            counts = [load.count() for load in loads]
            print(f"  cut for 10 s: alone after {alone:.1f} s, back {back:.1f} s after the cable; the fullest minute {most} "
                  f"(bound {limit * 3 // 2}), of those after the cut {later} (bound {limit}); slowest {slowest} ms; {counts}")
            assert most <= limit * 3 // 2 and limit * 0.9 <= later <= limit
            assert max(slowest) < TIMEOUT * 1000 + 400, slowest
            assert all(set(count) <= {200, 429} for count in counts), counts
    finally:
        redis.kill()
        redis.wait()


async def peer(binary):
    """An edge, a router behind it and a fallback; the cable of the router behind is pulled out amid streams."""
    provider, streaming = Provider(), Streaming()
    url, streams = await provider.start(), await streaming.start()
    behind = (f"state: {{{{dir: \"{{dir}}/state\"}}}}\n"
              f"credentials: [{{{{name: far, api_key: sk-upstream-0123456789, base_url: \"{streams}\"}}}}]\n")
    edge = (f"state: {{{{dir: \"{{dir}}/state\"}}}}\n"
            "routing: {{stall_timeout: 2s, response_timeout: 4s, first_token_timeout: 4s}}\n"
            "fail2ban: {{ban_duration: 2s}}\n"
            "credentials:\n"
            f"  - {{{{name: behind, type: proxy, api_key: {KEY}, base_url: \"http://{FAR}:{PORT}\", "
            "connect_timeout: 1s}}\n"
            f"  - {{{{name: spare, api_key: sk-upstream-0123456789, base_url: \"{url}\", is_fallback: true}}}}\n")
    with Host(binary, "right", FAR, behind) as right, Host(binary, "left", LEFT, edge) as left:
        await right.until("it is there", 15, lambda health: True)

        def stands(state):
            return lambda health: health["credentials"]["behind"].get("peer", {}).get("state") == state
        await left.until("it knows the router behind", 15, stands("fresh"))
        ask = json.dumps({**json.loads(shared.BODY), "stream": True}).encode()
        running = [asyncio.create_task(talk(left.address, "POST", "/v1/chat/completions", ask)) for _ in range(8)]
        await asyncio.sleep(1.5)
        assert len(streaming.came) == 8, len(streaming.came)
        cut = time.monotonic()
        SITES.cut("right")
        load = Load(left.address, 8, 0.1)
        bodies = [body for _, _, body in await asyncio.gather(*running)]
        told = time.monotonic() - cut
        down = await left.until("it is held for down", 30, stands("down")) + told
        served = load.count()
        SITES.mend("right")
        back = await left.until("it is trusted again", 30, stands("fresh"))
        await load.end()
        told_so = sum(b'"error"' in body and b"[DONE]" not in body for body in bodies)
        print(f"  {told_so} of 8 streams were told so within {told:.1f} s; meanwhile {served} answers by the fallback, the "
              f"slowest after {load.slowest(cut, cut + 30)} ms; held for down {down:.1f} s after the cut; "
              f"trusted again {back:.1f} s after the cable")
        assert told_so == 8 and told < 4, bodies
        assert set(load.count()) == {200} and served[200] > 50, load.count()
        asked = len(streaming.came)
        for _ in range(200):
            status, *_ = await talk(left.address, "POST", "/v1/chat/completions", ask)
            assert status == 200
            if len(streaming.came) > asked:
                break
        assert len(streaming.came) > asked, "the router behind is not asked any more"


STORIES = {"peer": peer, "store": store}
SITES = None


def main():
    """Lays the cables and tells each story."""
    global SITES  # pylint: disable=global-statement
    binary, chosen = os.path.abspath(sys.argv[1]), sys.argv[2:] or list(STORIES)
    run("ip", "link", "set", "lo", "up")
    for host in ("left", "right", "store"):
        run("ip", "netns", "add", host)
        run("ip", "-n", host, "link", "set", "lo", "up")
    front, SITES = Net("front", 77), Net("sites", 78)
    for number, host in enumerate(("left", "right"), 2):
        front.cable(host, number)
    for number, host in enumerate(("left", "right", "store"), 2):
        SITES.cable(host, number)
    began = time.monotonic()
    for name in chosen:
        print(f"{name}: {STORIES[name].__doc__}", flush=True)
        asyncio.run(STORIES[name](binary))
    print(f"ok, {time.monotonic() - began:.0f} s")


def apart():
    """Goes on as another program, in namespaces of its own."""
    inside = "mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && exec \"$@\""
    again = [sys.executable, "-B", os.path.abspath(__file__), *sys.argv[1:]]
    os.execvpe("unshare", ["unshare", "--net", "--mount", "sh", "-c", inside, "sh", *again], {**os.environ, MARK: "1"})


if __name__ == "__main__":
    main() if MARK in os.environ else apart()
