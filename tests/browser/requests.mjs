// Requests: the last ones, one of them, and the generations that served them.
//
// Usage: node requests.mjs GATEWAY_URL
//
// The key `somebody` asked four times: twice `priced`, once a model without a price, once one that is refused.

import assert from "node:assert/strict";

import { logIn, open, run, tab, URL_OF_GATEWAY } from "./browser.mjs";

await run(async (browser) => {
  const { page, problems, close } = await tab(browser, { expected: [401, 404] });
  await page.goto(`${URL_OF_GATEWAY}/ui/`);
  await logIn(page);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  const rows = page.getByRole("region", { name: "Requests" }).locator("tbody tr");
  const deadline = Date.now() + 30_000;
  for (;;) {
    await open(page, "requests");
    await page.getByText("Choose requests").waitFor();
    if ((await rows.count()) === 4) break;
    assert.ok(Date.now() < deadline, "the ledger never had all rows");
    await page.reload();
  }
  // The newest first.
  assert.match(await rows.first().textContent(), /refused/);
  await rows.first().click();
  await page.locator(".failure").waitFor();
  await page.getByRole("region", { name: "Tries" }).getByText("failed").waitFor();
  assert.match(await page.locator(".facts").first().textContent(), /somebody/);
  await page.getByRole("button", { name: "← All requests" }).click();

  await page.getByText("Choose requests").click();
  await page.getByLabel("Outcome").selectOption("success");
  await page.getByLabel("Asked for").fill("priced");
  await page.getByRole("button", { name: "Show" }).click();
  await page.waitForFunction(() => document.querySelectorAll('[aria-label="Requests"] tbody tr').length === 2);
  await rows.first().click();
  const facts = page.locator(".facts").nth(1);
  await facts.waitFor();
  assert.match(await facts.textContent(), /Cost\$/);

  await open(page, "requests/there-is-no-such-request");
  await page.getByText("Nothing is known of this request.").waitFor();
  await open(page, "requests");
  await page.getByRole("tab", { name: "Generations" }).click();
  await page.getByRole("region", { name: "Generations" }).getByText("active").waitFor();
  await page.getByText("there is nothing to return to").waitFor();
  assert.deepEqual(problems, []);
  await close();
});
