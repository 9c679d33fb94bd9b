"""A million requests over twenty upgrades and twenty reloads: million.py BINARY [REQUESTS, 40000 or more].

The load and its exact account are in lean.py, in processes of its own. Here are the router, what is done to it, a hundred
streams whose bytes are compared by a digest, and three limits that are always asked for more than there is: on requests of
a credential, on tokens of a credential, on requests of a client key.
"""

import asyncio
import collections
import contextlib
import multiprocessing
import queue
import signal
import socket
import sys
import tempfile
import time

import alone
import clients
import fleet
import lean
import secure
from scenarios import credential, must, until
from upstream import USAGE, Upstream

REQUESTS, EVENTS, WORKERS = 1_000_000, 40, 2
# A few more than the hundred that are open at any time, since each ends some day.
STREAMS, LEAST_STREAMS, STREAM_WORDS = 130, 100, 80
MINUTE, TOKENS = 60, USAGE["total_tokens"]
RPM, TPM, KEY_RPM = 300, 2000, 200
CLIENT_KEY = "sk-client-0123456789abcdef"
# For all of it, so that a hang ends as a failure.
SECONDS = 540
SHOWN = 5


def key(name):
    """A credential's."""
    return f"sk-{name}-0123456789abcdef"


class Run:
    """One run: the ledger, the router, and what is found."""

    def __init__(self, binary, total):
        self.ledger, self.total = lean.Ledger(total), total
        self.plain, self.upstream = fleet.free_port(), Upstream()
        self.upstream.digests = {}
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.results, self.lost = [], collections.defaultdict(list)
        self.fewest, self.took = STREAMS, {"upgrade": [], "reload": []}
        self.binary, self.router, self.load = binary, None, None
        self.begun, self.failed, self.forked = time.monotonic(), 0, 0

    def says(self, well, text):
        """One line."""
        self.failed += not well
        print(f"{time.monotonic() - self.begun:6.1f} s  {text} ... {'ok' if well else 'FAILED'}", flush=True)

    def config(self, number):
        """What the router is told; each reload brings one credential and takes one away."""
        lean_url = "http://127.0.0.1:{}".format(self.listener.getsockname()[1])
        lines = [credential(name, key(name), lean_url, ", models: [lean]") for name in ("a", f"r{number}")]
        for name, extra in {"plain": "", "requests": f", rpm: {RPM}", "tokens": f", tpm: {TPM}", "client": ""}.items():
            lines.append(credential(name, key(name), self.upstream.url, f"{extra}, models: [{name}]"))
        lines.append(credential("streams", key("streams"), self.upstream.url, ', models: ["stream*"]'))
        return f"client_keys: [{{name: client, key: {CLIENT_KEY}, rpm: {KEY_RPM}}}]\ncredentials:\n" + "".join(lines)

    def fork(self, act, *args):
        """Another process."""
        self.forked += 1
        multiprocessing.get_context("fork").Process(target=act, args=(self.ledger, self.forked, *args), daemon=True).start()

    async def start(self):
        """The router, its streams and limits, then the load, whose processes are there first and inherit no connection."""
        server = await self.upstream.start()
        chain, private = secure.certificate()
        tls = f"tls: {{certificate: {chain}, key: {private}}}"
        listen = f'listen: [{{address: "127.0.0.1:{self.plain}", tls: false}}]'
        self.router = fleet.Router(self.binary, self.config(0), server=f", {listen}, {tls}")
        self.router.plain = self.plain
        self.fork(lean.provide, self.listener)
        for _ in range(WORKERS):
            self.fork(lean.work, {kind: self.door(kind) for kind in lean.CLIENTS})
        await self.router.start()
        self.load = clients.Load(self.plain)
        self.load.start(clients.streams, STREAMS, "stream", STREAM_WORDS, self.upstream.digests)
        for name, used in (("requests", clients.KEY), ("tokens", clients.KEY), ("client", CLIENT_KEY)):
            self.load.start(alone.hammer, 4, name, name, 0.1, used)
        self.load.start(clients.slow, 2, "slow chat of 1 MB", 1 << 20, 2)
        await until(lambda: self.load.streaming == STREAMS, "streams do not begin", 20)
        self.ledger.begun.set()
        return server

    def door(self, kind):
        """Where clients of a kind connect, and with what."""
        if kind.endswith("TLS"):
            return self.router.port, secure.context(2 if kind.startswith("HTTP/2") else 1)
        return self.plain, None

    async def collect(self):
        """Hears from the clients for as long as there are any: the seconds that they took."""
        begun = time.monotonic()
        while len(self.results) < WORKERS:
            with contextlib.suppress(queue.Empty):
                while True:
                    said = self.ledger.results.get_nowait()
                    if len(said) == 2:
                        self.lost[f"{said[0]}: {said[1].partition(':')[0]}"].append(said[1])
                    else:
                        self.results.append(said)
            self.fewest = min(self.fewest, self.load.streaming)
            await asyncio.sleep(0.05)
        return time.monotonic() - begun

    async def upgrade(self, number):
        """Another process, asked for by the command and by a signal in turns."""
        before = self.router.pid()
        if number % 2:
            fleet.kill(before, signal.SIGUSR2)
        else:
            code, lines, _ = await self.router.upgrade()
            must(code == 0, lines)
        await until(lambda: self.router.pid() != before, "nobody has taken over", 30)

    async def reload(self, number):
        """Another configuration, by SIGHUP."""
        self.router.write(self.config(number))
        fleet.kill(self.router.pid(), signal.SIGHUP)
        ends = time.monotonic() + 30
        while f"r{number}" not in (await self.router.health())["credentials"]:
            must(time.monotonic() < ends, "the new configuration is not in place")
            await asyncio.sleep(0.02)

    async def events(self):
        """Upgrades and reloads in turns, evenly over the requests."""
        for number in range(EVENTS):
            while self.ledger.taken.value < self.total * (number + 1) // (EVENTS + 1):
                await asyncio.sleep(0.02)
            act = self.reload if number % 2 else self.upgrade
            begun = time.monotonic()
            await act(number // 2 + 1)
            self.took[act.__name__].append((time.monotonic() - begun) * 1000)
            if number % 10 == 9:
                self.says(not self.lost, f"{self.ledger.taken.value} requests so far {self.causes()}".rstrip())
        must(self.ledger.taken.value < self.total, "the load was over before the last of them")

    async def whole(self):
        """All of it, and what came of it."""
        server = await self.start()
        watching = asyncio.create_task(self.ledger.watch(0))
        collecting = asyncio.create_task(self.collect())
        why = ""
        try:
            await self.events()
        except AssertionError as wrong:
            why = f": {wrong}; {self.router.log.read_text()[-1000:]}"
        times = (f"{len(took)} {kind}s, {min(took):.0f} to {max(took):.0f} ms" for kind, took in self.took.items() if took)
        self.says(not why, "; ".join(times) + why)
        self.account(await collecting)
        await self.load.stop()
        watching.cancel()
        self.streams()
        for name, most, each in (("requests", RPM, 1), ("tokens", TPM, TOKENS), ("client", KEY_RPM, 1)):
            self.limit(name, most, each)
        await until(lambda: len(self.router.processes()) == 1, "old processes stay", 75)
        status = " ".join((await self.router.tell("status"))[1])
        self.says(f"generation {EVENTS // 2}" in status, "one process is left, of the last generation")
        server.close()
        self.router.end()

    def causes(self):
        """What was lost how often, by kind of client, with an example of each."""
        return "; ".join(f"{len(whys)}x {kind}, such as {whys[0]}" for kind, whys in self.lost.items())

    def account(self, seconds):
        """The ledger."""
        states, served = (collections.Counter(bytes(cells)) for cells in (self.ledger.state, self.ledger.served))
        lost = self.total - states[lean.ANSWERED]
        text = f"{self.total} requests in {seconds:.0f} s, {states[lean.ANSWERED]} answered with what was asked for, {lost} lost"
        self.says(lost == 0, f"{text} {self.causes()}".rstrip())
        self.says(served == {1: self.total}, f"of those the provider has seen {self.total - served[0]}, "
                                             f"{self.total - served[0] - served[1]} of them more than once")
        got, slowest, moved = (collections.Counter() for _ in range(3))
        for result in self.results:
            got.update(result[0])
            moved.update(result[2])
            for kind, longest in result[1].items():
                slowest[kind] = max(slowest[kind], longest)
        for kind, times in got.items():
            print(f"          {kind}: {times}, the slowest {slowest[kind] * 1000:.0f} ms")
        print("          " + ", ".join(f"{what}: {times}" for what, times in sorted((+moved).items())))
        print(f"          provider and clients themselves stood still for {max(self.ledger.stood) * 1000:.0f} ms at most")
        wrong = [what for what in +moved if "idle" in what or "GOAWAY" in what or "nobody" in what]
        self.says(not wrong, f"no connection closed under its client {wrong or ''}".rstrip())

    def streams(self):
        """Those beside the million."""
        got, lost = self.load.tally.got, self.load.tally.lost
        self.says(self.fewest >= LEAST_STREAMS and not lost,
                  f"{got['stream']} streams, at least {self.fewest} at any time, the same bytes as the provider's; "
                  f"{got['slow chat of 1 MB']} bodies that took 2 s; {len(lost)} lost {lost[:SHOWN] or ''}".rstrip())

    def limit(self, name, most, each):
        """Never more within any minute."""
        calls = self.upstream.of(key(name))
        seconds = calls[-1].at - calls[0].at
        surely = alone.surely(calls, self.load.asked, MINUTE) * each
        busiest = alone.busiest([call.at for call in calls], MINUTE) * each
        refused = self.load.tally.got[f"{name} 429"]
        text = f"limit of {most} a minute on {name}: {len(calls) * each} in {seconds:.0f} s, at most {surely} in any {MINUTE} s"
        self.says(refused and surely <= most, f"{text} ({busiest} by the provider's clock); {refused} refused")


async def main(binary, total):
    """Returns the exit code."""
    fleet.adopt_orphans()
    run = Run(binary, total)
    try:
        await asyncio.wait_for(run.whole(), SECONDS)
    except (AssertionError, asyncio.TimeoutError) as why:
        run.says(False, f"given up after {run.ledger.taken.value} requests: {why!r} {run.causes()}")
    finally:
        fleet.end_all()
    print(f"million: {run.failed} failed, {time.monotonic() - run.begun:.0f} s")
    return 1 if run.failed else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="upgrade-", ignore_cleanup_errors=True) as tempfile.tempdir:
        CODE = asyncio.run(main(sys.argv[1], int((sys.argv[2:] or [REQUESTS])[0])))
    sys.exit(CODE)
