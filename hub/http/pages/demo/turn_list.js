// Draws the turns of one chat as elements.
//
// draw() may be called for every event. frame_pace.js says when that is done.

import { cloneTemplate, createAnswer, drawAnswer } from "./answer_view.js";
import { isUnsent } from "./chat_turns.js";
import { $, setHidden, setText } from "./dom.js";
import { EarlierTurns } from "./earlier_turns.js";
import { FramePace } from "./frame_pace.js";
import { ScrollFollower } from "./scroll_follower.js";

export class TurnList {
  #turns = new Map(); // turn → its elements
  #answers = new Map(); // generation → its elements
  #pending = new Set(); // turns to draw in the next frame
  #pace = new FramePace(() => this.#drawAll());

  // actions: stop(generation), restart(generation), respond(generation, input, value), retry(turn),
  // edit(turn), copy(text, button). listed(): all turns of the chat, in their order. replaced(): the set
  // of those that edits have replaced. onDraw(): called after the drawing of a frame.
  constructor(root, { user, actions, listed, replaced, onDraw }) {
    Object.assign(this, { root, user, actions, listed, replaced, onDraw });
    this.earlier = new EarlierTurns(root, listed, () => this.#showEarlier());
    this.follower = new ScrollFollower($("scroll"), root, $("latest"));
  }

  draw(turn) {
    this.#pending.add(turn);
    this.update();
  }

  // Asks for a frame, also if no turn of the chat has changed: onDraw() shows what else has.
  update() {
    this.#pace.request();
  }

  clear() {
    this.#pending.clear();
    this.#turns.clear();
    this.#answers.clear();
    this.root.replaceChildren();
    this.earlier.clear();
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
    const replaced = this.replaced();
    // One turn may replace others, also when it becomes known after they were drawn.
    for (const [turn, { root }] of this.#turns) if (isMarked(root) !== replaced.has(turn)) this.#pending.add(turn);
    const turns = [...this.#pending].filter((turn) => !this.earlier.has(turn));
    this.#pending.clear();
    for (const turn of turns) this.#drawTurn(turn, replaced.has(turn));
    this.#arrange();
    if (this.follower.isFollowing) this.earlier.hide(turns).forEach((turn) => this.#hide(turn));
    this.onDraw();
  }

  #drawTurn(turn, isReplaced) {
    const elements = this.#turns.get(turn) ?? this.#addTurn(turn);
    elements.root.classList.toggle("replaced", isReplaced);
    setText(elements.prompt, turn.prompt ?? "");
    setHidden(elements.prompt, !turn.prompt);
    const requester = turn.generations.find((generation) => generation.requester)?.requester;
    setText(elements.requester, isReplaced ? "replaced by an edit" : requester ?? "");
    setHidden(elements.requester, !elements.requester.textContent);
    setHidden(elements.edit, !turn.messages || turn.isSending || isReplaced);
    setHidden(elements.sending, !turn.isSending);
    setHidden(elements.unsent, !isUnsent(turn));
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

  // The order of the turns is known late, and new elements are at the end. The others stay, since the
  // keyboard focus does not move with an element.
  #arrange() {
    const focused = document.activeElement;
    let next = null;
    for (const turn of this.listed().reverse()) {
      const root = this.#turns.get(turn)?.root;
      if (!root) continue;
      if (nextTurn(root) !== next) this.root.insertBefore(root, next);
      next = root;
    }
    if (this.root.contains(focused)) focused.focus({ preventScroll: true });
  }

  // Removes the elements of a turn that stays in the conversation.
  #hide(turn) {
    this.#turns.get(turn)?.root.remove();
    this.#turns.delete(turn);
    for (const generation of turn.generations) this.#answers.delete(generation);
  }

  // Draws turns above the others. The first of these stays in view: nothing of the new ones is, because
  // the browser would keep their beginning in its place when it knows their height.
  #showEarlier() {
    const first = this.root.querySelector(".turn");
    const replaced = this.replaced();
    let last = null;
    for (last of this.earlier.takeMore()) this.#drawTurn(last, replaced.has(last));
    this.#arrange();
    first?.scrollIntoView({ block: "start" });
    this.#turns.get(last)?.root.focus({ preventScroll: true });
  }

  #addTurn(turn) {
    this.earlier.forget(turn);
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

function nextTurn(root) {
  let next = root.nextElementSibling;
  while (next && next.className === "gap") next = next.nextElementSibling;
  return next;
}

function isMarked(root) {
  return root.classList.contains("replaced");
}
