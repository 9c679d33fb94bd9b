"""What all fakes have in common: a server on a port of its own, strict bodies, and calls that tests can look at.

A provider overrides `take`, which answers one POST, and `refusal`, the shape of its errors. Streams are lists of
frames.
"""

import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Refused(Exception):
    """What the provider says no to, with its status and the provider's own word for it."""

    def __init__(self, status, message, code=None, **headers):
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers


def must(condition, message):
    """A rule of the wire."""
    if not condition:
        raise Refused(400, message)


def only(members, allowed, where=""):
    """Unknown members are refused, and named."""
    for name in members:
        must(name in allowed, f"{where}{name}: Extra inputs are not permitted")


class Call:
    """One request as the provider saw it."""

    def __init__(self, handler, body):
        self.method = handler.command
        self.path, _, query = handler.path.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query))
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body = body
        self.json = {}
        self.mark = None

    def parsed(self):
        """The JSON body, which must be an object."""
        try:
            self.json = json.loads(self.body or b"{}")
        except ValueError as error:
            raise Refused(400, f"invalid JSON: {error}") from error
        must(isinstance(self.json, dict), "the body is not an object")
        return self.json


class Provider:
    """A running fake."""

    def __init__(self, exchange):
        self.calls = []
        handler = type("Bound", (exchange,), {"owner": self})
        self.server = Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def seen(self, mark):
        """The calls whose prompt had this mark."""
        return [call for call in self.calls if call.mark == mark]


class Server(ThreadingHTTPServer):
    """A thread a connection; peers that leave are no news."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """Says nothing."""


class Exchange(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner = None
    request_id = "x-request-id"

    def log_message(self, *_):
        """Says nothing."""

    def do_GET(self):  # pylint: disable=invalid-name
        """Model lists."""
        self.serve(self.listing)

    def do_POST(self):  # pylint: disable=invalid-name
        """Everything else."""
        self.serve(self.take)

    def serve(self, answer):
        """Files the call, and answers it or says why not."""
        call = Call(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.owner.calls.append(call)
        try:
            answer(call)
        except Refused as refused:
            call.refused = refused.message
            self.json(refused.status, self.refusal(refused), **refused.headers)

    def listing(self, call):
        """What a GET answers."""
        raise Refused(404, f"no such path: {call.path}")

    def take(self, call):
        """What a POST answers."""
        raise NotImplementedError

    def refusal(self, refused):
        """The body of an error."""
        raise NotImplementedError

    def json(self, status, body, **headers):
        """A JSON answer."""
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header(self.request_id, "req_provider")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def stream(self, frames, fault=None):
        """An event stream, chunked as servers do. `cut` closes the connection after half of it."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header(self.request_id, "req_provider")
        self.end_headers()
        for frame in frames:
            data = frame.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        if fault == "cut":
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")


def event(data, name=None):
    """A frame."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n"
