// Draws the conversation of conversation.js as elements.
//
// draw() may be called for every event. Drawing happens at most once per frame.

import { isSuperseded, labelOf } from "./conversation.js";
import { PartsList } from "./parts_list.js";

const LONG_TEXT_CHARS = 240; // a superseded answer of more characters, or of more parts, is folded
const LONG_PARTS = 3;
const UNUSUAL_FINISHES = { length: "cut at its length limit", content_filter: "cut by a content filter" };

export class TurnList {
  #turns = new Map(); // turn → its elements
  #answers = new Map(); // generation → its elements
  #pending = new Set(); // turns to draw in the next frame

  // actions: stop(generation), restart(generation), respond(generation, input, value), retry(turn),
  // copy(text, button)
  // beforeDraw(), onDraw(): called before and after the drawing of a frame
  constructor(root, { user, actions, beforeDraw, onDraw }) {
    Object.assign(this, { root, user, actions, beforeDraw, onDraw });
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
    this.beforeDraw();
    for (const turn of this.#pending) this.#drawTurn(turn);
    this.#pending.clear();
    this.onDraw();
  }

  #drawTurn(turn) {
    const elements = this.#turns.get(turn) ?? this.#addTurn(turn);
    elements.prompt.textContent = turn.prompt ?? "";
    elements.prompt.hidden = !turn.prompt;
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
    const elements = cloneTemplate("turn", ["prompt", "sending", "unsent", "answers"]);
    elements.unsent.lastElementChild.addEventListener("click", () => this.actions.retry(turn));
    this.#turns.set(turn, elements);
    this.root.append(elements.root);
    return elements;
  }

  #addAnswer(generation) {
    const elements = cloneTemplate("answer", ["model", "badge", "status", "partial", "parts",
      "waiting", "error", "more", "stop", "restart", "copy", "figures"]);
    elements.parts = new PartsList(elements.parts, (input, value) => this.actions.respond(generation, input, value));
    elements.stop.addEventListener("click", () => this.actions.stop(generation));
    elements.restart.addEventListener("click", () => this.actions.restart(generation));
    elements.copy.addEventListener("click", () => this.actions.copy(generation.text, elements.copy.lastElementChild));
    elements.more.addEventListener("click", () => {
      const isOpen = elements.root.classList.toggle("open");
      elements.more.textContent = isOpen ? "Show less" : "Show all";
      elements.more.setAttribute("aria-expanded", String(isOpen));
    });
    this.#answers.set(generation, elements);
    return elements;
  }
}

function cloneTemplate(template, names) {
  const root = document.getElementById(template).content.firstElementChild.cloneNode(true);
  return { root, ...Object.fromEntries(names.map((name) => [name, root.querySelector(`.${name}`)])) };
}

function drawAnswer(elements, generation, user) {
  const isRunning = !generation.isEnded;
  const superseded = isSuperseded(generation);
  elements.root.dataset.status = generation.status;
  elements.root.dataset.generation = generation.generation;
  elements.root.classList.toggle("superseded", superseded);
  elements.root.setAttribute("aria-busy", String(isRunning));
  elements.root.setAttribute("aria-label", superseded ? "Superseded answer" : "Answer");
  elements.model.textContent = generation.model;
  elements.badge.textContent = labelOf(generation) ?? "";
  elements.badge.hidden = !labelOf(generation);
  elements.status.textContent = statusText(generation, user);
  elements.partial.hidden = !generation.isPartial;
  const { parts, text } = generation;
  elements.parts.draw(parts, isRunning);
  elements.waiting.hidden = !isRunning || parts.length > 0;
  elements.error.hidden = !generation.message;
  elements.error.textContent = generation.message ? `${generation.message} (${generation.code})` : "";
  const isLong = text.length > LONG_TEXT_CHARS || parts.length > LONG_PARTS;
  elements.root.classList.toggle("long", isLong);
  elements.more.hidden = !superseded || !isLong;
  keepFocus(elements, isRunning);
  setBusy(elements.stop, generation.isStopping);
  elements.restart.hidden = superseded;
  setBusy(elements.restart, generation.isRestarting);
  elements.copy.hidden = !text;
  elements.figures.textContent = figuresText(generation);
}

// `disabled` would remove the focus from a button that was just pressed.
function setBusy(button, isBusy) {
  button.setAttribute("aria-disabled", String(Boolean(isBusy)));
}

// Hiding a focused button would move the keyboard focus to the top of the page.
function keepFocus(elements, isRunning) {
  const hadFocus = document.activeElement === elements.stop;
  elements.stop.hidden = !isRunning;
  if (hadFocus && !isRunning) (elements.restart.hidden ? elements.copy : elements.restart).focus();
}


function statusText(generation, user) {
  const { status, by, attempt, finishReason, isStopping } = generation;
  const suffix = attempt > 1 ? ` · attempt ${attempt}` : "";
  const labels = {
    queued: "queued",
    running: isStopping ? "stopping…" : `answering${suffix}`,
    waiting: isStopping ? "stopping…" : `waiting for an input${suffix}`,
    done: UNUSUAL_FINISHES[finishReason] ?? "",
    stopped: !by || by === user ? "stopped" : `stopped by ${by}`,
    failed: "failed",
  };
  return [isSuperseded(generation) && "superseded", labels[status]].filter(Boolean).join(" · ");
}

function figuresText({ firstTokenMs, deltas, usage }) {
  const tokens = usage?.completion_tokens;
  return [
    firstTokenMs !== undefined && `first token ${Math.round(firstTokenMs)} ms`,
    deltas > 0 && `${deltas} ${deltas === 1 ? "delta" : "deltas"}`,
    tokens !== undefined && tokens !== null && `${tokens} tokens`,
  ].filter(Boolean).join(" · ");
}
