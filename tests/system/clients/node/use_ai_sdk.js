// The `ai` package over @ai-sdk/openai-compatible: text, streamed text with usage, a tool. Prints one JSON object.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, streamText, tool } from "ai";

const { BASE_URL, API_KEY, MODEL } = process.env;
const provider = createOpenAICompatible({ name: "booth", baseURL: `${BASE_URL}/v1`, apiKey: API_KEY, includeUsage: true });
const model = provider(MODEL);

const whole = await generateText({ model, prompt: "[[write 3]]", maxRetries: 0 });
const stream = streamText({ model, prompt: "[[write 4]]", maxRetries: 0 });
let streamed = "";
for await (const piece of stream.textStream) streamed += piece;
const usage = await stream.usage;
const look = tool({ description: "Looks.", inputSchema: jsonSchema({ type: "object", properties: { query: { type: "string" } } }) });
const called = await generateText({ model, prompt: "[[tool-call]] stars", tools: { look }, maxRetries: 0 });
let refused = null;
try {
  await generateText({ model: provider("no/such"), prompt: "Hi", maxRetries: 0 });
} catch (error) {
  refused = error.statusCode;
}
console.log(JSON.stringify({
  whole: whole.text,
  streamed,
  outputTokens: usage.outputTokens,
  tool: [called.toolCalls[0].toolName, called.toolCalls[0].input],
  refused,
}));
