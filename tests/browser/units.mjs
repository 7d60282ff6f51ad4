// What the console's pages work out without a page: Markdown, differences, events of streams, forms and sums.
//
// Usage: node --test units.mjs

import assert from "node:assert/strict";
import path from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";

const LIB = path.resolve(import.meta.dirname, "../../extensions/web-ui/ui/lib");
// The console's files are modules without a package that would say so.
const load = (name) => import(pathToFileURL(path.join(LIB, name)).href);

const { blocks, inline, safe, MOST } = await load("markdown.js");
const { diff } = await load("diff.js");
const { add, begin, body, filled, served, targets } = await load("chat.js");
const { read, written } = await load("keys.js");
const { days, since, summed } = await load("sums.js");
const { events } = await load("api.js");

const plain = (text) => [{ kind: "plain", text }];

test("blocks are told apart", () => {
  const text = "# Title #\nTwo\nlines\n\n- a\n  - b\n- c\n\n3. x\n4. y\n\n> quoted\n\n---\n```go\nfunc a() {}\n```\nend";
  assert.deepEqual(blocks(text), [
    { kind: "heading", level: 1, parts: plain("Title") },
    { kind: "text", parts: plain("Two\nlines") },
    { kind: "list", ordered: false, start: 1, items: [{ indent: 0, parts: plain("a") }, { indent: 1, parts: plain("b") }, { indent: 0, parts: plain("c") }] },
    { kind: "list", ordered: true, start: 3, items: [{ indent: 0, parts: plain("x") }, { indent: 0, parts: plain("y") }] },
    { kind: "quote", blocks: [{ kind: "text", parts: plain("quoted") }] },
    { kind: "rule" },
    { kind: "code", language: "go", text: "func a() {}", line: 16, open: false },
    { kind: "text", parts: plain("end") },
  ]);
});

test("code that is still being written is code, and a longer fence holds a shorter one", () => {
  assert.deepEqual(blocks("```py\na = 1"), [{ kind: "code", language: "py", text: "a = 1", line: 2, open: true }]);
  for (const [written, words] of [["# a #", "a"], ["## a#", "a#"], ["# a ## b ##", "a ## b"], ["# ##", ""], ["#  a \t#\t", "a"]]) {
    const [{ kind, parts }] = blocks(written);
    assert.deepEqual([kind, parts.map((p) => p.text).join("")], ["heading", words], written);
  }
  assert.deepEqual(blocks("````\n```\n# no heading\n```\n````"), [{ kind: "code", language: "", text: "```\n# no heading\n```", line: 2, open: false }]);
  assert.deepEqual(blocks("~~~\na\n```\n~~~")[0].text, "a\n```");
});

test("pieces of a line are told apart", () => {
  const cases = [
    ["a `b*c*` d", ["plain", "code", "plain"]],
    ["``a`b``", ["code"]],
    ["**a** *b* _c_ ~~d~~", ["strong", "plain", "em", "plain", "em", "plain", "strike"]],
    ["snake_case_name and 2 * 3 * 4", ["plain"]],
    ["\\*not\\*", ["plain"]],
    ["*open", ["plain"]],
    ["[a](https://a.example/)", ["link"]],
    ["see https://a.example/b.", ["plain", "link", "plain"]],
    ["![a](https://a.example/x.png)", ["link"]],
  ];
  for (const [text, kinds] of cases) assert.deepEqual(inline(text).map((p) => p.kind), kinds, text);
  assert.deepEqual(inline("**a *b***")[0].kind, "strong");
});

test("only whole addresses of the web and of mail may be followed", () => {
  for (const address of ["https://a.example/", "http://a.example/", "mailto:a@a.example"]) assert.equal(safe(address), address);
  for (const address of ["javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "//a.example", "/api/keys", "", "blob:https://a.example/x"]) {
    assert.equal(safe(address), null, address);
    assert.ok(!inline(`[a](${address})`).some((p) => p.kind === "link"), address);
  }
});

test("markup is text", () => {
  const text = '<script>alert(1)</script> <img src=x onerror="alert(1)">';
  assert.deepEqual(blocks(text), [{ kind: "text", parts: plain(text) }]);
});

test("hostile texts end soon", () => {
  const many = (piece) => piece.repeat(Math.floor(MOST / piece.length));
  const started = performance.now();
  for (const piece of ["*", "**a", "_", "`", "`a``", "[", "[](", "![", "> ", "- ", "#", "~~a", "\\", "https://", "```\n", "1. a\n", "  - a\n", "---", "- - "]) {
    const found = blocks(many(piece));
    assert.ok(found.length > 0, piece);
  }
  blocks(`${"> ".repeat(5000)}a`);
  // Minutes, where the work is the square of the length; the bound leaves room for a slow machine.
  assert.ok(performance.now() - started < 60_000);
  const long = "a".repeat(MOST + 1);
  assert.deepEqual(blocks(long), [{ kind: "code", language: "", text: long, line: 1, open: false }]);
});

test("differences put together again are both texts", () => {
  const cases = [["a\nb\nc", "a\nc\nd"], ["", "a"], ["a", ""], ["a\na\nb", "a\nb\na"], ["x", "x"], ["1\n2\n3\n4", "4\n3\n2\n1"]];
  for (const [before, after] of cases) {
    const lines = diff(before, after);
    const side = (other) => lines.filter((l) => l.kind !== other).map((l) => l.text).join("\n");
    assert.deepEqual([side("in"), side("out")], [before, after]);
  }
  assert.deepEqual(diff("a\nb\nc", "a\nx\nc").map((l) => l.kind), ["same", "out", "in", "same"]);
  const [left, right] = [Array.from({ length: 2000 }, (_, n) => `a${n}`).join("\n"), Array.from({ length: 2000 }, (_, n) => `b${n}`).join("\n")];
  assert.equal(diff(left, right).length, 4000);
});

test("events are the same however their bytes are cut", async () => {
  const bytes = new TextEncoder().encode('event: a\r\ndata: {"x": "grün"}\r\n\r\n: comment\n\ndata: 1\ndata:2\n\ndata: [DONE]\n\n');
  const expected = [{ event: "a", data: '{"x": "grün"}' }, { event: "message", data: "1\n2" }, { event: "message", data: "[DONE]" }];
  for (let size = 1; size <= bytes.length; size++) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, n) => bytes.slice(n * size, (n + 1) * size));
    const found = [];
    for await (const event of events(new Response(new Blob(pieces).stream()))) found.push(event);
    assert.deepEqual(found, expected, `${size}`);
    const one = new ReadableStream({ start: (c) => (pieces.forEach((p) => c.enqueue(p)), c.close()) });
    const again = [];
    for await (const event of events(new Response(one))) again.push(event);
    assert.deepEqual(again, expected, `${size}`);
  }
});

