// Tests how the console turns reports of processes into numbers.

import assert from "node:assert/strict";
import { test } from "node:test";

import { History, quantile, rate, sum, sumByLabel } from "../../hub/http/pages/console/live_metrics.js";
import { MEASURES } from "../../hub/http/pages/console/measures.js";

function report(from, at, numbers, buckets) {
  const metrics = Object.entries(numbers).map(([name, samples]) => ({ name, labels: ["transport"], samples }));
  if (buckets) {
    metrics.push({ name: "delay", labels: [], samples: [[[], { bounds: [1, 2, 4], buckets, total: 0 }]] });
  }
  return { from, at, metrics };
}

test("sum adds up all samples, or those whose labels match", () => {
  const one = report("n1", 1, { x: [[["sse"], 2], [["poll"], 3]] });
  assert.equal(sum(one, "x"), 5);
  assert.equal(sum(one, "x", { transport: "poll" }), 3);
  assert.equal(sum(one, "x", { transport: /^s/ }), 2);
  assert.equal(sum(one, "nothing"), 0);
  assert.deepEqual(sumByLabel(one, "x", "transport"), { sse: 2, poll: 3 });
});

test("a rate is the increase per second and starts again with its process", () => {
  const at = (seconds, n) => report("n1", seconds, { x: [[["sse"], n]] });
  assert.equal(rate(at(0, 10), at(2, 30), "x"), 10);
  assert.equal(rate(at(0, 30), at(2, 4), "x"), 2);
});

test("a quantile covers the observations between two reports", () => {
  const before = report("n1", 0, {}, [100, 0, 0, 0]);
  const after = report("n1", 1, {}, [100, 10, 0, 0]);
  assert.equal(quantile(0.5, before, after, "delay"), 1.5);
  assert.equal(quantile(0.5, after, after, "delay"), null);
  assert.equal(quantile(0.99, before, report("n1", 1, {}, [100, 0, 0, 5]), "delay"), 4);
  assert.equal(quantile(0.5, before, report("n1", 1, {}, [0, 50, 60, 0]), "delay"), 2 + 2 / 12); // the process was restarted
});

test("a hub whose clock differs from the page's clock is shown and times out normally", () => {
  const history = new History(MEASURES);
  for (const [behind, now] of [[-3600, 1], [3600, 20]]) {
    history.add(report("n1", now + behind, { hub_connections: [[["sse"], 2]] }), now);
    assert.deepEqual(history.activeProcesses(now + 1), ["n1"]);
    assert.deepEqual(history.activeProcesses(now + 10), []);
  }
});

test("measures add up all processes, and silent processes are removed", () => {
  const history = new History(MEASURES);
  const at = (from, seconds, n) => history.add(report(from, seconds, { hub_connections: [[["sse"], n]] }), seconds);
  at("n1", 1, 2);
  at("n2", 1, 3);
  history.sample(1.5);
  assert.deepEqual(history.series.connections, [5]);
  at("n1", 9, 4);
  at("n1", 8, 100); // late
  history.sample(10);
  assert.deepEqual(history.activeProcesses(10), ["n1"]);
  assert.deepEqual(history.series.connections, [5, 4]);
  history.sample(400);
  assert.equal(history.seconds.length, 1);
});
