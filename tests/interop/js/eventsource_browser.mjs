// The browser's own EventSource: it takes no headers, so the token is in a cookie, or in the URL:
// `access_token=…` or `ticket=…` in place of the token says so.

import { runEventSource } from "./story.mjs";

export function run(story) {
  story.headers = {}; // the cookie goes with `fetch`, too
  const inUrl = story.token === "-" ? "" : `?${story.token}`;
  return runEventSource(story, (url) => new EventSource(url + inUrl));
}
