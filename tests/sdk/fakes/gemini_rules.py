"""What Gemini's generateContent takes: `read` checks a body as the API does, and says what it asks for.

Rules: the API reference (v1beta), the pages on function calling, thinking and thought signatures; what the server says
to unknown names is the error of its JSON reader.
"""

import re

from .base import Refused, must
from .plan import Ask, picture, signature

MEMBERS = "contents systemInstruction tools toolConfig safetySettings generationConfig cachedContent labels".split()
SETTINGS = """stopSequences responseMimeType responseSchema responseJsonSchema responseModalities thinkingConfig
    candidateCount maxOutputTokens temperature topP topK seed presencePenalty frequencyPenalty responseLogprobs logprobs
    speechConfig imageConfig mediaResolution""".split()
PARTS = "text thought thoughtSignature inlineData fileData functionCall functionResponse mediaResolution".split()
# The OpenAPI subset of `parameters`; `parametersJsonSchema` and `responseJsonSchema` take real JSON Schema.
SCHEMA = """type format title description nullable enum maxItems minItems properties required minProperties
    maxProperties minLength maxLength pattern example anyOf propertyOrdering default items minimum maximum""".split()
FREE = ("args", "response", "parametersJsonSchema", "responseJsonSchema", "labels")
MODES = ("AUTO", "ANY", "NONE", "VALIDATED")
NAME = re.compile(r"^[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}$")
DUMMIES = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH")
MEDIA = re.compile(r"^(image/(png|jpeg|webp|heic|heif)|audio/.+|video/.+|application/pdf|text/plain)$")


