"""What is done to a router under load, and what must come of it."""

import asyncio
import collections
import itertools
import random
import time

import clients
import fleet
import http2

STREAMS, STREAM_WORDS = 200, 80
KILLS = 20
# What may be in the hands of a process that is killed while it serves.
DEATH = 60


class Stage:
    """What all scenarios share: the binary, the provider, one router under load, and the count of checks."""

    def __init__(self, binary, upstream):
        self.binary, self.upstream = binary, upstream
        self.passed, self.failed = 0, 0
        self.begun = time.monotonic()
        self.router = self.load = None
        self.may_lose = 0

    def says(self, well, text):
        """One line."""
        self.passed, self.failed = self.passed + bool(well), self.failed + (not well)
        print(f"{time.monotonic() - self.begun:6.1f} s  {text} ... {'ok' if well else 'FAILED'}", flush=True)

    async def open(self, streams):
        """Starts the router and its clients, and waits until so many streams are open."""
        self.router = await fleet.Router(self.binary, plain_config(self.upstream.url)).start()
        self.load = clients.Load(self.router.port)
        mixed(self.load, streams)
        while self.load.streaming < streams:
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)

    async def close(self):
        """Lets the clients end."""
        await self.load.stop()
        tally = self.load.tally
        self.says(sum(tally.got.values()) > 1000, f"all in all got {dict(tally.got)}; {dict(+tally.moved)}")
        self.router.end()

    async def under_load(self, what, act):
        """Does it, and counts what clients lose meanwhile and for a moment after. `act` gives more text, or raises."""
        mark, wrong, self.may_lose = self.load.tally.mark(), "", 0
        try:
            text = await act(self)
        except AssertionError as why:
            text, wrong = "", f"; {why}"
        await asyncio.sleep(1)
        got, lost = self.load.tally.since(mark)
        causes = collections.Counter(f"{kind}: {why}" for _, kind, why in lost)
        causes = "; ".join(f"{number}x {cause}" for cause, number in causes.most_common(5))
        text = f"{what}: {text}, {got} requests, {len(lost)} lost{wrong} {causes}".rstrip()
        self.says(len(lost) <= self.may_lose and not wrong, text)

    async def alone(self, what, act):
        """Does it with a router of its own."""
        try:
            self.says(True, f"{what}: {await act(self)}")
        except (AssertionError, clients.Lost, OSError) as why:
            self.says(False, f"{what}: {why!r}")

    async def settled(self, seconds=70):
        """Waits until one process is left."""
        await until(lambda: len(self.router.processes()) == 1, "more than one process is left", seconds)


def must(well, why):
    """What a scenario depends on."""
    if not well:
        raise AssertionError(why)


def plain_config(url, names="ab"):
    """A configuration of credentials without limits."""
    return "credentials:\n" + "".join(credential(name, f"sk-{name}-0123456789abcdef", url) for name in names)


def credential(name, key, url, extra=""):
    """One entry of a configuration's credentials."""
    return f"  - {{name: {name}, type: openai, api_key: {key}, base_url: {url}{extra}}}\n"


def mixed(load, streams):
    """All kinds of clients."""
    load.start(clients.fresh, 4, "fresh", 0.05)
    load.start(clients.kept, 2, "kept without pause", 0.01)
    load.start(clients.kept, 24, "kept", 2)
    load.start(clients.listed, 6, "list of files", 1)
    load.start(clients.slow, 3, "slow chat of 1 MB", 1 << 20, 2)
    load.start(clients.slow, 2, "slow file of 1 MB", 1 << 20, 1, "/v1/files")
    load.start(clients.socket, 4, "WebSocket", 20)
    for _ in range(3):
        shared = http2.Shared()
        load.start(http2.multiplexed, 6, "HTTP/2", shared, 0.5)
        load.start(http2.multiplexed, 6, "HTTP/2 stream", shared, 0.5, 20)
    load.start(clients.streams, streams, "stream", STREAM_WORDS)


async def ten(stage):
    """Ten upgrades in a row: the tenth generation serves in the end, nobody else does, and no connection was closed."""
    took, moved = [], stage.load.tally.moved
    for _ in range(10):
        code, lines, seconds = await stage.router.upgrade()
        must(code == 0, lines[-1:])
        took.append(seconds * 1000)
        await asyncio.sleep(1.5)
    await stage.settled()
    status = (await stage.router.tell("status"))[1]
    must("generation 10" in "".join(status), status)
    must(not moved["closed while idle"] and not moved["asked to close"], dict(moved))
    return f"{min(took):.0f} to {max(took):.0f} ms each"


async def refused(stage, why, *args, code=1):
    """An upgrade that must fail, say why, and leave the serving process as it is."""
    before = stage.router.pid()
    ended, lines, seconds = await stage.router.upgrade(*args)
    must(ended == code and any(why in line for line in lines), f"exit {ended}: {lines}")
    must(stage.router.pid() == before, "another process serves")
    return seconds


