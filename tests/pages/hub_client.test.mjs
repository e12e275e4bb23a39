// hub.js against a hub that this file plays by hand: what is asked for, when, with which cursor.
// No clock runs but the one that a test moves.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { connect } from "../../hub/http/pages/hub.js";

const OPEN = { connection: "c_1", user: "alice", node: "n1", heartbeat_seconds: 8, recovered: false, replayed: 0 };

// Holds every request until the test answers it.
class FakeHub {
  requests = [];
  #waiting = [];

  fetch = (url, { method = "GET", headers, body, signal }) => new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const { pathname, searchParams } = new URL(url, "http://hub");
    const request = {
      method, headers, signal, path: pathname, query: Object.fromEntries(searchParams), body: body && JSON.parse(body),
      fails: () => reject(new TypeError("Failed to fetch")),
      answers: (json, status = 200, more = {}) => resolve(Response.json(json, { status, headers: more })),
      sends: (text) => resolve(new Response(text)),
      streams: () => streaming(resolve, signal),
    };
    signal?.addEventListener("abort", () => reject(signal.reason));
    this.requests.push(request);
    this.#waiting.shift()?.(request);
  });

  // The next request that nobody has looked at yet.
  async next() {
    if (this.requests.length) return this.requests.shift();
    const request = await new Promise((wake) => this.#waiting.push(wake));
    this.requests.splice(this.requests.indexOf(request), 1);
    return request;
  }
}

function streaming(resolve, signal) {
  let controller;
  const body = new ReadableStream({ start: (made) => (controller = made) });
  signal.addEventListener("abort", () => {
    try {
      controller.error(signal.reason);
    } catch { /* it has ended */ }
  });
  resolve(new Response(body, { headers: { "Content-Type": "text/event-stream; charset=utf-8" } }));
  const write = (text) => controller.enqueue(new TextEncoder().encode(text));
  return {
    beat: () => write(": hb\n"),
    ends: () => controller.close(),
    says: (name, data, id) => write(`${id ? `id: ${id}\n` : ""}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`),
  };
}

// All that is ready to happen has happened.
async function settled() {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((wake) => setImmediate(wake));
}

function store(kept = {}) {
  return { kept, get: (key) => kept[key], set: (key, cursor) => (kept[key] = cursor) };
}

// The Web Locks of one browser, as far as tabs need them. W3C, Web Locks API.
class Locks {
  held = null;
  #queue = [];

  request = (name, { steal = false, signal } = {}, work) => new Promise((resolve, reject) => {
    const asked = { work, resolve, reject };
    signal?.addEventListener("abort", () => {
      this.#queue = this.#queue.filter((each) => each !== asked);
      reject(signal.reason);
    });
    if (steal) {
      this.held?.reject(new DOMException("stolen", "AbortError"));
      this.held = null;
      this.#queue.unshift(asked);
    } else this.#queue.push(asked);
    queueMicrotask(() => this.#grant());
  });

  async #grant() {
    if (this.held || !this.#queue.length) return;
    const mine = this.#queue.shift();
    this.held = mine;
    mine.resolve(await mine.work());
    if (this.held !== mine) return;
    this.held = null;
    this.#grant();
  }
}

// As a tab of a browser: with locks, and without what tells Node.
function asTab(locks, options) {
  const { process } = globalThis;
  Object.defineProperty(globalThis, "process", { value: undefined, configurable: true, writable: true });
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true, writable: true });
  try {
    return made({ user: "tabs", ...options });
  } finally {
    Object.defineProperty(globalThis, "process", { value: process, configurable: true, writable: true });
  }
}

const opened = [];

function made(options = {}) {
  const fake = new FakeHub();
  const heard = [];
  const states = [];
  const hub = connect({ url: "http://hub", user: "alice", store: null, fetch: fake.fetch, ...options });
  hub.on("*", ({ name, data, replayed }) => name.startsWith("hub.") || heard.push(replayed ? ["stored", data] : data));
  hub.on("state", (state) => states.push(state));
  opened.push(hub);
  return { fake, hub, heard, states };
}

