// Tests the parts of hub.js without I/O: positions, the decoder, retry delays, transcripts.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Positions, retryDelayMs, SseDecoder, Transcript } from "../../hub/http/pages/hub.js";

const delta = (i, text) => ["generation.delta", { generation: "g1", i, text }];
const started = ["generation.started", { generation: "g1", attempt: 1, model: "m" }];
const done = (deltas) => ["generation.done", { generation: "g1", finish_reason: "stop", usage: null, deltas }];
const snapshot = (fields) => ({ status: "running", attempt: 1, model: "m", ...fields });

function transcriptOf(...events) {
  const transcript = new Transcript("g1");
  for (const [name, data] of events) transcript.apply(name, data);
  return transcript;
}

test("a cursor is new if the position of any channel is new", () => {
  const positions = new Positions("7kQ2x-4C*aB3dE-1.");
  assert.equal(positions.advance("7kQ2x-4C*aB3dE-1."), false);
  assert.equal(positions.advance("7kQ2x-4D*aB3dE-1."), true);
  assert.equal(positions.advance("7kQ2x-4C*aB3dE-2."), true); // behind in one channel, ahead in the other
  assert.equal(positions.cursor, "7kQ2x-4D*aB3dE-2.");
  assert.equal(positions.advance("7kQ2x-4D~Zz09aB:QQQQQ-1."), true);
  assert.equal(positions.cursor, "7kQ2x-4D*aB3dE-2~Zz09aB:QQQQQ-1.");
  assert.deepEqual([positions.covers("*aB3dE-2."), positions.covers("*aB3dE-3."), positions.covers("nonsense")], [true, false, false]);
});

test("offsets are compared as numbers in base 62", () => {
  const positions = new Positions("7kQ2x-z.");
  assert.equal(positions.advance("7kQ2x-10."), true); // 62 after 61
  assert.equal(positions.advance("7kQ2x-Z."), false);
});

test("a new epoch is new at any offset, and positions of past epochs are old", () => {
  const positions = new Positions("AAAAA-9.");
  assert.equal(positions.advance("BBBBB-1."), true);
  assert.equal(positions.advance("AAAAA-zz."), false);
  assert.equal(positions.cursor, "BBBBB-1.");
});

test("a cursor in another format is returned unchanged", () => {
  const positions = new Positions("v2:whatever");
  assert.equal(positions.advance("v2:more"), true);
  assert.equal(positions.cursor, "v2:more");
});

test("a cursor ends with a dot, and half of one is no position", () => {
  const positions = new Positions("AAAAA-21*BBBBB-3.");
  assert.deepEqual([positions.cursor, positions.advance("AAAAA-21."), positions.covers("AAAAA-2.")], ["AAAAA-21*BBBBB-3.", false, true]);
  assert.equal(positions.covers("AAAAA-2"), false);
});

test("the decoder returns the same events wherever the bytes are split", () => {
  const stream = "retry: 3000\nid: c1\nevent: hub.open\ndata: {\"n\":1}\n\n: hb\nid: c2\r\nevent: note\r\n"
    + "data: zwei 🌊\r\ndata: lines\r\n\r\nevent: flash\rdata: 7\r\rid: c3\n\n: hb\n";
  const bytes = new TextEncoder().encode(stream);
  const events = [
    { name: "hub.open", data: { n: 1 }, id: "c1" },
    { name: "note", data: "zwei 🌊\nlines", id: "c2" },
    { name: "flash", data: "7" },
  ];
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    const decoder = new SseDecoder();
    assert.deepEqual([...decoder.feed(bytes.slice(0, cut)), ...decoder.feed(bytes.slice(cut))], events, `cut at ${cut}`);
  }
});

