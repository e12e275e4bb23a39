// Tests the console's stream of reports: when it reconnects.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { streamReports } from "../../hub/http/pages/console/api.js";

const LINE = `${JSON.stringify({ event: "hub.report", data: { from: "n1" } })}\n`;
const streams = [];

function fakeFetch(url, { signal }) {
  const stream = new TransformStream();
  const writer = stream.writable.getWriter();
  const write = (text) => writer.write(new TextEncoder().encode(text)).catch(() => {});
  signal.addEventListener("abort", () => writer.abort(signal.reason).catch(() => {}));
  streams.push({ signal, write });
  return Promise.resolve(new Response(stream.readable));
}

async function tick(ms) {
  mock.timers.tick(ms);
  for (let round = 0; round < 20; round += 1) await new Promise((resolve) => setImmediate(resolve));
}

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout"] });
  globalThis.sessionStorage = { getItem: () => null };
  mock.method(globalThis, "fetch", fakeFetch);
});
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

test("a silent stream is replaced, a stream with heartcount is not", async () => {
  const states = [];
  const received = [];
  (async () => {
    for await (const report of streamReports((state) => states.push(state))) received.push(report.from);
  })();
  await tick(0);
  streams[0].write(LINE);
  for (let count = 0; count < 5; count += 1) {
    await tick(8000);
    streams[0].write("\n");
  }
  await tick(8000);
  assert.deepEqual([states, received, streams.length], [["live"], ["n1"], 1]);
  await tick(20_000); // silence
  await tick(1000);
  streams[1].write(LINE);
  await tick(0);
  assert.deepEqual([states, received, streams[0].signal.aborted], [["live", "disconnected", "live"], ["n1", "n1"], true]);
});
