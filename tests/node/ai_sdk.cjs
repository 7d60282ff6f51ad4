// What the Vercel AI SDK makes of the gateway's answers, as one JSON document on the last line.
//
// Usage: node ai_sdk.cjs GATEWAY_URL chat|responses|messages
//
// The word says which of its providers speaks: `openai.chat`, `openai.responses` or `anthropic`. Each entry is one scenario; the model's
// name tells the scripted upstream what to answer. The expectations are in tests/black_box/sdk.rs, the same for all SDKs, which is why
// answers are reduced to one shape here.

const { generateText, streamText, jsonSchema, tool, Output, APICallError } = require("ai");
const { createOpenAI } = require("@ai-sdk/openai");
const { createAnthropic } = require("@ai-sdk/anthropic");

const [url, kind] = process.argv.slice(2);
const apiKey = process.env.CLIENT_KEY;
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey });
const anthropic = createAnthropic({ baseURL: `${url}/anthropic/v1`, apiKey });
const PROVIDERS = { chat: openai.chat, responses: openai.responses, messages: anthropic };

// The SDK's own words for why an answer stopped, as the dialect has them.
const STOPS = {
  chat: { stop: "stop", "tool-calls": "tool_calls" },
  responses: { stop: "completed", "tool-calls": "completed" },
  messages: { stop: "end_turn", "tool-calls": "tool_use" },
};

const USER = { role: "user", content: "Weather and time in Bergen?" };
const TOOLS = Object.fromEntries([["weather", "Tells the weather.", "city"], ["time", "Tells the time.", "zone"]].map(([name, description, parameter]) => [
  name,
  tool({
    description,
    inputSchema: jsonSchema({ type: "object", properties: { [parameter]: { type: "string" } }, required: [parameter], additionalProperties: false }),
  }),
]));
const text = (value) => ({ type: "text", value });
const RESULT = [USER,
  { role: "assistant", content: [
    { type: "text", text: "Let me look." },
    { type: "tool-call", toolCallId: "call_w", toolName: "weather", input: { city: 'Bergen "fjord"' } },
    { type: "tool-call", toolCallId: "call_t", toolName: "time", input: { zone: "Europe/Oslo" } },
  ] },
  { role: "tool", content: [
    { type: "tool-result", toolCallId: "call_w", toolName: "weather", output: text("rain, 7°C") },
    { type: "tool-result", toolCallId: "call_t", toolName: "time", output: text("12:00") },
  ] },
];
const CITY = jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false });

const request = (model, more) => ({
  model: PROVIDERS[kind](model), system: "Be brief.", messages: [USER], maxRetries: 0,
  // Without it the SDK asks models that it does not know for a tool call in the place of structured output.
  providerOptions: { anthropic: { structuredOutputMode: "outputFormat" } },
  ...more,
});

const usage = (u) => ({
  input: u.inputTokens,
  output: u.outputTokens,
  cached: u.inputTokenDetails.cacheReadTokens,
  // The SDK has no place for Anthropic's.
  reasoning: u.outputTokenDetails.reasoningTokens ?? u.raw?.output_tokens_details?.thinking_tokens,
});

const answer = async (made) => ({
  text: await made.text,
  calls: (await made.toolCalls).map((c) => ({ id: c.toolCallId, name: c.toolName, input: c.input })),
  thinking: (await made.reasoningText) ?? "",
  stop: STOPS[kind][await made.finishReason] ?? (await made.finishReason),
  model: (await made.response).modelId,
  usage: usage(await made.usage),
});

// A stream tells its errors as parts; what is awaited afterwards only says that there was no answer.
const streamed = async (model, more) => {
  const stream = streamText({ ...request(model, more), onError: () => {} });
  for await (const part of stream.fullStream) if (part.type === "error") throw part.error;
  return stream;
};

const ways = {
  unary: async (model, more) => answer(await generateText(request(model, more))),
  stream: async (model, more) => answer(await streamed(model, more)),
};
const objects = {
  unary: async (model) => (await generateText(request(model, { output: Output.object({ schema: CITY }) }))).output,
  stream: async (model) => (await streamed(model, { output: Output.object({ schema: CITY }) })).output,
};

const failure = async (call) => {
  try {
    await call();
  } catch (e) {
    const error = APICallError.isInstance(e) ? e : { name: "AI_StreamError", message: e?.message ?? JSON.stringify(e) };
    return { class: error.name, status: error.statusCode ?? null, message: error.message, retry_after: error.responseHeaders?.["retry-after"] ?? null };
  }
  return { class: null };
};

(async () => {
  const out = {};
  for (const [name, how] of Object.entries(ways)) {
    out[`text ${name}`] = await how("text", { temperature: 0 });
    out[`tools ${name}`] = await how("tools", { tools: TOOLS });
    out[`interleaved ${name}`] = await how("interleaved", { tools: TOOLS });
    out[`result ${name}`] = await how("result", { messages: RESULT, tools: TOOLS });
    out[`usage ${name}`] = await how("usage");
    // Its provider for chat completions does not look for reasoning.
    if (kind !== "chat") {
      const { text, thinking, stop } = await how("thinking");
      out[`reasoning ${name}`] = { text, thinking, stop };
    }
    out[`json ${name}`] = await objects[name]("json");
    for (const model of ["e400", "e401", "e429", "e529", "unknown"]) out[`${model} ${name}`] = await failure(() => how(model));
  }
  out["broken stream"] = await failure(() => ways.stream("broken"));
  console.log(JSON.stringify(out));
})();