test("a line ends at once with its CR, and an LF in the next chunk belongs to it", () => {
  const decoder = new SseDecoder();
  const feed = (text) => decoder.feed(new TextEncoder().encode(text)).map(({ data }) => data);
  assert.deepEqual(feed("data: a\r\r"), ["a"]);
  assert.deepEqual(feed("\ndata: b\r"), []);
  assert.deepEqual([feed(""), feed("\n"), feed("\r")], [[], [], ["b"]]);
  assert.deepEqual(feed("\ndata: c\n\n"), ["c"]);
});

test("only objects and arrays are decoded", () => {
  const read = (text) => new SseDecoder().feed(new TextEncoder().encode(`data: ${text}\n\n`))[0].data;
  for (const text of ["123", "true", "null", "1e3", '"quoted"', "{broken", ""]) assert.equal(read(text), text);
  assert.deepEqual([read("[1]"), read('{"a":1}')], [[1], { a: 1 }]);
});

test("the decoder keeps the last valid retry", () => {
  const decoder = new SseDecoder();
  const retryAfter = (line) => {
    decoder.feed(new TextEncoder().encode(`${line}\n\n`));
    return decoder.retryMs;
  };
  assert.deepEqual(["retry: 2500", "retry: soon", "retry: -1", "retry", "retry:70"].map(retryAfter), [2500, 2500, 2500, 2500, 70]);
});

test("the retry delay doubles, has jitter, and has a maximum", () => {
  assert.deepEqual([0, 1, 2, 9].map((failures) => retryDelayMs(failures, 1)), [500, 1000, 2000, 15_000]);
  assert.equal(retryDelayMs(1, 0), 500);
});

test("deltas add up, and events after the end change nothing", () => {
  const transcript = transcriptOf(started, delta(0, "a"), delta(1, "b"), done(2), delta(2, "late"),
    ["generation.failed", { generation: "g1", code: "x", message: "late" }]);
  assert.deepEqual([transcript.text, transcript.status, transcript.hasGap], ["ab", "done", false]);
});

test("a restart by another worker and a replacement discard earlier text", () => {
  const transcript = transcriptOf(started, delta(0, "discarded"), ["generation.restarted", { generation: "g1", attempt: 2 }],
    delta(0, "wrong"), ["generation.replaced", { generation: "g1", i: 1, text: "right" }], delta(2, "!"));
  assert.deepEqual([transcript.text, transcript.attempt, transcript.deltas, transcript.rewriteCount], ["right!", 2, 3, 2]);
});

test("an answer continues from a checkpoint: later parts are void", () => {
  const snapshot = { text: "ab", parts: [{ type: "text", text: "ab" }, { type: "step", name: "s", state: "done" }] };
  const continued = ["generation.continued", { generation: "g1", attempt: 2, model: "m", parts: 3, snapshot }];
  const transcript = transcriptOf(started, delta(0, "ab"), delta(1, "void"), delta(5, "behind a gap"), continued, delta(3, "c"));
  assert.deepEqual(
    [transcript.text, transcript.attempt, transcript.deltas, transcript.hasGap, transcript.rewriteCount],
    ["abc", 2, 4, false, 1],
  );
  assert.deepEqual(transcript.parts, [...snapshot.parts, { type: "text", text: "c" }]);
  const late = transcriptOf(delta(7, "missing"), continued, done(3));
  assert.deepEqual([late.text, late.status, late.hasGap, late.rewriteCount], ["ab", "done", false, 0]);
});

test("a snapshot completes an answer that was joined in the middle", () => {
  const transcript = transcriptOf(delta(5, "f"), delta(6, "g"));
  assert.equal(transcript.hasGap, true);
  transcript.applySnapshot(snapshot({ text: "abcdef", deltas: 6 }));
  transcript.apply(...delta(7, "h"));
  assert.deepEqual([transcript.text, transcript.hasGap], ["abcdefgh", false]);
});

test("a snapshot from before the gap does not close it", () => {
  const transcript = transcriptOf(delta(5, "f"));
  transcript.applySnapshot(snapshot({ text: "abc", deltas: 3 }));
  assert.equal(transcript.hasGap, true);
  transcript.applySnapshot(snapshot({ text: "abcde", deltas: 5 }));
  assert.deepEqual([transcript.text, transcript.hasGap], ["abcdef", false]);
});

