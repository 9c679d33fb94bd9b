"""A mixed load for SOAK_SECONDS (120) and what must be as before when it is over: soak.py BINARY.

Streams, unary answers, clients that leave in the middle, failures and truncated streams, from several threads; the
provider is tests/sdk/upstream.py with faults chosen at random, and every ten seconds the router gets another
configuration. Afterwards: no request in flight, no more than two descriptors above the start, bounded growth of memory,
no panic in the log, and a router that still answers.

Two more things are watched on the way. Memory: a line through the means of 5 seconds each over the last two thirds. In two
minutes such a line shows the warming up and cannot tell 1 MiB an hour from nothing, so its standard error is told with it, and
only a run of ten minutes and more fails if the slope is above 1 MiB an hour by more than three of them. Answers: the last quarter against the first, each as a
multiple of the provider's own times, which is asked itself right after each of them, since the machine may get busier
meanwhile.
"""

import collections
import http.client
import json
import os
import pathlib
import random
import re
import signal
import statistics
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "sdk"))

import router as routers  # noqa: E402
import upstream as upstreams  # noqa: E402

THREADS = 12
WARM_UP = 5
SETTLE = 75
FDS = 2
GROWTH_MIB = 48
RELOAD_EVERY = 10
# MiB an hour, and so many standard errors; means of so many samples, one a second.
SLOPE, ERRORS, BLOCK = 1, 3, 5
# Shorter runs are still warming up: their slope is shown and not judged.
JUDGED = 600
# How much slower the last quarter may be than the first, the machine's own slowing taken out. On a busy machine two runs
# of two minutes differ by as much.
DRIFT = 2
# What a client may see of a model, as status codes; a mixed model may fail, a plain one may not.
PLAIN = {200}
FAILING = {200, 500, 502, 503, 504}
MODELS = {
    "plain": PLAIN,
    "tools": PLAIN,
    "long": PLAIN,
    "mixed": FAILING,
    "down": FAILING,
    "breaks": FAILING,
    "bad-request": {400},
    "limited": {429, 503},
    "unknown-there": {404},
}


def long(exchange, call):
    """A stream of two hundred words with pauses, or an answer of 200 KB."""
    if not call.json.get("stream"):
        message = {"role": "assistant", "content": "word " * 40_000}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return exchange.json(200, upstreams.completion(call.model, choices=[choice], usage=upstreams.USAGE))
    return exchange.stream(paced(call))


def paced(call):
    """The frames of a long stream, a millisecond apart."""
    frames = upstreams.chat_frames(call)
    yield frames[0]
    for number in range(200):
        time.sleep(0.001)
        yield upstreams.chunk(call.model, {"content": f"word{number} "})
    yield from frames[-3:]


def mixed(exchange, call):
    """Any fault, or none. No 429: its cool-down would keep the others from being tried."""
    fault = random.choice(["down", "breaks", "close", None, None, None])
    if fault == "close":
        exchange.close_connection = True
        return None
    return upstreams.FAULTS[fault](exchange, call) if fault else exchange.chat(call)


class Count:
    """What the clients saw, over all threads."""

    def __init__(self, provider=None):
        self.lock = threading.Lock()
        self.provider = provider
        self.seen = collections.Counter()
        self.wrong = []
        self.times = {"router": [], "provider": []}

    def saw(self, what):
        """One more of it."""
        with self.lock:
            self.seen[what] += 1

    def took(self, where, begin):
        """A plain answer, asked for at `begin`."""
        with self.lock:
            self.times[where].append((begin, time.monotonic() - begin))

    def complain(self, what):
        """Something that must not be."""
        with self.lock:
            self.wrong.append(what)


