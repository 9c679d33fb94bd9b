"""The Google Gen AI Python SDK through the router to every kind of provider: `gemini_api.py BINARY`."""

import base64
import pathlib
import sys
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from google import genai  # noqa: E402
from google.genai import errors, types  # noqa: E402

import checks  # noqa: E402
import fleet as fleets  # noqa: E402
import router as routers  # noqa: E402
from checks import PDF, PNG, TOOL, raises, same  # noqa: E402
from fakes import plan  # noqa: E402

DECLARED = {
    "tools": [
        {
            "function_declarations": [
                {"name": "weather", "description": "The weather of a city", "parameters_json_schema": TOOL}
            ]
        }
    ]
}
MANUAL = {"automatic_function_calling": {"disable": True}}
check = checks.Checks()


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


class Stage(fleets.Stage):
    """A client and where its requests end."""

    def __init__(self, fleet, target):
        super().__init__(fleet, target)
        url = self.url.removesuffix("/v1")
        self.client = genai.Client(
            api_key=routers.KEY,
            vertexai=False,
            http_options={"base_url": url, "timeout": 20_000, "retry_options": {"attempts": 1}},
        )

    def ask(self, contents, model=None, **config):
        """An answer."""
        return self.client.models.generate_content(
            model=model or self.target.name, contents=contents, config=config or None
        )

    def stream(self, contents, **config):
        """Its parts."""
        return list(
            self.client.models.generate_content_stream(model=self.target.name, contents=contents, config=config or None)
        )


def shown(target):
    """Providers that show their thoughts: OpenAI's chat completions do not."""
    return target.wire != "openai"


def usage_is_told(usage):
    """The figures of the plan, in Google's sense of them: thoughts are apart."""
    output = usage.candidates_token_count + (usage.thoughts_token_count or 0)
    found = (usage.prompt_token_count, usage.cached_content_token_count, output, usage.total_token_count)
    same(found, (plan.PROMPT, plan.CACHED, plan.OUTPUT, plan.PROMPT + plan.OUTPUT))


@check()
def an_answer_comes_whole(stage):
    answer = stage.ask("hello")
    same((answer.text, answer.candidates[0].finish_reason), (plan.TEXT, types.FinishReason.STOP))
    same(answer.candidates[0].content.role, "model")
    usage_is_told(answer.usage_metadata)


@check()
def an_answer_comes_as_a_stream(stage):
    chunks = stage.stream("hello")
    same("".join(chunk.text or "" for chunk in chunks), plan.TEXT)
    same(chunks[-1].candidates[0].finish_reason, types.FinishReason.STOP)
    usage_is_told(chunks[-1].usage_metadata)


@check()
def a_system_instruction_arrives(stage):
    same(stage.ask("do:system", system_instruction="Be kind.").text, "Be kind.")


@check()
def a_chat_calls_two_functions_by_itself(stage):
    chat = stage.client.chats.create(model=stage.target.name, config={"tools": [weather]})
    same(chat.send_message("do:two").text, "Results: [sunny in Oslo] [sunny in Lima]")
    same(chat.send_message("hello").text, plan.TEXT)
    assert not getattr(stage.fleet.calls(stage.target, "two")[-1], "dummy", False), "the signature was lost"


@check()
def a_streamed_chat_calls_a_function_by_itself(stage):
    chat = stage.client.chats.create(model=stage.target.name, config={"tools": [weather]})
    chunks = list(chat.send_message_stream("do:tool"))
    same("".join(chunk.text or "" for chunk in chunks if not chunk.function_calls), "Results: [sunny in Oslo]")


@check()
def calls_made_by_hand_are_understood(stage):
    chunks = stage.stream("do:two", **DECLARED, **MANUAL)
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or [] if part.function_call]
    same([part.function_call.args for part in parts], [{"city": "Oslo"}, {"city": "Lima"}])
    responses = [
        types.Part(
            function_response=types.FunctionResponse(
                id=part.function_call.id,
                name="weather",
                response={"output": f"sunny in {part.function_call.args['city']}"},
            )
        )
        for part in parts
    ]
    history = [types.UserContent("do:two"), types.ModelContent(parts), types.UserContent(responses)]
    same(stage.ask(history, **DECLARED, **MANUAL).text, "Results: [sunny in Oslo] [sunny in Lima]")


@check()
def a_function_can_be_forced(stage):
    for calling in ({"mode": "ANY"}, {"mode": "ANY", "allowed_function_names": ["weather"]}, {"mode": "AUTO"}):
        answer = stage.ask("do:tool", tool_config={"function_calling_config": calling}, **DECLARED, **MANUAL)
        same([call.name for call in answer.function_calls], ["weather"])
    stage.ask("hello", tool_config={"function_calling_config": {"mode": "NONE"}}, **DECLARED, **MANUAL)


