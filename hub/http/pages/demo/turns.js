// The conversation as elements. Draws what conversation.js holds; decides nothing.
//
// Drawing is asked for as often as events come and done at most once per frame.

import { isSuperseded } from "./conversation.js";
import { render } from "./markdown.js";

const LONG_TEXT = 240; // a superseded answer is cut to a few lines from here on
const ODD_FINISHES = { length: "cut at its length limit", content_filter: "cut by a content filter" };

export class TurnList {
  #turns = new Map(); // turn → its elements
  #answers = new Map(); // generation → its elements
  #waiting = new Set(); // turns to be drawn in the next frame

  // actions: stop(generation), restart(generation), retry(turn), copy(text, button)
  // onDraw(): after a frame's drawing; beforeDraw(): before it
  constructor(root, { user, actions, beforeDraw, onDraw }) {
    Object.assign(this, { root, user, actions, beforeDraw, onDraw });
  }

  draw(turn) {
    if (!this.#waiting.size) requestAnimationFrame(() => this.#drawAll());
    this.#waiting.add(turn);
  }

  // A turn that was joined with another; its answers are moved when that one is drawn.
  drop(turn) {
    this.#waiting.delete(turn);
    this.#turns.get(turn)?.root.remove();
    this.#turns.delete(turn);
  }

  // Events that are no longer stored; several channels that are reset at once are one line.
  addGap(why) {
    let gap = this.root.lastElementChild;
    if (gap?.className !== "gap") {
      gap = document.createElement("li");
      gap.className = "gap";
      this.root.append(gap);
    }
    gap.dataset.why = gap.dataset.why ? `${gap.dataset.why}, ${why}` : why;
    gap.textContent = `Some history is no longer stored (${gap.dataset.why})`;
  }

  #drawAll() {
    this.beforeDraw();
    for (const turn of this.#waiting) this.#drawTurn(turn);
    this.#waiting.clear();
    this.onDraw();
  }

  #drawTurn(turn) {
    const it = this.#turns.get(turn) ?? this.#addTurn(turn);
    it.question.textContent = turn.question ?? "";
    it.question.hidden = !turn.question;
    it.sending.hidden = !turn.sending;
    it.unsent.hidden = !turn.fault;
    it.unsent.firstElementChild.textContent = turn.fault ?? "";
    for (const generation of turn.generations) {
      const answer = this.#answers.get(generation) ?? this.#addAnswer(generation);
      if (answer.root.parentNode !== it.answers) it.answers.append(answer.root);
      drawAnswer(answer, generation, this.user);
    }
    // Learned late, an answer may belong before one that is already there.
    const inOrder = turn.generations.map((generation) => this.#answers.get(generation).root);
    if (inOrder.some((root, at) => it.answers.children[at] !== root)) it.answers.append(...inOrder);
  }

  #addTurn(turn) {
    const it = parts("turn", ["question", "sending", "unsent", "answers"]);
    it.unsent.lastElementChild.addEventListener("click", () => this.actions.retry(turn));
    this.#turns.set(turn, it);
    this.root.append(it.root);
    return it;
  }

  #addAnswer(generation) {
    const it = parts("answer", ["model", "badge", "status", "reasoning", "tools", "partial", "text",
      "waiting", "fault", "more", "stop", "restart", "copy", "figures"]);
    it.stop.addEventListener("click", () => this.actions.stop(generation));
    it.restart.addEventListener("click", () => this.actions.restart(generation));
    it.copy.addEventListener("click", () => this.actions.copy(generation.text, it.copy.lastElementChild));
    it.more.addEventListener("click", () => {
      const isOpen = it.root.classList.toggle("open");
      it.more.textContent = isOpen ? "Show less" : "Show all";
      it.more.setAttribute("aria-expanded", String(isOpen));
    });
    this.#answers.set(generation, it);
    return it;
  }
}

function parts(template, names) {
  const root = document.getElementById(template).content.firstElementChild.cloneNode(true);
  return { root, ...Object.fromEntries(names.map((name) => [name, root.querySelector(`.${name}`)])) };
}

function drawAnswer(it, generation, user) {
  const isRunning = !generation.isEnded;
  const superseded = isSuperseded(generation);
  it.root.dataset.status = generation.status;
  it.root.dataset.generation = generation.generation;
  it.root.classList.toggle("superseded", superseded);
  it.root.setAttribute("aria-busy", String(isRunning));
  it.root.setAttribute("aria-label", superseded ? "Superseded answer" : "Answer");
  it.model.textContent = generation.model;
  it.badge.hidden = !generation.model.startsWith("simulated");
  it.status.textContent = statusText(generation, user);
  drawAside(it.reasoning, generation.reasoning);
  drawAside(it.tools, generation.toolCalls.map((call) => `${call.name}(${call.arguments})`).join("\n"));
  it.partial.hidden = !generation.partial;
  render(it.text, generation.text);
  it.waiting.hidden = !isRunning || Boolean(generation.text);
  it.fault.hidden = !generation.message;
  it.fault.textContent = generation.message ? `${generation.message} (${generation.code})` : "";
  const isLong = generation.text.length > LONG_TEXT;
  it.root.classList.toggle("long", isLong);
  it.more.hidden = !superseded || !isLong;
  keepFocus(it, isRunning);
  setBusy(it.stop, generation.stopping);
  it.restart.hidden = superseded;
  setBusy(it.restart, generation.restarting);
  it.copy.hidden = !generation.text;
  it.figures.textContent = figures(generation);
}

// Not `disabled`, which would take the focus away from whoever just pressed it.
function setBusy(button, isBusy) {
  button.setAttribute("aria-disabled", String(Boolean(isBusy)));
}

// A focused button that vanishes would throw the keyboard back to the top of the page.
function keepFocus(it, isRunning) {
  const hadFocus = document.activeElement === it.stop;
  it.stop.hidden = !isRunning;
  if (hadFocus && !isRunning) (it.restart.hidden ? it.copy : it.restart).focus();
}

function drawAside(details, text) {
  details.hidden = !text;
  const body = details.lastElementChild;
  if (body.textContent !== text) body.textContent = text;
}

function statusText(generation, user) {
  const { status, by, attempt, finishReason, stopping } = generation;
  const again = attempt > 1 ? ` · attempt ${attempt}` : "";
  const words = {
    queued: "queued",
    running: stopping ? "stopping…" : `answering${again}`,
    done: ODD_FINISHES[finishReason] ?? "",
    stopped: !by || by === user ? "stopped" : `stopped by ${by}`,
    failed: "failed",
  };
  return [isSuperseded(generation) && "superseded", words[status]].filter(Boolean).join(" · ");
}

function figures({ firstTokenMs, deltas, usage }) {
  const tokens = usage?.completion_tokens;
  return [
    firstTokenMs !== undefined && `first token ${Math.round(firstTokenMs)} ms`,
    deltas > 0 && `${deltas} ${deltas === 1 ? "delta" : "deltas"}`,
    tokens !== undefined && tokens !== null && `${tokens} tokens`,
  ].filter(Boolean).join(" · ");
}
