"""Three routers in a chain and a fallback beside them, with FLEET_REQUESTS (10,000) through all of it: fleet.py BINARY.

edge -> middle -> last -> provider, and edge -> spare -> provider. Half of the requests are streams. While they come, one
router at a time is killed, hung, drained or restarted. Afterwards: no request was lost that some path could have
served (a stream that a killed router had begun is the one thing that no path can end, and it must say so), no loop,
the first chunk of each stream was there before its last was made, and both ends count the same.
"""

import collections
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "sdk"))

import router as routers  # noqa: E402
import upstream as upstreams  # noqa: E402

THREADS = 12
CALM = 1000
TOKENS = upstreams.USAGE["total_tokens"]
PATIENCE = 30
PACE = 0.11
CONFIG = """
server: {{host: 127.0.0.1, port: {port}, master_key: {key}, threads: 1, drain_timeout: 10s, expose_route: true}}
monitoring: {{prometheus_listen: "off", peer_health_interval: 300ms}}
admin: {{listen: "unix:{dir}/admin.sock"}}
state: {{dir: "{dir}/state"}}
fail2ban: {{ban_duration: 1s}}
routing: {{response_timeout: 3s, first_token_timeout: 3s, deadline: 25s}}
credentials:
"""


class Node:
    """A router that can be killed, hung, drained and started again in its place."""

    def __init__(self, binary, name, credentials):
        self.binary, self.name, self.credentials = binary, name, credentials
        self.port, self.process = routers.free_port(), None
        self.key = f"sk-fleet-{name}-0123456789abcdef"
        self.dir = tempfile.TemporaryDirectory()

    def credential(self, more=""):
        """This router as a credential of another one."""
        return (f"  - {{name: {self.name}, type: proxy, base_url: \"http://127.0.0.1:{self.port}\", "
                f"api_key: {self.key}{more}}}\n")

    def start(self):
        """Starts it, and waits until it is ready."""
        path = pathlib.Path(self.dir.name, "config.yaml")
        config = CONFIG.format(port=self.port, key=self.key, dir=self.dir.name)
        path.write_text(config + self.credentials, encoding="utf-8")
        with open(path.with_name("log"), "a", encoding="utf-8") as log:
            self.process = subprocess.Popen([self.binary, "run", "--config", path], stdout=log, stderr=log)
        wait(f"{self.name} is ready", lambda: self.get("/health/ready") is not None)

    def get(self, path):
        """The text at a path of its own; none if it does not answer well."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        request.add_header("Authorization", f"Bearer {self.key}")
        try:
            with urllib.request.urlopen(request, timeout=2) as answer:
                return answer.read().decode()
        except OSError:
            return None

    def trusts(self, credential):
        """Whether it knows the router behind a credential to be well, and holds nothing against it."""
        health = json.loads(self.get("/health") or "{}")
        known = health.get("credentials", {}).get(credential, {})
        pair = health.get("models", {}).get(f"{credential}:fleet", {}).get("state", "available")
        return known.get("peer", {}).get("state") == "fresh" and known["state"] == pair == "available"

    def log(self):
        """All that it has said."""
        return pathlib.Path(self.dir.name, "log").read_text(encoding="utf-8", errors="replace")

    def access(self):
        """The lines about requests of the clients."""
        lines = (json.loads(line) for line in self.log().splitlines() if line.startswith("{"))
        return [line for line in lines if line.get("endpoint") == "/v1/chat/completions"]

    def end(self, how=signal.SIGKILL):
        """Ends it, and waits for that."""
        self.process.send_signal(how)
        self.process.wait(PATIENCE)


class Tally:
    """What the clients saw, and which streams have shown their first word."""

    def __init__(self):
        self.lock, self.next = threading.Lock(), 0
        self.seen, self.wrong, self.slowest = collections.Counter(), [], 0.0
        self.shown, self.running = {}, set()

    def number(self, limit):
        """The number of the next request, from 1; none if so many have been made."""
        with self.lock:
            if self.next == limit:
                return None
            self.next += 1
            self.shown[f"n{self.next}"] = threading.Event()
            self.running.add(self.next)
            return self.next

    def over(self, number):
        """The request with this number has ended, one way or the other."""
        with self.lock:
            self.running.discard(number)

    def all_over(self, mark):
        """Whether all up to this one have ended."""
        with self.lock:
            return all(number > mark for number in self.running)

    def saw(self, what, took):
        """One more of it."""
        with self.lock:
            self.seen[what] += 1
            self.slowest = max(self.slowest, took)

    def complain(self, what):
        """Something that must not be."""
        with self.lock:
            self.wrong.append(what)


TALLY = Tally()


def answer(exchange, call):
    """An answer whose last word, in a stream, is made only when the client has seen the first."""
    if not call.json.get("stream"):
        return exchange.chat(call)
    return exchange.stream(frames(call))


def frames(call):
    """The frames of such a stream."""
    whole = upstreams.chat_frames(call)
    yield from whole[:2]
    if not TALLY.shown[call.json["user"]].wait(PATIENCE):
        return
    yield from whole[2:]


def ask(connection, edge, number):
    """One request, read to its end. A stream's last word is held back until its first is here."""
    stream, begun = number % 2 == 0, time.monotonic()
    body = {"model": "fleet", "stream": stream, "user": f"n{number}", "messages": [{"role": "user", "content": "hi"}]}
    if stream:
        body["stream_options"] = {"include_usage": True}
    headers = {"Authorization": f"Bearer {edge.key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    got = connection.getresponse()
    served = (got.getheader("x-auto-ai-router-credential") or "").split("/")[0]
    if got.status != 200:
        return TALLY.complain(f"{number}: {got.status} {got.read()[:200]!r}")
    text = b""
    while stream and b'"content": "Hello"' not in text:
        piece = got.read1(4096)
        if not piece:
            break
        text += piece
    TALLY.shown[f"n{number}"].set()
    text += got.read()
    whole = b"data: [DONE]" in text if stream else b'"usage"' in text
    if whole and b'"error"' not in text:
        kind = "stream" if stream else "answer"
        return TALLY.saw(f"{kind} by {served}", time.monotonic() - begun)
    if stream and b'"error"' in text and b"data: [DONE]" not in text:
        return TALLY.saw("stream cut", time.monotonic() - begun)
    return TALLY.complain(f"{number}: ends with {text[-200:]!r}")


def load(edge, limit, pace=0.0):
    """Requests from all threads until so many have been made; `pace` is the pause of a client between two."""

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=PATIENCE + 10)
        while number := TALLY.number(limit):
            try:
                ask(connection, edge, number)
            except (OSError, http.client.HTTPException) as why:
                TALLY.complain(f"{number}: {type(why).__name__}: {why}")
                connection.close()
            TALLY.over(number)
            time.sleep(pace)

    threads = [threading.Thread(target=client, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    return threads


def wait(what, condition):
    """Until it holds."""
    ends = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > ends:
            raise RuntimeError(f"never came true: {what}")
        time.sleep(0.05)


def kill(node):
    """Gone without a word."""
    node.end()
    time.sleep(1.5)
    node.start()


def hang(node):
    """There, and silent."""
    node.process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    node.process.send_signal(signal.SIGCONT)


def drain(node):
    """Leaves in order."""
    node.end(signal.SIGTERM)
    time.sleep(0.5)
    node.start()


def restart(node):
    """Away as shortly as can be."""
    node.end()
    node.start()


class Verdicts:
    """A line a check, and a sum."""

    def __init__(self):
        self.passed, self.failed = 0, 0

    def add(self, well, text):
        """One check."""
        self.passed, self.failed = self.passed + bool(well), self.failed + (not well)
        print(f"fleet {text} ... {'ok' if well else 'FAILED'}", flush=True)


def tokens(node):
    """All tokens that a router has counted, and how many of its answers were whole."""
    whole = [line for line in node.access() if line["ended"] == "complete"]
    return sum(line["tokens_in"] + line["tokens_out"] for line in whole), len(whole)


def calm(edge, middle, last, upstream, verdicts):
    """Without a fault: every router of the chain and the provider count the same."""
    for thread in load(edge, CALM):
        thread.join(120)
    wait("all is told", lambda: all(len(node.access()) >= CALM for node in (edge, middle, last)))
    counted = [tokens(node)[0] for node in (edge, middle, last)]
    verdicts.add(counted == [CALM * TOKENS] * 3, f"{CALM} requests are {counted} tokens at edge, middle and last")
    verdicts.add(len(upstream.calls) == CALM, f"the provider has seen {len(upstream.calls)} requests")


def storm(edge, middle, faults, limit):
    """With one fault after the other, for as long as there are requests. How many of each there were.

    The next one comes when the last one is over in the eyes of all, since what is banned is no path, and when the
    requests that have met it have ended, since two faults may leave one request no path.
    """
    threads, done = load(edge, limit, PACE), collections.Counter()
    turn = 0
    while any(thread.is_alive() for thread in threads):
        fault, node = faults[turn % len(faults)]
        turn += 1
        fault(node)
        done[f"{fault.__name__} {node.name}"] += 1
        for looks, name in ((middle, "last"), (edge, "middle"), (edge, "spare")):
            wait(f"{name} is trusted again", lambda looks=looks, name=name: looks.trusts(name))
        mark = TALLY.next
        wait("who met it has ended", lambda mark=mark: TALLY.all_over(mark))
    return done


def judge(edge, verdicts, limit, done):
    """What must hold once the load is over."""
    print(f"fleet faults: {dict(done)}")
    print(f"fleet {dict(TALLY.seen)}, the slowest took {TALLY.slowest:.1f} s")
    cut, total = TALLY.seen["stream cut"], sum(TALLY.seen.values())
    for line in [line for line in edge.access() if line["status"] != 200][:10]:
        print(f"fleet lost: {line}")
    verdicts.add(not TALLY.wrong and total == limit, f"{total} of {limit} requests served {TALLY.wrong[:3] or ''}")
    kills = sum(count for name, count in done.items() if name.split()[0] in ("kill", "restart"))
    verdicts.add(cut <= kills * THREADS, f"{cut} streams were cut by {kills} routers that died, and said so")
    wait("all is told", lambda: len(edge.access()) >= limit)
    lines = edge.access()
    counted, whole = tokens(edge), total - cut
    verdicts.add(counted == (whole * TOKENS, whole), f"the edge counts {counted[0]} tokens in {counted[1]} whole answers")
    loops = sum(508 in [line["status"], *(attempt["status"] for attempt in line["attempts"])] for line in lines)
    verdicts.add(loops == 0, f"{loops} loops in {len(lines)} requests")
    panics = [line for line in edge.log().splitlines() if "panicked" in line]
    verdicts.add(not panics, f"no panic {panics[:1] or ''}".rstrip())


def main(binary, limit):
    """Returns the exit code."""
    upstreams.FAULTS["fleet"] = answer
    upstream, verdicts = upstreams.Upstream(), Verdicts()
    provider = f"  - {{name: provider, api_key: sk-upstream-0123456789, base_url: \"{upstream.url}\"}}\n"
    last, spare = Node(binary, "last", provider), Node(binary, "spare", provider)
    middle = Node(binary, "middle", last.credential())
    edge = Node(binary, "edge", middle.credential() + spare.credential(", is_fallback: true"))
    nodes = [last, spare, middle, edge]
    try:
        for node in nodes:
            node.start()
        wait("the edge knows its peers", lambda: edge.trusts("middle") and edge.trusts("spare"))
        calm(edge, middle, last, upstream, verdicts)
        turns = [(fault, node) for fault in (kill, hang, drain, restart) for node in (middle, last, spare)]
        done = storm(edge, middle, turns, limit)
        judge(edge, verdicts, limit, done)
    finally:
        for node in nodes:
            if node.process:
                node.process.kill()
    print(f"fleet: {verdicts.passed} passed, {verdicts.failed} failed")
    return 1 if verdicts.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(os.environ.get("FLEET_REQUESTS", "10000"))))
