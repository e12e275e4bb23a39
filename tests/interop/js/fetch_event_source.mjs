// `@microsoft/fetch-event-source`, in a browser: it needs `document` and `window`.

import { fetchEventSource } from "@microsoft/fetch-event-source";

const AGAIN_MS = 100;

class Over extends Error {}

function listen(story) {
  const controller = new AbortController();
  return fetchEventSource(`${story.url}/sse/connect`, {
    headers: story.headers,
    signal: controller.signal,
    onmessage({ event, id, data }) {
      if (!story.tell(event, id, data)) return;
      controller.abort();
      story.closed();
    },
    onclose() {
      story.end("over");
      if (story.comesAgain) throw new Error("come again"); // else a clean end is the end
    },
    onerror(error) {
      if (error.message !== "come again") story.end(error);
      return AGAIN_MS; // the hub's `retry:` holds for the next time
    },
  });
}

async function answer(story) {
  const controller = new AbortController();
  const headers = { ...story.headers, "Content-Type": "application/json" };
  if (story.once) headers["Idempotency-Key"] = story.once;
  let place;
  await fetchEventSource(`${story.url}/generations`, {
    method: "POST",
    headers,
    body: story.body,
    signal: controller.signal,
    async onopen(response) {
      place = response.headers.get("Location");
    },
    onmessage({ event, id, data }) {
      if (!story.tell(event, id, data)) return;
      if (story.scenario === "delete") story.call("DELETE", place);
      if (story.scenario !== "hangup") return;
      controller.abort();
      story.closed();
    },
    onclose() {
      story.end("over");
    },
    onerror(error) {
      throw new Over(error); // by default it asks again
    },
  });
}

export function run(story) {
  return story.listens ? listen(story) : answer(story);
}
