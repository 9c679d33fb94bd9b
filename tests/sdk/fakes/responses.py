"""OpenAI's Responses API: what it takes, its answers and its events in their order. Shapes: API reference; what Codex
sends besides (`client_metadata`, tools of other types) as seen from it.
"""

from .base import event, must, only
from .chat import EFFORTS, NAME, addressed
from .plan import CACHED, OUTPUT, PROMPT, REASONING, WRITTEN, Ask, decide, identity, pieces, signature

MEMBERS = """model input instructions tools tool_choice parallel_tool_calls reasoning store stream include text
    prompt_cache_key prompt_cache_retention max_output_tokens max_tool_calls temperature top_p metadata
    previous_response_id conversation background service_tier truncation user safety_identifier client_metadata
    stream_options prompt context_management top_logprobs""".split()
ITEMS = {
    "function_call": "type id call_id name arguments status namespace",
    "function_call_output": "type id call_id output status",
    "custom_tool_call": "type id call_id name input status",
    "custom_tool_call_output": "type id call_id output name",
    "reasoning": "type id summary content encrypted_content status",
    "item_reference": "type id",
    "message": "type id role content status phase",
}
PARTS = ("input_text", "output_text", "refusal")


def read(body):
    """What a checked request asks for."""
    only(body, MEMBERS)
    must(body.get("input"), "Missing required parameter: 'input'.")
    reasoning = body.get("reasoning") or {}
    must((reasoning.get("effort") or "low") in EFFORTS, f"Invalid value: {reasoning.get('effort')!r}")
    ask = Ask(system=body.get("instructions") or "", thinking=bool(reasoning.get("summary")))
    for tool in body.get("tools") or []:
        must("function" not in tool, "Unknown parameter: 'tools[0].function'.")
        if tool["type"] == "function":
            must(NAME.match(tool.get("name", "")), "Invalid 'tools[0].name'")
            must(isinstance(tool.get("parameters"), dict), "tools[0].parameters: Field required")
        ask.tools.append(tool.get("name", tool["type"]))
    choice = body.get("tool_choice", "auto")
    ask.forced = choice.get("name") if isinstance(choice, dict) else None
    form = (body.get("text") or {}).get("format") or {"type": "text"}
    must(form["type"] != "json_schema" or form.get("name"), "Missing required parameter: 'text.format.name'.")
    ask.schema = form.get("schema")
    items = body["input"]
    Items(ask).check([{"role": "user", "content": items}] if isinstance(items, str) else items)
    return ask


# Ids of items begin by their kind; thoughts are known by their id, or by what was sealed here and comes back.
STARTS = {"message": "msg_", "function_call": "fc_", "custom_tool_call": "ctc_", "reasoning": "rs_"}
OURS = "rs_kept_here_"
SEALED = "gAAAA" + signature("thought")


class Items:
    """The input, and the calls that are open."""

    def __init__(self, ask):
        self.ask, self.open = ask, []

    def check(self, items):
        """Each in its turn; every call has its output, and the reverse."""
        self.ask.turns = len(items)
        for index, item in enumerate(items):
            kind = item.get("type", "message")
            must(kind in ITEMS, f"Invalid value: {kind!r} at input[{index}].type")
            only(item, ITEMS[kind].split(), f"input[{index}].")
            start = STARTS.get(kind, "")
            must(
                (item.get("id") or start).startswith(start),
                f"Invalid 'input[{index}].id': {item.get('id')!r}. Expected {start!r}",
            )
            if kind == "reasoning":
                sealed = item.get("encrypted_content")
                must(sealed in (None, SEALED), "The encrypted content could not be verified.")
                must(sealed or item["id"].startswith(OURS), f"Item with id {item['id']!r} not found.")
            if kind in ("function_call", "custom_tool_call"):
                must(len(item["call_id"]) <= 64, f"input[{index}].call_id: string too long")
                self.open.append(item["call_id"])
            elif kind.endswith("_output"):
                must(item["call_id"] in self.open, f"No tool call found for call_id {item['call_id']}.")
                self.open.remove(item["call_id"])
                self.ask.results.append(said(item["output"]))
            elif kind == "message":
                self.message(item, index)
        must(not self.open, f"No tool output found for function call {self.open}.")

    def message(self, item, index):
        """A message of anybody."""
        role, content = item["role"], item["content"]
        must(role in ("user", "assistant", "system", "developer"), f"Invalid value: {role!r}")
        parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
        texts = [part["text"] for part in parts if part["type"] in ("input_text", "output_text")]
        if role == "user":
            self.ask.images = [addressed(part["image_url"]) for part in parts if part["type"] == "input_image"]
            self.ask.documents = [addressed(part["file_data"]) for part in parts if part["type"] == "input_file"]
            self.ask.text, self.ask.results = "\n".join(texts), []
        elif role != "assistant":
            self.ask.system += "\n".join(texts)
        wrong = "input_text" if role == "assistant" else "output_text"
        must(
            wrong not in {part["type"] for part in parts} or isinstance(content, str),
            f"input[{index}].content: {wrong!r} is not for {role}",
        )


