// Tests hub.js with a fake hub: which requests it sends, when, and with which cursor. The clock is
// a fake: only tests advance it.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { connect, HubError } from "../../hub/http/pages/hub.js";

const OPEN = { connection: "c_1", user: "alice", node: "n1", heartbeat_seconds: 8, recovered: false, replayed: 0 };

// Holds every request until the test responds to it.
class FakeHub {
  requests = [];
  #waiting = [];

  fetch = (url, { method = "GET", headers, body, signal }) => new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const { pathname, searchParams } = new URL(url, "http://hub");
    const request = {
      method, headers, signal, path: pathname, query: Object.fromEntries(searchParams), body: body && JSON.parse(body),
      fail: () => reject(new TypeError("Failed to fetch")),
      respond: (json, status = 200, more = {}) => resolve(Response.json(json, { status, headers: more })),
      respondText: (text) => resolve(new Response(text)),
      openStream: () => openStream(resolve, signal),
    };
    signal?.addEventListener("abort", () => reject(signal.reason));
    this.requests.push(request);
    this.#waiting.shift()?.(request);
  });

  // Returns the next request that the test has not taken yet.
  async next() {
    if (this.requests.length) return this.requests.shift();
    const request = await new Promise((resolve) => this.#waiting.push(resolve));
    this.requests.splice(this.requests.indexOf(request), 1);
    return request;
  }
}

function openStream(resolve, signal) {
  let controller;
  const body = new ReadableStream({ start: (created) => (controller = created) });
  signal.addEventListener("abort", () => {
    try {
      controller.error(signal.reason);
    } catch { /* the stream has ended */ }
  });
  resolve(new Response(body, { headers: { "Content-Type": "text/event-stream; charset=utf-8" } }));
  const write = (text) => controller.enqueue(new TextEncoder().encode(text));
  return {
    heartbeat: () => write(": hb\n"),
    retry: (ms) => write(`retry: ${ms}\n`),
    end: () => controller.close(),
    send: (name, data, id) => {
      const text = typeof data === "string" ? data : JSON.stringify(data);
      write(`event: ${name}\ndata: ${text}\n${id ? `id: ${id}\n` : ""}\n`);
    },
  };
}

// Waits until all pending callbacks have run.
async function runCallbacks() {
  for (let round = 0; round < 20; round += 1) await new Promise((resolve) => setImmediate(resolve));
}

function memoryStore(values = {}) {
  return { get: (key) => values[key], set: (key, cursor) => (values[key] = cursor) };
}

// The part of the Web Locks API (W3C) that hub.js uses, for the tabs of one browser.
class FakeLocks {
  held = null;
  #queue = [];

  request = (name, { steal = false, signal } = {}, work) => new Promise((resolve, reject) => {
    const entry = { work, resolve, reject };
    signal?.addEventListener("abort", () => {
      this.#queue = this.#queue.filter((each) => each !== entry);
      reject(signal.reason);
    });
    if (steal) {
      this.held?.reject(new DOMException("stolen", "AbortError"));
      this.held = null;
      this.#queue.unshift(entry);
    } else this.#queue.push(entry);
    queueMicrotask(() => this.#grant());
  });

  async #grant() {
    if (this.held || !this.#queue.length) return;
    const granted = this.#queue.shift();
    this.held = granted;
    granted.resolve(await granted.work());
    if (this.held !== granted) return;
    this.held = null;
    this.#grant();
  }
}

// Creates a hub as in a browser tab: with locks, and without the global that identifies Node.
function openTab(locks, options) {
  const { process } = globalThis;
  Object.defineProperty(globalThis, "process", { value: undefined, configurable: true, writable: true });
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true, writable: true });
  try {
    return createHub({ user: "tabs", ...options });
  } finally {
    Object.defineProperty(globalThis, "process", { value: process, configurable: true, writable: true });
  }
}

const hubs = [];

function createHub(options = {}) {
  const fake = new FakeHub();
  const received = [];
  const states = [];
  const hub = connect({ url: "http://hub", user: "alice", store: null, fetch: fake.fetch, ...options });
  hub.on("*", ({ name, data: sent, replayed }) => {
    if (name.startsWith("hub.")) return;
    const data = /^\d+$/.test(sent) ? Number(sent) : sent; // numbers arrive as text
    received.push(replayed ? ["stored", data] : data);
  });
  hub.on("state", (state) => states.push(state));
  hubs.push(hub);
  return { fake, hub, received, states };
}

async function openHub(options) {
  const parts = createHub(options);
  parts.request = await parts.fake.next();
  parts.stream = parts.request.openStream();
  parts.stream.send("hub.open", OPEN, "AAAAA-1*BBBBB-0.");
  await runCallbacks();
  return parts;
}

async function tick(ms) {
  mock.timers.tick(ms);
  await runCallbacks();
}

beforeEach(() => mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_000_000 }));
afterEach(() => {
  hubs.splice(0).forEach((hub) => hub.close());
  mock.timers.reset();
});

