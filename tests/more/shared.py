"""Several routers on one Redis: shared.py BINARY [STORY...], by default every story, at most 5 minutes.

The store is `redis-server` on a loopback port, without persistence, so that a restart has forgotten everything. The
provider is in this process and notes when each request came. Only what was started here is ended.
"""

import asyncio
import collections
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "sdk"))

import router as routers  # noqa: E402

LIMIT = 100
ROUTERS = 4
MINUTE = 60.0
# A busy machine is no outage where the story is not about one.
PATIENT = "  timeout: 1s\n"
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}).encode()
ANSWER = json.dumps({
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}).encode()


class Store:
    """A redis-server; `kill`, `freeze` and `start` it as the story goes."""

    def __init__(self):
        self.port = routers.free_port()
        self.url = f"redis://127.0.0.1:{self.port}/"
        self.dir = tempfile.TemporaryDirectory()
        self.process = None
        self.start()

    def start(self):
        """Runs it, empty."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                   "--dir", self.dir.name]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(200):
            with socket_to(self.port) as there:
                if there:
                    return
            time.sleep(0.02)
        raise RuntimeError("redis-server does not listen")

    def kill(self):
        """Ends it without a word."""
        self.process.kill()
        self.process.wait()

    def freeze(self):
        """Its connections stay and nothing answers, as with a cut link."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """Goes on."""
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGCONT)
        self.kill()
        self.dir.cleanup()


class socket_to:  # pylint: disable=invalid-name
    """Whether somebody listens on a port."""

    def __init__(self, port):
        self.port = port

    def __enter__(self):
        import socket
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(self, *_):
        pass


class Provider:
    """Notes the moment of each request; `script` decides what it gets."""

    def __init__(self):
        self.came, self.peaks = [], []
        self.now = 0
        self.pause, self.status, self.headers = 0.0, 200, ""
        self.server = None

    async def start(self):
        """Listens."""
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def serve(self, reader, writer):
        """One connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                came = time.monotonic()
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
                if head.startswith(b"GET"):
                    writer.write(reply(404, b"{}"))
                    continue
                self.came.append(came)
                self.now += 1
                self.peaks.append((came, self.now))
                try:
                    await asyncio.sleep(self.pause)
                finally:
                    self.now -= 1
                writer.write(reply(self.status, ANSWER if self.status == 200 else b"{}", self.headers))
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


def reply(status, body, headers=""):
    """An answer with JSON."""
    head = f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


async def ask(port):
    """One request: status, headers, and how long it took."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (f"POST /v1/chat/completions HTTP/1.1\r\nhost: r\r\nauthorization: Bearer {routers.KEY}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\nconnection: close\r\n\r\n")
    writer.write(head.encode() + BODY)
    try:
        answer = await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()
    lines = answer.split(b"\r\n\r\n")[0].decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, time.monotonic() - began


class Load:
    """So many clients that ask again and again, each of the next router in turn."""

    def __init__(self, ports, clients=64, pause=0.1):
        self.ports, self.pause = ports, pause
        self.seen = []
        self.over = False
        self.tasks = [asyncio.create_task(self.client(number)) for number in range(clients)]

    async def client(self, number):
        """One of them."""
        while not self.over:
            port = self.ports[number % len(self.ports)]
            number += 1
            began = time.monotonic()
            try:
                status, _, took = await ask(port)
                self.seen.append((began, status, took))
            except (OSError, IndexError):
                self.seen.append((began, 0, time.monotonic() - began))
            await asyncio.sleep(self.pause)

    async def end(self):
        """Enough."""
        self.over = True
        await asyncio.gather(*self.tasks)

    def count(self, since=0.0, until=float("inf")):
        """How many answers of each status."""
        return dict(collections.Counter(status for began, status, _ in self.seen if since <= began < until))

    def slowest(self, since, until):
        """Milliseconds, of those that were asked in that time."""
        return round(max((took for began, _, took in self.seen if since <= began < until), default=0) * 1000)


def closest(came):
    """The shortest time in which more than the limit came; above a minute all is well."""
    came = sorted(came)
    return min((last - first for first, last in zip(came, came[LIMIT:])), default=0)


def fullest(came, since=0.0, until=float("inf")):
    """The most requests in any sixty seconds that end in that time."""
    came, first, most = sorted(came), 0, 0
    for last, moment in enumerate(came):
        while moment - came[first] >= MINUTE:
            first += 1
        if since <= moment < until:
            most = max(most, last - first + 1)
    return most


class Fleet:
    """Routers on one store; ended when the block ends."""

    def __init__(self, binary, store, provider, lines, state="", count=ROUTERS, rest=""):
        config = f"""
  - name: key
    api_key: sk-upstream-0123456789
    base_url: {{url}}
    {lines}
