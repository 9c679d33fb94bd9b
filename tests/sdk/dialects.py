"""The OpenAI Python SDK through the router to every kind of provider: `dialects.py BINARY`.

The table of them is `fleet.TARGETS`.
"""

import base64
import sys

import openai

import dialects_responses  # noqa: F401  its checks join those below
import fleet as fleets
from checks import PDF, PNG, raises, same
from fakes import plan
from stage import Report, Stage, check, compact, foreign, functions, results, said, samples, texts, usage_is_told


@check()
def an_answer_comes_whole_with_its_usage(stage):
    answer = stage.chat("hello")
    same((answer.choices[0].message.content, answer.choices[0].finish_reason), (plan.TEXT, "stop"))
    assert answer.object == "chat.completion" and answer.id and answer.model, answer
    usage_is_told(answer.usage)


@check()
def a_stream_has_one_id_one_role_one_finish_and_its_usage_last(stage):
    chunks = list(stage.chat("hello", stream=True, stream_options={"include_usage": True}))
    same(texts(chunks), plan.TEXT)
    assert len({chunk.id for chunk in chunks if chunk.id}) == 1, {chunk.id for chunk in chunks}
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    same([choice.delta.role for choice in choices if choice.delta.role], ["assistant"])
    same([choice.finish_reason for choice in choices if choice.finish_reason], ["stop"])
    same(chunks[-1].choices, [])
    usage_is_told(chunks[-1].usage)
    assert all(chunk.usage is None for chunk in chunks[:-1]), "usage was told twice"


@check(lambda target: target.provider != "azure")
def a_stream_has_no_chunk_without_choices_unless_asked(stage):
    chunks = list(stage.chat("hello", stream=True))
    same(texts(chunks), plan.TEXT)
    assert all(chunk.choices and chunk.usage is None for chunk in chunks), chunks


@check()
def a_system_prompt_arrives(stage):
    history = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "do:system"}]
    same(stage.chat(history).choices[0].message.content, "Be kind.")


@check()
def a_tool_is_called_and_its_result_understood(stage):
    first = stage.chat("do:tool", **functions()).choices[0]
    same((first.finish_reason, len(first.message.tool_calls)), ("tool_calls", 1))
    history = [{"role": "user", "content": "do:tool"}, first.message, *results(first.message.tool_calls)]
    same(compact(stage.chat(history, **functions()).choices[0].message.content), compact(said("Oslo")))


@check()
def two_calls_at_once_are_answered_in_one_turn(stage):
    message = stage.chat("do:two", **functions()).choices[0].message
    calls = message.tool_calls
    assert len({call.id for call in calls}) == 2, calls
    history = [{"role": "user", "content": "do:two"}, message, *results(calls)]
    same(compact(stage.chat(history, **functions()).choices[0].message.content), compact(said("Oslo", "Lima")))


@check()
def the_stream_helper_puts_two_calls_together(stage):
    history = [{"role": "user", "content": "do:two"}]
    with stage.client.chat.completions.stream(model=stage.target.name, messages=history, **functions()) as stream:
        choice = stream.get_final_completion().choices[0]
    same([(call.index, call.function.name) for call in choice.message.tool_calls], [(0, "weather"), (1, "weather")])
    same(choice.finish_reason, "tool_calls")
    message = choice.message.model_dump(exclude_none=True, exclude={"parsed"})
    for call in message["tool_calls"]:
        call["function"].pop("parsed_arguments", None)
    history += [message, *results(choice.message.tool_calls)]
    with stage.client.chat.completions.stream(model=stage.target.name, messages=history, **functions()) as stream:
        final = stream.get_final_completion().choices[0].message.content
    same(compact(final), compact(said("Oslo", "Lima")))


@check(foreign)
def a_call_sent_back_with_nothing_but_its_id_keeps_its_signature(stage):
    call = stage.chat("do:tool", **functions()).choices[0].message.tool_calls[0]
    bare = {"id": call.id, "type": "function", "function": {"name": "weather", "arguments": call.function.arguments}}
    history = [{"role": "user", "content": "do:tool"}, {"role": "assistant", "content": None, "tool_calls": [bare]}]
    answer = stage.chat(history + results([call]), **functions())
    same(compact(answer.choices[0].message.content), compact(said("Oslo")))
    assert not getattr(stage.fleet.calls(stage.target, "tool")[-1], "dummy", False), "the signature was lost"


@check(foreign)
def a_conversation_with_thoughts_goes_on_at_another_provider(stage):
    for place in ("at-anthropic", "at-gemini", "at-openai"):
        first = stage.chat("do:two", model=place, reasoning_effort="high", **functions()).choices[0].message
        whole = first.model_dump(exclude_none=True)
        history = [{"role": "user", "content": "do:two"}, whole, *results(first.tool_calls)]
        answer = stage.chat(history, reasoning_effort="high", **functions())
        same(compact(answer.choices[0].message.content), compact(said("Oslo", "Lima")))


