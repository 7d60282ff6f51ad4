import { fill } from "../lib/dom.js";
import { empty } from "../lib/ui.js";

export const page = { path: "playground", title: "Playground" };

export async function show(root) {
  fill(root, empty("This page is not there yet."));
}
