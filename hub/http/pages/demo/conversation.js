// The conversation as values: which answer belongs to which question. No DOM, no network, no clock.
//
// A turn is one question; its generations are the answers to it, the newest last. Whatever asks
// twice (a restart, a repeated POST) adds to the turn, and the newest supersedes the others. What
// the events of one generation add up to is hub.js's Transcript.
//
// Rule: the order of turns, and of the generations in one, is that of the stream.

import { Transcript } from "../hub.js";

const HISTORY_TURNS = 12; // what goes along with the next question; an LLM's context has an end

export function newConversation() {
  return { turns: [], generations: new Map() };
}

// A transcript, its place in the conversation, and what the page has under way with it.
class Generation extends Transcript {
  turn = null;

  constructor(id, order) {
    super(id);
    this.order = order;
  }
}

// Applies one generation.* event; returns the generation that it changed.
export function apply(conversation, name, data, now) {
  const generation = generationOf(conversation, data.generation);
  const isText = name === "generation.delta" || name === "generation.replaced";
  if (isText && !generation.isEnded) generation.firstAt ??= now;
  generation.apply(name, data);
  return generation;
}

// What GET /generations/{id} found: the question, and what the stream could not tell.
export function learn(conversation, generation, found) {
  const { messages } = found;
  placeInTurn(conversation, generation, found.metadata?.turn ?? generation.turn?.key ?? generation.generation);
  Object.assign(generation.turn, { messages, question: lastQuestion(messages) });
  generation.learn(found);
}

// The snapshot is gone too: what there is is shown, and marked as a part.
export function learnNothing(conversation, generation) {
  if (!generation.turn) placeInTurn(conversation, generation, generation.generation);
  generation.learnNothing();
}

// After a reset the stream goes on behind a hole: nothing that runs can be trusted to be whole.
export function doubt(conversation) {
  for (const generation of running(conversation)) generation.doubt();
}

// A question that this page asks: shown at once, before the hub has it.
export function ask(conversation, key, question) {
  const messages = nextMessages(conversation, question);
  const turn = newTurn(conversation, key);
  return Object.assign(turn, { question, messages });
}

// Makes the generation an answer of the turn with this key. Two turns that prove to be one (their
// key was learned late) are joined in the place of the earlier.
export function placeInTurn(conversation, generation, key) {
  const { turns } = conversation;
  const from = generation.turn;
  const to = turns.find((turn) => turn.key === key);
  if (from && (!to || to === from)) {
    from.key = key;
    return;
  }
  const turn = to ?? newTurn(conversation, key);
  if (from) {
    if (turns.indexOf(from) < turns.indexOf(turn)) {
      turns.splice(turns.indexOf(turn), 1);
      turns[turns.indexOf(from)] = turn;
    } else turns.splice(turns.indexOf(from), 1);
    turn.question ??= from.question;
  }
  for (const moved of from?.generations ?? [generation]) {
    moved.turn = turn;
    turn.generations.push(moved);
  }
  turn.generations.sort((a, b) => a.order - b.order);
}

export function generationOf(conversation, id) {
  const { generations } = conversation;
  if (!generations.has(id)) generations.set(id, new Generation(id, generations.size));
  return generations.get(id);
}

export function isSuperseded(generation) {
  return generation.turn !== null && generation.turn.generations.at(-1) !== generation;
}

export function running(conversation) {
  return [...conversation.generations.values()].filter((generation) => !generation.isEnded);
}

// The messages of the next question: the turns that were answered, and the question.
export function nextMessages(conversation, question) {
  const messages = [];
  for (const turn of conversation.turns.slice(-HISTORY_TURNS)) {
    const answer = turn.generations.at(-1);
    const counts = answer && (answer.status === "done" || answer.status === "stopped");
    if (!counts || !answer.text || !turn.question) continue;
    messages.push({ role: "user", content: turn.question });
    messages.push({ role: "assistant", content: answer.text });
  }
  return [...messages, { role: "user", content: question }];
}

function newTurn(conversation, key) {
  const turn = { key, question: null, messages: null, generations: [] };
  conversation.turns.push(turn);
  return turn;
}

function lastQuestion(messages) {
  const content = messages.findLast((message) => message.role === "user")?.content ?? "";
  return typeof content === "string" ? content : content.map((part) => part.text ?? "").join(" ");
}
