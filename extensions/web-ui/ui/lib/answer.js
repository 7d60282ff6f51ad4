// An answer as it is read: elements made one by one, so that nothing that a model says is ever taken for markup.

import { fill, h } from "./dom.js";
import { blocks } from "./markdown.js";
import { toast } from "./ui.js";

/** Elements of a text. `marks` has what is wrong with its code: `[{line, diagnostics: [{line, column, message}]}]`, as `/api/validate` tells it. */
export function answer(text, marks = []) {
  return h("div", { class: "answer" }, blocks(text).map((block) => drawn(block, marks)));
}

function drawn(block, marks) {
  switch (block.kind) {
    case "heading":
      // The page has headings of its own above.
      return h(`h${Math.min(6, block.level + 2)}`, null, block.parts.map(part));
    case "code":
      return code(block, marks);
    case "list":
      return list(block);
    case "quote":
      return h("blockquote", null, block.blocks.map((b) => drawn(b, [])));
    case "rule":
      return h("hr");
    default:
      return h("p", null, block.parts.map(part));
  }
}

function list({ ordered, start, items }) {
  return h(ordered ? "ol" : "ul", ordered && start !== 1 ? { start } : null, items.map((item) => h("li", { class: item.indent > 0 ? `in-${item.indent}` : null }, item.parts.map(part))));
}

function part(p) {
  switch (p.kind) {
    case "code":
      return h("code", null, p.text);
    case "strong":
      return h("strong", null, p.parts.map(part));
    case "em":
      return h("em", null, p.parts.map(part));
    case "strike":
      return h("s", null, p.parts.map(part));
    case "link":
      return h("a", { href: p.href, target: "_blank", rel: "noopener noreferrer nofollow" }, p.parts.map(part));
    default:
      return p.text;
  }
}

/** Code with a button that copies it, and what a parser says about it. */
function code(block, marks) {
  // The place of a block is its fence or its first line, whoever counts.
  const found = marks.find((m) => m.line === block.line || m.line === block.line - 1);
  const problems = found?.diagnostics ?? [];
  // What is missing at the end is missed on the line behind the last one.
  const last = block.text.split("\n").length;
  const wrong = new Set(problems.map((p) => Math.min(p.line, last)));
  const body =
    wrong.size === 0
      ? block.text
      : block.text.split("\n").map((line, n) => h("span", { class: wrong.has(n + 1) ? "line wrong" : "line" }, `${line}\n`));
  return h(
    "div",
    { class: "code" },
    h("div", { class: "row between" }, h("span", { class: "faint" }, block.language || "text", result(found)), copy(block.text)),
    h("pre", { tabindex: "0", "aria-label": "Code" }, h("code", null, body)),
    problems.length > 0 ? h("ul", { class: "marks" }, problems.map((p) => h("li", null, h("strong", null, `Line ${p.line}: `), p.message))) : null,
  );
}

function result(found) {
  if (!found) return null;
  const kind = { valid: "good", invalid: "bad", fixed: "info" }[found.result] ?? "";
  return [" ", h("span", { class: `badge ${kind}` }, found.result)];
}

/** A button that copies a text. */
export function copy(text, title = "Copy") {
  const button = h("button", { class: "quiet", onclick: () => copied(text, button) }, title);
  return button;
}

async function copied(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    const before = button.textContent;
    fill(button, "Copied");
    setTimeout(() => fill(button, before), 1500);
  } catch {
    // Browsers allow it on https and on this machine only.
    toast("The browser does not allow copying here. Select the text and copy it yourself.", "bad");
  }
}
