// Extensions: what they are and cost, and how another version comes to serve.

import { failed, lines } from "../lib/api.js";
import { append, fill, h } from "../lib/dom.js";
import { add, outcome, steps } from "../lib/steps.js";
import { badge, bytes, card, confirm, dialog, duration, failure, field, number, select, table, toast, when } from "../lib/ui.js";

export const page = { path: "extensions", title: "Extensions" };

export async function show(root, ctx) {
  const [name] = ctx.rest;
  return name ? one(root, ctx, decodeURIComponent(name)) : list(root, ctx);
}

/** Mean CPU time of all calls of hooks, in µs. */
function cost(stats) {
  let [calls, us] = [0, 0];
  for (const [hook, s] of Object.entries(stats.hooks)) {
    if (hook.startsWith("lifecycle")) continue;
    calls += s.calls;
    us += s.us;
  }
  return calls === 0 ? null : us / calls;
}

function traps(stats) {
  const count = typeof stats.traps === "number" ? stats.traps : Object.values(stats.traps ?? {}).reduce((a, b) => a + b, 0);
  return count > 0 ? badge(number(count), "bad") : "0";
}

async function list(root, { api, signal, go }) {
  const [extensions, generations] = await Promise.all([api.get("/api/extensions", { signal }), api.get("/api/generations", { signal })]);
  fill(
    root,
    card(
      null,
      table({
        caption: "Extensions",
        rows: extensions,
        empty: "No extension is loaded. Put components under `extensions` in the configuration.",
        onrow: (row) => go(`extensions/${encodeURIComponent(row.name)}`),
        columns: [
          { title: "Name", key: "name" },
          { title: "Version", render: (e) => [e.version, e.candidate ? [" ", badge(`${e.candidate.rollout ?? "trial"} ${e.candidate.version}`, "info")] : null] },
          { title: "Hooks", render: (e) => e.hooks.join(", ") },
          { title: "May use", render: (e) => e.capabilities.join(", ") },
          { title: "µs a call", numeric: true, render: (e) => number(cost(e.stats)) },
          { title: "Traps", numeric: true, render: (e) => traps(e.stats) },
          { title: "Size", numeric: true, render: (e) => bytes(e.bytes) },
        ],
      }),
    ),
    card("What was tried", attempts(generations.history)),
  );
}

/** Attempts, the last one first. */
export function attempts(history) {
  return table({
    caption: "Attempts",
    rows: [...history].reverse().slice(0, 50),
    empty: "Nothing was tried yet.",
    onrow: (a) => dialog(`Attempt ${a.id}`, [a.reason ? failure({ message: a.reason }) : null, steps(a.steps), a.replay ? [h("h3", null, "Recorded calls"), h("pre", null, JSON.stringify(a.replay, null, 2))] : null]),
    columns: [
      { title: "When", render: (a) => when(a.started_ms) },
      { title: "What", render: (a) => [a.trigger, a.extension ? ` ${a.extension}` : a.provider ? ` ${a.provider}` : ""] },
      { title: "Versions", render: (a) => (a.from || a.to ? `${a.from ?? "–"} → ${a.to ?? "–"}` : null) },
      { title: "Outcome", render: outcome },
      { title: "Reason", key: "reason" },
      { title: "Took", numeric: true, render: (a) => duration(a.duration_ms) },
    ],
  });
}

