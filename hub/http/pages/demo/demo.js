// The page around the chat: the state of the connection, notifications, the user, the theme.

import { connect } from "../hub.js";
import { Chat } from "./chat.js";
import { announce, copyText as copy } from "./copy.js";
import { FactStore } from "./fact_store.js";
import { NotificationList } from "./notifications.js";
import { RequestList } from "./request_list.js";

const VISIBLE_MARGIN_PX = 60;
const READY_TIMEOUT_MS = 1000;
const COUNTDOWN_INTERVAL_MS = 250;
const STATES = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", closed: "Closed" };
const TRANSPORTS = { sse: "stream", poll: "long polling, because a proxy buffers streams" };

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
// If the hub requires tokens: /#token=…. A fragment appears in no request and in no log.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const user = query.get("user") || (token ? undefined : "alice");
const receivedTimes = new FactStore("receivedTimes"); // cursor → when its event arrived

// From the start: a reload shows all events that the log still holds.
const hub = connect({ user, token, cursor: "start", store: null });

function showMessage(text) {
  $("message").textContent = text;
}

// ---- events --------------------------------------------------------------------------------

const chat = new Chat(hub, { user, announce, showMessage, copy });

hub.on("*", ({ name, data, cursor, replayed }) => {
  $("connection-cursor").textContent = cursor;
  if (name === "hub.reset") chat.onReset(data);
  else if (name.startsWith("generation.")) {
    chat.onEvent(name, data, !replayed);
    requests.onEvent(name, data, !replayed);
  }
  else if (!name.startsWith("hub.")) {
    if (!replayed) receivedTimes.put(cursor, Date.now());
    const receivedAt = receivedTimes.get(cursor) ?? (replayed ? undefined : Date.now());
    notifications.add(name, data, receivedAt, !replayed);
  }
});

const notifications = new NotificationList($("notification-list"), {
  onAdd(title, isNew) {
    $("no-notifications").hidden = true;
    if (isNew) showNew(`Notification: ${title}`);
  },
});

const requests = new RequestList($("request-list"), {
  respond: (generation, input, value) => chat.respond(generation, input, value),
  onAdd(prompt, requestedBy, isNew) {
    $("requests").hidden = false;
    if (isNew) showNew(`The answer for ${requestedBy} asks you: ${prompt}`);
  },
});

function showNew(text) {
  announce(text);
  const isVisible = $("notifications").getBoundingClientRect().top < innerHeight - VISIBLE_MARGIN_PX;
  if (!isVisible) showUnread(Number($("unread").textContent) + 1);
}

function showUnread(count) {
  $("unread").textContent = count || "";
  $("unread").hidden = !count;
  $("notifications-link").ariaLabel = count ? `Notifications, ${count} new` : "Notifications";
}

// ---- the connection ------------------------------------------------------------------------

let countdown = null;

hub.on("state", ({ state, reason, retryAt, open, transport, isLeader }) => {
  if ($("state").dataset.state !== state) {
    announce(`Connection: ${STATES[state]}.`);
    showMessage(state === "live" && open?.recovered ? resumedText(open) : "");
  }
  $("state").dataset.state = state;
  if (state !== "live") showMessage(reason ?? "");
  else showConnection(open, transport, isLeader);
  if (open?.user) showUser(open.user);
  $("reconnect").hidden = state !== "closed";
  clearInterval(countdown);
  const showState = () => {
    const seconds = retryAt === null ? 0 : Math.ceil((retryAt - Date.now()) / 1000);
    $("state-text").textContent = STATES[state] + (seconds > 0 ? ` in ${seconds} s` : "");
  };
  showState();
  if (retryAt !== null) countdown = setInterval(showState, COUNTDOWN_INTERVAL_MS);
});

function showConnection(open, transport, isLeader) {
  $("connection-transport").textContent = `${TRANSPORTS[transport]}${isLeader ? "" : ", through another tab"}`;
  if (!open?.connection) return; // long polling has no other data
  $("connection-node").textContent = open.node;
  $("connection-id").textContent = open.connection;
  $("connection-heartbeat").textContent = `every ${open.heartbeat_seconds} s`;
  $("connection-resumed").textContent = resumedText(open) || "0 events";
}

function resumedText({ replayed }) {
  return replayed ? `${replayed} ${replayed === 1 ? "event" : "events"} resumed` : "";
}

// Show the introduction when the conversation is known to be empty, or when the hub does not respond.
const timeout = new Promise((resolve) => setTimeout(resolve, READY_TIMEOUT_MS));
Promise.race([hub.ready, timeout]).then(() => {
  if (chat.isEmpty) $("empty").hidden = false;
});

// ---- user actions --------------------------------------------------------------------------

function fitComposer() {
  const box = $("composer");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

function reloadAs(name) {
  query.set("user", name);
  location.search = query;
}

// Only `hub dev` has this route: in production only backends publish.
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
  const prompt = $("composer").value.trim();
  if (!prompt) return;
  $("composer").value = "";
  fitComposer();
  chat.ask(prompt);
});
$("stop").addEventListener("click", () => chat.stopAll());
$("composer").addEventListener("input", fitComposer);
$("composer").addEventListener("keydown", (event) => {
  if (event.isComposing) return; // the input method uses Enter and Escape
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
  const title = $("notify-text").value.trim();
  const error = title ? await notify(title) : "";
  $("notify-error").textContent = error;
  $("notify-error").hidden = !error;
  if (!error) $("notify-text").value = "";
});
$("user-form").addEventListener("submit", (event) => {
  event.preventDefault();
  reloadAs($("user").value);
});
$("user").addEventListener("change", () => {
  if ($("user").reportValidity()) reloadAs($("user").value);
});
$("reconnect").addEventListener("click", () => hub.reconnect());
$("latest").addEventListener("click", () => chat.scrollToBottom());
$("scroll").addEventListener("scroll", () => { if (chat.isAtBottom()) $("latest").hidden = true; });
$("notifications-link").addEventListener("click", () => showUnread(0));
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
  const program = document.querySelector("meta[name=hub-command]").content;
  $("command").textContent = `${program} publish ${name} --data '{"title":"Hi"}'`;
  document.title = `${name} · hub demo`;
}

showUser(user ?? "…");
$("user").disabled = Boolean(token); // the token identifies the user
$("notify").hidden = document.querySelector("meta[name=hub-dev]").content !== "true";
$("second-tab").href = location.href;
