// Tests how the demo page counts lost and repeated events.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Ledger } from "../../hub/http/pages/demo/ledger.js";

const started = ["generation.started", {}];
const part = (i) => ["generation.delta", { i }];
const done = (deltas) => ["generation.done", { deltas }];

function count(...events) {
  const ledger = new Ledger();
  for (const [name, data] of events) ledger.onEvent(name, { generation: "g", ...data });
  return ledger.text;
}

test("a whole answer has lost nothing, also after another worker began anew", () => {
  assert.equal(count(started, part(0), part(1), done(2)), "lost 0, twice 0");
  assert.equal(count(started, part(0), part(1), ["generation.restarted", {}], part(0), done(1)), "lost 0, twice 0");
});

test("another worker that continues repeats what came after the point from which it goes on", () => {
  const continued = ["generation.continued", { parts: 2 }];
  assert.equal(count(started, part(0), part(1), part(2), continued, part(2), done(3)), "lost 0, twice 0");
  assert.equal(count(started, part(0), continued, part(2), done(3)), "lost 1, twice 0");
  assert.equal(count(continued, part(2), done(3)), "lost 0, twice 0");
});

test("a gap is lost, a repeated number came twice, and the end knows how many there were", () => {
  assert.equal(count(started, part(0), part(3)), "lost 2, twice 0");
  assert.equal(count(started, part(0), part(1), part(1), part(0)), "lost 0, twice 2");
  assert.equal(count(started, part(0), done(3)), "lost 2, twice 0");
});

test("events without numbers do not count, nor does a beginning that is no longer stored", () => {
  assert.equal(count(started, part(0), ["generation.input_received", { input: "a" }], part(1)), "lost 0, twice 0");
  assert.equal(count(part(7), part(8), done(9)), "lost 0, twice 0");
});
