// What the official Anthropic SDK makes of the gateway's answers, as one JSON document on the last line.
//
// Usage: node anthropic_sdk.cjs GATEWAY_URL
//
// Each entry is one scenario; the model's name tells the scripted upstream what to answer. The expectations are in
// tests/black_box/sdk.rs, the same for all SDKs, which is why answers are reduced to one shape here.

const assert = require("node:assert");
const Anthropic = require("@anthropic-ai/sdk").default;

const USER = [{ role: "user", content: "Weather and time in Bergen?" }];
const TOOLS = [["weather", "Tells the weather.", "city"], ["time", "Tells the time.", "zone"]].map(([name, description, parameter]) => ({
  name, description,
  input_schema: { type: "object", properties: { [parameter]: { type: "string" } }, required: [parameter], additionalProperties: false },
}));
const RESULT = [...USER,
  { role: "assistant", content: [
    { type: "text", text: "Let me look." },
    { type: "tool_use", id: "call_w", name: "weather", input: { city: 'Bergen "fjord"' } },
    { type: "tool_use", id: "call_t", name: "time", input: { zone: "Europe/Oslo" } },
  ] },
  { role: "user", content: [
    { type: "tool_result", tool_use_id: "call_w", content: "rain, 7°C" },
    { type: "tool_result", tool_use_id: "call_t", content: [{ type: "text", text: "12:00" }] },
  ] },
];

const client = new Anthropic({ baseURL: process.argv[2] + "/anthropic", apiKey: process.env.CLIENT_KEY, maxRetries: 0 });

const answer = (message) => {
  const blocks = (kind) => message.content.filter((b) => b.type === kind);
  const u = message.usage;
  return {
    text: blocks("text").map((b) => b.text).join(""),
    calls: blocks("tool_use").map(({ id, name, input }) => ({ id, name, input })),
    thinking: blocks("thinking").map((b) => b.thinking).join(""),
    signature: blocks("thinking").map((b) => b.signature ?? "").join(""),
    stop: message.stop_reason,
    model: message.model,
    usage: {
      input: u.input_tokens + (u.cache_read_input_tokens ?? 0) + (u.cache_creation_input_tokens ?? 0),
      output: u.output_tokens,
      cached: u.cache_read_input_tokens ?? null,
      reasoning: u.output_tokens_details?.thinking_tokens ?? null,
    },
  };
};

const request = (model, more) => ({ model, messages: USER, system: "Be brief.", max_tokens: 500, ...more });

const ways = {
  async unary(model, more = {}) {
    return answer(await client.messages.create(request(model, more)));
  },
  // Events put together by hand, as programs without the helper do; their order is checked on the way.
  async stream(model, more = {}) {
    let message = null;
    const pieces = {};
    const open = new Set();
    for await (const event of await client.messages.create({ ...request(model, more), stream: true })) {
      if (event.type === "message_start") {
        assert(message === null);
        message = event.message;
      } else if (event.type === "content_block_start") {
        assert(message !== null && event.index === message.content.length, "blocks begin after the message, in order");
        open.add(event.index);
        message.content.push(event.content_block);
      } else if (event.type === "content_block_delta") {
        assert(open.has(event.index), "only open blocks grow");
        const block = message.content[event.index];
        const { delta } = event;
        if (delta.type === "text_delta") block.text += delta.text;
        else if (delta.type === "input_json_delta") pieces[event.index] = (pieces[event.index] ?? "") + delta.partial_json;
        else if (delta.type === "thinking_delta") block.thinking += delta.thinking;
        else if (delta.type === "signature_delta") block.signature = (block.signature ?? "") + delta.signature;
      } else if (event.type === "content_block_stop") {
        assert(open.delete(event.index));
      } else if (event.type === "message_delta") {
        assert(open.size === 0, "every block is stopped before the message ends");
        message.stop_reason = event.delta.stop_reason;
        for (const [name, value] of Object.entries(event.usage)) if (value !== null) message.usage[name] = value;
      }
    }
    for (const [index, text] of Object.entries(pieces)) message.content[index].input = JSON.parse(text || "{}");
    return answer(message);
  },
  // The SDK's own accumulator.
  async helper(model, more = {}) {
    return answer(await client.messages.stream(request(model, more)).finalMessage());
  },
};

const failure = async (call) => {
  try {
    await call();
  } catch (e) {
    if (!(e instanceof Anthropic.AnthropicError)) throw e;
    return { class: e.constructor.name, status: e.status ?? null, message: e.message, retry_after: e.headers?.get("retry-after") ?? null };
  }
  return { class: null };
};

(async () => {
  const out = {};
  for (const [name, how] of Object.entries(ways)) {
    out[`text ${name}`] = await how("text", { temperature: 0 });
    out[`tools ${name}`] = await how("tools", { tools: TOOLS, tool_choice: { type: "auto" } });
    if (name !== "unary") out[`interleaved ${name}`] = await how("interleaved", { tools: TOOLS });
    out[`result ${name}`] = await how("result", { messages: RESULT, tools: TOOLS });
    out[`usage ${name}`] = await how("usage");
    out[`thinking ${name}`] = await how("thinking");
    for (const model of ["e400", "e401", "e429", "e529", "unknown"]) out[`${model} ${name}`] = await failure(() => how(model));
  }
  for (const name of ["stream", "helper"]) out[`broken ${name}`] = await failure(() => ways[name]("broken"));
  out.models = [];
  for await (const model of client.models.list()) out.models.push(model.id);
  out.model = (await client.models.retrieve("text")).id;
  out["no model"] = await failure(() => client.models.retrieve("unknown"));
  console.log(JSON.stringify(out));
})();
