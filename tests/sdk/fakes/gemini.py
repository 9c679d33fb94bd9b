"""Gemini at AI Studio and at Vertex AI, with Claude there and Google's token endpoint. Shapes: API reference of each.

Usage in a stream is restated by every event, and the last one is true.
"""

import base64
import json
import re
import urllib.parse

from . import gemini_rules as rules
from . import messages, messages_rules
from .base import Exchange, Refused, event, must, only
from .plan import CACHED, DRAWN, FAULTS, OUTPUT, PROMPT, REASONING, decide, identity, signature, vector

STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
FINISH = {"stop": "STOP", "tool": "STOP", "length": "MAX_TOKENS"}
STUDIO = re.compile(r"^/v1(?:beta)?/models/([^/:]+):(\w+)$")
VERTEX = re.compile(r"^/v1(?:beta1)?/projects/proj/locations/([\w-]+)/publishers/(\w+)/models/([^/:]+):(\w+)$")
MODELS = ["gemini-3-pro-preview", "gemini-2.5-flash"]
RATIOS = "1:1 2:3 3:2 3:4 4:3 4:5 5:4 9:16 16:9 21:9".split()
METHODS = ["generateContent", "countTokens"]


class Google(Exchange):
    """What both have in common."""

    vertex = False

    def refusal(self, refused):
        """Google's shape; the time to wait is in the details."""
        details = []
        if refused.status == 429:
            details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "41s"}]
        if refused.code:
            details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": refused.code}]
        return problem(refused.status, refused.message, details)

    def generate(self, call, model, method):
        """Everything that a Gemini model does."""
        body = call.parsed()
        if method == "countTokens":
            return self.json(200, {"totalTokens": PROMPT})
        streamed = method == "streamGenerateContent"
        must(streamed or method == "generateContent", f"no such method: {method}")
        ask = rules.read(body, model, self.vertex)
        if "flash-image" in model:
            return self.json(200, painted(body, ask, self.vertex))
        call.mark, call.dummy = ask.mark[0], getattr(ask, "dummy", False)
        status, message = FAULTS.get(call.mark, (200, ""))
        if status != 200:
            raise Refused(503 if status == 529 else status, message)
        reply = decide(ask)
        if not streamed:
            return self.json(200, whole(reply, model))
        must(call.query.get("alt") == "sse", "this fake streams as events only")
        return self.stream(frames(reply, model), reply.fault)


