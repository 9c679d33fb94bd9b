"""OpenAI's chat completions: what they take, and their answers and streams. Shapes: API reference; Azure's first chunk
as recorded there.
"""

import re

from .base import event, must, only
from .plan import CACHED, OUTPUT, PROMPT, REASONING, WRITTEN, Ask, decide, identity, picture, pieces

MEMBERS = """model messages audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens
    max_tokens metadata modalities n parallel_tool_calls prediction presence_penalty prompt_cache_key
    prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier
    stop store stream stream_options temperature tool_choice tools top_logprobs top_p user verbosity
    web_search_options""".split()
MESSAGE = {
    "system": "role content name",
    "developer": "role content name",
    "user": "role content name",
    "assistant": "role content name refusal tool_calls audio function_call annotations",
    "tool": "role content tool_call_id",
}
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
NAME = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")
DATA = re.compile(r"^data:([\w/+.-]+);base64,(.+)$", re.S)
FINISH = {"stop": "stop", "tool": "tool_calls", "length": "length"}


def thinks(model):
    """Models that reason take neither `max_tokens` nor a temperature of one's own."""
    return re.match(r"(gpt-[5-9]|o\d)", model)


def read(body, model):
    """What a checked request asks for."""
    only(body, MEMBERS)
    must(body.get("messages"), "Invalid 'messages': empty array.")
    if thinks(model):
        must("max_tokens" not in body, "Unsupported parameter: 'max_tokens' is not supported with this model.")
        must(body.get("temperature", 1) == 1, "Unsupported value: 'temperature' does not support this with this model.")
    must(body.get("reasoning_effort", "low") in EFFORTS, f"Invalid value: {body.get('reasoning_effort')!r}")
    must(
        "stream_options" not in body or body.get("stream"),
        "The 'stream_options' parameter is only allowed when 'stream'.",
    )
    ask = Ask(turns=len(body["messages"]), thinking=body.get("reasoning_effort", "none") != "none")
    ask.tools = tools(body)
    ask.forced = choice(body, ask.tools)
    form = body.get("response_format") or {"type": "text"}
    must(form["type"] in ("text", "json_object", "json_schema"), f"Invalid value: {form['type']!r}")
    if form["type"] == "json_schema":
        only(form["json_schema"], ("name", "schema", "strict", "description"), "response_format.json_schema.")
        must(NAME.match(form["json_schema"].get("name", "")), "response_format.json_schema.name: Field required")
        ask.schema = form["json_schema"]["schema"]
    Messages(ask).check(body["messages"])
    return ask


def tools(body):
    """The names of the tools."""
    names = []
    for tool in body.get("tools", []):
        only(tool, ("type", tool["type"]), "tools.")
        must(tool["type"] in ("function", "custom"), f"Invalid value: {tool['type']!r}")
        only(tool[tool["type"]], ("name", "description", "parameters", "strict", "format"), "tools.function.")
        must(NAME.match(tool[tool["type"]].get("name", "")), "Invalid 'tools[0].function.name'")
        names.append(tool[tool["type"]]["name"])
    must("tools" not in body or names, "Invalid 'tools': empty array.")
    must(names or "tool_choice" not in body, "'tool_choice' is only allowed when 'tools' are specified.")
    must(
        names or "parallel_tool_calls" not in body, "'parallel_tool_calls' is only allowed when 'tools' are specified."
    )
    return names


def choice(body, names):
    """The tool that is forced, if any."""
    value = body.get("tool_choice", "auto")
    if isinstance(value, str):
        must(value in ("none", "auto", "required"), f"Invalid value: {value!r}")
        return None
    name = value[value["type"]].get("name")
    must(name in names or value["type"] == "allowed_tools", f"Tool choice {name!r} not found in 'tools'")
    return name


