// Markdown of answers, read into plain objects. Pure: what comes out is drawn by `answer.js`, and nothing here ever becomes markup.
//
// Answers are whatever a model says, so the work is bounded: searches look a bounded way ahead and nesting has a depth.

/** Texts that are longer are shown as they are. */
export const MOST = 200_000;

/** How far ahead the end of an emphasis or a link is looked for, in characters. */
const AHEAD = 1000;

/** How deep pieces may be inside of each other. */
const DEPTH = 6;

const FENCE = /^ {0,3}(`{3,}|~{3,})([^`\n]*)$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.*)$/;
const ITEM = /^( *)(?:([-*+])|(\d{1,9})[.)])[ \t]+(.*)$/;
const RULE = /^ {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?(.*)$/;

/** The words of a heading, without the marks that may close it. A pattern would try each space of many. */
function unclosed(words) {
  const whole = words.trimEnd();
  let end = whole.length;
  while (end > 0 && whole[end - 1] === "#") end--;
  return end === 0 || " \t".includes(whole[end - 1]) ? whole.slice(0, end).trimEnd() : whole;
}

/**
 * Blocks: `{kind: "heading", level, parts}`, `{kind: "text", parts}`, `{kind: "code", language, text, line, open}`,
 * `{kind: "list", ordered, start, items: [{parts, indent}]}`, `{kind: "quote", blocks}`, `{kind: "rule"}`. `line` is where code begins in the text, from 1.
 */
export function blocks(text, depth = 0) {
  if (text.length > MOST) return [{ kind: "code", language: "", text, line: 1, open: false }];
  const lines = text.split(/\r\n|\n|\r/);
  const found = [];
  let paragraph = [];
  const finish = () => {
    if (paragraph.length > 0) found.push({ kind: "text", parts: inline(paragraph.join("\n")) });
    paragraph = [];
  };
  for (let n = 0; n < lines.length; n++) {
    const line = lines[n];
    const fence = FENCE.exec(line);
    if (fence) {
      finish();
      const code = fenced(lines, n, fence);
      found.push(code.block);
      n = code.end;
      continue;
    }
    const heading = HEADING.exec(line);
    if (heading) {
      finish();
      found.push({ kind: "heading", level: heading[1].length, parts: inline(unclosed(heading[2])) });
      continue;
    }
    if (RULE.test(line)) {
      finish();
      found.push({ kind: "rule" });
      continue;
    }
    if (QUOTE.test(line)) {
      finish();
      const inner = [];
      while (n < lines.length && QUOTE.test(lines[n])) inner.push(QUOTE.exec(lines[n++])[1]);
      n--;
      const words = inner.join("\n");
      found.push({ kind: "quote", blocks: depth < DEPTH ? blocks(words, depth + 1) : [{ kind: "text", parts: [{ kind: "plain", text: words }] }] });
      continue;
    }
    // A number in the middle of a paragraph is no list, unless it is the first.
    const item = ITEM.exec(line);
    if (item && (paragraph.length === 0 || item[2] || item[3] === "1")) {
      finish();
      const list = listed(lines, n);
      found.push(list.block);
      n = list.end;
      continue;
    }
    if (line.trim() === "") finish();
    else paragraph.push(line.trim());
  }
  finish();
  return found;
}

function fenced(lines, at, [, mark, info]) {
  const closes = new RegExp(`^ {0,3}${mark[0] === "~" ? "~" : "`"}{${mark.length},}[ \\t]*$`);
  let end = at + 1;
  while (end < lines.length && !closes.test(lines[end])) end++;
  const text = lines.slice(at + 1, end).join("\n");
  const language = info.trim().split(/\s+/)[0];
  return { block: { kind: "code", language, text, line: at + 2, open: end === lines.length }, end };
}

function listed(lines, at) {
  const first = ITEM.exec(lines[at]);
  const ordered = first[3] !== undefined;
  const items = [];
  let end = at;
  for (; end < lines.length; end++) {
    const line = lines[end];
    const item = RULE.test(line) ? null : ITEM.exec(line);
    if (item) {
      const indent = Math.min(4, Math.floor(item[1].length / 2));
      // A list of the other kind is another list, unless it is inside.
      if (indent === 0 && items.length > 0 && (item[3] !== undefined) !== ordered) break;
      items.push({ words: item[4], indent });
    } else if (line.trim() !== "" && /^ {2,}/.test(line) && !FENCE.test(line.trim())) {
      items.at(-1).words += `\n${line.trim()}`;
    } else if (line.trim() === "" && ITEM.test(lines[end + 1] ?? "")) {
      continue;
    } else break;
  }
  return {
    block: { kind: "list", ordered, start: ordered ? Number(first[3]) : 1, items: items.map(({ words, indent }) => ({ indent, parts: inline(words) })) },
    end: end - 1,
  };
}

/** Pieces of a line: `plain` and `code` with `text`; `strong`, `em`, `strike` with `parts`; `link` with `href` and `parts`. */
export function inline(text, depth = 0) {
  const parts = [];
  let plain = "";
  const flush = () => {
    if (plain !== "") parts.push({ kind: "plain", text: plain });
    plain = "";
  };
  const add = (part) => (flush(), parts.push(part));
  for (let at = 0; at < text.length; ) {
    const found = depth < DEPTH ? piece(text, at, depth) : null;
    if (found) {
      if (found.part.kind === "plain") plain += found.part.text;
      else add(found.part);
      at = found.end;
    } else plain += text[at++];
  }
  flush();
  return parts;
}

function piece(text, at, depth) {
  const c = text[at];
  if (c === "\\" && /[!-/:-@[-`{-~]/.test(text[at + 1] ?? "")) return { part: { kind: "plain", text: text[at + 1] }, end: at + 2 };
  if (c === "`") return codeSpan(text, at);
  if (c === "*" || c === "_" || c === "~") return emphasis(text, at, depth);
  if (c === "[") return link(text, at, depth);
  if (c === "!" && text[at + 1] === "[") return link(text, at + 1, depth);
  if (c === "h" && (at === 0 || /[\s(<]/.test(text[at - 1]))) return bare(text, at);
  return null;
}

/** Where `mark` stands next, within reach. */
function next(text, mark, from) {
  const place = text.slice(from, from + AHEAD).indexOf(mark);
  return place < 0 ? -1 : from + place;
}

function codeSpan(text, at) {
  const mark = /^`+/.exec(text.slice(at, at + AHEAD))[0];
  const end = next(text, mark, at + mark.length);
  // None of its characters opens anything then.
  if (end < 0) return { part: { kind: "plain", text: mark }, end: at + mark.length };
  return { part: { kind: "code", text: text.slice(at + mark.length, end).replace(/^ (.+) $/s, "$1") }, end: end + mark.length };
}

function emphasis(text, at, depth) {
  const c = text[at];
  const mark = text[at + 1] === c ? c + c : c;
  if (c === "~" && mark.length === 1) return null;
  const from = at + mark.length;
  // `2 * 3` and `snake_case` are none.
  if (/[\s]/.test(text[from] ?? " ") || (c === "_" && /\w/.test(text[at - 1] ?? ""))) return null;
  let end = next(text, mark, from + 1);
  if (mark.length === 1) {
    while (end >= 0 && text[end + 1] === c) end = end + 2 - from > AHEAD ? -1 : next(text, mark, end + 2);
  }
  if (end < 0 || end - from > AHEAD || /\s/.test(text[end - 1]) || (c === "_" && /\w/.test(text[end + mark.length] ?? ""))) return null;
  const kind = c === "~" ? "strike" : mark.length === 2 ? "strong" : "em";
  return { part: { kind, parts: inline(text.slice(from, end), depth + 1) }, end: end + mark.length };
}

function link(text, at, depth) {
  const close = next(text, "](", at + 1);
  if (close < 0) return null;
  const end = next(text, ")", close + 2);
  if (end < 0) return null;
  const words = text.slice(at + 1, close);
  if (words.includes("[")) return null;
  const href = safe(text.slice(close + 2, end).trim().split(/\s+/)[0]);
  // What may not be followed is shown as it was written.
  if (href === null) return { part: { kind: "plain", text: text.slice(at, end + 1) }, end: end + 1 };
  return { part: { kind: "link", href, parts: inline(words, depth + 1) }, end: end + 1 };
}

function bare(text, at) {
  const found = /^https?:\/\/[^\s<>"'`]+/.exec(text.slice(at, at + AHEAD));
  if (!found) return null;
  const written = found[0].replace(/[.,;:!?)\]*_]+$/, "");
  const href = safe(written);
  return href === null ? null : { part: { kind: "link", href, parts: [{ kind: "plain", text: written }] }, end: at + written.length };
}

/** An address that may be followed: a whole one, of the web or of mail. Anything else is `null`, scripts above all. */
export function safe(address) {
  let url;
  try {
    url = new URL(address);
  } catch {
    return null;
  }
  return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
}
