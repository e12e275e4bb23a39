// Tests what the demo page draws of the folded parts of an answer, and from which addresses.
import assert from "node:assert/strict";
import { test } from "node:test";

import { FoldedParts } from "../../hub/http/pages/hub.js";
import { fileAddress, formatArguments, isWebUrl, listViews } from "../../hub/http/pages/demo/part_views.js";

const part = (type, fields) => ["generation.part", { type, ...fields }];
const text = (value) => ["generation.delta", { text: value }];
const call = (index, fields) => ["generation.delta", { tool_calls: [{ index, function: { name: "f", arguments: "{}" }, ...fields }] }];

function viewsOf(events, isRunning = true) {
  const folded = new FoldedParts();
  for (const [name, data] of events) folded.apply(name, data);
  return listViews(folded.parts, isRunning);
}

test("every kind of part has a view, in the order of the fold", () => {
  const views = viewsOf([
    part("step_start", { name: "search" }), call(0, { id: "a", run_by: "producer" }), part("tool_result", { id: "a", result: 1 }),
    part("source", { url: "https://a.example" }), ["generation.delta", { reasoning: "so" }], text("a"),
    part("file", { url: "https://a.example/f.png", media_type: "image/png" }), part("data", { name: "n", value: 1 }),
    part("tool_result", { id: "unknown", result: 2 }), ["generation.input_requested", { input: "a", prompt: "Sure?" }],
    part("status", { text: "Writing" }),
  ]);
  assert.deepEqual(views.map(({ type }) => type), [
    "step", "tool", "sources", "reasoning", "text", "file", "data", "tool", "input", "status",
  ]);
});

test("the state of a tool call says who runs it and how it ended", () => {
  const state = (fields, ...rest) => viewsOf([call(0, { id: "a", ...fields }), ...rest])[0].state;
  const result = (fields) => part("tool_result", { id: "a", result: null, ...fields });
  assert.equal(state({ run_by: "producer" }), "running");
  assert.equal(state({ run_by: "client" }), "client");
  assert.equal(state({ run_by: "producer" }, result({})), "done");
  assert.equal(state({ run_by: "producer" }, result({ is_error: true })), "failed");
  assert.equal(state({ run_by: "producer" }, ["generation.stopped", {}]), "cancelled");
  assert.equal(viewsOf([call(0, { id: "a", run_by: "producer" })], false)[0].state, "none");
});

test("sources are numbered through the answer, and neighbours share a list", () => {
  const source = (n) => part("source", { url: `https://${n}.example` });
  const citation = { type: "url_citation", url_citation: { url: "https://4.example", title: "Four" } };
  const views = viewsOf([source(1), source(2), text("a"), source(3), ["generation.delta", { annotations: [citation, {}] }]]);
  assert.deepEqual(views.map((view) => view.sources?.map(({ number, url }) => [number, url])), [
    [[1, "https://1.example"], [2, "https://2.example"]], undefined, [[3, "https://3.example"], [4, "https://4.example"]],
  ]);
});

test("a view keeps its key while the answer grows, and its values say when to draw it again", () => {
  const events = [call(0, { id: "a", run_by: "producer" }), text("a"), part("status", { text: "One" })];
  const before = viewsOf(events);
  const after = viewsOf([...events, part("source", { url: "https://a.example" }), part("status", { text: "Two" }), text("b")]);
  const find = (views, key) => views.find((view) => view.key === key);
  for (const { key } of before) assert.ok(find(after, key), key);
  assert.deepEqual(find(before, "tool 1").values, find(after, "tool 1").values);
  assert.notDeepEqual(find(before, "status 1").values, find(after, "status 1").values);
});

test("reasoning without text and unknown parts are not drawn", () => {
  assert.deepEqual(viewsOf([["generation.delta", { reasoning_details: [{ type: "reasoning.encrypted" }] }], part("later", {})]), []);
});

test("only web addresses and well-formed data are loaded", () => {
  for (const url of ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "no url", undefined]) assert.equal(isWebUrl(url), false, url);
  assert.equal(isWebUrl("https://a.example/x"), true);
  assert.equal(fileAddress({ url: "javascript:alert(1)", media_type: "image/png" }), null);
  assert.equal(fileAddress({ data: "aGk=", media_type: "image/png" }), "data:image/png;base64,aGk=");
  assert.equal(fileAddress({ data: "aGk=", media_type: "text/html,<script>" }), null);
  assert.equal(fileAddress({ data: "a\"onerror=", media_type: "image/png" }), null);
});

test("arguments are shown as they are while they are incomplete", () => {
  assert.equal(formatArguments('{"a":'), '{"a":');
  assert.equal(formatArguments('{"a":1}'), '{\n  "a": 1\n}');
});
