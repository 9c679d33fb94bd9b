"""Every kind of provider behind one router, and that router behind another: what the suites with real SDKs run against.

A target is a model name that clients ask for, and whose place is one provider. `faulty` names belong to credentials of
their own, so that a cool-down meets nobody else; there are two of each, since a lone one would wait for its end.
"""

import contextlib
import dataclasses
import json
import pathlib
import tempfile

import router as routers
from fakes.base import Provider
from fakes.gemini import Gemini, Vertex
from fakes.messages import Anthropic
from fakes.openai import Azure, OpenAi

ACCOUNT = pathlib.Path(__file__).resolve().parents[1] / "it" / "support" / "service-account.json"
FAKES = {"openai": OpenAi, "azure": Azure, "anthropic": Anthropic, "gemini": Gemini, "vertex-ai": Vertex}


@dataclasses.dataclass(frozen=True)
class Target:
    """A model somewhere. `wire` is what its provider speaks, `old` says that it is of a generation before."""

    name: str
    provider: str
    model: str
    wire: str
    old: bool = False
    proxied: bool = False


PLACES = [
    Target("at-openai", "openai", "gpt-5.2", "openai"),
    Target("at-openai-old", "openai", "gpt-4.1", "openai", old=True),
    Target("at-azure", "azure", "prod", "openai", old=True),
    Target("at-anthropic", "anthropic", "claude-opus-5", "anthropic"),
    Target("at-anthropic-old", "anthropic", "claude-sonnet-4-5", "anthropic", old=True),
    Target("at-gemini", "gemini", "gemini-3-pro-preview", "gemini"),
    Target("at-gemini-old", "gemini", "gemini-2.5-flash", "gemini", old=True),
    Target("at-vertex", "vertex-ai", "gemini-3-flash", "gemini"),
    Target("at-vertex-claude", "vertex-ai", "claude-opus-5@20260901", "anthropic"),
]
PROXIED = [dataclasses.replace(place, proxied=True) for place in PLACES if not place.old]
TARGETS = PLACES + PROXIED
EMBEDDERS = {
    "openai": "text-embedding-3-small",
    "azure": "prod",
    "gemini": "gemini-embedding-001",
    "vertex-ai": "text-embedding-005",
}
PAINTERS = {"openai": "gpt-image-2", "gemini": "gemini-2.5-flash-image", "vertex-ai": "imagen-4.0-generate-001"}


def label(target):
    """How a target is named in a report."""
    return f"{'proxy>' if target.proxied else ''}{target.name.removeprefix('at-')}"


class Stage:
    """Where a suite's requests end, and the base URL of the router to ask. Each suite adds its client."""

    def __init__(self, fleet, target):
        self.fleet, self.target = fleet, target
        self.url = fleet.router(target).url

    def __str__(self):
        return label(self.target)


def play(title, check, stage, binary):
    """Runs every check on a stage at every target. The exit code."""
    with Fleet(binary) as fleet:
        failed = check.run(title, [stage(fleet, target) for target in TARGETS])
        if failed:
            print(fleet.inner.tail())
    return 1 if failed else 0


class Fleet(contextlib.ExitStack):
    """The fakes, the router before them, and the router before that one."""

    def __init__(self, binary):
        super().__init__()
        self.fakes = {name: Provider(exchange) for name, exchange in FAKES.items()}
        self.account = tempfile.NamedTemporaryFile("w", suffix=".json")  # pylint: disable=consider-using-with
        key = json.loads(ACCOUNT.read_text(encoding="utf-8"))
        key |= {"client_email": "robot@proj.example", "token_uri": self.fakes["vertex-ai"].url + "/token"}
        json.dump(key, self.account)
        self.account.flush()
        self.enter_context(self.account)
        self.inner = self.enter_context(routers.Router(binary, "", self.credentials()))
        proxy = "  - {{name: %s, type: proxy, api_key: %s, base_url: 'http://127.0.0.1:%d'}}\n"
        proxies = "".join(proxy % (name, routers.KEY, self.inner.port) for name in ("next", "other"))
        self.outer = self.enter_context(routers.Router(binary, "", proxies))

    def credentials(self):
        """One credential for the good days of each provider, and two for its bad ones."""
        lines = []
        for name in FAKES:
            places = [place for place in PLACES if place.provider == name]
            good = {place.name: place.model for place in places}
            if name in EMBEDDERS:
                good[f"embed-{name}"] = EMBEDDERS[name]
            if name in PAINTERS:
                good[f"draw-{name}"] = PAINTERS[name]
            lines.append(self.credential(name, name, good))
            lines += [
                self.credential(f"{place.name}-{twin}", name, {f"{place.name}-faulty": place.model})
                for place in places
                for twin in "ab"
            ]
        return "".join(lines)

    def credential(self, name, kind, models):
        """One in YAML."""
        entry = {
            "name": name,
            "type": kind,
            "models": [{here: there} for here, there in models.items()],
            "base_url": self.fakes[kind].url,
        }
        if kind == "vertex-ai":
            entry |= {"credentials_file": self.account.name, "project_id": "proj", "location": "global"}
        else:
            entry["api_key"] = f"sk-upstream-{kind}-0123456789"
        return f"  - {json.dumps(entry)}\n".replace("{", "{{").replace("}", "}}")

    def router(self, target):
        """The router to ask for a target."""
        return self.outer if target.proxied else self.inner

    def calls(self, target, mark):
        """What the provider saw of prompts with this mark."""
        return self.fakes[target.provider].seen(mark)