async function live(options) {
  const parts = made(options);
  parts.request = await parts.fake.next();
  parts.stream = parts.request.streams();
  parts.stream.says("hub.open", OPEN, "AAAAA-1*BBBBB-0");
  await settled();
  return parts;
}

async function tick(ms) {
  mock.timers.tick(ms);
  await settled();
}

beforeEach(() => mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_000_000 }));
afterEach(() => {
  opened.splice(0).forEach((hub) => hub.close());
  mock.timers.reset();
});

test("begins live, and returns with the cursor of the last event", async () => {
  const { fake, heard, states, request, stream } = await live({ token: "T" });
  assert.deepEqual([request.path, request.query, request.headers.Authorization], ["/sse/connect/alice", { cursor: "live" }, "Bearer T"]);
  stream.says("notification", { n: 1 }, "AAAAA-2*BBBBB-0");
  stream.says("flash", "not stored");
  await settled();
  stream.ends();
  await settled();
  await tick(500);
  const again = await fake.next();
  assert.deepEqual([again.headers["Last-Event-ID"], again.query], ["AAAAA-2*BBBBB-0", {}]);
  assert.deepEqual(heard, [{ n: 1 }, "not stored"]);
  assert.deepEqual(states.map(({ state }) => state), ["live", "reconnecting", "reconnecting"]);
});

test("an event that comes again is not handed over again", async () => {
  const { fake, heard, stream } = await live();
  stream.says("notification", 1, "AAAAA-2*BBBBB-0");
  await settled();
  stream.ends();
  await settled();
  await tick(500);
  const again = (await fake.next()).streams();
  again.says("hub.open", OPEN, "AAAAA-1*BBBBB-0"); // a hub that goes back
  again.says("notification", 1, "AAAAA-2*BBBBB-0");
  again.says("notification", 2, "AAAAA-3*BBBBB-0");
  await settled();
  assert.deepEqual(heard, [1, 2]);
});

test("a reload goes on from the stored cursor; what the hub cannot read is told and forgotten", async () => {
  const kept = store();
  const { hub } = await live({ store: kept });
  hub.close();
  const { fake, hub: second } = made({ store: kept });
  const request = await fake.next();
  assert.equal(request.headers["Last-Event-ID"], "AAAAA-1*BBBBB-0");
  const resets = [];
  second.on("hub.reset", ({ data }) => resets.push(data));
  request.answers({ detail: "this is not a cursor of the hub", path: "cursor" }, 400);
  await settled();
  await tick(700);
  assert.equal((await fake.next()).query.cursor, "live");
  assert.deepEqual(resets, [{ channel: "*", reason: "cursor" }]);
});

test("what was stored is marked, what comes after is not, also after a break", async () => {
  const { fake, heard, hub } = made({ cursor: "start" });
  const stream = (await fake.next()).streams();
  let isReady = false;
  hub.ready.then(() => (isReady = true));
  stream.says("hub.open", { ...OPEN, replayed: 2 }, "AAAAA-0*BBBBB-0");
  stream.says("notification", 1, "AAAAA-1*BBBBB-0");
  await settled();
  assert.equal(isReady, false);
  stream.says("notification", 2, "AAAAA-2*BBBBB-0");
  await settled();
  assert.equal(isReady, true);
  stream.ends();
  await settled();
  await tick(500);
  const again = (await fake.next()).streams();
  again.says("hub.open", { ...OPEN, recovered: true, replayed: 1 }, "AAAAA-2*BBBBB-0");
  again.says("notification", 3, "AAAAA-3*BBBBB-0");
  await settled();
  assert.deepEqual(heard, [["stored", 1], ["stored", 2], 3]);
});

test("a bye that invites is followed no sooner than it asked, also when the page is woken", async () => {
  const { fake, states, stream } = await live();
  stream.says("hub.bye", { reason: "draining", reconnect: true, retry_ms: 2000 }, "AAAAA-1*BBBBB-0");
  await settled();
  const { state, reason, retryAt } = states.at(-1);
  assert.deepEqual([state, reason], ["reconnecting", "draining"]);
  assert.ok(retryAt >= 1_002_000 && retryAt <= 1_002_400);
  await tick(1999);
  assert.equal(fake.requests.length, 0);
  await tick(401);
  assert.equal(fake.requests.length, 1);
});

