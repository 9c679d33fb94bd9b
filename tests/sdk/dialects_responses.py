"""The Responses API at every kind of provider; `dialects.py` runs these together with its own."""

import openai

from checks import PNG, same
from fakes import plan
from stage import WEATHER, Report, check, compact, foreign, said


@check()
def a_response_comes_whole_and_by_the_stream_helper(stage):
    answer = stage.respond("hello", instructions="Be kind.")
    same((answer.status, answer.output_text), ("completed", plan.TEXT))
    found = (answer.usage.input_tokens, answer.usage.input_tokens_details.cached_tokens, answer.usage.output_tokens)
    same(found, (plan.PROMPT, plan.CACHED, plan.OUTPUT))
    with stage.client.responses.stream(model=stage.target.name, input="hello") as stream:
        events = list(stream)
        final = stream.get_final_response()
    same("".join(event.delta for event in events if event.type == "response.output_text.delta"), plan.TEXT)
    same((final.output_text, final.usage.total_tokens), (plan.TEXT, plan.PROMPT + plan.OUTPUT))
    same([event.sequence_number for event in events if hasattr(event, "sequence_number")][-1] > 5, True)


@check()
def a_response_s_tools_are_called_and_their_outputs_understood(stage):
    tools = {"tools": [{"type": "function", "strict": True, **WEATHER}]}
    thinking = {"reasoning": {"effort": "high", "summary": "auto"}}
    stateless = {"store": False, "include": ["reasoning.encrypted_content"]}
    for extra in ({}, thinking, thinking | stateless):
        history = [{"role": "user", "content": "do:two"}]
        with stage.client.responses.stream(model=stage.target.name, input=history, **tools, **extra) as stream:
            final = stream.get_final_response()
        calls = [item for item in final.output if item.type == "function_call"]
        same([call.name for call in calls], ["weather", "weather"])
        for item in final.output:
            history.append(item.model_dump(exclude_none=True, exclude={"parsed_arguments"}))
        for call in calls:
            history.append(
                {"type": "function_call_output", "call_id": call.call_id, "output": f"sunny: {call.arguments}"}
            )
        answer = stage.respond(history, **tools, **extra)
        same(compact(answer.output_text), compact(said("Oslo", "Lima")))


@check()
def a_response_with_thoughts_goes_on_at_another_provider(stage):
    more = {
        "tools": [{"type": "function", "strict": True, **WEATHER}],
        "reasoning": {"effort": "high", "summary": "auto"},
    }
    more |= {"store": False, "include": ["reasoning.encrypted_content"]}
    for place in ("at-anthropic", "at-gemini", "at-openai"):
        first = stage.respond("do:tool", **more | {"model": place})
        call = first.output[-1]
        history = [
            {"role": "user", "content": "do:tool"},
            *(item.model_dump(exclude_none=True) for item in first.output),
        ]
        history.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
        same(stage.respond(history, **more).output_text, "Results: [sunny]")


@check(foreign)
def a_tool_of_plain_text_gets_its_text_as_it_is(stage):
    custom = {"type": "custom", "custom": {"name": "scribble"}}
    call = stage.chat("do:tool", tools=[custom]).choices[0].message.tool_calls[0]
    same((call.type, call.custom.name, call.custom.input), ("custom", "scribble", plan.SCRIBBLE))
    history = [
        {"role": "user", "content": "do:tool"},
        {"role": "assistant", "tool_calls": [call.model_dump()]},
        {"role": "tool", "tool_call_id": call.id, "content": "hi"},
    ]
    same(stage.chat(history, tools=[custom]).choices[0].message.content, "Results: [hi]")
    tools = [{"type": "custom", "name": "scribble"}]
    with stage.client.responses.stream(model=stage.target.name, input="do:tool", tools=tools) as stream:
        call = stream.get_final_response().output[-1]
    same((call.type, call.name, call.input), ("custom_tool_call", "scribble", plan.SCRIBBLE))
    history = [
        {"role": "user", "content": "do:tool"},
        call.model_dump(exclude_none=True),
        {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "hi"},
    ]
    same(stage.respond(history, tools=tools).output_text, "Results: [hi]")


@check(foreign)
def a_tool_of_a_namespace_is_called_by_both_names(stage):
    weather = {"type": "function", "strict": False, **WEATHER}
    tools = [{"type": "namespace", "name": "city", "description": "About cities", "tools": [weather]}]
    call = stage.respond("do:tool", tools=tools).output[-1].model_dump(exclude_none=True)
    same((call["type"], call["name"], call["namespace"]), ("function_call", "weather", "city"))
    history = [
        {"role": "user", "content": "do:tool"},
        call,
        {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"},
    ]
    same(stage.respond(history, tools=tools).output_text, "Results: [sunny]")


@check()
def a_response_shows_its_reasoning(stage):
    answer = stage.respond("hello", reasoning={"effort": "medium", "summary": "auto"})
    summary = [part.text for item in answer.output if item.type == "reasoning" for part in item.summary]
    if foreign(stage.target) or stage.target.provider == "openai":
        same("".join(summary), "".join(plan.THOUGHT))
    same(answer.output_text, plan.TEXT)


@check()
def a_response_s_picture_and_schema_arrive(stage):
    parts = [
        {"type": "input_text", "text": "do:image"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
    ]
    same(stage.respond([{"role": "user", "content": parts}]).output_text, " ".join(plan.picture("image/png", PNG)))
    parsed = stage.client.responses.parse(model=stage.target.name, input="do:json", text_format=Report)
    same(parsed.output_parsed, Report(**plan.STRUCTURED))


@check()
def a_response_that_breaks_or_is_too_long_never_looks_complete(stage):
    same(stage.respond("do:long").status, "incomplete")
    for mark in ("error", "cut"):
        events = []
        try:
            events.extend(stage.respond(f"do:{mark}", stream=True))
        except openai.APIError:
            continue
        assert events[-1].type in ("error", "response.failed"), [event.type for event in events]
