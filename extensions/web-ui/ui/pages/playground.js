// Talks to models the way clients do: the conversation goes through the same paths, keys and extensions.

import { answer } from "../lib/answer.js";
import { ApiError, events, failed } from "../lib/api.js";
import { TARGETS, add, begin, body, filled, served, targets } from "../lib/chat.js";
import { diff } from "../lib/diff.js";
import { append, fill, h } from "../lib/dom.js";
import { badge, card, duration, empty, failure, field, money, number, select, table, tabs } from "../lib/ui.js";
import { missing } from "../lib/missing.js";

export const page = { path: "playground", title: "Playground" };

/** How often the ledger is asked for the row of a request: it is written a moment after the answer. */
const ASKS = 6;
const BETWEEN = 500;

export async function show(root, ctx) {
  const state = { rounds: [], running: null };
  const names = h("datalist", { id: "playground-models" });
  const key = h("input", { type: "password", autocomplete: "off", placeholder: "none", spellcheck: "false" });
  const listed = await known(ctx, key, names);
  const chosen = h("div", { class: "fields" });
  const fields = [];
  const more = h("button", { type: "button", onclick: () => target("") }, "Compare with another");

  function target(value) {
    const input = h("input", { list: "playground-models", value, required: true, autocomplete: "off", spellcheck: "false", placeholder: "model, alias, provider/model or best:3:model" });
    const box = field(fields.length === 0 ? "Target" : `Target ${fields.length + 1}`, input);
    fields.push({ input, box });
    if (fields.length > 1) {
      const away = () => {
        box.remove();
        fields.splice(fields.findIndex((f) => f.box === box), 1);
        more.disabled = false;
      };
      append(box, h("div", null, h("button", { type: "button", class: "quiet", onclick: away }, "Take away")));
    }
    append(chosen, box);
    more.disabled = fields.length >= TARGETS;
  }
  target(listed[0] ?? "");

  const system = h("textarea", { rows: "3" });
  const temperature = h("input", { type: "number", min: "0", max: "2", step: "0.1", placeholder: "the model's own" });
  const most = h("input", { type: "number", min: "1", step: "1", placeholder: "no limit" });
  const count = h("input", { type: "number", min: "1", max: "12", step: "1", value: "3" });
  const method = select([["", "as configured"], "code_quality", "vote", "merge", "judge"], "");
  const countField = field("Candidates", count);
  const methodField = field("The best is chosen by", method);
  const mode = select([["chat", "Answer, as it comes"], ["best", "Best of several (best-of-n)"]], "chat", modeChanged);
  function modeChanged() {
    const best = mode.value === "best";
    countField.hidden = methodField.hidden = !best;
    more.hidden = best;
    fields.slice(1).forEach((f) => (f.box.hidden = f.input.disabled = best));
  }
  modeChanged();

  const talk = h("div", { class: "talk", "aria-label": "Conversation" });
  const hint = empty("Ask something. What is sent goes through the same keys, routing and extensions as the requests of clients, and costs the same.");
  append(talk, hint);
  const words = h("textarea", { rows: "3", required: true, placeholder: "Message", "aria-keyshortcuts": "Control+Enter" });
  const send = h("button", { class: "primary", type: "submit" }, "Send");
  const stop = h("button", { type: "button", disabled: true, onclick: () => state.running?.abort() }, "Stop");
  const anew = h("button", { type: "button", class: "quiet", onclick: () => {
    state.running?.abort();
    state.rounds = [];
    fill(talk, hint);
    words.focus();
  } }, "New conversation");
  words.addEventListener("keydown", (e) => {
    if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) {
      e.preventDefault();
      e.target.form.requestSubmit();
    }
  });

  async function submit(event) {
    event.preventDefault();
    if (state.running) return;
    const prompt = words.value.trim();
    if (prompt === "") return;
    const running = new AbortController();
    state.running = running;
    const leave = () => running.abort();
    ctx.signal.addEventListener("abort", leave);
    send.disabled = true;
    stop.disabled = false;
    words.value = "";
    hint.remove();
    const asked = mode.value === "best" ? [fields[0].input.value.trim()] : fields.map((f) => f.input.value.trim());
    const round = { prompt, answers: asked.map(() => null) };
    const places = asked.map((name) => h("section", { class: "said", "aria-label": `Answer of ${name}` }, h("h3", null, name)));
    append(talk, h("div", { class: "round" }, h("div", { class: "asked" }, prompt), h("div", { class: places.length > 1 ? "columns" : "stack" }, places)));
    places[0].scrollIntoView({ block: "nearest" });
    const params = { system: system.value.trim(), temperature: temperature.value, maxTokens: most.value };
    const told = { ctx, key: key.value.trim(), signal: running.signal };
    const before = state.rounds;
    try {
      await Promise.all(
        asked.map(async (name, n) => {
          const turns = [...before.flatMap((r) => turn(r, name)), { role: "user", content: prompt }];
          const run = mode.value === "best" ? best : chat;
          const text = await run(told, places[n], name, turns, { ...params, count: count.value, method: method.value });
          round.answers[n] = text ? { name, text } : null;
        }),
      );
    } finally {
      ctx.signal.removeEventListener("abort", leave);
      // What nobody answered is not part of the conversation; and who began anew has another one.
      if (state.rounds === before && round.answers.some((a) => a !== null)) state.rounds = [...before, round];
      state.running = null;
      send.disabled = false;
      stop.disabled = true;
    }
  }

  fill(
    root,
    names,
    card(
      "What is asked",
      h("div", { class: "stack" },
        chosen,
        h("div", { class: "row" }, more),
        h("div", { class: "fields" }, field("How", mode), countField, methodField),
        h("details", null, h("summary", null, "Parameters and key"),
          h("div", { class: "stack" },
            field("System prompt", system),
            h("div", { class: "fields" },
              field("Temperature", temperature, "Some models take none."),
              field("Most tokens", most),
              field("API key", key, "Of a client, where keys are asked for. It is kept nowhere, and gone when you leave this page."),
            ),
          ),
        ),
      ),
    ),
    card("Conversation", talk, h("form", { class: "stack compose", onsubmit: submit }, field("Message", words, "Ctrl+Enter sends."), h("div", { class: "row" }, send, stop, anew))),
  );
}

