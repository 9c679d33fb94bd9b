"""A scripted provider on the standard library's HTTP server: what it answers is decided by the model asked for.

`calls` keeps every request, so that a test can say what the provider saw. Shapes: OpenAI API reference.
"""

import base64
import json
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ["Hello", " from", " the", " provider"]
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
VECTOR = [0.25, -0.5, 1.0]
MODELS = ["plain", "org/with-slash"]
EVENTS = "text/event-stream"


class Call:
    """One request as the provider saw it."""

    def __init__(self, handler, body):
        self.method = handler.command
        self.path = handler.path.split("?")[0]
        self.headers = dict(handler.headers.items())
        self.key = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        self.body = body
        try:
            self.json = json.loads(body) if body else {}
        except ValueError:
            self.json = {}
        self.model = self.json.get("model", "") if isinstance(self.json, dict) else ""


class Upstream:
    """A provider on a port of its own."""

    def __init__(self):
        self.calls = []
        self.files = {}
        upstream = self

        class Handler(Exchange):
            """Exchanges that know their provider."""

            owner = upstream

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def seen(self, model):
        """The calls for one model."""
        return [call for call in self.calls if call.model == model]


class Server(ThreadingHTTPServer):
    """A thread a connection; peers that leave are no news."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        """Says nothing."""


class Exchange(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner = None

    def log_message(self, *_):
        """Says nothing."""

    def do_GET(self):  # pylint: disable=invalid-name
        """Model lists and stored objects."""
        if self.path.split("?")[0] == "/v1/models":
            return self.json(200, {"object": "list", "data": [listed(model) for model in MODELS]})
        call = self.keep(b"")
        return self.stored(call)

    def do_DELETE(self):  # pylint: disable=invalid-name
        """Stored objects."""
        return self.stored(self.keep(b""))

    def do_POST(self):  # pylint: disable=invalid-name
        """Everything else."""
        call = self.keep(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if call.path == "/v1/files":
            return self.upload(call)
        if call.path == "/v1/embeddings":
            return self.json(200, embedding(call.json))
        if call.path == "/v1/responses":
            return self.respond(call)
        if call.path != "/v1/chat/completions":
            return self.error(404, "no such endpoint", None)
        fault = FAULTS.get(call.model)
        return fault(self, call) if fault else self.chat(call)

    def keep(self, body):
        """Files the call."""
        call = Call(self, body)
        self.owner.calls.append(call)
        return call

    # Answers.

    def json(self, status, body, **headers):
        """A JSON answer."""
        self.bytes(status, "application/json", json.dumps(body).encode(), **headers)

    def bytes(self, status, kind, body, **headers):
        """An answer of any kind."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-request-id", "req_provider")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def error(self, status, message, code, **headers):
        """An error in OpenAI's shape."""
        kind = "invalid_request_error" if status < 500 else "server_error"
        body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
        self.json(status, body, **headers)

    def stream(self, frames, whole=True):
        """An event stream; not `whole` means that the connection ends before the body does."""
        self.send_response(200)
        self.send_header("Content-Type", EVENTS)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for frame in frames:
            data = frame.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        if whole:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = not whole

    def chat(self, call):
        """A chat answer, streamed when asked for."""
        if call.json.get("stream"):
            return self.stream(chat_frames(call))
        message = {"role": "assistant", "content": "".join(WORDS), "refusal": None}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return self.json(200, completion(call.model, choices=[choice], usage=USAGE))

    def respond(self, call):
        """The Responses API, with the event order of the reference."""
        response = response_object(call.model, "completed")
        if not call.json.get("stream"):
            return self.json(200, response)
        frames = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in response_events(call.model)]
        return self.stream(frames if call.model != "breaks" else frames[:5], whole=call.model != "breaks")

    # Files: each belongs to the key that brought it.

    def upload(self, call):
        """Takes a file."""
        name = f"file-{len(self.owner.files)}"
        self.owner.files[name] = (call.key, call.body)
        self.json(200, file_object(name, call.body))

    def stored(self, call):
        """A file, for its owner only."""
        name = call.path.removeprefix("/v1/files/").removesuffix("/content")
        owner, body = self.owner.files.get(name, (None, b""))
        if owner != call.key:
            return self.error(404, f"No such File object: {name}", None)
        if call.method == "DELETE":
            return self.json(200, {"id": name, "object": "file", "deleted": True})
        if call.path.endswith("/content"):
            return self.bytes(200, "application/octet-stream", body)
        return self.json(200, file_object(name, body))


def first_fails(exchange, call):
    """The first try of every request fails."""
    if len(exchange.owner.seen(call.model)) % 2 == 1:
        return exchange.error(503, "overloaded", None)
    return exchange.chat(call)


