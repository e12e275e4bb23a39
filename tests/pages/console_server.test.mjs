// The console's live stream: what it does when nothing comes.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { reports } from "../../hub/http/pages/console/server.js";

const LINE = `${JSON.stringify({ event: "hub.report", data: { from: "n1" } })}\n`;
const streams = [];

function answer(url, { signal }) {
  const stream = new TransformStream();
  const writer = stream.writable.getWriter();
  const write = (text) => writer.write(new TextEncoder().encode(text)).catch(() => {});
  signal.addEventListener("abort", () => writer.abort(signal.reason).catch(() => {}));
  streams.push({ signal, write });
  return Promise.resolve(new Response(stream.readable));
}

async function tick(ms) {
  mock.timers.tick(ms);
  for (let turn = 0; turn < 20; turn += 1) await new Promise((wake) => setImmediate(wake));
}

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout"] });
  globalThis.sessionStorage = { getItem: () => null };
  mock.method(globalThis, "fetch", answer);
});
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

test("a stream that falls silent is begun anew, one with heartbeats is not", async () => {
  const states = [];
  const heard = [];
  (async () => {
    for await (const report of reports((state) => states.push(state))) heard.push(report.from);
  })();
  await tick(0);
  streams[0].write(LINE);
  for (let beats = 0; beats < 5; beats += 1) {
    await tick(8000);
    streams[0].write("\n");
  }
  await tick(8000);
  assert.deepEqual([states, heard, streams.length], [["live"], ["n1"], 1]);
  await tick(20_000); // nothing more
  await tick(1000);
  streams[1].write(LINE);
  await tick(0);
  assert.deepEqual([states, heard, streams[0].signal.aborted], [["live", "away", "live"], ["n1", "n1"], true]);
});
