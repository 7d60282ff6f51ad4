// Keys of callers: made, changed, rotated, revoked.

import { copy } from "../lib/answer.js";
import { failed } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { read, written } from "../lib/keys.js";
import { badge, card, confirm, dialog, failure, field, number, table, toast, when } from "../lib/ui.js";
import { orMissing } from "../lib/missing.js";

export const page = { path: "keys", title: "Keys" };

const YAML = "extensions:\n  apikeys: {required: true}\nstorage: {path: data/wasmgate.redb}   # or keys that are made are forgotten at the end\n";

/** What a key is made of: name, title, kind, and what stands below the field. */
const FIELDS = [
  { name: "name", title: "Name", kind: "text", required: true, hint: "In the ledger and in rules; no two keys have the same." },
  { name: "description", title: "Description", kind: "text" },
  { name: "team", title: "Team", kind: "text", hint: "One of `teams` in the configuration; its limits hold too." },
  { name: "expires_at", title: "Opens until", kind: "time", hint: "Your time. Empty: for ever." },
  { name: "allowed_models", title: "Allowed models", kind: "list", hint: "One a line, * for any text. Empty: all." },
  { name: "denied_models", title: "Denied models", kind: "list", hint: "Denied under every name. Empty: none." },
  { name: "allowed_providers", title: "Allowed providers", kind: "list", hint: "Empty: all." },
  { name: "rate_limit_rpm", title: "Requests a minute", kind: "count" },
  { name: "rate_limit_tpm", title: "Tokens a minute", kind: "count" },
  { name: "max_parallel_requests", title: "Requests at once", kind: "count" },
  { name: "daily_token_budget", title: "Tokens a day", kind: "count" },
  { name: "monthly_token_budget", title: "Tokens a month", kind: "count" },
  { name: "daily_budget_usd", title: "US dollars a day", kind: "amount" },
  { name: "monthly_budget_usd", title: "US dollars a month", kind: "amount" },
];

export async function show(root, ctx) {
  const { api, signal } = ctx;
  let found;
  try {
    found = await api.get("/api/keys", { signal });
  } catch (error) {
    return orMissing(root, error, "apikeys", "It lets callers in by key, and holds them to the models, rates and budgets of their key. Without it everybody who reaches the gateway may use it.", YAML);
  }
  const again = () => show(root, ctx).catch((error) => error.name === "AbortError" || fill(root, failure(error, again)));
  const make = () => form(ctx, null, again);
  fill(
    root,
    h("div", { class: "row end" }, h("button", { class: "primary", onclick: make }, "Make a key")),
    card(
      null,
      table({
        caption: "Keys",
        rows: found.keys,
        empty: "There is no key yet. Make one, and callers send it as `Authorization: Bearer KEY`.",
        onrow: (row) => detail(ctx, row, again),
        columns: [
          { title: "Name", key: "name" },
          { title: "Key", render: (k) => h("code", null, k.key) },
          { title: "State", render: state },
          { title: "Team", key: "team" },
          { title: "Models", render: (k) => (k.allowed_models ? k.allowed_models.join(", ") || "none" : "all") },
          { title: "Requests a minute", numeric: true, render: (k) => limit(k.rate_limit_rpm) },
          { title: "Last used", render: (k) => (k.source === "config" ? null : k.last_used_at ? when(k.last_used_at) : "never") },
        ],
      }),
    ),
  );
}

function limit(x) {
  return x === null || x === undefined ? "no limit" : number(x);
}

function state(key) {
  const from = key.source === "config" ? [" ", badge("configuration")] : null;
  if (key.enabled === false) return [badge("disabled", "bad"), from];
  if (key.expires_at && Date.parse(key.expires_at) <= Date.now()) return [badge("expired", "bad"), from];
  return [badge("opens", "good"), from];
}