def camel(value):
    """Google's JSON readers take names with underscores as well; names inside of free-form values are the caller's."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {re.sub(r"_(\w)", lambda found: found[1].upper(), name): item for name, item in value.items()}
    properties = {name: camel(item) for name, item in named.pop("properties", {}).items()}
    named = {name: item if name in FREE else camel(item) for name, item in named.items()}
    return named | ({"properties": properties} if properties else {})


def known(members, allowed, where):
    """Unknown names are refused."""
    must(isinstance(members, dict), f"Invalid value at '{where}'")
    for name in members:
        must(
            name in allowed, f"Invalid JSON payload received. Unknown name \"{name}\" at '{where}': Cannot find field."
        )


def read(body, model, vertex=False):
    """What a checked request asks for."""
    body = camel(body)
    known(body, MEMBERS + ([] if vertex else ["serviceTier"]), "")
    must("labels" not in body or vertex, 'Invalid JSON payload received. Unknown name "labels": Cannot find field.')
    must(body.get("contents"), "* GenerateContentRequest.contents: contents is not specified")
    ask = Ask(system=system(body.get("systemInstruction")), turns=len(body["contents"]))
    ask.tools = tools(body.get("tools") or [])
    ask.forced = choice(body.get("toolConfig") or {}, ask.tools)
    settings(body.get("generationConfig") or {}, model, ask)
    Contents(body["contents"], ask, model).check()
    return ask


def new(model):
    """Gemini 3 and later."""
    return not re.match(r"gemini-[12]", model)


def system(value):
    """The text of the system instruction."""
    if value is None:
        return ""
    known(value, ("role", "parts"), "system_instruction")
    must(value.get("parts"), "system_instruction: must have parts")
    return "\n".join(part["text"] for part in value["parts"])


def tools(groups):
    """The names of the functions."""
    names = []
    for group in groups:
        known(group, "functionDeclarations googleSearch codeExecution urlContext".split(), "tools[0]")
        for function in group.get("functionDeclarations", []):
            known(
                function,
                "name description parameters parametersJsonSchema response responseJsonSchema behavior".split(),
                "tools[0]",
            )
            must(NAME.match(function.get("name", "")), f"Invalid function name: {function.get('name')!r}")
            must(not {"parameters", "parametersJsonSchema"} <= set(function), "both parameters and a JSON Schema")
            subset(function.get("parameters"), "tools[0].function_declarations[0].parameters")
            names.append(function["name"])
    must(len(set(names)) == len(names), "Duplicate function declaration found")
    return names


def subset(schema, where):
    """The OpenAPI subset, all the way down."""
    if schema is None:
        return
    known(schema, SCHEMA, where)
    must(
        isinstance(schema.get("type", "OBJECT"), str), f"Invalid value at '{where}.type': Proto field is not repeating"
    )
    must(str(schema.get("type")).upper() != "ARRAY" or "items" in schema, f"{where}.items: missing field.")
    for name, inner in schema.get("properties", {}).items():
        subset(inner, f"{where}.properties[{name}]")
    subset(schema.get("items"), f"{where}.items")
    for inner in schema.get("anyOf", []):
        subset(inner, f"{where}.any_of")


def choice(config, names):
    """The function that is forced, if any."""
    known(config, ("functionCallingConfig", "retrievalConfig"), "tool_config")
    calling = config.get("functionCallingConfig") or {}
    known(calling, ("mode", "allowedFunctionNames"), "tool_config.function_calling_config")
    must(calling.get("mode", "AUTO") in MODES, f"Invalid value at 'mode': {calling.get('mode')!r}")
    allowed = calling.get("allowedFunctionNames") or []
    must(not allowed or calling.get("mode") in ("ANY", "VALIDATED"), "allowed_function_names needs mode ANY")
    must(set(allowed) <= set(names), f"allowed_function_names: {allowed} are not all declared")
    must(names or calling.get("mode") != "ANY", "Function calling config is set without function_declarations.")
    return allowed[0] if allowed else None


def settings(config, model, ask):
    """generationConfig."""
    known(config, SETTINGS, "generation_config")
    must(len(config.get("stopSequences") or []) <= 5, "stop_sequences: at most 5")
    if new(model):
        must(not {"presencePenalty", "frequencyPenalty"} & set(config), "Penalty is not enabled for this model")
    thinking = config.get("thinkingConfig") or {}
    known(thinking, ("includeThoughts", "thinkingBudget", "thinkingLevel"), "generation_config.thinking_config")
    must(not {"thinkingBudget", "thinkingLevel"} <= set(thinking), "thinking_budget and thinking_level are exclusive")
    if "thinkingLevel" in thinking:
        must(thinking["thinkingLevel"].upper() in LEVELS, f"thinking_level: {thinking['thinkingLevel']!r}")
        must(new(model), "Thinking level is not supported for this model.")
    ask.thinking = bool(thinking.get("includeThoughts"))
    ask.schema = config.get("responseJsonSchema") or config.get("responseSchema")
    mime = config.get("responseMimeType", "text/plain")
    must(
        ask.schema is None or mime == "application/json", "a response schema needs response_mime_type application/json"
    )
    subset(config.get("responseSchema"), "generation_config.response_schema")
    must(
        new(model) or not ask.tools or mime != "application/json",
        "Function calling with a response mime type: 'application/json' is unsupported",
    )


class Contents:
    """The turns, and the calls that are open between them."""

    def __init__(self, contents, ask, model):
        self.turns, self.ask, self.model, self.open = merged(contents), ask, model, []

    def check(self):
        """Turn by turn."""
        for index, (role, parts) in enumerate(self.turns):
            where = f"contents[{index}]"
            must(index or role == "user", f"{where}: the first turn must be the user's")
            must(parts, f"* GenerateContentRequest.{where}.parts: contents.parts must not be empty.")
            for part in parts:
                data(part, where)
            (self.user if role == "user" else self.answered)(parts, where)
        must(self.turns[-1][0] == "user", "the last turn must be the user's")

    def user(self, parts, where):
        """As many responses as there were calls, in their order, by their names."""
        responses = [part["functionResponse"] for part in parts if "functionResponse" in part]
        must(
            len(responses) == len(self.open),
            "Please ensure that the number of function response parts is equal to "
            f"the number of function call parts of the function call turn. ({len(responses)}, {len(self.open)})",
        )
        for response, call in zip(responses, self.open):
            known(response, ("id", "name", "response", "scheduling", "parts"), where)
            must(response.get("name") == call["name"], f"{where}: a response named {response.get('name')!r} to {call}")
            must(isinstance(response.get("response"), dict), f"Invalid value at '{where}.function_response.response'")
            must(new(self.model) or "id" not in response, f"Unknown name \"id\" at '{where}.function_response'")
            must(response.get("id") in (None, call.get("id")), f"{where}: response id {response.get('id')!r} to {call}")
        self.open = []
        self.ask.results = [said(response["response"]) for response in responses]
        texts = [part["text"] for part in parts if "text" in part]
        if texts:
            self.ask.text = "\n".join(texts)
        self.ask.images = [found for part in parts if (found := media(part, "image/"))]
        self.ask.documents = [found for part in parts if (found := media(part, "application/"))]

    def answered(self, parts, where):
        """The model's turn: the first call of a turn is signed on Gemini 3."""
        must(not self.open, f"{where}: function calls are not answered")
        calls = [part for part in parts if "functionCall" in part]
        for part in calls:
            call = part["functionCall"]
            known(call, ("id", "name", "args"), f"{where}.function_call")
            must(isinstance(call.get("args", {}), dict), f"Invalid value at '{where}.function_call.args'")
            must(new(self.model) or "id" not in call, f"Unknown name \"id\" at '{where}.function_call'")
        if calls and new(self.model):
            mark = calls[0].get("thoughtSignature", "").replace("-", "+").replace("_", "/")
            name = calls[0]["functionCall"]["name"]
            must(mark, f"Function call `{name}` in the 1. content block is missing a `thought_signature`.")
            must(
                mark in (signature(name), *(name.replace("_", "/") for name in DUMMIES)),
                f"Thought signature is not valid: {mark!r}",
            )
            must(not [p for p in calls[1:] if p.get("thoughtSignature") in DUMMIES], "a dummy on a sibling call")
            self.ask.dummy = mark != signature(name)
        self.open = [part["functionCall"] for part in calls]