test("starts live and reconnects with the cursor of the last event", async () => {
  const { fake, received, states, request, stream } = await openHub({ token: "T" });
  assert.deepEqual([request.path, request.query, request.headers.Authorization], ["/sse/connect/alice", { cursor: "live" }, "Bearer T"]);
  stream.send("notification", { n: 1 }, "AAAAA-2*BBBBB-0.");
  stream.send("flash", "not stored");
  await runCallbacks();
  stream.end();
  await runCallbacks();
  await tick(500);
  const again = await fake.next();
  assert.deepEqual([again.headers["Last-Event-ID"], again.query], ["AAAAA-2*BBBBB-0.", {}]);
  assert.deepEqual(received, [{ n: 1 }, "not stored"]);
  assert.deepEqual(states.map(({ state }) => state), ["live", "reconnecting", "reconnecting"]);
});

test("an event that arrives twice is delivered once", async () => {
  const { fake, received, stream } = await openHub();
  stream.send("notification", 1, "AAAAA-2*BBBBB-0.");
  await runCallbacks();
  stream.end();
  await runCallbacks();
  await tick(500);
  const again = (await fake.next()).openStream();
  again.send("hub.open", OPEN, "AAAAA-1*BBBBB-0."); // a hub that replays from an earlier position
  again.send("notification", 1, "AAAAA-2*BBBBB-0.");
  again.send("notification", 2, "AAAAA-3*BBBBB-0.");
  await runCallbacks();
  assert.deepEqual(received, [1, 2]);
});

test("a reload continues from the stored cursor; a cursor that the hub cannot read causes a reset", async () => {
  const store = memoryStore();
  const { hub } = await openHub({ store });
  hub.close();
  const { fake, hub: second } = createHub({ store });
  const request = await fake.next();
  assert.equal(request.headers["Last-Event-ID"], "AAAAA-1*BBBBB-0.");
  const resets = [];
  second.on("hub.reset", ({ data }) => resets.push(data));
  request.respond({ detail: "this is not a cursor of the hub", path: "cursor" }, 400);
  await runCallbacks();
  await tick(700);
  assert.equal((await fake.next()).query.cursor, "live");
  assert.deepEqual(resets, [{ channel: "*", reason: "cursor" }]);
});

test("stored events are marked as replayed, later events are not, also after a reconnect", async () => {
  const { fake, received, hub } = createHub({ cursor: "start" });
  const stream = (await fake.next()).openStream();
  let isReady = false;
  hub.ready.then(() => (isReady = true));
  stream.send("hub.open", { ...OPEN, replayed: 2 }, "AAAAA-0*BBBBB-0.");
  stream.send("notification", 1, "AAAAA-1*BBBBB-0.");
  await runCallbacks();
  assert.equal(isReady, false);
  stream.send("notification", 2, "AAAAA-2*BBBBB-0.");
  await runCallbacks();
  assert.equal(isReady, true);
  stream.end();
  await runCallbacks();
  await tick(500);
  const again = (await fake.next()).openStream();
  again.send("hub.open", { ...OPEN, recovered: true, replayed: 1 }, "AAAAA-2*BBBBB-0.");
  again.send("notification", 3, "AAAAA-3*BBBBB-0.");
  await runCallbacks();
  assert.deepEqual(received, [["stored", 1], ["stored", 2], 3]);
});

test("after a bye with reconnect the client waits at least as long as the hub asked", async () => {
  const { fake, states, stream } = await openHub();
  stream.send("hub.bye", { reason: "draining", reconnect: true, retry_ms: 2000 }, "AAAAA-1*BBBBB-0.");
  await runCallbacks();
  const { state, reason, retryAt } = states.at(-1);
  assert.deepEqual([state, reason], ["reconnecting", "draining"]);
  assert.ok(retryAt >= 1_002_000 && retryAt <= 1_002_400);
  await tick(1999);
  assert.equal(fake.requests.length, 0);
  await tick(401);
  assert.equal(fake.requests.length, 1);
});

test("the delay grows while streams break early and starts again after a stable stream", async () => {
  const parts = await openHub();
  let { stream } = parts;
  const delays = [];
  const breakStream = async () => {
    stream.end();
    await runCallbacks();
    delays.push(parts.hub.state.retryAt - Date.now());
    await tick(delays.at(-1));
    stream = (await parts.fake.next()).openStream();
    stream.send("hub.open", OPEN, "AAAAA-1*BBBBB-0.");
    await runCallbacks();
  };
  for (let count = 0; count < 4; count += 1) await breakStream();
  await tick(2000);
  await breakStream();
  const isWithin = (delay, maxMs) => delay >= maxMs / 2 && delay <= maxMs;
  const maxima = [500, 1000, 2000, 4000, 500];
  assert.deepEqual(delays.map((delay, index) => isWithin(delay, maxima[index])), Array(5).fill(true), String(delays));
});