@check(foreign)
def a_history_from_another_provider_is_taken(stage):
    arguments = '{"city": "Oslo"}'
    strange = {"id": "call_ü|1:2/strange", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    history = [
        {"role": "user", "content": "do:tool"},
        {"role": "assistant", "content": "", "tool_calls": [strange]},
        {"role": "tool", "tool_call_id": strange["id"], "content": "sunny"},
    ]
    same(stage.chat(history, **functions()).choices[0].message.content, "Results: [sunny]")
    same(stage.chat(history).choices[0].message.content, "Results: [sunny]")


@check(foreign)
def an_untidy_history_is_made_what_the_provider_takes(stage):
    history = [
        {"role": "assistant", "content": "Welcome."},
        {"role": "user", "content": "one"},
        {"role": "user", "content": ""},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "two"}]},
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "hello"},
    ]
    same(stage.chat(history).choices[0].message.content, plan.TEXT)


@check(lambda target: not (target.provider == "openai" and not target.old))
def a_tool_can_be_forced(stage):
    choice = {"type": "function", "function": {"name": "weather"}}
    for wish in (choice, "required", "auto"):
        calls = stage.chat("do:tool", tool_choice=wish, parallel_tool_calls=False, **functions()).choices[0].message
        same([call.function.name for call in calls.tool_calls], ["weather"])
    stage.chat("hello", tool_choice="none", **functions())


@check()
def a_picture_arrives_intact(stage):
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "high"}}
    answer = stage.chat([{"role": "user", "content": [{"type": "text", "text": "do:image"}, picture]}])
    same(answer.choices[0].message.content, " ".join(plan.picture("image/png", PNG)))


@check(lambda target: not (target.provider == "vertex-ai" and target.wire == "anthropic"))
def a_picture_s_address_arrives(stage):
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    answer = stage.chat([{"role": "user", "content": [{"type": "text", "text": "do:image"}, picture]}])
    same(answer.choices[0].message.content, "url https://example.com/a.png")


@check(lambda target: target.wire == "anthropic")
def what_a_provider_cannot_do_is_refused_by_its_name(stage):
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    error = raises(openai.BadRequestError, lambda: stage.chat([{"role": "user", "content": [sound]}]))
    same((error.param, error.type), ("messages", "invalid_request_error"))
    error = raises(openai.BadRequestError, lambda: stage.chat("hello", n=2))
    same((error.param, error.type), ("n", "invalid_request_error"))
    error = raises(openai.BadRequestError, lambda: stage.respond("hello", previous_response_id="resp_1"))
    same((error.param, error.type), ("previous_response_id", "invalid_request_error"))


@check(foreign)
def a_completion_of_the_older_kind_is_answered(stage):
    answer = stage.client.completions.create(model=stage.target.name, prompt="hello", max_tokens=500)
    same((answer.choices[0].text, answer.choices[0].finish_reason), (plan.TEXT, "stop"))
    stream = stage.client.completions.create(model=stage.target.name, prompt="hello", max_tokens=500, stream=True)
    same("".join(chunk.choices[0].text for chunk in stream), plan.TEXT)


@check()
def a_document_arrives_intact(stage):
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}
    answer = stage.chat([{"role": "user", "content": [file, {"type": "text", "text": "do:document"}]}])
    same(answer.choices[0].message.content, " ".join(plan.picture("application/pdf", PDF)))


@check()
def reasoning_is_asked_for_and_shown(stage):
    for effort in ("minimal", "medium", "xhigh"):
        answer = stage.chat("hello", reasoning_effort=effort)
        same(answer.choices[0].message.content, plan.TEXT)
        usage_is_told(answer.usage, plan.REASONING)
        if foreign(stage.target):
            same(answer.choices[0].message.reasoning_content, "".join(plan.THOUGHT))
    usage_is_told(stage.chat("hello", reasoning_effort="none").usage)