test("streams that break as soon as they begin are come back to ever later, one that lasted soon", async () => {
  const parts = await live();
  let { stream } = parts;
  const pauses = [];
  const breaks = async () => {
    stream.ends();
    await settled();
    pauses.push(parts.hub.state.retryAt - Date.now());
    await tick(pauses.at(-1));
    stream = (await parts.fake.next()).streams();
    stream.says("hub.open", OPEN, "AAAAA-1*BBBBB-0");
    await settled();
  };
  for (let times = 0; times < 4; times += 1) await breaks();
  await tick(2000);
  await breaks();
  const within = (most) => (pause) => pause >= most / 2 && pause <= most;
  assert.deepEqual(pauses.map((pause, at) => within([500, 1000, 2000, 4000, 500][at])(pause)), Array(5).fill(true), String(pauses));
});

test("a bye that does not invite closes until someone reconnects", async () => {
  const { fake, hub, states, stream } = await live();
  stream.says("hub.bye", { reason: "replaced", reconnect: false, retry_ms: 0 });
  await settled();
  await tick(60_000);
  assert.deepEqual([states.at(-1).state, states.at(-1).reason, fake.requests.length], ["closed", "replaced", 0]);
  await assert.rejects(hub.ask("why?").accepted, { code: "closed" });
  hub.reconnect();
  assert.equal((await fake.next()).headers["Last-Event-ID"], "AAAAA-1*BBBBB-0");
});

test("a refusal that passes is tried again after Retry-After, a final one closes", async () => {
  const { fake, states } = made();
  (await fake.next()).answers({ detail: "too many streams" }, 429, { "Retry-After": "10" });
  await settled();
  await tick(9_900);
  assert.equal(fake.requests.length, 0);
  await tick(2_200);
  (await fake.next()).answers({ detail: "the token is another user's" }, 403);
  await settled();
  assert.deepEqual([states.at(-1).state, states.at(-1).reason], ["closed", "the token is another user's"]);
});

test("a token is asked for, renewed when it is refused, and ahead of its end", async () => {
  const reasons = [];
  const getToken = async ({ reason }) => `T${reasons.push(reason)}`;
  const { fake } = made({ getToken });
  (await fake.next()).answers({ detail: "expired" }, 401);
  const second = await fake.next();
  assert.equal(second.headers.Authorization, "Bearer T2");
  const stream = second.streams();
  stream.says("hub.open", OPEN, "AAAAA-1*BBBBB-0");
  stream.says("hub.expiring", { reason: "expired", seconds: 30 });
  await settled();
  await tick(10_000);
  await tick(0);
  const third = await fake.next();
  assert.deepEqual([third.headers.Authorization, second.signal.aborted], ["Bearer T3", true]);
  const stream3 = third.streams();
  stream3.says("hub.open", OPEN, "AAAAA-1*BBBBB-0");
  stream3.says("hub.bye", { reason: "expired", reconnect: false, retry_ms: 3000 });
  await settled();
  await tick(0);
  assert.equal((await fake.next()).headers.Authorization, "Bearer T4");
  assert.deepEqual(reasons, ["connect", "refused", "expiring", "expired"]);
});

test("a ticket goes in the URL, and a used one resumes by the header", async () => {
  const { fake, request, stream } = await live({ ticket: "K" });
  assert.deepEqual([request.query, request.headers.Authorization], [{ cursor: "live", ticket: "K" }, undefined]);
  stream.ends();
  await settled();
  await tick(500);
  const again = await fake.next();
  assert.deepEqual([again.query, again.headers["Last-Event-ID"]], [{ ticket: "K" }, "AAAAA-1*BBBBB-0"]);
});