test("a bye without reconnect closes the hub until reconnect() is called", async () => {
  const { fake, hub, states, stream } = await openHub();
  stream.send("hub.bye", { reason: "replaced", reconnect: false, retry_ms: 0 });
  await runCallbacks();
  await tick(60_000);
  assert.deepEqual([states.at(-1).state, states.at(-1).reason, fake.requests.length], ["closed", "replaced", 0]);
  await assert.rejects(hub.ask("why?").accepted, { code: "closed" });
  hub.reconnect();
  assert.equal((await fake.next()).headers["Last-Event-ID"], "AAAAA-1*BBBBB-0.");
});

test("a temporary refusal is retried after Retry-After, a final one closes the hub", async () => {
  const { fake, states } = createHub();
  (await fake.next()).respond({ detail: "too many streams" }, 429, { "Retry-After": "10" });
  await runCallbacks();
  await tick(9_900);
  assert.equal(fake.requests.length, 0);
  await tick(2_200);
  (await fake.next()).respond({ detail: "the token is another user's" }, 403);
  await runCallbacks();
  assert.deepEqual([states.at(-1).state, states.at(-1).reason], ["closed", "the token is another user's"]);
});

test("getToken is called at first, when a token is refused, before it expires and after it expired", async () => {
  const reasons = [];
  const getToken = async ({ reason }) => `T${reasons.push(reason)}`;
  const { fake } = createHub({ getToken });
  (await fake.next()).respond({ detail: "expired" }, 401);
  const second = await fake.next();
  assert.equal(second.headers.Authorization, "Bearer T2");
  const stream = second.openStream();
  stream.send("hub.open", OPEN, "AAAAA-1*BBBBB-0.");
  stream.send("hub.expiring", { reason: "expired", seconds: 30 });
  await runCallbacks();
  await tick(10_000);
  await tick(0);
  const third = await fake.next();
  assert.deepEqual([third.headers.Authorization, second.signal.aborted], ["Bearer T3", true]);
  const stream3 = third.openStream();
  stream3.send("hub.open", OPEN, "AAAAA-1*BBBBB-0.");
  stream3.send("hub.bye", { reason: "expired", reconnect: false, retry_ms: 3000 });
  await runCallbacks();
  await tick(0);
  assert.equal((await fake.next()).headers.Authorization, "Bearer T4");
  assert.deepEqual(reasons, ["connect", "refused", "expiring", "expired"]);
});

test("a ticket is sent in the URL, and a used one resumes by the header", async () => {
  const { fake, request, stream } = await openHub({ ticket: "K" });
  assert.deepEqual([request.query, request.headers.Authorization], [{ cursor: "live", ticket: "K" }, undefined]);
  stream.end();
  await runCallbacks();
  await tick(500);
  const again = await fake.next();
  assert.deepEqual([again.query, again.headers["Last-Event-ID"]], [{ ticket: "K" }, "AAAAA-1*BBBBB-0."]);
});

test("it polls when the stream is buffered, and each poll continues from the last one", async () => {
  const { fake, received, states } = createHub();
  (await fake.next()).openStream(); // only the headers arrive
  await runCallbacks();
  await tick(6000);
  await tick(0);
  const first = await fake.next();
  assert.deepEqual([first.path, first.query], ["/poll/connect/alice", { wait: "0", cursor: "live" }]);
  first.respond({ events: [], cursor: "AAAAA-1*BBBBB-0." });
  const second = await fake.next();
  assert.deepEqual([second.query.wait, second.headers["Last-Event-ID"]], ["25", "AAAAA-1*BBBBB-0."]);
  assert.deepEqual([states.at(-1).state, states.at(-1).transport], ["live", "poll"]);
  second.respond({
    events: [{ id: "AAAAA-2*BBBBB-0.", event: "notification", channel: "user:alice", data: 1 }], cursor: "AAAAA-2*BBBBB-0.",
  });
  assert.equal((await fake.next()).headers["Last-Event-ID"], "AAAAA-2*BBBBB-0.");
  assert.deepEqual(received, [1]);
});

test("it polls when only the beginning of the stream arrives and no heartbeat", async () => {
  const { fake } = await openHub();
  await tick(20_000);
  await tick(1000);
  assert.equal((await fake.next()).path, "/poll/connect/alice");
});

test("heartbeats keep a stream open, silence ends it, and the client reconnects at once", async () => {
  const { fake, request, stream } = await openHub();
  for (let count = 0; count < 5; count += 1) {
    await tick(8000);
    stream.heartbeat();
    await runCallbacks();
  }
  assert.equal(request.signal.aborted, false);
  await tick(20_000);
  await tick(1000);
  assert.equal(request.signal.aborted, true);
  await tick(0);
  assert.equal((await fake.next()).path, "/sse/connect/alice");
});

test("a timer that fires late does not count as silence: the received data is read first", async () => {
  const { request, stream } = await openHub();
  stream.heartbeat();
  mock.timers.setTime(1_000_000 + 3_600_000); // the laptop was suspended for an hour, and all timers fire at once
  await runCallbacks();
  await tick(1000);
  assert.equal(request.signal.aborted, false);
});

