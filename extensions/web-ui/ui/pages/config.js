// The configuration: what the file says, what is wrong with it, and putting it into effect.

import { fill, h } from "../lib/dom.js";
import { steps } from "../lib/steps.js";
import { badge, card, confirm, dialog, failure, table, toast } from "../lib/ui.js";

export const page = { path: "config", title: "Configuration" };

export async function show(root, ctx) {
  const { api, signal } = ctx;
  const now = await api.get("/api/config", { signal });
  const again = () => show(root, ctx).catch((error) => error.name !== "AbortError" && fill(root, failure(error, again)));
  const errors = now.problems.filter((p) => p.severity === "error").length;
  const state = !now.valid ? badge(`${errors} ${errors === 1 ? "error" : "errors"}`, "bad") : now.changed ? badge("valid, not in effect yet", "warn") : badge("in effect", "good");

  async function reload() {
    if (now.changed && !(await confirm("Put this configuration into effect?", "What changed passes the gate, and all of it is published together or not at all. Requests that run go on.", "Put into effect", "primary"))) return;
    try {
      const attempt = await api.post("/api/config/reload");
      dialog(`The configuration: ${attempt.outcome}`, steps(attempt.steps));
      toast(`The configuration: ${attempt.outcome}.`);
      again();
    } catch (error) {
      dialog("This was refused", [failure(error), h("p", { class: "faint" }, "What serves was not touched."), error.details?.steps ? steps(error.details.steps) : null]);
    }
  }

  fill(
    root,
    card(
      h("span", { class: "row" }, h("code", null, now.file), state),
      h("p", null, now.valid ? (now.changed ? "The file, with its variables, says something else than what serves." : "What serves is what the file and its variables say.") : "The file is not valid. What serves goes on as it was; a reload would be refused."),
      now.after_restart.length > 0 ? h("p", { class: "notice" }, "Only a restart changes ", now.after_restart.join(", "), ".") : null,
      now.problems.length > 0
        ? table({
            caption: "Problems",
            rows: now.problems,
            columns: [
              { title: "Where", render: (p) => h("code", null, p.place) },
              { title: "Setting", render: (p) => h("code", null, p.path) },
              { title: "What", render: (p) => [badge(p.severity, p.severity === "error" ? "bad" : "warn"), " ", p.message] },
            ],
          })
        : null,
      h("div", { class: "row" }, h("button", { onclick: again }, "Check again"), h("button", { class: "primary", disabled: !now.valid, onclick: reload }, "Put into effect")),
    ),
    card("What it says", h("p", { class: "faint" }, "With where each value comes from. Secrets are not shown, and neither are defaults."), h("pre", { tabindex: "0" }, now.text)),
  );
}
