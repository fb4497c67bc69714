// The JavaScript openai package: whole, streaming, tools, structured output, responses, errors.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { VERSION } from "openai/version";

const model = process.env.CLIENT_MODEL;
const client = new OpenAI({ baseURL: process.env.CLIENT_BASE_URL, apiKey: process.env.CLIENT_API_KEY, maxRetries: 0 });
const WORDS = "word0 word1 word2";
const user = (content) => [{ role: "user", content }];
const schema = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
  additionalProperties: false,
};
const tool = { type: "function", function: { name: "weather", parameters: schema } };

const whole = await client.chat.completions.create({ model, messages: user("[words=3]") });
assert.equal(whole.choices[0].message.content, WORDS);
assert.equal(whole.usage.completion_tokens, 3);

let said = "";
let usage = null;
const stream = await client.chat.completions.create({
  model, messages: user("[words=3]"), stream: true, stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  said += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(said, WORDS);
assert.equal(usage.completion_tokens, 3);

const helper = client.chat.completions.stream({ model, messages: user("[words=3]") });
assert.equal(await helper.finalContent(), WORDS);

const answered = await client.chat.completions
  .runTools({
    model,
    messages: user("Weather?"),
    tools: [{
      type: "function",
      function: {
        name: "weather", parameters: schema, parse: JSON.parse, description: "Get the weather.",
        function: ({ city, days }) => `rain in ${city} for ${days} days`,
      },
    }],
  })
  .finalContent();
assert.equal(answered, "The tool says: rain in text for 4 days");

const called = await client.chat.completions.stream({ model, messages: user("Weather?"), tools: [tool] }).finalChatCompletion();
assert.deepEqual(JSON.parse(called.choices[0].message.tool_calls[0].function.arguments), { city: "text", days: 4 });

const shaped = await client.chat.completions.create({
  model, messages: user("A trip?"),
  response_format: { type: "json_schema", json_schema: { name: "trip", schema, strict: true } },
});
assert.deepEqual(JSON.parse(shaped.choices[0].message.content), { city: "text", days: 4 });

const response = await client.responses.create({ model, input: "[words=3]" });
assert.equal(response.output_text, WORDS);
const streamed = client.responses.stream({ model, input: "[words=3]" });
assert.equal((await streamed.finalResponse()).output_text, WORDS);

const names = [];
for await (const found of client.models.list()) names.push(found.id);
assert.ok(names.includes(model));

await assert.rejects(client.chat.completions.create({ model: "no-such-model", messages: user("hi") }), (error) => {
  assert.ok(error instanceof OpenAI.NotFoundError);
  assert.equal(error.code, "model_not_found");
  return true;
});
await assert.rejects(async () => {
  const broken = await client.chat.completions.create({ model, messages: user("[words=9] [fault=die]"), stream: true });
  for await (const chunk of broken) assert.ok(chunk);
}, OpenAI.APIError);

console.log(`openai (JavaScript) ${VERSION}: 11 uses`);