@check(shown)
def thoughts_are_shown(stage):
    old = stage.target.old and stage.target.wire == "gemini"
    wish = {"thinking_budget": 1024} if old else {"thinking_level": "HIGH"}
    for chunks in (
        [stage.ask("hello", thinking_config={"include_thoughts": True, **wish})],
        stage.stream("hello", thinking_config={"include_thoughts": True, **wish}),
    ):
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]
        same("".join(part.text or "" for part in parts if part.thought), "".join(plan.THOUGHT))
        same("".join(part.text or "" for part in parts if not part.thought), plan.TEXT)


@check(shown)
def a_chat_goes_on_in_the_middle_of_thinking(stage):
    thinking = {} if stage.target.old and stage.target.wire == "anthropic" else {"include_thoughts": True}
    chat = stage.client.chats.create(model=stage.target.name, config={"tools": [weather], "thinking_config": thinking})
    answer = chat.send_message("do:tool")
    parts = answer.candidates[0].content.parts
    same("".join(part.text or "" for part in parts if not part.thought), "Results: [sunny in Oslo]")
    same(chat.send_message("hello").text, plan.TEXT)


@check(lambda target: not (target.wire == "gemini" and target.old))
def a_conversation_with_thoughts_goes_on_at_another_provider(stage):
    more = {**DECLARED, **MANUAL, "thinking_config": {"include_thoughts": True}}
    for place in ("at-anthropic", "at-gemini", "at-openai"):
        first = stage.ask("do:tool", model=place, **more).candidates[0].content
        call = first.parts[-1].function_call
        result = types.FunctionResponse(id=call.id, name="weather", response={"output": "sunny"})
        history = [types.UserContent("do:tool"), first, types.UserContent(types.Part(function_response=result))]
        answer = stage.ask(history, **DECLARED, **MANUAL)
        same(answer.text, "Results: [sunny]")


@check()
def a_picture_and_a_document_arrive_intact(stage):
    for mark, kind, data in (("image", "image/png", PNG), ("document", "application/pdf", PDF)):
        part = types.Part.from_bytes(data=base64.b64decode(data), mime_type=kind)
        same(stage.ask([part, f"do:{mark}"]).text, " ".join(plan.picture(kind, data)))


@check()
def a_structured_answer_has_its_schema(stage):
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
        "required": ["city", "degrees"],
    }
    for name in ("response_json_schema", "response_schema"):
        answer = stage.ask("do:json", response_mime_type="application/json", **{name: schema})
        same(answer.text, '{"city": "Oslo", "degrees": 7}')


@check(lambda target: target.wire != "openai" or target.old)
def settings_are_taken_or_left_out_but_never_break(stage):
    settings = {
        "temperature": 0.3,
        "top_p": 0.9,
        "top_k": 10,
        "max_output_tokens": 900,
        "stop_sequences": ["END"],
        "seed": 7,
    }
    same(stage.ask("hello", **settings).text, plan.TEXT)


@check()
def an_answer_that_was_too_long_says_so(stage):
    same(stage.ask("do:long").candidates[0].finish_reason, types.FinishReason.MAX_TOKENS)


@check()
def errors_have_google_s_shape(stage):
    error = raises(errors.ClientError, lambda: stage.ask("do:400"))
    same((error.code, error.status), (400, "INVALID_ARGUMENT"))
    assert plan.FAULTS["400"][1] in error.message, error
    error = raises(errors.ClientError, lambda: stage.ask("do:429", model=f"{stage.target.name}-faulty"))
    same((error.code, error.status), (429, "RESOURCE_EXHAUSTED"))
    error = raises(errors.ServerError, lambda: stage.ask("do:529"))
    same((error.code, error.status), (503, "UNAVAILABLE"))
    same(raises(errors.ServerError, lambda: stage.ask("do:500")).code in (500, 502), True)
    same(raises(errors.ClientError, lambda: stage.ask("hello", model="nobody-has-this")).status, "NOT_FOUND")


@check()
def a_stream_that_fails_in_its_middle_raises(stage):
    for mark in ("error", "cut"):
        raises(Exception, lambda: stage.stream(f"do:{mark}"))  # pylint: disable=W0640


@check(lambda target: not target.proxied)
def models_are_listed_in_google_s_shape(stage):
    assert f"models/{stage.target.name}" in {model.name for model in stage.client.models.list()}
    same(stage.client.models.get(model=stage.target.name).name, f"models/{stage.target.name}")


@check(lambda target: target.provider == "gemini" and not target.proxied)
def embeddings_come_from_gemini(stage):
    answer = stage.client.models.embed_content(model=f"embed-{stage.target.provider}", contents=["x", "y"])
    same([item.values for item in answer.embeddings], [plan.VECTOR] * 2)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(fleets.play("google-genai", check, Stage, sys.argv[1]))
