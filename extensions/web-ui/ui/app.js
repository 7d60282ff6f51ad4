// The frame: log-in, navigation, the page that is shown, keys, themes.

import { ApiError, api, keepPassword, onLockedOut, password } from "./lib/api.js";
import { fill, h } from "./lib/dom.js";
import { confirm, dialog, failure, field, loading, toast } from "./lib/ui.js";
import { pages } from "./pages.js";

const app = document.getElementById("app");
const THEME = "wasmgate.theme";
const PLACES = pages.map(({ page, key }) => ({ ...page, key }));

let leave = null;
let main = null;

// === themes ===

function theme(chosen) {
  if (chosen === undefined) return localStorage.getItem(THEME) ?? "auto";
  localStorage.setItem(THEME, chosen);
  document.documentElement.dataset.theme = chosen;
  return chosen;
}

function themeSwitch() {
  const names = { auto: "System", light: "Light", dark: "Dark" };
  const next = { auto: "light", light: "dark", dark: "auto" };
  const button = h("button", { class: "quiet theme", onclick: () => label(theme(next[theme()])) });
  function label(now) {
    fill(button, `Theme: ${names[now]}`);
  }
  label(theme());
  return button;
}

// === log-in ===

function logIn(message) {
  leave?.abort();
  leave = null;
  main = null;
  const input = h("input", { type: "password", autocomplete: "current-password", required: true, "aria-invalid": message ? "true" : null });
  const problem = h("p", { class: "problem", role: "alert" }, message ?? "");
  const button = h("button", { class: "primary", type: "submit" }, "Log in");
  async function submit(event) {
    event.preventDefault();
    if (/[^\x20-\x7e]/.test(input.value)) {
      fill(problem, "A password for the gateway has letters, digits and signs of ASCII only.");
      return;
    }
    button.disabled = true;
    keepPassword(input.value);
    try {
      await api.get("/version");
      frame();
    } catch (error) {
      keepPassword(null);
      button.disabled = false;
      if (error.status === 401) input.value = "";
      fill(problem, error.status === 401 ? "This password is not right." : error.message);
      input.setAttribute("aria-invalid", "true");
      input.focus();
    }
  }
  fill(
    app,
    h(
      "main",
      { class: "login" },
      h("form", { class: "card", onsubmit: submit }, mark(), h("h1", null, "Log in"), h("p", { class: "faint" }, "With the password of the gateway's operators (", h("code", null, "auth.api_password"), "). It is kept until this tab is closed."), field("Password", input), problem, button),
    ),
  );
  document.title = "Log in – wasmgate";
  input.focus();
}

function mark() {
  return h("div", { class: "mark" }, h("img", { src: "icon.svg", alt: "", width: "28", height: "28" }), h("span", null, "wasmgate"));
}

// === the frame ===

function frame() {
  const links = PLACES.map((place) => h("a", { href: `#/${place.path}`, dataset: { path: place.path }, onclick: () => nav.classList.remove("open") }, place.title));
  const version = h("span", { class: "faint" });
  const nav = h(
    "nav",
    { id: "navigation", "aria-label": "Pages" },
    h("ul", null, links.map((link) => h("li", null, link))),
    h("div", { class: "foot" }, themeSwitch(), h("button", { class: "quiet", onclick: keysHelp }, "Keys ", h("kbd", null, "?")), password() === null ? null : h("button", { class: "quiet", onclick: logOut }, "Log out"), version),
  );
  const menu = h("button", { class: "quiet menu", "aria-controls": "navigation", "aria-expanded": "false", onclick: () => menu.setAttribute("aria-expanded", String(nav.classList.toggle("open"))) }, "Menu");
  main = h("main", { id: "main", tabindex: "-1" });
  fill(app, h("a", { class: "skip", href: "#main", onclick: (e) => (e.preventDefault(), main.focus()) }, "Skip to the content"), h("div", { class: "frame" }, h("header", { class: "side" }, mark(), menu, nav), main));
  api.get("/version").then((v) => fill(version, `wasmgate ${v.version}`), () => {});
  route();
}

function logOut() {
  keepPassword(null);
  logIn();
}

function go(path) {
  location.hash = `#/${path}`;
}

async function route() {
  if (main === null) return;
  const [path, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  const found = pages.find(({ page }) => page.path === path) ?? pages[0];
  leave?.abort();
  leave = new AbortController();
  const { signal } = leave;
  document.querySelectorAll("nav [data-path]").forEach((link) => {
    if (link.dataset.path === found.page.path) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  document.title = `${found.page.title} – wasmgate`;
  const root = h("div", { class: "page" });
  fill(main, h("h1", null, found.page.title), root);
  main.scrollTop = 0;
  fill(root, loading());
  try {
    await found.show(root, { api, signal, go, toast, confirm, rest });
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    if (!(error instanceof ApiError)) console.error(error);
    fill(root, failure(error, route));
  }
}

// === keys ===

let pressed = null;

function keysHelp() {
  const rows = [["g then a letter", "go to a page"], ...PLACES.map((p) => [`g ${p.key}`, p.title]), ["?", "this list"]];
  dialog("Keys", h("dl", { class: "keys" }, rows.map(([key, what]) => [h("dt", null, h("kbd", null, key)), h("dd", null, what)])));
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable], dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || main === null) return;
  if (pressed === "g") {
    const place = PLACES.find((p) => p.key === event.key);
    pressed = null;
    if (place) {
      event.preventDefault();
      go(place.path);
    }
  } else if (event.key === "g") {
    pressed = "g";
    setTimeout(() => (pressed = null), 1500);
  } else if (event.key === "?") {
    event.preventDefault();
    keysHelp();
  }
});

// === start ===

theme(theme());
window.addEventListener("hashchange", route);
onLockedOut((error) => {
  if (main !== null) logIn(error.status === 401 ? "The password is asked for again." : error.message);
});

async function start() {
  fill(app, loading());
  try {
    await api.get("/version");
    frame();
  } catch (error) {
    if (error.status === 401 || error.status === 403 || error.status === 429) {
      const known = password() !== null;
      keepPassword(null);
      logIn(error.status === 401 ? (known ? "The password is asked for again." : undefined) : error.message);
    } else fill(app, h("main", { class: "login" }, failure(error, start)));
  }
}

start();