/** What can be asked for. Nothing of it is needed: names can be typed. */
async function known({ api, signal }, key, list) {
  const load = async () => {
    const headers = key.value ? { authorization: `Bearer ${key.value}` } : {};
    const [models, providers] = await Promise.all([
      api.raw("GET", "/v1/models", { headers, signal }).then((r) => (r.ok ? r.json() : { data: [] }), () => ({ data: [] })),
      api.get("/api/providers", { signal }).catch(() => []),
    ]);
    const found = targets(Array.isArray(models.data) ? models.data : [], providers);
    fill(list, found.map((name) => h("option", { value: name })));
    return found;
  };
  key.addEventListener("change", load);
  return load();
}

/** A round as a target said it; of a target that was not asked then, as the first one did. */
function turn(round, name) {
  const said = round.answers.find((a) => a?.name === name) ?? round.answers.find((a) => a !== null);
  return [{ role: "user", content: round.prompt }, { role: "assistant", content: said.text }];
}

/** Asks one target and shows the answer as it comes. Gives its text. */
async function chat({ ctx, key, signal }, place, name, turns, params) {
  const heard = begin();
  const text = h("div", { class: "text", "aria-busy": "true" });
  const thought = h("pre", { tabindex: "0", "aria-label": "Reasoning" });
  const thinking = h("details", { class: "reasoning", hidden: true }, h("summary", null, "Reasoning"), thought);
  const foot = h("div", { class: "foot", "aria-live": "polite" }, h("p", { class: "faint" }, "Asked…"));
  append(place, thinking, text, foot);
  const started = performance.now();
  let [first, about, stopped] = [null, null, false];
  // Drawing all of it takes longer the longer it is: it is drawn again when that has become little of the time.
  let wait = 0;
  let drawn = -Infinity;
  let later = null;
  const draw = (now) => {
    const at = performance.now();
    if (!now && at - drawn < wait) {
      // What came last is drawn although nothing may follow for long.
      later ??= setTimeout(() => draw(true), wait - (at - drawn));
      return;
    }
    clearTimeout(later);
    later = null;
    fill(text, answer(heard.text));
    thinking.hidden = heard.reasoning === "";
    thought.textContent = heard.reasoning;
    drawn = performance.now();
    wait = Math.max(40, (drawn - at) * 5);
  };
  try {
    const headers = { accept: "text/event-stream", ...(key ? { authorization: `Bearer ${key}` } : {}) };
    const response = await ctx.api.raw("POST", "/v1/chat/completions", { body: body(name, turns, params), headers, signal });
    about = served(response.headers);
    if (!response.ok) throw explained(await failed(response), response, key);
    for await (const event of events(response)) {
      add(heard, event);
      if (first === null && (heard.text !== "" || heard.reasoning !== "")) first = performance.now() - started;
      draw(false);
      if (heard.error) throw new ApiError(200, heard.error.code, heard.error.message, about.requestId, null);
    }
    if (!heard.done && heard.finish === null) throw new ApiError(200, "broken_off", "The answer broke off before its end.", about.requestId, null);
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) stopped = true;
    else append(place, failure(error));
  }
  const took = performance.now() - started;
  draw(true);
  text.removeAttribute("aria-busy");
  const facts = h("dl", { class: "facts small" });
  fill(foot, stopped ? h("p", null, badge("stopped", "warn")) : null, heard.finish === "length" ? h("p", null, badge("cut off: its limit of tokens was reached", "warn")) : null, facts);
  const shown = {
    Provider: about?.provider,
    Model: about?.model ?? heard.model,
    "Race won by": about?.winner,
    "Fell back to": about?.fallback,
    "Balanced to": about?.balanced,
    "Best of several": about?.best,
    "Not expressed": about?.losses,
    "First token": first === null ? null : duration(first),
    Duration: duration(took),
    Tokens: heard.usage ? `${number(heard.usage.prompt_tokens)} in, ${number(heard.usage.completion_tokens)} out` : stopped ? null : "unknown",
  };
  append(facts, Object.entries(shown).map(([k, v]) => fact(k, v)));
  if (about?.requestId) append(facts, fact("Request", h("a", { href: `#/requests/${encodeURIComponent(about.requestId)}` }, h("code", null, about.requestId))));
  const after = [];
  if (about?.requestId && !ctx.signal.aborted) after.push(priced(ctx, about.requestId, facts).then(() => (stopped ? null : others(ctx, about.requestId, foot))));
  if (heard.text !== "" && !stopped) after.push(marked(ctx, heard.text, text));
  Promise.all(after).catch(() => {});
  return heard.text;
}