test("a request whose response was lost is sent again with the same key", async () => {
  const { fake, hub, stream } = await openHub();
  const answer = hub.ask("why?");
  const first = await fake.next();
  assert.deepEqual([first.method, first.path, first.query, first.body], ["POST", "/generations", { user: "alice" }, { prompt: "why?" }]);
  first.fail();
  await runCallbacks();
  await tick(500);
  const second = await fake.next();
  assert.equal(second.headers["Idempotency-Key"], first.headers["Idempotency-Key"]);
  stream.send("generation.started", { generation: "g1", attempt: 1, model: "m" }, "AAAAA-2*BBBBB-0.");
  stream.send("generation.delta", { generation: "g1", i: 0, text: "Be" }, "AAAAA-3*BBBBB-0.");
  await runCallbacks(); // the events arrive before the response to the POST
  second.respond({ generation: "g1", cursor: "AAAAA-1." }, 202);
  assert.equal(await answer.accepted, "g1");
  const updates = [];
  const reading = (async () => {
    for await (const { delta, isReplaced } of answer) updates.push(isReplaced ? ["replaced", delta] : delta);
  })();
  await runCallbacks();
  stream.send("generation.delta", { generation: "g1", i: 1, text: "cause" }, "AAAAA-4*BBBBB-0.");
  await runCallbacks();
  stream.send("generation.replaced", { generation: "g1", i: 2, text: "Light" }, "AAAAA-5*BBBBB-0.");
  stream.send("generation.delta", { generation: "g2", i: 0, text: "another's" }, "AAAAA-6*BBBBB-0.");
  await runCallbacks();
  stream.send("generation.done", { generation: "g1", finish_reason: "stop", usage: null, deltas: 3 }, "AAAAA-7*BBBBB-0.");
  await reading;
  assert.deepEqual(updates.filter(Boolean), ["Be", "cause", ["replaced", "Light"]]);
  assert.deepEqual([answer.text, answer.status], ["Light", "done"]);
});

test("on_busy: reject rejects with the id of the open answer; other values pass on to the hub", async () => {
  const { fake, hub, stream } = await openHub();
  const rejected = hub.ask({ prompt: "b", chat: "c", on_busy: "reject" });
  const request = await fake.next();
  assert.deepEqual(request.body, { prompt: "b", chat: "c", on_busy: "reject" });
  request.respond({ detail: "an answer of this chat has not ended", code: "chat_busy", generation: "g1" }, 409);
  await assert.rejects(rejected.ended(), { status: 409, code: "chat_busy", generation: "g1", isRetryable: false });
  const interrupting = hub.ask({ prompt: "c", chat: "c", on_busy: "interrupt" });
  const second = await fake.next();
  assert.equal(second.body.on_busy, "interrupt");
  second.respond({ generation: "g2", cursor: "AAAAA-1." }, 202);
  stream.send("generation.stopped", { generation: "g1", by: "alice", deltas: 0 }, "AAAAA-2*BBBBB-0.");
  stream.send("generation.started", { generation: "g2", attempt: 1, model: "m" }, "AAAAA-3*BBBBB-0.");
  stream.send("generation.done", { generation: "g2", finish_reason: "stop", usage: null, deltas: 0 }, "AAAAA-4*BBBBB-0.");
  assert.equal((await interrupting.ended()).status, "done");
});

test("notify passes on to the hub", async () => {
  const { fake, hub } = await openHub();
  hub.ask({ prompt: "a", notify: true });
  const request = await fake.next();
  assert.deepEqual(request.body, { prompt: "a", notify: true });
  request.respond({ generation: "g1", cursor: "AAAAA-1." }, 202);
});

test("an answer of a topic comes with the topic's events, so the page must follow it", async () => {
  const { fake, hub, stream } = await openHub({ topics: ["room:1"] });
  assert.throws(() => hub.ask({ prompt: "a", to: { topic: "room:2" } }), { name: "TypeError", message: /room:2/ });
  const answer = hub.ask({ prompt: "a", to: { topic: "room:1" } });
  const request = await fake.next();
  assert.deepEqual(request.body, { prompt: "a", to: { topic: "room:1" } });
  request.respond({ generation: "g1", cursor: "~AAAAAA:CCCCC-0." }, 202);
  stream.send("generation.started", { generation: "g1", attempt: 1, model: "m", user: "alice" }, "AAAAA-1*BBBBB-0~AAAAAA:CCCCC-1.");
  stream.send("generation.delta", { generation: "g1", i: 0, text: "hi" }, "AAAAA-1*BBBBB-0~AAAAAA:CCCCC-2.");
  stream.send("generation.done", { generation: "g1", finish_reason: "stop", usage: null, deltas: 1 }, "AAAAA-1*BBBBB-0~AAAAAA:CCCCC-3.");
  assert.equal((await answer.ended()).text, "hi");
});

test("a 429 for too many requests rejects with Retry-After", async () => {
  const { fake, hub } = await openHub();
  const answer = hub.ask("why?");
  (await fake.next()).respond({ detail: "3 of your requests are waiting" }, 429, { "Retry-After": "7" });
  await assert.rejects(answer.ended(), { status: 429, retryAfterSeconds: 7, message: "3 of your requests are waiting" });
});

