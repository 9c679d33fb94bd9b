"""pydantic-ai with OpenAI's two APIs and Anthropic's at every kind of provider: `pydantic_suite.py BINARY`."""

import asyncio
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import pydantic  # noqa: E402
from pydantic_ai import Agent, NativeOutput  # noqa: E402
from pydantic_ai.models.anthropic import AnthropicModel  # noqa: E402
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel  # noqa: E402
from pydantic_ai.providers.anthropic import AnthropicProvider  # noqa: E402
from pydantic_ai.providers.openai import OpenAIProvider  # noqa: E402

import checks  # noqa: E402
import fleet as fleets  # noqa: E402
import router as routers  # noqa: E402
from checks import same  # noqa: E402
from fakes import plan  # noqa: E402

check = checks.Checks()


class Report(pydantic.BaseModel):
    """A structured answer."""

    city: str
    degrees: int


class Stage(fleets.Stage):
    """Models and where their requests end."""

    def models(self):
        """One for each API."""
        ours = OpenAIProvider(base_url=self.url, api_key=routers.KEY)
        theirs = AnthropicProvider(base_url=self.url.removesuffix("/v1"), api_key=routers.KEY)
        return [
            OpenAIChatModel(self.target.name, provider=ours),
            OpenAIResponsesModel(self.target.name, provider=ours),
            AnthropicModel(self.target.name, provider=theirs),
        ]


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


@check()
def an_agent_answers(stage):
    for model in stage.models():
        answer = Agent(model, instructions="Be kind.").run_sync("hello")
        same((answer.output, answer.usage.output_tokens), (plan.TEXT, plan.OUTPUT))


@check()
def an_agent_uses_its_tools(stage):
    for model in stage.models():
        answer = Agent(model, tools=[weather]).run_sync("do:two")
        same(answer.output, "Results: [sunny in Oslo] [sunny in Lima]")


@check()
def an_agent_uses_its_tools_in_a_stream(stage):
    async def streamed(model):
        async with Agent(model, tools=[weather]).run_stream("do:two") as answer:
            return await answer.get_output()

    for model in stage.models():
        same(asyncio.run(streamed(model)), "Results: [sunny in Oslo] [sunny in Lima]")


@check()
def an_agent_gives_a_structured_answer(stage):
    for model in stage.models()[:2]:
        same(Agent(model, output_type=NativeOutput(Report)).run_sync("do:json").output, Report(**plan.STRUCTURED))


if __name__ == "__main__":
    sys.exit(fleets.play("pydantic-ai", check, Stage, sys.argv[1]))
