"""Anthropic's Messages API: answers, streams, errors. Shapes: API reference and the page on streaming."""

from . import messages_rules as rules
from .base import Exchange, Refused, event, must
from .plan import CACHED, FAULTS, OUTPUT, PROMPT, REASONING, THOUGHT, WRITTEN, decide, identity, pieces, signature

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
FINISH = {"stop": "end_turn", "tool": "tool_use", "length": "max_tokens"}
MODELS = ["claude-opus-5", "claude-sonnet-4-5"]


class Anthropic(Exchange):
    """One connection to api.anthropic.com."""

    request_id = "request-id"

    def refusal(self, refused):
        """Anthropic's shape."""
        return problem(refused.status, refused.message)

    def listing(self, call):
        """The models."""
        self.admit(call)
        must(call.path == "/v1/models", "no such path")
        data = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"} for name in MODELS
        ]
        self.json(200, {"data": data, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]})

    def admit(self, call):
        """A key in either header, and a version."""
        key = call.headers.get("x-api-key") or call.headers.get("authorization", "").removeprefix("Bearer ")
        if not key.startswith("sk-upstream-"):
            raise Refused(401, "invalid x-api-key")
        must(call.headers.get("anthropic-version"), "anthropic-version: header is required")

    def take(self, call):
        """A message, or the count of its tokens."""
        self.admit(call)
        body, version = call.parsed(), call.headers["anthropic-version"]
        counting = call.path == "/v1/messages/count_tokens"
        if not counting and call.path != "/v1/messages":
            raise Refused(404, f"Not found: {call.path}")
        model = body.get("model")
        must(isinstance(model, str) and model.startswith("claude"), f"model: {model}")
        ask = rules.read(body, model, version, counting)
        call.mark = ask.mark[0]
        if counting:
            return self.json(200, {"input_tokens": PROMPT})
        return answer(self, ask, body, model)


def answer(exchange, ask, body, model):
    """Streamed when asked for. A success may carry `retry-after`, as the real one does."""
    status, message = FAULTS.get(ask.mark[0], (200, ""))
    if status != 200:
        raise Refused(status, message, **({"retry_after": "41"} if status == 429 else {}))
    reply = decide(ask)
    if body.get("stream"):
        return exchange.stream(frames(reply, model), reply.fault)
    return exchange.json(200, whole(reply, model), retry_after="25")


def problem(status, message):
    """An error."""
    error = {"type": KINDS.get(status, "api_error"), "message": message}
    return {"type": "error", "error": error, "request_id": "req_provider"}


def usage(output, thought):
    """Tokens read from and written to the cache are not in `input_tokens`."""
    return {
        "input_tokens": PROMPT - CACHED - WRITTEN,
        "cache_creation_input_tokens": WRITTEN,
        "cache_read_input_tokens": CACHED,
        "output_tokens": output,
        "service_tier": "standard",
        "output_tokens_details": {"thinking_tokens": REASONING if thought else 0},
        "cache_creation": {"ephemeral_5m_input_tokens": WRITTEN, "ephemeral_1h_input_tokens": 0},
    }


def blocks(reply):
    """The content of a message."""
    thought = "".join(reply.thoughts)
    content = [{"type": "thinking", "thinking": thought, "signature": signature(thought)}] if thought else []
    content += [{"type": "text", "text": reply.text}] if reply.words else []
    return content + [
        {"type": "tool_use", "id": identity("toolu_"), "name": name, "input": arguments}
        for name, arguments in reply.calls
    ]


def message(model, content, finish, figures):
    """A message."""
    return {
        "id": "msg_01fake",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": finish,
        "stop_sequence": None,
        "usage": figures,
    }


def whole(reply, model):
    """An answer that is not streamed."""
    return message(model, blocks(reply), FINISH[reply.finish], usage(OUTPUT, reply.thoughts))


def frames(reply, model):
    """The events of an answer."""
    start = message(model, [], None, usage(1, False))
    events = [{"type": "message_start", "message": start}]
    for index, block in enumerate(blocks(reply)):
        events += [{"type": f"content_block_{name}", "index": index} | more for name, more in parts(block, reply)]
        events += [{"type": "ping"}] if index == 0 else []
    if reply.fault:
        events = events[:4]
        events += [problem(529, "Overloaded")] if reply.fault == "error" else []
    else:
        delta = {"stop_reason": FINISH[reply.finish], "stop_sequence": None}
        events.append({"type": "message_delta", "delta": delta, "usage": usage(OUTPUT, reply.thoughts)})
        events.append({"type": "message_stop"})
    return [event(body, body["type"]) for body in events]


def parts(block, reply):
    """One block: start, deltas, stop."""
    kind = block["type"]
    if kind == "text":
        begun, deltas = {"text": ""}, [{"type": "text_delta", "text": word} for word in reply.words]
    elif kind == "thinking":
        begun = {"thinking": "", "signature": ""}
        deltas = [{"type": "thinking_delta", "thinking": word} for word in THOUGHT]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    else:
        begun = {"input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces(block["input"])]
    yield "start", {"content_block": block | begun}
    for delta in deltas:
        yield "delta", {"delta": delta}
    yield "stop", {}
