// Tests that folding an event costs the same however many parts an answer has. The cost is how often
// the blocks of hub.js run, which V8 counts; it is no time.
import assert from "node:assert/strict";
import { Session } from "node:inspector/promises";
import v8 from "node:v8";
import { test } from "node:test";

import { FoldedParts, Transcript } from "../../hub/http/pages/hub.js";

const part = (type, fields) => ["generation.part", { type, ...fields }];
const delta = (fields) => ["generation.delta", fields];
const call = (index) => delta({ tool_calls: [{ index, id: `call ${index}`, function: { name: "f", arguments: "{" } }] });

v8.setFlagsFromString("--no-opt"); // optimised code does not count the functions that it inlines
const session = new Session();
session.connect();
await session.post("Profiler.enable");
await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });

// Returns how many blocks of hub.js run while the events are applied.
async function countBlocks(target, events) {
  await session.post("Profiler.takePreciseCoverage"); // sets the counts to 0
  for (const [name, data] of events) target.apply(name, data);
  const { result } = await session.post("Profiler.takePreciseCoverage");
  const ranges = result.filter(({ url }) => url.endsWith("/hub.js"))
    .flatMap(({ functions }) => functions.flatMap((each) => each.ranges));
  return ranges.reduce((sum, { count }) => sum + count, 0);
}

function foldedFrom(events) {
  const folded = new FoldedParts();
  for (const [name, data] of events) folded.apply(name, data);
  return folded;
}

const group = (n) => [
  part("step_start", { name: "s" }), part("data", { name: "d", id: `${n}`, value: 1 }), part("file", { url: "u" }), call(n),
  ["generation.input_requested", { input: `${n}`, prompt: "Sure?" }], ...(n ? [["generation.input_expired", { input: `${n}` }]] : []),
];
const groups = (count) => Array.from({ length: count }, (_, n) => group(n)).flat();
const EVENTS = {
  text: delta({ text: "more" }),
  reasoning: delta({ reasoning: "so" }),
  annotations: delta({ annotations: [{ type: "url_citation" }] }),
  "the first call": call(0),
  "a new call": call(5000),
  "a result": part("tool_result", { id: "call 0", result: 1 }),
  "a result without a call": part("tool_result", { id: "unknown", result: 1 }),
  "the first data": part("data", { name: "d", id: "0", value: 2 }),
  "new data": part("data", { name: "d", id: "new", value: 2 }),
  "the end of a step": part("step_end", { name: "s" }),
  "the end of an unknown step": part("step_end", { name: "unknown" }),
  status: part("status", { text: "searching" }),
  "the request of an input": ["generation.input_requested", { i: 9000, input: "new", prompt: "Sure?" }],
  "the value of an input": ["generation.input_received", { input: "0", value: 1, by: "bob" }],
};

for (const [kind, event] of Object.entries(EVENTS)) {
  test(`the cost of ${kind} does not depend on the number of parts`, async () => {
    const [few, many] = [foldedFrom(groups(2)), foldedFrom(groups(1000))];
    const cost = await countBlocks(few, [event]);
    assert.ok(cost > 0);
    assert.equal(await countBlocks(many, [event]), cost);
  });
}

test("each status is removed at the cost of the parts after it", async () => {
  const folded = new FoldedParts();
  const events = Array.from({ length: 100 }, () => [part("status", { text: "s" }), delta({ text: "t" })]).flat();
  const [first, second] = [await countBlocks(folded, events), await countBlocks(folded, events)];
  assert.ok(second <= first * 1.1, `${first}, ${second}`);
  assert.deepEqual([folded.textOf("text").length, folded.parts.map(({ type }) => type)], [200, ["text", "status", "text"]]);
});

test("so it is in the state of an answer", async () => {
  const transcript = new Transcript("g1");
  const number = (events, from) => events.map(([name, data], n) => [name, { generation: "g1", i: from + n, ...data }]);
  const [few, many] = [number(groups(50), 0), number(groups(50), 200)];
  assert.ok(await countBlocks(transcript, many) <= await countBlocks(new Transcript("g1"), few) * 1.1);
});

test("parts that the fold returned do not change, and events stay as they were", () => {
  const event = delta({ annotations: [{ n: 1 }], reasoning_details: [{ n: 1 }] });
  const before = structuredClone(event);
  const folded = foldedFrom([event]);
  const parts = folded.parts;
  const copy = structuredClone(parts);
  folded.apply(...delta({ annotations: [{ n: 2 }] }));
  assert.deepEqual([event, parts], [before, copy]);
  const joined = new FoldedParts(parts);
  joined.apply(...delta({ annotations: [{ n: 3 }] }));
  assert.deepEqual(parts, copy);
});
