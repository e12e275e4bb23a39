// The chat: applies the hub's events to the conversation, and draws the turns of the chat that is
// shown. hub.js and conversation.js interpret the events; chat_requests.js sends the user's requests.

import { announceProgress } from "./announcements.js";
import { AnswerLoader } from "./answer_loader.js";
import { replacedTurns, turnsOf } from "./chat_turns.js";
import {
  applyEntry, applyEvent, getGeneration, labelOf, newConversation, newestRunning, runningGenerations,
} from "./conversation.js";
import { $, setHidden, setText } from "./dom.js";
import { FactStore } from "./fact_store.js";
import { TurnList } from "./turn_list.js";

const HINTS = { simulated: "answers come from a simulated LLM", sample: "answers come from a sample agent" };

export class Chat {
  conversation = newConversation();
  pending = new Set(); // requests; each one learns the id of its generation
  isReady = false; // whether it is known that a chat without answers is empty
  stores = {
    firstTokens: new FactStore("firstTokens"), // generation → milliseconds
    turnKeys: new FactStore("turnKeys"), // restarted generation → the key of its turn
  };
  loader = new AnswerLoader(this);
  resetCount = 0; // how often events were lost
  #isReplayed = false; // whether all stored events have arrived

  // list: the ChatList. current: the chat that is shown. topic: whose answers are shown, too.
  // actions: of TurnList. onDraw(isRunning, canSteer): called after a frame was drawn.
  constructor(hub, { list, current, topic, user, actions, onDraw }) {
    Object.assign(this, { hub, list, current, topic });
    const listed = () => turnsOf(this.conversation, this.current);
    const replaced = () => replacedTurns(this.conversation, this.current);
    this.turns = new TurnList($("turns"), { user, actions, listed, replaced, onDraw: () => {
      setHidden($("empty"), !this.isReady || listed().length > 0 || list.generationsOf(this.current).length > 0);
      const isRunning = runningGenerations(this.conversation).length > 0;
      onDraw(isRunning, newestRunning(this.conversation, this.current) !== null);
    } });
    hub.ready.then(() => {
      this.#isReplayed = true;
      this.onList();
    });
  }

  // Shows another chat.
  show(chat) {
    this.current = chat;
    this.turns.clear();
    this.onList();
    turnsOf(this.conversation, chat).forEach((turn) => {
      turn.generations.forEach((generation) => this.loader.complete(generation));
      this.draw(turn);
    });
  }

  // Handles a new list of answers: it dates them. Those of the chat whose events are no longer stored are loaded.
  onList() {
    for (const id of this.#isReplayed ? this.list.generationsOf(this.current) : []) {
      if (this.conversation.generations.has(id)) continue;
      const isNew = !this.resetCount && this.list.entryOf(id).status === "queued"; // all its events will arrive
      const generation = getGeneration(this.conversation, id);
      if (isNew) this.loader.complete(generation);
      else this.loader.recover(generation);
    }
    for (const generation of this.conversation.generations.values()) {
      const entry = generation.turn && this.list.entryOf(generation.generation);
      if (entry) applyEntry(this.conversation, generation, entry);
    }
    this.turns.update();
  }

  // Shows the introduction in a chat that has no answers.
  onReady() {
    this.isReady = true;
    this.turns.update();
  }

  // Handles a generation.* event. isNew: it was not stored before this page started.
  onEvent(name, data, isNew) {
    const isOfApprovers = name.startsWith("generation.input_") && data.i === undefined;
    if (isOfApprovers && !this.conversation.generations.has(data.generation)) return;
    const generation = applyEvent(this.conversation, name, data, performance.now());
    if (generation.requestedAt && generation.firstTokenAt && !generation.firstTokenMs) {
      generation.firstTokenMs = generation.firstTokenAt - generation.requestedAt;
      this.stores.firstTokens.put(generation.generation, generation.firstTokenMs);
    }
    if (!generation.turn || generation.hasGap) this.loader.complete(generation);
    if (generation.turn) this.draw(generation.turn);
    if (isNew && (generation.turn?.chat ?? this.current) === this.current) announceProgress(name, data, generation);
  }

  // Handles hub.reset: events are missing, and perhaps all those of an answer.
  onReset({ channel, reason }) {
    this.resetCount += 1;
    this.turns.addGap(`${channel}: ${reason}`);
    runningGenerations(this.conversation).forEach((generation) => this.loader.recover(generation));
    this.list.load();
  }

  draw(turn) {
    this.turns.update();
    if (turn.chat !== this.current) return;
    turn.generations.forEach((generation) => this.#showLabel(generation));
    this.turns.draw(turn);
  }

  #showLabel(generation) {
    const label = labelOf(generation);
    if (!label) return;
    setText($("simulated"), HINTS[label]);
    setHidden($("simulated"), false);
  }
}
