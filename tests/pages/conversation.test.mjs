// Tests the demo page's conversation: which answer belongs to which question.
import assert from "node:assert/strict";
import { test } from "node:test";

import {
  addPrompt, applyEntry, applyEvent, applySnapshot, assignTurn, getGeneration, isSuperseded, newConversation, newestRunning,
} from "../../hub/http/pages/demo/conversation.js";
import { MAX_REPLACED_TURNS, isUnsent, nextMessages, replacedTurns } from "../../hub/http/pages/demo/chat_turns.js";

const started = (generation) => ["generation.started", { generation, attempt: 1, model: "m" }];
const done = (generation) => ["generation.done", { generation, finish_reason: "stop", usage: null, deltas: 0 }];
const userMessage = (prompt) => [{ role: "user", content: prompt }];
const snapshot = (requestedAt, fields) => (
  { status: "running", attempt: 1, messages: userMessage("why?"), metadata: {}, model: "m", text: "", deltas: 0, requested_at: requestedAt, ...fields }
);

test("turns and their answers are in the order of the requests, whatever becomes known first", () => {
  const conversation = newConversation();
  const snapshots = {
    g1: snapshot(1, { metadata: { turn: "T" } }), g2: snapshot(2, { messages: userMessage("another?") }), g3: snapshot(3, { metadata: { turn: "T" } }),
  };
  for (const id of ["g3", "g2", "g1"]) {
    applyEvent(conversation, ...started(id), 0);
    applySnapshot(conversation, getGeneration(conversation, id), snapshots[id]);
  }
  assert.deepEqual(conversation.turns.map((turn) => turn.generations.map(({ generation }) => generation)), [["g1", "g3"], ["g2"]]);
  assert.deepEqual(["g1", "g2", "g3"].map((id) => isSuperseded(getGeneration(conversation, id))), [true, false, false]);
});

test("what the hub has not dated is the newest, until a list dates it", () => {
  const conversation = newConversation();
  addPrompt(conversation, "A", "a?");
  addPrompt(conversation, "B", "b?");
  applySnapshot(conversation, getGeneration(conversation, "g1"), snapshot(5, { metadata: { turn: "C" } }));
  assert.deepEqual(conversation.turns.map(({ key }) => key), ["C", "A", "B"]);
  assignTurn(conversation, getGeneration(conversation, "g2"), "B", "");
  applyEntry(conversation, getGeneration(conversation, "g2"), { requested_at: 4, metadata: { turn: "B" } });
  assert.deepEqual(conversation.turns.map(({ key }) => key), ["B", "C", "A"]);
  applyEntry(conversation, getGeneration(conversation, "g1"), { metadata: { turn: "C" } }); // of a node of an earlier version
  assert.deepEqual(conversation.turns.map(({ key }) => key), ["B", "C", "A"]);
});

test("an edit names what it replaces: also a question that the hub gets later", () => {
  const conversation = newConversation();
  const first = addPrompt(conversation, "A", "a?");
  addPrompt(conversation, "B", "b?");
  const edit = addPrompt(conversation, "C", "c?", { edited: first });
  assert.deepEqual(edit.replaces, ["A", "B"]);
  const other = newConversation();
  const requests = { C: { turn: "C", replaces: ["A", "B"] }, A: { turn: "A" }, B: { turn: "B" } };
  Object.values(requests).forEach((metadata, index) => {
    applySnapshot(other, getGeneration(other, `g${index}`), snapshot(index, { metadata }));
  });
  for (const each of [conversation, other]) assert.deepEqual([...replacedTurns(each, "")].map(({ key }) => key), ["A", "B"]);
  assert.deepEqual(addPrompt(conversation, "D", "d?", { edited: edit }).replaces, ["C"]);
});

test("an edit names no more turns than the metadata of a request should have", () => {
  const conversation = newConversation();
  const first = addPrompt(conversation, "first", "a?");
  for (let count = 0; count < 2 * MAX_REPLACED_TURNS; count += 1) addPrompt(conversation, `T${count}`, "b?");
  assert.equal(addPrompt(conversation, "edit", "c?", { edited: first }).replaces.length, MAX_REPLACED_TURNS);
});

test("an edit that the hub has not got replaces nothing", () => {
  const conversation = newConversation();
  const first = addPrompt(conversation, "A", "a?");
  const edit = addPrompt(conversation, "B", "b?", { edited: first });
  edit.error = "The hub cannot be reached.";
  assert.deepEqual([isUnsent(edit), replacedTurns(conversation, "").size], [true, 0]);
  assignTurn(conversation, getGeneration(conversation, "g1"), "B", ""); // only the response was lost
  assert.deepEqual([isUnsent(edit), [...replacedTurns(conversation, "")]], [false, [first]]);
});

test("events may arrive before the response to the POST", () => {
  const conversation = newConversation();
  const turn = addPrompt(conversation, "T", "why?");
  applyEvent(conversation, ...started("g1"), 0);
  assignTurn(conversation, getGeneration(conversation, "g1"), "T", "");
  assignTurn(conversation, getGeneration(conversation, "g1"), "T", ""); // a repeated POST returns the same generation
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
    assignTurn(conversation, getGeneration(conversation, key), key, "");
  }
  assert.deepEqual(nextMessages(conversation, "d?").map(({ role, content }) => `${role} ${content}`),
    ["user a?", "assistant a!", "user c?", "assistant c!", "user d?"]);
});

test("messages to a running answer are shown once each, in their order", () => {
  const conversation = newConversation();
  applyEvent(conversation, ...started("g1"), 0);
  for (const [n, content] of [[0, "in French"], [1, [{ type: "text", text: "shorter" }]], [0, "in French"]]) {
    applyEvent(conversation, "generation.steered", { generation: "g1", n, message: { role: "user", content }, by: "alice" }, 0);
  }
  assert.deepEqual(getGeneration(conversation, "g1").messages, ["in French", "shorter"]);
  assert.equal(newestRunning(conversation, ""), null);
  assignTurn(conversation, getGeneration(conversation, "g1"), "T", "");
  assert.equal(newestRunning(conversation, "").generation, "g1");
  assert.equal(newestRunning(conversation, "another chat"), null);
  applyEvent(conversation, ...done("g1"), 0);
  assert.equal(newestRunning(conversation, ""), null);
});
