// All pages, in the order of the navigation. `key` is what is pressed after `g`.

import * as config from "./pages/config.js";
import * as extensions from "./pages/extensions.js";
import * as keys from "./pages/keys.js";
import * as overview from "./pages/overview.js";
import * as playground from "./pages/playground.js";
import * as providers from "./pages/providers.js";
import * as requests from "./pages/requests.js";
import * as usage from "./pages/usage.js";

export const pages = [
  { ...overview, key: "o" },
  { ...playground, key: "g" },
  { ...providers, key: "p" },
  { ...extensions, key: "e" },
  { ...keys, key: "k" },
  { ...usage, key: "u" },
  { ...requests, key: "r" },
  { ...config, key: "c" },
];
