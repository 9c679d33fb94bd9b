"""What Anthropic's Messages API takes: `read` checks a body as the API does, and says what it asks for.

Rules: API reference, the versioning page and the migration guide of version 2026-10-21, the pages on tool use, extended
and adaptive thinking, structured outputs.
"""

import re

from .base import must, only
from .plan import Ask, picture, signature

MEMBERS = """model messages max_tokens system tools tool_choice stream stop_sequences metadata thinking output_config
    service_tier temperature top_p top_k container context_management mcp_servers cache_control speed""".split()
VERSIONS = ("2023-06-01", "2026-10-21")
SAMPLING = ("temperature", "top_p", "top_k")
# Models up to 4.6 take sampling parameters; those up to 4.5 think by a budget and know no effort.
SAMPLED = re.compile(r"claude-(3|haiku-4|(opus|sonnet)-4(-[0-6])?(-\d{8})?(@|$))")
# Orders in the middle of a conversation: right after a user turn, and before an assistant's or nothing.
ORDERED = re.compile(r"claude-(opus-(4-[89]|[5-9])|sonnet-5-[5-9]|fable)[^@]*$")
BUDGETED = re.compile(r"claude-(3|haiku-4|(opus|sonnet)-4(-[0-5])?(-\d{8})?(@|$))")
NAME = re.compile(r"^[a-zA-Z0-9_-]{1,128}$")
IDENTITY = re.compile(r"^[a-zA-Z0-9_-]+$")
EFFORTS = ("low", "medium", "high", "xhigh", "max")
PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def read(body, model, version, counting=False):
    """What a checked request asks for."""
    must(version in VERSIONS, f"anthropic-version: {version} is not a valid version")
    only(body, MEMBERS)
    sampling(body, model, version)
    if not counting:
        must(isinstance(body.get("max_tokens"), int), "max_tokens: Field required")
    must(body.get("messages"), "messages: at least one message is required")
    ask = Ask(system=system(body.get("system")), turns=len(body["messages"]))
    ask.tools = tools(body)
    ask.forced = choice(body, ask.tools)
    ask.thinking = thinking(body, model)
    ask.schema = output(body, model)
    options(body)
    Conversation(body, ask, model).check()
    return ask


def sampling(body, model, version):
    """The version and the model decide whether there are sampling parameters at all."""
    for name in SAMPLING:
        if name in body:
            must(version == VERSIONS[0], f"{name}: Extra inputs are not permitted")
            must(SAMPLED.match(model), f"{name}: this model does not support sampling parameters")


def system(value):
    """The text of a system prompt."""
    if value is None or isinstance(value, str):
        return value or ""
    for block in value:
        only(block, ("type", "text", "cache_control", "citations"), "system.")
        must(block["type"] == "text" and block["text"].strip(), "system: text content blocks must be non-empty")
    return "\n".join(block["text"] for block in value)


def tools(body):
    """The names of the tools; those of the server have a type with a date."""
    names = []
    for tool in body.get("tools", []):
        if tool.get("type", "custom") == "custom":
            allowed = "type name description input_schema strict cache_control defer_loading eager_input_streaming"
            only(tool, allowed.split() + ["input_examples", "allowed_callers"], "tools.")
            schema = tool.get("input_schema")
            must(isinstance(schema, dict), f"tools.{tool.get('name')}.input_schema: Field required")
            must(schema.get("type") == "object", "tools.input_schema.type: Input should be 'object'")
        must(NAME.match(tool.get("name", "")), f"tools.name: {tool.get('name')!r} does not match the pattern")
        names.append(tool["name"])
    must(len(set(names)) == len(names), "tools: Tool names must be unique.")
    return names


def choice(body, names):
    """The tool that is forced, if any."""
    value = body.get("tool_choice")
    if value is None:
        return None
    must(isinstance(value, dict), "tool_choice: Input should be an object")
    kind = value.get("type")
    must(kind in ("auto", "any", "tool", "none"), f"tool_choice.type: {kind!r} is not known")
    must(names or kind == "none", "tool_choice: may only be specified while providing tools")
    only(
        value,
        {"tool": ("type", "name", "disable_parallel_tool_use"), "none": ("type",)}.get(
            kind, ("type", "disable_parallel_tool_use")
        ),
        "tool_choice.",
    )
    if kind in ("any", "tool"):
        on = (body.get("thinking") or {}).get("type", "disabled") != "disabled"
        must(not on, "Thinking may not be enabled when tool_choice forces tool use.")
    if kind == "tool":
        must(value.get("name") in names, f"tool_choice: Tool '{value.get('name')}' not found in provided tools")
    return value.get("name")


