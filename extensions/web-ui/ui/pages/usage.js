// What was used: by day, model, key and provider.

import { bars, lines } from "../lib/chart.js";
import { fill, h } from "../lib/dom.js";
import { WHAT, YAML, cost, filters, rows, save, saves } from "../lib/ledger.js";
import { MEASURES, days, since, summed } from "../lib/sums.js";
import { orMissing } from "../lib/missing.js";
import { card, empty, money, number, select, shown, table } from "../lib/ui.js";

export const page = { path: "usage", title: "Usage" };

const FIELDS = ["since", "until", "key", "team", "model", "provider", "status"];

/** Days that are shown when nobody says. */
const DAYS = 30;

export async function show(root, ctx) {
  const { api, signal, rest } = ctx;
  try {
    await api.get("/usage", { query: { limit: 1 }, signal });
  } catch (error) {
    return orMissing(root, error, "usage", WHAT, YAML);
  }
  const values = { since: since(DAYS) };
  // From other pages: `usage/key/NAME`.
  if (rest?.length === 2 && FIELDS.includes(rest[0])) values[rest[0]] = decodeURIComponent(rest[1]);
  const sums = h("div", { class: "stack" });
  const list = h("div");
  const chosen = filters(FIELDS, values, (said) => look(said));
  function look(said) {
    shown(sums, () => fetched(ctx, said), (found) => drawn(found));
    rows(list, ctx, said, false);
  }
  const file = (path, name) => () => save(api, path, { ...chosen.said(), ...(path.endsWith("summary") ? { by: "key,model,provider,day" } : {}) }, name, signal);
  fill(
    root,
    card("Which requests", chosen.form),
    sums,
    card(
      "Rows",
      h("div", { class: "stack" }, h("div", { class: "row" }, saves("Save rows (CSV)", file("/usage", "usage.csv")), saves("Save sums (CSV)", file("/usage/summary", "usage-summary.csv"))), list),
    ),
  );
  look(values);
}

/** Sums by each of these on their own: all together might be more groups than are shown. */
async function fetched({ api, signal }, said) {
  const by = (name) => api.get("/usage/summary", { query: { ...said, by: name }, signal }).then((s) => s.groups);
  const [day, model, key, provider] = await Promise.all(["day", "model", "key", "provider"].map(by));
  return { day, model, key, provider };
}

function drawn(found) {
  if (found.day.length === 0) return empty("No request is like that. Choose a longer time, or less in the fields above.");
  const all = (measure) => summed(found.day.map((g) => ({ ...g, all: "all" })), "all", measure)[0];
  const tile = (name, figure, note) => h("div", { class: "tile" }, h("dt", null, name), h("dd", null, figure, note ? h("span", { class: "note" }, ` ${note}`) : null));
  const charts = h("div", { class: "stack" });
  const draw = (measure) => {
    const { title, unit } = MEASURES[measure];
    const item = (s) => ({ name: s.name ?? "none", value: s.value ?? 0, text: text(measure, s) });
    const chart = (name, groups) => card(`${title} by ${name}`, bars({ items: summed(groups, name, measure).slice(0, 12).map(item), unit, title: `${title} by ${name}` }));
    const points = days(found.day, measure);
    fill(
      charts,
      card(`${title} by day`, points.length > 1 ? lines({ series: [{ name: title, points }], unit, title: `${title} by day`, height: 180 }) : bars({ items: summed(found.day, "day", measure).map(item), unit, title: `${title} by day` })),
      h("div", { class: "grid" }, chart("model", found.model), chart("key", found.key), chart("provider", found.provider)),
    );
  };
  const measure = select(Object.entries(MEASURES).map(([name, m]) => [name, m.title]), "tokens", draw);
  measure.setAttribute("aria-label", "What the charts show");
  draw("tokens");
  const costs = all("cost");
  return [
    h("dl", { class: "tiles" },
      tile("Requests", number(all("requests").value)),
      tile("Errors", number(all("errors").value)),
      tile("Tokens", number(all("tokens").value)),
      tile("Cost", money(costs.value), costs.partial && costs.value !== null ? "and what has no price" : null),
    ),
    h("div", { class: "row choose" }, h("span", { class: "faint" }, "Charts show"), measure),
    charts,
    card(
      "Models",
      table({
        caption: "Models",
        rows: found.model,
        columns: [
          { title: "Model", render: (g) => g.model ?? "none" },
          { title: "Requests", numeric: true, render: (g) => number(g.requests) },
          { title: "Errors", numeric: true, render: (g) => number(g.failures) },
          { title: "In", numeric: true, render: (g) => number(g.input_tokens) },
          { title: "Out", numeric: true, render: (g) => number(g.output_tokens) },
          { title: "Cost", numeric: true, render: (g) => [cost(g), g.cost_usd !== null && g.requests_without_price > 0 ? h("span", { class: "faint" }, ` + ${number(g.requests_without_price)} without a price`) : null] },
          { title: "Mean time, ms", numeric: true, render: (g) => number(g.average_latency_ms) },
        ],
      }),
    ),
  ];
}

function text(measure, { value, partial }) {
  if (measure !== "cost") return number(value ?? 0);
  return value === null ? "unknown" : `${money(value)}${partial ? " +" : ""}`;
}
