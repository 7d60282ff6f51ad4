// Sums of the ledger, put together for charts. Pure.

/** What is counted: `value` gives it of a group, `null` where it is not known. */
export const MEASURES = {
  tokens: { title: "Tokens", unit: "", value: (g) => g.total_tokens },
  cost: { title: "Cost", unit: "$", value: (g) => g.cost_usd },
  requests: { title: "Requests", unit: "", value: (g) => g.requests },
  errors: { title: "Errors", unit: "", value: (g) => g.failures },
};

/** Groups with the same `name`, added up: what is unknown of a part makes the sum `partial`, and of all makes it `null`. The largest come first. */
export function summed(groups, name, measure) {
  const sums = new Map();
  for (const group of groups) {
    const key = group[name] ?? null;
    const sum = sums.get(key) ?? { name: key, value: null, partial: false };
    const value = MEASURES[measure].value(group);
    if (value !== null && value !== undefined) sum.value = (sum.value ?? 0) + value;
    if (measure === "cost" && (value === null || group.requests_without_price > 0)) sum.partial = true;
    sums.set(key, sum);
  }
  return [...sums.values()].sort((a, b) => (b.value ?? -1) - (a.value ?? -1));
}

/** All days from the first to the last, those without requests too: a line that leaves them out lies. */
export function days(groups, measure) {
  const sums = new Map(summed(groups, "day", measure).map((s) => [s.name, s.value ?? 0]));
  const known = [...sums.keys()].filter((d) => d !== null).sort();
  if (known.length === 0) return [];
  const points = [];
  const last = Date.parse(`${known.at(-1)}T00:00:00Z`);
  for (let at = Date.parse(`${known[0]}T00:00:00Z`); at <= last; at += 86_400_000) {
    points.push([at, sums.get(new Date(at).toISOString().slice(0, 10)) ?? 0]);
  }
  return points;
}

/** The first day of a time of `days` days that ends today, as the interface wants it. */
export function since(days, now = Date.now()) {
  return new Date(now - (days - 1) * 86_400_000).toISOString().slice(0, 10);
}
