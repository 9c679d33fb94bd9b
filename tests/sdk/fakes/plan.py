"""What a fake model answers. Prompts choose: a user text with `do:tool` in it gets a tool call, and so on.

`Ask` is a request that a provider has checked and read; `Reply` is the answer before it is put on that provider's wire.
So every provider answers the same, and a test can hold the same expectations against all of them.
"""

import base64
import dataclasses
import hashlib
import json
import re
import struct
import uuid

WORDS = ["Hello", " from", " the", " provider", " – ünïcode 🦀"]
TEXT = "".join(WORDS)
THOUGHT = ["Let me", " think."]
STRUCTURED = {"city": "Oslo", "degrees": 7}
SCRIBBLE = 'print("hi")\n\t# ü'
VECTOR = [0.25, -0.5, 1.0]
DRAWN = base64.b64encode(b"\x89PNG\r\n\x1a\n and the rest").decode()
PROMPT, CACHED, WRITTEN, OUTPUT, REASONING = 11, 3, 2, 7, 2
MARKS = re.compile(r"do:([a-z0-9-]+)(?:\[([^\]\s]+)\])?")
FAULTS = {
    "400": (400, "the prompt is not to our taste"),
    "401": (401, "this key is not valid"),
    "429": (429, "slow down"),
    "500": (500, "something broke"),
    "529": (529, "Overloaded"),
}


@dataclasses.dataclass
class Ask:
    """A request, whatever the wire. `results` are the tool results after the last user text."""

    system: str = ""
    text: str = ""
    images: list = dataclasses.field(default_factory=list)
    documents: list = dataclasses.field(default_factory=list)
    tools: list = dataclasses.field(default_factory=list)
    results: list = dataclasses.field(default_factory=list)
    schema: dict | None = None
    thinking: bool = False
    forced: str | None = None
    turns: int = 0

    @property
    def mark(self):
        """What the prompt asks for, with its argument."""
        found = MARKS.findall(self.text)
        return found[-1] if found else ("text", "")


@dataclasses.dataclass
class Reply:
    """An answer, whatever the wire. `fault` is a way in which a stream goes wrong: `cut` or `error`."""

    words: list = dataclasses.field(default_factory=list)
    calls: list = dataclasses.field(default_factory=list)
    thoughts: list = dataclasses.field(default_factory=list)
    finish: str = "stop"
    fault: str | None = None

    @property
    def text(self):
        """All of it."""
        return "".join(self.words)


def decide(ask):
    """The answer to a request."""
    name, argument = ask.mark
    thoughts = THOUGHT if ask.thinking else []
    if name in ("tool", "two", "run") and not ask.results:
        return Reply(calls=calls(name, argument, ask), thoughts=thoughts, finish="tool")
    if name == "json" and ask.forced:
        return Reply(calls=[(ask.forced, STRUCTURED)], finish="tool")
    if ask.results:
        return Reply(words=["Results:", *(f" [{text}]" for text in ask.results)], thoughts=thoughts)
    if name == "image":
        return Reply(words=[f"{kind} {digest}" for kind, digest in ask.images])
    if name == "document":
        return Reply(words=[f"{kind} {digest}" for kind, digest in ask.documents])
    if ask.schema is not None:
        return Reply(words=[json.dumps(STRUCTURED)], thoughts=thoughts)
    if name == "system":
        return Reply(words=[ask.system])
    if name == "turns":
        return Reply(words=[str(ask.turns)])
    if name == "long":
        return Reply(words=WORDS, finish="length")
    return Reply(words=WORDS, thoughts=thoughts, fault=name if name in ("cut", "error") else None)


def calls(name, argument, ask):
    """Tool calls: `do:tool` one, `do:two` two at once, `do:run[PATH]` reads a file with whatever tool an agent has.

    `scribble` is a tool of plain text, which providers of functions only see as a function with an `input`.
    """
    if name == "run":
        return [agent_call(argument, ask.tools)]
    tool = ask.forced or (ask.tools[0] if ask.tools else "none")
    if tool == "scribble":
        return [(tool, {"input": SCRIBBLE})]
    cities = ["Oslo", "Lima"] if name == "two" else ["Oslo"]
    return [(tool, {"city": city}) for city in cities]


def agent_call(path, tools):
    """How Claude Code and Codex read a file."""
    if "Read" in tools:
        return "Read", {"file_path": path}
    if "exec_command" in tools:
        return "exec_command", {"cmd": f"cat {path}"}
    if "shell_command" in tools:
        return "shell_command", {"command": f"cat {path}"}
    return "shell", {"command": ["cat", path]}


def picture(kind, data):
    """What a picture is known by, its base64 being intact."""
    raw = base64.b64decode(data, validate=True)
    return kind, hashlib.sha256(raw).hexdigest()[:16]


def signature(text):
    """What a provider signs a thought with, and takes it back by."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def vector(form=None):
    """An embedding, in the encoding asked for."""
    if form == "base64":
        return base64.b64encode(struct.pack(f"<{len(VECTOR)}f", *VECTOR)).decode()
    return VECTOR


def identity(prefix):
    """An id for a tool call, which no other has: the router remembers signatures by them."""
    return prefix + uuid.uuid4().hex[:20]


def pieces(arguments):
    """Arguments as a stream has them: split inside of names and values."""
    text = json.dumps(arguments)
    return [text[:4], text[4:9], text[9:]]
