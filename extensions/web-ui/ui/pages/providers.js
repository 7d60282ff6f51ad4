// Providers: how they are, tests, settings, and logins of those that are logged in to.

import { fill, h } from "../lib/dom.js";
import { steps } from "../lib/steps.js";
import { badge, card, confirm, dialog, duration, failure, field, number, shown, table, toast, when } from "../lib/ui.js";

export const page = { path: "providers", title: "Providers" };

const STATES = { ok: "good", ready: "good", disabled: "", cooling: "warn", open: "bad" };

export async function show(root, ctx) {
  const [name] = ctx.rest;
  return name ? one(root, ctx, decodeURIComponent(name)) : list(root, ctx);
}

async function list(root, { api, signal, go }) {
  const providers = await api.get("/api/providers", { signal });
  fill(
    root,
    h("div", { class: "row end" }, h("button", { class: "primary", onclick: () => change(api, null, null, () => go("providers")) }, "Add a provider")),
    card(
      null,
      table({
        caption: "Providers",
        rows: providers,
        empty: "No provider yet. Add one here, or under `providers` in the configuration.",
        onrow: (row) => go(`providers/${encodeURIComponent(row.name)}`),
        columns: [
          { title: "Name", key: "name" },
          { title: "State", render: (r) => badge(r.state, STATES[r.state] ?? "warn") },
          { title: "Type", key: "type" },
          { title: "Address", render: (r) => (r.members ? `${r.members.length} members: ${r.members.join(", ")}` : r.address) },
          { title: "Models", numeric: true, render: (r) => number(r.models) },
          { title: "Keys", numeric: true, render: (r) => number(r.keys) },
          { title: "Running", numeric: true, render: (r) => number(r.in_flight) },
          { title: "Waiting", numeric: true, render: (r) => number(r.queued) },
        ],
      }),
    ),
  );
}

async function one(root, ctx, name) {
  const { api, signal, go } = ctx;
  const path = `/api/providers/${encodeURIComponent(name)}`;
  const provider = await api.get(path, { signal });
  const again = () => one(root, ctx, name).catch((error) => fill(root, failure(error, again)));
  const health = h("div");
  const result = h("div", { "aria-live": "polite" });
  const isVirtual = Array.isArray(provider.members);
  const model = h("input", { placeholder: provider.default_model ?? "list the models", value: provider.default_model ?? "" });

  async function test() {
    fill(result, h("p", { class: "faint" }, "Asking…"));
    try {
      const told = await api.post(`${path}/test`, undefined, { query: { model: model.value }, signal });
      const what = told.models ? `It lists ${told.models.length} models` : `${told.model} answered`;
      fill(result, h("p", null, badge("works", "good"), ` ${what}, after ${duration(told.took_ms)}.`));
    } catch (error) {
      if (error.name !== "AbortError") fill(result, failure(error));
    }
  }

  async function enable(enabled) {
    if (!enabled && !(await confirm(`Switch off ${name}?`, "Requests that name it are refused, and virtual providers pass it over. It can be switched on again here.", "Switch off"))) return;
    await put(api, path, { enabled }, again);
  }

  async function reset() {
    if (!(await confirm(`Take back all changes of ${name}?`, "It will be as the configuration says; one that was added here goes.", "Take back"))) return;
    try {
      await api.delete(path);
      toast(`${name} is as the configuration says.`);
      if (provider.changed.length > 0) await again().catch(() => go("providers"));
    } catch (error) {
      toast(error.message, "bad");
    }
  }

  const isOff = provider.state === "disabled";
  const facts = Object.entries({
    Type: provider.type,
    Format: provider.format,
    Address: provider.address,
    Members: provider.members?.map((m) => m.name ?? m).join(", "),
    "Default model": provider.default_model,
    Models: provider.models?.names?.join(", "),
    "Models come from": provider.models?.source,
    Keys: provider.keys,
    "Changed here": provider.changed?.length > 0 ? provider.changed.join(", ") : "nothing",
  }).filter(([, value]) => value !== undefined && value !== null && value !== "");

  fill(
    root,
    h("div", { class: "row between" }, h("button", { class: "quiet", onclick: () => go("providers") }, "← All providers"), h("div", { class: "row" }, h("button", { onclick: () => change(api, name, provider, again) }, "Change settings"), h("button", { onclick: () => enable(isOff) }, isOff ? "Switch on" : "Switch off"), provider.changed?.length > 0 ? h("button", { onclick: reset }, "Take back changes") : null)),
    h("div", { class: "grid" },
      card(h("span", { class: "row" }, name, badge(provider.state, STATES[provider.state] ?? "warn")), h("dl", { class: "facts" }, facts.map(([key, value]) => [h("dt", null, key), h("dd", null, value)]))),
      isVirtual
        ? card("Test", h("p", null, "A virtual provider is tested by testing its members."))
        : card("Test", h("form", { class: "stack", onsubmit: (e) => (e.preventDefault(), test()) }, field("Model", model, "Asked for a few words, which costs a little. Empty: its list of models is read."), h("div", null, h("button", { class: "primary", type: "submit" }, "Test")), result)),
    ),
    health,
    logins(ctx, name),
    provider.limits ? card("Limits", h("dl", { class: "facts" }, Object.entries(provider.limits).map(([key, value]) => [h("dt", null, key), h("dd", null, String(value))]))) : null,
  );
  shown(health, () => api.get(`${path}/health`, { signal }), (h2) =>
    card(
      "Health",
      h2.breakers?.length > 0 ? h("p", null, "Breakers: ", h2.breakers.map((b) => badge(`${b.model ?? b.name ?? ""} ${b.state ?? ""}`, b.state === "closed" ? "good" : "bad"))) : null,
      table({
        caption: "Models",
        empty: "No request was sent to it yet.",
        rows: Object.entries(h2.models ?? {}).map(([model, m]) => ({ model, ...m })),
        columns: [
          { title: "Model", key: "model" },
          { title: "Requests", numeric: true, render: (m) => number(m.requests) },
          { title: "Success", numeric: true, render: (m) => (m.success_rate === null || m.success_rate === undefined ? null : `${(m.success_rate * 100).toFixed(1)} %`) },
          { title: "First event", numeric: true, render: (m) => duration(m.first_event_ms) },
          { title: "Tokens a second", numeric: true, render: (m) => number(m.tokens_per_second) },
          { title: "Last error", render: (m) => (m.last_error ? (m.last_error.message ?? m.last_error.class ?? String(m.last_error)) : null) },
        ],
      }),
    ),
  );
}

