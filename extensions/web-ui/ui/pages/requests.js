// What was asked: the last requests, one of them in detail, and the generations that served them.

import { fill, h } from "../lib/dom.js";
import { WHAT, YAML, cost, filters, outcome, rows } from "../lib/ledger.js";
import { missing } from "../lib/missing.js";
import { badge, card, confirm, duration, empty, failure, number, table, tabs, toast } from "../lib/ui.js";
import { attempts } from "./extensions.js";
import { tries } from "./playground.js";

export const page = { path: "requests", title: "Requests" };

const FIELDS = ["since", "until", "key", "requested_model", "model", "provider", "status", "error_code"];

export async function show(root, ctx) {
  const [id] = ctx.rest ?? [];
  if (id && id !== "generations") return one(root, ctx, decodeURIComponent(id));
  const views = [
    { title: "Requests", show: (panel) => ledger(panel, ctx) },
    { title: "Generations", show: (panel) => generations(panel, ctx) },
  ];
  fill(root, card(null, tabs(views)));
}

function ledger(panel, ctx) {
  const list = h("div");
  const look = async (said) => {
    try {
      await rows(list, ctx, said, true);
    } catch (error) {
      fill(list, error.status === 404 ? missing("usage", WHAT, YAML) : failure(error, () => look(said)));
    }
  };
  fill(panel, h("div", { class: "stack" }, h("details", null, h("summary", null, "Choose requests"), filters(FIELDS, {}, look).form), list));
  look({});
}

function facts(entries) {
  return h("dl", { class: "facts" }, Object.entries(entries).filter(([, v]) => v !== null && v !== undefined && v !== "").map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
}

/** One request: its row of the ledger, and what the gateway still remembers of it. */
async function one(root, { api, signal, go }, id) {
  const without = (error) => {
    if (error.status === 404) return null;
    throw error;
  };
  const [found, remembered] = await Promise.all([
    api.get("/usage", { query: { request_id: id }, signal }).catch(without),
    api.get(`/api/requests/${encodeURIComponent(id)}`, { signal }).catch(without),
  ]);
  const row = found?.rows[0];
  const back = h("div", null, h("button", { class: "quiet", onclick: () => go("requests") }, "← All requests"));
  if (!row && !remembered) {
    fill(root, back, empty("Nothing is known of this request. It is too long ago, or its row is not written yet.", h("button", { onclick: () => go("requests") }, "All requests")));
    return;
  }
  const error = remembered?.error;
  fill(
    root,
    back,
    h("div", { class: "grid" },
      card(
        h("span", { class: "row" }, "Request", outcome(row?.status ?? remembered.outcome)),
        facts({
          Id: h("code", null, id),
          "Arrived": row ? new Date(row.timestamp).toLocaleString() : null,
          "Asked for": row?.requested_model ?? remembered?.requested_model,
          Provider: row?.provider ?? remembered?.provider,
          Model: row?.model ?? remembered?.model,
          Key: row?.api_key_name,
          Team: row?.team,
          Path: row?.endpoint,
          Format: row?.format ?? remembered?.format,
          Stream: (row?.stream ?? remembered?.stream) ? "yes" : "no",
          Status: String(row?.http_status ?? remembered?.status ?? "–"),
          "Made by an extension": row?.depth > 0 ? `depth ${row.depth}` : null,
        }),
        error ? h("div", { class: "failure apart" }, h("p", null, error.message), h("p", { class: "faint" }, error.class)) : row?.error_code ? h("div", { class: "failure apart" }, h("p", null, row.error_code)) : null,
      ),
      row
        ? card(
            "Tokens, cost and time",
            facts({
              Input: [number(row.input_tokens), row.estimated ? [" ", badge("estimated", "warn")] : null],
              Output: number(row.output_tokens),
              "Read from a cache": row.cache_read_tokens ? number(row.cache_read_tokens) : null,
              "Written to a cache": row.cache_write_tokens ? number(row.cache_write_tokens) : null,
              Reasoning: row.reasoning_tokens ? number(row.reasoning_tokens) : null,
              Cost: cost(row),
              "Prices of": row.price_version,
              "First byte": duration(row.ttft_ms),
              Took: duration(row.latency_ms),
              "Sent how often": number(row.attempts),
              "Other tries, input": row.other_input_tokens === null ? null : number(row.other_input_tokens),
              "Other tries, output": row.other_output_tokens === null ? null : number(row.other_output_tokens),
              "Other tries, cost": row.other_input_tokens === null ? null : cost({ cost_usd: row.other_cost_usd }),
            }),
          )
        : card("Tokens, cost and time", empty(found === null ? "The extension usage is not loaded, so there is no ledger." : "Its row is not in the ledger: its key is not tracked, or it is not written yet.")),
    ),
    remembered
      ? [
          card("Tries", tries(remembered.tries)),
          card(
            "What extensions took",
            table({
              caption: "What extensions took",
              rows: remembered.extensions,
              empty: "No extension was called.",
              columns: [
                { title: "Extension", key: "name" },
                { title: "Hook", key: "hook" },
                { title: "Calls", numeric: true, render: (e) => number(e.calls) },
                { title: "µs", numeric: true, render: (e) => number(e.us) },
              ],
            }),
          ),
        ]
      : card("Tries", empty("The gateway remembers the tries of its last requests only.")),
  );
}

const STATES = { active: "good", canary: "info", pinned: "info", fallback: "warn", draining: "" };

/** What serves, what drains, and what was tried. */
async function generations(panel, ctx) {
  const { api, signal } = ctx;
  const again = () => generations(panel, ctx);
  try {
    const [found, extensions] = await Promise.all([api.get("/api/generations", { signal }), api.get("/api/extensions", { signal })]);
    const back = async (extension) => {
      const to = extension.candidate ? `The trial of ${extension.candidate.version} ends, ${extension.version} goes on.` : `${extension.previous.version} serves again.`;
      if (!(await confirm(`Roll ${extension.name} back?`, to, "Roll back"))) return;
      try {
        const attempt = await api.post(`/api/extensions/${encodeURIComponent(extension.name)}/rollback`);
        toast(`${extension.name}: ${attempt.outcome}.`);
      } catch (error) {
        toast(error.message, "bad");
      }
      again();
    };
    const returns = extensions.filter((e) => e.candidate || e.previous);
    fill(
      panel,
      h("div", { class: "stack" },
        table({
          caption: "Generations",
          rows: found.generations,
          columns: [
            { title: "Generation", render: (g) => [String(g.number), g.number === found.current ? [" ", badge("new requests", "good")] : null] },
            { title: "State", render: (g) => badge(g.state, STATES[g.state] ?? "") },
            { title: "Versions", render: (g) => Object.entries(g.extensions).map(([name, version]) => `${name} ${version}`).join(", ") },
          ],
        }),
        h("h3", null, "Versions to return to"),
        table({
          caption: "Versions to return to",
          rows: returns,
          empty: "No extension was swapped since the gateway started, so there is nothing to return to.",
          columns: [
            { title: "Extension", key: "name" },
            { title: "Serves", key: "version" },
            { title: "Before", render: (e) => (e.candidate ? `trial of ${e.candidate.version}` : e.previous.version) },
            { title: "", render: (e) => h("button", { onclick: () => back(e), "aria-label": `Roll back ${e.name}` }, "Roll back") },
          ],
        }),
        h("h3", null, "What was tried"),
        attempts(found.history),
      ),
    );
  } catch (error) {
    if (error.name !== "AbortError") fill(panel, failure(error, again));
  }
}
