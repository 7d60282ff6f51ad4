// What the official OpenAI SDK makes of the gateway's responses, as one JSON document on the last line.
//
// Usage: node openai_responses_sdk.cjs GATEWAY_URL
//
// Each entry is one scenario; the model's name tells the scripted upstream what to answer. The expectations are in
// tests/black_box/sdk.rs, the same for all SDKs, which is why answers are reduced to one shape here.

const OpenAI = require("openai").default;

const USER = [{ role: "user", content: "Weather and time in Bergen?" }];
const schema = (parameter) => ({
  type: "object", properties: { [parameter]: { type: "string" } }, required: [parameter], additionalProperties: false,
});
const TOOLS = [["weather", "Tells the weather.", "city"], ["time", "Tells the time.", "zone"]].map(([name, description, parameter]) => ({
  type: "function", name, description, strict: true, parameters: schema(parameter),
}));
const RESULT = [...USER,
  { role: "assistant", content: "Let me look." },
  { type: "function_call", call_id: "call_w", name: "weather", arguments: '{"city":"Bergen \\"fjord\\""}' },
  { type: "function_call", call_id: "call_t", name: "time", arguments: '{"zone":"Europe/Oslo"}' },
  { type: "function_call_output", call_id: "call_w", output: "rain, 7°C" },
  { type: "function_call_output", call_id: "call_t", output: [{ type: "input_text", text: "12:00" }] },
];

const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: process.env.CLIENT_KEY, maxRetries: 0 });

const usage = (u) => u && {
  input: u.input_tokens,
  output: u.output_tokens,
  cached: u.input_tokens_details.cached_tokens,
  reasoning: u.output_tokens_details.reasoning_tokens,
};

const answer = (response) => {
  const thoughts = response.output.filter((i) => i.type === "reasoning");
  return {
    text: response.output_text,
    calls: response.output.filter((i) => i.type === "function_call")
      .map((c) => ({ id: c.call_id, name: c.name, input: JSON.parse(c.arguments) })),
    thinking: thoughts.flatMap((t) => t.summary).map((s) => s.text).join(""),
    signature: thoughts.map((t) => t.encrypted_content ?? "").join(""),
    stop: response.status,
    model: response.model,
    usage: usage(response.usage) ?? null,
  };
};

const request = (model, more) => ({ model, instructions: "Be brief.", input: USER, store: false, ...more });

const ways = {
  async unary(model, more = {}) {
    return answer(await client.responses.create(request(model, more)));
  },
  // Events put together by hand, as programs without the helper do.
  async stream(model, more = {}) {
    const made = { text: "", calls: [], thinking: "", signature: "", stop: null, model: null, usage: null };
    const calls = new Map();
    let number = 0;
    for await (const event of await client.responses.create({ ...request(model, more), stream: true })) {
      if (event.sequence_number !== number++) throw new Error(`event ${number} is numbered ${event.sequence_number}`);
      if (event.type === "response.output_text.delta") made.text += event.delta;
      if (event.type === "response.reasoning_summary_text.delta") made.thinking += event.delta;
      if (event.type === "response.output_item.added" && event.item.type === "function_call") {
        calls.set(event.output_index, { id: event.item.call_id, name: event.item.name, input: "" });
      }
      if (event.type === "response.function_call_arguments.delta") calls.get(event.output_index).input += event.delta;
      if (event.type === "response.output_item.done" && event.item.type === "reasoning") made.signature += event.item.encrypted_content ?? "";
      if (event.type === "response.completed") {
        made.stop = event.response.status;
        made.model = event.response.model;
        made.usage = usage(event.response.usage);
      }
    }
    made.calls = [...calls.entries()].sort(([a], [b]) => a - b).map(([, call]) => ({ ...call, input: JSON.parse(call.input) }));
    return made;
  },
  // The SDK's own accumulator.
  async helper(model, more = {}) {
    return answer(await client.responses.stream(request(model, more)).finalResponse());
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
    if (name !== "unary") out[`interleaved ${name}`] = await how("interleaved", { tools: TOOLS });
    out[`result ${name}`] = await how("result", { input: RESULT, tools: TOOLS });
    out[`usage ${name}`] = await how("usage");
    out[`thinking ${name}`] = await how("thinking");
    for (const model of ["e400", "e401", "e429", "e529", "unknown"]) out[`${model} ${name}`] = await failure(() => how(model));
  }
  for (const name of ["stream", "helper"]) out[`broken ${name}`] = await failure(() => ways[name]("broken"));
  const format = { type: "json_schema", name: "city", strict: true, schema: schema("city") };
  const parsed = await client.responses.parse(request("json", { text: { format } }));
  out.json = parsed.output_parsed ?? JSON.parse(parsed.output_text);
  out.kept = await failure(() => client.responses.retrieve("resp_1"));
  out["kept deleted"] = await failure(() => client.responses.delete("resp_1"));
  console.log(JSON.stringify(out));
})();