async def broken_config(stage):
    """The file on disk is bad."""
    stage.router.write(stage.router.config.replace("base_url", "base_ulr"))
    try:
        seconds = await refused(stage, "base_ulr")
    finally:
        stage.router.write(plain_config(stage.upstream.url))
    return f"refused in {seconds * 1000:.0f} ms, naming the key"


async def bad_binaries(stage):
    """Binaries that crash, refuse, hang, talk nonsense, or cannot be started."""
    scripts = {
        "exit 78": ("exit 78", "ended"),
        "crash": ("kill -SEGV $$", "ended"),
        "nonsense": ("echo nonsense >&0; sleep 60", "cannot be understood"),
        "hang": ("exec sleep 100", "said nothing for 30 s"),
        "no program": (None, "cannot be started"),
    }
    took = []
    for name, (text, why) in scripts.items():
        path = stage.router.dir / name.replace(" ", "-")
        path.write_text(f"#!/bin/sh\n{text}\n" if text else "\0")
        path.chmod(0o755)
        took.append(f"{name} {await refused(stage, why, '--binary', path):.1f} s")
    await until(lambda: len(stage.router.processes()) == 1, "more than one process is left")
    return ", ".join(took)


async def killed(stage, when):
    """An upgrade whose new process is killed at a moment: `when` is the number of a step, or a delay. Whether the old
    one stayed."""
    before = stage.router.pid()
    new, steps = [], itertools.count()

    def hear(line):
        if "started " in line and " as process " in line:
            new.append(int(line.rsplit(" ", 1)[1]))
            if isinstance(when, float):
                asyncio.get_running_loop().call_later(when, fleet.kill, new[0])
        if next(steps) == when:
            fleet.kill(new[0])

    code, lines, _ = await stage.router.upgrade(hear=hear)
    must(new, lines)
    await until(lambda: not fleet.lives(new[0]), "a killed process lives on")
    must(await stage.router.answers(5), "nobody answers any more")
    await until(lambda: stage.router.pid() == before, "the file names the dead process")
    return code


async def until(condition, why, seconds=3):
    """Waits a moment for it."""
    ends = time.monotonic() + seconds
    while not condition() and time.monotonic() < ends:
        await asyncio.sleep(0.02)
    must(condition(), why)


async def killed_at_steps(stage):
    """The new process dies right after each step that the command reports before the last."""
    codes = [await killed(stage, step) for step in range(3)]
    stage.may_lose = DEATH * codes.count(0)
    return f"exit codes {codes}"


async def killed_at_random(stage):
    """The new process dies at any moment."""
    codes = [await killed(stage, random.uniform(0, 0.15)) for _ in range(KILLS)]
    stage.may_lose = DEATH * codes.count(0)
    return f"{codes.count(0)} of {KILLS} had taken over"


async def killed_while_draining(stage):
    """The new process dies while the old one has streams: the old one takes the work back."""
    before = stage.router.pid()
    code, lines, _ = await stage.router.upgrade()
    must(code == 0, lines)
    await asyncio.sleep(2)
    stage.may_lose, died = DEATH, time.monotonic()
    fleet.kill(stage.router.pid())
    must(await stage.router.answers(5), "nobody answers any more")
    took = (time.monotonic() - died) * 1000
    await until(lambda: stage.router.pid() == before, "the file names the dead process")
    code, lines, _ = await stage.router.upgrade()
    must(code == 0, f"no upgrade after that: {lines}")
    return f"answered again after {took:.0f} ms, and upgraded"


async def old_killed(stage):
    """The old process dies while it drains: its streams and nothing else."""
    before = stage.router.pid()
    code, lines, _ = await stage.router.upgrade()
    must(code == 0, lines)
    await asyncio.sleep(1)
    held = [word for word in lines[-2].split() if word.isdigit()]
    stage.may_lose = int(held[-1])
    fleet.kill(before)
    await asyncio.sleep(1)
    must(await stage.router.answers(5), "nobody answers any more")
    return f"it had {stage.may_lose} requests"


async def two_at_once(stage):
    """Two upgrades within a second, and a reload in the middle of a third: one of each is refused."""
    both = await asyncio.gather(stage.router.upgrade(), stage.router.upgrade())
    codes = sorted(code for code, _, _ in both)
    must(codes == [0, 1] or codes == [0, 0], [lines for _, lines, _ in both])
    third = asyncio.create_task(stage.router.upgrade())
    reloads = []
    while not third.done():
        reloads.append((await stage.router.tell("reload"))[0])
    must((await third)[0] == 0, (await third)[1])
    return f"exit codes {codes}; {reloads.count(0)} of {len(reloads)} reloads were taken meanwhile"
