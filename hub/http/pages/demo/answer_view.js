// Draws one answer: its state, its parts and its buttons.

import { isSuperseded, labelOf } from "./conversation.js";
import { setAttribute, setHidden, setText } from "./dom.js";
import { failureText } from "./errors.js";
import { PartsList } from "./parts_list.js";

const LONG_TEXT_CHARS = 240; // a superseded answer of more characters, or of more parts, is folded
const LONG_PARTS = 3;
const UNUSUAL_FINISHES = { length: "cut at its length limit", content_filter: "cut by a content filter" };

// Returns the elements of a new answer. actions: as for TurnList.
export function createAnswer(generation, actions) {
  const elements = cloneTemplate("answer", ["model", "badge", "status", "partial", "parts", "waiting", "messages",
    "failure", "error", "again", "more", "stop", "restart", "copy", "figures"]);
  elements.parts = new PartsList(elements.parts, (input, value) => actions.respond(generation, input, value));
  elements.stop.addEventListener("click", () => actions.stop(generation));
  elements.restart.addEventListener("click", () => actions.restart(generation));
  elements.again.addEventListener("click", () => actions.restart(generation));
  elements.copy.addEventListener("click", () => actions.copy(generation.text, elements.copy.lastElementChild));
  elements.more.addEventListener("click", () => {
    const isOpen = elements.root.classList.toggle("open");
    elements.more.textContent = isOpen ? "Show less" : "Show all";
    elements.more.setAttribute("aria-expanded", String(isOpen));
  });
  return elements;
}

export function cloneTemplate(template, names) {
  const root = document.getElementById(template).content.firstElementChild.cloneNode(true);
  return { root, ...Object.fromEntries(names.map((name) => [name, root.querySelector(`.${name}`)])) };
}

export function drawAnswer(elements, generation, user) {
  const isRunning = !generation.isEnded;
  const superseded = isSuperseded(generation);
  setAttribute(elements.root, "data-status", generation.status);
  setAttribute(elements.root, "data-generation", generation.generation);
  elements.root.classList.toggle("superseded", superseded);
  setAttribute(elements.root, "aria-busy", String(isRunning));
  setAttribute(elements.root, "aria-label", superseded ? "Superseded answer" : "Answer");
  setText(elements.model, generation.model);
  setText(elements.badge, labelOf(generation) ?? "");
  setHidden(elements.badge, !labelOf(generation));
  setText(elements.status, statusText(generation, user));
  setHidden(elements.partial, !generation.isPartial);
  const { parts, text } = generation;
  elements.parts.draw(parts, isRunning);
  setHidden(elements.waiting, !isRunning || parts.length > 0);
  drawMessages(elements.messages, generation.messages);
  setHidden(elements.failure, generation.status !== "failed");
  setText(elements.error, generation.status === "failed" ? failureText(generation) : "");
  setHidden(elements.again, superseded);
  const isLong = text.length > LONG_TEXT_CHARS || parts.length > LONG_PARTS;
  elements.root.classList.toggle("long", isLong);
  setHidden(elements.more, !superseded || !isLong);
  keepFocus(elements, isRunning);
  setBusy(elements.stop, generation.isStopping);
  setHidden(elements.restart, superseded);
  setBusy(elements.restart, generation.isRestarting);
  setHidden(elements.copy, !text);
  setText(elements.figures, figuresText(generation));
}

// What the user has sent to the answer while it ran.
function drawMessages(list, messages) {
  setHidden(list, !messages.length);
  messages.forEach((text, n) => {
    while (list.children.length <= n) list.append(document.createElement("li"));
    setText(list.children[n], text);
  });
}

// `disabled` would remove the focus from a button that was just pressed.
function setBusy(button, isBusy) {
  setAttribute(button, "aria-disabled", String(Boolean(isBusy)));
}

// Hiding a focused button would move the keyboard focus to the top of the page.
function keepFocus(elements, isRunning) {
  const hadFocus = document.activeElement === elements.stop;
  setHidden(elements.stop, !isRunning);
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
