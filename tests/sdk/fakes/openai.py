"""OpenAI, and Azure in front of the same: keys, paths, models and errors. The bodies are in `chat` and `responses`."""

import re

from . import chat, responses
from .base import Exchange, Refused, must, only
from .plan import DRAWN, FAULTS, vector

KINDS = {401: "invalid_request_error", 429: "requests", 500: "server_error", 529: "server_error"}
MODELS = ["gpt-5.2", "gpt-4.1"]
PICTURE = "model prompt n size quality output_format output_compression background moderation user".split()
EMBEDDING = "model input encoding_format dimensions user".split()
DEPLOYMENT = re.compile(r"^/openai/deployments/([^/]+)/(chat/completions|embeddings)$")


class OpenAi(Exchange):
    """One connection to api.openai.com."""

    azure = False

    def refusal(self, refused):
        """OpenAI's shape."""
        kind = KINDS.get(refused.status, "invalid_request_error")
        return {"error": {"message": refused.message, "type": kind, "param": None, "code": refused.code}}

    def listing(self, call):
        """The models."""
        self.admit(call)
        must(call.path.endswith("/models"), "no such path")
        data = [{"id": name, "object": "model", "created": 1790000000, "owned_by": "fake"} for name in MODELS]
        self.json(200, {"object": "list", "data": data})

    def admit(self, call):
        """The key."""
        if not call.headers.get("authorization", "").startswith("Bearer sk-upstream-"):
            raise Refused(401, "Incorrect API key provided", "invalid_api_key")

    def place(self, call):
        """The operation and the model."""
        must(call.path.startswith("/v1/"), f"no such path: {call.path}")
        return call.path.removeprefix("/v1/"), call.json.get("model")

    def take(self, call):
        """Chat, responses, embeddings."""
        self.admit(call)
        body = call.parsed()
        operation, model = self.place(call)
        must(isinstance(model, str) and model, "you must provide a model parameter")
        if operation == "embeddings":
            return self.embed(body, model)
        if operation == "images/generations":
            only(body, PICTURE)
            return self.json(200, {"created": 1790000000, "data": [{"b64_json": DRAWN}]})
        if operation not in ("chat/completions", "responses"):
            raise Refused(404, f"no such path: {call.path}")
        native = operation == "responses"
        ask = responses.read(body) if native else chat.read(body, model)
        call.mark = ask.mark[0]
        status, message = FAULTS.get(call.mark, (200, ""))
        if status != 200:
            raise Refused(status, message, **({"retry_after": "41"} if status == 429 else {}))
        if not body.get("stream"):
            return self.json(200, responses.whole(ask, body, model) if native else chat.whole(ask, model))
        return self.stream(
            *(responses.frames(ask, body, model) if native else chat.frames(ask, body, model, self.azure))
        )

    def embed(self, body, model):
        """Vectors."""
        only(body, EMBEDDING)
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [
            {"object": "embedding", "index": index, "embedding": vector(body.get("encoding_format"))}
            for index, _ in enumerate(inputs)
        ]
        self.json(
            200, {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": 4, "total_tokens": 4}}
        )


class Azure(OpenAi):
    """One connection to a resource of Azure: a header of its own, and deployments in the path or in the body."""

    azure = True
    request_id = "apim-request-id"

    def admit(self, call):
        """The key."""
        if not call.headers.get("api-key", "").startswith("sk-upstream-"):
            raise Refused(401, "Access denied due to invalid subscription key", "401")

    def place(self, call):
        """Deployments have a dated version in the query, the paths of v1 have none."""
        if call.path.startswith("/openai/v1/"):
            must(call.query.get("api-version", "preview") in ("preview", "latest"), "api-version is not for v1")
            return call.path.removeprefix("/openai/v1/"), call.json.get("model")
        if not re.match(r"^20\d\d-\d\d-\d\d(-preview)?$", call.query.get("api-version", "")):
            raise Refused(404, "Resource not found: api-version", "404")
        found = DEPLOYMENT.match(call.path)
        if found:
            must(found[1] == "prod", f"The API deployment {found[1]} for this resource does not exist.")
            return found[2], "gpt-4.1"
        return call.path.removeprefix("/openai/"), call.json.get("model")