function detail(ctx, key, again) {
  const { api } = ctx;
  const path = `/api/keys/${encodeURIComponent(key.id)}`;
  const configured = key.source === "config";
  const told = h("div", { "aria-live": "polite" });
  const order = async (run) => {
    try {
      await run();
      again();
      return true;
    } catch (error) {
      fill(told, failure(error));
      return false;
    }
  };
  const rotate = async () => {
    if (!(await confirm("Rotate this key?", `${key.name} gets another secret with the same limits. The old one opens nothing from now on.`, "Rotate"))) return false;
    return order(async () => secret(await api.post(`${path}/rotate`, {})));
  };
  const revoke = async () => {
    if (!(await confirm("Revoke this key?", `${key.name} opens nothing from the next request on. This cannot be taken back.`, "Revoke"))) return false;
    return order(async () => {
      await api.delete(path);
      toast(`${key.name} is revoked.`);
    });
  };
  const shown = FIELDS.filter((f) => key[f.name] !== null && key[f.name] !== undefined);
  const facts = shown.map((f) => [h("dt", null, f.title), h("dd", null, Array.isArray(key[f.name]) ? key[f.name].join(", ") || "none" : f.kind === "time" ? when(key[f.name]) : typeof key[f.name] === "number" ? number(key[f.name]) : String(key[f.name]))]);
  dialog(
    key.name,
    [
      h("dl", { class: "facts" }, h("dt", null, "Key"), h("dd", null, h("code", null, key.key)), h("dt", null, "State"), h("dd", null, state(key)), facts, key.created_at ? [h("dt", null, "Made"), h("dd", null, when(key.created_at))] : null),
      h("p", { class: "hint" }, "What is not listed has no limit."),
      h("p", null, h("a", { href: `#/usage/key/${encodeURIComponent(key.name)}`, onclick: (e) => e.target.closest("dialog").close() }, "What it used")),
      configured ? h("p", { class: "notice" }, "This key is in the gateway's configuration; change it there.") : null,
      told,
    ],
    configured
      ? []
      : [
          { title: "Revoke", kind: "danger", act: revoke },
          { title: "Rotate", act: rotate },
          { title: "Change", kind: "primary", act: () => form(ctx, key, again) },
        ],
  );
}

/** A window in which a key is made (`key` is `null`) or changed. */
function form({ api }, key, again) {
  const inputs = FIELDS.map((f) => {
    const element = input(f, key?.[f.name]);
    return { ...f, input: element, shown: element.value };
  });
  const enabled = h("input", { type: "checkbox", checked: key?.enabled !== false });
  const tracked = h("input", { type: "checkbox", checked: key?.track_usage !== false });
  const told = h("div", { "aria-live": "polite" });
  const content = h(
    "form",
    { class: "stack", onsubmit: (e) => e.preventDefault() },
    h("div", { class: "fields" }, inputs.map((f) => field(f.title, f.input, f.hint ?? (f.kind === "count" || f.kind === "amount" ? "Empty: no limit. 0: none allowed." : undefined)))),
    h("label", { class: "check" }, enabled, "It opens"),
    h("label", { class: "check" }, tracked, "Its requests are in the ledger"),
    told,
  );
  const save = async () => {
    if (!content.reportValidity()) return false;
    const said = { enabled: enabled.checked, track_usage: tracked.checked };
    for (const f of inputs) said[f.name] = read(f.kind, f.input.value);
    try {
      if (key === null) {
        // What is empty is left out.
        secret(await api.post("/api/keys", Object.fromEntries(Object.entries(said).filter(([, v]) => v !== null))));
      } else {
        // What nobody touched stays as it is: somebody else may have changed it, and a field may show less than there is.
        for (const f of inputs) if (f.input.value === f.shown) delete said[f.name];
        if (enabled.checked === (key.enabled !== false)) delete said.enabled;
        if (tracked.checked === (key.track_usage !== false)) delete said.track_usage;
        if (Object.keys(said).length === 0) return true;
        const response = await api.raw("PATCH", `/api/keys/${encodeURIComponent(key.id)}`, { body: said });
        if (!response.ok) throw await failed(response);
        toast(`${said.name ?? key.name} is changed.`);
      }
      again();
      return true;
    } catch (error) {
      fill(told, failure(error));
      return false;
    }
  };
  dialog(key === null ? "Make a key" : `Change ${key.name}`, content, [{ title: "Cancel" }, { title: key === null ? "Make" : "Save", kind: "primary", act: save }]);
}

function input({ kind, required }, value) {
  const text = written(kind, value);
  if (kind === "list") return h("textarea", { rows: "3", value: text });
  if (kind === "time") return h("input", { type: "datetime-local", value: text });
  if (kind === "count") return h("input", { type: "number", min: "0", step: "1", value: text });
  if (kind === "amount") return h("input", { type: "number", min: "0", step: "any", value: text });
  return h("input", { type: "text", autocomplete: "off", required: required ?? false, value: text });
}

/** Shows a secret, this once. */
function secret(made) {
  dialog(`The key of ${made.name}`, [
    h("p", null, "This is the only time that it is shown: the gateway keeps a digest of it. Keep it where secrets are kept."),
    h("div", { class: "code" }, h("div", { class: "row end" }, copy(made.key, "Copy the key")), h("pre", { tabindex: "0", "aria-label": "Key", id: "secret" }, h("code", null, made.key))),
  ], [{ title: "I have it", kind: "primary" }]);
}
