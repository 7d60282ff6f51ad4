// A real browser for the scripts of this folder.
//
// Scripts are given the gateway's address as their first argument, and by the environment the packages (`WASMGATE_NODE_DIR`), the browser
// (`WASMGATE_BROWSER`), the operators' password (`PASSWORD`) and the folder for screenshots (`SCREENSHOTS`). They print one JSON document at the end.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.WASMGATE_NODE_DIR, "package.json"));
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

export const URL_OF_GATEWAY = process.argv[2];
export const PASSWORD = process.env.PASSWORD;
const SCREENSHOTS = process.env.SCREENSHOTS;

const SIZES = { desktop: { width: 1440, height: 900 }, phone: { width: 375, height: 812 } };

/** Runs a script with a browser, which is closed whatever happens. Prints what the script gives back. */
export async function run(script) {
  // Without root there is a sandbox; as root, which only tests are, Chromium wants none.
  const args = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  const browser = await chromium.launch({ executablePath: process.env.WASMGATE_BROWSER, args: [...args, "--disable-gpu", "--disable-dev-shm-usage"] });
  try {
    const told = await script(browser);
    console.log(JSON.stringify(told ?? {}));
  } finally {
    await browser.close();
  }
}

/** A tab. `problems` has what its console and its scripts complain about, but for answers of the gateway that are `expected`. */
export async function tab(browser, { size = "desktop", theme = "light", expected = [] } = {}) {
  const context = await browser.newContext({ viewport: SIZES[size], colorScheme: theme, locale: "en", reducedMotion: "reduce" });
  const page = await context.newPage();
  const problems = [];
  page.setDefaultTimeout(30_000);
  page.on("pageerror", (error) => problems.push(`${error}`));
  page.on("console", (message) => {
    if (message.type() !== "error" && message.type() !== "warning") return;
    const refused = /the server responded with a status of (\d+)/.exec(message.text());
    if (refused && expected.includes(Number(refused[1]))) return;
    problems.push(`${message.text()} (${message.location().url})`);
  });
  return { page, problems, close: () => context.close() };
}

/** Logs in, on the page that asks for it. */
export async function logIn(page, word = PASSWORD) {
  await page.getByLabel("Password").fill(word);
  await page.getByRole("button", { name: "Log in" }).click();
}

/** Opens a page of the console and waits until it is there. */
export async function open(page, name) {
  await page.goto(`${URL_OF_GATEWAY}/ui/#/${name}`);
  await page.locator("main h1").waitFor();
  await page.waitForFunction(() => !document.querySelector("main .loading"));
}

/** Serious things that are wrong for people who do not see, or do not use a mouse. */
export async function inaccessible(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations.filter((v) => ["serious", "critical"].includes(v.impact)).map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target} ${n.failureSummary}`).join("; ")}`);
}

/** These pages in one theme and size: a picture, no complaint, nothing that cannot be reached, nothing that is wider than the screen. */
export async function looks(browser, pages, theme, size) {
  mkdirSync(SCREENSHOTS, { recursive: true });
  const { page, problems, close } = await tab(browser, { size, theme, expected: [401] });
  const shoot = (name) => page.screenshot({ path: path.join(SCREENSHOTS, `${name.replaceAll("/", "-")}-${theme}-${size}.png`), fullPage: true });
  await page.goto(`${URL_OF_GATEWAY}/ui/`);
  await page.getByLabel("Password").waitFor();
  await shoot("login");
  assert.deepEqual(await inaccessible(page), [], "log-in");
  await logIn(page);
  await page.locator("main h1").waitFor();
  for (const name of pages) {
    await open(page, name);
    await shoot(name);
    assert.deepEqual(await inaccessible(page), [], name);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(wide <= 0, `${name}: ${wide} px wider than the screen`);
  }
  assert.deepEqual(problems, []);
  await close();
}