class Messages:
    """The turns, and the calls that are open."""

    def __init__(self, ask):
        self.ask, self.open = ask, []

    def check(self, messages):
        """Each in its turn."""
        for index, message in enumerate(messages):
            role, where = message["role"], f"messages[{index}]"
            must(role in MESSAGE, f"Invalid value: {role!r}")
            only(message, MESSAGE[role].split(), f"{where}.")
            if role == "tool":
                must(
                    message.get("tool_call_id") in self.open,
                    "messages with role 'tool' must be a response to a preceding message with 'tool_calls'.",
                )
                self.open.remove(message["tool_call_id"])
                self.ask.results.append(self.content(message, where))
                continue
            must(not self.open, f"tool_call_ids did not have response messages: {self.open}")
            self.turn(role, message, where)
        must(not self.open, f"tool_call_ids did not have response messages: {self.open}")

    def turn(self, role, message, where):
        """Anything but a result."""
        if role == "assistant":
            self.ask.results = []
            self.open = [called(call, where) for call in message.get("tool_calls") or []]
            must(self.open or message.get("content") is not None or message.get("refusal"), f"{where}.content: null")
        elif role == "user":
            self.ask.results, self.ask.images, self.ask.documents = [], [], []
            self.ask.text = self.content(message, where)
        else:
            self.ask.system += ("\n" if self.ask.system else "") + self.content(message, where)

    def content(self, message, where):
        """The text of a message; its pictures and files are kept."""
        value = message.get("content")
        must(value is not None, f"{where}.content: expected a string, got null")
        if isinstance(value, str):
            return value
        must(value, f"{where}.content: empty array")
        return "\n".join(part["text"] for part in value if not self.media(part, where))

    def media(self, part, where):
        """Whether a part is not text."""
        if part["type"] == "image_url":
            only(part["image_url"], ("url", "detail"), f"{where}.image_url.")
            self.ask.images.append(addressed(part["image_url"]["url"]))
        elif part["type"] == "file":
            only(part["file"], ("file_data", "file_id", "filename"), f"{where}.file.")
            self.ask.documents.append(addressed(part["file"]["file_data"]))
        else:
            must(part["type"] == "text", f"{where}: Invalid value: {part['type']!r}")
            return False
        return True


def addressed(url):
    """A picture in a data URL, or its address."""
    found = DATA.match(url)
    return picture(*found.groups()) if found else ("url", url)


def called(call, where):
    """The id of a well-formed call."""
    only(call, ("id", "type", call.get("type"), "index"), f"{where}.tool_calls.")
    must(call.get("type") in ("function", "custom"), f"{where}.tool_calls.type: {call.get('type')!r}")
    must(len(call["id"]) <= 40, f"{where}.tool_calls.id: string too long. Expected a maximum length 40")
    must(NAME.match(call[call["type"]]["name"]), f"{where}.tool_calls.function.name: no match")
    if call["type"] == "function":
        must(isinstance(call["function"].get("arguments"), str), f"{where}.tool_calls.function.arguments: not a string")
    return call["id"]


def usage(thought):
    """Cached tokens are among the prompt's, and thoughts among the answer's."""
    return {
        "prompt_tokens": PROMPT,
        "completion_tokens": OUTPUT,
        "total_tokens": PROMPT + OUTPUT,
        "prompt_tokens_details": {"cached_tokens": CACHED, "cache_write_tokens": WRITTEN},
        "completion_tokens_details": {"reasoning_tokens": REASONING if thought else 0},
    }


def calls(reply):
    """The tool calls of an answer."""
    return [(identity("call_"), name, pieces(arguments)) for name, arguments in reply.calls]


def whole(ask, model):
    """An answer that is not streamed."""
    reply = decide(ask)
    message = {"role": "assistant", "content": reply.text or None, "refusal": None, "annotations": []}
    if reply.calls:
        message["tool_calls"] = [
            {"id": name, "type": "function", "function": {"name": tool, "arguments": "".join(texts)}}
            for name, tool, texts in calls(reply)
        ]
    choices = [{"index": 0, "message": message, "finish_reason": FINISH[reply.finish], "logprobs": None}]
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 1790000000,
        "model": model,
        "choices": choices,
        "usage": usage(ask.thinking),
        "service_tier": "default",
    }


def frames(ask, body, model, azure):
    """The chunks of an answer, with the fault it shall have."""
    reply = decide(ask)
    deltas = [{"role": "assistant", "content": None if reply.calls else "", "refusal": None}]
    deltas += [{"content": word} for word in reply.words]
    for index, (name, tool, texts) in enumerate(calls(reply)):
        begun = {"index": index, "id": name, "type": "function", "function": {"name": tool, "arguments": ""}}
        deltas.append({"tool_calls": [begun]})
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": text}}]} for text in texts]
    head = {"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1790000000, "model": model}
    asked = (body.get("stream_options") or {}).get("include_usage")
    head |= {"usage": None} if asked else {}
    chunks = [head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    if azure:
        blank = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []}
        chunks.insert(0, blank)
    if reply.fault:
        error = {"error": {"message": "Overloaded", "type": "server_error", "param": None, "code": None}}
        return [event(chunk) for chunk in chunks[:3] + ([error] if reply.fault == "error" else [])], reply.fault
    chunks.append(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": FINISH[reply.finish]}]})
    if asked:
        chunks.append(head | {"choices": [], "usage": usage(ask.thinking)})
    return [event(chunk) for chunk in chunks] + ["data: [DONE]\n\n"], None