def ask(port, chance, count):
    """One request, read to its end or left."""
    model = chance.choice(list(MODELS))
    stream, leaves = chance.random() < 0.5, chance.random() < 0.2
    begin = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]})
        headers = {"Authorization": f"Bearer {routers.KEY}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", body, headers)
        if leaves and chance.random() < 0.3:
            return count.saw("left before the head")
        answer = connection.getresponse()
        if answer.status not in MODELS[model]:
            count.complain(f"{model}: {answer.status} {answer.read()[:200]!r}")
        if leaves:
            answer.read(64)
            return count.saw("left in the body")
        text = answer.read()
        if stream and answer.status == 200:
            return streamed(model, text, count)
        if model == "plain":
            count.took("router", begin)
            control(count)
        return count.saw(f"unary {answer.status}")
    finally:
        connection.close()


def streamed(model, text, count):
    """A stream ends either with [DONE] or with an error frame; one that must be well ends with the former."""
    done, error = b"data: [DONE]" in text, b'"error":' in text
    count.saw("stream whole" if done and not error else "stream with an error frame")
    if not (done or error):
        count.complain(f"{model}: a stream without an end: {text[-200:]!r}")
    if error and MODELS[model] is PLAIN:
        count.complain(f"{model}: an error in a stream: {text[-200:]!r}")
    if model == "breaks" and not error:
        count.complain(f"{model}: a truncated stream looks whole")


def control(count):
    """A plain request to the provider itself, if it is known."""
    if not count.provider:
        return
    begin = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", count.provider, timeout=30)
    body = json.dumps({"model": "plain", "messages": [{"role": "user", "content": "hi"}]})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    connection.getresponse().read()
    connection.close()
    count.took("provider", begin)


def load(port, seconds, count):
    """Requests from all threads for that long."""
    ends = time.monotonic() + seconds

    def client(seed):
        chance = random.Random(seed)
        while time.monotonic() < ends:
            try:
                ask(port, chance, count)
            except (OSError, http.client.HTTPException) as why:
                count.complain(f"{type(why).__name__}: {why}")

    threads = [threading.Thread(target=client, args=(seed,), daemon=True) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 60)
    assert not any(thread.is_alive() for thread in threads), "a request never ended"


def descriptors(pid):
    """How many the process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident(pid):
    """Its resident memory in MiB."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) / 1024


def anonymous(pid):
    """The same without pages of files."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"RssAnon:\s+(\d+) kB", status).group(1)) / 1024


class Watch(threading.Thread):
    """Samples memory each second, and reloads another configuration every now and then."""

    def __init__(self, router):
        super().__init__(daemon=True)
        self.router, self.over = router, threading.Event()
        self.samples, self.reloads = [], 0

    def run(self):
        config = pathlib.Path(self.router.dir.name, "config.yaml")
        text = config.read_text(encoding="utf-8")
        begin = time.monotonic()
        while not self.over.wait(1):
            self.samples.append((time.monotonic() - begin, anonymous(self.router.process.pid)))
            if len(self.samples) % RELOAD_EVERY == 0:
                self.reloads += 1
                config.write_text(text + f"    rpm: {100_000 + self.reloads}\n", encoding="utf-8")
                self.router.process.send_signal(signal.SIGHUP)

    def slope(self):
        """MiB an hour over the last two thirds, and its standard error."""
        late = self.samples[len(self.samples) // 3 :]
        blocks = [late[at : at + BLOCK] for at in range(0, len(late) - BLOCK + 1, BLOCK)]
        points = [tuple(map(statistics.fmean, zip(*block))) for block in blocks]
        times, sizes = zip(*points)
        line = statistics.linear_regression(times, sizes)
        left = sum((size - line.slope * at - line.intercept) ** 2 for at, size in points)
        spread = sum((at - statistics.fmean(times)) ** 2 for at in times)
        return 3600 * line.slope, 3600 * (left / max(len(points) - 2, 1) / spread) ** 0.5


def drift(times, share):
    """How much slower the last quarter was than the first, at that share of the answers."""
    times = sorted(times)
    span = times[-1][0] - times[0][0]
    quarters = (
        [took for begin, took in times if begin <= times[0][0] + span / 4],
        [took for begin, took in times if begin >= times[-1][0] - span / 4],
    )
    first, last = (sorted(quarter)[int(share * (len(quarter) - 1))] for quarter in quarters)
    return last / first


def in_flight(port):
    """Requests under way, by /metrics, that one not counted."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {routers.KEY}"})
    text = connection.getresponse().read().decode()
    connection.close()
    return int(float(re.search(r"^auto_ai_router_in_flight (\S+)$", text, re.M).group(1))) - 1


