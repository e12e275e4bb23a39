// The conversation as values: which answer belongs to which question. No DOM, no network, no clock.
//
// A turn is one question with its generations, the newest last. A restart or a repeated POST adds a
// generation to the turn, and the newest one supersedes the others. The state of one generation is
// hub.js's Transcript.
//
// Rule: turns, and the generations in a turn, are in the order of the stream.

import { Transcript } from "../hub.js";

const MAX_HISTORY_TURNS = 12; // sent with the next question: the context of an LLM is limited

export function newConversation() {
  return { turns: [], generations: new Map() };
}

// A transcript, its place in the conversation, and the state of the page's requests for it.
class Generation extends Transcript {
  turn = null;

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
  generation.apply(name, data);
  return generation;
}

// Applies the response of GET /generations/{id}: it contains the question.
export function applySnapshot(conversation, generation, snapshot) {
  const { messages } = snapshot;
  assignTurn(conversation, generation, snapshot.metadata?.turn ?? generation.turn?.key ?? generation.generation);
  Object.assign(generation.turn, { messages, prompt: lastPrompt(messages) });
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

// Adds a question of this page. It is shown at once, before the hub has accepted it.
export function addPrompt(conversation, key, prompt) {
  const messages = nextMessages(conversation, prompt);
  const turn = addTurn(conversation, key);
  return Object.assign(turn, { prompt, messages });
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

// Returns what the model's name says of an answer that no real LLM gave; null for all others.
export function labelOf({ model }) {
  if (model === "sample_agent") return "sample";
  return model.startsWith("simulated") ? "simulated" : null;
}

// Returns the messages of the next request: the turns that have an answer, and the question.
export function nextMessages(conversation, prompt) {
  const messages = [];
  for (const turn of conversation.turns.slice(-MAX_HISTORY_TURNS)) {
    const answer = turn.generations.at(-1);
    const isAnswered = answer && (answer.status === "done" || answer.status === "stopped");
    if (!isAnswered || !answer.text || !turn.prompt) continue;
    messages.push({ role: "user", content: turn.prompt });
    messages.push({ role: "assistant", content: answer.text });
  }
  return [...messages, { role: "user", content: prompt }];
}

function addTurn(conversation, key) {
  const turn = { key, prompt: null, messages: null, generations: [] };
  conversation.turns.push(turn);
  return turn;
}

function lastPrompt(messages) {
  const content = messages.findLast((message) => message.role === "user")?.content ?? "";
  return typeof content === "string" ? content : content.map((part) => part.text ?? "").join(" ");
}
