// The conversation as values: which answer belongs to which question. No DOM, no network, no clock.
//
// A turn is one question with its generations, the newest last. A restart or a repeated POST adds a
// generation to the turn, and the newest one supersedes the others. A question that was edited is a
// new turn, which replaces the turn of the old one and those between them. The state of one
// generation is hub.js's Transcript.
//
// Rule: turns, and the generations in a turn, are in the order of the stream.

import { Transcript } from "../hub.js";
import { chatOfTopic, nextMessages } from "./chat_turns.js";

export function newConversation() {
  return { turns: [], generations: new Map() };
}

// A transcript, its place in the conversation, and the state of the page's requests for it.
class Generation extends Transcript {
  turn = null;
  requester = null; // who asked, if the answer is in a topic
  messages = []; // texts that the user has sent to the running answer

  constructor(id, order) {
    super(id);
    this.order = order;
  }
}

// Applies one generation.* event. Returns the generation that it changed.
export function applyEvent(conversation, name, data, now) {
  const generation = getGeneration(conversation, data.generation);
  const isText = name === "generation.delta" || name === "generation.replaced";
  if (isText && !generation.isEnded) generation.firstTokenAt ??= now;
  if (data.user) generation.requester = data.user; // only in a topic
  if (name === "generation.steered") generation.messages[data.n] = contentText(data.message.content);
  generation.apply(name, data);
  return generation;
}

// Applies the response of GET /generations/{id}: it contains the question.
export function applySnapshot(conversation, generation, snapshot) {
  const { messages, metadata, topic, user } = snapshot;
  const chat = topic ? chatOfTopic(topic) : snapshot.chat ?? "";
  assignTurn(conversation, generation, metadata?.turn ?? generation.turn?.key ?? generation.generation);
  const { turn } = generation;
  Object.assign(turn, { messages, chat, replaces: metadata?.replaces ?? null });
  turn.prompt = messages ? lastPrompt(messages) : `(a question of ${user})`;
  if (topic) generation.requester = user;
  generation.applySnapshot(snapshot);
}

// No snapshot is available: the text that is there is kept and marked as partial.
export function acceptGap(conversation, generation) {
  if (!generation.turn) assignTurn(conversation, generation, generation.generation);
  generation.acceptGap();
}

// After a reset, events are missing: every running generation may have a gap.
export function markGaps(conversation) {
  for (const generation of runningGenerations(conversation)) generation.markGap();
}

// Adds a question of this page. It is shown at once, before the hub has accepted it. edited: the turn
// of a chat that it replaces.
export function addPrompt(conversation, key, prompt, { chat = "", edited = null } = {}) {
  const messages = nextMessages(conversation, prompt, { chat, edited });
  const turn = addTurn(conversation, key);
  return Object.assign(turn, { prompt, messages, chat, replaces: edited?.key ?? null });
}

// Adds the generation to the turn with this key. If a generation's turn turns out to be the same as
// another one (its key became known late), both are merged in the place of the earlier one.
export function assignTurn(conversation, generation, key) {
  const { turns } = conversation;
  const from = generation.turn;
  const to = turns.find((turn) => turn.key === key);
  if (from && (!to || to === from)) {
    from.key = key;
    return;
  }
  const turn = to ?? addTurn(conversation, key);
  if (from) {
    if (turns.indexOf(from) < turns.indexOf(turn)) {
      turns.splice(turns.indexOf(turn), 1);
      turns[turns.indexOf(from)] = turn;
    } else turns.splice(turns.indexOf(from), 1);
    turn.prompt ??= from.prompt;
    turn.chat ||= from.chat;
  }
  for (const moved of from?.generations ?? [generation]) {
    moved.turn = turn;
    turn.generations.push(moved);
  }
  turn.generations.sort((a, b) => a.order - b.order);
}

// Returns the generation with this id. Creates it if it is new.
export function getGeneration(conversation, id) {
  const { generations } = conversation;
  if (!generations.has(id)) generations.set(id, new Generation(id, generations.size));
  return generations.get(id);
}

export function isSuperseded(generation) {
  return generation.turn !== null && generation.turn.generations.at(-1) !== generation;
}

export function runningGenerations(conversation) {
  return [...conversation.generations.values()].filter((generation) => !generation.isEnded);
}

// Returns the newest answer of a chat that runs; null if there is none.
export function newestRunning(conversation, chat) {
  return runningGenerations(conversation).findLast(({ turn }) => turn?.chat === chat) ?? null;
}

// Returns what the model's name says of an answer that no real LLM gave; null for all others.
export function labelOf({ model }) {
  if (model === "sample_agent") return "sample";
  return model.startsWith("simulated") ? "simulated" : null;
}

function addTurn(conversation, key) {
  const turn = { key, prompt: null, messages: null, chat: "", replaces: null, generations: [] };
  conversation.turns.push(turn);
  return turn;
}

function lastPrompt(messages) {
  return contentText(messages.findLast((message) => message.role === "user")?.content ?? "");
}

function contentText(content) {
  return typeof content === "string" ? content : content.map((part) => part.text ?? "").join(" ");
}
