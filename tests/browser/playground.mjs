// The playground: answers that come, that are stopped, compared, raced, chosen of several, and that are hostile.
//
// Usage: node playground.mjs GATEWAY_URL

import assert from "node:assert/strict";

import { logIn, open, run, tab, URL_OF_GATEWAY } from "./browser.mjs";

const TEXT = "Grüße aus dem Norden: das Meer ist blau. 🌊";

async function ask(page, words) {
  await page.getByLabel("Message", { exact: true }).fill(words);
  await page.getByRole("button", { name: "Send" }).click();
}

/** The last answer of a target. */
const said = (page, name) => page.getByRole("region", { name: `Answer of ${name}`, exact: true }).last();

async function talks(page) {
  await open(page, "playground");
  await page.getByLabel("Target", { exact: true }).fill("turns");
  await page.getByText("Parameters and key").click();
  await page.getByLabel("System prompt").fill("Be short.");
  await ask(page, "one");
  const answer = said(page, "turns");
  await answer.getByText(TEXT).waitFor();
  await answer.getByText("First token").waitFor();
  await answer.getByText("unknown: no price for this model").waitFor();
  await page.getByLabel("Message", { exact: true }).fill("two");
  await page.keyboard.press("Control+Enter");
  await page.waitForFunction(() => document.querySelectorAll(".round").length === 2 && !document.querySelector("[aria-busy]"));
  await said(page, "turns").getByText(TEXT).waitFor();
  await page.getByRole("button", { name: "New conversation" }).click();
  await page.getByLabel("System prompt").fill("");
  assert.equal(await page.locator(".round").count(), 0);
}

async function stops(page) {
  await page.getByLabel("Target", { exact: true }).fill("hold");
  await ask(page, "x");
  await said(page, "hold").locator(".answer p").waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await said(page, "hold").getByText("stopped", { exact: true }).waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll("button")].some((b) => b.textContent === "Send" && !b.disabled));
}

async function isNotHarmed(page) {
  await page.getByLabel("Target", { exact: true }).fill("hostile");
  await ask(page, "x");
  const answer = said(page, "hostile");
  await answer.getByRole("heading", { name: "Heading" }).waitFor();
  // Marks of the validation: the line, and why.
  await answer.locator(".marks").getByText(/Line \d/).waitFor();
  assert.match(await answer.locator(".marks").textContent(), /^Line [23]: ./);
  assert.equal(await answer.locator(".wrong").textContent(), "    return (x * 2\n");
  await answer.getByText("Reasoning").click();
  await answer.getByText("Let me think.").waitFor();
  assert.equal(await answer.locator("script, img, iframe").count(), 0);
  assert.deepEqual(await answer.locator(".text a").evaluateAll((all) => all.map((a) => [a.href, a.rel])), [["https://example.org/", "noopener noreferrer nofollow"]]);
  await answer.getByText("<script>window.pwned = 1</script>").waitFor();
  assert.equal(await page.evaluate(() => globalThis.pwned), undefined);
  await page.getByRole("button", { name: "New conversation" }).click();
  await page.getByLabel("Target", { exact: true }).fill("huge");
  await ask(page, "x");
  await said(page, "huge").getByText("First token").waitFor();
  const huge = await said(page, "huge").textContent();
  assert.ok(huge.includes("The end."), `${huge.length} characters: …${huge.slice(-300)}`);
  await page.getByRole("button", { name: "New conversation" }).click();
}

async function tellsErrors(page) {
  await page.getByLabel("Target", { exact: true }).fill("refused");
  await ask(page, "x");
  const alert = said(page, "refused").getByRole("alert");
  await alert.getByText("this model is not for you").waitFor();
  assert.ok((await alert.locator("code").textContent()).length > 8, "the request's id");
  await page.getByRole("button", { name: "New conversation" }).click();
}

async function races(page) {
  await page.getByLabel("Target", { exact: true }).fill("race/priced");
  await ask(page, "x");
  const answer = said(page, "race/priced");
  await answer.getByText("Race won by").waitFor();
  await answer.getByRole("region", { name: "Tries" }).waitFor();
  assert.equal(await answer.getByRole("region", { name: "Tries" }).locator("tbody tr").count(), 2);
  await answer.locator(".facts").getByText(/^\$/).waitFor();
}

async function compares(page) {
  await page.getByLabel("Target", { exact: true }).fill("one");
  for (const n of [2, 3, 4]) {
    await page.getByRole("button", { name: "Compare with another" }).click();
    await page.getByLabel(`Target ${n}`).fill(["two", "three", "refused"][n - 2]);
  }
  assert.ok(await page.getByRole("button", { name: "Compare with another" }).isDisabled());
  await ask(page, "x");
  for (const name of ["one", "two", "three"]) await said(page, name).getByText(TEXT).waitFor();
  await said(page, "refused").getByRole("alert").waitFor();
  for (let n = 0; n < 3; n++) await page.getByRole("button", { name: "Take away" }).first().click();
}

async function choosesTheBest(page) {
  await page.getByLabel("Target", { exact: true }).fill("best");
  await page.getByLabel("How").selectOption("best");
  await ask(page, "x");
  const answer = said(page, "best");
  const scores = answer.getByRole("region", { name: "Candidates and their scores" });
  await scores.waitFor();
  assert.equal(await scores.locator("tbody tr").count(), 3);
  assert.match(await scores.locator("tr", { hasText: "chosen" }).textContent(), /2.*valid/s);
  assert.equal(await scores.getByText("not valid", { exact: true }).count(), 2);
  await answer.getByRole("tab", { name: "Differences" }).click();
  await answer.locator(".diff .out").getByText("return (x * 2").waitFor();
  await answer.locator(".diff .in").getByText("return x * 2").waitFor();
  await answer.getByRole("tab", { name: "The answer" }).click();
  await answer.getByText("return x * 2").waitFor();
}

await run(async (browser) => {
  const { page, problems, close } = await tab(browser, { expected: [401, 400] });
  await page.goto(`${URL_OF_GATEWAY}/ui/`);
  await logIn(page);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await talks(page);
  await stops(page);
  await isNotHarmed(page);
  await tellsErrors(page);
  await races(page);
  await compares(page);
  await choosesTheBest(page);
  assert.deepEqual(problems, []);
  await close();
});
