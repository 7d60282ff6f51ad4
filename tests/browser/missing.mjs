// Pages whose extension is not loaded say which one it is, and what belongs into the configuration.
//
// Usage: node missing.mjs GATEWAY_URL

import assert from "node:assert/strict";

import { logIn, open, run, tab, URL_OF_GATEWAY } from "./browser.mjs";

await run(async (browser) => {
  const { page, problems, close } = await tab(browser, { expected: [401, 404] });
  await page.goto(`${URL_OF_GATEWAY}/ui/`);
  await logIn(page);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  for (const [name, extension] of [["keys", "apikeys"], ["usage", "usage"], ["requests", "usage"]]) {
    await open(page, name);
    await page.getByRole("heading", { name: `The extension ${extension} is not loaded` }).waitFor();
    assert.ok((await page.locator(".code code").textContent()).includes(`  ${extension}: {`), name);
  }
  await open(page, "playground");
  await page.getByLabel("Target", { exact: true }).fill("m");
  await page.getByLabel("How").selectOption("best");
  await page.getByLabel("Message", { exact: true }).fill("x");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByRole("heading", { name: "The extension best-of-n is not loaded" }).waitFor();
  assert.deepEqual(problems, []);
  await close();
});
