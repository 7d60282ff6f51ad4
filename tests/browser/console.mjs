// The console's frame, its overview, providers, extensions and configuration.
//
// Usage: node console.mjs GATEWAY_URL FOLDER
//
// FOLDER has `two.wasm` and `three.wasm`, good versions of the extension `swaps`, and `bad.wasm`, which its self-test refuses. The upstream holds the streams
// of the model `slow` in their middle until somebody asks for the model `go`.

import assert from "node:assert/strict";
import path from "node:path";

import { logIn, open, run, tab, URL_OF_GATEWAY } from "./browser.mjs";

const FOLDER = process.argv[3];

function chat(model, stream) {
  return fetch(`${URL_OF_GATEWAY}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model, stream, messages: [{ role: "user", content: "x" }] }),
  });
}

async function logsIn(browser) {
  const { page, problems, close } = await tab(browser, { expected: [401] });
  await page.goto(`${URL_OF_GATEWAY}/ui`);
  await logIn(page, "wrong");
  await page.getByText("This password is not right.").waitFor();
  await logIn(page);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  // Kept by this tab alone, and gone when somebody logs out.
  await page.reload();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await page.keyboard.press("g");
  await page.keyboard.press("p");
  await page.getByRole("heading", { name: "Providers" }).waitFor();
  await page.keyboard.press("?");
  await page.getByRole("dialog").getByText("go to a page").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByLabel("Password").waitFor();
  await page.reload();
  await page.getByLabel("Password").waitFor();
  assert.deepEqual(problems, []);
  await close();
}

async function tests(page) {
  await open(page, "providers");
  await page.getByRole("button", { name: "up", exact: true }).click();
  await page.getByLabel("Model").fill("good");
  await page.getByRole("button", { name: "Test", exact: true }).click();
  await page.getByText("good answered").waitFor();
  await page.getByRole("button", { name: "Change settings" }).click();
  await page.getByLabel("Settings").fill('{"max_retries": "many"}');
  await page.getByRole("button", { name: "Check and apply" }).click();
  await page.getByText("providers.up.max_retries").first().waitFor();
  await page.getByLabel("Settings").fill('{"max_retries": 1}');
  await page.getByRole("button", { name: "Check and apply" }).click();
  await page.getByText("up: published.").waitFor();
  await page.getByRole("button", { name: "Take back changes" }).click();
  await page.getByRole("button", { name: "Take back", exact: true }).click();
  await page.getByRole("button", { name: "Take back changes" }).waitFor({ state: "detached" });
}

/** What of a stream has arrived, and the rest of it. */
async function begun(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const first = (await reader.read()).value;
  return async () => {
    let all = first;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return all;
      all += value;
    }
  };
}

async function swaps(page) {
  const rest = await begun(await chat("slow", true));
  await open(page, "extensions/swaps");
  await page.getByLabel("Component").setInputFiles(path.join(FOLDER, "bad.wasm"));
  await page.getByRole("button", { name: "Upload" }).click();
  const refusal = await page.getByRole("alert").textContent();
  assert.match(refusal, /self-test/, "the reason is told");
  assert.equal(await page.locator(".steps .refused").count(), 1);
  await page.getByLabel("Component").setInputFiles(path.join(FOLDER, "two.wasm"));
  await page.getByRole("button", { name: "Upload" }).click();
  await page.getByText("swaps: published.").waitFor();
  await page.locator("main").getByText("0.2.0", { exact: true }).first().waitFor();
  const mark = async () => (await chat("good", false)).headers.get("x-swaps");
  assert.equal(await mark(), "two");
  await (await chat("go", false)).text();
  const all = await rest();
  assert.ok(all.includes("[DONE]") && all.includes("[one]") && !all.includes("[two]"), "the stream ends with the version that it began with");
  await page.getByRole("button", { name: "Roll back" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Roll back" }).click();
  await page.getByText("swaps: rolled-back, 0.1.0 serves.").waitFor();
  assert.equal(await mark(), "one");
  return refusal;
}

async function triesOut(page) {
  await open(page, "extensions/swaps");
  await page.getByLabel("Component").setInputFiles(path.join(FOLDER, "three.wasm"));
  await page.getByLabel("How it comes to serve").selectOption("shadow");
  await page.getByLabel("Share").fill("1");
  await page.getByRole("button", { name: "Upload" }).click();
  await page.getByRole("heading", { name: "Shadow comparison" }).waitFor();
  await page.getByRole("button", { name: "Promote 0.3.0" }).click();
  await page.getByText("swaps: published, 0.3.0 serves.").waitFor();
  assert.equal((await chat("good", false)).headers.get("x-swaps"), "three");
}

async function reloads(page) {
  await open(page, "config");
  await page.getByText("in effect", { exact: true }).waitFor();
  const shown = await page.locator("pre").textContent();
  assert.ok(shown.includes("base_url") && !shown.includes("stays-inside"), "settings without secrets");
}

await run(async (browser) => {
  await logsIn(browser);
  const { page, problems, close } = await tab(browser, { expected: [401, 404, 422] });
  await page.goto(`${URL_OF_GATEWAY}/ui/`);
  await logIn(page);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await tests(page);
  const refusal = await swaps(page);
  await triesOut(page);
  await reloads(page);
  assert.deepEqual(problems, []);
  await close();
  return { refusal };
});
