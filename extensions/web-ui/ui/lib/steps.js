// The steps of an attempt: what the gate looked at, and what it said.

import { append, h } from "./dom.js";
import { badge, duration } from "./ui.js";

const SIGNS = { passed: "✓", refused: "✕", failed: "✕", skipped: "–" };

export function steps(list = []) {
  const place = h("ol", { class: "steps" });
  list.forEach((step) => add(place, step));
  return place;
}

export function add(place, step) {
  append(
    place,
    h(
      "li",
      null,
      h("span", { class: step.outcome, "aria-label": step.outcome }, SIGNS[step.outcome] ?? "·"),
      h("strong", null, step.step),
      h("span", { class: "detail" }, step.detail),
      h("span", { class: "faint numeric" }, duration(step.ms)),
    ),
  );
}

const KINDS = { published: "good", canary: "info", shadow: "info", refused: "bad", "rolled-back": "warn", unchanged: "", running: "info" };

export function outcome(attempt) {
  return badge(attempt.outcome, KINDS[attempt.outcome] ?? "");
}
