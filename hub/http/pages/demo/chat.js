// The chat: applies the hub's events to the conversation, and draws the turns of the chat that is
// shown. hub.js and conversation.js interpret the events; chat_requests.js sends the user's requests.

import {
  acceptGap, applyEvent, applySnapshot, assignTurn, getGeneration, labelOf, markGaps, newConversation, newestRunning,
  runningGenerations,
} from "./conversation.js";
import { chatOfTopic, isReplaced, turnsOf } from "./chat_turns.js";
import { announce, $, setHidden, setText } from "./dom.js";
import { FactStore } from "./fact_store.js";
import { outcomeText } from "./input_form.js";
import { TurnList } from "./turn_list.js";

const SNAPSHOT_RETRY_MS = 400;
const MAX_SNAPSHOT_ATTEMPTS = 5;
const HINTS = { simulated: "answers come from a simulated LLM", sample: "answers come from a sample agent" };

export class Chat {
  conversation = newConversation();
  pending = new Set(); // requests; each one learns the id of its generation
  stores = {
    firstTokens: new FactStore("firstTokens"), // generation → milliseconds
    turnKeys: new FactStore("turnKeys"), // restarted generation → the key of its turn
  };

  // list: the ChatList. current: the chat that is shown. topic: whose answers are shown, too.
  // actions: of TurnList. onDraw(isRunning, canSteer): called after a frame was drawn.
  constructor(hub, { list, current, topic, user, actions, onDraw }) {
    Object.assign(this, { hub, list, current, topic });
    const isSuperseded = (turn) => isReplaced(this.conversation, turn);
    const listed = () => turnsOf(this.conversation, this.current);
    this.turns = new TurnList($("turns"), { user, actions, listed, isReplaced: isSuperseded, onDraw: () => {
      setHidden($("empty"), true);
      const isRunning = runningGenerations(this.conversation).length > 0;
      onDraw(isRunning, newestRunning(this.conversation, this.current) !== null);
    } });
  }

  get isEmpty() {
    return !turnsOf(this.conversation, this.current).length;
  }

  // Shows another chat. Answers of it that this page has not seen are loaded.
  async show(chat) {
    this.current = chat;
    this.turns.clear();
    setHidden($("empty"), !this.isEmpty || this.list.generationsOf(chat).length > 0);
    turnsOf(this.conversation, chat).forEach((turn) => this.draw(turn));
    for (const id of this.list.generationsOf(chat)) {
      const isNew = !this.conversation.generations.has(id);
      const generation = getGeneration(this.conversation, id);
      if (isNew) generation.markGap();
      if (isNew || generation.turn?.prompt === null) this.complete(generation);
    }
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
    if (!generation.turn || generation.hasGap) this.complete(generation);
    else this.draw(generation.turn);
    if (isNew && (generation.turn?.chat ?? this.current) === this.current) announceProgress(name, data, generation);
  }

  // Handles hub.reset: events are missing.
  onReset({ channel, reason }) {
    this.turns.addGap(`${channel}: ${reason}`);
    markGaps(this.conversation);
    for (const generation of runningGenerations(this.conversation)) this.complete(generation, { afterReset: true });
  }

  draw(turn) {
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

  // Loads the question of an answer that was started in another tab or before a reload, and the text
  // that the log no longer holds. Of another chat, that waits until the chat is shown.
  async complete(generation, { afterReset = false } = {}) {
    if (generation.isLoading) return;
    generation.isLoading = true;
    await Promise.allSettled([...this.pending, this.list.loaded]);
    const id = generation.generation;
    if (!generation.turn) {
      if (!generation.requester && !this.list.entryOf(id)) await this.list.load();
      const listed = this.list.entryOf(id);
      assignTurn(this.conversation, generation, this.stores.turnKeys.get(id) ?? listed?.metadata?.turn ?? id);
      generation.turn.chat ||= generation.requester ? chatOfTopic(this.topic) : listed?.chat ?? "";
      generation.firstTokenMs ??= this.stores.firstTokens.get(id);
      this.draw(generation.turn);
    }
    const isIncomplete = () => generation.hasGap || generation.turn.prompt === null;
    const isShown = () => generation.turn.chat === this.current;
    for (let attempts = 0; attempts < MAX_SNAPSHOT_ATTEMPTS && isIncomplete() && isShown(); attempts += 1) {
      if (attempts) await new Promise((resolve) => setTimeout(resolve, SNAPSHOT_RETRY_MS * 2 ** (attempts - 1)));
      try {
        this.#applySnapshot(generation, await this.hub.getSnapshot(id));
      } catch (error) {
        if (error.isRetryable) continue;
        if (afterReset && !generation.isEnded) {
          applyEvent(this.conversation, "generation.failed", { generation: id, code: "not_stored", message: "" });
        }
        break;
      }
    }
    generation.isLoading = false;
    if (!isShown()) return;
    // Show what is available.
    if (generation.hasGap) acceptGap(this.conversation, generation);
    generation.turn.prompt ??= "(the question is no longer stored)";
    this.draw(generation.turn);
  }

  #applySnapshot(generation, snapshot) {
    const before = generation.turn;
    applySnapshot(this.conversation, generation, snapshot);
    if (generation.turn !== before || generation.turn.chat !== this.current) this.turns.remove(before);
    this.draw(generation.turn);
  }
}

function announceProgress(name, data, generation) {
  if (name === "generation.started") announce("Answer started.");
  else if (name === "generation.restarted") announce("The answer begins anew.");
  else if (name === "generation.continued") announce("The answer continues.");
  else if (name === "generation.part" && data.type === "status") announce(data.text);
  else if (name === "generation.input_requested" && data.i !== undefined) announce(`The answer asks: ${data.prompt}`);
  else if (name === "generation.input_received" || name === "generation.input_expired") {
    const part = generation.parts.find(({ type, input }) => type === "input" && input === data.input);
    if (part) announce(outcomeText(part));
  } else if (generation.isEnded) {
    const endings = { stopped: "Answer stopped.", failed: `Answer failed: ${generation.message}` };
    announce([generation.text, endings[generation.status]].filter(Boolean).join("\n"));
  }
}