test("a failed answer rejects with its code; a stopped answer ends normally", async () => {
  const { fake, hub, stream } = await openHub();
  const [failing, stopping] = [hub.ask("a"), hub.ask("b")];
  (await fake.next()).respond({ generation: "g1" }, 202);
  (await fake.next()).respond({ generation: "g2" }, 202);
  const stopped = stopping.stop();
  const request = await fake.next();
  assert.deepEqual([request.method, request.path], ["DELETE", "/generations/g2"]);
  request.respond({ status: "stopping" }, 202);
  await stopped;
  stream.send("generation.failed", { generation: "g1", code: "upstream_timeout", message: "late", deltas: 0 }, "AAAAA-2*BBBBB-0.");
  stream.send("generation.stopped", { generation: "g2", by: "alice", deltas: 0 }, "AAAAA-3*BBBBB-0.");
  await assert.rejects(failing.ended(), { code: "upstream_timeout", message: "late" });
  assert.equal((await stopping.ended()).by, "alice");
});

test("a restart is another answer to the same request", async () => {
  const { fake, hub, stream } = await openHub();
  const first = hub.ask("a");
  (await fake.next()).respond({ generation: "g1" }, 202);
  const second = first.restart();
  const request = await fake.next();
  assert.deepEqual([request.method, request.path], ["POST", "/generations/g1/restart"]);
  request.fail();
  await runCallbacks();
  await tick(2000);
  const again = await fake.next(); // with the same key: the first one may have arrived
  assert.deepEqual([again.path, again.headers["Idempotency-Key"]], [request.path, request.headers["Idempotency-Key"]]);
  assert.ok(again.headers["Idempotency-Key"]);
  again.respond({ generation: "g2" }, 202);
  stream.send("generation.stopped", { generation: "g1", by: "alice", deltas: 0 }, "AAAAA-2*BBBBB-0.");
  stream.send("generation.started", { generation: "g2", attempt: 1, model: "m" }, "AAAAA-3*BBBBB-0.");
  stream.send("generation.delta", { generation: "g2", i: 0, text: "anew" }, "AAAAA-4*BBBBB-0.");
  stream.send("generation.done", { generation: "g2", finish_reason: "stop", usage: null, deltas: 1 }, "AAAAA-5*BBBBB-0.");
  await first.ended();
  assert.equal((await second.ended()).text, "anew");
});

test("joining late gives the text so far, then each later delta once", async () => {
  const { fake, hub, stream } = await openHub();
  const answer = hub.join("g9");
  const snapshotRequest = await fake.next();
  stream.send("generation.delta", { generation: "g9", i: 2, text: "c" }, "AAAAA-2*BBBBB-0.");
  stream.send("generation.delta", { generation: "g9", i: 3, text: "d" }, "AAAAA-3*BBBBB-0.");
  await runCallbacks();
  snapshotRequest.respond({ generation: "g9", status: "running", attempt: 1, model: "m", text: "abc", deltas: 3 });
  await runCallbacks();
  assert.equal(answer.text, "abcd");
  stream.send("generation.done", { generation: "g9", finish_reason: "stop", usage: null, deltas: 4 }, "AAAAA-4*BBBBB-0.");
  assert.equal((await answer.ended()).text, "abcd");
});

test("after a reset, a running answer is completed from its snapshot", async () => {
  const { fake, hub, stream } = await openHub();
  const answer = hub.ask("a");
  (await fake.next()).respond({ generation: "g1" }, 202);
  await runCallbacks();
  stream.send("generation.delta", { generation: "g1", i: 0, text: "a" }, "AAAAA-2*BBBBB-0.");
  stream.send("hub.reset", { channel: "user:alice", reason: "trimmed" }, "AAAAA-9*BBBBB-0.");
  (await fake.next()).respond({ generation: "g1", status: "done", attempt: 1, model: "m", text: "abc", deltas: 3, usage: null });
  assert.equal((await answer.ended()).text, "abc");
});

test("a snapshot from before a reset completes no answer: the reset may have skipped the end", async () => {
  const { fake, hub, stream } = await openHub();
  const snapshot = { generation: "g1", attempt: 1, model: "m", usage: null };
  const answer = hub.join("g1");
  await runCallbacks();
  const early = await fake.next();
  stream.send("hub.reset", { channel: "user:alice", reason: "trimmed" }, "AAAAA-9*BBBBB-0.");
  await runCallbacks();
  early.respond({ ...snapshot, status: "running", text: "a", deltas: 1 });
  await runCallbacks();
  await tick(10_000);
  (await fake.next()).respond({ ...snapshot, status: "done", text: "ab", deltas: 2 });
  assert.equal((await answer.ended()).text, "ab");
});