/** Where no key came with a conversation and one is asked for, that is what helps. */
function explained(error, response, key) {
  if (response.status === 401 && key === "") error.message += " Paste a key under “Parameters and key”; the page Keys makes one.";
  return error;
}

function fact(name, value) {
  return value === null || value === undefined ? null : [h("dt", null, name), h("dd", null, value)];
}

/** What it cost, as the ledger says. Ends when the gateway has noted down how the request ended. */
async function priced({ api, signal }, id, facts) {
  for (let n = 0; n < ASKS; n++) {
    let found;
    try {
      found = await api.get("/usage", { query: { request_id: id }, signal });
    } catch (error) {
      if (error.status !== 404) return;
      append(facts, fact("Cost", "unknown: the extension usage is not loaded"));
      await pause();
      return;
    }
    const [row] = found.rows;
    if (row) {
      append(facts, fact("Cost", row.cost_usd === null ? "unknown: no price for this model" : money(row.cost_usd)));
      return;
    }
    await pause();
    if (signal.aborted) return;
  }
}

function pause() {
  return new Promise((done) => setTimeout(done, BETWEEN));
}

/** The tries, where there was more than one: those who lost a race, or failed before somebody answered. */
async function others({ api, signal }, id, foot) {
  const request = await api.get(`/api/requests/${encodeURIComponent(id)}`, { signal });
  if (request.tries.length > 1) append(foot, h("h4", null, "Tries"), tries(request.tries));
}

