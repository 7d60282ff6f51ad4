// The ledger: rows in pages, with filters, and as a file.

import { failed } from "./api.js";
import { append, fill, h } from "./dom.js";
import { badge, duration, empty, failure, field, loading, money, number, select, table, toast, when } from "./ui.js";

/** What belongs into the configuration where the ledger is missing. */
export const YAML = "extensions:\n  usage: {}\nusage: {enabled: true, storage: redb}\n";
export const WHAT = "It writes a row for every request, with its tokens, its cost and how it ended.";

const KINDS = { success: "good", error: "bad", rejected: "warn", disconnected: "warn", cancelled: "warn" };

export function outcome(status) {
  return badge(status, KINDS[status] ?? "");
}

/** A cost; what has no price is unknown, which is not nothing. */
export function cost(row) {
  return row.cost_usd === null || row.cost_usd === undefined ? h("span", { class: "faint", title: "This model has no price. Give it one under `prices` in the configuration." }, "unknown") : money(row.cost_usd);
}

const FIELDS = {
  since: { title: "From", type: "date" },
  until: { title: "Before", type: "date" },
  key: { title: "Key" },
  team: { title: "Team" },
  requested_model: { title: "Asked for" },
  model: { title: "Model" },
  provider: { title: "Provider" },
  status: { title: "Outcome", options: ["success", "error", "rejected", "disconnected", "cancelled"] },
  error_code: { title: "Error" },
};

/** Fields by which rows are chosen, in a form. `then` is called with what they say. */
export function filters(names, values, then) {
  const inputs = names.map((name) => {
    const { title, options, type } = FIELDS[name];
    const input = options ? select([["", "all"], ...options], values[name] ?? "") : h("input", { type: type ?? "text", value: values[name] ?? "", autocomplete: "off", placeholder: type ? null : "all" });
    return { name, title, input };
  });
  const said = () => Object.fromEntries(inputs.map(({ name, input }) => [name, input.value.trim()]).filter(([, v]) => v !== ""));
  const form = h(
    "form",
    { class: "stack", onsubmit: (e) => (e.preventDefault(), then(said())) },
    h("div", { class: "fields" }, inputs.map(({ title, input }) => field(title, input))),
    h("div", { class: "row" }, h("button", { class: "primary", type: "submit" }, "Show"), h("button", { type: "button", class: "quiet", onclick: () => {
      inputs.forEach(({ input }) => (input.value = ""));
      then({});
    } }, "All")),
  );
  return { form, said };
}

/** Rows of the ledger, the newest first, and more of them when somebody wants more. */
export async function rows(place, { api, signal, go }, query, first) {
  let cursor = null;
  const all = [];
  const list = h("div");
  const foot = h("div", { class: "row" });
  const draw = () =>
    fill(
      list,
      table({
        caption: "Requests",
        rows: all,
        empty: "No request is like that. Choose a longer time, or less in the fields above.",
        onrow: (row) => go(`requests/${encodeURIComponent(row.request_id)}`),
        columns: [
          { title: "When", render: (r) => when(r.timestamp) },
          { title: "Outcome", render: (r) => [outcome(r.status), r.error_code ? [" ", h("span", { class: "faint" }, r.error_code)] : null] },
          { title: "Asked for", key: "requested_model" },
          { title: "Served by", render: (r) => (r.provider ? `${r.provider}/${r.model ?? ""}` : null) },
          { title: "Key", key: "api_key_name" },
          { title: "In", numeric: true, render: (r) => number(r.input_tokens) },
          { title: "Out", numeric: true, render: (r) => number(r.output_tokens) },
          { title: "Cost", numeric: true, render: cost },
          { title: "First byte", numeric: true, render: (r) => duration(r.ttft_ms) },
          { title: "Took", numeric: true, render: (r) => duration(r.latency_ms) },
        ],
      }),
    );
  const more = async () => {
    fill(foot, loading());
    try {
      const found = await api.get("/usage", { query: { ...query, limit: 50, cursor }, signal });
      all.push(...found.rows);
      cursor = found.next_cursor;
      draw();
      fill(foot, cursor ? h("button", { onclick: more }, "Older ones") : null);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (first && all.length === 0) throw error;
      fill(foot, failure(error, () => more()));
    }
  };
  fill(place, list, foot);
  return more();
}

/** Saves an answer as a file: all pages of it. The password goes with the request, which no link could do. */
export async function save(api, path, query, name, signal) {
  const parts = [];
  let cursor = null;
  do {
    const response = await api.raw("GET", path, { query: { ...query, format: "csv", cursor }, signal });
    if (!response.ok) throw await failed(response);
    const text = await response.text();
    // The first line of each page has the names of the columns.
    parts.push(parts.length === 0 ? text : text.slice(text.indexOf("\n") + 1));
    cursor = response.headers.get("x-next-cursor");
  } while (cursor !== null);
  const link = h("a", { href: URL.createObjectURL(new Blob(parts, { type: "text/csv" })), download: name });
  append(document.body, link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A button that saves, and says what went wrong. */
export function saves(title, run) {
  const button = h("button", { onclick: async () => {
    button.disabled = true;
    try {
      await run();
    } catch (error) {
      if (error.name !== "AbortError") toast(error.message, "bad");
    } finally {
      button.disabled = false;
    }
  } }, title);
  return button;
}
