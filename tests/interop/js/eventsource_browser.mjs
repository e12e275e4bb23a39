// The EventSource of the browser. It does not support headers, so the token is in a cookie or in
// the URL: a token argument `access_token=…` or `ticket=…` becomes the query of the URL.

import { runEventSource } from "./scenario.mjs";

export function run(scenario) {
  scenario.headers = {}; // `fetch` sends the cookie as well
  const inUrl = scenario.token === "-" ? "" : `?${scenario.token}`;
  return runEventSource(scenario, (url) => new EventSource(url + inUrl));
}