test("where nothing comes through, it polls, and goes on from poll to poll", async () => {
  const { fake, heard, states } = made();
  (await fake.next()).streams(); // the headers are there, and nothing follows
  await settled();
  await tick(6000);
  await tick(0);
  const first = await fake.next();
  assert.deepEqual([first.path, first.query], ["/poll/connect/alice", { wait: "0", cursor: "live" }]);
  first.answers({ events: [], cursor: "AAAAA-1*BBBBB-0" });
  const second = await fake.next();
  assert.deepEqual([second.query.wait, second.headers["Last-Event-ID"]], ["25", "AAAAA-1*BBBBB-0"]);
  assert.deepEqual([states.at(-1).state, states.at(-1).way], ["live", "poll"]);
  second.answers({
    events: [{ id: "AAAAA-2*BBBBB-0", event: "notification", channel: "user:alice", data: 1 }], cursor: "AAAAA-2*BBBBB-0",
  });
  assert.equal((await fake.next()).headers["Last-Event-ID"], "AAAAA-2*BBBBB-0");
  assert.deepEqual(heard, [1]);
});

test("a stream that lets the beginning through and no heartbeat is left for polling", async () => {
  const { fake } = await live();
  await tick(20_000);
  await tick(1000);
  assert.equal((await fake.next()).path, "/poll/connect/alice");
});

test("heartbeats keep a stream, silence ends it, and then it comes back at once", async () => {
  const { fake, request, stream } = await live();
  for (let beats = 0; beats < 5; beats += 1) {
    await tick(8000);
    stream.beat();
    await settled();
  }
  assert.equal(request.signal.aborted, false);
  await tick(20_000);
  await tick(1000);
  assert.equal(request.signal.aborted, true);
  await tick(0);
  assert.equal((await fake.next()).path, "/sse/connect/alice");
});

test("a timer that fires late is no silence: what came meanwhile is read first", async () => {
  const { request, stream } = await live();
  stream.beat();
  mock.timers.setTime(1_000_000 + 3_600_000); // the laptop slept for an hour, and everything is due at once
  await settled();
  await tick(1000);
  assert.equal(request.signal.aborted, false);
});

test("a question whose answer was lost is asked again with the same key", async () => {
  const { fake, hub, stream } = await live();
  const answer = hub.ask("why?");
  const first = await fake.next();
  assert.deepEqual([first.method, first.path, first.query, first.body], ["POST", "/generations", { user: "alice" }, { prompt: "why?" }]);
  first.fails();
  await settled();
  await tick(500);
  const second = await fake.next();
  assert.equal(second.headers["Idempotency-Key"], first.headers["Idempotency-Key"]);
  stream.says("generation.started", { generation: "g1", attempt: 1, model: "m" }, "AAAAA-2*BBBBB-0");
  stream.says("generation.delta", { generation: "g1", i: 0, text: "Be" }, "AAAAA-3*BBBBB-0");
  await settled(); // faster than the answer to the POST
  second.answers({ generation: "g1", cursor: "AAAAA-1" }, 202);
  assert.equal(await answer.accepted, "g1");
  const steps = [];
  const reading = (async () => {
    for await (const { delta, isReplaced } of answer) steps.push(isReplaced ? ["instead", delta] : delta);
  })();
  await settled();
  stream.says("generation.delta", { generation: "g1", i: 1, text: "cause" }, "AAAAA-4*BBBBB-0");
  await settled();
  stream.says("generation.replaced", { generation: "g1", i: 2, text: "Light" }, "AAAAA-5*BBBBB-0");
  stream.says("generation.delta", { generation: "g2", i: 0, text: "another's" }, "AAAAA-6*BBBBB-0");
  await settled();
  stream.says("generation.done", { generation: "g1", finish_reason: "stop", usage: null, deltas: 3 }, "AAAAA-7*BBBBB-0");
  await reading;
  assert.deepEqual(steps.filter(Boolean), ["Be", "cause", ["instead", "Light"]]);
  assert.deepEqual([answer.text, answer.status], ["Light", "done"]);
});

test("too many questions are said, with when to come again", async () => {
  const { fake, hub } = await live();
  const answer = hub.ask("why?");
  (await fake.next()).answers({ detail: "3 of your questions wait" }, 429, { "Retry-After": "7" });
  await assert.rejects(answer.ended(), { status: 429, retryAfterSeconds: 7, message: "3 of your questions wait" });
});