"""
        text = routers.CONFIG
        place = "  dir: {dir}/state\n"
        text = text.replace(place, f"{place}  url: {store.url}\n  namespace: t{time.monotonic_ns()}\n{state}")
        routers_config, routers.CONFIG = routers.CONFIG, text.replace("  error_codes: []\n", rest or "  error_codes: []\n")
        try:
            self.routers = [routers.Router(binary, provider, config) for _ in range(count)]
        finally:
            routers.CONFIG = routers_config
        self.stack = []

    def __enter__(self):
        for router in self.routers:
            self.stack.append(router.__enter__())
        return self

    def __exit__(self, kind, *_):
        for router in self.stack:
            if kind:
                log = pathlib.Path(router.log.name).read_text(encoding="utf-8").splitlines()
                print(*(line for line in log if not line.startswith("{")), sep="\n", file=sys.stderr)
            router.__exit__()

    @property
    def ports(self):
        """Where they listen."""
        return [router.port for router in self.routers]

    def health(self, number):
        """The details of one."""
        return get(self.routers[number].port)

    async def all(self, holds, within, what):
        """Seconds until `holds` is true of the health of each."""
        began, left = time.monotonic(), set(range(len(self.routers)))
        while left:
            for number in list(left):
                if holds(await asyncio.to_thread(self.health, number)):
                    left.discard(number)
            took = time.monotonic() - began
            assert took <= within + 0.2 or not left, f"{what}: not within {within} s at {sorted(left)}: {self.health(min(left))}"
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    async def meet(self):
        """Until all have met."""
        def met(health):
            return health["state"]["mode"] == "shared" and health["state"]["routers"] == len(self.routers)
        return await self.all(met, 15, "they have not met")


def get(port):
    """The details of a router's health."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/health", headers={"Authorization": f"Bearer {routers.KEY}"})
    health = json.load(connection.getresponse())
    connection.close()
    return health


def admin(router, path):
    """Posts to the admin socket."""
    done = subprocess.run(["curl", "-s", "--unix-socket", f"{router.dir.name}/admin.sock", "-X", "POST",
                           f"http://admin{path}"], check=True, capture_output=True)
    return json.loads(done.stdout)


async def exact(binary):
    """64 clients at four routers: exactly the limit in every rolling minute; then the store is killed and comes back."""
    provider = Provider()
    url = await provider.start()
    with Store() as store, Fleet(binary, store, url, f"rpm: {LIMIT}", state=PATIENT) as fleet:
        await fleet.meet()
        began = time.monotonic()
        load = Load(fleet.ports)
        await asyncio.sleep(66)
        most, counts = fullest(provider.came), load.count()
        print(f"  66 s of 64 clients: {counts}, the fullest minute {most}, in all {len(provider.came)}; "
              f"{LIMIT + 1} came in {closest(provider.came):.3f} s at the least")
        assert most == LIMIT and len(provider.came) == 2 * LIMIT, (most, len(provider.came))
        killed = time.monotonic()
        store.kill()
        await asyncio.sleep(8)
        store.start()
        back = await fleet.all(lambda health: health["state"]["mode"] == "shared", 15, "not back")
        found = time.monotonic()
        await asyncio.sleep(132 - (time.monotonic() - began))
        await load.end()
        bound = LIMIT * 2 - LIMIT // ROUTERS
        most, later = fullest(provider.came), fullest([came for came in provider.came if came >= killed])
        print(f"  killed for 8 s, relied on again {back:.1f} s after its start; the fullest minute {most} (bound {bound}), "
              f"of those after the loss {later} (bound {LIMIT}); slowest {load.slowest(killed, found)} ms; {load.count(killed)}")
        assert most <= bound and LIMIT * 0.9 <= later <= LIMIT
        assert set(load.count()) <= {200, 429}, load.count()


async def uneven(binary):
    """One router has used the whole limit when the store is killed: the worst case of `local_share`."""
    provider = Provider()
    url = await provider.start()
    with Store() as store, Fleet(binary, store, url, f"rpm: {LIMIT}") as fleet:
        await fleet.meet()
        load = Load(fleet.ports[:1], pause=0.05)
        await asyncio.sleep(2)
        await load.end()
        assert len(provider.came) == LIMIT, len(provider.came)
        store.kill()
        load = Load(fleet.ports, pause=0.05)
        await asyncio.sleep(4)
        bound, most = LIMIT * 2 - LIMIT // ROUTERS, fullest(provider.came)
        print(f"  {most} in a minute, bound {bound}")
        assert most == bound, most
        store.start()
        await fleet.all(lambda health: health["state"]["mode"] == "shared", 15, "not back")
        await asyncio.sleep(1)
        await load.end()
        assert fullest(provider.came) == bound, "the store was not told what was admitted meanwhile"


