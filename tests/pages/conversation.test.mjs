// Tests the demo page's conversation: which answer belongs to which question.
import assert from "node:assert/strict";
import { test } from "node:test";

import {
  acceptGap, addPrompt, applyEvent, applySnapshot, getGeneration, isSuperseded, markGaps,
  newConversation, newestRunning, assignTurn,
} from "../../hub/http/pages/demo/conversation.js";
import { nextMessages } from "../../hub/http/pages/demo/chat_turns.js";

const started = (generation) => ["generation.started", { generation, attempt: 1, model: "m" }];
const done = (generation) => ["generation.done", { generation, finish_reason: "stop", usage: null, deltas: 0 }];
const userMessage = (prompt) => [{ role: "user", content: prompt }];
const snapshot = (fields) => (
  { status: "running", attempt: 1, messages: userMessage("why?"), metadata: {}, model: "m", text: "", deltas: 0, ...fields }
);

test("answers to one question are grouped in the order of the stream, also when the question becomes known late", () => {
  const conversation = newConversation();
  for (const event of [started("g1"), done("g1"), started("g2"), started("g3")]) applyEvent(conversation, ...event, 0);
  const [g1, g2, g3] = ["g1", "g2", "g3"].map((id) => getGeneration(conversation, id));
  for (const generation of [g1, g2, g3]) assignTurn(conversation, generation, generation.generation);
  applySnapshot(conversation, g3, snapshot({ metadata: { turn: "T" } }));
  applySnapshot(conversation, g2, snapshot({ messages: userMessage("another?") }));
  applySnapshot(conversation, g1, snapshot({ metadata: { turn: "T" } }));
  assert.deepEqual(conversation.turns.map((turn) => turn.generations), [[g1, g3], [g2]]);
  assert.deepEqual([g1, g2, g3].map(isSuperseded), [true, false, false]);
});

test("events may arrive before the response to the POST", () => {
  const conversation = newConversation();
  const turn = addPrompt(conversation, "T", "why?");
  applyEvent(conversation, ...started("g1"), 0);
  assignTurn(conversation, getGeneration(conversation, "g1"), "T");
  assignTurn(conversation, getGeneration(conversation, "g1"), "T"); // a repeated POST returns the same generation
  assert.deepEqual(turn.generations.map(({ generation }) => generation), ["g1"]);
  assert.equal(conversation.turns.length, 1);
});

test("the next request contains the newest answer of each answered turn", () => {
  const conversation = newConversation();
  const statuses = { a: "done", b: "failed", c: "stopped" };
  for (const [key, status] of Object.entries(statuses)) {
    addPrompt(conversation, key, `${key}?`);
    applyEvent(conversation, ...started(key), 0);
    applyEvent(conversation, "generation.delta", { generation: key, i: 0, text: `${key}!` }, 0);
    applyEvent(conversation, `generation.${status}`, { generation: key, deltas: 1 }, 0);
    assignTurn(conversation, getGeneration(conversation, key), key);
  }
  assert.deepEqual(nextMessages(conversation, "d?").map(({ role, content }) => `${role} ${content}`),
    ["user a?", "assistant a!", "user c?", "assistant c!", "user d?"]);
});

test("after a reset, running answers have a gap until it is accepted", () => {
  const conversation = newConversation();
  for (const event of [started("g1"), done("g1"), started("g2")]) applyEvent(conversation, ...event, 0);
  const [ended, running] = ["g1", "g2"].map((id) => getGeneration(conversation, id));
  markGaps(conversation);
  assert.deepEqual([ended.hasGap, running.hasGap], [false, true]);
  acceptGap(conversation, running);
  assert.deepEqual([running.hasGap, running.isPartial, running.turn.key], [false, true, "g2"]);
});

test("messages to a running answer are shown once each, in their order", () => {
  const conversation = newConversation();
  applyEvent(conversation, ...started("g1"), 0);
  for (const [n, content] of [[0, "in French"], [1, [{ type: "text", text: "shorter" }]], [0, "in French"]]) {
    applyEvent(conversation, "generation.steered", { generation: "g1", n, message: { role: "user", content }, by: "alice" }, 0);
  }
  assert.deepEqual(getGeneration(conversation, "g1").messages, ["in French", "shorter"]);
  assert.equal(newestRunning(conversation, ""), null);
  assignTurn(conversation, getGeneration(conversation, "g1"), "T");
  assert.equal(newestRunning(conversation, "").generation, "g1");
  assert.equal(newestRunning(conversation, "another chat"), null);
  applyEvent(conversation, ...done("g1"), 0);
  assert.equal(newestRunning(conversation, ""), null);
});
