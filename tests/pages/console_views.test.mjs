// Tests the pure parts of the console: rows of a tail, the timeline, sparklines, links, formats, modules.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { formatBytes, formatMilliseconds, formatTime } from "../../hub/http/pages/console/format.js";
import { findPath, pathTo, parsePath } from "../../hub/http/pages/console/paths.js";
import { History } from "../../hub/http/pages/console/live_metrics.js";
import { MEASURES } from "../../hub/http/pages/console/measures.js";
import { AXIS_SECONDS, WIDTH, drawSparkline } from "../../hub/http/pages/console/sparkline.js";
import { TailRows } from "../../hub/http/pages/console/tail_rows.js";
import { buildTimeline } from "../../hub/http/pages/console/timeline.js";

const folder = new URL("../../hub/http/pages/console/", import.meta.url);
const delta = (generation, text = "x") => ({ event: "generation.delta", data: { generation, text } });

test("the deltas of one answer are one row with a counter, also beside those of another", () => {
  const rows = new TailRows();
  rows.add({ event: "generation.started", data: { generation: "g1" } }, 1);
  for (let n = 0; n < 40; n += 1) rows.add(delta(n % 2 ? "g1" : "g2", `t${n}`), 2 + n);
  rows.add({ event: "generation.done", data: { generation: "g1" } }, 50);
  rows.add(delta("g1"), 51); // a new attempt, after the end that a tail has missed
  assert.deepEqual(rows.list().map(({ event, count }) => [event, count]), [
    ["generation.delta", 1], ["generation.done", 1], ["generation.delta", 20], ["generation.delta", 20], ["generation.started", 1],
  ]);
  assert.equal(rows.received, 43);
  assert.ok(rows.list()[2].data.includes("t39")); // the newest one is shown
});

test("a tail holds as many rows as it shows, whatever arrives", () => {
  const rows = new TailRows(200);
  for (let n = 0; n < 20_000; n += 1) rows.add(n % 3 ? delta(`g${n}`, "y".repeat(1000)) : { event: "notification", data: { n } }, n);
  assert.equal(rows.list().length, 200);
  assert.ok(JSON.stringify(rows.list()).length < 100_000);
  for (let n = 0; n < 5; n += 1) rows.add(delta("g1"), n); // the row that counted it is gone
  assert.equal(rows.list().at(0).count, 5);
});

test("a filter looks at names and data", () => {
  const rows = new TailRows();
  rows.add({ event: "order.shipped", data: { order: 7 } }, 1);
  rows.add({ event: "notification", data: { title: "Hello" } }, 2);
  assert.equal(rows.list("ORDER").length, 1);
  assert.equal(rows.list("hello").length, 1);
  assert.equal(rows.list("nothing").length, 0);
});

test("a timeline has the queue, each attempt and the end", () => {
  const moments = [["begin", 1, 102], ["delta", 1, 103], ["begin", 2, 110], ["delta", 2, 112], ["end", 2, 120]].map(([kind, attempt, at]) => ({ kind, attempt, at }));
  const { marks, bars, seconds } = buildTimeline({ requested_at: 100, moments, status: "done" }, 999);
  assert.equal(seconds, 20);
  assert.deepEqual(bars.map(({ kind, lane, from, to }) => [kind, lane, from, to]), [
    ["queued", 0, 0, 2], ["started", 1, 2, 3], ["streaming", 1, 3, 10], ["started", 2, 10, 12], ["streaming", 2, 12, 20],
  ]);
  assert.deepEqual(marks.map(({ label, offset }) => [label, offset]), [
    ["Requested", 0], ["Claimed by a worker", 2], ["First delta", 3], ["Attempt 2 began", 10], ["First new delta of attempt 2", 12], ["Ended: done", 20],
  ]);
});

test("an answer that waits is a timeline too, and a clock that is behind makes no negative time", () => {
  const waiting = buildTimeline({ requested_at: 100, moments: [], status: "queued" }, 7);
  assert.deepEqual([waiting.seconds, waiting.bars[0].kind, waiting.marks.at(-1).label], [7, "queued", "Waits for a worker"]);
  const running = buildTimeline({ requested_at: 100, moments: [{ kind: "begin", attempt: 1, at: 104 }], status: "running" }, -50);
  assert.deepEqual([running.seconds, running.bars.map(({ from, to }) => to - from)], [4, [4, 0]]);
});

test("a sparkline has a fixed axis of five minutes, and gaps where nothing was measured", () => {
  const { line, area, low, high } = drawSparkline([90, 95, 100], [1, 5, 3], 100);
  assert.ok(line.startsWith(`M${WIDTH - (10 / AXIS_SECONDS) * WIDTH} `) && line.includes(`L${WIDTH} `), line);
  assert.deepEqual([low, high], [1, 5]);
  assert.equal(area.match(/Z/g).length, 1);
  assert.equal(drawSparkline([90, 95, 100], [1, null, 3], 100).line.match(/M/g).length, 2);
  assert.deepEqual(drawSparkline([], [], 100), { line: "", area: "", low: null, high: null });
});

test("five minutes of measures are kept, not more", () => {
  const history = new History(MEASURES);
  for (let now = 0; now < 4000; now += 1) history.sample(now);
  assert.ok(history.seconds.length <= AXIS_SECONDS + 1);
  assert.ok(Object.values(history.series).every((each) => each.length === history.seconds.length));
});

test("a search finds answers, connections, topics and users", () => {
  assert.equal(findPath(" g76wteqwqnhznw4f9eo "), "#/answer/g76wteqwqnhznw4f9eo");
  assert.equal(findPath("c_0123456789abcdef"), "#/connection/c_0123456789abcdef");
  assert.equal(findPath("topic:news/de"), "#/tail/topic/news%2Fde");
  assert.equal(findPath("auth0|5f/7c"), "#/user/auth0%7C5f%2F7c");
});

test("every name survives the address of a page", () => {
  for (const name of ["alice", "a/b", "ünï", "100%", "#", "?x=1"]) {
    assert.deepEqual(parsePath(pathTo("user", name), ["user"]), { view: "user", names: [name] });
  }
  assert.deepEqual(parsePath("#/user/%E0%A4%A", ["user"]), { view: "overview", names: [] });
  assert.equal(parsePath("#/nothing", ["user"]).view, "overview");
});

test("numbers have units, and times a zone", () => {
  assert.deepEqual([formatBytes(999), formatBytes(1500), formatBytes(268_435_456)], ["999 B", "1.5 kB", "268 MB"]);
  assert.deepEqual([formatMilliseconds(null), formatMilliseconds(0.0023), formatMilliseconds(0.25)], ["–", "2.3 ms", "250 ms"]);
  assert.match(formatTime(1_700_000_000), /\d.*[A-Z]/);
});

test("no module has more than 150 lines, but the one that is made, and the page has no inline code", () => {
  for (const name of readdirSync(folder).filter((each) => each.endsWith(".js") && each !== "alert_rules.js")) {
    assert.ok(readFileSync(new URL(name, folder), "utf8").split("\n").length <= 151, name);
  }
  const page = readFileSync(new URL("console.html", folder), "utf8");
  assert.doesNotMatch(page, /style=|<style|\son\w+=|<script>(?!<)/);
  for (const [, path] of page.matchAll(/(?:src|href)="([^"#]+)"/g)) assert.match(path, /^\/console\//);
});