const PARTS = { served: "good", failed: "bad", lost: "warn", cancelled: "" };

/** A table of the tries of a request. */
export function tries(list) {
  return table({
    caption: "Tries",
    rows: list,
    empty: "It was not sent to anybody.",
    columns: [
      { title: "#", key: "number" },
      { title: "Target", render: (t) => `${t.provider}/${t.model}` },
      { title: "By way of", render: (t) => t.via.join(" → ") },
      { title: "Result", render: (t) => badge(t.part, PARTS[t.part] ?? "") },
      { title: "In", numeric: true, render: (t) => number(t.input_tokens) },
      { title: "Out", numeric: true, render: (t) => number(t.output_tokens) },
      { title: "Error", key: "error" },
    ],
  });
}

/** Marks what does not parse in the code of an answer. */
async function marked({ api, signal }, text, place) {
  try {
    const found = await api.post("/api/validate", { text }, { signal });
    if (found.blocks.length > 0) fill(place, answer(text, found.blocks));
  } catch {
    // Not loaded, or too large: the answer is there without marks.
  }
}

/** Asks for several candidates, and shows them all with their scores. Gives the text that is the best. */
async function best({ ctx, key, signal }, place, name, turns, { system, temperature, maxTokens, count, method }) {
  const asked = body(name, turns, { system, temperature, maxTokens }, false);
  asked.num_candidates = filled(count) ?? 3;
  if (method) asked.synthesis_method = method;
  asked.stream = true;
  const foot = h("p", { class: "faint", role: "status" }, `Asked for ${asked.num_candidates} candidates…`);
  const came = h("ul", { class: "steps small" });
  append(place, foot, came);
  const away = () => [foot, came].forEach((part) => part.remove());
  const started = performance.now();
  try {
    // Behind the password, the other fields of keys are where the password may be.
    const headers = key ? { "api-key": key } : {};
    const response = await ctx.api.raw("POST", "/api/best-of-n", { body: asked, headers, signal });
    if (response.status === 404) {
      fill(place, missing("best-of-n", "It asks for several answers and gives the best of them.", "extensions:\n  best_of_n:\n    grant: [clock, generate, metrics, providers, wasi]\n"));
      return "";
    }
    if (!response.ok) throw explained(await failed(response), response, key);
    const data = await candidates(response, asked.num_candidates, foot, came);
    away();
    append(place, await result(ctx, data, performance.now() - started));
    return data.content;
  } catch (error) {
    away();
    append(place, error.name === "AbortError" || signal.aborted ? h("p", null, badge("stopped", "warn")) : failure(error));
    return "";
  }
}

/** Shows candidates as they come. Gives what the gateway made of them. */
async function candidates(response, wanted, foot, came) {
  let count = 0;
  for await (const { event, data } of events(response)) {
    const told = JSON.parse(data);
    if (event === "done") return told.data;
    if (event === "error") throw new ApiError(response.status, told.error.code, told.error.message, response.headers.get("x-request-id"), told.error.details ?? null);
    if (event === "judging") foot.textContent = `${count} of ${wanted} candidates came; they are compared…`;
    if (event === "candidate") {
      count += 1;
      foot.textContent = `${count} of ${wanted} candidates came…`;
      const said = told.error ? [badge("failed", "bad"), ` ${told.error.message}`] : [badge("came", "good"), ` after ${duration(told.latency_ms)}, ${number(told.usage?.completion_tokens)} tokens`];
      append(came, h("li", null, `Candidate ${told.number}, ${told.provider ?? "?"}/${told.model}: `, said));
    }
  }
  throw new ApiError(response.status, "broken_off", "The answer broke off before the candidates were compared.", response.headers.get("x-request-id"), null);
}

