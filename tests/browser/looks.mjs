// How all pages look, in one theme and size: pictures of them, and what is wrong for people who do not see them.
//
// Usage: node looks.mjs GATEWAY_URL THEME SIZE

import { looks, run } from "./browser.mjs";

const [theme, size] = process.argv.slice(3);
const PAGES = ["overview", "playground", "providers", "providers/up", "extensions", "extensions/swaps", "keys", "usage", "requests", "config"];

await run((browser) => looks(browser, PAGES, theme, size));
