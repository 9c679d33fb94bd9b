"""Whether the router keeps to HTTP/2 (RFC 9113) and HPACK (RFC 7541): main.py BINARY [WORD...].

A table of cases of one connection each, over TLS and in cleartext by prior knowledge; what h2spec is known to try is among them.
After each case the router answers a fresh connection, no request has reached the upstream that should not have, and at
the end nothing is in flight. What goes otherwise than the rule says is a fault, or is in `known.py` and must go on so.
With WORDs, only cases whose section or sentence has one of them. Some seconds; 5 s for each answer that does not come.
"""

import http.client
import http.server
import itertools
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import definitions
import framing
import generic
import messages
import wire
from known import KNOWN
from outcomes import BODY, GET, LONG, Missed, routers

CASES = generic.CASES + framing.CASES + definitions.CASES + messages.CASES


class Upstream(http.server.BaseHTTPRequestHandler):
    """Answers a chat; counts."""

    protocol_version = "HTTP/1.1"
    # Requests, and those that nobody has asked here.
    asked, odd = 0, 0

    def do_GET(self):
        """Nothing is known of it."""
        self.answer(404, b"{}")

    def do_POST(self):
        """A chat."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        Upstream.asked += 1
        Upstream.odd += body not in (BODY, LONG) or "x-test" in self.headers
        words = "word " * (20_000 if body == LONG else 1)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": words}}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        chat = {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}
        self.answer(200, json.dumps(chat).encode())

    def answer(self, status, body):
        """Sends it."""
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing."""


def why_of(case):
    """Why a case goes otherwise."""
    return KNOWN[case.says].why


class Suite:
    """The cases at one router, over one transport."""

    def __init__(self, name, port, tls):
        self.name, self.port, self.tls = name, port, tls
        self.kept, self.known, self.faults = 0, [], []

    def run(self, cases):
        """All of them."""
        for case in cases:
            before = Upstream.asked
            kept, story = self.one(case)
            fresh = self.fresh()
            reached = Upstream.asked - before
            known = KNOWN.get(case.says)
            if kept and known:
                self.fault(case, "is kept to now, and still among the known deviations")
            elif not kept and not (known and re.fullmatch(known.comes, story)):
                self.fault(case, f"{case.outcome.expected} was to come, and there came {story}")
            elif reached and not (known or case.outcome).may_reach:
                self.fault(case, f"{reached} requests reached the upstream")
            elif not fresh:
                self.fault(case, "afterwards a fresh connection was not answered")
            elif kept:
                self.kept += 1
            else:
                self.known.append(case)
        for why, group in itertools.groupby(sorted(self.known, key=why_of), key=why_of):
            print(f"known  {self.name}: {why}: {', '.join(dict.fromkeys(case.section for case in group))}")
        print(f"http2: {self.kept} of {len(cases)} cases {self.name}, {len(self.known)} known deviations, "
              f"{len(self.faults)} faults")
        return not self.faults

    def one(self, case):
        """Whether what comes of a case is as it should be, and what came."""
        with wire.Connection(self.port, self.tls, case.greeting) as line:
            try:
                for step in case.steps:
                    line.send(step if isinstance(step, bytes) else step(line) or b"")
                return case.outcome.judge(line), line.story()
            except Missed as missed:
                return False, f"{line.story()} ({missed})"

    def fresh(self):
        """Whether a new connection is served."""
        with wire.Connection(self.port, self.tls) as line:
            line.send(wire.headers(1, wire.block(*GET)))
            return bool(line.wait(lambda one: one.kind == wire.DATA)) and line.statuses.get(1) == 200

    def fault(self, case, what):
        """Says so."""
        self.faults.append(case.says)
        print(f"FAULT  {self.name} {case.section}: {case.says}: {what}", flush=True)


class Router(routers.Router):
    """One router that is met in cleartext and over TLS."""

    def __init__(self, binary, upstream):
        self.place = tempfile.TemporaryDirectory()
        chain, key = (pathlib.Path(self.place.name, name) for name in ("certificate.pem", "key.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-subj", "/CN=localhost", "-days", "1", "-out", chain, "-keyout", key],
                       check=True, stderr=subprocess.DEVNULL)
        plain, before = routers.free_port(), routers.CONFIG
        server = f'  listen: [{{{{address: "127.0.0.1:{plain}", tls: false}}}}]\n' \
                 f'  tls: {{{{certificate: {chain}, key: {key}}}}}\n'
        routers.CONFIG = before.replace("  master_key:", f"{server}  master_key:")
        try:
            super().__init__(binary, upstream)
            self.secure, self.port = self.port, plain
        finally:
            routers.CONFIG = before

    def __exit__(self, *about):
        super().__exit__(*about)
        self.place.cleanup()

    def in_flight(self):
        """Requests under way, besides the one that asks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {routers.KEY}"})
        text = connection.getresponse().read().decode()
        return int(float(re.search(r"^auto_ai_router_in_flight (\S+)$", text, re.M).group(1))) - 1


def main(binary, words):
    """The exit code."""
    began = time.monotonic()
    assert KNOWN.keys() <= {case.says for case in CASES}, "a known deviation of no case"
    cases = [case for case in CASES if not words or any(word in f"{case.section} {case.says}" for word in words)]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    # The router may leave it at any time.
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Router(binary, f"http://127.0.0.1:{server.server_port}") as router:
        suites = [Suite("over TLS", router.secure, wire.trust()), Suite("in cleartext", router.port, None)]
        well = all([suite.run(cases) for suite in suites])
        until = time.monotonic() + 10
        while (left := router.in_flight()) and time.monotonic() < until:
            time.sleep(0.1)
    print(f"http2: {left} requests left in flight, {Upstream.odd} of {Upstream.asked} at the upstream that nobody sent, "
          f"{time.monotonic() - began:.0f} s")
    return 0 if well and not left and not Upstream.odd else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