async function result(ctx, data, took) {
  const text = h("div", { class: "text" }, answer(data.content));
  marked(ctx, data.content, text);
  const facts = h("dl", { class: "facts small" }, [
    fact("Chosen", data.merged?.length > 0 ? `${data.chosen} of ${data.wanted}, merged with ${data.merged.map((m) => `${m.function} of ${m.from}`).join(", ")}` : `${data.chosen} of ${data.wanted}`),
    fact("By", data.method),
    fact("Provider", data.provider),
    fact("Model", data.model),
    fact("Duration", duration(took)),
    fact("Tokens, all candidates", data.usage ? `${number(data.usage.prompt_tokens)} in, ${number(data.usage.completion_tokens)} out` : "unknown"),
    fact("Stopped early", data.stopped),
  ]);
  const { candidates } = data;
  const scores = table({
    caption: "Candidates and their scores",
    rows: candidates,
    columns: [
      { title: "#", render: (c) => [String(c.number), c.number === data.chosen ? [" ", badge("chosen", "good")] : null] },
      { title: "Target", render: (c) => `${c.provider ?? "?"}/${c.model ?? "?"}` },
      { title: "Score", numeric: true, render: (c) => score(c.score?.total) },
      { title: "Valid", render: (c) => (c.score ? badge(c.score.valid ? "valid" : "not valid", c.score.valid ? "good" : "bad") : badge("failed", "bad")) },
      { title: "Judge", numeric: true, render: (c) => score(c.score?.judge) },
      { title: "Agreement", numeric: true, render: (c) => score(c.score?.agreement) },
      { title: "Style", numeric: true, render: (c) => score(c.score?.style) },
      { title: "Temperature", numeric: true, render: (c) => (c.temperature === null || c.temperature === undefined ? null : number(c.temperature)) },
      { title: "Took", numeric: true, render: (c) => duration(c.latency_ms) },
      { title: "Notes", render: (c) => (c.error ? (c.error.message ?? c.error) : (c.score?.notes ?? []).join("; ")) },
    ],
  });
  const texts = candidates.filter((c) => typeof c.content === "string");
  const views = [
    { title: "The answer", show: (panel) => fill(panel, text) },
    ...texts.map((c) => ({ title: `Candidate ${c.number}`, show: (panel) => fill(panel, answer(c.content)) })),
  ];
  if (texts.length > 1) views.push({ title: "Differences", show: (panel) => fill(panel, compared(texts)) });
  return h("div", { class: "stack" }, tabs(views), scores, facts);
}

function score(x) {
  return x === null || x === undefined ? null : x.toFixed(2);
}

/** Two candidates, line by line. */
function compared(texts) {
  const place = h("div", { class: "diff", tabindex: "0", role: "region", "aria-label": "Differences" });
  const options = texts.map((c) => [String(c.number), `Candidate ${c.number}`]);
  const show = () => {
    const of = (s) => texts.find((c) => String(c.number) === s.value).content;
    const lines = diff(of(left), of(right));
    fill(place, lines.map((l) => h("div", { class: l.kind }, h("span", { "aria-hidden": "true" }, { same: " ", out: "−", in: "+" }[l.kind]), h("span", { class: "unseen" }, { same: "", out: "only before: ", in: "only after: " }[l.kind]), l.text || " ")));
  };
  const left = select(options, options[0][0], show);
  const right = select(options, options[1][0], show);
  show();
  return h("div", { class: "stack" }, h("div", { class: "fields" }, field("Before", left), field("After", right)), place);
}
