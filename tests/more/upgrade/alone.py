"""Scenarios with a router of their own: limits and bans over several processes, a full disk, an idle router, stops,
reloads of a long configuration."""

import asyncio
import bisect
import contextlib
import itertools
import json
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

import clients
import fleet
from scenarios import credential, must, plain_config, until

RPM, MINUTE, LIMITED_SECONDS = 100, 60, 132
CONCURRENT = 5
FEW, FEW_WORDS = 12, 20
CREDENTIALS = 500


def busiest(times, seconds):
    """The most of them within any such time."""
    return max((bisect.bisect_left(times, at + seconds) - number for number, at in enumerate(times)), default=0)


def surely(calls, asked, seconds):
    """The most of them that were let through within any such time for sure: asked after its beginning, and at the provider
    before its end. Unlike `busiest` it does not take a provider that was late for a limit that was broken."""
    spans = sorted((asked[call.name], call.at) for call in calls)
    return max((sum(at <= begun + seconds for _, at in spans[first:]) for first, (begun, _) in enumerate(spans)), default=0)


async def hammer(load, kind, model, pause, key=clients.KEY):
    """Asks for more than there is: an answer or a 429 with its time to come back."""
    connection = await clients.Connection.open(load.port)
    connection.key = key
    try:
        while load.on and not connection.ends:
            name = load.name()
            load.asked[name] = time.monotonic()
            connection.send("POST", "/v1/chat/completions", clients.chat(model, name))
            status, headers = await connection.head()
            body = await connection.body(headers)
            if status == 200:
                clients.check_plain(body, name)
            elif status != 429 or "retry-after" not in headers:
                raise clients.Lost(f"status {status}: {body[:100]!r}")
            load.tally.got[f"{kind} {status}"] += 1
            await asyncio.sleep(pause)
    finally:
        connection.close()


def ends(standing):
    """When a ban will end, on our clock."""
    return time.monotonic() + standing["next_recovery"]