test("an answer that failed says with which code; one that was stopped just ends", async () => {
  const { fake, hub, stream } = await live();
  const [failing, stopping] = [hub.ask("a"), hub.ask("b")];
  (await fake.next()).answers({ generation: "g1" }, 202);
  (await fake.next()).answers({ generation: "g2" }, 202);
  const stopped = stopping.stop();
  const request = await fake.next();
  assert.deepEqual([request.method, request.path], ["DELETE", "/generations/g2"]);
  request.answers({ status: "stopping" }, 202);
  await stopped;
  stream.says("generation.failed", { generation: "g1", code: "upstream_timeout", message: "late", deltas: 0 }, "AAAAA-2*BBBBB-0");
  stream.says("generation.stopped", { generation: "g2", by: "alice", deltas: 0 }, "AAAAA-3*BBBBB-0");
  await assert.rejects(failing.ended(), { code: "upstream_timeout", message: "late" });
  assert.equal((await stopping.ended()).by, "alice");
});

test("a restart is another answer to the same question", async () => {
  const { fake, hub, stream } = await live();
  const first = hub.ask("a");
  (await fake.next()).answers({ generation: "g1" }, 202);
  const second = first.restart();
  const request = await fake.next();
  assert.deepEqual([request.method, request.path], ["POST", "/generations/g1/restart"]);
  request.fails();
  await settled();
  await tick(2000);
  const again = await fake.next(); // by the same key: it may have arrived
  assert.deepEqual([again.path, again.headers["Idempotency-Key"]], [request.path, request.headers["Idempotency-Key"]]);
  assert.ok(again.headers["Idempotency-Key"]);
  again.answers({ generation: "g2" }, 202);
  stream.says("generation.stopped", { generation: "g1", by: "alice", deltas: 0 }, "AAAAA-2*BBBBB-0");
  stream.says("generation.started", { generation: "g2", attempt: 1, model: "m" }, "AAAAA-3*BBBBB-0");
  stream.says("generation.delta", { generation: "g2", i: 0, text: "anew" }, "AAAAA-4*BBBBB-0");
  stream.says("generation.done", { generation: "g2", finish_reason: "stop", usage: null, deltas: 1 }, "AAAAA-5*BBBBB-0");
  await first.ended();
  assert.equal((await second.ended()).text, "anew");
});

test("joining late gives the text so far, then what follows, once", async () => {
  const { fake, hub, stream } = await live();
  const answer = hub.join("g9");
  const look = await fake.next();
  stream.says("generation.delta", { generation: "g9", i: 2, text: "c" }, "AAAAA-2*BBBBB-0");
  stream.says("generation.delta", { generation: "g9", i: 3, text: "d" }, "AAAAA-3*BBBBB-0");
  await settled();
  look.answers({ generation: "g9", status: "running", attempt: 1, model: "m", text: "abc", deltas: 3 });
  await settled();
  assert.equal(answer.text, "abcd");
  stream.says("generation.done", { generation: "g9", finish_reason: "stop", usage: null, deltas: 4 }, "AAAAA-4*BBBBB-0");
  assert.equal((await answer.ended()).text, "abcd");
});

test("after a reset a running answer is completed from its snapshot", async () => {
  const { fake, hub, stream } = await live();
  const answer = hub.ask("a");
  (await fake.next()).answers({ generation: "g1" }, 202);
  await settled();
  stream.says("generation.delta", { generation: "g1", i: 0, text: "a" }, "AAAAA-2*BBBBB-0");
  stream.says("hub.reset", { channel: "user:alice", reason: "trimmed" }, "AAAAA-9*BBBBB-0");
  (await fake.next()).answers({ generation: "g1", status: "done", attempt: 1, model: "m", text: "abc", deltas: 3, usage: null });
  assert.equal((await answer.ended()).text, "abc");
});