test("an answer that ended before the response to its POST arrived is completed from its snapshot", async () => {
  const { fake, hub, stream } = await openHub();
  const snapshot = { status: "done", attempt: 1, model: "m", text: "abc", deltas: 3, usage: null };
  const [missed, dropped] = [hub.ask("a"), hub.ask("b")];
  const [first, second] = [await fake.next(), await fake.next()];
  stream.send("hub.reset", { channel: "user:alice", reason: "trimmed" }, "AAAAA-9*BBBBB-0."); // all its events were in the gap
  await runCallbacks();
  first.respond({ generation: "g1" }, 202);
  (await fake.next()).respond({ ...snapshot, generation: "g1" });
  assert.equal((await missed.ended()).text, "abc");
  for (const [n, id] of ["g2", ...Array.from({ length: 64 }, (_, i) => `other${i}`)].entries()) {
    stream.send("generation.done", { generation: id, deltas: 0 }, `AAAAA-B${String(n).padStart(2, "0")}*BBBBB-0`);
  }
  await runCallbacks();
  fake.requests.length = 0; // the snapshot requests for those
  second.respond({ generation: "g2" }, 202);
  const snapshotRequest = await fake.next();
  assert.equal(snapshotRequest.path, "/generations/g2");
  snapshotRequest.respond({ ...snapshot, generation: "g2" });
  assert.equal((await dropped.ended()).text, "abc");
});

test("a listener that throws affects neither other listeners nor the stream", async () => {
  const { hub, received, stream } = await openHub();
  const errors = mock.method(console, "error", () => {});
  hub.on("notification", () => {
    throw new Error("an error of the page");
  });
  stream.send("notification", 1, "AAAAA-2*BBBBB-0.");
  stream.send("notification", 2, "AAAAA-3*BBBBB-0.");
  await runCallbacks();
  assert.deepEqual([received, errors.mock.callCount()], [[1, 2], 2]);
  errors.mock.restore();
});

test("an answer is found that an earlier request with the page's key started", async () => {
  const { fake, hub } = await openHub();
  const answer = hub.ask({ prompt: "a", id: "K" });
  const post = await fake.next();
  assert.equal(post.headers["Idempotency-Key"], "K");
  post.respond({ generation: "g1" }, 202); // no event arrives
  (await fake.next()).respond({ generation: "g1", status: "done", attempt: 1, model: "m", text: "old", deltas: 1, usage: null });
  assert.equal((await answer.ended()).text, "old");
});

test("a reconnect waits as long as the stream asked with retry", async () => {
  const { fake, stream } = await openHub();
  stream.retry(4000);
  stream.end();
  await runCallbacks();
  await tick(3999);
  assert.equal(fake.requests.length, 0);
  await tick(1000);
  assert.equal((await fake.next()).path, "/sse/connect/alice");
});

test("the reason names CORS when the hub has another origin than the page", async () => {
  for (const [origin, names] of [["https://shop.example", true], ["http://hub", false], ["null", false]]) {
    globalThis.location = { origin, href: `${origin}/page` };
    try {
      const { fake, states } = createHub();
      (await fake.next()).fail();
      await runCallbacks();
      assert.equal(states.at(-1).reason.includes("allowed_origins"), names, origin);
      assert.equal(states.at(-1).reason.includes(origin), names, origin);
    } finally {
      delete globalThis.location;
    }
  }
});

test("polled data is the same as streamed data", async () => {
  const { fake, hub } = createHub({ transport: "poll" });
  const received = [];
  hub.on("note", ({ data }) => received.push(data));
  const values = ["123", 123, true, null, { n: 1 }, "text", "[1]"];
  const events = values.map((data, n) => ({ id: `AAAAA-${n + 1}.`, event: "note", channel: "user:alice", data }));
  (await fake.next()).respond({ events, cursor: "AAAAA-7." });
  await runCallbacks();
  assert.deepEqual(received, ["123", "123", "true", "null", { n: 1 }, "text", [1]]);
});

test("a response that is not from the hub is retried", async () => {
  const { fake, states } = createHub();
  (await fake.next()).respond("<html>Log in to the hotel's network</html>");
  await runCallbacks();
  assert.equal(states.at(-1).state, "reconnecting");
  await tick(500);
  assert.equal((await fake.next()).path, "/sse/connect/alice");
});

test("an error page of another server is an error with its URL, without the query string", async () => {
  const response = new Response("<h1>Not here</h1>", { status: 404, statusText: "Not Found" });
  Object.defineProperty(response, "url", { value: "http://app.example/sse/connect?access_token=t" });
  const error = await HubError.fromResponse(response);
  assert.equal(error.message, "http://app.example/sse/connect: 404 Not Found");
  assert.equal((await HubError.fromResponse(new Response("", { status: 502 }))).message, "502");
});

test("a failing store is ignored, and a missing url is an error", async () => {
  const fail = () => {
    throw new Error("full");
  };
  const { received, stream } = await openHub({ store: { get: fail, set: fail } });
  stream.send("notification", 1, "AAAAA-2*BBBBB-0.");
  await runCallbacks();
  assert.deepEqual(received, [1]);
  assert.throws(() => connect({}), /Pass the option `url`/);
});

test("joining early loads the snapshot after the stream has opened, so the end cannot be missed", async () => {
  const { fake, hub } = createHub();
  const request = await fake.next();
  const answer = hub.join("g1");
  await runCallbacks();
  assert.equal(fake.requests.length, 0);
  request.openStream().send("hub.open", OPEN, "AAAAA-1*BBBBB-0.");
  const snapshotRequest = await fake.next();
  assert.equal(snapshotRequest.path, "/generations/g1");
  snapshotRequest.respond({ generation: "g1", status: "done", attempt: 1, model: "m", text: "abc", deltas: 3, usage: null });
  assert.equal((await answer.ended()).text, "abc");
});

