// Charts as drawings. Each has a table of its numbers for who does not see it.

import { h, svg } from "./dom.js";

const COLOURS = ["--chart-1", "--chart-2", "--chart-3", "--chart-4", "--chart-5", "--chart-6"];
const WIDTH = 640;

/** Lines over time: `series` is `[{name, points: [[x, y]]}]`, `x` in milliseconds. */
export function lines({ series, unit, height = 160, title = "Chart" }) {
  const all = series.flatMap((s) => s.points);
  if (all.length === 0) return h("p", { class: "faint" }, "Nothing was measured yet.");
  const [left, right, top, bottom] = [8, 8, 12, 18];
  const xs = all.map(([x]) => x);
  const most = Math.max(...all.map(([, y]) => y)) || 1;
  const [from, to] = [Math.min(...xs), Math.max(...xs)];
  const x = (v) => left + ((v - from) / (to - from || 1)) * (WIDTH - left - right);
  const y = (v) => height - bottom - (v / most) * (height - top - bottom);
  const drawn = series.map((s, n) => {
    const path = s.points.map(([px, py], i) => `${i === 0 ? "M" : "L"}${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join("");
    const line = svg("path", { d: path, class: `line c${n % COLOURS.length}` });
    const area = n === 0 && s.points.length > 1 ? svg("path", { d: `${path}L${x(s.points.at(-1)[0]).toFixed(1)} ${height - bottom}L${x(s.points[0][0]).toFixed(1)} ${height - bottom}Z`, class: "area c0" }) : null;
    return [area, line];
  });
  const grid = [0, 0.5, 1].map((f) => svg("line", { x1: left, x2: WIDTH - right, y1: y(most * f), y2: y(most * f), class: "grid" }));
  const clock = (v) => new Date(v).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const marks = [
    svg("text", { x: left, y: top - 2, class: "mark" }, `${short(most)}${unit ? ` ${unit}` : ""}`),
    svg("text", { x: left, y: height - 4, class: "mark" }, clock(from)),
    svg("text", { x: WIDTH - right, y: height - 4, class: "mark", "text-anchor": "end" }, clock(to)),
  ];
  const last = series.map((s) => `${s.name}: ${short(s.points.at(-1)?.[1] ?? 0)}${unit ? ` ${unit}` : ""}`).join(", ");
  return figure(
    title,
    svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": `${title}. Now ${last}` }, grid, drawn, marks),
    series.length > 1 ? legend(series.map((s) => s.name)) : null,
  );
}

/** Bars, the longest first: `items` is `[{name, value, text?}]`. */
export function bars({ items, unit, title = "Chart" }) {
  if (items.length === 0) return h("p", { class: "faint" }, "Nothing was measured yet.");
  const most = Math.max(...items.map((i) => i.value)) || 1;
  const rows = items.map((item) =>
    h(
      "li",
      null,
      h("span", { class: "name" }, item.name),
      h("span", { class: "bar", "aria-hidden": "true" }, h("span", { style: { width: `${Math.max(0, (item.value / most) * 100).toFixed(1)}%` } })),
      h("span", { class: "value" }, item.text ?? `${short(item.value)}${unit ? ` ${unit}` : ""}`),
    ),
  );
  return h("ul", { class: "bars", "aria-label": title }, rows);
}

function figure(title, drawing, more) {
  return h("figure", { class: "chart" }, h("figcaption", null, title), drawing, more);
}

function legend(names) {
  return h("ul", { class: "legend" }, names.map((name, n) => h("li", { class: `c${n % COLOURS.length}` }, name)));
}

function short(value) {
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
}
