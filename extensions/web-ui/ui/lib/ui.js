// Pieces of which pages are made.

import { append, fill, h } from "./dom.js";

export function card(title, ...children) {
  const id = `card-${++numbers}`;
  return h("section", { class: "card", "aria-labelledby": title ? id : null }, title ? h("h2", { id }, title) : null, children);
}

let numbers = 0;

/** A table. `columns`: `{key, title, render?, numeric?}`; `onrow` makes rows that can be opened. */
export function table({ columns, rows, empty: nothing, onrow, caption }) {
  if (rows.length === 0) return empty(nothing ?? "Nothing here yet.");
  const head = columns.map((c) => h("th", { scope: "col", class: c.numeric ? "numeric" : null }, c.title));
  const body = rows.map((row) => {
    const cells = columns.map((c, n) => {
      const content = c.render ? c.render(row) : row[c.key];
      const shown = content === null || content === undefined || content === "" ? h("span", { class: "faint" }, "–") : content;
      const first = n === 0 && onrow ? h("button", { class: "link", onclick: (e) => (e.stopPropagation(), onrow(row)) }, shown) : shown;
      return h("td", { class: c.numeric ? "numeric" : null, dataset: { title: c.title } }, h("span", null, first));
    });
    return h("tr", onrow ? { class: "opens", onclick: () => onrow(row) } : null, cells);
  });
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption ?? "Table" },
    h("table", null, caption ? h("caption", { class: "unseen" }, caption) : null, h("thead", null, h("tr", null, head)), h("tbody", null, body)),
  );
}

/** `kind`: `good`, `bad`, `warn`, `info`, or none. */
export function badge(text, kind) {
  return h("span", { class: `badge ${kind ?? ""}` }, text);
}

export function empty(message, action) {
  return h("div", { class: "empty" }, h("p", null, message), action ?? null);
}

/** What went wrong, and a way to try again. */
export function failure(error, retry) {
  const problems = error.details?.problems;
  return h(
    "div",
    { class: "failure", role: "alert" },
    h("p", null, error.message),
    Array.isArray(problems)
      ? h("ul", null, problems.map((p) => h("li", null, h("code", null, p.path), " ", p.message)))
      : null,
    error.requestId ? h("p", { class: "faint" }, "Request ", h("code", null, error.requestId)) : null,
    retry ? h("button", { onclick: retry }, "Try again") : null,
  );
}

export function loading() {
  return h("div", { class: "loading", role: "status" }, h("span", { class: "unseen" }, "Loading"));
}

/** An input with its label. */
export function field(label, input, hint) {
  const id = input.id || `field-${++numbers}`;
  input.id = id;
  if (hint) input.setAttribute("aria-describedby", `${id}-hint`);
  return h("div", { class: "field" }, h("label", { for: id }, label), input, hint ? h("p", { class: "hint", id: `${id}-hint` }, hint) : null);
}

/** `[{title, show}]`: `show(panel)` fills it when it is chosen. */
export function tabs(list) {
  const group = `tabs-${++numbers}`;
  const panel = h("div", { role: "tabpanel", id: `${group}-panel`, tabindex: "0" });
  const buttons = list.map((tab, n) =>
    h("button", { role: "tab", id: `${group}-${n}`, "aria-controls": panel.id, onclick: () => choose(n), onkeydown: (e) => move(e, n) }, tab.title),
  );
  function choose(n) {
    buttons.forEach((b, m) => {
      b.setAttribute("aria-selected", String(m === n));
      b.tabIndex = m === n ? 0 : -1;
    });
    panel.setAttribute("aria-labelledby", buttons[n].id);
    panel.replaceChildren();
    list[n].show(panel);
  }
  function move(event, n) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (n + step + list.length) % list.length;
    choose(next);
    buttons[next].focus();
  }
  choose(0);
  return h("div", { class: "tabs" }, h("div", { role: "tablist" }, buttons), panel);
}