async function one(root, ctx, name) {
  const { api, signal, go } = ctx;
  const path = `/api/extensions/${encodeURIComponent(name)}`;
  const [extension, generations] = await Promise.all([api.get(path, { signal }), api.get("/api/generations", { signal })]);
  const again = () => one(root, ctx, name).catch((error) => fill(root, failure(error, again)));
  const { candidate } = extension;

  const act = (what, word) => async () => {
    try {
      const attempt = await api.post(`${path}/${what}`);
      toast(`${name}: ${attempt.outcome}${attempt.to ? `, ${attempt.to} serves` : ""}.`);
      again();
    } catch (error) {
      dialog(word, [failure(error), error.details?.steps ? steps(error.details.steps) : null]);
    }
  };
  const rollBack = async () => {
    const text = candidate ? `The trial of ${candidate.version} ends, ${extension.version} goes on.` : `${extension.previous?.version} serves again.`;
    if (await confirm("Roll back?", text, "Roll back")) act("rollback", "This cannot be rolled back")();
  };

  fill(
    root,
    h("div", { class: "row between" }, h("button", { class: "quiet", onclick: () => go("extensions") }, "← All extensions"), h("div", { class: "row" }, candidate ? h("button", { class: "primary", onclick: act("promote", "This cannot be promoted") }, `Promote ${candidate.version}`) : null, candidate || extension.previous ? h("button", { onclick: rollBack }, "Roll back") : null)),
    h("div", { class: "grid" },
      card(
        h("span", { class: "row" }, name, badge(extension.version)),
        h("p", null, extension.description ?? ""),
        h("dl", { class: "facts" },
          facts({
            Digest: h("code", null, extension.digest),
            Size: bytes(extension.bytes),
            Hooks: extension.hooks.join(", "),
            "May use": extension.capabilities.join(", "),
            Generation: extension.generation,
            "Version before": extension.previous?.version ?? "none",
            "Recorded calls": extension.recorded_calls,
            "Memory, at most": bytes(extension.stats.peak_memory_bytes),
            Traps: traps(extension.stats),
          }),
        ),
      ),
      swap(ctx, extension, path, again),
    ),
    candidate ? trial(candidate, generations.shadow?.extension === name ? generations.shadow.comparison : null) : null,
    card(
      "Cost of hooks",
      table({
        caption: "Cost of hooks",
        rows: Object.entries(extension.stats.hooks).map(([hook, s]) => ({ hook, ...s })),
        empty: "It was not called yet.",
        columns: [
          { title: "Hook", key: "hook" },
          { title: "Calls", numeric: true, render: (s) => number(s.calls) },
          { title: "µs a call", numeric: true, render: (s) => number(s.us / s.calls) },
          { title: "of it its own code", numeric: true, render: (s) => number(s.guest_us / s.calls) },
          { title: "Waited, µs", numeric: true, render: (s) => number(s.waited_us / s.calls) },
          { title: "Failures", numeric: true, render: (s) => (s.failures > 0 ? badge(number(s.failures), "bad") : "0") },
        ],
      }),
    ),
    extension.routes.length > 0 ? card("Paths", table({ caption: "Paths", rows: extension.routes, columns: [{ title: "Method", render: (r) => r.method ?? "any" }, { title: "Path", render: (r) => h("code", null, r.path) }] })) : null,
    card("What was tried", attempts(generations.history.filter((a) => a.extension === name))),
  );
}

function facts(entries) {
  return Object.entries(entries).map(([key, value]) => [h("dt", null, key), h("dd", null, value === null || value === undefined || value === "" ? "–" : value instanceof Node ? value : String(value))]);
}

/** A version that is tried out, and how it compares. */
function trial(candidate, comparison) {
  const told = { Share: `${((candidate.share ?? 0) * 100).toFixed(0)} %`, Failures: candidate.failures };
  Object.assign(told, candidate.rollout === "shadow" ? { Compared: candidate.compared, Different: candidate.different } : { Calls: candidate.calls, "Callers by key": candidate.keys });
  return card(
    h("span", { class: "row" }, "On trial", badge(`${candidate.rollout ?? "trial"} ${candidate.version}`, "info")),
    h("dl", { class: "facts" }, facts(told)),
    comparison ? [h("h3", null, "Shadow comparison"), h("pre", { tabindex: "0" }, JSON.stringify(comparison, null, 2))] : null,
  );
}

/** Uploads a component and shows what the gate says, step by step. */
function swap({ api, signal }, extension, path, again) {
  const file = h("input", { type: "file", accept: ".wasm,application/wasm", required: true });
  const share = h("input", { type: "number", min: "0", max: "1", step: "0.05", value: "0.1" });
  const shareField = field("Share", share, "Of the callers that meet it, 0 to 1.");
  const rollout = select([["active", "at once"], ["canary", "to a share of the callers (canary)"], ["shadow", "beside it, to compare (shadow)"]], "active", () => (shareField.hidden = rollout.value === "active"));
  shareField.hidden = true;
  const told = h("div", { "aria-live": "polite" });
  const button = h("button", { class: "primary", type: "submit" }, "Upload");

  async function upload(event) {
    event.preventDefault();
    const [component] = file.files;
    if (!component) return;
    button.disabled = true;
    const place = steps();
    fill(told, h("h3", null, "The gate"), place);
    try {
      const query = { rollout: rollout.value, share: rollout.value === "active" ? undefined : share.value };
      const response = await api.raw("PUT", path, { body: component, query, signal, headers: { "content-type": "application/wasm", accept: "application/x-ndjson" } });
      if (!(response.headers.get("content-type") ?? "").includes("ndjson")) {
        if (!response.ok) throw await failed(response);
      }
      for await (const line of lines(response)) {
        if ("step" in line) add(place, line);
        else if (line.success) {
          append(told, h("p", null, outcome(line.data), ` ${line.data.to ?? ""} ${line.data.outcome === "published" ? "serves from the next request on." : ""}`));
          toast(`${extension.name}: ${line.data.outcome}.`);
          if (line.data.outcome !== "unchanged") again();
        } else append(told, failure({ message: line.error.message, requestId: line.request_id }));
      }
    } catch (error) {
      if (error.name !== "AbortError") append(told, failure(error));
    } finally {
      button.disabled = false;
    }
  }

  return card("Another version", h("form", { class: "stack", onsubmit: upload }, field("Component", file, "A `.wasm` file of this extension. It passes the gate before it serves anybody."), field("How it comes to serve", rollout), shareField, h("div", null, button), told));
}