async def limits(stage):
    """A limit of RPM, one on requests at a time, a ban and the tokens of streams, over four upgrades mid-minute."""
    upstream = stage.upstream
    keys = {name: f"sk-{name}-0123456789abcdef" for name in ("limited", "narrow", "banned", "streamer")}
    upstream.refused.add(keys["banned"])
    upstream.paces[keys["narrow"]] = 0.5
    limit = {"limited": f", rpm: {RPM}", "narrow": f", max_concurrent: {CONCURRENT}", "banned": "", "streamer": ""}
    models = {"limited": "plain", "narrow": "narrow", "banned": "refused", "streamer": "stream20"}
    extra = {name: f"{limit[name]}, models: [{models[name]}]" for name in keys}
    lines = (credential(name, key, upstream.url, extra[name]) for name, key in keys.items())
    config = "fail2ban: {max_attempts: 1, ban_duration: 10m, error_codes: [401]}\ncredentials:\n" + "".join(lines)
    router = await fleet.Router(stage.binary, config).start()
    load = clients.Load(router.port)
    begun = time.monotonic()
    load.start(hammer, 8, "limited", "plain", 0.1)
    load.start(hammer, 12, "narrow", "narrow", 0.1)
    with contextlib.suppress(clients.Lost):
        await hammer(load, "banned", "refused", 0)
    ban = (await router.health())["credentials"]["banned"]
    must(ban["is_banned"], ban)
    ban_ends = ends(ban)
    for at in (25, 40, 75, 100):
        await asyncio.sleep(begun + at - time.monotonic())
        streams = [asyncio.create_task(clients.stream(load, "stream", FEW_WORDS)) for _ in range(3)]
        await asyncio.sleep(0.5)
        must((await router.upgrade())[0] == 0, "not upgraded")
        held = (await router.health())["credentials"]["banned"]
        must(held["is_banned"] and abs(ends(held) - ban_ends) <= 1.5, f"{ban} became {held}")
        await asyncio.gather(*streams)
        await until(lambda: len(router.processes()) == 1, "the old process stays", 10)
    spent = (await router.health())["credentials"]["streamer"]["current_tpm"]
    await asyncio.sleep(begun + LIMITED_SECONDS - time.monotonic())
    await load.stop()
    called = [call.at for call in upstream.of(keys["limited"])]
    counts = f"{len(called)} admitted in {LIMITED_SECONDS} s, at most {busiest(called, MINUTE)} in any {MINUTE} s"
    most = upstream.most_open[keys["narrow"]]
    must(busiest(called, MINUTE) <= RPM, counts)
    must(len(called) == RPM * (LIMITED_SECONDS // MINUTE + 1), counts)
    must(most == CONCURRENT, f"{most} at a time")
    must(len(upstream.of(keys["banned"])) == 1, "the banned key was used again")
    must(spent == 20 * 3 * 2, f"{spent} tokens in the last minute")
    must(not load.tally.lost, load.tally.lost[:3])
    router.end()
    return f"{counts}; at most {most} of {CONCURRENT} at a time; the ban stayed; {spent} tokens settled elsewhere"


async def few(load):
    """A few streams, and how many of them came to their end."""
    streams = [asyncio.create_task(clients.stream(load, "stream", FEW_WORDS)) for _ in range(FEW)]
    while load.streaming < FEW:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)
    return streams


async def whole(streams):
    """All of them came to their end."""
    ended = await asyncio.gather(*streams, return_exceptions=True)
    cut = [why for why in ended if why is not None]
    must(not cut, f"{len(cut)} streams were cut: {cut[:2]}")


def small(load):
    """A light load of most kinds."""
    load.start(clients.fresh, 3, "fresh", 0.02)
    load.start(clients.kept, 6, "kept", 0.3)
    load.start(clients.listed, 2, "list of files", 0.3)
    load.start(clients.slow, 1, "slow file", 1 << 16, 0.5, "/v1/files")


async def full_disk(stage):
    """Nothing can be written where sockets, pids and state go."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="upgrade-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", place]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        config = plain_config(stage.upstream.url) + f"state: {{dir: {place}/state}}\n"
        router = await fleet.Router(stage.binary, config, place).start()
        load = clients.Load(router.port)
        small(load)
        await asyncio.sleep(1)
        if mounted:
            with contextlib.suppress(OSError), (place / "full").open("wb", buffering=0) as file:
                while file.write(b"x" * 512):
                    pass
        else:
            place.chmod(0o500)
        codes = [(await router.upgrade())[0] for _ in range(2)]
        await asyncio.sleep(1)
        await load.stop()
        must(codes == [0, 0], f"exit codes {codes}")
        must(not load.tally.lost, load.tally.lost[:3])
        router.end()
        what = "a full file system" if mounted else "a directory that cannot be written"
        return f"{what}: 2 upgrades, {sum(load.tally.got.values())} requests, 0 lost"
    finally:
        if mounted:
            subprocess.run(["umount", "-l", place], check=False)


async def idle(stage):
    """Upgrades of a router without a single stream, so that each old process leaves at once, under many connections."""
    router = await fleet.Router(stage.binary, plain_config(stage.upstream.url)).start()
    load = clients.Load(router.port)
    load.start(clients.fresh, 12, "fresh", 0)
    load.start(clients.kept, 6, "kept", 0.1)
    for _ in range(10):
        must((await router.upgrade())[0] == 0, "not upgraded")
        await asyncio.sleep(0.3)
    await load.stop()
    must(not load.tally.lost, f"{len(load.tally.lost)} lost: {load.tally.lost[:3]}")
    router.end()
    return f"10 upgrades with nothing to drain, {sum(load.tally.got.values())} requests, 0 lost"


async def stopped(stage):
    """SIGTERM to either process after an upgrade, and to the old one during it."""
    moments = [(step, delay) for step in range(4) for delay in (0, 0.005, 0.02)]
    codes = await asyncio.gather(*(stopped_at(stage, at) for at in ("new", "old", *moments)))
    return (f"to the new and to the old process, and to the old one at {len(moments)} moments of an upgrade, "
            f"{codes[2:].count(0)} of which went through: every stream whole, every process gone")


async def stopped_at(stage, at):
    """SIGTERM once: streams end well, and so do all processes. `at` is to whom, or a step and the seconds after it."""
    router = await fleet.Router(stage.binary, plain_config(stage.upstream.url)).start()
    load, old = clients.Load(router.port), router.pid()
    streams = await few(load)
    steps = itertools.count()

    def hear(_):
        if next(steps) == at[0]:
            asyncio.get_running_loop().call_later(at[1], fleet.kill, old, signal.SIGTERM)

    code, lines, _ = await router.upgrade(hear=hear)
    must(code == 0 or isinstance(at, tuple), lines)
    if at == "old":
        fleet.kill(old, signal.SIGTERM)
        must(await router.answers(2), "nobody answers after SIGTERM to the old process")
    if code == 0:
        fleet.kill(router.pid(), signal.SIGTERM)
    await whole(streams)
    await until(lambda: not router.processes(), f"{at}: processes stay", 10)
    router.end()
    return code


def post(router, path):
    """Asks the admin socket: status, body, milliseconds."""
    begun = time.monotonic()
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(router.runtime / f"admin-{router.port}.sock"))
        line.sendall(f"POST {path} HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: line.recv(1 << 16), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body), (time.monotonic() - begun) * 1000


async def reloads(stage):
    """Good and bad files with many credentials, under load."""
    url, key = stage.upstream.url, pathlib.Path(tempfile.mkdtemp(prefix="upgrade-key-")) / "key"
    key.write_text("sk-first-0123456789abcdef\n")

    def config(rpm):
        extra = f", rpm: {rpm}, models: [plain]"
        lines = [credential(f"c{at}", f"sk-{at:04}-0123456789abcdef", url, extra) for at in range(CREDENTIALS - 1)]
        lines.append(credential("rotated", f"'file:{key}'", url, ", models: [rotated, stream20]"))
        return "credentials:\n" + "".join(lines)

    router = await fleet.Router(stage.binary, config(10_000)).start()
    load = clients.Load(router.port)
    streams = await few(load)
    small(load)
    await asyncio.sleep(1)
    took = []
    for number in range(12):
        before = (await router.health())["credentials"]["rotated"]["current_rpm"]
        bad = number % 3 == 2
        router.write(config(10_001 + number).replace("base_url", "base_ulr", 1) if bad else config(10_001 + number))
        if number == 6:
            key.write_text("sk-second-0123456789abcdef\n")
        status, body, milliseconds = await asyncio.to_thread(post, router, "/admin/reload")
        must(status == (422 if bad else 200), body)
        must(not bad or "base_ulr" in body["report"] and ":5:" in body["report"], body)
        took.append(milliseconds)
        ask = await clients.Connection.open(router.port)
        name = load.name()
        ask.send("POST", "/v1/chat/completions", clients.chat("rotated", name))
        clients.check_plain(await ask.answer(), name)
        ask.close()
        used = [call.key for call in stage.upstream.calls if call.name == name]
        must(used == [key.read_text().strip()], f"{number}: {used}")
        after = (await router.health())["credentials"]["rotated"]["current_rpm"]
        must(after == before + 1, f"{before} requests became {after}")
        await asyncio.sleep(0.2)
    await whole(streams)
    await load.stop()
    must(not load.tally.lost, load.tally.lost[:3])
    router.end()
    took.sort()
    times = f"{took[0]:.0f} to {took[-1]:.0f} ms, median {took[len(took) // 2]:.0f}"
    got = sum(load.tally.got.values())
    return (f"{len(took)} of {CREDENTIALS} credentials, a third of them bad: {times}; {got} requests, 0 lost; counts "
            "stayed, the rotated key was used by the next request")
