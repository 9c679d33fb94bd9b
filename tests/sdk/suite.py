"""What the real OpenAI Python SDK sees through the router. `suite.py BINARY` prints a line a test and a sum.

Each test is a function with a sentence for a name; it gets a `Stage`: a client, the provider, the router.
"""

import dataclasses
import io
import sys
import time
import traceback

import openai
from openai import OpenAI

import router as routers
import upstream as upstreams

TEXT = "".join(upstreams.WORDS)
HELLO = [{"role": "user", "content": "Say hello."}]
TESTS = []


@dataclasses.dataclass
class Stage:
    """What a test has."""

    client: OpenAI
    upstream: upstreams.Upstream
    router: routers.Router

    def chat(self, model, **more):
        """A chat completion."""
        return self.client.chat.completions.create(model=model, messages=HELLO, **more)


def test(function):
    """Takes a function into the suite."""
    TESTS.append(function)
    return function


def raises(kind, act):
    """The error of `kind` that `act` must raise."""
    try:
        act()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def texts(chunks):
    """The text of a chat stream."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@test
def a_chat_completion_comes_whole(stage):
    answer = stage.chat("plain")
    assert answer.choices[0].message.content == TEXT, answer
    assert (answer.model, answer.usage.total_tokens) == ("plain", 12), answer
    call = stage.upstream.seen("plain")[-1]
    assert call.key.startswith("sk-upstream-"), call.key
    assert not [name for name in call.headers if name.lower().startswith("x-stainless")], call.headers


@test
def a_stream_has_no_usage_chunk_unless_asked(stage):
    chunks = list(stage.chat("plain", stream=True))
    assert texts(chunks) == TEXT
    assert all(chunk.choices for chunk in chunks), "a chunk without choices would break choices[0]"
    assert all(chunk.usage is None for chunk in chunks)
    assert stage.upstream.seen("plain")[-1].json["stream_options"]["include_usage"] is True


@test
def a_stream_has_usage_when_asked(stage):
    chunks = list(stage.chat("plain", stream=True, stream_options={"include_usage": True}))
    assert texts(chunks) == TEXT
    assert chunks[-1].usage.total_tokens == 12 and chunks[-1].choices == []


@test
def the_stream_helper_puts_tool_calls_together(stage):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
    with stage.client.chat.completions.stream(model="tools", messages=HELLO, tools=tools) as stream:
        final = stream.get_final_completion()
    call = final.choices[0].message.tool_calls[0]
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "weather", '{"city":"Oslo"}'), call


@test
def embeddings_come_in_both_encodings(stage):
    for encoding in (openai.NOT_GIVEN, "float", "base64"):
        answer = stage.client.embeddings.create(model="plain", input="x", encoding_format=encoding)
        vector = answer.data[0].embedding
        assert isinstance(vector, str) if encoding == "base64" else vector == upstreams.VECTOR, vector


@test
def models_are_listed_and_shown(stage):
    deadline = time.monotonic() + 10
    while not set(upstreams.MODELS) <= {model.id for model in stage.client.models.list()}:
        assert time.monotonic() < deadline, "the provider's models are never listed"
        time.sleep(0.05)
    assert stage.client.models.retrieve("plain").id == "plain"
    assert stage.client.models.retrieve("org/with-slash").id == "org/with-slash"
    raises(openai.NotFoundError, lambda: stage.client.models.retrieve("nobody-has-this"))


@test
def a_wrong_key_is_an_authentication_error(stage):
    stranger = stage.client.with_options(api_key="sk-wrong")
    error = raises(openai.AuthenticationError, lambda: stranger.chat.completions.create(model="plain", messages=HELLO))
    assert error.code == "invalid_api_key" and error.request_id, error


@test
def a_provider_s_rejected_key_is_no_authentication_error(stage):
    error = raises(openai.InternalServerError, lambda: stage.chat("rejected-key"))
    assert error.status_code in (502, 503), error


@test
def a_bad_request_keeps_its_message_and_code(stage):
    before = len(stage.upstream.seen("bad-request"))
    error = raises(openai.BadRequestError, lambda: stage.chat("bad-request"))
    assert error.code == "too_hot" and "temperature is too hot" in str(error), error
    assert len(stage.upstream.seen("bad-request")) == before + 1, "a caller's error was tried again"


@test
def an_unknown_model_is_not_found(stage):
    error = raises(openai.NotFoundError, lambda: stage.chat("unknown-there"))
    assert error.code == "model_not_found", error


@test
def our_own_limit_is_a_rate_limit_error_with_its_time(stage):
    once = stage.client.with_options(max_retries=0)
    for _ in range(2):
        once.chat.completions.create(model="scarce", messages=HELLO)
    error = raises(openai.RateLimitError, lambda: once.chat.completions.create(model="scarce", messages=HELLO))
    assert error.code == "rate_limit_exceeded", error
    assert 1 <= int(error.response.headers["retry-after"]) <= 60
    assert int(error.response.headers["retry-after-ms"]) <= 60_000
    assert len(stage.upstream.seen("scarce")) == 2


@test
def a_limited_provider_is_a_rate_limit_error_with_its_time(stage):
    error = raises(openai.RateLimitError, lambda: stage.client.with_options(max_retries=0).chat.completions.create(
        model="limited", messages=HELLO))
    seconds = int(error.response.headers["retry-after"])
    assert 1 <= seconds <= 60, seconds
    assert "slow down" in str(error) or "limit" in str(error), error


@test
def x_should_retry_keeps_the_sdk_from_retrying_in_vain(stage):
    before = len(stage.upstream.seen("down"))
    error = raises(openai.InternalServerError, lambda: stage.chat("down"))
    assert error.response.headers["x-should-retry"] == "false", error.response.headers
    tries = len(stage.upstream.seen("down")) - before
    assert tries == 2, f"{tries} tries: one a credential, and none of the SDK's on top"


@test
def a_truncated_stream_raises(stage):
    seen = []

    def read():
        for chunk in stage.chat("breaks", stream=True):
            seen.append(chunk)

    error = raises(openai.APIError, read)
    assert texts(seen) and TEXT.startswith(texts(seen)), seen
    assert str(error), error


@test
def failover_is_invisible(stage):
    for _ in range(3):
        assert stage.chat("first-fails").choices[0].message.content == TEXT
    assert texts(stage.chat("fails-first-frame", stream=True)) == TEXT
    calls = stage.upstream.seen("first-fails")
    assert len(calls) == 6 and all(calls[n].key != calls[n + 1].key for n in (0, 2, 4)), [c.key for c in calls]


@test
def responses_are_created_and_streamed(stage):
    response = stage.client.responses.create(model="plain", input="hi")
    assert response.output_text == TEXT and response.usage.total_tokens == 12, response
    events = list(stage.client.responses.create(model="plain", input="hi", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed" and events[-1].response.output_text == TEXT
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == TEXT, text


@test
def a_truncated_response_does_not_look_complete(stage):
    events = []

    def read():
        for event in stage.client.responses.create(model="breaks", input="hi", stream=True):
            events.append(event)

    try:
        read()
    except openai.APIError:
        pass
    else:
        assert events and events[-1].type == "error", [event.type for event in events]
    assert not [event for event in events if event.type == "response.completed"]


@test
def a_file_is_found_again_by_its_id(stage):
    content = io.BytesIO(b'{"custom_id":"1"}\n' * 200)
    files = [stage.client.files.create(file=("a.jsonl", content), purpose="batch") for _ in range(3)]
    for file in files:
        assert stage.client.files.retrieve(file.id).id == file.id
        assert b"multipart" not in stage.client.files.content(file.id).read()[:20]
        assert stage.client.files.delete(file.id).deleted


@test
def every_answer_has_a_request_id(stage):
    raw = stage.client.chat.completions.with_raw_response.create(model="plain", messages=HELLO)
    assert raw.request_id and raw.request_id == raw.headers["x-request-id"]
    assert raw.headers["x-upstream-request-id"] == "req_provider"
    assert raw.parse().choices[0].message.content == TEXT


@test
def a_timeout_of_the_client_is_the_client_s(stage):
    hurried = stage.client.with_options(timeout=0.3, max_retries=0)
    raises(openai.APITimeoutError, lambda: hurried.chat.completions.create(model="slow", messages=HELLO))
    assert stage.chat("plain").choices[0].message.content == TEXT


def main(binary):
    """Runs every test; the exit code says whether all passed."""
    failed = 0
    upstream = upstreams.Upstream()
    with routers.Router(binary, upstream.url) as router:
        stage = Stage(OpenAI(api_key=routers.KEY, base_url=router.url, timeout=30), upstream, router)
        for function in TESTS:
            try:
                function(stage)
                print(f"sdk {function.__name__} ... ok", flush=True)
            except Exception:  # pylint: disable=broad-exception-caught
                failed += 1
                print(f"sdk {function.__name__} ... FAILED\n{traceback.format_exc()}", flush=True)
        if failed:
            print(router.tail())
    print(f"OpenAI Python SDK {openai.__version__}: {len(TESTS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
