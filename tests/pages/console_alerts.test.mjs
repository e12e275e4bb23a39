// Tests that the console judges as the shipped alerts do.
import assert from "node:assert/strict";
import { test } from "node:test";

import { ALERT_RULES } from "../../hub/http/pages/console/alert_rules.js";
import { ALERT_METRICS, ALERT_VALUES } from "../../hub/http/pages/console/alert_values.js";
import { Alerts, worstLevel } from "../../hub/http/pages/console/alerts.js";
import { ReportWindow } from "../../hub/http/pages/console/report_window.js";
import { TILES } from "../../hub/http/pages/console/tile_list.js";

const metric = (name, labels, samples) => ({ name, labels, samples });
const node = (at, ...metrics) => ({ from: "n1", at, metrics: [metric("hub_connections", [], [[[], 1]]), ...metrics] });
const requests = (ok, failed) =>
  metric("hub_http_requests", ["listener", "route", "status"], [[["public", "/x", "200"], ok], [["public", "/x", "503"], failed]]);

/** Evaluates each second from 0 on; metricsAt(second) returns the metrics of a report. */
function run(seconds, metricsAt, from = "n1") {
  const window = new ReportWindow(ALERT_METRICS);
  const alerts = new Alerts(window);
  let states;
  for (let now = 0; now <= seconds; now += 1) {
    const metrics = metricsAt(now);
    if (metrics) window.add({ ...node(now, ...metrics), from }, now);
    states = alerts.evaluate(now);
  }
  return Object.fromEntries(states.map((each) => [each.name, each]));
}

test("each alert has a value, which reads the metrics of its expression", () => {
  assert.deepEqual(Object.keys(ALERT_VALUES).sort(), ALERT_RULES.map(({ name }) => name).sort());
  const kept = new Set(ALERT_METRICS);
  for (const { name, expr } of ALERT_RULES) {
    for (const [each] of expr.matchAll(/hub_\w+/g)) {
      assert.ok(kept.has(each.replace(/_(total|bucket)$/, "")), `${name}: ${each}`);
    }
  }
});

test("each alert belongs to one tile", () => {
  assert.deepEqual(TILES.flatMap(({ alerts }) => alerts).sort(), ALERT_RULES.map(({ name }) => name).sort());
});

test("two failed requests at the start raise no alarm", () => {
  const states = run(120, (now) => [requests(now > 5 ? 3 : 0, now > 2 ? 2 : 0)]);
  assert.equal(states.HubRequestsFail.state, "ok");
  assert.ok(Object.values(states).every(({ level }) => level === "good"), JSON.stringify(states));
});

test("nothing is judged by a rate over a few seconds", () => {
  const states = run(10, (now) => [requests(10 * now, 10 * now)]);
  assert.equal(states.HubRequestsFail.state, "unknown");
});

test("a condition is pending until it has held for the time of its rule", () => {
  const failing = (now) => [requests(10 * now, 2 * now)];
  assert.equal(run(60, failing).HubRequestsFail.state, "pending");
  const { state, level, value } = run(400, failing).HubRequestsFail;
  assert.deepEqual([state, level], ["firing", "bad"]);
  assert.ok(Math.abs(value - 2 / 12) < 0.01);
});

test("a slow delivery is a warning, and it ends", () => {
  const delay = (slow) => metric("hub_delivery_delay_seconds", [], [[[], { bounds: [0.1, 0.5], buckets: [0, slow, 0], total: 0 }]]);
  assert.deepEqual(run(700, (now) => [delay(now)]).HubDeliverySlow.level, "warn");
  const ended = run(1100, (now) => [
    metric("hub_delivery_delay_seconds", [], [[[], { bounds: [0.1, 0.5], buckets: [Math.max(0, now - 700), Math.min(now, 700), 0], total: 0 }]]),
  ]);
  assert.equal(ended.HubDeliverySlow.level, "good");
});

test("answers that fail count by upstream, and only if there are enough", () => {
  const ended = (...samples) => metric("hub_generations_ended", ["upstream", "model", "status", "code"], samples);
  const few = run(300, (now) => [ended([["a", "m", "failed", "x"], now > 100 ? 1 : 0], [["a", "m", "done", ""], now > 90 ? 1 : 0])]);
  assert.equal(few.HubGenerationsFail.state, "ok");
  const many = run(300, (now) => [ended([["a", "m", "failed", "x"], now], [["a", "m", "done", ""], 3 * now], [["b", "m", "done", ""], 90 * now])]);
  assert.equal(many.HubGenerationsFail.state, "pending");
  assert.ok(Math.abs(many.HubGenerationsFail.value - 0.25) < 0.01);
});

test("the memory of a broker without a limit raises no alarm", () => {
  const memory = (used, limit) => [metric("hub_redis_memory_bytes", [], [[[], used]]), metric("hub_redis_max_memory_bytes", [], [[[], limit]])];
  assert.equal(run(60, () => memory(950, 0)).HubRedisMemory.state, "ok");
  assert.equal(run(60, () => memory(950, 1000)).HubRedisMemory.state, "pending");
  assert.equal(run(400, () => memory(950, 1000)).HubRedisMemory.level, "bad");
});

test("a worker that falls silent is missed, a node that drains is not", () => {
  const worker = [metric("hub_generations_running", [], [[[], 0]])];
  assert.equal(run(90, (now) => (now < 10 ? worker : null)).HubWorkerDown.state, "unknown"); // nobody reports
  const window = new ReportWindow(ALERT_METRICS);
  for (let now = 0; now < 100; now += 1) {
    window.add({ ...node(now), from: "n1" }, now);
    if (now < 10) window.add({ from: "worker w1", at: now, metrics: worker }, now);
    if (now < 10) window.add({ ...node(now, metric("hub_draining", [], [[[], 1]])), from: "n2" }, now);
  }
  assert.deepEqual(window.count(true, 99), { alive: 0, silent: 1 });
  assert.deepEqual(window.count(false, 99), { alive: 1, silent: 0 });
});

test("the window holds one report in ten seconds, for ten minutes", () => {
  const window = new ReportWindow(ALERT_METRICS);
  for (let now = 0; now < 3000; now += 1) window.add(node(now, metric("hub_users", [], [[[], 1]])), now);
  const [[before, after]] = window.pairs(600, 2999);
  assert.ok(after.at - before.at <= 600 && after.at - before.at >= 580);
  assert.deepEqual(after.metrics, []); // only what the rules need
});

test("the worst level counts", () => {
  assert.equal(worstLevel(["good", "unknown"]), "good");
  assert.equal(worstLevel(["good", "bad", "warn"]), "bad");
  assert.equal(worstLevel([]), "unknown");
});
