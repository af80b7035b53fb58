// npm's openai: a chat, streamed; a tool; a response; embeddings; an error. Prints what it got as one JSON object.
import OpenAI from "openai";

const { BASE_URL, API_KEY, MODEL } = process.env;
const client = new OpenAI({ baseURL: `${BASE_URL}/v1`, apiKey: API_KEY, maxRetries: 0 });
const asked = (content) => [{ role: "user", content }];

const chat = await client.chat.completions.create({ model: MODEL, messages: asked("[[write 3]]") });
let streamed = "";
let usage = null;
const stream = await client.chat.completions.create({
  model: MODEL, messages: asked("[[write 4]]"), stream: true, stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
const tools = [{ type: "function", function: { name: "look", parameters: { type: "object" } } }];
const called = await client.chat.completions.create({ model: MODEL, messages: asked("[[tool-call]] stars"), tools });
const response = await client.responses.create({ model: MODEL, input: "[[write 2]]" });
const kinds = [];
for await (const event of await client.responses.create({ model: MODEL, input: "[[write 2]]", stream: true })) {
  kinds.push(event.type);
}
const vectors = await client.embeddings.create({ model: MODEL, input: ["a", "b"] });
let refused = null;
try {
  await client.chat.completions.create({ model: "no/such", messages: asked("Hi") });
} catch (error) {
  refused = [error.status, error.code];
}
let broken = null;
try {
  const cut = await client.chat.completions.create({
    model: MODEL, messages: asked("[[write 9]] [[stop-after 3]]"), stream: true,
  });
  for await (const _ of cut);
} catch (error) {
  broken = error.constructor.name;
}
console.log(JSON.stringify({
  chat: chat.choices[0].message.content,
  streamed,
  cost: usage.cost,
  tool: called.choices[0].message.tool_calls[0].function,
  response: response.output_text,
  last: kinds.at(-1),
  vectors: vectors.data.length,
  refused,
  broken,
}));
