"""langchain-openai through the router to every kind of provider: `langchain_suite.py BINARY`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage  # noqa: E402
from langchain_core.tools import tool  # noqa: E402
from langchain_openai import ChatOpenAI  # noqa: E402

import checks  # noqa: E402
import fleet as fleets  # noqa: E402
import router as routers  # noqa: E402
from checks import PNG, same  # noqa: E402
from fakes import plan  # noqa: E402

check = checks.Checks()


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


class Stage(fleets.Stage):
    """A model and where its requests end."""

    def model(self, **more):
        """A chat model."""
        return ChatOpenAI(
            model=self.target.name,
            api_key=routers.KEY,
            base_url=self.url,
            timeout=20,
            max_retries=0,
            **more,
        )


@check()
def an_answer_comes_whole_and_as_a_stream(stage):
    answer = stage.model().invoke([SystemMessage("Be kind."), HumanMessage("hello")])
    same((answer.content, answer.usage_metadata["total_tokens"]), (plan.TEXT, plan.PROMPT + plan.OUTPUT))
    same("".join(chunk.content for chunk in stage.model().stream("hello")), plan.TEXT)


@check()
def tools_are_called_and_their_results_understood(stage):
    for streamed in (False, True):
        model = stage.model(streaming=streamed).bind_tools([weather])
        history = [HumanMessage("do:two")]
        history.append(model.invoke(history))
        same([call["args"] for call in history[1].tool_calls], [{"city": "Oslo"}, {"city": "Lima"}])
        history += [
            ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]) for call in history[1].tool_calls
        ]
        same(model.invoke(history).content, "Results: [sunny in Oslo] [sunny in Lima]")


@check()
def a_structured_answer_is_parsed(stage):
    schema = {
        "title": "Report",
        "type": "object",
        "additionalProperties": False,
        "required": ["city", "degrees"],
        "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    }
    for method in ("json_schema", "function_calling"):
        same(stage.model().with_structured_output(schema, method=method).invoke("do:json"), plan.STRUCTURED)


@check()
def a_picture_arrives_intact(stage):
    content = [{"type": "text", "text": "do:image"}, {"type": "image", "base64": PNG, "mime_type": "image/png"}]
    same(stage.model().invoke([HumanMessage(content=content)]).content, " ".join(plan.picture("image/png", PNG)))


@check()
def the_responses_api_is_used_with_tools(stage):
    model = stage.model(use_responses_api=True).bind_tools([weather])
    history = [HumanMessage("do:tool")]
    history.append(model.invoke(history))
    history += [ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]) for call in history[1].tool_calls]
    same(model.invoke(history).text, "Results: [sunny in Oslo]")


if __name__ == "__main__":
    sys.exit(fleets.play("langchain-openai", check, Stage, sys.argv[1]))
