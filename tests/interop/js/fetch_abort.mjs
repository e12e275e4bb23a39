// `fetch` with an AbortController, in Node.js and in a browser; the stream is parsed by hand.

/** The events of a response, until it ends. */
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

async function listen(story) {
  for (;;) {
    const controller = new AbortController();
    const headers = { ...story.headers, Accept: "text/event-stream" };
    if (story.lastId) headers["Last-Event-ID"] = story.lastId;
    try {
      const { signal } = controller;
      const response = await fetch(`${story.url}/sse/connect`, { headers, signal });
      for await (const event of events(response)) {
        if (!story.tell(...event)) continue;
        controller.abort();
        return story.closed();
      }
      story.end("over");
    } catch (error) {
      story.end(error);
    }
    if (!story.comesAgain) return undefined;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Asks; at the awaited delta it hangs up, or stops the answer and reads to its end. */
async function answer(story) {
  const controller = new AbortController();
  const response = await fetch(`${story.url}/generations`, {
    method: "POST",
    headers: { ...story.headers, "Content-Type": "application/json", Accept: "text/event-stream" },
    body: story.body,
    signal: controller.signal,
  });
  const place = response.headers.get("Location");
  for await (const event of events(response)) {
    if (!story.tell(...event)) continue;
    if (story.scenario !== "delete") {
      controller.abort();
      break;
    }
    await story.call("DELETE", place);
  }
  return place;
}

/** The same question again, read from its beginning to its end. */
async function restart(story, place) {
  const { generation } = await story.call("POST", `${place}/restart`);
  const headers = { ...story.headers, Accept: "text/event-stream" };
  const response = await fetch(`${story.url}/generations/${generation}`, { headers });
  for await (const event of events(response)) story.tell(...event);
  story.end("over");
}

export async function run(story) {
  if (story.listens) return listen(story);
  const place = await answer(story);
  if (story.scenario === "restart") return restart(story, place);
  return story.scenario === "hangup" ? story.closed() : story.end("over");
}
