// The demo page's conversation: what events and snapshots do to it. Run: node --test tests/pages/
import assert from "node:assert/strict";
import { test } from "node:test";

import {
  apply, ask, doubt, generationOf, isSuperseded, learn, learnNothing, newConversation, nextMessages,
  placeInTurn,
} from "../../hub/web/pages/conversation.js";

const delta = (i, text, generation = "g1") => ["generation.delta", { generation, i, text }];
const started = (generation = "g1") => ["generation.started", { generation, attempt: 1, model: "m" }];
const done = (deltas, generation = "g1") => ["generation.done", { generation, finish_reason: "stop", usage: null, deltas }];
const snapshot = (fields) => ({ status: "running", attempt: 1, prompt: "why?", metadata: {}, model: "m", ...fields });

function after(...events) {
  const conversation = newConversation();
  for (const [name, data] of events) apply(conversation, name, data, 0);
  return { conversation, generation: generationOf(conversation, "g1") };
}

test("deltas add up and the end is the end", () => {
  const { generation } = after(started(), delta(0, "a"), delta(1, "b"), done(2), delta(2, "late"),
    ["generation.failed", { generation: "g1", code: "x", message: "late" }]);
  assert.deepEqual([generation.text, generation.status, generation.missing], ["ab", "done", false]);
});

test("a restart by another worker voids, a replacement replaces", () => {
  const { generation } = after(started(), delta(0, "void"), ["generation.restarted", { generation: "g1", attempt: 2 }],
    delta(0, "wrong"), ["generation.replaced", { generation: "g1", i: 1, text: "right" }], delta(2, "!"));
  assert.deepEqual([generation.text, generation.attempt, generation.deltas], ["right!", 2, 3]);
});

test("a log that begins in the middle is completed by the snapshot, once", () => {
  const { conversation, generation } = after(delta(5, "f"), delta(6, "g"));
  assert.equal(generation.missing, true);
  learn(conversation, generation, snapshot({ text: "abcdef", deltas: 6 }));
  apply(conversation, ...delta(7, "h"), 0);
  assert.deepEqual([generation.text, generation.missing], ["abcdefgh", false]);
});

test("a snapshot that is older than the hole leaves it open for the next look", () => {
  const { conversation, generation } = after(delta(5, "f"));
  learn(conversation, generation, snapshot({ text: "abc", deltas: 3 }));
  assert.equal(generation.missing, true);
  learn(conversation, generation, snapshot({ text: "abcde", deltas: 5 }));
  assert.deepEqual([generation.text, generation.missing], ["abcdef", false]);
});

test("an end that counts more deltas than came asks for the snapshot", () => {
  const { conversation, generation } = after(done(3));
  assert.equal(generation.missing, true);
  learn(conversation, generation, snapshot({ status: "done", text: "abc", deltas: 3 }));
  assert.deepEqual([generation.text, generation.status], ["abc", "done"]);
});

test("after a reset a running answer waits for its snapshot", () => {
  const { conversation, generation } = after(started(), delta(0, "a"));
  doubt(conversation);
  apply(conversation, ...delta(3, "d"), 0);
  learn(conversation, generation, snapshot({ text: "abc", deltas: 3 }));
  assert.equal(generation.text, "abcd");
});

test("without a snapshot the part that is there is shown as a part", () => {
  const { conversation, generation } = after(delta(5, "f"), delta(6, "g"));
  learnNothing(conversation, generation);
  assert.deepEqual([generation.text, generation.partial], ["fg", true]);
});

test("tool calls are put together by their index", () => {
  const call = (i, made) => ["generation.delta", { generation: "g1", i, tool_calls: [{ index: 0, function: made }] }];
  const { generation } = after(started(), call(0, { name: "find", arguments: '{"q"' }), call(1, { arguments: ":1}" }));
  assert.deepEqual(generation.toolCalls, [{ name: "find", arguments: '{"q":1}' }]);
});

test("answers to one question come together in the stream's order, however late it is learned", () => {
  const { conversation } = after(started("g1"), done(0, "g1"), started("g2"), started("g3"));
  const [g1, g2, g3] = ["g1", "g2", "g3"].map((id) => generationOf(conversation, id));
  for (const generation of [g1, g2, g3]) placeInTurn(conversation, generation, generation.id);
  learn(conversation, g3, snapshot({ metadata: { turn: "T" } }));
  learn(conversation, g2, snapshot({ prompt: "another?" }));
  learn(conversation, g1, snapshot({ metadata: { turn: "T" } }));
  assert.deepEqual(conversation.turns.map((turn) => turn.generations), [[g1, g3], [g2]]);
  assert.deepEqual([g1, g2, g3].map(isSuperseded), [true, false, false]);
});

test("the stream may be faster than the answer to the POST", () => {
  const conversation = newConversation();
  const turn = ask(conversation, "T", "why?");
  apply(conversation, ...started(), 0);
  placeInTurn(conversation, generationOf(conversation, "g1"), "T");
  placeInTurn(conversation, generationOf(conversation, "g1"), "T"); // a repeated POST joins
  assert.deepEqual(turn.generations.map(({ id }) => id), ["g1"]);
  assert.equal(conversation.turns.length, 1);
});

test("the next question carries the newest answer of each turn that was answered", () => {
  const conversation = newConversation();
  const end = { a: "done", b: "failed", c: "stopped" };
  for (const [key, status] of Object.entries(end)) {
    ask(conversation, key, `${key}?`);
    placeInTurn(conversation, Object.assign(generationOf(conversation, key), { status, text: `${key}!` }), key);
  }
  assert.deepEqual(nextMessages(conversation, "d?").map(({ role, content }) => `${role} ${content}`),
    ["user a?", "assistant a!", "user c?", "assistant c!", "user d?"]);
});