test("a restart waits for the stream and rejects on a closed hub", async () => {
  const { fake, hub } = createHub();
  const stream = (await fake.next()).openStream();
  const answer = hub.restart("g1");
  await runCallbacks();
  assert.equal(fake.requests.length, 0);
  stream.send("hub.open", OPEN, "AAAAA-1*BBBBB-0.");
  assert.equal((await fake.next()).path, "/generations/g1/restart");
  stream.send("hub.bye", { reason: "replaced", reconnect: false, retry_ms: 0 });
  await runCallbacks();
  for (const again of [hub.restart("g1"), hub.join("g1").restart()]) await assert.rejects(again.accepted, { code: "closed" });
  await assert.rejects(answer.ended(), { code: "closed" });
  assert.equal(fake.requests.length, 0);
});

test("join rejects on a closed hub", async () => {
  const { fake, hub } = createHub();
  (await fake.next()).respond({ detail: "the token is another user's" }, 403);
  await runCallbacks();
  await assert.rejects(hub.join("g1").ended(), { code: "closed" });
  assert.equal(fake.requests.length, 0);
});

test("a refused snapshot and a missing one have different codes", async () => {
  const { fake, hub } = await openHub();
  const [refused, unknown] = [hub.join("g1"), hub.join("g2")];
  (await fake.next()).respond({ detail: "a ticket is no token" }, 401);
  (await fake.next()).respond({ detail: "no such generation" }, 404);
  await assert.rejects(refused.ended(), { code: "refused", message: "a ticket is no token" });
  await assert.rejects(unknown.ended(), { code: "gone" });
});

test("when getToken fails it is called again, and pending answers survive", async () => {
  let tries = 0;
  const getToken = async () => {
    tries += 1;
    if (tries === 1) throw new TypeError("Failed to fetch");
    return "T";
  };
  const { fake, hub, states } = createHub({ getToken, cursor: "AAAAA-1*BBBBB-0." });
  const answer = hub.join("g1");
  await runCallbacks();
  assert.deepEqual([states.at(-1).state, states.at(-1).reason], ["reconnecting", "getToken or getTicket failed: Failed to fetch"]);
  await tick(500);
  const requests = [await fake.next(), await fake.next()];
  const snapshotRequest = requests.find(({ path }) => path === "/generations/g1");
  snapshotRequest.respond({ generation: "g1", status: "done", attempt: 1, model: "m", text: "abc", deltas: 3, usage: null });
  assert.equal((await answer.ended()).text, "abc");
});

test("a slow getToken does not count as a buffering proxy", async () => {
  let giveToken;
  const { fake } = createHub({ getToken: () => new Promise((resolve) => (giveToken = resolve)) });
  await runCallbacks();
  for (let seconds = 0; seconds < 60; seconds += 1) await tick(1000); // someone logs in
  giveToken("T");
  assert.equal((await fake.next()).path, "/sse/connect/alice");
});

test("getToken returning the same token does not end the stream", async () => {
  let tokens = 0;
  const { fake, request, stream } = await openHub({ getToken: async () => { tokens += 1; return "T"; } });
  stream.send("hub.expiring", { reason: "expired", seconds: 30 });
  await runCallbacks();
  await tick(10_000);
  assert.deepEqual([tokens, request.signal.aborted, fake.requests.length], [2, false, 0]);
});

test("neither a visible page nor a new network shortens the delay that the hub asked for", async () => {
  const listeners = {};
  globalThis.addEventListener = (name, listener) => (listeners[name] = listener);
  const { fake } = createHub();
  delete globalThis.addEventListener;
  (await fake.next()).respond({ detail: "draining" }, 503, { "Retry-After": "60" });
  await runCallbacks();
  listeners.online();
  await tick(59_000);
  assert.equal(fake.requests.length, 0);
  await tick(13_000);
  (await fake.next()).fail();
  await runCallbacks();
  listeners.online(); // a delay that the client chose itself
  await tick(0);
  assert.equal(fake.requests.length, 1);
});

test("a request without a response, or with one that is not from the hub, is sent again", async () => {
  const { fake, hub } = await openHub();
  const answer = hub.ask("why?");
  const first = await fake.next();
  await tick(15_000); // a lost network that reports no error
  await tick(500);
  const second = await fake.next();
  second.respondText("<html>Log in to the hotel's network</html>");
  await runCallbacks();
  await tick(1000);
  const third = await fake.next();
  third.respond({ generation: "g1" }, 202);
  assert.equal(await answer.accepted, "g1");
  assert.equal(new Set([first, second, third].map(({ headers }) => headers["Idempotency-Key"])).size, 1);
});

