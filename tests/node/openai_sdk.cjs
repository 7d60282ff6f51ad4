// What the official OpenAI SDK makes of the gateway's answers, as one JSON document on the last line.
//
// Usage: node openai_sdk.cjs GATEWAY_URL
//
// Each entry is one scenario; the model's name tells the scripted upstream what to answer. The expectations are in
// tests/black_box/sdk.rs, the same for all SDKs, which is why answers are reduced to one shape here.

const OpenAI = require("openai").default;

const USER = [{ role: "system", content: "Be brief." }, { role: "user", content: "Weather and time in Bergen?" }];
const TOOLS = [["weather", "Tells the weather.", "city"], ["time", "Tells the time.", "zone"]].map(([name, description, parameter]) => ({
  type: "function",
  function: {
    name, description, strict: true,
    parameters: { type: "object", properties: { [parameter]: { type: "string" } }, required: [parameter], additionalProperties: false },
  },
}));
const RESULT = [...USER,
  { role: "assistant", content: "Let me look.", tool_calls: [
    { id: "call_w", type: "function", function: { name: "weather", arguments: '{"city":"Bergen \\"fjord\\""}' } },
    { id: "call_t", type: "function", function: { name: "time", arguments: '{"zone":"Europe/Oslo"}' } },
  ] },
  { role: "tool", tool_call_id: "call_w", content: "rain, 7°C" },
  { role: "tool", tool_call_id: "call_t", content: [{ type: "text", text: "12:00" }] },
];

const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: process.env.CLIENT_KEY, maxRetries: 0 });

const usage = (u) => u && {
  input: u.prompt_tokens,
  output: u.completion_tokens,
  cached: u.prompt_tokens_details?.cached_tokens ?? null,
  reasoning: u.completion_tokens_details?.reasoning_tokens ?? null,
};

const signature = (message) => (message.reasoning_details ?? []).map((d) => d.signature ?? "").join("");

const answer = (completion) => {
  const { message, finish_reason } = completion.choices[0];
  return {
    text: message.content ?? "",
    calls: (message.tool_calls ?? []).map((c) => ({ id: c.id, name: c.function.name, input: JSON.parse(c.function.arguments) })),
    thinking: message.reasoning_content ?? "",
    signature: signature(message),
    stop: finish_reason,
    model: completion.model,
    usage: usage(completion.usage) ?? null,
  };
};

const ways = {
  async unary(model, more = {}) {
    return answer(await client.chat.completions.create({ model, messages: USER, ...more }));
  },
  // Chunks put together by hand, as programs without the helper do.
  async stream(model, more = {}) {
    const made = { text: "", calls: [], thinking: "", signature: "", stop: null, model: null, usage: null };
    const options = { stream: true, stream_options: { include_usage: true } };
    for await (const chunk of await client.chat.completions.create({ model, messages: USER, ...options, ...more })) {
      made.model = chunk.model;
      made.usage = usage(chunk.usage) ?? made.usage;
      for (const { delta, finish_reason } of chunk.choices) {
        made.text += delta.content ?? "";
        made.thinking += delta.reasoning_content ?? "";
        made.signature += signature(delta);
        made.stop = finish_reason ?? made.stop;
        for (const call of delta.tool_calls ?? []) {
          if (call.index === made.calls.length) made.calls.push({ id: call.id, name: call.function.name, input: "" });
          made.calls[call.index].input += call.function?.arguments ?? "";
        }
      }
    }
    made.calls.forEach((call) => { call.input = JSON.parse(call.input); });
    return made;
  },
  // The SDK's own accumulator.
  async helper(model, more = {}) {
    const stream = client.chat.completions.stream({ model, messages: USER, stream_options: { include_usage: true }, ...more });
    return answer(await stream.finalChatCompletion());
  },
};

const failure = async (call) => {
  try {
    await call();
  } catch (e) {
    if (!(e instanceof OpenAI.OpenAIError)) throw e;
    return { class: e.constructor.name, status: e.status ?? null, message: e.message, retry_after: e.headers?.get("retry-after") ?? null };
  }
  return { class: null };
};

(async () => {
  const out = {};
  for (const [name, how] of Object.entries(ways)) {
    out[`text ${name}`] = await how("text", { temperature: 0 });
    out[`tools ${name}`] = await how("tools", { tools: TOOLS, tool_choice: "auto", parallel_tool_calls: true });
    // The helper itself takes one call after the other only.
    if (name === "stream") out["interleaved stream"] = await how("interleaved", { tools: TOOLS });
    out[`result ${name}`] = await how("result", { messages: RESULT, tools: TOOLS });
    out[`usage ${name}`] = await how("usage");
    if (name !== "helper") out[`thinking ${name}`] = await how("thinking");
    for (const model of ["e400", "e401", "e429", "e529", "unknown"]) out[`${model} ${name}`] = await failure(() => how(model));
  }
  for (const name of ["stream", "helper"]) out[`broken ${name}`] = await failure(() => ways[name]("broken"));
  out.models = [];
  for await (const model of client.models.list()) out.models.push(model.id);
  out.model = (await client.models.retrieve("text")).id;
  out["no model"] = await failure(() => client.models.retrieve("unknown"));
  console.log(JSON.stringify(out));
})();