test("an answer is put together of its events", () => {
  const said = begin();
  const chunk = (delta, more = {}) => add(said, { data: JSON.stringify({ model: "m", choices: [{ delta, ...more }] }) });
  chunk({ reasoning_content: "Hm." });
  chunk({ content: "a" });
  add(said, { data: "not JSON" });
  chunk({ content: "b" }, { finish_reason: "stop" });
  add(said, { data: JSON.stringify({ choices: [], usage: { prompt_tokens: 1, completion_tokens: 2 } }) });
  assert.equal(said.done, false);
  add(said, { data: "[DONE]" });
  assert.deepEqual(said, { text: "ab", reasoning: "Hm.", usage: { prompt_tokens: 1, completion_tokens: 2 }, finish: "stop", model: "m", error: null, done: true });
  assert.equal(add(begin(), { data: '{"error": {"message": "gone", "code": "x"}}' }).error.message, "gone");
});

test("what nobody filled in is not sent", () => {
  assert.deepEqual(body("m", [{ role: "user", content: "x" }], { system: "", temperature: "", maxTokens: " " }, false), { model: "m", messages: [{ role: "user", content: "x" }] });
  const full = body("m", [{ role: "user", content: "x", more: 1 }], { system: "s", temperature: "0", maxTokens: "5" });
  assert.deepEqual(full, { model: "m", messages: [{ role: "system", content: "s" }, { role: "user", content: "x" }], stream: true, stream_options: { include_usage: true }, temperature: 0, max_tokens: 5 });
  assert.equal(filled("a"), null);
});

test("who served is read from header fields", () => {
  const about = served(new Headers({ "x-request-id": "1", "x-wasmgate-provider": "a", "x-wasmgate-racing-winner": "b" }));
  assert.deepEqual([about.requestId, about.provider, about.winner, about.best], ["1", "a", "b", null]);
});

test("virtual providers without models of their own can be asked for those of others", () => {
  const models = [{ id: "m", owned_by: "a" }, { id: "b/m", owned_by: "b" }, { id: "r", owned_by: "listed" }];
  assert.deepEqual(targets(models, [{ name: "race", type: "racing" }, { name: "listed", type: "fallback" }, { name: "a", type: "openai" }]), ["m", "b/m", "r", "race/m", "race/r"]);
});

test("fields are read and written", () => {
  const cases = [["text", " a ", "a"], ["text", "", null], ["list", "a\n b, c\n", ["a", "b", "c"]], ["list", " ", null], ["count", "0", 0], ["amount", "1.5", 1.5]];
  for (const [kind, text, value] of cases) assert.deepEqual(read(kind, text), value, `${kind} ${text}`);
  assert.equal(read("time", written("time", "2030-01-31T12:30:00Z")), "2030-01-31T12:30:00Z");
  assert.deepEqual([written("list", ["a", "b"]), written("count", 0), written("count", null)], ["a\nb", "0", ""]);
});

test("what has no price is unknown, and makes a sum a part of it", () => {
  const group = (model, cost_usd, requests_without_price, day) => ({ model, cost_usd, requests_without_price, day, total_tokens: 10, requests: 1, failures: 0 });
  const groups = [group("a", 0.5, 0, "2026-01-01"), group("b", null, 1, "2026-01-01"), group("a", 0.25, 1, "2026-01-03"), group(null, 0, 0, "2026-01-03")];
  assert.deepEqual(summed(groups, "model", "cost"), [{ name: "a", value: 0.75, partial: true }, { name: null, value: 0, partial: false }, { name: "b", value: null, partial: true }]);
  assert.deepEqual(summed(groups, "model", "tokens")[0], { name: "a", value: 20, partial: false });
  assert.deepEqual(days(groups, "requests").map(([, y]) => y), [2, 0, 2], "a day without requests is there");
  assert.deepEqual(days([], "requests"), []);
  assert.equal(since(30, Date.parse("2026-01-31T12:00:00Z")), "2026-01-02");
});
