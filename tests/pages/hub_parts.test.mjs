// hub.js, its pure parts: positions, the decoder, pauses, what events of a generation add up to.
import assert from "node:assert/strict";
import { test } from "node:test";

import { pauseMs, Positions, SseDecoder, Transcript } from "../../hub/http/pages/hub.js";

const delta = (i, text) => ["generation.delta", { generation: "g1", i, text }];
const started = ["generation.started", { generation: "g1", attempt: 1, model: "m" }];
const done = (deltas) => ["generation.done", { generation: "g1", finish_reason: "stop", usage: null, deltas }];
const snapshot = (fields) => ({ status: "running", attempt: 1, model: "m", ...fields });

function after(...events) {
  const transcript = new Transcript("g1");
  for (const [name, data] of events) transcript.apply(name, data);
  return transcript;
}

test("a cursor is new when any channel has moved, and seen when none has", () => {
  const seen = new Positions("7kQ2x-4C*aB3dE-1");
  assert.equal(seen.take("7kQ2x-4C*aB3dE-1"), false);
  assert.equal(seen.take("7kQ2x-4D*aB3dE-1"), true);
  assert.equal(seen.take("7kQ2x-4C*aB3dE-2"), true); // behind in one, ahead in the other
  assert.equal(seen.text, "7kQ2x-4D*aB3dE-2");
  assert.equal(seen.take("7kQ2x-4D~Zz09aB:QQQQQ-1"), true);
  assert.equal(seen.text, "7kQ2x-4D*aB3dE-2~Zz09aB:QQQQQ-1");
  assert.deepEqual([seen.covers("*aB3dE-2"), seen.covers("*aB3dE-3"), seen.covers("nonsense")], [true, false, false]);
});

test("offsets are numbers in base 62, not words", () => {
  const seen = new Positions("7kQ2x-z");
  assert.equal(seen.take("7kQ2x-10"), true); // 62 after 61
  assert.equal(seen.take("7kQ2x-Z"), false);
});

test("a new epoch is new whatever its offset, and the one before it is over", () => {
  const seen = new Positions("AAAAA-9");
  assert.equal(seen.take("BBBBB-1"), true);
  assert.equal(seen.take("AAAAA-zz"), false);
  assert.equal(seen.text, "BBBBB-1");
});

test("a cursor of another form is handed back as it came", () => {
  const seen = new Positions("v2:whatever");
  assert.equal(seen.take("v2:more"), true);
  assert.equal(seen.text, "v2:more");
});

test("the decoder gives the same events wherever the bytes are cut", () => {
  const stream = "retry: 3000\nid: c1\nevent: hub.open\ndata: {\"n\":1}\n\n: hb\nid: c2\r\nevent: note\r\n"
    + "data: zwei 🌊\r\ndata: lines\r\n\r\nevent: flash\rdata: 7\r\rid: c3\n\n: hb\n";
  const bytes = new TextEncoder().encode(stream);
  const events = [
    { name: "hub.open", data: { n: 1 }, id: "c1" },
    { name: "note", data: "zwei 🌊\nlines", id: "c2" },
    { name: "flash", data: 7 },
  ];
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    const decoder = new SseDecoder();
    assert.deepEqual([...decoder.feed(bytes.slice(0, cut)), ...decoder.feed(bytes.slice(cut))], events, `cut at ${cut}`);
  }
});

test("the pause doubles, is spread, and has an end", () => {
  assert.deepEqual([0, 1, 2, 9].map((failures) => pauseMs(failures, 1)), [500, 1000, 2000, 15_000]);
  assert.equal(pauseMs(1, 0), 500);
});

test("deltas add up and the end is the end", () => {
  const it = after(started, delta(0, "a"), delta(1, "b"), done(2), delta(2, "late"),
    ["generation.failed", { generation: "g1", code: "x", message: "late" }]);
  assert.deepEqual([it.text, it.status, it.missing], ["ab", "done", false]);
});

test("a restart by another worker voids, a replacement replaces", () => {
  const it = after(started, delta(0, "void"), ["generation.restarted", { generation: "g1", attempt: 2 }],
    delta(0, "wrong"), ["generation.replaced", { generation: "g1", i: 1, text: "right" }], delta(2, "!"));
  assert.deepEqual([it.text, it.attempt, it.deltas, it.rewrites], ["right!", 2, 3, 2]);
});

test("a log that begins in the middle is completed by the snapshot, once", () => {
  const it = after(delta(5, "f"), delta(6, "g"));
  assert.equal(it.missing, true);
  it.learn(snapshot({ text: "abcdef", deltas: 6 }));
  it.apply(...delta(7, "h"));
  assert.deepEqual([it.text, it.missing], ["abcdefgh", false]);
});

test("a snapshot that is older than the hole leaves it open for the next look", () => {
  const it = after(delta(5, "f"));
  it.learn(snapshot({ text: "abc", deltas: 3 }));
  assert.equal(it.missing, true);
  it.learn(snapshot({ text: "abcde", deltas: 5 }));
  assert.deepEqual([it.text, it.missing], ["abcdef", false]);
});

test("an end that counts more deltas than came asks for the snapshot", () => {
  const it = after(done(3));
  assert.equal(it.missing, true);
  it.learn(snapshot({ status: "done", text: "abc", deltas: 3 }));
  assert.deepEqual([it.text, it.status, it.missing], ["abc", "done", false]);
});

test("a doubted answer waits for its snapshot", () => {
  const it = after(started, delta(0, "a"));
  it.doubt();
  it.apply(...delta(3, "d"));
  it.learn(snapshot({ text: "abc", deltas: 3 }));
  assert.equal(it.text, "abcd");
});

test("without a snapshot the part that is there is shown as a part", () => {
  const it = after(delta(5, "f"), delta(6, "g"));
  it.learnNothing();
  assert.deepEqual([it.text, it.partial], ["fg", true]);
});

test("tool calls are put together by their index", () => {
  const call = (i, made) => ["generation.delta", { generation: "g1", i, tool_calls: [{ index: 0, function: made }] }];
  const it = after(started, call(0, { name: "find", arguments: '{"q"' }), call(1, { arguments: ":1}" }));
  assert.deepEqual(it.toolCalls, [{ name: "find", arguments: '{"q":1}' }]);
});
