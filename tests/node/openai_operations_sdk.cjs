// What the official OpenAI SDK makes of calls that hold no conversation, as one JSON document on the last line.
//
// Usage: node openai_operations_sdk.cjs GATEWAY_URL
//
// Each entry is one call. The expectations are in tests/black_box/sdk_operations.rs, the same for all SDKs.

const OpenAI = require("openai").default;
const { toFile } = require("openai");

const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: process.env.CLIENT_KEY, maxRetries: 0 });

const failure = async (call) => {
  try {
    await call();
  } catch (e) {
    if (!(e instanceof OpenAI.APIError)) throw e;
    return { class: e.constructor.name, status: e.status, message: e.error.message, retry_after: e.headers.get("retry-after") };
  }
  return { class: null };
};

const decoded = (answer) => Buffer.from(answer.data[0].b64_json, "base64").toString();

const calls = {
  async embeddings(model = "text-embedding-3-small", more = {}) {
    // The SDK asks for base64 and decodes it.
    const answer = await client.embeddings.create({ model, input: ["a", "b"], ...more });
    return { vectors: answer.data.map((d) => d.embedding), tokens: answer.usage.prompt_tokens };
  },
  async completion(model = "davinci-002") {
    const answer = await client.completions.create({ model, prompt: "x", max_tokens: 5, temperature: 0 });
    return { text: answer.choices[0].text, tokens: answer.usage.total_tokens };
  },
  async completion_stream(model = "davinci-002") {
    const out = { text: "", tokens: null };
    const request = { model, prompt: "x", stream: true, stream_options: { include_usage: true } };
    for await (const chunk of await client.completions.create(request)) {
      out.text += chunk.choices.map((c) => c.text).join("");
      out.tokens = chunk.usage?.total_tokens ?? out.tokens;
    }
    return out;
  },
  async moderation() {
    const result = (await client.moderations.create({ input: "x" })).results[0];
    return { flagged: result.flagged, violence: result.categories.violence };
  },
  async image() {
    const answer = await client.images.generate({ model: "gpt-image-1", prompt: "x" });
    return { image: decoded(answer), tokens: answer.usage.total_tokens };
  },
  async edit() {
    const image = await toFile(Buffer.from("\x89PNG\r\n\x1a\n\r\n--", "latin1"), "a.png", { type: "image/png" });
    return decoded(await client.images.edit({ model: "gpt-image-1", prompt: "x", image }));
  },
  async speech() {
    const data = Buffer.from(await (await client.audio.speech.create({ model: "tts-1", input: "x", voice: "alloy" })).arrayBuffer());
    return { bytes: data.length, sum: data.reduce((a, b) => a + b, 0) };
  },
  async transcription() {
    const file = await toFile(Buffer.from("RIFF\r\n\r\n--\xff\xfe", "latin1"), "a.wav", { type: "audio/wav" });
    return (await client.audio.transcriptions.create({ model: "ears", file })).text;
  },
  async files() {
    const made = await client.files.create({ file: await toFile(Buffer.from("{}\n"), "a.jsonl"), purpose: "batch" });
    const listed = [];
    for await (const file of client.files.list({ purpose: "batch" })) listed.push(file.id);
    const content = await (await client.files.content(made.id)).text();
    return { made: made.id, listed, content, deleted: (await client.files.delete(made.id)).deleted };
  },
  async batches() {
    const made = await client.batches.create({ input_file_id: "file-1", endpoint: "/v1/embeddings", completion_window: "24h" });
    return { made: made.id, status: (await client.batches.retrieve(made.id)).status, cancelled: (await client.batches.cancel(made.id)).status };
  },
};

(async () => {
  const out = {};
  for (const [name, call] of Object.entries(calls)) out[name] = await call();
  // A provider of another API has them, and what the SDK asks for is made of its numbers.
  out.crossed = await calls.embeddings("gemini/emb");
  out["crossed floats"] = await calls.embeddings("gemini/emb", { encoding_format: "float", dimensions: 2 });
  out.translated = await calls.completion("claude/m");
  out.translated_stream = await calls.completion_stream("claude/m");
  out.denied = await failure(() => client.embeddings.create({ model: "reject", input: "x" }));
  out.busy = await failure(() => client.embeddings.create({ model: "up/busy", input: "x" }));
  out["not spoken"] = await failure(() => client.embeddings.create({ model: "claude/x", input: "x" }));
  console.log(JSON.stringify(out));
})();
