// A conversation as the gateway is asked for it and as it answers. Pure: no page, no network.

/** How many targets are compared at most. */
export const TARGETS = 4;

/** The body of a request. Parameters that nobody filled in are not sent: some models take none. */
export function body(model, turns, { system, temperature, maxTokens }, stream = true) {
  const messages = turns.map(({ role, content }) => ({ role, content }));
  if (system) messages.unshift({ role: "system", content: system });
  const request = { model, messages };
  if (stream) Object.assign(request, { stream: true, stream_options: { include_usage: true } });
  const warmth = filled(temperature);
  if (warmth !== null) request.temperature = warmth;
  const most = filled(maxTokens);
  if (most !== null) request.max_tokens = most;
  return request;
}

/** The number in a field; `null` when there is none. */
export function filled(text) {
  const number = Number(text);
  return text === undefined || text === null || String(text).trim() === "" || !Number.isFinite(number) ? null : number;
}

/** What an answer is made of while it comes. */
export function begin() {
  return { text: "", reasoning: "", usage: null, finish: null, model: null, error: null, done: false };
}

/** Adds an event of the stream. */
export function add(answer, { data }) {
  if (data === "[DONE]") {
    answer.done = true;
    return answer;
  }
  let document;
  try {
    document = JSON.parse(data);
  } catch {
    return answer;
  }
  if (document.error) {
    answer.error = { message: document.error.message ?? "The answer broke off.", code: document.error.code ?? document.error.type ?? null };
    return answer;
  }
  answer.model = document.model ?? answer.model;
  answer.usage = document.usage ?? answer.usage;
  const choice = document.choices?.[0];
  if (!choice) return answer;
  answer.finish = choice.finish_reason ?? answer.finish;
  const said = choice.delta ?? choice.message ?? {};
  if (typeof said.content === "string") answer.text += said.content;
  const thought = said.reasoning_content ?? said.reasoning;
  if (typeof thought === "string") answer.reasoning += thought;
  return answer;
}

/** What header fields say of an answer: who served it, who won, and why. */
export function served(headers) {
  const field = (name) => headers.get(`x-wasmgate-${name}`);
  return {
    requestId: headers.get("x-request-id"),
    provider: field("provider"),
    model: field("model"),
    generation: field("generation"),
    losses: field("losses"),
    winner: field("racing-winner"),
    validation: field("validation"),
    best: field("best-of-n"),
    fallback: field("fallback-provider"),
    balanced: field("loadbalance-provider"),
  };
}

/** Names that can be asked for: models, aliases, and models by way of virtual providers that list none of their own. */
export function targets(models, providers) {
  const names = models.map((m) => m.id);
  const plain = names.filter((n) => !n.includes("/")).slice(0, 20);
  const virtual = providers.filter((p) => ["racing", "fallback", "loadbalance"].includes(p.type) && !models.some((m) => m.owned_by === p.name));
  return [...new Set([...names, ...virtual.flatMap((p) => plain.map((n) => `${p.name}/${n}`))])];
}