test("a request that waits for the first position survives two refused cursors", async () => {
  const store = memoryStore();
  (await openHub({ store })).hub.close();
  const { fake, hub } = createHub({ store });
  const refusal = { detail: "this is not a cursor of the hub", path: "cursor" };
  (await fake.next()).respond(refusal, 400);
  await runCallbacks();
  await tick(700);
  const answer = hub.ask("why?");
  const second = await fake.next(); // a follower can get this from two leaders in a row
  second.respond(refusal, 400);
  await runCallbacks();
  await tick(2000);
  (await fake.next()).openStream().send("hub.open", OPEN, "AAAAA-1*BBBBB-0.");
  (await fake.next()).respond({ generation: "g1" }, 202);
  assert.equal(await answer.accepted, "g1");
});

test("a follower that gets hub.bye while it reads the log waits before it retries", async () => {
  const locks = new FakeLocks();
  const leader = openTab(locks);
  (await leader.fake.next()).openStream().send("hub.open", OPEN, "AAAAA-3*BBBBB-0.");
  await runCallbacks();
  const follower = openTab(locks, { cursor: "start" });
  const bye = { event: "hub.bye", data: { reason: "full", reconnect: true, retry_ms: 3000 } };
  (await follower.fake.next()).respond({ events: [bye], cursor: "AAAAA-1*BBBBB-0." });
  await runCallbacks();
  await tick(2999);
  assert.equal(follower.fake.requests.length, 0);
  await tick(1);
  const again = await follower.fake.next();
  assert.equal(again.path, "/poll/connect/tabs");
  again.respond({ events: [], cursor: "AAAAA-3*BBBBB-0." });
  await runCallbacks();
  assert.deepEqual([follower.hub.state.state, follower.hub.state.isLeader], ["live", false]);
});

test("a follower whose request for the log gets no response sends it again", async () => {
  const locks = new FakeLocks();
  const leader = openTab(locks);
  const stream = (await leader.fake.next()).openStream();
  stream.send("hub.open", OPEN, "AAAAA-1*BBBBB-0.");
  await runCallbacks();
  const follower = openTab(locks, { cursor: "start" });
  await follower.fake.next();
  stream.send("notification", 2, "AAAAA-2*BBBBB-0.");
  await runCallbacks();
  await tick(15_000);
  await tick(500);
  const event = { id: "AAAAA-1*BBBBB-0.", event: "notification", data: 1 };
  (await follower.fake.next()).respond({ events: [event], cursor: "AAAAA-1*BBBBB-0." });
  (await follower.fake.next()).respond({ events: [], cursor: "AAAAA-1*BBBBB-0." });
  await runCallbacks();
  assert.deepEqual(follower.received, [["stored", 1], 2]);
});

test("when the browser refuses locks or channels, each tab has its own connection", async () => {
  const refused = { request: () => Promise.reject(new DOMException("no storage here", "SecurityError")) };
  const { fake, states } = openTab(refused);
  (await fake.next()).openStream().send("hub.open", OPEN, "AAAAA-1*BBBBB-0.");
  await runCallbacks();
  assert.equal(states.at(-1).state, "live");
  const { BroadcastChannel } = globalThis;
  globalThis.BroadcastChannel = class {
    constructor() {
      throw new DOMException("no storage here", "SecurityError");
    }
  };
  const second = openTab(new FakeLocks());
  globalThis.BroadcastChannel = BroadcastChannel;
  assert.equal((await second.fake.next()).path, "/sse/connect/tabs");
});

test("messages from another version of this module are ignored", async () => {
  const locks = new FakeLocks();
  const leader = openTab(locks);
  const stream = (await leader.fake.next()).openStream();
  stream.send("hub.open", OPEN, "AAAAA-1*BBBBB-0.");
  await runCallbacks();
  const follower = openTab(locks);
  await runCallbacks();
  const other = new BroadcastChannel("hub http://hub tabs");
  for (const message of [null, "text", { kind: "unknown", term: 9e15, number: 7 }, { version: 2 }]) other.postMessage(message);
  await runCallbacks();
  stream.send("notification", 1, "AAAAA-2*BBBBB-0.");
  await runCallbacks();
  other.close();
  assert.deepEqual([leader.received, follower.received], [[1], [1]]);
});

test("two hubs of one page share a connection, and the remaining one continues from its position", async () => {
  const locks = new FakeLocks();
  const first = openTab(locks);
  const stream = (await first.fake.next()).openStream();
  stream.send("hub.open", OPEN, "AAAAA-1*BBBBB-0.");
  await runCallbacks();
  const second = openTab(locks);
  await runCallbacks();
  stream.send("notification", 1, "AAAAA-2*BBBBB-0.");
  await runCallbacks();
  first.hub.close();
  const resumed = await second.fake.next();
  assert.equal(resumed.headers["Last-Event-ID"], "AAAAA-2*BBBBB-0.");
  const again = resumed.openStream();
  again.send("hub.open", { ...OPEN, recovered: true }, "AAAAA-2*BBBBB-0.");
  again.send("notification", 2, "AAAAA-3*BBBBB-0.");
  await runCallbacks();
  assert.deepEqual([first.received, second.received], [[1], [1, 2]]);
});