async def crowd(binary):
    """Eight requests at one time over all routers; the places of a killed router come back."""
    provider = Provider()
    provider.pause = 1.0
    url = await provider.start()
    with Store() as store, Fleet(binary, store, url, "max_concurrent: 8", state=PATIENT) as fleet:
        await fleet.meet()
        load = Load(fleet.ports, clients=32, pause=0.05)
        await asyncio.sleep(6)
        most = max(count for _, count in provider.peaks)
        print(f"  32 clients for 6 s: {len(provider.came)} answers, at most {most} at one time")
        assert most == 8 and len(provider.came) >= 36, (most, len(provider.came))
        await load.end()
        provider.pause = 3.0
        dying = Load(fleet.ports[:1], clients=8, pause=0.05)
        await asyncio.sleep(1)
        fleet.routers[0].process.kill()
        killed = time.monotonic()
        load = Load(fleet.ports[1:], clients=32, pause=0.05)
        while max((count for at, count in provider.peaks if at > killed + 5), default=0) < 8:
            await asyncio.sleep(0.2)
            assert time.monotonic() - killed < 45, "the places of the dead router did not come back"
        took = time.monotonic() - killed
        await dying.end()
        await load.end()
        most = max(count for _, count in provider.peaks)
        print(f"  a router with all eight killed: eight at one time again after {took:.0f} s, at most {most}")
        assert most == 8 and 20 < took < 35


async def bans(binary):
    """A ban, its end by an operator elsewhere, a cool-down, and one probe for all."""
    provider = Provider()
    url = await provider.start()
    rules = "  max_attempts: 2\n  ban_duration: 3s\n"
    with Store() as store, Fleet(binary, store, url, "weight: 1", rest=rules) as fleet:
        await fleet.meet()

        def stands(state):
            return lambda health: health["models"].get("key:m", {}).get("state", "available") == state

        provider.status = 400 + 1
        while not fleet.health(0)["credentials"]["key"]["is_banned"]:
            await ask(fleet.ports[0])
        banned = await fleet.all(lambda health: health["credentials"]["key"]["is_banned"], 1, "a ban")
        admin(fleet.routers[2], "/admin/credentials/key/unban")
        lifted = await fleet.all(lambda health: not health["credentials"]["key"]["is_banned"], 1, "an unban")
        provider.status, provider.headers = 429, "retry-after: 90\r\n"
        await ask(fleet.ports[1])
        cooled = await fleet.all(stands("cool_down"), 1, "a cool-down")
        print(f"  known to all four: a ban after {banned:.2f} s, an unban after {lifted:.2f} s, a cool-down after {cooled:.2f} s")
        admin(fleet.routers[0], "/admin/credentials/key/unban")
        await fleet.all(stands("available"), 1, "an unban")
        provider.status, provider.headers = 401, ""
        while not fleet.health(3)["credentials"]["key"]["is_banned"]:
            await ask(fleet.ports[3])
        await fleet.all(lambda health: health["credentials"]["key"]["is_banned"], 1, "a ban")
        provider.came.clear()
        provider.pause, provider.status = 1.0, 200
        load = Load(fleet.ports, clients=16, pause=0.05)
        await asyncio.sleep(5)
        await load.end()
        probe = provider.came[0]
        alone = sum(1 for came in provider.came if came < probe + 0.95)
        print(f"  after the ban {alone} request in the second of the probe, then {len(provider.came) - alone}")
        assert alone == 1 and len(provider.came) > 10


async def outage(binary):
    """A store that does not answer costs no request more than the timeout, under both policies."""
    provider = Provider()
    url = await provider.start()
    for policy in ("local_share", "reject"):
        state = f"  on_outage: {policy}\n  timeout: 200ms\n"
        with Store() as store, Fleet(binary, store, url, "rpm: 100000", state=state) as fleet:
            await fleet.meet()
            load = Load(fleet.ports, clients=32, pause=0.1)
            await asyncio.sleep(3)
            frozen = time.monotonic()
            normal = load.slowest(frozen - 2, frozen)
            store.freeze()
            await asyncio.sleep(5)
            thawed = time.monotonic()
            during = load.count(frozen + 0.5, thawed - 0.2)
            store.thaw()
            back = await fleet.all(lambda health: health["state"]["mode"] == "shared", 15, "not back")
            status, headers, _ = await ask(fleet.ports[0])
            await asyncio.sleep(0.5)
            slowest = load.slowest(frozen - 0.2, time.monotonic())
            late = sum(1 for began, _, took in load.seen if began > frozen + 0.3 and took > 0.2)
            await load.end()
            print(f"  {policy}: frozen for 5 s: {during}; slowest {slowest} ms (before: {normal}), {late} slow after the first "
                  f"timeout; relied on again after {back:.1f} s")
            assert status == 200 and slowest < 200 + normal + 150, slowest
            wanted = 200 if policy == "local_share" else 503
            assert set(during) == {wanted}, during
            if policy == "reject":
                store.kill()
                await asyncio.sleep(0.7)
                status, headers, _ = await ask(fleet.ports[0])
                assert (status, headers["retry-after"]) == (503, "1"), (status, headers)


STORIES = {"bans": bans, "outage": outage, "uneven": uneven, "crowd": crowd, "exact": exact}


def main():
    """Tells each story."""
    binary, chosen = sys.argv[1], sys.argv[2:] or list(STORIES)
    assert shutil.which("redis-server"), "redis-server is not installed"
    began = time.monotonic()
    for name in chosen:
        print(f"{name}: {STORIES[name].__doc__}", flush=True)
        asyncio.run(STORIES[name](os.path.abspath(binary)))
    print(f"ok, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
