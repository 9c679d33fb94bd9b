"""The Anthropic Python SDK through the router to every kind of provider: `messages_api.py BINARY`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import anthropic  # noqa: E402

import checks  # noqa: E402
import fleet as fleets  # noqa: E402
import router as routers  # noqa: E402
from checks import PDF, PNG, TOOL, raises, same  # noqa: E402
from fakes import plan  # noqa: E402

WEATHER = [{"name": "weather", "description": "The weather of a city", "input_schema": TOOL}]
ADAPTIVE = {"type": "adaptive", "display": "summarized"}
BUDGET = {"type": "enabled", "budget_tokens": 1024}
check = checks.Checks()


class Stage(fleets.Stage):
    """A client and where its requests end."""

    def __init__(self, fleet, target):
        super().__init__(fleet, target)
        url = self.url.removesuffix("/v1")
        self.client = anthropic.Anthropic(api_key=routers.KEY, base_url=url, timeout=20, max_retries=0)

    def ask(self, content, **more):
        """A message; `content` may be a whole history."""
        return self.client.messages.create(**self.request(content) | more)

    def final(self, content, **more):
        """The same by the stream helper, put together again."""
        with self.client.messages.stream(**self.request(content) | more) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        same("".join(block.text for block in final.content if block.type == "text"), text)
        return final

    def request(self, content):
        """What both have in common."""
        history = content if isinstance(content, list) else [{"role": "user", "content": content}]
        return {"model": self.target.name, "max_tokens": 2000, "messages": history}


def shown(target):
    """Providers that show their thoughts: OpenAI's chat completions do not."""
    return target.wire != "openai"


def thinking(target):
    """How a model of Anthropic is told to think; the others take either."""
    return BUDGET if target.wire == "anthropic" and target.old else ADAPTIVE


def kinds(message):
    """The blocks of a message."""
    return [block.type for block in message.content]


def results(message):
    """The user turn that answers all calls."""
    blocks = [
        {"type": "tool_result", "tool_use_id": block.id, "content": f"sunny in {block.input['city']}"}
        for block in message.content
        if block.type == "tool_use"
    ]
    return {"role": "user", "content": blocks}


def usage_is_told(usage):
    """The figures of the plan, in Anthropic's sense of them: cached tokens are apart."""
    whole = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    same((whole, usage.cache_read_input_tokens, usage.output_tokens), (plan.PROMPT, plan.CACHED, plan.OUTPUT))


@check()
def a_message_comes_whole_and_by_the_stream_helper(stage):
    for answer in (stage.ask("hello"), stage.final("hello")):
        same((kinds(answer), answer.content[0].text, answer.stop_reason), (["text"], plan.TEXT, "end_turn"))
        same((answer.role, answer.type), ("assistant", "message"))
        assert answer.id and answer.model, answer
        usage_is_told(answer.usage)


@check()
def a_system_prompt_arrives(stage):
    blocks = [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]
    for system in ("Be kind.", blocks):
        same(stage.ask("do:system", system=system).content[0].text, "Be kind.")


@check()
def two_tools_are_called_and_their_results_understood(stage):
    for ask in (stage.ask, stage.final):
        first = ask("do:two", tools=WEATHER)
        calls = [block for block in first.content if block.type == "tool_use"]
        same(
            [(call.name, call.input) for call in calls], [("weather", {"city": "Oslo"}), ("weather", {"city": "Lima"})]
        )
        same((first.stop_reason, len({call.id for call in calls})), ("tool_use", 2))
        history = [
            {"role": "user", "content": "do:two"},
            {"role": "assistant", "content": first.content},
            results(first),
        ]
        same(ask(history, tools=WEATHER).content[-1].text, "Results: [sunny in Oslo] [sunny in Lima]")
    assert not getattr(stage.fleet.calls(stage.target, "two")[-1], "dummy", False), "the signature was lost"


@check()
def a_failed_tool_says_so(stage):
    first = stage.ask("do:tool", tools=WEATHER)
    answer = {
        "type": "tool_result",
        "tool_use_id": first.content[-1].id,
        "is_error": True,
        "content": [{"type": "text", "text": "no such city"}],
    }
    after = {"type": "text", "text": "Try do:nothing."}
    history = [
        {"role": "user", "content": "do:tool"},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [answer, after]},
    ]
    assert "no such city" in stage.ask(history, tools=WEATHER).content[-1].text or stage.target.wire == "openai"


@check()
def a_picture_that_a_tool_gives_does_no_harm(stage):
    first = stage.ask("do:tool", tools=WEATHER)
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    answer = {
        "type": "tool_result",
        "tool_use_id": first.content[-1].id,
        "content": [{"type": "text", "text": "look"}, picture],
    }
    history = [
        {"role": "user", "content": "do:tool"},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [answer]},
    ]
    stage.ask(history, tools=WEATHER)


@check(lambda target: target.wire != "anthropic" and not (target.provider == "openai" and not target.old))
def settings_are_taken_or_left_out_but_never_break(stage):
    older = stage.client.with_options(default_headers={"anthropic-version": "2023-06-01"})
    more = {"temperature": 0.3, "top_p": 0.9, "top_k": 10}
    answer = older.messages.create(
        **stage.request("hello"),
        stop_sequences=["END"],
        metadata={"user_id": "u"},
        service_tier="auto",
        extra_body=more,
    )
    same(answer.content[0].text, plan.TEXT)


