import { fill } from "../lib/dom.js";
import { empty } from "../lib/ui.js";

export const page = { path: "requests", title: "Requests" };

export async function show(root) {
  fill(root, empty("This page is not there yet."));
}
