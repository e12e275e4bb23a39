// The demo page's conversation: which answer belongs to which question. Run: node --test tests/pages/
import assert from "node:assert/strict";
import { test } from "node:test";

import {
  apply, ask, doubt, generationOf, isSuperseded, learn, learnNothing, newConversation, nextMessages,
  placeInTurn,
} from "../../hub/http/pages/demo/conversation.js";

const started = (generation) => ["generation.started", { generation, attempt: 1, model: "m" }];
const done = (generation) => ["generation.done", { generation, finish_reason: "stop", usage: null, deltas: 0 }];
const asked = (question) => [{ role: "user", content: question }];
const snapshot = (fields) => (
  { status: "running", attempt: 1, messages: asked("why?"), metadata: {}, model: "m", text: "", deltas: 0, ...fields }
);

test("answers to one question come together in the stream's order, however late it is learned", () => {
  const conversation = newConversation();
  for (const event of [started("g1"), done("g1"), started("g2"), started("g3")]) apply(conversation, ...event, 0);
  const [g1, g2, g3] = ["g1", "g2", "g3"].map((id) => generationOf(conversation, id));
  for (const generation of [g1, g2, g3]) placeInTurn(conversation, generation, generation.generation);
  learn(conversation, g3, snapshot({ metadata: { turn: "T" } }));
  learn(conversation, g2, snapshot({ messages: asked("another?") }));
  learn(conversation, g1, snapshot({ metadata: { turn: "T" } }));
  assert.deepEqual(conversation.turns.map((turn) => turn.generations), [[g1, g3], [g2]]);
  assert.deepEqual([g1, g2, g3].map(isSuperseded), [true, false, false]);
});

test("the stream may be faster than the answer to the POST", () => {
  const conversation = newConversation();
  const turn = ask(conversation, "T", "why?");
  apply(conversation, ...started("g1"), 0);
  placeInTurn(conversation, generationOf(conversation, "g1"), "T");
  placeInTurn(conversation, generationOf(conversation, "g1"), "T"); // a repeated POST joins
  assert.deepEqual(turn.generations.map(({ generation }) => generation), ["g1"]);
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

test("a reset leaves the answers that run in doubt, until nothing can be learned of them", () => {
  const conversation = newConversation();
  for (const event of [started("g1"), done("g1"), started("g2")]) apply(conversation, ...event, 0);
  const [ended, runs] = ["g1", "g2"].map((id) => generationOf(conversation, id));
  doubt(conversation);
  assert.deepEqual([ended.missing, runs.missing], [false, true]);
  learnNothing(conversation, runs);
  assert.deepEqual([runs.missing, runs.partial, runs.turn.key], [false, true, "g2"]);
});