@check()
def a_tool_can_be_forced(stage):
    for choice in (
        {"type": "any"},
        {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        {"type": "auto", "disable_parallel_tool_use": True},
    ):
        same(kinds(stage.ask("do:tool", tools=WEATHER, tool_choice=choice)), ["tool_use"])
    same(kinds(stage.ask("hello", tools=WEATHER, tool_choice={"type": "none"})), ["text"])


@check(shown)
def thoughts_come_first_and_go_back_with_their_signature(stage):
    more = {"tools": WEATHER, "thinking": thinking(stage.target)}
    for ask in (stage.ask, stage.final):
        first = ask("do:tool", **more)
        same((kinds(first), first.content[0].thinking), (["thinking", "tool_use"], "".join(plan.THOUGHT)))
        history = [
            {"role": "user", "content": "do:tool"},
            {"role": "assistant", "content": first.content},
            results(first),
        ]
        second = ask(history, **more)
        same((kinds(second), second.content[-1].text), (["thinking", "text"], "Results: [sunny in Oslo]"))


@check()
def a_conversation_with_thoughts_goes_on_at_another_provider(stage):
    for place in ("at-anthropic", "at-gemini", "at-openai"):
        first = stage.ask("do:tool", model=place, tools=WEATHER, thinking=ADAPTIVE)
        history = [
            {"role": "user", "content": "do:tool"},
            {"role": "assistant", "content": first.content},
            results(first),
        ]
        answer = stage.ask(history, tools=WEATHER, thinking=thinking(stage.target))
        same(answer.content[-1].text, "Results: [sunny in Oslo]")


@check()
def a_picture_and_a_document_arrive_intact(stage):
    for kind, media, data in (("image", "image/png", PNG), ("document", "application/pdf", PDF)):
        block = {"type": kind, "source": {"type": "base64", "media_type": media, "data": data}}
        content = [block, {"type": "text", "text": f"do:{kind}"}]
        same(stage.ask([{"role": "user", "content": content}]).content[0].text, " ".join(plan.picture(media, data)))


@check()
def a_structured_answer_has_its_schema(stage):
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
        "required": ["city", "degrees"],
        "additionalProperties": False,
    }
    form = {"format": {"type": "json_schema", "schema": schema}}
    same(stage.ask("do:json", output_config=form).content[0].text, '{"city": "Oslo", "degrees": 7}')


@check()
def an_answer_that_was_too_long_says_so(stage):
    for ask in (stage.ask, stage.final):
        same(ask("do:long").stop_reason, "max_tokens")


@check()
def tokens_are_counted(stage):
    count = stage.client.messages.count_tokens(model=stage.target.name, messages=[{"role": "user", "content": "hello"}])
    assert 1 <= count.input_tokens <= 20, count


@check()
def models_are_listed_in_anthropic_s_shape(stage):
    models = list(stage.client.models.list())
    assert {model.type for model in models} == {"model"} and all(model.display_name for model in models), models
    if not stage.target.proxied:
        assert stage.target.name in {model.id for model in models}, models
    same(stage.client.models.retrieve(models[0].id).id, models[0].id)


@check()
def errors_have_anthropic_s_classes(stage):
    error = raises(anthropic.BadRequestError, lambda: stage.ask("do:400"))
    same((error.body["type"], error.body["error"]["type"]), ("error", "invalid_request_error"))
    assert plan.FAULTS["400"][1] in str(error), error
    raises(anthropic.InternalServerError, lambda: stage.ask("do:500"))
    error = raises(anthropic.APIStatusError, lambda: stage.ask("do:529"))
    same((error.status_code in (503, 529), error.body["error"]["type"]), (True, "overloaded_error"))
    error = raises(anthropic.RateLimitError, lambda: stage.ask("do:429", model=f"{stage.target.name}-faulty"))
    same(
        (error.body["error"]["type"], 1 <= int(error.response.headers["retry-after"]) <= 41), ("rate_limit_error", True)
    )
    raises(anthropic.NotFoundError, lambda: stage.ask("hello", model="nobody-has-this"))
    wrong = stage.client.with_options(api_key="sk-wrong")
    raises(anthropic.AuthenticationError, lambda: wrong.messages.create(**stage.request("hello")))


@check()
def answers_and_errors_have_a_request_id(stage):
    assert stage.ask("hello")._request_id, "no request-id"  # pylint: disable=protected-access
    error = raises(anthropic.BadRequestError, lambda: stage.ask("do:400"))
    assert error.request_id, dict(error.response.headers)


@check()
def a_stream_that_fails_in_its_middle_raises(stage):
    for mark in ("error", "cut"):
        raises((anthropic.APIError,), lambda: stage.final(f"do:{mark}"))  # pylint: disable=W0640


if __name__ == "__main__":
    sys.exit(fleets.play("anthropic", check, Stage, sys.argv[1]))
