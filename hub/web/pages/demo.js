// The page: events in, elements out. The connection is stream.js, what events mean conversation.js.

import { Api } from "./api.js";
import {
  apply, isRunning, learnQuestion, newConversation, nextMessages, questionText, running, turnOf,
} from "./conversation.js";
import { Stream } from "./stream.js";

const $ = (id) => document.getElementById(id);
const user = new URLSearchParams(location.search).get("user") || "alice";
const api = new Api(user);
const conversation = newConversation();
const elements = new Map(); // a turn's id → its elements
const dirty = new Set(); // turns to be drawn in the next frame

// ---- drawing -------------------------------------------------------------------------------

function draw(turn) {
  if (!dirty.size) requestAnimationFrame(drawAll);
  dirty.add(turn);
}

function drawAll() {
  const atEnd = isAtEnd();
  for (const turn of dirty) drawTurn(turn);
  dirty.clear();
  $("empty").hidden = conversation.turns.size > 0;
  if (atEnd) toEnd();
  else $("latest").hidden = false;
}

function drawTurn(turn) {
  const it = elements.get(turn.id) ?? addTurn(turn);
  const simulated = turn.model.startsWith("simulated");
  if (simulated) $("simulated").hidden = false;
  it.question.textContent = questionText(turn);
  it.answer.dataset.status = turn.status;
  it.answer.dataset.generation = turn.id;
  it.answer.setAttribute("aria-busy", String(isRunning(turn)));
  it.root.classList.toggle("superseded", Boolean(turn.superseded));
  it.model.textContent = turn.model;
  it.badge.hidden = !simulated;
  it.status.textContent = statusText(turn);
  it.reasoning.hidden = !turn.reasoning;
  it.reasoning.lastElementChild.textContent = turn.reasoning;
  if (it.text.textContent !== turn.text) it.text.textContent = turn.text;
  it.fault.hidden = !turn.fault;
  it.fault.textContent = turn.fault ?? "";
  it.stop.hidden = !isRunning(turn);
  it.restart.hidden = Boolean(turn.superseded);
  it.copy.hidden = !turn.text;
  it.figures.textContent = figures(turn);
}

function addTurn(turn) {
  const root = $("turn").content.firstElementChild.cloneNode(true);
  const find = (name) => root.querySelector(`.${name}`);
  const names = ["question", "answer", "model", "badge", "status", "reasoning", "text", "fault",
    "stop", "restart", "copy", "figures"];
  const it = { root, ...Object.fromEntries(names.map((name) => [name, find(name)])) };
  it.stop.addEventListener("click", () => attempt(() => api.stop(turn.id)));
  it.restart.addEventListener("click", () => restart(turn));
  it.copy.addEventListener("click", () => copy(turn.text, it.copy));
  elements.set(turn.id, it);
  $("turns").append(root);
  return it;
}

function statusText(turn) {
  if (turn.superseded) return "superseded";
  if (turn.status === "stopped") return turn.by === user ? "stopped" : `stopped by ${turn.by}`;
  return turn.status === "done" ? "" : turn.status;
}

function figures(turn) {
  const parts = [];
  if (turn.askedAt && turn.firstAt) parts.push(`first token ${Math.round(turn.firstAt - turn.askedAt)} ms`);
  if (turn.deltas) parts.push(`${turn.deltas} deltas`);
  if (turn.usage?.completion_tokens != null) parts.push(`${turn.usage.completion_tokens} tokens`);
  return parts.join(" · ");
}

function isAtEnd() {
  const box = $("scroll");
  return box.scrollHeight - box.scrollTop - box.clientHeight < 60;
}

function toEnd() {
  const box = $("scroll");
  box.scrollTop = box.scrollHeight;
  $("latest").hidden = true;
}

// ---- events --------------------------------------------------------------------------------

function heard(name, data, id) {
  if (name.startsWith("generation.")) {
    const turn = apply(conversation, name, data, performance.now());
    if (name === "generation.started") lookUp(turn);
    if (!isRunning(turn) && turn.mine) announce(turn.fault ?? turn.text);
    draw(turn);
  } else if (name === "hub.reset") {
    $("gap").hidden = false;
  } else if (!name.startsWith("hub.")) {
    addNote(name, data);
  }
}