def said(output):
    """A result as text."""
    return output if isinstance(output, str) else "".join(part.get("text", "") for part in output)


def sealed(body):
    """Whether thoughts are to be given out so that they can come back without being kept here."""
    return "reasoning.encrypted_content" in (body.get("include") or [])


def output(reply, is_sealed):
    """The items of an answer."""
    items = []
    if reply.thoughts:
        summary = [{"type": "summary_text", "text": "".join(reply.thoughts)}]
        items.append({"id": identity(OURS), "type": "reasoning", "summary": summary})
        items[0] |= {"encrypted_content": SEALED} if is_sealed else {}
    if reply.words:
        part = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
        items.append({"id": "msg_0", "type": "message", "role": "assistant", "status": "completed", "content": [part]})
    for number, (name, arguments) in enumerate(reply.calls):
        items.append(
            {
                "id": f"fc_{number}",
                "type": "function_call",
                "call_id": identity("call_"),
                "name": name,
                "arguments": "".join(pieces(arguments)),
                "status": "completed",
            }
        )
    return items


def response(body, model, status, items, reply=None):
    """A response; usage comes with its end."""
    usage = {
        "input_tokens": PROMPT,
        "output_tokens": OUTPUT,
        "total_tokens": PROMPT + OUTPUT,
        "input_tokens_details": {"cached_tokens": CACHED, "cache_write_tokens": WRITTEN},
        "output_tokens_details": {"reasoning_tokens": REASONING if reply and reply.thoughts else 0},
    }
    cause = {"reason": "max_output_tokens"} if status == "incomplete" else None
    return {
        "id": "resp_fake",
        "object": "response",
        "created_at": 1790000000,
        "model": model,
        "status": status,
        "output": items,
        "usage": usage if reply else None,
        "error": None,
        "incomplete_details": cause,
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "tools": body.get("tools") or [],
        "tool_choice": body.get("tool_choice", "auto"),
        "instructions": None,
        "metadata": {},
    }


def whole(ask, body, model):
    """An answer that is not streamed."""
    reply = decide(ask)
    return response(
        body, model, "incomplete" if reply.finish == "length" else "completed", output(reply, sealed(body)), reply
    )


def frames(ask, body, model):
    """The events of an answer, and the fault it shall have."""
    reply = decide(ask)
    begun = response(body, model, "in_progress", [])
    events = [{"type": "response.created", "response": begun}, {"type": "response.in_progress", "response": begun}]
    items = output(reply, sealed(body))
    for index, item in enumerate(items):
        events += [{"type": f"response.{name}", "output_index": index} | more for name, more in steps(item, reply)]
    if reply.fault:
        events = events[:6]
        if reply.fault == "error":
            events.append({"type": "error", "code": "server_error", "message": "Overloaded", "param": None})
    else:
        last = "incomplete" if reply.finish == "length" else "completed"
        events.append({"type": f"response.{last}", "response": response(body, model, last, items, reply)})
    return [event(body | {"sequence_number": n}, body["type"]) for n, body in enumerate(events)], reply.fault


def steps(item, reply):
    """The events of one item."""
    place = {"item_id": item["id"]}
    if item["type"] == "message":
        part, place = item["content"][0], place | {"content_index": 0}
        yield "output_item.added", {"item": item | {"status": "in_progress", "content": []}}
        yield "content_part.added", place | {"part": part | {"text": ""}}
        for word in reply.words:
            yield "output_text.delta", place | {"delta": word, "logprobs": []}
        yield "output_text.done", place | {"text": part["text"], "logprobs": []}
        yield "content_part.done", place | {"part": part}
    elif item["type"] == "reasoning":
        part, place = item["summary"][0], place | {"summary_index": 0}
        yield "output_item.added", {"item": item | {"summary": []}}
        yield "reasoning_summary_part.added", place | {"part": part | {"text": ""}}
        for word in reply.thoughts:
            yield "reasoning_summary_text.delta", place | {"delta": word}
        yield "reasoning_summary_text.done", place | {"text": part["text"]}
        yield "reasoning_summary_part.done", place | {"part": part}
    else:
        yield "output_item.added", {"item": item | {"status": "in_progress", "arguments": ""}}
        cut = item["arguments"]
        for text in (cut[:4], cut[4:9], cut[9:]):
            yield "function_call_arguments.delta", place | {"delta": text}
        yield "function_call_arguments.done", place | {"arguments": cut, "name": item["name"]}
    yield "output_item.done", {"item": item}
