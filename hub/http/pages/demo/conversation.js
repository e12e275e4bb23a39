// The conversation as values: which answer belongs to which question. No DOM, no network, no clock.
//
// A turn is one question with its generations, the newest last. A restart or a repeated POST adds a
// generation to the turn, and the newest one supersedes the others. A question that was edited is a
// new turn, which replaces the turn of the old one and those after it. The state of one generation is
// hub.js's Transcript.
//
// Rule: turns, and the generations in a turn, are in the order of their requests, by the clock of the
// hub. What the hub has not dated yet is the newest. So the order does not depend on what arrives first.

import { Transcript } from "../hub.js";
import { chatOfTopic, keysFrom, nextMessages, turnsOf } from "./chat_turns.js";

export function newConversation() {
  return { turns: [], generations: new Map() };
}

// A transcript, its place in the conversation, and the state of the page's requests for it.
class Generation extends Transcript {
  turn = null;
  dated = Infinity; // when the hub got its request, in Unix seconds
  requester = null; // who asked, if the answer is in a topic
  messages = []; // texts that the user has sent to the running answer
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
  const { messages, user, topic } = snapshot;
  applyEntry(conversation, generation, snapshot);
  Object.assign(generation.turn, { messages, prompt: messages ? lastPrompt(messages) : `(a question of ${user})` });
  if (topic) generation.requester = user;
  generation.applySnapshot(snapshot);
}

// Applies what a snapshot and the entry of a list have in common. key: of the turn, if the metadata
// has none.
export function applyEntry(conversation, generation, entry, key = generation.generation) {
  const { chat = "", topic, metadata, requested_at: dated = generation.dated } = entry; // an older node sends none in snapshots
  if (generation.turn && generation.dated === dated) return;
  generation.dated = dated;
  assignTurn(conversation, generation, metadata?.turn ?? key, topic ? chatOfTopic(topic) : chat);
  if (Array.isArray(metadata?.replaces)) generation.turn.replaces = metadata.replaces;
  sortTurns(conversation, generation.turn);
}

// Adds a question of this page. It is shown at once, before the hub has accepted it. edited: the turn
// of a chat that it replaces.
export function addPrompt(conversation, key, prompt, { chat = "", edited = null } = {}) {
  const messages = nextMessages(conversation, prompt, { chat, edited });
  const replaces = edited ? keysFrom(conversation, edited) : [];
  return Object.assign(addTurn(conversation, key, chat), { prompt, messages, replaces });
}

// Adds the generation to the turn with this key. A generation stays in its turn.
export function assignTurn(conversation, generation, key, chat) {
  if (generation.turn) return;
  generation.turn = conversation.turns.find((turn) => turn.key === key) ?? addTurn(conversation, key, chat);
  generation.turn.generations.push(generation);
}

// Returns the generation with this id. Creates it if it is new.
export function getGeneration(conversation, id) {
  const { generations } = conversation;
  if (!generations.has(id)) generations.set(id, new Generation(id));
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
  return turnsOf(conversation, chat).flatMap(({ generations }) => generations).findLast(({ isEnded }) => !isEnded) ?? null;
}

// Returns what the model's name says of an answer that no real LLM gave; null for all others.
export function labelOf({ model }) {
  if (model === "sample_agent") return "sample";
  return model.startsWith("simulated") ? "simulated" : null;
}

function addTurn(conversation, key, chat) {
  const turn = { key, chat, prompt: null, messages: null, replaces: [], generations: [] };
  conversation.turns.push(turn);
  return turn;
}

function sortTurns(conversation, changed) {
  changed.generations.sort(compareDates);
  conversation.turns.sort((a, b) => compareDates(a.generations[0], b.generations[0]));
}

// Without a date, generations keep the order that they have.
function compareDates(a, b) {
  const [first, second] = [a?.dated ?? Infinity, b?.dated ?? Infinity];
  if (first !== second) return first < second ? -1 : 1;
  if (first === Infinity) return 0;
  return a.generation < b.generation ? -1 : 1;
}

function lastPrompt(messages) {
  return contentText(messages.findLast((message) => message.role === "user")?.content ?? "");
}

function contentText(content) {
  return typeof content === "string" ? content : content.map((part) => part.text ?? "").join(" ");
}
