// npm's openai and the `ai` package where the budget is spent, and where an answer breaks off. Prints one JSON object.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import OpenAI from "openai";

const { BASE_URL, API_KEY, SPENT_KEY, MODEL } = process.env;
const BROKEN = "[[write 9]] [[stop-after 3]]";
let calls = 0;
const counting = (...given) => {
  calls += 1;
  return fetch(...given);
};
const raised = async (call) => {
  calls = 0;
  try {
    await call();
  } catch (error) {
    const last = error.lastError ?? error;
    return { status: last.statusCode ?? last.status ?? null, code: last.code ?? null, calls, message: last.message };
  }
  return null;
};
const openai = (apiKey) => new OpenAI({ baseURL: `${BASE_URL}/v1`, apiKey, maxRetries: 2, fetch: counting });
const asked = (content) => ({ model: MODEL, messages: [{ role: "user", content }] });
const provider = (apiKey) =>
  createOpenAICompatible({ name: "booth", baseURL: `${BASE_URL}/v1`, apiKey, fetch: counting })(MODEL);

const spent = await raised(() => openai(SPENT_KEY).chat.completions.create(asked("Hi")));
// This SDK knows no word for "do not try again", but it takes no wait longer than a minute from a server.
const aiSpent = await raised(() => generateText({ model: provider(SPENT_KEY), prompt: "Hi", maxRetries: 1 }));
const aiBroken = await raised(async () => {
  let failed = null;
  const stream = streamText({ model: provider(API_KEY), prompt: BROKEN, onError: ({ error }) => (failed = error) });
  for await (const _ of stream.textStream);
  if (failed) throw failed;
});
console.log(JSON.stringify({ spent, aiSpent, aiBroken }));
