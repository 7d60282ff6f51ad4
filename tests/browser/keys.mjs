// Keys: one is made, used, changed, rotated and revoked.
//
// Usage: node keys.mjs GATEWAY_URL

import assert from "node:assert/strict";

import { logIn, open, run, tab, URL_OF_GATEWAY } from "./browser.mjs";

async function opens(key, model = "m") {
  const answer = await fetch(`${URL_OF_GATEWAY}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${key}` },
    body: JSON.stringify({ model, messages: [{ role: "user", content: "x" }] }),
  });
  await answer.text();
  return answer.status;
}

/** The secret that a window shows, which is closed. */
async function secret(page) {
  const shown = page.locator("#secret");
  await shown.waitFor();
  const key = await shown.textContent();
  await page.getByRole("button", { name: "I have it" }).click();
  await shown.waitFor({ state: "detached" });
  assert.ok(!(await page.locator("body").textContent()).includes(key), "it is shown once");
  return key;
}

await run(async (browser) => {
  const { page, problems, close } = await tab(browser, { expected: [401, 404, 400, 409] });
  await page.goto(`${URL_OF_GATEWAY}/ui/`);
  await logIn(page);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await open(page, "keys");
  const row = (name) => page.getByRole("button", { name, exact: true });
  await row("configured").waitFor();

  await page.getByRole("button", { name: "Make a key" }).click();
  await page.getByLabel("Name", { exact: true }).fill("configured");
  await page.getByRole("button", { name: "Make", exact: true }).click();
  await page.getByText("There is a key with the name `configured` already.").waitFor();
  await page.getByLabel("Name", { exact: true }).fill("made");
  await page.getByLabel("Allowed models").fill("m\nother-*");
  await page.getByLabel("Requests a minute").fill("1000");
  await page.getByLabel("Opens until").fill("2090-01-31T12:00");
  await page.getByRole("button", { name: "Make", exact: true }).click();
  const first = await secret(page);
  assert.deepEqual([await opens(first), await opens(first, "elsewhere"), await opens("no-key")], [200, 403, 401]);

  await row("made").click();
  await page.getByRole("dialog").getByText("m, other-*").waitFor();
  await page.getByRole("button", { name: "Change" }).click();
  await page.getByLabel("Allowed models").fill("");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("made is changed.").waitFor();
  assert.equal(await opens(first, "elsewhere"), 200);

  await row("made").click();
  await page.getByRole("button", { name: "Rotate" }).click();
  await page.getByRole("dialog").last().getByRole("button", { name: "Rotate" }).click();
  const second = await secret(page);
  assert.deepEqual([await opens(first), await opens(second)], [401, 200]);

  // The playground takes a pasted key, and says what is missing without one.
  await open(page, "playground");
  await page.getByLabel("Target", { exact: true }).fill("m");
  await page.getByLabel("Message", { exact: true }).fill("x");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByRole("alert").getByText("Paste a key").waitFor();
  await page.getByText("Parameters and key", { exact: true }).click();
  await page.getByLabel("API key").fill(second);
  await page.getByLabel("Message", { exact: true }).fill("x");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText("Grüße aus dem Norden").waitFor();

  await open(page, "keys");
  await row("made").click();
  await page.getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("dialog").last().getByRole("button", { name: "Revoke" }).click();
  await page.getByText("made is revoked.").waitFor();
  await row("made").waitFor({ state: "detached" });
  assert.equal(await opens(second), 401);
  assert.deepEqual(problems, []);
  await close();
});
