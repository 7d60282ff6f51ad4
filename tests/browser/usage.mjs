// Usage: sums, charts, filters, and files of them.
//
// Usage: node usage.mjs GATEWAY_URL
//
// The key `somebody` asked four times: twice `priced`, once a model without a price, once one that is refused.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { logIn, open, run, tab, URL_OF_GATEWAY } from "./browser.mjs";

/** The page when the ledger has all rows: they are written a moment later. */
async function whole(page) {
  const deadline = Date.now() + 30_000;
  for (;;) {
    await open(page, "usage");
    const rows = page.getByRole("region", { name: "Requests" }).locator("tbody tr");
    await page.getByRole("heading", { name: "Rows" }).waitFor();
    if ((await rows.count()) === 4) return rows;
    assert.ok(Date.now() < deadline, "the ledger never had all rows");
    await page.reload();
  }
}

async function saved(page, name) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name }).click()]);
  return { name: download.suggestedFilename(), text: readFileSync(await download.path(), "utf8") };
}

await run(async (browser) => {
  const { page, problems, close } = await tab(browser, { expected: [401] });
  await page.goto(`${URL_OF_GATEWAY}/ui/`);
  await logIn(page);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  const rows = await whole(page);
  const tile = (name) => page.locator(".tile", { hasText: name }).locator("dd").textContent();
  assert.deepEqual([await tile("Requests"), await tile("Errors")], ["4", "1"]);
  assert.match(await tile("Cost"), /^\$.*and what has no price/);
  const models = page.getByRole("region", { name: "Models" });
  assert.match(await models.locator("tr", { hasText: "unknown-price" }).textContent(), /unknown$|unknown\d/);
  await page.getByLabel("What the charts show").selectOption("cost");
  await page.getByRole("heading", { name: "Cost by model" }).waitFor();
  assert.match(await page.locator(".bars li", { hasText: "unknown-price" }).first().textContent(), /unknown$/);
  await page.getByLabel("What the charts show").selectOption("errors");
  await page.getByRole("heading", { name: "Errors by key" }).waitFor();

  const all = await saved(page, "Save rows (CSV)");
  assert.equal(all.name, "usage.csv");
  assert.equal(all.text.trim().split("\n").length, 5, all.text);
  assert.ok(all.text.startsWith("timestamp,request_id,") && all.text.includes("somebody"), all.text);
  const sums = await saved(page, "Save sums (CSV)");
  assert.ok(sums.text.startsWith("key,") && sums.text.includes("unknown-price"), sums.text);

  await page.getByLabel("Model", { exact: true }).fill("priced");
  await page.getByRole("button", { name: "Show" }).click();
  await page.waitForFunction(() => document.querySelectorAll('[aria-label="Requests"] tbody tr').length === 2);
  await page.getByLabel("Model", { exact: true }).fill("nothing-like-it");
  await page.getByRole("button", { name: "Show" }).click();
  await page.getByText("No request is like that.").first().waitFor();
  await page.getByRole("button", { name: "All", exact: true }).click();
  await page.waitForFunction(() => document.querySelectorAll('[aria-label="Requests"] tbody tr').length === 4);
  await rows.first().click();
  await page.getByText("What extensions took").first().waitFor();
  assert.deepEqual(problems, []);
  await close();
});