// The question of an answer that was begun in another tab, or before a reload.
async function lookUp(turn) {
  if (turn.messages) return;
  try {
    const found = await api.look(turn.id);
    learn(turn, found.messages);
  } catch {
    learn(turn, [{ role: "user", content: "(the question is no longer kept)" }]);
  }
}

function learn(turn, messages) {
  const superseded = learnQuestion(conversation, turn, messages);
  if (superseded) draw(superseded);
  draw(turn);
}

function addNote(name, data) {
  const item = document.createElement("li");
  item.dataset.testid = "notification";
  const title = document.createElement("strong");
  const isTable = data !== null && typeof data === "object";
  title.textContent = (isTable && (data.title ?? data.text)) || (isTable ? name : String(data));
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  item.append(title, time);
  const rest = isTable ? Object.entries(data).filter(([key]) => key !== "title" && key !== "text") : [];
  if (rest.length) {
    const more = document.createElement("code");
    more.textContent = JSON.stringify(Object.fromEntries(rest));
    item.append(more);
  }
  $("notes").prepend(item);
  $("no-notes").hidden = true;
  announce(`Notification: ${title.textContent}`);
}

// ---- what the user does --------------------------------------------------------------------

async function ask(question) {
  const messages = nextMessages(conversation, question);
  const askedAt = performance.now();
  const started = await attempt(() => api.ask(messages));
  if (started) adopt(started.generation, messages, askedAt);
  return Boolean(started);
}

async function restart(turn) {
  const askedAt = performance.now();
  const started = await attempt(() => api.restart(turn.id));
  if (started) adopt(started.generation, turn.messages, askedAt);
}

function adopt(id, messages, askedAt) {
  const turn = turnOf(conversation, id);
  Object.assign(turn, { askedAt, mine: true });
  if (messages) learn(turn, messages);
  // The stream may have been faster than the answer to the POST.
  announce(isRunning(turn) ? "Answer started." : turn.fault ?? turn.text);
  draw(turn);
  requestAnimationFrame(toEnd);
}

async function attempt(action) {
  $("error").hidden = true;
  try {
    return await action();
  } catch (error) {
    $("error").textContent = error.status ? error.message : "The hub cannot be reached; try again.";
    $("error").hidden = false;
    return null;
  }
}

async function copy(text, button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed";
  }
  setTimeout(() => (button.textContent = label), 1500);
}

function announce(text) {
  $("live").textContent = text;
}

// ---- the start -----------------------------------------------------------------------------

const stream = new Stream(api.streamUrl(), {
  cursor: "start", // all that the log still holds: a reload shows again what was there
  onEvent: heard,
  onState(state, text) {
    if ($("state").dataset.state !== state) announce(`Connection ${text}.`);
    $("state").dataset.state = state;
    $("state-text").textContent = text;
    $("reconnect").hidden = state !== "closed";
  },
});

function grow() {
  const box = $("composer");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, 200)}px`;
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const question = $("composer").value.trim();
  if (!question) return;
  $("composer").value = "";
  grow();
  if (!(await ask(question))) $("composer").value ||= question;
});
$("composer").addEventListener("input", grow);
$("composer").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("form").requestSubmit();
  } else if (event.key === "Escape") {
    for (const turn of running(conversation)) attempt(() => api.stop(turn.id));
  }
});
for (const chip of document.querySelectorAll(".chip")) {
  chip.addEventListener("click", () => ask(chip.textContent));
}
$("notify").addEventListener("submit", async (event) => {
  event.preventDefault();
  const title = $("note").value.trim();
  if (title && (await attempt(() => api.notify(title)))) $("note").value = "";
});
$("who").addEventListener("submit", (event) => {
  event.preventDefault();
  location.search = `?user=${encodeURIComponent($("user").value)}`;
});
$("reconnect").addEventListener("click", () => stream.connect());
$("latest").addEventListener("click", toEnd);
$("scroll").addEventListener("scroll", () => { if (isAtEnd()) $("latest").hidden = true; });
$("copy-command").addEventListener("click", () => copy($("command").textContent, $("copy-command")));

// Only `hub dev` lets a page publish.
$("notify").hidden = document.querySelector("meta[name=hub-dev]").content !== "true";
$("user").value = user;
$("command").textContent = `hub publish ${user} --data '{"title":"Hi"}'`;
stream.connect();