def lowest(act, wanted):
    """The least that `act` gives until it is at most `wanted`, or until patience ends."""
    ends = time.monotonic() + SETTLE
    least = act()
    while least > wanted and time.monotonic() < ends:
        time.sleep(0.5)
        least = min(least, act())
    return least


class Verdicts:
    """A line a check, and a sum."""

    def __init__(self):
        self.passed, self.failed = 0, 0

    def add(self, well, text):
        """One check."""
        self.passed, self.failed = self.passed + bool(well), self.failed + (not well)
        print(f"soak {text} ... {'ok' if well else 'FAILED'}", flush=True)


def main(binary, seconds):
    """Returns the exit code."""
    upstreams.FAULTS |= {"mixed": mixed, "long": long}
    upstream, verdicts = upstreams.Upstream(), Verdicts()
    count = Count(upstream.server.server_port)
    upstream.calls = collections.deque(maxlen=1000)
    with routers.Router(binary, upstream.url) as router:
        pid, log = router.process.pid, pathlib.Path(router.log.name)
        idle = descriptors(pid)
        load(router.port, WARM_UP, Count())
        warm = resident(pid)
        watch = Watch(router)
        watch.start()
        load(router.port, seconds, count)
        watch.over.set()
        watch.join()
        judge(verdicts, router, (idle, warm), count)
        steady(verdicts, watch, count)
        text = log.read_text(encoding="utf-8")
        panics = [line for line in text.splitlines() if "panicked" in line or "panic" in line.lower()]
        verdicts.add(not panics, f"no panic in {len(text.splitlines())} lines of log {panics[:2] or ''}".rstrip())
    print(f"soak {seconds:g} s: " + ", ".join(f"{number} {what}" for what, number in sorted(count.seen.items())))
    print(f"soak: {verdicts.passed} passed, {verdicts.failed} failed")
    return 1 if verdicts.failed else 0


def steady(verdicts, watch, count):
    """What must not change on the way."""
    slope, error = watch.slope()
    text = f"{slope:.1f} MiB an hour, standard error {error:.1f}, over {watch.reloads} reloads"
    verdicts.add(len(watch.samples) < JUDGED or slope <= SLOPE + ERRORS * error, text)
    for share in (0.5, 0.99):
        of_router, of_provider = (drift(count.times[where], share) for where in ("router", "provider"))
        text = f"p{100 * share:g}, last quarter to first: {of_router:.2f}, of the provider itself {of_provider:.2f}"
        verdicts.add(of_router <= DRIFT * of_provider or of_router <= DRIFT, text)


def judge(verdicts, router, before, count):
    """What must hold once the load is over."""
    pid, (idle, warm) = router.process.pid, before
    verdicts.add(router.process.poll() is None, "the router still runs")
    total = sum(count.seen.values())
    verdicts.add(not count.wrong, f"{total} requests as they should be {count.wrong[:3] or ''}".rstrip())
    flying = lowest(lambda: in_flight(router.port), 0)
    verdicts.add(flying == 0, f"{flying} requests in flight")
    open_now = lowest(lambda: descriptors(pid), idle + FDS)
    verdicts.add(open_now <= idle + FDS, f"{open_now} descriptors, {idle} at the start")
    now = resident(pid)
    verdicts.add(now - warm <= GROWTH_MIB, f"{now:.1f} MiB resident, {warm:.1f} after the warm-up")
    after = Count()
    load(router.port, 1, after)
    verdicts.add(after.seen["unary 200"] and not after.wrong, f"it still answers {after.wrong[:2] or ''}".rstrip())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(os.environ.get("SOAK_SECONDS", "120"))))