test("an answer that was over before its question was answered is completed from its snapshot", async () => {
  const { fake, hub, stream } = await live();
  const snapshot = { status: "done", attempt: 1, model: "m", text: "abc", deltas: 3, usage: null };
  const [lost, crowded] = [hub.ask("a"), hub.ask("b")];
  const [first, second] = [await fake.next(), await fake.next()];
  stream.says("hub.reset", { channel: "user:alice", reason: "trimmed" }, "AAAAA-9*BBBBB-0"); // all of it was in the hole
  await settled();
  first.answers({ generation: "g1" }, 202);
  (await fake.next()).answers({ ...snapshot, generation: "g1" });
  assert.equal((await lost.ended()).text, "abc");
  for (const [n, id] of ["g2", ...Array.from({ length: 64 }, (_, i) => `other${i}`)].entries()) {
    stream.says("generation.done", { generation: id, deltas: 0 }, `AAAAA-B${String(n).padStart(2, "0")}*BBBBB-0`);
  }
  await settled();
  fake.requests.length = 0; // the looks for those
  second.answers({ generation: "g2" }, 202);
  const look = await fake.next();
  assert.equal(look.path, "/generations/g2");
  look.answers({ ...snapshot, generation: "g2" });
  assert.equal((await crowded.ended()).text, "abc");
});

test("a listener that throws harms neither the others nor the stream", async () => {
  const { hub, heard, stream } = await live();
  const errors = mock.method(console, "error", () => {});
  hub.on("notification", () => {
    throw new Error("the page's own");
  });
  stream.says("notification", 1, "AAAAA-2*BBBBB-0");
  stream.says("notification", 2, "AAAAA-3*BBBBB-0");
  await settled();
  assert.deepEqual([heard, errors.mock.callCount()], [[1, 2], 2]);
  errors.mock.restore();
});

test("a question with a key of the page's own may have been answered long ago", async () => {
  const { fake, hub } = await live();
  const answer = hub.ask({ prompt: "a", id: "K" });
  const post = await fake.next();
  assert.equal(post.headers["Idempotency-Key"], "K");
  post.answers({ generation: "g1" }, 202); // no event follows
  (await fake.next()).answers({ generation: "g1", status: "done", attempt: 1, model: "m", text: "old", deltas: 1, usage: null });
  assert.equal((await answer.ended()).text, "old");
});

test("a page that is no hub's is come back from", async () => {
  const { fake, states } = made();
  (await fake.next()).answers("<html>Log in to the hotel's network</html>");
  await settled();
  assert.equal(states.at(-1).state, "reconnecting");
  await tick(500);
  assert.equal((await fake.next()).path, "/sse/connect/alice");
});

test("a store that fails and an absent url are no riddle", async () => {
  const fails = () => {
    throw new Error("full");
  };
  const { heard, stream } = await live({ store: { get: fails, set: fails } });
  stream.says("notification", 1, "AAAAA-2*BBBBB-0");
  await settled();
  assert.deepEqual(heard, [1]);
  assert.throws(() => connect({}), /url says where the hub is/);
});

test("who joins early looks once the stream has begun, so that the answer's end cannot go by between", async () => {
  const { fake, hub } = made();
  const request = await fake.next();
  const answer = hub.join("g1");
  await settled();
  assert.equal(fake.requests.length, 0);
  request.streams().says("hub.open", OPEN, "AAAAA-1*BBBBB-0");
  const look = await fake.next();
  assert.equal(look.path, "/generations/g1");
  look.answers({ generation: "g1", status: "done", attempt: 1, model: "m", text: "abc", deltas: 3, usage: null });
  assert.equal((await answer.ended()).text, "abc");
});

test("a restart waits for the stream, and on a hub that is closed it says so", async () => {
  const { fake, hub } = made();
  const stream = (await fake.next()).streams();
  const answer = hub.restart("g1");
  await settled();
  assert.equal(fake.requests.length, 0);
  stream.says("hub.open", OPEN, "AAAAA-1*BBBBB-0");
  assert.equal((await fake.next()).path, "/generations/g1/restart");
  stream.says("hub.bye", { reason: "replaced", reconnect: false, retry_ms: 0 });
  await settled();
  for (const again of [hub.restart("g1"), hub.join("g1").restart()]) await assert.rejects(again.accepted, { code: "closed" });
  await assert.rejects(answer.ended(), { code: "closed" });
  assert.equal(fake.requests.length, 0);
});

test("joining a hub that is closed says so", async () => {
  const { fake, hub } = made();
  (await fake.next()).answers({ detail: "the token is another user's" }, 403);
  await settled();
  await assert.rejects(hub.join("g1").ended(), { code: "closed" });
  assert.equal(fake.requests.length, 0);
});