def thinking(body, model):
    """Whether thoughts are to be seen."""
    value = body.get("thinking")
    if value is None:
        return False
    kind = value.get("type")
    if kind == "enabled":
        only(value, ("type", "budget_tokens", "display"), "thinking.")
        must(SAMPLED.match(model), '"thinking.type.enabled" is not supported for this model.')
        budget = value.get("budget_tokens", 0)
        must(budget >= 1024, "thinking.budget_tokens: Input should be greater than or equal to 1024")
        must(budget < body.get("max_tokens", budget + 1), "`max_tokens` must be greater than `thinking.budget_tokens`.")
        return True
    must(kind in ("adaptive", "disabled", "between_tools"), f"thinking.type: {kind!r} is not known")
    only(value, ("type", "display"), "thinking.")
    must(kind == "disabled" or not BUDGETED.match(model), f"{kind} thinking is not supported on this model")
    return kind != "disabled" and value.get("display") == "summarized"


def output(body, model):
    """The schema that the answer must have."""
    value = body.get("output_config") or {}
    only(value, ("effort", "format", "task_budget"), "output_config.")
    if "effort" in value:
        must(value["effort"] in EFFORTS, f"output_config.effort: {value['effort']!r} is not one of {EFFORTS}")
        must(not BUDGETED.match(model), "This model does not support the effort parameter.")
    form = value.get("format")
    if form is None:
        return None
    only(form, ("type", "schema"), "output_config.format.")
    must(form["type"] == "json_schema" and isinstance(form["schema"], dict), "output_config.format: not a schema")
    must("claude-3" not in model, "output_config.format is not supported on this model")
    return form["schema"]


def options(body):
    """The small ones."""
    for stop in body.get("stop_sequences") or []:
        must(stop.strip(), "stop_sequences: each stop sequence must contain non-whitespace")
    metadata = body.get("metadata") or {}
    only(metadata, ("user_id",), "metadata.")
    must("@" not in str(metadata.get("user_id")), "metadata.user_id: looks like an email address")
    must(body.get("service_tier", "auto") in ("auto", "standard_only"), "service_tier: not one of auto, standard_only")


