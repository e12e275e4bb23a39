// The page: what is heard goes into the conversation, what is in the conversation is drawn, what
// the user does goes to the hub. The connection is stream.js, what events mean conversation.js.

import { Api, newKey } from "./api.js";
import {
  apply, ask, doubt, generationOf, isEnded, learn, learnNothing, newConversation, placeInTurn, running,
} from "./conversation.js";
import { Memory } from "./memory.js";
import { NoteList } from "./notes.js";
import { Stream } from "./stream.js";
import { TurnList } from "./turns.js";

const AT_END_PX = 60;
const REPLAY_PAUSE_MS = 1000;
const LOOK_AGAIN_MS = 400;
const LOOKS = 5;
const HEARD = ["notification", "message", "export.ready"]; // the last is the README's

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const user = query.get("user") || "alice";
const names = [...HEARD, ...(query.get("events") ?? "").split(",").filter(Boolean)];
const api = new Api(user);
const conversation = newConversation();
const memory = {
  noteTimes: new Memory("noteTimes"), // event id → when it came
  firstTokens: new Memory("firstTokens"), // generation → milliseconds
  turnKeys: new Memory("turnKeys"), // generation that was not asked for here → its turn's key
};

// ---- the conversation on the screen --------------------------------------------------------

let followsEnd = true;
const turns = new TurnList($("turns"), {
  user,
  actions: { stop, restart, retry: send, copy },
  beforeDraw() {
    followsEnd = isAtEnd();
  },
  onDraw() {
    $("empty").hidden = true;
    if (followsEnd) toEnd();
    else $("latest").hidden = false;
  },
});

function draw(generation) {
  turns.draw(generation.turn);
}

function isAtEnd() {
  const box = $("scroll");
  return box.scrollHeight - box.scrollTop - box.clientHeight < AT_END_PX;
}

function toEnd() {
  $("scroll").scrollTop = $("scroll").scrollHeight;
  $("latest").hidden = true;
}

function announce(text) {
  $("live").textContent = text;
}

// ---- events --------------------------------------------------------------------------------

// What the first connect replays is neither news to be read out nor timed now; what a later one
// resumes is. The hub counts what it replays; some may expire on the way, so a pause ends it too.
const replay = { left: 0, timer: null, isOver: false };

function replayed(count) {
  clearTimeout(replay.timer);
  replay.left = count;
  if (count > 0) replay.timer = setTimeout(() => replayed(0), REPLAY_PAUSE_MS);
  else if (!conversation.generations.size && !conversation.turns.length) $("empty").hidden = false;
}

function heard(name, data, id) {
  $("wire-cursor").textContent = id;
  if (name.startsWith("hub.")) return heardHub(name, data);
  const isNews = replay.left === 0;
  if (name.startsWith("generation.")) heardGeneration(name, data, isNews);
  else {
    if (isNews) memory.noteTimes.keep(id, Date.now());
    notes.add(name, data, memory.noteTimes.recall(id) ?? (isNews ? Date.now() : undefined));
  }
  if (!isNews) replayed(replay.left - 1);
}

function heardHub(name, data) {
  if (name === "hub.open") {
    $("wire-node").textContent = data.node;
    $("wire-connection").textContent = data.connection;
    $("wire-heartbeat").textContent = `every ${data.heartbeat_seconds} s`;
    const events = `${data.replayed} ${data.replayed === 1 ? "event" : "events"}`;
    $("wire-resumed").textContent = events;
    $("told").textContent = data.recovered && data.replayed ? `${events} resumed` : "";
    replayed(replay.isOver ? 0 : data.replayed);
    replay.isOver = true;
  } else if (name === "hub.reset") {
    turns.addGap(`${data.channel}: ${data.reason}`);
    doubt(conversation);
    for (const generation of running(conversation)) lookUp(generation, { afterReset: true });
  }
}

function heardGeneration(name, data, isNews) {
  const generation = apply(conversation, name, data, performance.now());
  if (generation.askedAt && generation.firstAt && !generation.firstTokenMs) {
    generation.firstTokenMs = generation.firstAt - generation.askedAt;
    memory.firstTokens.keep(generation.id, generation.firstTokenMs);
  }
  noteSimulation(generation);
  if (!generation.turn || generation.missing) lookUp(generation);
  else draw(generation);
  if (isNews) announceGeneration(name, generation);
}

