// What two texts have in common, line by line. Pure.

/** Most lines that are compared one with each other; texts that differ in more are told as replaced. */
const MOST = 1500;

/** `[{kind: "same" | "out" | "in", text}]`: lines of both, of the first alone, of the second alone. */
export function diff(before, after) {
  const [a, b] = [before.split("\n"), after.split("\n")];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const line = (kind) => (text) => ({ kind, text });
  return [
    ...a.slice(0, start).map(line("same")),
    ...middle(a.slice(start, a.length - end), b.slice(start, b.length - end)),
    ...a.slice(a.length - end).map(line("same")),
  ];
}

/** By the longest sequence of lines that both have. */
function middle(a, b) {
  if (a.length > MOST || b.length > MOST) return [...a.map((text) => ({ kind: "out", text })), ...b.map((text) => ({ kind: "in", text }))];
  const width = b.length + 1;
  const longest = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      longest[i * width + j] = a[i] === b[j] ? longest[(i + 1) * width + j + 1] + 1 : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  const lines = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push({ kind: "same", text: a[i] });
      i++;
      j++;
    } else if (i < a.length && (j === b.length || longest[(i + 1) * width + j] >= longest[i * width + j + 1])) {
      lines.push({ kind: "out", text: a[i++] });
    } else {
      lines.push({ kind: "in", text: b[j++] });
    }
  }
  return lines;
}
