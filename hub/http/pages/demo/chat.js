// The chat: what is heard goes into the conversation, what is in the conversation is drawn, what
// the user does with it goes to the hub. What events mean is hub.js's and conversation.js's.

import { newKey } from "../hub.js";
import {
  apply, ask, doubt, generationOf, learn, learnNothing, newConversation, placeInTurn, running,
} from "./conversation.js";
import { Memory } from "./memory.js";
import { TurnList } from "./turns.js";

const AT_END_PX = 60;
const LOOK_AGAIN_MS = 400;
const LOOKS = 5;

const $ = (id) => document.getElementById(id);

// What went wrong, as one sentence or two.
function saidOf(error) {
  const { message, retryAfterSeconds } = error;
  return retryAfterSeconds ? `${message.replace(/[^.!?]$/, "$&.")} Try again in ${retryAfterSeconds} s.` : message;
}

export class Chat {
  #conversation = newConversation();
  #memory = {
    firstTokens: new Memory("firstTokens"), // generation → milliseconds
    turnKeys: new Memory("turnKeys"), // generation that was not asked for here → its turn's key
  };
  #requests = new Set(); // under way; each tells itself which generation is its own
  #followsEnd = true;

  // announce(text): to those who listen; tell(text): in the header's line
  constructor(hub, { user, announce, tell, copy }) {
    Object.assign(this, { hub, announce, tell });
    this.turns = new TurnList($("turns"), {
      user,
      actions: {
        stop: (generation) => this.stop(generation),
        restart: (generation) => this.restart(generation),
        retry: (turn) => this.#send(turn),
        copy,
      },
      beforeDraw: () => (this.#followsEnd = this.isAtEnd()),
      onDraw: () => {
        $("empty").hidden = true;
        if (this.#followsEnd) this.toEnd();
        else $("latest").hidden = false;
      },
    });
  }

  get isEmpty() {
    return !this.#conversation.generations.size && !this.#conversation.turns.length;
  }

  isAtEnd() {
    const box = $("scroll");
    return box.scrollHeight - box.scrollTop - box.clientHeight < AT_END_PX;
  }

  toEnd() {
    $("scroll").scrollTop = $("scroll").scrollHeight;
    $("latest").hidden = true;
  }

  // ---- what is heard

  // A generation.* event. isNews: it was not stored before this page came.
  hear(name, data, isNews) {
    const generation = apply(this.#conversation, name, data, performance.now());
    if (generation.askedAt && generation.firstAt && !generation.firstTokenMs) {
      generation.firstTokenMs = generation.firstAt - generation.askedAt;
      this.#memory.firstTokens.keep(generation.generation, generation.firstTokenMs);
    }
    this.#noteSimulation(generation);
    if (!generation.turn || generation.missing) this.#lookUp(generation);
    else this.#draw(generation);
    if (isNews) this.#announce(name, generation);
  }

  // hub.reset: events are gone.
  lose({ channel, reason }) {
    this.turns.addGap(`${channel}: ${reason}`);
    doubt(this.#conversation);
    for (const generation of running(this.#conversation)) this.#lookUp(generation, { afterReset: true });
  }

  #announce(name, generation) {
    if (name === "generation.started" || name === "generation.restarted") this.announce("Answer started.");
    else if (generation.isEnded) {
      const ending = { stopped: "Answer stopped.", failed: `Answer failed: ${generation.message}` };
      this.announce([generation.text, ending[generation.status]].filter(Boolean).join("\n"));
    }
  }

  #draw(generation) {
    this.turns.draw(generation.turn);
  }

  #noteSimulation({ model }) {
    if (model.startsWith("simulated")) $("simulated").hidden = false;
  }

  // The question of an answer that was begun in another tab or before a reload, and the text that
  // the log no longer holds.
  async #lookUp(generation, { afterReset = false } = {}) {
    if (generation.isLookedUp) return;
    generation.isLookedUp = true;
    await Promise.allSettled(this.#requests);
    const id = generation.generation;
    if (!generation.turn) {
      placeInTurn(this.#conversation, generation, this.#memory.turnKeys.recall(id) ?? id);
      generation.firstTokenMs ??= this.#memory.firstTokens.recall(id);
      this.#draw(generation);
    }
    for (let looks = 0; looks < LOOKS && (generation.missing || generation.turn.question === null); looks += 1) {
      if (looks) await new Promise((wake) => setTimeout(wake, LOOK_AGAIN_MS * 2 ** (looks - 1)));
      try {
        this.#learn(generation, await this.hub.look(id));
      } catch (error) {
        if (error.passes) continue;
        if (afterReset && !generation.isEnded) {
          const message = "The hub no longer knows this answer.";
          apply(this.#conversation, "generation.failed", { generation: id, code: "gone", message });
        }
        break;
      }
    }
    // What could not be had is shown without it.
    if (generation.missing) learnNothing(this.#conversation, generation);
    generation.turn.question ??= "(the question is no longer stored)";
    generation.isLookedUp = false;
    this.#draw(generation);
  }

  #learn(generation, found) {
    const before = generation.turn;
    learn(this.#conversation, generation, found);
    if (generation.turn !== before) this.turns.drop(before);
    this.#noteSimulation(generation);
    this.#draw(generation);
  }

  // ---- what the user does

  ask(question) {
    this.#send(ask(this.#conversation, newKey(), question));
  }

  stopAll() {
    for (const generation of running(this.#conversation)) this.stop(generation);
  }

  // The turn's key goes along twice. As the idempotency key it makes trying again harmless. In the
  // metadata it outlives a reload and is copied by a restart, so that all the answers to one
  // question are found again.
  async #send(turn) {
    const { messages, key } = turn;
    Object.assign(turn, { sending: true, fault: null });
    this.turns.draw(turn);
    requestAnimationFrame(() => this.toEnd());
    const askedAt = performance.now();
    const { accepted } = this.hub.ask({ messages, id: key, metadata: { turn: key } });
    try {
      await this.#underWay(accepted.then((id) => this.#adopt(id, turn, askedAt)));
    } catch (error) {
      turn.fault = saidOf(error);
    }
    turn.sending = false;
    this.turns.draw(turn);
  }

  async restart(generation) {
    if (generation.restarting) return;
    const { turn } = generation;
    const askedAt = performance.now();
    generation.restarting = true;
    this.#draw(generation);
    const { accepted } = this.hub.restart(generation.generation);
    await this.#told(this.#underWay(accepted.then((id) => {
      this.#adopt(id, turn, askedAt);
      this.#memory.turnKeys.keep(id, turn.key);
    })));
    generation.restarting = false;
    this.#draw(generation);
    requestAnimationFrame(() => this.toEnd());
  }

  async stop(generation) {
    if (generation.stopping) return;
    generation.stopping = true;
    this.#draw(generation);
    if (await this.#told(this.hub.stop(generation.generation))) return; // its end comes in the stream
    generation.stopping = false;
    this.#draw(generation);
  }

  async #underWay(request) {
    this.#requests.add(request);
    try {
      await request;
    } finally {
      this.#requests.delete(request);
    }
  }

  #adopt(id, turn, askedAt) {
    const generation = generationOf(this.#conversation, id);
    const before = generation.turn;
    generation.askedAt ??= askedAt;
    placeInTurn(this.#conversation, generation, turn.key);
    if (before && before !== turn) this.turns.drop(before);
    if (generation.firstAt) generation.firstTokenMs ??= generation.firstAt - askedAt;
    this.#draw(generation);
  }

  // What went wrong is said in the header's line and read out; returns whether all went well.
  async #told(request) {
    try {
      await request;
      this.tell("");
      return true;
    } catch (error) {
      this.tell(saidOf(error));
      this.announce(saidOf(error));
      return false;
    }
  }
}
