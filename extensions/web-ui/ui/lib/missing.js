// Pages that need an extension which is not loaded say so.

import { fill, h } from "./dom.js";
import { copy } from "./answer.js";
import { card } from "./ui.js";

/** What to do where `extension` is missing. `yaml` is what belongs into the configuration. */
export function missing(extension, what, yaml) {
  return card(
    `The extension ${extension} is not loaded`,
    h("p", null, what),
    h("p", null, "Put this into the configuration and reload it:"),
    h("div", { class: "code" }, h("div", { class: "row between" }, h("span", { class: "faint" }, "yaml"), copy(yaml)), h("pre", { tabindex: "0", "aria-label": "Configuration" }, h("code", null, yaml))),
    h("p", null, h("a", { href: "#/config" }, "Configuration and reload")),
  );
}

/** Shows what is fetched, or, where nothing answers at its path, what is missing. */
export async function orMissing(root, error, extension, what, yaml) {
  if (error.status !== 404) throw error;
  fill(root, missing(extension, what, yaml));
}