test("a snapshot that is refused is not called forgotten", async () => {
  const { fake, hub } = await live();
  const [refused, gone] = [hub.join("g1"), hub.join("g2")];
  (await fake.next()).answers({ detail: "a ticket is no token" }, 401);
  (await fake.next()).answers({ detail: "no such generation" }, 404);
  await assert.rejects(refused.ended(), { code: "refused", message: "a ticket is no token" });
  await assert.rejects(gone.ended(), { code: "gone" });
});

test("a token that cannot be had now is asked for again, and takes no answer away", async () => {
  let tries = 0;
  const getToken = async () => {
    tries += 1;
    if (tries === 1) throw new TypeError("Failed to fetch");
    return "T";
  };
  const { fake, hub, states } = made({ getToken, cursor: "AAAAA-1*BBBBB-0" });
  const answer = hub.join("g1");
  await settled();
  assert.deepEqual([states.at(-1).state, states.at(-1).reason], ["reconnecting", "No token could be had: Failed to fetch"]);
  await tick(500);
  const requests = [await fake.next(), await fake.next()];
  const look = requests.find(({ path }) => path === "/generations/g1");
  look.answers({ generation: "g1", status: "done", attempt: 1, model: "m", text: "abc", deltas: 3, usage: null });
  assert.equal((await answer.ended()).text, "abc");
});

test("a token may take its time: that is no proxy that holds back", async () => {
  let given;
  const { fake } = made({ getToken: () => new Promise((give) => (given = give)) });
  await settled();
  for (let seconds = 0; seconds < 60; seconds += 1) await tick(1000); // someone logs in
  given("T");
  assert.equal((await fake.next()).path, "/sse/connect/alice");
});

test("the same token again is no reason to leave a stream that still runs", async () => {
  let tokens = 0;
  const { fake, request, stream } = await live({ getToken: async () => { tokens += 1; return "T"; } });
  stream.says("hub.expiring", { reason: "expired", seconds: 30 });
  await settled();
  await tick(10_000);
  assert.deepEqual([tokens, request.signal.aborted, fake.requests.length], [2, false, 0]);
});

test("neither being looked at nor another network comes sooner than the hub asked", async () => {
  const heard = {};
  globalThis.addEventListener = (name, listener) => (heard[name] = listener);
  const { fake } = made();
  delete globalThis.addEventListener;
  (await fake.next()).answers({ detail: "draining" }, 503, { "Retry-After": "60" });
  await settled();
  heard.online();
  await tick(59_000);
  assert.equal(fake.requests.length, 0);
  await tick(13_000);
  (await fake.next()).fails();
  await settled();
  heard.online(); // a pause of its own choosing
  await tick(0);
  assert.equal(fake.requests.length, 1);
});

test("a request that nobody answers, or another than the hub, is sent again", async () => {
  const { fake, hub } = await live();
  const answer = hub.ask("why?");
  const first = await fake.next();
  await tick(15_000); // a network that is gone and does not say so
  await tick(500);
  const second = await fake.next();
  second.sends("<html>Log in to the hotel's network</html>");
  await settled();
  await tick(1000);
  const third = await fake.next();
  third.answers({ generation: "g1" }, 202);
  assert.equal(await answer.accepted, "g1");
  assert.equal(new Set([first, second, third].map(({ headers }) => headers["Idempotency-Key"])).size, 1);
});

test("a question that waits for a place survives that there is none twice", async () => {
  const kept = store();
  (await live({ store: kept })).hub.close();
  const { fake, hub } = made({ store: kept });
  const refusal = { detail: "this is not a cursor of the hub", path: "cursor" };
  (await fake.next()).answers(refusal, 400);
  await settled();
  await tick(700);
  const answer = hub.ask("why?");
  const second = await fake.next(); // as a follower hears it of one leader, and of the next
  second.answers(refusal, 400);
  await settled();
  await tick(2000);
  (await fake.next()).streams().says("hub.open", OPEN, "AAAAA-1*BBBBB-0");
  (await fake.next()).answers({ generation: "g1" }, 202);
  assert.equal(await answer.accepted, "g1");
});

