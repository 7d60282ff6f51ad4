// What stands in fields of forms, as the interface wants it, and back. Pure.

/** The value of a field; `null` is none. */
export function read(kind, text) {
  const said = text.trim();
  if (said === "") return null;
  switch (kind) {
    case "list":
      return said.split(/[\n,]/).map((s) => s.trim()).filter((s) => s !== "");
    case "count":
    case "amount":
      return Number(said);
    case "time":
      return new Date(said).toISOString().replace(/\.\d+Z$/, "Z");
    default:
      return said;
  }
}

/** What stands in a field for a value. */
export function written(kind, value) {
  if (value === null || value === undefined) return "";
  if (kind === "list") return value.join("\n");
  if (kind === "time") {
    const at = new Date(value);
    const two = (n) => String(n).padStart(2, "0");
    return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}`;
  }
  return String(value);
}
