// `eventsource` of npm: headers by a fetch of one's own.

import { EventSource } from "eventsource";
import { runEventSource } from "./story.mjs";

export function run(story) {
  const withToken = (url, init) =>
    fetch(url, { ...init, headers: { ...init.headers, ...story.headers } });
  return runEventSource(story, (url) => new EventSource(url, { fetch: withToken }));
}
