// Tests how hub.js reads inputs and answers them: the fold, the state of an answer, the requests. The hub is a double of fetch.
import assert from "node:assert/strict";
import { test } from "node:test";

import { connect, FoldedParts, Transcript } from "../../hub/http/pages/hub.js";

const ID = "g1";
const REQUEST = { input: "refund", prompt: "Refund 40 €?", options: ["approve", "deny"], schema: null, expires_at: 1000.5, tool_call: null };
const PART = { type: "input", ...REQUEST };
const delta = (i, text) => ["generation.delta", { generation: ID, i, text }];
const started = ["generation.started", { generation: ID, attempt: 1, model: "m" }];
const requested = (i, fields) => ["generation.input_requested", { generation: ID, i, ...REQUEST, ...fields }];
const received = (value, by = "bob", input = "refund") => ["generation.input_received", { generation: ID, input, value, by }];
const expired = ["generation.input_expired", { generation: ID, input: "refund" }];
const done = (deltas) => ["generation.done", { generation: ID, finish_reason: "stop", usage: null, deltas }];
const ANSWERED = { ...PART, state: "received", value: "approve", by: "bob" };

function transcriptOf(...events) {
  const transcript = new Transcript(ID);
  for (const [name, data] of events) transcript.apply(name, data);
  return transcript;
}

test("an input waits, and its first end counts", () => {
  const endOf = (...events) => transcriptOf(started, requested(0), ...events).parts[0];
  assert.deepEqual(endOf(), { ...PART, state: "waiting" });
  assert.deepEqual(endOf(received("approve"), received("deny"), expired), ANSWERED);
  assert.deepEqual(endOf(expired, received("deny")), { ...PART, state: "expired" });
  for (const name of ["done", "stopped", "failed"]) {
    assert.deepEqual(endOf([`generation.${name}`, { generation: ID, deltas: 1 }]), { ...PART, state: "cancelled" }, name);
  }
});

test("an answer with an open input is waiting", () => {
  const transcript = transcriptOf(started, delta(0, "a"), requested(1), requested(2, { input: "other" }));
  assert.deepEqual([transcript.status, transcript.waitingInputs.map(({ input }) => input)], ["waiting", ["refund", "other"]]);
  transcript.apply(...received("approve"));
  assert.equal(transcript.status, "waiting");
  transcript.apply(...received("x", "bob", "other"));
  assert.deepEqual([transcript.status, transcript.deltas, transcript.waitingInputs], ["running", 3, []]);
  transcript.apply(...delta(3, "b"));
  transcript.apply(...done(4));
  assert.deepEqual([transcript.status, transcript.text, transcript.hasGap], ["done", "ab", false]);
});

test("a page that joins late knows what waits, and what became of it behind the gap", () => {
  const snapshot = (state, deltas = 1) => ({ status: state, attempt: 1, model: "m", text: "", deltas, parts: [{ ...PART, state: "waiting" }] });
  const late = transcriptOf();
  late.markGap();
  late.apply(...received("approve"));
  late.apply(...delta(1, "b"));
  late.applySnapshot(snapshot("waiting"));
  assert.deepEqual([late.parts[0], late.status, late.text, late.deltas], [ANSWERED, "running", "b", 2]);
  const suspended = transcriptOf();
  suspended.markGap();
  suspended.applySnapshot(snapshot("suspended"));
  assert.deepEqual([suspended.status, suspended.waitingInputs], ["waiting", [{ ...PART, state: "waiting" }]]);
  const older = transcriptOf();
  older.markGap();
  for (const event of [received("approve"), delta(4, "e")]) older.apply(...event);
  older.applySnapshot(snapshot("waiting"));
  assert.deepEqual([older.hasGap, older.waitingInputs.length], [true, 1]);
  older.applySnapshot(snapshot("waiting", 4));
  assert.deepEqual([older.hasGap, older.parts[0], older.text, older.status], [false, ANSWERED, "e", "running"]);
  const partial = transcriptOf(received("deny"), delta(3, "c"));
  partial.acceptGap();
  assert.deepEqual([partial.text, partial.deltas], ["c", 4]);
});

test("the copy of a request for approvers changes nothing", () => {
  const copy = ["generation.input_requested", { generation: ID, ...REQUEST, user: "alice" }];
  assert.deepEqual(transcriptOf(started, copy, delta(0, "a"), requested(1), copy).parts, [{ type: "text", text: "a" }, { ...PART, state: "waiting" }]);
});

test("a request that comes again keeps its place and its end", () => {
  const folded = new FoldedParts();
  for (const [name, data] of [requested(0), received("approve"), delta(1, "a"), requested(2, { prompt: "Again?" })]) folded.apply(name, data);
  assert.deepEqual(folded.parts, [{ ...ANSWERED, prompt: "Again?" }, { type: "text", text: "a" }]);
});

// A hub behind fetch: one stream, and a log of the other requests.
class FakeHub {
  requests = [];
  responses = {}; // by path: { status, body }
  #stream;
  #offset = 0;

