// Elements without markup: nothing that comes from outside is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `h("button", {class: "primary", onclick: save}, "Save")`. Children are nodes, texts, `null`, or lists of them. */
export function h(tag, props, ...children) {
  return made(document.createElement(tag), props, children);
}

/** The same for a drawing. */
export function svg(tag, props, ...children) {
  return made(document.createElementNS(SVG, tag), props, children);
}

function made(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on") && typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "style") for (const [key, v] of Object.entries(value)) element.style.setProperty(key, v);
    else if (["value", "checked", "selected", "indeterminate"].includes(name) && name in element) element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

/** Adds children. */
export function append(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/** Puts children in the place of what is there. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, ...children);
  return element;
}
