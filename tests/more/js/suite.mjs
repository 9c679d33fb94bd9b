// What the real OpenAI JavaScript SDK sees through the router: suite.mjs SDK_DIR, where SDK_DIR holds node_modules.
//
// ROUTER_URL and ROUTER_KEY say where the router is; the models are those of tests/sdk/upstream.py. Each test is a
// function with a sentence for a name. Prints a line a test and a sum.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.resolve(process.argv[2], "package.json"));
const OpenAI = require("openai");
const { VERSION } = require("openai/version");

const TEXT = "Hello from the provider";
const HELLO = [{ role: "user", content: "Say hello." }];
const options = { baseURL: process.env.ROUTER_URL, apiKey: process.env.ROUTER_KEY, timeout: 20_000 };
const client = new OpenAI(options);
const once = new OpenAI({ ...options, maxRetries: 0 });

const chat = (model, more = {}, by = client) => by.chat.completions.create({ model, messages: HELLO, ...more });
const texts = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

/** Everything that an async iterable gives. */
async function all(stream, into = []) {
  for await (const item of await stream) into.push(item);
  return into;
}

/** The error of `kind` that `act` must raise. */
async function raises(kind, act) {
  try {
    await act();
  } catch (error) {
    assert.ok(error instanceof kind, `${error?.constructor?.name} instead of ${kind.name}: ${error}`);
    return error;
  }
  return assert.fail(`no ${kind.name} was raised`);
}

const TESTS = [
  async function a_chat_completion_comes_whole() {
    const answer = await chat("plain");
    assert.equal(answer.choices[0].message.content, TEXT);
    assert.equal(answer.usage.total_tokens, 12);
    assert.equal(answer.model, "plain");
  },

  async function every_answer_has_a_request_id() {
    const { data, response, request_id } = await chat("plain").withResponse();
    assert.ok(request_id);
    assert.equal(response.headers.get("x-request-id"), request_id);
    assert.equal(data._request_id, request_id);
    assert.equal(response.headers.get("x-upstream-request-id"), "req_provider");
  },

  async function a_stream_has_no_usage_chunk_unless_asked() {
    const chunks = await all(chat("plain", { stream: true }));
    assert.equal(texts(chunks), TEXT);
    assert.ok(chunks.every((chunk) => chunk.choices.length > 0 && !chunk.usage));
    assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  },

  async function a_stream_has_usage_when_asked() {
    const chunks = await all(chat("plain", { stream: true, stream_options: { include_usage: true } }));
    assert.equal(texts(chunks), TEXT);
    assert.equal(chunks.at(-1).usage.total_tokens, 12);
    assert.deepEqual(chunks.at(-1).choices, []);
  },

  async function the_stream_runner_puts_tool_calls_together() {
    const parameters = { type: "object", properties: {} };
    const tools = [{ type: "function", function: { name: "weather", parameters } }];
    const runner = client.chat.completions.stream({ model: "tools-with-role", messages: HELLO, tools });
    const [call] = (await runner.finalChatCompletion()).choices[0].message.tool_calls;
    assert.equal(call.id, "call_1");
    assert.equal(call.function.name, "weather");
    assert.equal(call.function.arguments, '{"city":"Oslo"}');
  },

  async function embeddings_come_in_both_encodings() {
    for (const encoding_format of [undefined, "float"]) {
      const answer = await client.embeddings.create({ model: "plain", input: "x", encoding_format });
      assert.deepEqual(Array.from(answer.data[0].embedding), [0.25, -0.5, 1]);
    }
    const packed = await client.embeddings.create({ model: "plain", input: "x", encoding_format: "base64" });
    assert.equal(typeof packed.data[0].embedding, "string");
  },

  async function models_are_listed_and_shown() {
    const wanted = ["plain", "org/with-slash"];
    const deadline = Date.now() + 10_000;
    for (;;) {
      const listed = (await all(client.models.list())).map((model) => model.id);
      if (wanted.every((id) => listed.includes(id))) break;
      assert.ok(Date.now() < deadline, "the provider's models are never listed");
      await new Promise((wake) => setTimeout(wake, 50));
    }
    for (const id of wanted) assert.equal((await client.models.retrieve(id)).id, id);
    await raises(OpenAI.NotFoundError, () => client.models.retrieve("nobody-has-this"));
  },

  async function a_wrong_key_is_an_authentication_error() {
    const stranger = new OpenAI({ ...options, apiKey: "sk-wrong" });
    const error = await raises(OpenAI.AuthenticationError, () => chat("plain", {}, stranger));
    assert.equal(error.status, 401);
    assert.equal(error.code, "invalid_api_key");
    assert.ok(error.requestID);
  },

  async function a_bad_request_keeps_its_message_and_code() {
    const error = await raises(OpenAI.BadRequestError, () => chat("bad-request"));
    assert.equal(error.code, "too_hot");
    assert.match(error.message, /temperature is too hot/);
  },

  async function an_unknown_model_is_not_found() {
    const error = await raises(OpenAI.NotFoundError, () => chat("unknown-there"));
    assert.equal(error.code, "model_not_found");
  },

  async function a_limited_provider_is_a_rate_limit_error_with_its_time() {
    const error = await raises(OpenAI.RateLimitError, () => chat("limited", {}, once));
    const seconds = Number(error.headers.get("retry-after"));
    assert.ok(seconds >= 1 && seconds <= 60, `retry-after: ${seconds}`);
  },

  async function our_own_limit_is_a_rate_limit_error_with_its_time() {
    for (let n = 0; n < 2; n += 1) await chat("scarce", {}, once);
    const error = await raises(OpenAI.RateLimitError, () => chat("scarce", {}, once));
    assert.equal(error.code, "rate_limit_exceeded");
    assert.ok(Number(error.headers.get("retry-after-ms")) <= 60_000);
  },

  async function a_provider_that_is_down_is_a_server_error_that_says_not_to_retry() {
    const error = await raises(OpenAI.InternalServerError, () => chat("down"));
    assert.equal(error.headers.get("x-should-retry"), "false");
  },

  async function a_truncated_stream_raises() {
    const seen = [];
    await raises(OpenAI.APIError, () => all(chat("breaks", { stream: true }), seen));
    assert.ok(texts(seen) && TEXT.startsWith(texts(seen)), texts(seen));
  },

  async function failover_is_invisible() {
    assert.equal((await chat("first-fails")).choices[0].message.content, TEXT);
    assert.equal(texts(await all(chat("fails-first-frame", { stream: true }))), TEXT);
  },

  async function a_stream_that_is_left_early_leaves_the_client_usable() {
    for await (const chunk of await chat("plain", { stream: true })) {
      assert.ok(chunk.id);
      break;
    }
    assert.equal((await chat("plain")).choices[0].message.content, TEXT);
  },

  async function responses_are_created_and_streamed() {
    const response = await client.responses.create({ model: "plain", input: "hi" });
    assert.equal(response.output_text, TEXT);
    const events = await all(client.responses.create({ model: "plain", input: "hi", stream: true }));
    assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
    assert.equal(events.at(-1).type, "response.completed");
  },
];

let failed = 0;
for (const test of TESTS) {
  try {
    await test();
    console.log(`js ${test.name} ... ok`);
  } catch (error) {
    failed += 1;
    console.log(`js ${test.name} ... FAILED\n${error.stack}`);
  }
}
console.log(`OpenAI JavaScript SDK ${VERSION}: ${TESTS.length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
