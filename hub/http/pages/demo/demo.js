// The page around the chat: the connection and its state, notifications, who is asking, the theme.

import { connect } from "../hub.js";
import { Chat } from "./chat.js";
import { Memory } from "./memory.js";
import { NoteList } from "./notes.js";

const AT_END_PX = 60;
const READY_WITHIN_MS = 1000;
const TICK_MS = 250;
const STATES = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", closed: "Closed" };
const WAYS = { sse: "stream", poll: "long polling: nothing streams through here" };

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
// Where the hub wants tokens: /#token=…; a fragment is in no request and no log.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const user = query.get("user") || (token ? undefined : "alice");
const noteTimes = new Memory("noteTimes"); // cursor → when its event came

// From the start: a reload shows again all that the log still holds.
const hub = connect({ user, token, cursor: "start", store: null });

function announce(text) {
  $("live").textContent = text;
}

function tell(text) {
  $("told").textContent = text;
}

// ---- events --------------------------------------------------------------------------------

const chat = new Chat(hub, { user, announce, tell, copy });

hub.on("*", ({ name, data, cursor, replayed }) => {
  $("wire-cursor").textContent = cursor;
  if (name === "hub.reset") chat.lose(data);
  else if (name.startsWith("generation.")) chat.hear(name, data, !replayed);
  else if (!name.startsWith("hub.")) {
    if (!replayed) noteTimes.keep(cursor, Date.now());
    const at = noteTimes.recall(cursor) ?? (replayed ? undefined : Date.now());
    notes.add(name, data, at, !replayed);
  }
});

const notes = new NoteList($("notes"), {
  onAdd(title, isNews) {
    $("no-notes").hidden = true;
    if (!isNews) return;
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

// ---- the connection ------------------------------------------------------------------------

let countdown = null;

hub.on("state", (now) => {
  const { state, reason, retryAt, open, way, isLeader } = now;
  if ($("state").dataset.state !== state) {
    announce(`Connection: ${STATES[state]}.`);
    tell(state === "live" && open?.recovered ? resumed(open) : "");
  }
  $("state").dataset.state = state;
  if (state !== "live") tell(reason ?? "");
  else showWire(open, way, isLeader);
  if (open?.user) showUser(open.user);
  $("reconnect").hidden = state !== "closed";
  clearInterval(countdown);
  const showState = () => {
    const seconds = retryAt === null ? 0 : Math.ceil((retryAt - Date.now()) / 1000);
    $("state-text").textContent = STATES[state] + (seconds > 0 ? ` in ${seconds} s` : "");
  };
  showState();
  if (retryAt !== null) countdown = setInterval(showState, TICK_MS);
});

function showWire(open, way, isLeader) {
  $("wire-way").textContent = `${WAYS[way]}${isLeader ? "" : ", through another tab"}`;
  if (!open?.connection) return; // long polling has no more to tell
  $("wire-node").textContent = open.node;
  $("wire-connection").textContent = open.connection;
  $("wire-heartbeat").textContent = `every ${open.heartbeat_seconds} s`;
  $("wire-resumed").textContent = resumed(open) || "0 events";
}

function resumed({ replayed }) {
  return replayed ? `${replayed} ${replayed === 1 ? "event" : "events"} resumed` : "";
}

// Empty is said when it is known, or when the hub does not answer.
const waited = new Promise((wake) => setTimeout(wake, READY_WITHIN_MS));
Promise.race([hub.ready, waited]).then(() => {
  if (chat.isEmpty) $("empty").hidden = false;
});

// ---- what the user does --------------------------------------------------------------------

function grow() {
  const box = $("composer");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

function reloadAs(name) {
  query.set("user", name);
  location.search = query;
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

// Only `hub dev` has this route: publishing belongs to backends.
async function notify(title) {
  const response = await fetch(`/dev/publish?user=${encodeURIComponent(user)}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ event: "notification", data: { title } }),
  }).catch(() => null);
  if (response?.ok) return "";
  const problem = await response?.json().catch(() => null);
  return problem?.detail ?? "The hub cannot be reached.";
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("composer").value.trim();
  if (!question) return;
  $("composer").value = "";
  grow();
  chat.ask(question);
});
$("composer").addEventListener("input", grow);
$("composer").addEventListener("keydown", (event) => {
  if (event.isComposing) return; // Enter and Escape belong to the input method
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    $("form").requestSubmit();
  } else if (event.key === "Escape") chat.stopAll();
});
for (const chip of document.querySelectorAll(".chip")) {
  chip.addEventListener("click", () => {
    chat.ask(chip.textContent);
    $("composer").focus({ preventScroll: true });
  });
}
$("notify").addEventListener("submit", async (event) => {
  event.preventDefault();
  const title = $("note").value.trim();
  const fault = title ? await notify(title) : "";
  $("notify-fault").textContent = fault;
  $("notify-fault").hidden = !fault;
  if (!fault) $("note").value = "";
});
$("who").addEventListener("submit", (event) => {
  event.preventDefault();
  reloadAs($("user").value);
});
$("user").addEventListener("change", () => {
  if ($("user").reportValidity()) reloadAs($("user").value);
});
$("reconnect").addEventListener("click", () => hub.reconnect());
$("latest").addEventListener("click", () => chat.toEnd());
$("scroll").addEventListener("scroll", () => { if (chat.isAtEnd()) $("latest").hidden = true; });
$("bell").addEventListener("click", () => showUnread(0));
$("copy-command").addEventListener("click", () => copy($("command").textContent, $("copy-command")));

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (prefersDark.matches ? "dark" : "light")) === "dark";
const showTheme = () => $("theme").setAttribute("aria-pressed", String(isDark()));
prefersDark.addEventListener("change", showTheme);
$("theme").addEventListener("click", () => {
  localStorage.setItem("hub.theme", document.documentElement.dataset.theme = isDark() ? "light" : "dark");
  showTheme();
});
showTheme();

function showUser(name) {
  $("user").value = name;
  $("command").textContent = `hub publish ${name} --data '{"title":"Hi"}'`;
  document.title = `${name} · hub demo`;
}

showUser(user ?? "…");
$("user").disabled = Boolean(token); // who it is stands in the token
$("notify").hidden = document.querySelector("meta[name=hub-dev]").content !== "true";
$("second").href = location.href;