/** Settings as JSON: what stands in the box is sent, and checked before it is applied. */
function change(api, name, provider, then) {
  const called = h("input", { value: name ?? "", required: true, pattern: "[A-Za-z0-9_.\\-]+", disabled: name !== null });
  const start = name === null ? { type: "openai", base_url: "https://api.openai.com/v1", api_key: "${OPENAI_API_KEY}" } : { default_model: provider.default_model ?? null };
  const box = h("textarea", { rows: "10", spellcheck: "false", value: JSON.stringify(start, null, 2) });
  const result = h("div", { "aria-live": "polite" });
  async function apply() {
    let settings;
    try {
      settings = JSON.parse(box.value);
    } catch (error) {
      fill(result, failure({ message: `This is no JSON: ${error.message}` }));
      return false;
    }
    if (!called.checkValidity() || called.value === "") {
      fill(result, failure({ message: "A name has letters, digits, `-`, `_` and `.` only." }));
      return false;
    }
    try {
      const attempt = await api.put(`/api/providers/${encodeURIComponent(called.value)}`, settings);
      toast(`${called.value}: ${attempt.outcome}.`);
      then();
      return true;
    } catch (error) {
      fill(result, failure(error));
      return false;
    }
  }
  dialog(
    name === null ? "Add a provider" : `Change ${name}`,
    h("div", { class: "stack" }, field("Name", called), field("Settings", box, "As in the configuration, as JSON. A member that is null is as the configuration says. Keys are best given as ${VARIABLE}."), result),
    [{ title: "Cancel", act: () => {} }, { title: "Check and apply", kind: "primary", act: apply }],
  );
}

async function put(api, path, settings, then) {
  try {
    const attempt = await api.put(path, settings);
    toast(`Generation ${attempt.generation ?? ""}: ${attempt.outcome}.`);
    then();
  } catch (error) {
    const attempt = error.details?.steps ? steps(error.details.steps) : null;
    dialog("This was refused", [failure(error), attempt]);
  }
}

// === logins ===

function logins({ api, signal }, name) {
  const place = h("div");
  const path = `/api/oauth/${encodeURIComponent(name)}`;
  async function look() {
    // Few providers are logged in to.
    const status = (await api.get("/api/oauth", { signal })).find((one) => one.provider === name);
    if (!status) return;
    const act = (what) => async () => {
      try {
        await what();
        await look();
      } catch (error) {
        toast(error.message, "bad");
      }
    };
    async function begin(flow) {
      const begun = await api.get(`${path}/initiate`, { query: { flow } });
      const address = begun.authorization_url ?? begun.verification_url_complete ?? begun.verification_url;
      const safe = /^https?:/i.test(address ?? "");
      dialog("Log in", [
        begun.user_code ? h("p", null, "Type this code there: ", h("code", null, begun.user_code)) : null,
        safe ? h("p", null, h("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, "Open the provider's page")) : h("p", null, String(address)),
        h("p", { class: "faint" }, "The login shows up here when it is done."),
      ], [{ title: "Done", kind: "primary", act: look }]);
    }
    fill(
      place,
      card(
        "Logins",
        table({
          caption: "Logins",
          rows: status.credentials,
          empty: "Nobody is logged in.",
          columns: [
            { title: "Credential", key: "credential" },
            { title: "State", render: (c) => badge(c.state, c.state === "ready" ? "good" : "warn") },
            { title: "Expires in", render: (c) => (c.expires_in_s === null ? null : duration(c.expires_in_s * 1000)) },
            { title: "Since", render: (c) => when(c.obtained_at_ms) },
            { title: "", render: (c) => h("button", { onclick: act(() => api.post(`${path}/revoke`, undefined, { query: { credential: c.credential } })) }, "Log out") },
          ],
        }),
        h("div", { class: "row" }, h("button", { onclick: act(() => begin("code")) }, "Log in"), h("button", { onclick: act(() => begin("device")) }, "With another device"), h("button", { onclick: act(() => api.post(`${path}/refresh`)) }, "Exchange tokens now")),
      ),
    );
  }
  look().catch((error) => error.name !== "AbortError" && fill(place, failure(error, look)));
  return place;
}
