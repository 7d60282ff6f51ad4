// What the Vercel AI SDK's provider for Google makes of the gateway's answers, as one JSON document on the last line.
//
// Usage: node ai_google.cjs GATEWAY_URL
//
// Each entry is one scenario; the model's name tells the scripted upstream what to answer. The expectations are in
// tests/black_box/sdk_genai.rs, the same as for Google's own SDK, which is why answers are reduced to its shape here.

const { generateText, streamText, jsonSchema, stepCountIs, tool, Output, APICallError } = require("ai");
const { createGoogleGenerativeAI } = require("@ai-sdk/google");

const google = createGoogleGenerativeAI({ baseURL: `${process.argv[2]}/v1beta`, apiKey: process.env.CLIENT_KEY });

// The SDK's own words for why an answer stopped, as the dialect has them: a call is no reason of its own there.
const STOPS = { stop: "STOP", "tool-calls": "STOP" };

const tools = (execute) => Object.fromEntries([["weather", "Tells the weather.", "city"], ["time", "Tells the time.", "zone"]].map(([name, description, parameter]) => [
  name,
  tool({
    description,
    inputSchema: jsonSchema({ type: "object", properties: { [parameter]: { type: "string" } }, required: [parameter] }),
    ...(execute && { execute }),
  }),
]));
const CITY = jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"] });

const request = (model, more) => ({ model: google(model), system: "Be brief.", prompt: "Weather and time in Bergen?", maxRetries: 0, ...more });

const answer = async (made) => ({
  text: await made.text,
  calls: (await made.toolCalls).map((c) => ({ id: c.toolCallId, name: c.toolName, input: c.input })),
  thinking: (await made.reasoningText) ?? "",
  stop: STOPS[await made.finishReason] ?? (await made.finishReason),
  id: Boolean((await made.response).id),
  usage: await (async (u) => ({
    input: u.inputTokens, output: u.outputTokens, cached: u.inputTokenDetails.cacheReadTokens, reasoning: u.outputTokenDetails.reasoningTokens,
  }))(await made.usage),
});

// A stream tells its errors as parts; what is awaited afterwards only says that there was no answer.
const streamed = async (model, more) => {
  const stream = streamText({ ...request(model, more), onError: () => {} });
  for await (const part of stream.fullStream) if (part.type === "error") throw part.error;
  return stream;
};
const made = { unary: async (model, more) => generateText(request(model, more)), stream: streamed };

const agent = async (how) => {
  const done = await how("agent", { tools: tools(async () => "done"), stopWhen: stepCountIs(3) });
  return { first: (await done.steps)[0].toolCalls.map((c) => c.toolName), then: await done.text };
};

const failure = async (call) => {
  try {
    await call();
  } catch (e) {
    if (!APICallError.isInstance(e)) return { class: e?.name ?? typeof e, message: e?.message ?? JSON.stringify(e) };
    const { code, status, message } = JSON.parse(e.responseBody).error;
    return { class: e.statusCode < 500 ? "ClientError" : "ServerError", code, status, message };
  }
  return { class: null };
};

(async () => {
  const out = {};
  for (const [name, how] of Object.entries(made)) {
    const one = async (model, more) => answer(await how(model, more));
    out[`text ${name}`] = await one("text", { temperature: 0 });
    out[`tools ${name}`] = await one("tools", { tools: tools() });
    out[`usage ${name}`] = await one("usage");
    const thinkingConfig = { includeThoughts: true, thinkingBudget: 2000 };
    out[`thinking ${name}`] = await one("thinking", { providerOptions: { google: { thinkingConfig } } });
    out[`json ${name}`] = await (await how("json", { output: Output.object({ schema: CITY }) })).output;
    for (const model of ["e400", "e401", "e429", "e503", "unknown"]) out[`${model} ${name}`] = await failure(() => how(model));
    out[`agent ${name}`] = await agent(how);
  }
  console.log(JSON.stringify(out));
})();
