// Loads what the events do not say of an answer that was started in another tab or before a reload: its
// question, its chat, and the text that the log no longer holds.

import { chatOfTopic } from "./chat_turns.js";
import { applyEntry, applyEvent, applySnapshot, assignTurn } from "./conversation.js";

const RETRY_MS = 400;
const MAX_RETRY_MS = 10_000;

export class AnswerLoader {
  #skipped = new Set(); // generations whose ends may be among the lost events

  constructor(chat) {
    this.chat = chat;
  }

  // Events of an answer that had not ended may be lost.
  recover(generation) {
    if (generation.isEnded) return;
    generation.markGap();
    this.#skipped.add(generation);
    this.complete(generation);
  }

  // The text of an answer in another chat waits until that chat is shown.
  async complete(generation) {
    if (generation.isLoading) return;
    generation.isLoading = true;
    const { list, pending } = this.chat;
    await Promise.allSettled([...pending, list.loaded]);
    if (!generation.turn && !this.#isOfOther(generation) && !list.entryOf(generation.generation)) await list.load();
    this.#assignListed(generation);
    for (let attempts = 0; this.#isIncomplete(generation); attempts += 1) {
      if (attempts) await new Promise((resolve) => setTimeout(resolve, Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** (attempts - 1))));
      await this.#loadSnapshot(generation);
    }
    generation.isLoading = false;
  }

  // Whether an answer of another chat still runs is seen as well.
  #isIncomplete(generation) {
    const { turn, hasGap } = generation;
    return !turn || this.#skipped.has(generation) || (turn.chat === this.chat.current && (hasGap || turn.prompt === null));
  }

  #assignListed(generation) {
    const { conversation, list, stores, topic } = this.chat;
    const id = generation.generation;
    const entry = list.entryOf(id);
    generation.firstTokenMs ??= stores.firstTokens.get(id);
    if (entry) applyEntry(conversation, generation, entry, stores.turnKeys.get(id));
    else if (this.#isOfOther(generation)) assignTurn(conversation, generation, id, chatOfTopic(topic));
    if (generation.turn) this.chat.draw(generation.turn);
  }

  // Whether another user of the topic has asked: it is in no list of this user.
  #isOfOther({ requester }) {
    return requester !== null && requester !== this.chat.hub.state.open?.user;
  }

  // What the hub refuses is shown as far as it is known.
  async #loadSnapshot(generation) {
    const { conversation, hub } = this.chat;
    const { generation: id } = generation;
    const { resetCount } = this.chat;
    try {
      const snapshot = await hub.getSnapshot(id);
      if (resetCount !== this.chat.resetCount) return; // it may lack what the reset has skipped
      applySnapshot(conversation, generation, snapshot);
    } catch (error) {
      if (error.isRetryable) return;
      if (this.#skipped.has(generation) && !generation.isEnded) applyEvent(conversation, "generation.failed", { generation: id, code: "not_stored", message: "" });
      assignTurn(conversation, generation, id, "");
      generation.acceptGap();
      generation.turn.prompt ??= "(the question is no longer stored)";
    }
    this.#skipped.delete(generation);
    this.chat.draw(generation.turn);
  }
}