test("a follower that is sent away while it reads the log pauses before it comes again", async () => {
  const locks = new Locks();
  const leader = asTab(locks);
  (await leader.fake.next()).streams().says("hub.open", OPEN, "AAAAA-3*BBBBB-0");
  await settled();
  const follower = asTab(locks, { cursor: "start" });
  const bye = { event: "hub.bye", data: { reason: "full", reconnect: true, retry_ms: 3000 } };
  (await follower.fake.next()).answers({ events: [bye], cursor: "AAAAA-1*BBBBB-0" });
  await settled();
  await tick(2999);
  assert.equal(follower.fake.requests.length, 0);
  await tick(1);
  const again = await follower.fake.next();
  assert.equal(again.path, "/poll/connect/tabs");
  again.answers({ events: [], cursor: "AAAAA-3*BBBBB-0" });
  await settled();
  assert.deepEqual([follower.hub.state.state, follower.hub.state.isLeader], ["live", false]);
});

test("a follower whose reading of the log nobody answers reads it again", async () => {
  const locks = new Locks();
  const leader = asTab(locks);
  const stream = (await leader.fake.next()).streams();
  stream.says("hub.open", OPEN, "AAAAA-1*BBBBB-0");
  await settled();
  const follower = asTab(locks, { cursor: "start" });
  await follower.fake.next();
  stream.says("notification", 2, "AAAAA-2*BBBBB-0");
  await settled();
  await tick(15_000);
  await tick(500);
  const event = { id: "AAAAA-1*BBBBB-0", event: "notification", data: 1 };
  (await follower.fake.next()).answers({ events: [event], cursor: "AAAAA-1*BBBBB-0" });
  (await follower.fake.next()).answers({ events: [], cursor: "AAAAA-1*BBBBB-0" });
  await settled();
  assert.deepEqual(follower.heard, [["stored", 1], 2]);
});

test("where the browser refuses locks or channels, each tab has its own connection", async () => {
  const refused = { request: () => Promise.reject(new DOMException("no storage here", "SecurityError")) };
  const { fake, states } = asTab(refused);
  (await fake.next()).streams().says("hub.open", OPEN, "AAAAA-1*BBBBB-0");
  await settled();
  assert.equal(states.at(-1).state, "live");
  const { BroadcastChannel } = globalThis;
  globalThis.BroadcastChannel = class {
    constructor() {
      throw new DOMException("no storage here", "SecurityError");
    }
  };
  const second = asTab(new Locks());
  globalThis.BroadcastChannel = BroadcastChannel;
  assert.equal((await second.fake.next()).path, "/sse/connect/tabs");
});

test("what another version of this module says to the tabs harms nothing", async () => {
  const locks = new Locks();
  const leader = asTab(locks);
  const stream = (await leader.fake.next()).streams();
  stream.says("hub.open", OPEN, "AAAAA-1*BBBBB-0");
  await settled();
  const follower = asTab(locks);
  await settled();
  const other = new BroadcastChannel("hub http://hub tabs");
  for (const said of [null, "text", { kind: "roll", term: 9e15, n: 7 }, { version: 2 }]) other.postMessage(said);
  await settled();
  stream.says("notification", 1, "AAAAA-2*BBBBB-0");
  await settled();
  other.close();
  assert.deepEqual([leader.heard, follower.heard], [[1], [1]]);
});

test("two hubs of one page share a connection, and the one that stays goes on from where it stands", async () => {
  const locks = new Locks();
  const first = asTab(locks);
  const stream = (await first.fake.next()).streams();
  stream.says("hub.open", OPEN, "AAAAA-1*BBBBB-0");
  await settled();
  const second = asTab(locks);
  await settled();
  stream.says("notification", 1, "AAAAA-2*BBBBB-0");
  await settled();
  first.hub.close();
  const taken = await second.fake.next();
  assert.equal(taken.headers["Last-Event-ID"], "AAAAA-2*BBBBB-0");
  const again = taken.streams();
  again.says("hub.open", { ...OPEN, recovered: true }, "AAAAA-2*BBBBB-0");
  again.says("notification", 2, "AAAAA-3*BBBBB-0");
  await settled();
  assert.deepEqual([first.heard, second.heard], [[1], [1, 2]]);
});