function announceGeneration(name, generation) {
  if (name === "generation.started" || name === "generation.restarted") announce("Answer started.");
  else if (isEnded(generation)) {
    const ending = { stopped: "Answer stopped.", failed: `Answer failed: ${generation.fault}` };
    announce([generation.text, ending[generation.status]].filter(Boolean).join("\n"));
  }
}

// The question of an answer that was begun in another tab or before a reload, and the text that
// the log no longer holds.
const posts = new Set(); // under way; each tells itself which generation is its own

async function lookUp(generation, { afterReset = false } = {}) {
  if (generation.isLookedUp) return;
  generation.isLookedUp = true;
  await Promise.allSettled(posts);
  if (!generation.turn) {
    placeInTurn(conversation, generation, memory.turnKeys.recall(generation.id) ?? generation.id);
    generation.firstTokenMs ??= memory.firstTokens.recall(generation.id);
    draw(generation);
  }
  for (let looks = 0; looks < LOOKS && (generation.missing || generation.turn.question === null); looks += 1) {
    if (looks) await new Promise((wake) => setTimeout(wake, LOOK_AGAIN_MS * 2 ** (looks - 1)));
    try {
      learnAndJoin(generation, await api.look(generation.id));
    } catch (error) {
      if (!error.status || error.status >= 500) continue;
      if (afterReset && !isEnded(generation)) {
        const message = "The hub no longer knows this answer.";
        apply(conversation, "generation.failed", { generation: generation.id, code: "gone", message });
      }
      break;
    }
  }
  // What could not be had is shown without it.
  if (generation.missing) learnNothing(conversation, generation);
  generation.turn.question ??= "(the question is no longer stored)";
  generation.isLookedUp = false;
  draw(generation);
}

function learnAndJoin(generation, found) {
  const before = generation.turn;
  learn(conversation, generation, found);
  if (generation.turn !== before) turns.drop(before);
  noteSimulation(generation);
  draw(generation);
}

function noteSimulation({ model }) {
  if (model.startsWith("simulated")) $("simulated").hidden = false;
}

const notes = new NoteList($("notes"), {
  onAdd(title) {
    $("no-notes").hidden = true;
    if (replay.left) return;
    announce(`Notification: ${title}`);
    const isSeen = $("notifications").getBoundingClientRect().top < innerHeight - AT_END_PX;
    if (!isSeen) showUnread(Number($("unread").textContent) + 1);
  },
});

function showUnread(count) {
  $("unread").textContent = count || "";
  $("unread").hidden = !count;
  $("bell").ariaLabel = count ? `Notifications, ${count} new` : "Notifications";
}

// ---- what the user does --------------------------------------------------------------------

async function send(turn) {
  Object.assign(turn, { sending: true, fault: null });
  turns.draw(turn);
  requestAnimationFrame(toEnd);
  const askedAt = performance.now();
  // The turn's key goes along each time, so that trying again starts nothing twice.
  const post = api.ask(turn.messages, turn.key).then(({ generation }) => adopt(generation, turn, askedAt));
  posts.add(post);
  try {
    await post;
  } catch (error) {
    turn.fault = error.status ? error.message : "The hub cannot be reached.";
  }
  posts.delete(post);
  turn.sending = false;
  turns.draw(turn);
}

function adopt(id, turn, askedAt) {
  const generation = generationOf(conversation, id);
  const before = generation.turn;
  generation.askedAt ??= askedAt;
  placeInTurn(conversation, generation, turn.key);
  if (before && before !== turn) turns.drop(before);
  if (generation.firstAt) generation.firstTokenMs ??= generation.firstAt - askedAt;
  draw(generation);
}

async function restart(generation) {
  if (generation.restarting) return;
  const { turn } = generation;
  const askedAt = performance.now();
  generation.restarting = true;
  draw(generation);
  const post = api.restart(generation.id).then((started) => {
    adopt(started.generation, turn, askedAt);
    memory.turnKeys.keep(started.generation, turn.key);
  });
  posts.add(post);
  await told(post);
  posts.delete(post);
  generation.restarting = false;
  draw(generation);
  requestAnimationFrame(toEnd);
}

async function stop(generation) {
  if (generation.stopping) return;
  generation.stopping = true;
  draw(generation);
  if (await told(api.stop(generation.id))) return; // its end comes in the stream
  generation.stopping = false;
  draw(generation);
}

