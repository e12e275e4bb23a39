// `eventsource` of npm, with headers added by a custom fetch.

import { EventSource } from "eventsource";
import { runEventSource } from "./scenario.mjs";

export function run(scenario) {
  const withToken = (url, init) =>
    fetch(url, { ...init, headers: { ...init.headers, ...scenario.headers } });
  return runEventSource(scenario, (url) => new EventSource(url, { fetch: withToken }));
}