class Conversation:
    """The turns, and what is open between them."""

    def __init__(self, body, ask, model):
        self.turns, self.ask = merged(body["messages"]), ask
        self.open, self.known, self.cached = [], set(), str(body).count("'cache_control': {")
        self.needs_thoughts = (body.get("thinking") or {}).get("type") == "enabled"
        self.prefill, self.ordered = SAMPLED.match(model), ORDERED.match(model)

    def check(self):
        """Turn by turn."""
        must(self.cached <= 4, f"A maximum of 4 blocks with cache_control may be provided. Found {self.cached}.")
        must(self.turns[0][0] == "user", 'messages: first message must use the "user" role')
        takers = {"user": self.user, "assistant": self.assistant, "system": self.order}
        for index, (role, blocks) in enumerate(self.turns):
            must(blocks, f"messages.{index}: all messages must have non-empty content")
            takers[role](index, blocks)
        must(not self.open, f"`tool_use` ids were found without `tool_result` blocks after them: {self.open}")
        must(self.turns[-1][0] != "assistant" or self.prefill, "This model does not support assistant message prefill.")
        if self.known:
            must(self.ask.tools, "Requests which have tool_use or tool_result blocks must define tools")

    def order(self, index, blocks):
        """What the system says later on."""
        must(self.ordered, f"messages.{index}.role: 'system' is not supported on this model")
        neighbours = [role for role, _ in self.turns[index - 1 : index + 2]]
        must(neighbours in (["user", "system"], ["user", "system", "assistant"]), f"messages.{index}: system misplaced")
        for block in blocks:
            text_of(block, index)

    def user(self, index, blocks):
        """Results first, one for each open call; then the rest."""
        results = [block for block in blocks if block["type"] == "tool_result"]
        must(
            all(block["type"] == "tool_result" for block in blocks[: len(results)]),
            f"messages.{index}: tool_result blocks must come first",
        )
        answered = [block.get("tool_use_id") for block in results]
        stray = [name for name in answered if name not in self.open]
        must(not stray, f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: {stray}")
        missing = [name for name in self.open if name not in answered]
        must(not missing, f"messages.{index}: `tool_use` ids without `tool_result` blocks immediately after: {missing}")
        must(len(set(answered)) == len(answered), f"messages.{index}: each tool_use must have a single result")
        self.open = []
        rest = blocks[len(results) :]
        texts = [text_of(block, index) for block in rest if block["type"] == "text"]
        if texts:
            self.ask.text = "\n".join(texts)
        self.ask.results = [result_text(block, index) for block in results]
        if not results:
            self.ask.images, self.ask.documents = [], []
        for block in rest:
            self.media(block, index)

    def media(self, block, index):
        """Pictures and documents."""
        if block["type"] == "image":
            only(block, ("type", "source", "cache_control"), f"messages.{index}.image.")
            self.ask.images.append(source(block["source"], PICTURES))
        elif block["type"] == "document":
            only(block, "type source title context citations cache_control".split(), f"messages.{index}.document.")
            self.ask.documents.append(source(block["source"], ("application/pdf", "text/plain")))
        else:
            must(block["type"] in ("text", "search_result"), f"messages.{index}: {block['type']!r} in a user turn")

    def assistant(self, index, blocks):
        """Thoughts must be signed, calls well-formed."""
        must(not self.open, f"messages.{index}: `tool_use` ids without `tool_result` blocks: {self.open}")
        for block in blocks:
            kind = block["type"]
            if kind == "text":
                text_of(block, index)
            elif kind == "thinking":
                only(block, ("type", "thinking", "signature"), f"messages.{index}.thinking.")
                must(
                    block.get("signature") == signature(block["thinking"]),
                    f"messages.{index}: Invalid `signature` in `thinking` block",
                )
            elif kind == "tool_use":
                self.call(index, block)
            else:
                must(kind == "redacted_thinking", f"messages.{index}: {kind!r} in an assistant turn")
        if self.open and self.needs_thoughts:
            must(blocks[0]["type"].endswith("thinking"), f"messages.{index}: Expected `thinking`, but found `text`.")

    def call(self, index, block):
        """A call to be answered."""
        only(block, ("type", "id", "name", "input", "cache_control", "caller"), f"messages.{index}.tool_use.")
        must(IDENTITY.match(block.get("id", "")), f"messages.{index}.tool_use.id: {block.get('id')!r} no match")
        must(NAME.match(block.get("name", "")), f"messages.{index}.tool_use.name: {block.get('name')!r} no match")
        must(isinstance(block.get("input"), dict), f"messages.{index}.tool_use.input: Input should be an object")
        must(block["id"] not in self.known, "messages: `tool_use` ids must be unique")
        self.known.add(block["id"])
        self.open.append(block["id"])


def merged(messages):
    """Turns with blocks: the API itself merges neighbours of one role."""
    turns = []
    for index, message in enumerate(messages):
        only(message, ("role", "content"), f"messages.{index}.")
        role, content = message["role"], message["content"]
        must(role in ("user", "assistant", "system"), f"messages.{index}.role: {role!r} is not known")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, list(blocks)))
    return turns


def text_of(block, index):
    """A text, never blank."""
    only(block, ("type", "text", "cache_control", "citations"), f"messages.{index}.text.")
    must(block["text"].strip(), f"messages.{index}: text content blocks must contain non-whitespace text")
    return block["text"]


def result_text(block, index):
    """What a tool said."""
    only(block, ("type", "tool_use_id", "content", "is_error", "cache_control"), f"messages.{index}.tool_result.")
    content = block.get("content", "")
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content)
    return ("error: " if block.get("is_error") else "") + content


def source(value, kinds):
    """A picture or a document by value or by address."""
    if value["type"] == "url":
        only(value, ("type", "url"), "source.")
        return "url", value["url"]
    if value["type"] == "text":
        return "text", value["data"]
    only(value, ("type", "media_type", "data"), "source.")
    must(value["type"] == "base64" and value["media_type"] in kinds, f"source.media_type: {value.get('media_type')!r}")
    return picture(value["media_type"], value["data"])