  fetch = async (url, { method = "GET", body, signal } = {}) => {
    const { pathname } = new URL(url);
    if (pathname.startsWith("/sse/")) {
      const stream = new ReadableStream({ start: (controller) => (this.#stream = controller) });
      signal.addEventListener("abort", () => this.#stream.error(signal.reason));
      this.send("hub.open", { connection: "c", user: "alice", heartbeat_seconds: 8, replayed: 0 });
      return new Response(stream, { headers: { "Content-Type": "text/event-stream" } });
    }
    this.requests.push([method, pathname, body && JSON.parse(body)]);
    const { status = 200, body: answer = {} } = this.responses[pathname] ?? {};
    return Response.json(answer, { status });
  };

  send(name, data) {
    this.#offset += 1;
    this.#stream.enqueue(new TextEncoder().encode(`event: ${name}\ndata: ${JSON.stringify(data)}\nid: AAAAA-${this.#offset}.\n\n`));
  }
}

function connectTo(fake) {
  return connect({ url: "http://hub.example", user: "alice", fetch: fake.fetch, store: null });
}

test("a listener gets each request once, also a late one, and learns what became of it", async () => {
  const fake = new FakeHub();
  fake.responses["/generations"] = { body: { generation: ID, cursor: "AAAAA-1." } };
  fake.responses[`/generations/${ID}/inputs/refund`] = { body: { input: "refund", value: "approve", by: "alice" } };
  const hub = connectTo(fake);
  const answer = hub.ask("refund me");
  const requests = [];
  const gotRequest = new Promise((resolve) => answer.onInput((request) => resolve(requests.push(request))));
  answer.onInput(() => { throw new Error("a listener that fails affects no other"); });
  const errors = [];
  globalThis.reportError = (error) => errors.push(error.message);
  await answer.accepted;
  for (const [name, data] of [started, requested(0), delta(1, "a")]) fake.send(name, data);
  await gotRequest;
  const [{ respond, settled, ...fields }] = requests;
  assert.deepEqual(fields, {
    generation: ID, input: "refund", prompt: "Refund 40 €?", options: ["approve", "deny"], schema: null, toolCall: null, expiresAt: 1_000_500,
  });
  const late = [];
  const off = answer.onInput(({ input }) => late.push(input));
  assert.deepEqual([late, answer.status], [["refund"], "waiting"]);
  assert.deepEqual(await respond("approve"), { input: "refund", value: "approve", by: "alice" });
  assert.deepEqual(fake.requests.at(-1), ["POST", `/generations/${ID}/inputs/refund`, { value: "approve" }]);
  fake.send(...received("approve"));
  assert.deepEqual(await settled, ANSWERED);
  off();
  // A restart asks again, and the end cancels what waits.
  const asksAgain = new Promise((resolve) => answer.onInput(resolve));
  fake.send("generation.restarted", { generation: ID, attempt: 2, model: "m" });
  fake.send(...requested(0));
  const again = await asksAgain;
  fake.send(...done(1));
  assert.equal((await again.settled).state, "cancelled");
  await answer.ended();
  assert.deepEqual([requests.length, late, errors.length], [2, ["refund"], 2]);
  hub.close();
});

test("a value that comes too late says which one counts", async () => {
  const fake = new FakeHub();
  const problem = { status: 409, code: "input_answered", detail: "Another value counts.", value: "deny", by: "bob" };
  fake.responses["/generations/g%20x/inputs/a%2Fb"] = { status: 409, body: problem };
  const hub = connectTo(fake);
  await assert.rejects(hub.respond("g x", "a/b", true), ({ status, code, value, by }) => {
    assert.deepEqual([status, code, value, by], [409, "input_answered", "deny", "bob"]);
    return true;
  });
  hub.close();
});

test("a message to an answer has a key, so that it is not delivered twice", async () => {
  const fake = new FakeHub();
  const path = `/generations/${ID}/steer`;
  fake.responses["/generations"] = { body: { generation: ID, cursor: "AAAAA-1." } };
  fake.responses[path] = { status: 202, body: { n: 3 } };
  const hub = connectTo(fake);
  assert.deepEqual(await hub.steer(ID, "shorter"), { n: 3 });
  await hub.ask("why?").steer({ role: "user", content: "shorter" });
  const bodies = fake.requests.filter(([, each]) => each === path).map(([,, body]) => body);
  assert.deepEqual(bodies.map(({ message }) => message), ["shorter", { role: "user", content: "shorter" }]);
  assert.equal(new Set(bodies.map(({ id }) => id)).size, 2);
  hub.close();
});

test("the events of approvers start no answer", async () => {
  const fake = new FakeHub();
  const hub = connectTo(fake);
  const events = [];
  hub.on("generation.input_requested", ({ data }) => events.push(data.user));
  await hub.ready;
  fake.responses["/generations"] = { body: { generation: "g2", cursor: "AAAAA-1." } };
  const answer = hub.ask("why?");
  fake.send("generation.input_requested", { generation: ID, ...REQUEST, user: "carol" });
  await answer.accepted;
  fake.send("generation.started", { generation: "g2", attempt: 1, model: "m" });
  fake.send("generation.done", { generation: "g2", deltas: 0 });
  await answer.ended();
  assert.deepEqual([events, fake.requests.filter(([method]) => method === "GET")], [["carol"], []]);
  hub.close();
});