test("what was buffered of an earlier attempt is not a part of a snapshot", () => {
  for (const events of [[], [started]]) {
    const ended = transcriptOf(...events, delta(2, "c"));
    ended.applySnapshot(snapshot({ status: "done", attempt: 2, text: "x", deltas: 1 }));
    assert.deepEqual([ended.text, ended.hasGap], ["x", false]);
  }
  const running = transcriptOf(started, delta(2, "z"));
  running.applySnapshot(snapshot({ attempt: 2, text: "x", deltas: 1 }));
  assert.deepEqual([running.text, running.hasGap], ["x", true]); // it may have been of the new attempt
  running.applySnapshot(snapshot({ attempt: 2, text: "xyz", deltas: 3 }));
  assert.deepEqual([running.text, running.hasGap], ["xyz", false]);
});

test("an end with a higher number of deltas opens a gap", () => {
  const transcript = transcriptOf(done(3));
  assert.equal(transcript.hasGap, true);
  transcript.applySnapshot(snapshot({ status: "done", text: "abc", deltas: 3 }));
  assert.deepEqual([transcript.text, transcript.status, transcript.hasGap], ["abc", "done", false]);
});

test("an answer with a marked gap waits for its snapshot", () => {
  const transcript = transcriptOf(started, delta(0, "a"));
  transcript.markGap();
  transcript.apply(...delta(3, "d"));
  transcript.applySnapshot(snapshot({ text: "abc", deltas: 3 }));
  assert.equal(transcript.text, "abcd");
});

test("without a snapshot the text that is there is marked as partial", () => {
  const transcript = transcriptOf(delta(5, "f"), delta(6, "g"));
  transcript.acceptGap();
  assert.deepEqual([transcript.text, transcript.isPartial], ["fg", true]);
});

test("tool calls are assembled by index", () => {
  const call = (i, part) => ["generation.delta", { generation: "g1", i, tool_calls: [{ index: 0, function: part }] }];
  const transcript = transcriptOf(started, call(0, { name: "find", arguments: '{"q"' }), call(1, { arguments: ":1}" }));
  assert.deepEqual(transcript.toolCalls.map((each) => [each.name, each.arguments]), [["find", '{"q":1}']]);
});

test("a page that joins late has the parts before its snapshot", () => {
  const parts = [{ type: "reasoning", text: "hm" }, { type: "text", text: "a" }, { type: "status", text: "Searching" }];
  const transcript = transcriptOf(["generation.part", { generation: "g1", i: 4, type: "status", text: "Writing" }], delta(5, "b"));
  transcript.applySnapshot(snapshot({ text: "a", deltas: 4, parts }));
  assert.deepEqual(transcript.parts, [
    { type: "reasoning", text: "hm" }, { type: "text", text: "a" }, { type: "status", text: "Writing" }, { type: "text", text: "b" },
  ]);
  assert.deepEqual([transcript.reasoning, transcript.text, transcript.hasGap], ["hm", "ab", false]);
});

test("a replaced text keeps the other parts, also behind a gap", () => {
  const part = (i, fields) => ["generation.part", { generation: "g1", i, ...fields }];
  const replaced = (i, text) => ["generation.replaced", { generation: "g1", i, text }];
  const source = { type: "source", url: "https://a.example" };
  const transcript = transcriptOf(started, delta(0, "a"), part(1, source), replaced(2, "b"));
  assert.deepEqual(transcript.parts, [{ type: "text", text: "b" }, source]);
  const late = transcriptOf(replaced(2, "b"));
  assert.equal(late.hasGap, true);
  late.applySnapshot(snapshot({ text: "a", deltas: 2, parts: [{ type: "text", text: "a" }, source] }));
  assert.deepEqual(late.parts, transcript.parts);
});
