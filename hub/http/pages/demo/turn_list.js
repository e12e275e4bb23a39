// Draws the turns of one chat as elements.
//
// draw() may be called for every event. Drawing happens at most once per frame.

import { cloneTemplate, createAnswer, drawAnswer } from "./answer_view.js";
import { $ } from "./dom.js";

const BOTTOM_TOLERANCE_PX = 60;

export class TurnList {
  #turns = new Map(); // turn → its elements
  #answers = new Map(); // generation → its elements
  #pending = new Set(); // turns to draw in the next frame

  // actions: stop(generation), restart(generation), respond(generation, input, value), retry(turn),
  // edit(turn), copy(text, button). isReplaced(turn): whether an edit has replaced it.
  // onDraw(): called after the drawing of a frame.
  constructor(root, { user, actions, isReplaced, onDraw }) {
    Object.assign(this, { root, user, actions, isReplaced, onDraw });
    $("latest").addEventListener("click", () => this.scrollToBottom());
    $("scroll").addEventListener("scroll", () => { if (this.#isAtBottom()) $("latest").hidden = true; });
  }

  draw(turn) {
    if (!this.#pending.size) requestAnimationFrame(() => this.#drawAll());
    this.#pending.add(turn);
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

  scrollToBottom() {
    $("scroll").scrollTop = $("scroll").scrollHeight;
    $("latest").hidden = true;
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

  #isAtBottom() {
    const box = $("scroll");
    return box.scrollHeight - box.scrollTop - box.clientHeight < BOTTOM_TOLERANCE_PX;
  }

  #drawAll() {
    if (!this.#pending.size) return; // the list was cleared
    const followsBottom = this.#isAtBottom();
    for (const turn of this.#pending) this.#drawTurn(turn);
    this.#pending.clear();
    this.onDraw();
    if (followsBottom) this.scrollToBottom();
    else $("latest").hidden = false;
  }

  #drawTurn(turn) {
    const elements = this.#turns.get(turn) ?? this.#addTurn(turn);
    const isReplaced = this.isReplaced(turn);
    elements.root.classList.toggle("replaced", isReplaced);
    elements.prompt.textContent = turn.prompt ?? "";
    elements.prompt.hidden = !turn.prompt;
    const requester = turn.generations.find((generation) => generation.requester)?.requester;
    elements.requester.textContent = isReplaced ? "replaced by an edit" : requester ?? "";
    elements.requester.hidden = !elements.requester.textContent;
    elements.edit.hidden = !turn.messages || turn.isSending || isReplaced;
    elements.sending.hidden = !turn.isSending;
    elements.unsent.hidden = !turn.error;
    elements.unsent.firstElementChild.textContent = turn.error ?? "";
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
