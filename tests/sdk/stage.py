"""Where the checks with the OpenAI Python SDK stand: a client, a target, and the words that many of them need."""

import pydantic
from openai import OpenAI

import checks
import fleet as fleets
import router as routers
from checks import TOOL, same
from fakes import plan

WEATHER = {"name": "weather", "description": "The weather of a city", "parameters": TOOL}
check = checks.Checks()


class Report(pydantic.BaseModel):
    """A structured answer."""

    city: str
    degrees: int


class Stage(fleets.Stage):
    """A client and where its requests end."""

    def __init__(self, fleet, target):
        super().__init__(fleet, target)
        self.client = OpenAI(api_key=routers.KEY, base_url=self.url, timeout=20, max_retries=0)

    def chat(self, content, **more):
        """A chat completion; `content` may be a whole history."""
        history = content if isinstance(content, list) else [{"role": "user", "content": content}]
        return self.client.chat.completions.create(**{"model": self.target.name} | more, messages=history)

    def respond(self, content, **more):
        """A response."""
        return self.client.responses.create(**{"model": self.target.name} | more, input=content)

    def faulty(self):
        """The model whose provider has a bad day."""
        return f"{self.target.name}-faulty"


def foreign(target):
    """Providers that do not speak OpenAI's API."""
    return target.wire != "openai"


def samples(target):
    """Places where a temperature can be asked for without a refusal by the provider itself."""
    return foreign(target) or target.old


def functions(**more):
    """The weather tool of a chat."""
    return {"tools": [{"type": "function", "function": WEATHER | more}]}


def texts(chunks):
    """The text of a chat stream."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def usage_is_told(usage, reasoning=0):
    """The figures of the plan, in OpenAI's sense of them."""
    found = (
        usage.prompt_tokens,
        usage.prompt_tokens_details.cached_tokens,
        usage.completion_tokens,
        usage.total_tokens,
    )
    same(found, (plan.PROMPT, plan.CACHED, plan.OUTPUT, plan.PROMPT + plan.OUTPUT))
    details = usage.completion_tokens_details
    same((details.reasoning_tokens or 0) if details else 0, reasoning)


def results(calls):
    """The tool messages that answer calls, each with what it was asked."""
    return [{"role": "tool", "tool_call_id": call.id, "content": f"sunny: {call.function.arguments}"} for call in calls]


def said(*cities):
    """The answer after results."""
    return "Results:" + "".join(f' [sunny: {{"city": "{city}"}}]' for city in cities)


def compact(text):
    """Without the blanks, which are no part of a JSON value."""
    return text.replace(" ", "")
