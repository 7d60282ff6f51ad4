// What the official Anthropic SDK makes of calls that hold no conversation, as one JSON document on the last line.
//
// Usage: node anthropic_operations_sdk.cjs GATEWAY_URL
//
// Each entry is one call. The expectations are in tests/black_box/sdk_operations.rs, the same for all SDKs.

const Anthropic = require("@anthropic-ai/sdk").default;

const client = new Anthropic({ baseURL: process.argv[2] + "/anthropic", apiKey: process.env.CLIENT_KEY, maxRetries: 0 });
const REQUEST = { system: "Be brief.", messages: [{ role: "user", content: "Weather in Bergen?" }] };

const count = async (model) => {
  const { data, response } = await client.messages.countTokens({ model, ...REQUEST }).withResponse();
  return { tokens: data.input_tokens, estimate: response.headers.get("x-wasmgate-estimate") };
};

const failure = async (call) => {
  try {
    await call();
  } catch (e) {
    if (!(e instanceof Anthropic.APIError)) throw e;
    return { class: e.constructor.name, status: e.status, message: e.error.error.message };
  }
  return { class: null };
};

const batches = async () => {
  const params = { model: "claude-haiku-4-5", max_tokens: 5, messages: REQUEST.messages };
  const made = await client.messages.batches.create({ requests: [{ custom_id: "a", params }] });
  return { made: made.id, status: (await client.messages.batches.retrieve(made.id)).processing_status };
};

(async () => {
  const out = { counted: await count("claude-haiku-4-5"), estimated: await count("gpt-4o") };
  out.denied = await failure(() => client.messages.countTokens({ model: "reject", ...REQUEST }));
  out.batches = await batches();
  console.log(JSON.stringify(out));
})();