class Gemini(Google):
    """One connection to generativelanguage.googleapis.com."""

    def admit(self, call):
        """The key is in its own header, and never in the address. A wrong one is a 400."""
        must("key" not in call.query, "the key is in the address, where logs keep it")
        if not call.headers.get("x-goog-api-key", "").startswith("sk-upstream-"):
            raise Refused(400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID")

    def listing(self, call):
        """The models."""
        self.admit(call)
        data = [
            {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": METHODS} for name in MODELS
        ]
        self.json(200, {"models": data})

    def take(self, call):
        """Contents and embeddings."""
        self.admit(call)
        found = STUDIO.match(urllib.parse.unquote(call.path))
        if not found:
            raise Refused(404, f"no such path: {call.path}")
        model, method = found.groups()
        if method == "batchEmbedContents":
            return self.json(200, {"embeddings": [embedded(item, model) for item in call.parsed()["requests"]]})
        if method == "embedContent":
            return self.json(200, {"embedding": embedded(call.parsed() | {"model": f"models/{model}"}, model)})
        return self.generate(call, model, method)


class Vertex(Google):
    """One connection to aiplatform.googleapis.com, and to Google's token endpoint at `/token`."""

    vertex = True
    publisher = "google"

    def refusal(self, refused):
        """Claude's errors are Anthropic's own."""
        if self.publisher == "anthropic":
            return messages.problem(refused.status, refused.message)
        return super().refusal(refused)

    def take(self, call):
        """A token, or a model's answer."""
        self.publisher = "google"
        if call.path == "/token":
            return self.token(call)
        if call.headers.get("authorization") != "Bearer ya29.fake":
            raise Refused(401, "Request had invalid authentication credentials.")
        found = VERTEX.match(urllib.parse.unquote(call.path))
        if not found:
            raise Refused(404, f"no such path: {call.path}")
        _, self.publisher, model, method = found.groups()
        if self.publisher == "anthropic":
            return self.claude(call, model, method)
        if method == "predict" and model.startswith("imagen"):
            return self.json(200, {"predictions": imagined(call.parsed())})
        if method == "predict":
            data = [predicted(item) for item in call.parsed()["instances"]]
            return self.json(200, {"predictions": data})
        return self.generate(call, model, method)

    def claude(self, call, model, method):
        """Anthropic's body without the model, with the version in it."""
        body = call.parsed()
        if model == "count-tokens":
            return self.json(200, {"input_tokens": PROMPT})
        must("model" not in body, "model: Extra inputs are not permitted")
        version = body.pop("anthropic_version", None)
        must(version, "anthropic_version: Field required")
        old = version in ("vertex-2023-10-16", "2023-06-01")
        streamed = method == "streamRawPredict"
        must(streamed == bool(body.get("stream")), f"{method} with stream: {body.get('stream')}")
        ask = messages_rules.read(body, model, "2023-06-01" if old else version)
        call.mark = ask.mark[0]
        return messages.answer(self, ask, body, model)

    def token(self, call):
        """A signed assertion for an access token; the signature is not looked at."""
        form = dict(urllib.parse.parse_qsl(call.body.decode()))
        must(form.get("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer", "unsupported_grant_type")
        head, claims, _ = (part + "=" * (-len(part) % 4) for part in form["assertion"].split("."))
        must(json.loads(base64.urlsafe_b64decode(head))["alg"] == "RS256", "the algorithm is not RS256")
        claims = json.loads(base64.urlsafe_b64decode(claims))
        must(claims["iss"] == "robot@proj.example" and claims["aud"].endswith("/token"), f"wrong claims: {claims}")
        must("cloud-platform" in claims["scope"], "wrong scope")
        self.json(200, {"access_token": "ya29.fake", "expires_in": 3599, "token_type": "Bearer"})


def problem(status, message, details=()):
    """An error."""
    error = {"code": status, "message": message, "status": STATUS.get(status, "UNKNOWN"), "details": list(details)}
    return {"error": error}


def embedded(item, model):
    """One embedding."""
    only(item, "model content taskType title outputDimensionality".split(), "requests.")
    must(item["model"] == f"models/{model}", f"model: {item['model']}")
    must(all(part["text"] for part in item["content"]["parts"]), "content: empty text")
    return {"values": vector()}


def predicted(item):
    """One embedding of Vertex AI."""
    must(item.get("content"), "instances.content: missing")
    return {"embeddings": {"values": vector(), "statistics": {"token_count": 4, "truncated": False}}}


def painted(body, ask, vertex):
    """A picture of Gemini's: one of its own, or those that it was sent."""
    config = body["generationConfig"]
    must("IMAGE" in config["responseModalities"], "this model draws")
    only(config, ["responseModalities", "imageConfig"], "generationConfig.")
    allowed = "aspectRatio imageSize".split() + ["imageOutputOptions"] * vertex
    only(config.get("imageConfig") or {}, allowed, "imageConfig.")
    must(config.get("imageConfig", {}).get("aspectRatio", "1:1") in RATIOS, "imageConfig.aspectRatio")
    if ask.mark[0] == "blocked":
        return {"candidates": [{"finishReason": "IMAGE_SAFETY", "finishMessage": "Try another prompt.", "index": 0}]}
    sent = [part for content in body["contents"] for part in content["parts"] if "inlineData" in part]
    parts = sent if ask.mark[0] == "echo" else [{"inlineData": {"mimeType": "image/png", "data": DRAWN}}]
    counts = {"promptTokenCount": PROMPT, "candidatesTokenCount": OUTPUT, "totalTokenCount": PROMPT + OUTPUT}
    content = {"role": "model", "parts": parts}
    return {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}], "usageMetadata": counts}


def imagined(body):
    """Pictures of Imagen's."""
    only(body, ["instances", "parameters"])
    parameters = body["parameters"]
    only(parameters, "sampleCount aspectRatio sampleImageSize outputOptions includeRaiReason".split(), "parameters.")
    must(parameters["aspectRatio"] in ("1:1", "3:4", "4:3", "9:16", "16:9"), "parameters.aspectRatio")
    must(1 <= parameters["sampleCount"] <= 4, "parameters.sampleCount")
    must([*body["instances"][0]] == ["prompt"], "instances.prompt")
    return [{"mimeType": "image/png", "bytesBase64Encoded": DRAWN}] * parameters["sampleCount"]


def usage(reply):
    """Thoughts are not among the candidates' tokens here."""
    thought = REASONING if reply.thoughts else 0
    figures = {
        "promptTokenCount": PROMPT,
        "cachedContentTokenCount": CACHED,
        "candidatesTokenCount": OUTPUT - thought,
        "totalTokenCount": PROMPT + OUTPUT,
    }
    return figures | ({"thoughtsTokenCount": thought} if thought else {})


def parts(reply, model):
    """The parts of an answer; the first call is signed, and has an id, from Gemini 3 on."""
    yield from ({"text": word, "thought": True} for word in reply.thoughts)
    yield from ({"text": word} for word in reply.words)
    for number, (name, arguments) in enumerate(reply.calls):
        call = {"name": name, "args": arguments}
        if rules.new(model):
            call["id"] = identity("")
        signed = {"thoughtSignature": signature(name)} if rules.new(model) and number == 0 else {}
        yield {"functionCall": call} | signed


def answer(model, content, finish, figures):
    """A GenerateContentResponse."""
    candidate = {"content": {"role": "model", "parts": content}, "index": 0}
    candidate |= {"finishReason": finish} if finish else {}
    return {"candidates": [candidate], "usageMetadata": figures, "modelVersion": model, "responseId": "gemini-fake"}


def whole(reply, model):
    """An answer that is not streamed: neighbouring texts are one part."""
    content = []
    for part in parts(reply, model):
        last = content[-1] if content else {}
        if "text" in part and "text" in last and part.get("thought") == last.get("thought"):
            last["text"] += part["text"]
        else:
            content.append(part)
    return answer(model, content, FINISH[reply.finish], usage(reply))


def frames(reply, model):
    """A part an event. The finish is on the last one, which from Gemini 3 on is an empty text with a signature."""
    early = {"promptTokenCount": 99, "totalTokenCount": 99}
    pieces = list(parts(reply, model))
    pieces += [{"text": "", "thoughtSignature": signature("the end")}] if rules.new(model) else []
    events = [answer(model, [part], None, early) for part in pieces]
    if reply.fault:
        events = events[:2] + ([problem(503, "Overloaded")] if reply.fault == "error" else [])
    else:
        events[-1] = answer(model, [pieces[-1]], FINISH[reply.finish], usage(reply))
    return [event(body) for body in events]