@check(foreign)
def reasoning_is_streamed_before_the_text(stage):
    chunks = list(stage.chat("hello", reasoning_effort="high", stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    thoughts = [getattr(delta, "reasoning_content", None) or "" for delta in deltas]
    same(("".join(thoughts), texts(chunks)), ("".join(plan.THOUGHT), plan.TEXT))


@check()
def a_tool_is_used_in_the_middle_of_thinking(stage):
    message = stage.chat("do:tool", reasoning_effort="high", **functions()).choices[0].message
    whole = message.model_dump(exclude_none=True) if foreign(stage.target) else message
    bare = {"role": "assistant", "content": None, "tool_calls": [call.model_dump() for call in message.tool_calls]}
    for turn in (whole, bare):
        history = [{"role": "user", "content": "do:tool"}, turn, *results(message.tool_calls)]
        answer = stage.chat(history, reasoning_effort="high", **functions())
        same(compact(answer.choices[0].message.content), compact(said("Oslo")))


@check()
def a_structured_answer_is_parsed(stage):
    answer = stage.client.chat.completions.parse(
        model=stage.target.name, messages=[{"role": "user", "content": "do:json"}], response_format=Report
    )
    same((answer.choices[0].finish_reason, answer.choices[0].message.parsed), ("stop", Report(**plan.STRUCTURED)))


@check(lambda target: not (target.wire == "gemini" and target.old))
def a_structured_answer_goes_together_with_tools(stage):
    strict = functions(strict=True)
    answer = stage.client.chat.completions.parse(
        model=stage.target.name, messages=[{"role": "user", "content": "do:json"}], response_format=Report, **strict
    )
    same(answer.choices[0].message.parsed, Report(**plan.STRUCTURED))


@check()
def an_answer_that_was_too_long_says_so(stage):
    same(stage.chat("do:long").choices[0].finish_reason, "length")
    last = [chunk for chunk in stage.chat("do:long", stream=True) if chunk.choices][-1]
    same(last.choices[0].finish_reason, "length")


@check(samples)
def settings_are_taken_or_left_out_but_never_break(stage):
    answer = stage.chat(
        "hello",
        temperature=0.2,
        top_p=0.9,
        max_tokens=500,
        stop=["END", " "],
        user="someone@example.com",
        metadata={"a": "b"},
        store=False,
        service_tier="auto",
        verbosity="low",
        prompt_cache_key="k",
        safety_identifier="s",
    )
    same(answer.choices[0].message.content, plan.TEXT)


@check()
def a_refused_prompt_is_a_bad_request_tried_once(stage):
    before = len(stage.fleet.calls(stage.target, "400"))
    error = raises(openai.BadRequestError, lambda: stage.chat("do:400"))
    assert plan.FAULTS["400"][1] in str(error) and error.type == "invalid_request_error", error
    same(len(stage.fleet.calls(stage.target, "400")) - before, 1)


@check()
def an_overloaded_provider_is_told_from_a_broken_one(stage):
    for mark, statuses in (("500", (500, 502)), ("529", (503, 529))):
        error = raises(openai.InternalServerError, lambda: stage.chat(f"do:{mark}"))  # pylint: disable=W0640
        assert error.status_code in statuses, (mark, error.status_code)
        assert plan.FAULTS[mark][1] in str(error) or "Overloaded" in str(error), error


@check(lambda target: not target.proxied)
def a_broken_provider_is_tried_twice_and_not_six_times(stage):
    before = len(stage.fleet.calls(stage.target, "500"))
    patient = stage.client.with_options(max_retries=2).chat.completions
    history = [{"role": "user", "content": "do:500"}]
    raises(openai.InternalServerError, lambda: patient.create(model=stage.target.name, messages=history))
    same(len(stage.fleet.calls(stage.target, "500")) - before, 2)


@check()
def a_stream_that_fails_in_its_middle_raises(stage):
    for mark in ("error", "cut"):
        seen = []

        def read():
            seen.extend(stage.chat(f"do:{mark}", stream=True))  # pylint: disable=W0640

        raises(openai.APIError, read)


@check()
def a_limited_provider_says_when_to_come_back(stage):
    error = raises(openai.RateLimitError, lambda: stage.chat("do:429", model=stage.faulty()))
    assert 1 <= int(error.response.headers["retry-after"]) <= 41, error.response.headers
    assert error.request_id, error


@check(lambda target: target.provider in fleets.EMBEDDERS and not target.proxied)
def embeddings_come_in_both_encodings(stage):
    for encoding in (openai.NOT_GIVEN, "float"):
        answer = stage.client.embeddings.create(
            model=f"embed-{stage.target.provider}", input=["x", "y"], encoding_format=encoding
        )
        same([item.embedding for item in answer.data], [plan.VECTOR] * 2)


@check(lambda target: target.provider in fleets.PAINTERS and not target.proxied)
def a_picture_is_drawn(stage):
    model = f"draw-{stage.target.provider}"
    answer = stage.client.images.generate(model=model, prompt="a cat", size="1024x1024")
    same([item.b64_json for item in answer.data], [plan.DRAWN])
    assert answer.created, answer


@check(lambda target: target.name == "at-gemini" and not target.proxied)
def a_picture_is_drawn_from_another(stage):
    picture = ("a.png", base64.b64decode(PNG), "image/png")
    answer = stage.client.images.edit(model="draw-gemini", prompt="do:echo", image=[picture, picture])
    same([item.b64_json for item in answer.data], [PNG, PNG])
    same((answer.output_format, answer.usage.input_tokens), ("png", plan.PROMPT))


@check(lambda target: target.name == "at-gemini" and not target.proxied)
def a_picture_that_is_held_back_raises_with_its_code(stage):
    draw = stage.client.images.generate
    error = raises(openai.BadRequestError, lambda: draw(model="draw-gemini", prompt="do:blocked"))
    same((error.code, "IMAGE_SAFETY" in str(error)), ("moderation_blocked", True))
    wish = {"response_format": "url"}
    error = raises(openai.BadRequestError, lambda: draw(model="draw-gemini", prompt="a cat", **wish))
    same(error.param, "response_format")


if __name__ == "__main__":
    sys.exit(fleets.play("dialects", check, Stage, sys.argv[1]))
