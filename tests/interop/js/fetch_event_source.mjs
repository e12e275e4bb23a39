// `@microsoft/fetch-event-source`, in a browser because it needs `document` and `window`.

import { fetchEventSource } from "@microsoft/fetch-event-source";

const RETRY_MS = 100;

class Over extends Error {}

function listen(scenario) {
  const controller = new AbortController();
  return fetchEventSource(`${scenario.url}/sse/connect`, {
    headers: scenario.headers,
    signal: controller.signal,
    onmessage({ event, id, data }) {
      if (!scenario.report(event, id, data)) return;
      controller.abort();
      scenario.reportClosed();
    },
    onclose() {
      scenario.reportEnd("over");
      if (scenario.reconnects) throw new Error("reconnect"); // without an error, the library does not reconnect
    },
    onerror(error) {
      if (error.message !== "reconnect") scenario.reportEnd(error);
      return RETRY_MS; // later attempts use the `retry:` of the hub
    },
  });
}

async function answer(scenario) {
  const controller = new AbortController();
  const headers = { ...scenario.headers, "Content-Type": "application/json" };
  if (scenario.once) headers["Idempotency-Key"] = scenario.once;
  let location;
  await fetchEventSource(`${scenario.url}/generations`, {
    method: "POST",
    headers,
    body: scenario.body,
    signal: controller.signal,
    async onopen(response) {
      location = response.headers.get("Location");
    },
    onmessage({ event, id, data }) {
      if (!scenario.report(event, id, data)) return;
      if (scenario.name === "delete") scenario.call("DELETE", location);
      if (scenario.name !== "hangup") return;
      controller.abort();
      scenario.reportClosed();
    },
    onclose() {
      scenario.reportEnd("over");
    },
    onerror(error) {
      throw new Over(error); // by default, the library repeats the request
    },
  });
}

export function run(scenario) {
  return scenario.listens ? listen(scenario) : answer(scenario);
}
