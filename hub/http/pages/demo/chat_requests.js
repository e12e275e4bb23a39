// The user's requests in a chat: ask, stop, answer again, edit, send a message to a running answer,
// and give a value that an answer asks for. Each one can fail, which is shown where it was made.

import { newIdempotencyKey } from "../hub.js";
import { addPrompt, assignTurn, getGeneration, newestRunning, runningGenerations } from "./conversation.js";
import { topicOfChat } from "./chat_turns.js";
import { announce } from "./dom.js";
import { requestErrorText } from "./errors.js";

const MAX_TITLE_CHARS = 60;

export class ChatRequests {
  // showMessage(text): in the header. onAsk(): called when a question or an answer was added.
  // isNotifying(): whether the user's devices are notified when an answer is ready.
  constructor(hub, chat, { showMessage, onAsk, isNotifying }) {
    Object.assign(this, { hub, chat, showMessage, onAsk, isNotifying });
  }

  // editedTurn: the turn whose question was edited, or null.
  ask(prompt, editedTurn = null) {
    const { conversation, current } = this.chat;
    const turn = addPrompt(conversation, newIdempotencyKey(), prompt, { chat: current, edited: editedTurn });
    this.send(turn);
  }

  stopAll() {
    for (const generation of runningGenerations(this.chat.conversation)) this.stop(generation);
  }

  // The turn's key is sent twice. As the idempotency key it makes retries safe. In the metadata it
  // survives a reload and is copied by a restart, so that all answers to one question are found.
  async send(turn) {
    if (turn.isSending) return;
    const { messages, key, chat, replaces, prompt } = turn;
    const topic = topicOfChat(chat);
    const recipient = topic ? { to: { topic } } : chat && { chat };
    Object.assign(turn, { isSending: true, error: null });
    this.chat.draw(turn);
    this.onAsk();
    const sent = { at: performance.now(), resetCount: (turn.resetCount ??= this.chat.resetCount) };
    const metadata = { turn: key, title: prompt.slice(0, MAX_TITLE_CHARS), ...(replaces.length && { replaces }) };
    const notify = this.isNotifying() && { notify: true };
    try {
      const { accepted } = this.hub.ask({ messages, id: key, metadata, ...recipient, ...notify });
      await this.#run(accepted.then((id) => this.#addAnswer(id, turn, sent)));
    } catch (error) {
      turn.error = requestErrorText(error);
    }
    turn.isSending = false;
    this.chat.draw(turn);
  }

  async restart(generation) {
    if (generation.isRestarting) return;
    const { turn } = generation;
    const sent = { at: performance.now(), resetCount: this.chat.resetCount };
    generation.isRestarting = true;
    this.chat.draw(turn);
    const { accepted } = this.hub.restart(generation.generation);
    await this.#report(this.#run(accepted.then((id) => {
      this.#addAnswer(id, turn, sent);
      this.chat.stores.turnKeys.put(id, turn.key);
    })));
    generation.isRestarting = false;
    this.chat.draw(turn);
    this.onAsk();
  }

  async stop(generation) {
    if (generation.isStopping) return;
    generation.isStopping = true;
    if (generation.turn) this.chat.draw(generation.turn);
    if (await this.#report(this.hub.stop(generation.generation))) return; // the end event follows
    generation.isStopping = false;
    if (generation.turn) this.chat.draw(generation.turn);
  }

  // Sends a message to the newest answer of the chat that runs. The event of the hub shows it.
  async steer(message) {
    const generation = newestRunning(this.chat.conversation, this.chat.current);
    return generation !== null && this.#report(this.hub.steer(generation.generation, message));
  }

  // Gives an answer the value of an input. The event of the hub shows it. Rejects with a sentence.
  async respond(generation, input, value) {
    try {
      await this.hub.respond(generation, input, value);
    } catch (error) {
      throw Object.assign(new Error(requestErrorText(error)), { path: error.path });
    }
  }

  async #run(request) {
    this.chat.pending.add(request);
    try {
      await request;
    } finally {
      this.chat.pending.delete(request);
    }
  }

  // sent: when the request was sent, and how many resets there had been. Another one may have skipped events.
  #addAnswer(id, turn, sent) {
    const generation = getGeneration(this.chat.conversation, id);
    generation.requestedAt ??= sent.at;
    assignTurn(this.chat.conversation, generation, turn.key, turn.chat);
    if (generation.firstTokenAt) generation.firstTokenMs ??= generation.firstTokenAt - sent.at;
    if (sent.resetCount !== this.chat.resetCount) this.chat.loader.recover(generation);
    this.chat.draw(generation.turn);
  }

  // Shows and announces the error of a request. Returns whether it succeeded.
  async #report(request) {
    try {
      await request;
      this.showMessage("");
      return true;
    } catch (error) {
      this.showMessage(requestErrorText(error));
      announce(requestErrorText(error));
      return false;
    }
  }
}
