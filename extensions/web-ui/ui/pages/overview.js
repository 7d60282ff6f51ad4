// What goes on: totals, rates of the last minutes, and who uses what.

import { fill, h } from "../lib/dom.js";
import { bars, lines } from "../lib/chart.js";
import { badge, bytes, card, duration, empty, failure, money, number, table } from "../lib/ui.js";

export const page = { path: "overview", title: "Overview" };

const EVERY_MS = 2000;
const KEPT = 120;

export async function show(root, { api, signal, go }) {
  const tiles = h("dl", { class: "tiles" });
  const charts = h("div", { class: "grid" });
  const providers = h("div");
  const spent = h("div", { class: "grid" });
  const problem = h("div");
  const points = [];
  let before = null;

  async function look() {
    const [system, served] = await Promise.all([api.get("/api/metrics/system", { signal }), api.get("/api/metrics/providers", { signal })]);
    const now = Date.now();
    const totals = sum(served);
    if (before) {
      const seconds = (now - before.now) / 1000;
      const rate = (name) => Math.max(0, totals[name] - before.totals[name]) / seconds;
      points.push({ now, requests: rate("requests"), errors: rate("errors"), output: rate("output") });
      if (points.length > KEPT) points.shift();
    }
    before = { now, totals };
    const of = (name) => points.map((p) => [p.now, p[name]]);
    fill(
      tiles,
      tile("Requests", number(totals.requests), points.length > 0 ? `${number(points.at(-1).requests)} a second` : "since the start"),
      tile("Errors", number(totals.errors), totals.requests > 0 ? `${((totals.errors / totals.requests) * 100).toFixed(1)} %` : "none"),
      tile("Latency, p95", latency(totals.p95), `p50 ${latency(totals.p50)}${totals.of ? `, of ${totals.of}` : ""}`),
      tile("First token, p95", duration(totals.ttft), "of streams"),
      tile("Tokens", number(totals.input + totals.output), `${number(totals.input)} in, ${number(totals.output)} out`),
      tile("Running now", number(system.requests_in_flight), `${number(system.streams_open)} streams`),
      tile("Memory", bytes(system.resident_memory_bytes), `up ${duration(system.uptime_seconds * 1000)}`),
      tile("Generation", number(system.generation), "of extensions and settings"),
    );
    fill(
      charts,
      card("Requests", lines({ title: "Requests and errors a second", series: [{ name: "requests", points: of("requests") }, { name: "errors", points: of("errors") }] })),
      card("Tokens", lines({ title: "Tokens written a second", series: [{ name: "tokens", points: of("output") }] })),
    );
    fill(
      providers,
      card(
        "Providers",
        table({
          caption: "Providers",
          rows: served,
          empty: "No provider is configured.",
          onrow: (row) => go(`providers/${encodeURIComponent(row.name)}`),
          columns: [
            { title: "Provider", key: "name" },
            { title: "Requests", key: "requests", numeric: true, render: (r) => number(r.requests) },
            { title: "Failed tries", numeric: true, render: (r) => (r.attempts.failed > 0 ? badge(number(r.attempts.failed), "bad") : "0") },
            { title: "p50", numeric: true, render: (r) => latency(r.duration_ms?.p50) },
            { title: "p95", numeric: true, render: (r) => latency(r.duration_ms?.p95) },
            { title: "First token", numeric: true, render: (r) => duration(r.time_to_first_token_ms?.p50) },
            { title: "Tokens in", numeric: true, render: (r) => number(r.tokens.input ?? 0) },
            { title: "Tokens out", numeric: true, render: (r) => number(r.tokens.output ?? 0) },
          ],
        }),
      ),
    );
  }

  async function spending() {
    const since = new Date(Date.now() - 86400000).toISOString();
    try {
      const by = async (name) => (await api.get("/usage/summary", { query: { by: name, since }, signal })).groups;
      const [models, keys] = await Promise.all([by("model"), by("key")]);
      fill(spent, card("Models, last 24 hours", groups(models, "model")), card("Keys, last 24 hours", groups(keys, "key")));
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(
        spent,
        card(
          "Spending",
          error.status === 404
            ? empty("Costs by model and key come from the extension `usage`, which is not loaded. Add `usage: {}` under `extensions` in the configuration.")
            : failure(error, spending),
        ),
      );
    }
  }

  await look();
  fill(root, problem, tiles, charts, providers, spent);
  spending();
  const timer = setInterval(() => {
    if (document.hidden) return;
    look().then(
      () => fill(problem),
      (error) => error.name !== "AbortError" && fill(problem, failure(error)),
    );
  }, EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
}

function tile(name, figure, note) {
  return h("div", { class: "tile" }, h("dt", null, name), h("dd", null, figure), h("dd", { class: "note" }, note));
}

function groups(rows, name) {
  const items = rows
    .map((row) => ({ name: row[name] ?? row[`${name}_name`] ?? "none", value: row.total_tokens ?? 0, text: `${number(row.requests)} req · ${number(row.total_tokens)} tok · ${row.cost_usd === null ? "cost unknown" : money(row.cost_usd)}` }))
    .sort((a, b) => b.value - a.value)
    .slice(0, 8);
  return items.length === 0 ? empty("No request yet.") : bars({ items, title: `By ${name}` });
}

/** A quantile of a histogram. Its first bucket ends at 10 ms, and says nothing of where in it a request was. */
function latency(ms) {
  return typeof ms === "number" && ms < 10 ? "under 10 ms" : duration(ms);
}

/** Sums over providers. Quantiles are those of the busiest one: they cannot be added. */
function sum(served) {
  const total = { requests: 0, errors: 0, input: 0, output: 0, of: null, p50: null, p95: null, ttft: null };
  let most = -1;
  for (const p of served) {
    total.requests += p.requests;
    total.errors += p.requests - (p.outcomes.success ?? 0);
    total.input += p.tokens.input ?? 0;
    total.output += p.tokens.output ?? 0;
    if (p.requests > most && p.duration_ms) {
      most = p.requests;
      total.of = served.length > 1 ? p.name : null;
      total.p50 = p.duration_ms.p50;
      total.p95 = p.duration_ms.p95;
      total.ttft = p.time_to_first_token_ms?.p95 ?? null;
    }
  }
  return total;
}