/** A window over the page. `actions`: `[{title, kind?, act}]`; an action that returns `false` leaves it open. Gives a function that closes it. */
export function dialog(title, content, actions = [], onclose = () => {}) {
  const id = `dialog-${++numbers}`;
  const box = h("dialog", { "aria-labelledby": id, onclose: () => (box.remove(), onclose()) });
  const close = () => box.close();
  const buttons = actions.map((action) =>
    h("button", { class: action.kind ?? null, onclick: async () => (await action.act?.()) !== false && close() }, action.title),
  );
  append(
    box,
    h("header", null, h("h2", { id }, title), h("button", { class: "quiet", "aria-label": "Close", onclick: close }, "✕")),
    h("div", { class: "content" }, content),
    buttons.length > 0 ? h("footer", null, buttons) : null,
  );
  document.body.append(box);
  box.showModal();
  return close;
}

/** A question; what was answered. */
export function confirm(title, text, word = "Yes", kind = "danger") {
  return new Promise((answer) => {
    let said = false;
    const actions = [
      { title: "Cancel", act: () => {} },
      { title: word, kind, act: () => void (said = true) },
    ];
    dialog(title, h("p", null, text), actions, () => answer(said));
  });
}

/** A short message. */
export function toast(text, kind) {
  const box = document.getElementById("toasts");
  const line = h("div", { class: `toast ${kind ?? ""}` }, h("span", null, text), h("button", { class: "quiet", "aria-label": "Dismiss", onclick: () => line.remove() }, "✕"));
  box.append(line);
  setTimeout(() => line.remove(), kind === "bad" ? 12000 : 5000);
}

/** A choice of values; `options` are texts or `[value, text]`. */
export function select(options, value, onchange) {
  const items = options.map((o) => (Array.isArray(o) ? o : [o, o]));
  return h("select", { onchange: (e) => onchange?.(e.target.value) }, items.map(([v, text]) => h("option", { value: v, selected: v === value }, text)));
}

/** What was asked for last, by where it is shown: answers may come in another order. */
const asked = new WeakMap();

/** Something that is fetched and shown, with its states. */
export async function shown(place, fetched, show) {
  const own = {};
  asked.set(place, own);
  fill(place, loading());
  try {
    const data = await fetched();
    if (asked.get(place) === own) fill(place, show(data));
  } catch (error) {
    if (error.name === "AbortError" || asked.get(place) !== own) return;
    fill(place, failure(error, () => shown(place, fetched, show)));
  }
}

const many = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export function number(x) {
  if (x === null || x === undefined) return "–";
  return Math.abs(x) >= 100000 ? short.format(x) : many.format(x);
}

export function money(x) {
  if (x === null || x === undefined) return "unknown";
  if (x !== 0 && Math.abs(x) < 0.01) return `$${x.toPrecision(2)}`;
  return new Intl.NumberFormat("en", { style: "currency", currency: "USD" }).format(x);
}

export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1) return `${many.format(ms * 1000)} µs`;
  if (ms < 1000) return `${many.format(ms)} ms`;
  if (ms < 120000) return `${many.format(ms / 1000)} s`;
  if (ms < 7200000) return `${many.format(ms / 60000)} min`;
  if (ms < 172800000) return `${many.format(ms / 3600000)} h`;
  return `${many.format(ms / 86400000)} d`;
}

/** A time, as short as it can be told from others. */
export function when(time) {
  if (time === null || time === undefined) return "–";
  const at = new Date(time);
  const today = new Date().toDateString() === at.toDateString();
  const text = today ? at.toLocaleTimeString() : at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  return h("time", { datetime: at.toISOString(), title: at.toISOString() }, text);
}

export function bytes(x) {
  if (x === null || x === undefined) return "–";
  if (x < 1024) return `${x} B`;
  if (x < 1 << 20) return `${many.format(x / 1024)} KiB`;
  return `${many.format(x / (1 << 20))} MiB`;
}
