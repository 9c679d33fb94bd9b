// The JavaScript SDKs of OpenAI and Anthropic at every kind of provider: `suite.mjs DIRECTORY`, where node_modules is.
//
// STAGES and ROUTER_KEY come from with_fleet.py; what the providers answer is in ../fakes/plan.py.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.resolve(process.argv[2], "package.json"));
const { default: OpenAI } = require("openai");
const { default: Anthropic } = require("@anthropic-ai/sdk");
const TEXT = "Hello from the provider – ünïcode 🦀";
const RESULTS = "Results: [sunny in Oslo] [sunny in Lima]";
const SCHEMA = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const HELLO = [{ role: "user", content: "hello" }];
const TWO = [{ role: "user", content: "do:two" }];

const sunny = (json) => `sunny in ${JSON.parse(json).city}`;
const checks = {
    async "a chat comes whole and as a stream"({ openai, model }) {
        const answer = await openai.chat.completions.create({ model, messages: HELLO });
        assert.equal(answer.choices[0].message.content, TEXT);
        let text = "";
        for await (const chunk of await openai.chat.completions.create({ model, messages: HELLO, stream: true })) {
            text += chunk.choices[0]?.delta.content ?? "";
        }
        assert.equal(text, TEXT);
    },

    async "a chat uses its tools by itself, in a stream"({ openai, model }) {
        const run = openai.chat.completions.runTools({
            model, messages: TWO, stream: true,
            tools: [{ type: "function", function: { name: "weather", parameters: SCHEMA, function: sunny } }],
        });
        assert.equal(await run.finalContent(), RESULTS);
    },

    async "a response comes by the stream helper, and uses a tool"({ openai, model }) {
        const tools = [{ type: "function", name: "weather", parameters: SCHEMA, strict: false }];
        const first = await openai.responses.stream({ model, input: TWO, tools }).finalResponse();
        const calls = first.output.filter((item) => item.type === "function_call");
        const outputs = calls.map((call) => ({
            type: "function_call_output", call_id: call.call_id, output: sunny(call.arguments),
        }));
        const items = first.output.map(({ parsed_arguments, ...item }) => item);
        const second = await openai.responses.create({ model, input: [...TWO, ...items, ...outputs], tools });
        assert.equal(second.output_text, RESULTS);
    },

    async "a message comes whole and by the stream helper"({ anthropic, model }) {
        const answer = await anthropic.messages.create({ model, max_tokens: 900, messages: HELLO });
        assert.equal(answer.content[0].text, TEXT);
        const stream = anthropic.messages.stream({ model, max_tokens: 900, messages: HELLO });
        assert.equal(await stream.finalText(), TEXT);
    },

    async "a message uses its tools"({ anthropic, model }) {
        const more = { model, max_tokens: 900, tools: [{ name: "weather", input_schema: SCHEMA }] };
        const first = await anthropic.messages.stream({ ...more, messages: TWO }).finalMessage();
        const results = first.content.filter((block) => block.type === "tool_use").map((block) => ({
            type: "tool_result", tool_use_id: block.id, content: `sunny in ${block.input.city}`,
        }));
        const history = [...TWO, { role: "assistant", content: first.content }, { role: "user", content: results }];
        const second = await anthropic.messages.create({ ...more, messages: history });
        assert.equal(second.content.at(-1).text, RESULTS);
    },

    async "errors have their classes, and broken streams raise"({ openai, anthropic, model }) {
        const ask = (mark) => ({ model, max_tokens: 900, messages: [{ role: "user", content: `do:${mark}` }] });
        await assert.rejects(anthropic.messages.create(ask("400")), Anthropic.BadRequestError);
        const chat = (mark) => ({ model, messages: ask(mark).messages });
        await assert.rejects(openai.chat.completions.create(chat("400")), OpenAI.BadRequestError);
        for (const mark of ["error", "cut"]) {
            await assert.rejects(anthropic.messages.stream(ask(mark)).finalMessage());
            const read = async () => {
                for await (const chunk of await openai.chat.completions.create({ ...chat(mark), stream: true })) {
                    assert.ok(chunk);
                }
            };
            await assert.rejects(read());
        }
    },
};

let [passed, failed] = [0, 0];
for (const { name, model, url } of JSON.parse(process.env.STAGES)) {
    const settings = { apiKey: process.env.ROUTER_KEY, maxRetries: 0, timeout: 20_000 };
    const openai = new OpenAI({ ...settings, baseURL: url });
    const anthropic = new Anthropic({ ...settings, baseURL: url.replace(/\/v1$/, "") });
    for (const [sentence, check] of Object.entries(checks)) {
        try {
            await check({ openai, anthropic, model });
            passed += 1;
        } catch (error) {
            failed += 1;
            console.log(`javascript ${sentence} [${name}] ... FAILED\n${error.stack}`);
        }
    }
}
console.log(`javascript: ${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