def breaks(exchange, call):
    """A stream that ends in its middle."""
    return exchange.stream(chat_frames(call)[:3], whole=False)


def fails_first_frame(exchange, call):
    """A 200 whose first event is an error, at the first try."""
    if len(exchange.owner.seen(call.model)) % 2 == 1:
        error = {"error": {"message": "overloaded", "type": "server_error", "code": None}}
        return exchange.stream([f"data: {json.dumps(error)}\n\n"])
    return exchange.stream(chat_frames(call))


def tools(exchange, call):
    """A streamed tool call."""
    function = {"name": "weather", "arguments": ""}
    parts = [{"index": 0, "id": "call_1", "type": "function", "function": function}]
    parts += [{"index": 0, "function": {"arguments": text}} for text in ('{"city"', ':"Oslo"}')]
    frames = [chunk(call.model, {"tool_calls": [part]}) for part in parts]
    return exchange.stream(frames + [chunk(call.model, {}, "tool_calls")] + tail(call))


def slow(exchange, call):
    """An answer after two seconds."""
    time.sleep(2)
    return exchange.chat(call)


FAULTS = {
    "slow": slow,
    "first-fails": first_fails,
    "breaks": breaks,
    "fails-first-frame": fails_first_frame,
    "tools": tools,
    "bad-request": lambda e, _: e.error(400, "temperature is too hot", "too_hot"),
    "unknown-there": lambda e, c: e.error(404, f"The model `{c.model}` does not exist", "model_not_found"),
    "limited": lambda e, _: e.error(429, "slow down", "rate_limit_exceeded", retry_after="41"),
    "rejected-key": lambda e, _: e.error(401, "Incorrect API key provided", "invalid_api_key"),
    "down": lambda e, _: e.error(500, "the provider is down", None),
}


def listed(model):
    """An entry of the model list."""
    return {"id": model, "object": "model", "created": 1, "owned_by": "provider"}


def completion(model, **members):
    """A chat completion."""
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": model} | members


def chunk(model, delta, finish=None):
    """A frame with one chat chunk."""
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    body = completion(model, choices=choices) | {"object": "chat.completion.chunk"}
    return f"data: {json.dumps(body)}\n\n"


def chat_frames(call):
    """A whole chat stream; usage comes when it is asked for."""
    frames = [chunk(call.model, {"role": "assistant", "content": ""})]
    frames += [chunk(call.model, {"content": word}) for word in WORDS]
    return frames + [chunk(call.model, {}, "stop")] + tail(call)


def tail(call):
    """Usage, if asked for, and the end."""
    body = completion(call.model, choices=[], usage=USAGE) | {"object": "chat.completion.chunk"}
    asked = (call.json.get("stream_options") or {}).get("include_usage")
    return ([f"data: {json.dumps(body)}\n\n"] if asked else []) + ["data: [DONE]\n\n"]


def embedding(body):
    """Embeddings in the encoding asked for."""
    vector = VECTOR
    if body.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack(f"<{len(VECTOR)}f", *VECTOR)).decode()
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    return {"object": "list", "model": body["model"], "data": data, "usage": {"prompt_tokens": 4, "total_tokens": 4}}


def file_object(name, body):
    """A file as the API describes it."""
    members = {"object": "file", "bytes": len(body), "created_at": 1, "filename": "a.jsonl"}
    return {"id": name, "purpose": "batch", "status": "processed"} | members


def output_item():
    """The one message of a response."""
    text = {"type": "output_text", "text": "".join(WORDS), "annotations": []}
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [text]}


def response_object(model, status):
    """A response."""
    usage = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12,
             "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    done = status == "completed"
    members = {"output": [output_item()] if done else [], "usage": usage if done else None}
    fixed = {"object": "response", "created_at": 1, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return {"id": "resp_1", "model": model, "status": status} | fixed | members


def response_events(model):
    """The events of a streamed response."""
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = output_item()
    begun = item | {"status": "in_progress", "content": []}
    events = [
        {"type": "response.created", "response": response_object(model, "in_progress")},
        {"type": "response.in_progress", "response": response_object(model, "in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        {"type": "response.content_part.added", "part": item["content"][0] | {"text": ""}} | place,
        *({"type": "response.output_text.delta", "delta": word, "logprobs": []} | place for word in WORDS),
        {"type": "response.output_text.done", "text": "".join(WORDS), "logprobs": []} | place,
        {"type": "response.content_part.done", "part": item["content"][0]} | place,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response_object(model, "completed")},
    ]
    return [event | {"sequence_number": number} for number, event in enumerate(events)]
