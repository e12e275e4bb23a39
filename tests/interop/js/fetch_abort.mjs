// `fetch` with an AbortController and a hand-written parser, in Node.js and in a browser.

/** Yield the events of a response until it ends. */
async function* events(response) {
  if (response.status !== 200) throw new Error(`${response.url}: ${response.status}`);
  const decoder = new TextDecoder();
  let rest = "";
  for (const reader = response.body.getReader(); ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = { event: "message", id: "", data: [] };
      for (const line of block.split("\n")) {
        const [, field, text] = line.match(/^([^:]*):? ?(.*)$/su);
        if (field === "data") event.data.push(text);
        else if (field in event) event[field] = text;
      }
      if (event.data.length) yield [event.event, event.id, event.data.join("\n")];
    }
  }
}

async function listen(scenario) {
  for (;;) {
    const controller = new AbortController();
    const headers = { ...scenario.headers, Accept: "text/event-stream" };
    if (scenario.lastId) headers["Last-Event-ID"] = scenario.lastId;
    try {
      const { signal } = controller;
      const response = await fetch(`${scenario.url}/sse/connect`, { headers, signal });
      for await (const event of events(response)) {
        if (!scenario.report(...event)) continue;
        controller.abort();
        return scenario.reportClosed();
      }
      scenario.reportEnd("over");
    } catch (error) {
      scenario.reportEnd(error);
    }
    if (!scenario.reconnects) return undefined;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Start an answer; at the awaited delta, disconnect, or stop the answer and read to its end. */
async function answer(scenario) {
  const controller = new AbortController();
  const response = await fetch(`${scenario.url}/generations`, {
    method: "POST",
    headers: { ...scenario.headers, "Content-Type": "application/json", Accept: "text/event-stream" },
    body: scenario.body,
    signal: controller.signal,
  });
  const location = response.headers.get("Location");
  for await (const event of events(response)) {
    if (!scenario.report(...event)) continue;
    if (scenario.name !== "delete") {
      controller.abort();
      break;
    }
    await scenario.call("DELETE", location);
  }
  return location;
}

/** Restart the answer and read the new one from its start to its end. */
async function restart(scenario, location) {
  const { generation } = await scenario.call("POST", `${location}/restart`);
  const headers = { ...scenario.headers, Accept: "text/event-stream" };
  const response = await fetch(`${scenario.url}/generations/${generation}`, { headers });
  for await (const event of events(response)) scenario.report(...event);
  scenario.reportEnd("over");
}

export async function run(scenario) {
  if (scenario.listens) return listen(scenario);
  const location = await answer(scenario);
  if (scenario.name === "restart") return restart(scenario, location);
  return scenario.name === "hangup" ? scenario.reportClosed() : scenario.reportEnd("over");
}