def merged(contents):
    """Turns with parts: neighbours of one role are one turn, since Google's own SDK sends them so after a stream."""
    turns = []
    for index, content in enumerate(contents):
        known(content, ("role", "parts"), f"contents[{index}]")
        role = content.get("role", "user")
        must(role in ("user", "model"), "Please use a valid role: user, model.")
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(content.get("parts") or [])
        else:
            turns.append((role, list(content.get("parts") or [])))
    return turns


def data(part, where):
    """One datum a part; a text may be empty only to carry a signature."""
    known(part, PARTS, f"{where}.parts[0]")
    kinds = {"text", "inlineData", "fileData", "functionCall", "functionResponse"} & set(part)
    must(len(kinds) == 1, f"{where}.parts[0]: required oneof field 'data' must have one initialized field")
    must(part.get("text") != "" or "thoughtSignature" in part, f"{where}: the text parameter is empty")


def media(part, kind):
    """A picture or a document, by value or by address."""
    if "fileData" in part:
        known(part["fileData"], ("fileUri", "mimeType", "displayName"), "file_data")
        found = part["fileData"]
        return ("url", found["fileUri"]) if found.get("mimeType", "").startswith(kind) else None
    if "inlineData" not in part:
        return None
    found = part["inlineData"]
    known(found, ("mimeType", "data", "displayName"), "inline_data")
    if not MEDIA.match(found.get("mimeType", "")):
        raise Refused(400, f"Unsupported MIME type: {found.get('mimeType')}")
    return picture(found["mimeType"], found["data"]) if found["mimeType"].startswith(kind) else None


def said(response):
    """A result as text: `output` or `error` is what a plain text is wrapped in."""
    for name, prefix in (("output", ""), ("result", ""), ("error", "error: ")):
        if name in response:
            return prefix + str(response[name])
    return str(response)