// What went wrong is said in the header's line and read out; returns whether all went well.
async function told(request) {
  try {
    await request;
    $("told").textContent = "";
    return true;
  } catch (error) {
    $("told").textContent = error.status ? error.message : "The hub cannot be reached.";
    announce($("told").textContent);
    return false;
  }
}

function askQuestion(question) {
  const turn = ask(conversation, newKey(), question);
  send(turn);
}

async function copy(text, label) {
  const was = label.dataset.label ??= label.textContent;
  try {
    await navigator.clipboard.writeText(text);
    label.textContent = "Copied";
    announce("Copied.");
  } catch {
    label.textContent = "Not allowed"; // the browser's word; the text can still be selected
  }
  setTimeout(() => (label.textContent = was), 1500);
}

// ---- the connection ------------------------------------------------------------------------

const STATES = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", closed: "Closed" };

const stream = new Stream(api.streamUrl(), {
  cursor: "start", // all that the log still holds: a reload shows again what was there
  names,
  refusal: (url) => api.refusal(url),
  onEvent: heard,
  onState({ state, reason, seconds }) {
    if ($("state").dataset.state !== state) announce(`Connection: ${STATES[state]}.`);
    $("state").dataset.state = state;
    $("state-text").textContent = STATES[state] + (seconds === null ? "" : ` in ${seconds} s`);
    if (state !== "live") $("told").textContent = reason ?? "";
    $("reconnect").hidden = state !== "closed";
  },
});

// ---- the start -----------------------------------------------------------------------------

function grow() {
  const box = $("composer");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

function reloadWith(name, value) {
  query.set(name, value);
  location.search = query;
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("composer").value.trim();
  if (!question) return;
  $("composer").value = "";
  grow();
  askQuestion(question);
});
$("composer").addEventListener("input", grow);
$("composer").addEventListener("keydown", (event) => {
  if (event.isComposing) return; // Enter and Escape belong to the input method
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    $("form").requestSubmit();
  } else if (event.key === "Escape") {
    for (const generation of running(conversation)) stop(generation);
  }
});
for (const chip of document.querySelectorAll(".chip")) {
  chip.addEventListener("click", () => {
    askQuestion(chip.textContent);
    $("composer").focus({ preventScroll: true });
  });
}
$("notify").addEventListener("submit", async (event) => {
  event.preventDefault();
  const title = $("note").value.trim();
  $("notify-fault").hidden = true;
  try {
    if (title) await api.notify(title);
    $("note").value = "";
  } catch (error) {
    $("notify-fault").textContent = error.status ? error.message : "The hub cannot be reached.";
    $("notify-fault").hidden = false;
  }
});
$("who").addEventListener("submit", (event) => {
  event.preventDefault();
  reloadWith("user", $("user").value);
});
$("user").addEventListener("change", () => {
  if ($("user").reportValidity()) reloadWith("user", $("user").value);
});
$("hear").addEventListener("submit", (event) => {
  event.preventDefault();
  reloadWith("events", [...names.slice(HEARD.length), $("name").value.trim()].join(","));
});
$("reconnect").addEventListener("click", () => stream.connect());
$("latest").addEventListener("click", toEnd);
$("scroll").addEventListener("scroll", () => { if (isAtEnd()) $("latest").hidden = true; });
$("bell").addEventListener("click", () => showUnread(0));
$("copy-command").addEventListener("click", () => copy($("command").textContent, $("copy-command")));
addEventListener("online", () => stream.wake());
document.addEventListener("visibilitychange", () => { if (!document.hidden) stream.wake(); });

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (prefersDark.matches ? "dark" : "light")) === "dark";
const showTheme = () => $("theme").setAttribute("aria-pressed", String(isDark()));
prefersDark.addEventListener("change", showTheme);
$("theme").addEventListener("click", () => {
  localStorage.setItem("hub.theme", document.documentElement.dataset.theme = isDark() ? "light" : "dark");
  showTheme();
});
showTheme();

// Only `hub dev` lets a page publish.
$("notify").hidden = document.querySelector("meta[name=hub-dev]").content !== "true";
$("user").value = user;
$("second").href = location.href;
$("names").textContent = names.join(", ");
$("command").textContent = `hub publish ${user} --data '{"title":"Hi"}'`;
document.title = `${user} · hub demo`;
setTimeout(() => { if (stream.state !== "live") replayed(0); }, REPLAY_PAUSE_MS);
stream.connect();
