// The chat: applies the hub's events to the conversation, draws it, and sends the user's requests.
// hub.js and conversation.js interpret the events.

import { newIdempotencyKey } from "../hub.js";
import {
  acceptGap, addPrompt, applyEvent, applySnapshot, getGeneration, markGaps, newConversation,
  assignTurn, labelOf, runningGenerations,
} from "./conversation.js";
import { FactStore } from "./fact_store.js";
import { outcomeText } from "./input_form.js";
import { TurnList } from "./turn_list.js";

const BOTTOM_TOLERANCE_PX = 60;
const SNAPSHOT_RETRY_MS = 400;
const MAX_SNAPSHOT_ATTEMPTS = 5;
const HINTS = { simulated: "answers come from a simulated LLM", sample: "answers come from a sample agent" };

const $ = (id) => document.getElementById(id);

function errorText({ message, retryAfterSeconds }) {
  return retryAfterSeconds ? `${message.replace(/[^.!?]$/, "$&.")} Try again in ${retryAfterSeconds} s.` : message;
}

export class Chat {
  #conversation = newConversation();
  #stores = {
    firstTokens: new FactStore("firstTokens"), // generation → milliseconds
    turnKeys: new FactStore("turnKeys"), // restarted generation → the key of its turn
  };
  #requests = new Set(); // pending requests; each one learns the id of its generation
  #followsBottom = true;

  // announce(text): to screen readers. showMessage(text): in the header.
  constructor(hub, { user, announce, showMessage, copy }) {
    Object.assign(this, { hub, announce, showMessage });
    this.turns = new TurnList($("turns"), {
      user,
      actions: {
        stop: (generation) => this.stop(generation),
        restart: (generation) => this.restart(generation),
        respond: ({ generation }, input, value) => this.respond(generation, input, value),
        retry: (turn) => this.#send(turn),
        copy,
      },
      beforeDraw: () => (this.#followsBottom = this.isAtBottom()),
      onDraw: () => {
        $("empty").hidden = true;
        this.#showStop();
        if (this.#followsBottom) this.scrollToBottom();
        else $("latest").hidden = false;
      },
    });
  }

  get isEmpty() {
    return !this.#conversation.generations.size && !this.#conversation.turns.length;
  }

  isAtBottom() {
    const box = $("scroll");
    return box.scrollHeight - box.scrollTop - box.clientHeight < BOTTOM_TOLERANCE_PX;
  }

  scrollToBottom() {
    $("scroll").scrollTop = $("scroll").scrollHeight;
    $("latest").hidden = true;
  }

  // ---- events

  // Handles a generation.* event. isNew: it was not stored before this page started.
  onEvent(name, data, isNew) {
    const isOfApprovers = name.startsWith("generation.input_") && data.i === undefined;
    if (isOfApprovers && !this.#conversation.generations.has(data.generation)) return;
    const generation = applyEvent(this.#conversation, name, data, performance.now());
    if (generation.requestedAt && generation.firstTokenAt && !generation.firstTokenMs) {
      generation.firstTokenMs = generation.firstTokenAt - generation.requestedAt;
      this.#stores.firstTokens.put(generation.generation, generation.firstTokenMs);
    }
    this.#showLabel(generation);
    if (!generation.turn || generation.hasGap) this.#complete(generation);
    else this.#draw(generation);
    if (isNew) this.#announceProgress(name, data, generation);
  }

  // Handles hub.reset: events are missing.
  onReset({ channel, reason }) {
    this.turns.addGap(`${channel}: ${reason}`);
    markGaps(this.#conversation);
    for (const generation of runningGenerations(this.#conversation)) this.#complete(generation, { afterReset: true });
  }

  // The button in the composer stays in its place, while the one below an answer moves with the text.
  #showStop() {
    const isRunning = runningGenerations(this.#conversation).length > 0;
    const hadFocus = document.activeElement === $("stop");
    $("stop").hidden = !isRunning;
    if (hadFocus && !isRunning) $("composer").focus({ preventScroll: true });
  }

  #announceProgress(name, data, generation) {
    if (name === "generation.started" || name === "generation.restarted") this.announce("Answer started.");
    else if (name === "generation.part" && data.type === "status") this.announce(data.text);
    else if (name === "generation.input_requested" && data.i !== undefined) this.announce(`The answer asks: ${data.prompt}`);
    else if (name === "generation.input_received" || name === "generation.input_expired") {
      const part = generation.parts.find(({ type, input }) => type === "input" && input === data.input);
      if (part) this.announce(outcomeText(part));
    }
    else if (generation.isEnded) {
      const endings = { stopped: "Answer stopped.", failed: `Answer failed: ${generation.message}` };
      this.announce([generation.text, endings[generation.status]].filter(Boolean).join("\n"));
    }
  }

  #draw(generation) {
    this.turns.draw(generation.turn);
  }

  #showLabel(generation) {
    const label = labelOf(generation);
    if (!label) return;
    $("simulated").textContent = HINTS[label];
    $("simulated").hidden = false;
  }

  // Loads the question of an answer that was started in another tab or before a reload, and the text
  // that the log no longer holds.
  async #complete(generation, { afterReset = false } = {}) {
    if (generation.isLoading) return;
    generation.isLoading = true;
    await Promise.allSettled(this.#requests);
    const id = generation.generation;
    if (!generation.turn) {
      assignTurn(this.#conversation, generation, this.#stores.turnKeys.get(id) ?? id);
      generation.firstTokenMs ??= this.#stores.firstTokens.get(id);
      this.#draw(generation);
    }
    const isIncomplete = () => generation.hasGap || generation.turn.prompt === null;
    for (let attempts = 0; attempts < MAX_SNAPSHOT_ATTEMPTS && isIncomplete(); attempts += 1) {
      if (attempts) await new Promise((resolve) => setTimeout(resolve, SNAPSHOT_RETRY_MS * 2 ** (attempts - 1)));
      try {
        this.#applySnapshot(generation, await this.hub.getSnapshot(id));
      } catch (error) {
        if (error.isRetryable) continue;
        if (afterReset && !generation.isEnded) {
          const message = "The hub no longer stores this answer.";
          applyEvent(this.#conversation, "generation.failed", { generation: id, code: "gone", message });
        }
        break;
      }
    }
    // Show what is available.
    if (generation.hasGap) acceptGap(this.#conversation, generation);
    generation.turn.prompt ??= "(the question is no longer stored)";
    generation.isLoading = false;
    this.#draw(generation);
  }

  #applySnapshot(generation, snapshot) {
    const before = generation.turn;
    applySnapshot(this.#conversation, generation, snapshot);
    if (generation.turn !== before) this.turns.remove(before);
    this.#showLabel(generation);
    this.#draw(generation);
  }

  // ---- user actions

  ask(prompt) {
    this.#send(addPrompt(this.#conversation, newIdempotencyKey(), prompt));
  }

  stopAll() {
    for (const generation of runningGenerations(this.#conversation)) this.stop(generation);
  }

  // The turn's key is sent twice. As the idempotency key it makes retries safe. In the metadata it
  // survives a reload and is copied by a restart, so that all answers to one question are found.
  async #send(turn) {
    const { messages, key } = turn;
    Object.assign(turn, { isSending: true, error: null });
    this.turns.draw(turn);
    requestAnimationFrame(() => this.scrollToBottom());
    const requestedAt = performance.now();
    const { accepted } = this.hub.ask({ messages, id: key, metadata: { turn: key } });
    try {
      await this.#runRequest(accepted.then((id) => this.#addAnswer(id, turn, requestedAt)));
    } catch (error) {
      turn.error = errorText(error);
    }
    turn.isSending = false;
    this.turns.draw(turn);
  }

  async restart(generation) {
    if (generation.isRestarting) return;
    const { turn } = generation;
    const requestedAt = performance.now();
    generation.isRestarting = true;
    this.#draw(generation);
    const { accepted } = this.hub.restart(generation.generation);
    await this.#report(this.#runRequest(accepted.then((id) => {
      this.#addAnswer(id, turn, requestedAt);
      this.#stores.turnKeys.put(id, turn.key);
    })));
    generation.isRestarting = false;
    this.#draw(generation);
    requestAnimationFrame(() => this.scrollToBottom());
  }

  async stop(generation) {
    if (generation.isStopping) return;
    generation.isStopping = true;
    this.#draw(generation);
    if (await this.#report(this.hub.stop(generation.generation))) return; // the end event follows
    generation.isStopping = false;
    this.#draw(generation);
  }

  // Gives an answer the value of an input. The event of the hub shows it. Rejects with a sentence.
  async respond(generation, input, value) {
    try {
      await this.hub.respond(generation, input, value);
    } catch (error) {
      throw Object.assign(new Error(errorText(error)), { path: error.path });
    }
  }

  async #runRequest(request) {
    this.#requests.add(request);
    try {
      await request;
    } finally {
      this.#requests.delete(request);
    }
  }

  #addAnswer(id, turn, requestedAt) {
    const generation = getGeneration(this.#conversation, id);
    const before = generation.turn;
    generation.requestedAt ??= requestedAt;
    assignTurn(this.#conversation, generation, turn.key);
    if (before && before !== turn) this.turns.remove(before);
    if (generation.firstTokenAt) generation.firstTokenMs ??= generation.firstTokenAt - requestedAt;
    this.#draw(generation);
  }

  // Shows and announces the error of a request. Returns whether it succeeded.
  async #report(request) {
    try {
      await request;
      this.showMessage("");
      return true;
    } catch (error) {
      this.showMessage(errorText(error));
      this.announce(errorText(error));
      return false;
    }
  }
}
