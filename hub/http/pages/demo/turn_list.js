// Draws the turns of one chat as elements.
//
// draw() may be called for every event. frame_pace.js says when that is done.

import { cloneTemplate, createAnswer, drawAnswer } from "./answer_view.js";
import { $, setHidden, setText } from "./dom.js";
import { FramePace } from "./frame_pace.js";
import { ScrollFollower } from "./scroll_follower.js";

export class TurnList {
  #turns = new Map(); // turn → its elements
  #answers = new Map(); // generation → its elements
  #pending = new Set(); // turns to draw in the next frame
  #pace = new FramePace(() => this.#drawAll());

  // actions: stop(generation), restart(generation), respond(generation, input, value), retry(turn),
  // edit(turn), copy(text, button). isReplaced(turn): whether an edit has replaced it.
  // onDraw(): called after the drawing of a frame.
  constructor(root, { user, actions, isReplaced, onDraw }) {
    Object.assign(this, { root, user, actions, isReplaced, onDraw });
    this.follower = new ScrollFollower($("scroll"), root, $("latest"));
  }

  draw(turn) {
    this.#pending.add(turn);
    this.#pace.request();
  }

  // Removes a turn that was merged into another. Its answers move when that one is drawn.
  remove(turn) {
    this.#pending.delete(turn);
    this.#turns.get(turn)?.root.remove();
    this.#turns.delete(turn);
  }

  clear() {
    this.#pending.clear();
    this.#turns.clear();
    this.#answers.clear();
    this.root.replaceChildren();
  }

  // Shows that events are no longer stored. Resets of several channels at once share one line.
  addGap(reason) {
    let gap = this.root.lastElementChild;
    if (gap?.className !== "gap") {
      gap = document.createElement("li");
      gap.className = "gap";
      this.root.append(gap);
    }
    gap.dataset.reasons = gap.dataset.reasons ? `${gap.dataset.reasons}, ${reason}` : reason;
    gap.textContent = `Some history is no longer stored (${gap.dataset.reasons})`;
  }

  #drawAll() {
    if (!this.#pending.size) return; // the list was cleared
    for (const turn of this.#pending) this.#drawTurn(turn);
    this.#pending.clear();
    this.onDraw();
  }

  #drawTurn(turn) {
    const elements = this.#turns.get(turn) ?? this.#addTurn(turn);
    const isReplaced = this.isReplaced(turn);
    elements.root.classList.toggle("replaced", isReplaced);
    setText(elements.prompt, turn.prompt ?? "");
    setHidden(elements.prompt, !turn.prompt);
    const requester = turn.generations.find((generation) => generation.requester)?.requester;
    setText(elements.requester, isReplaced ? "replaced by an edit" : requester ?? "");
    setHidden(elements.requester, !elements.requester.textContent);
    setHidden(elements.edit, !turn.messages || turn.isSending || isReplaced);
    setHidden(elements.sending, !turn.isSending);
    setHidden(elements.unsent, !turn.error);
    setText(elements.unsent.firstElementChild, turn.error ?? "");
    for (const generation of turn.generations) {
      const answer = this.#answers.get(generation) ?? this.#addAnswer(generation);
      if (answer.root.parentNode !== elements.answers) elements.answers.append(answer.root);
      drawAnswer(answer, generation, this.user);
    }
    // An answer whose turn became known late may belong before one that is already shown.
    const inOrder = turn.generations.map((generation) => this.#answers.get(generation).root);
    if (inOrder.some((root, index) => elements.answers.children[index] !== root)) elements.answers.append(...inOrder);
  }

  #addTurn(turn) {
    const elements = cloneTemplate("turn", ["requester", "prompt", "edit", "sending", "unsent", "answers"]);
    elements.unsent.lastElementChild.addEventListener("click", () => this.actions.retry(turn));
    elements.edit.addEventListener("click", () => this.actions.edit(turn));
    this.#turns.set(turn, elements);
    this.root.append(elements.root);
    return elements;
  }

  #addAnswer(generation) {
    const elements = createAnswer(generation, this.actions);
    this.#answers.set(generation, elements);
    return elements;
  }
}
