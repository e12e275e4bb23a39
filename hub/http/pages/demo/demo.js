// The demo page: connects to the hub and gives each event to the part of the page that shows it.

import "../hub-inbox.js";
import { connect } from "../hub.js";
import { Api } from "./api.js";
import { BreakIt } from "./break_it.js";
import { Chat } from "./chat.js";
import { ChatList, chatOfPage } from "./chat_list.js";
import { ChatRequests } from "./chat_requests.js";
import { chatOfTopic } from "./chat_turns.js";
import { Composer } from "./composer.js";
import { ConnectionView } from "./connection.js";
import { copyText } from "./copy.js";
import { isSecondDevice, startDevices } from "./devices.js";
import { $, metaOf } from "./dom.js";
import { PushButton } from "./push_button.js";
import { Room } from "./room.js";
import { closeSheet, startSheets } from "./sheets.js";
import { Side } from "./side.js";
import { startSnippets } from "./snippets.js";
import { startThemeButton } from "./theme_button.js";

const READY_TIMEOUT_MS = 1000;
const ROOM = "lobby";

const query = new URLSearchParams(location.search);
const isDev = metaOf("hub-dev") === "true";
// If the hub requires tokens: /#token=…. A fragment appears in no request and in no log.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const user = query.get("user") || (token ? undefined : "alice");

// From the start: a reload shows all events that the log still holds.
const hub = connect({ user, token, cursor: "start", store: null, topics: isDev ? [ROOM] : [], ...(isSecondDevice && { share: false }) });
// The activity announces each notification, also those that the inbox keeps.
Object.assign(document.querySelector("hub-inbox"), { hub, labels: { arrived: "", arrivedMany: "" } });
const api = new Api({ user, token });

const list = new ChatList(api, { current: chatOfPage(), onSelect: (id) => {
  composer.onChat();
  chat.show(id);
  closeSheet();
  composer.focus();
}, onLoad: () => chat.onList() });
const connection = new ConnectionView(hub, api, { onUser: showUser });
const chat = new Chat(hub, {
  list, user, current: chatOfPage(), topic: ROOM,
  actions: {
    stop: (generation) => requests.stop(generation),
    restart: (generation) => requests.restart(generation),
    respond: ({ generation }, input, value) => requests.respond(generation, input, value),
    retry: (turn) => requests.send(turn),
    edit: (turn) => composer.edit(turn),
    copy: copyText,
  },
  onDraw: (isRunning, canSteer) => composer.showRunning(isRunning, canSteer),
});
const push = new PushButton(hub, { showMessage: (text) => connection.showMessage(text, "push") });
const requests = new ChatRequests(hub, chat, {
  showMessage: (text) => connection.showMessage(text, "request"),
  isNotifying: () => push.isOn,
  onAsk: () => requestAnimationFrame(() => chat.turns.follower.follow()),
});
const composer = new Composer({
  onAsk: (prompt, editedTurn) => requests.ask(prompt, editedTurn),
  onStop: () => requests.stopAll(),
  onSteer: (message) => requests.steer(message),
});
const side = new Side(api, { respond: (generation, input, value) => requests.respond(generation, input, value) });
const breakIt = new BreakIt(hub, api);
const room = isDev ? new Room(ROOM, user, { onOpen: () => list.select(chatOfTopic(ROOM)) }) : null;

hub.on("*", (event) => {
  const { name, data, cursor, replayed } = event;
  connection.showCursor(cursor);
  breakIt.onEvent(name, data);
  if (name === "hub.reset") chat.onReset(data);
  else if (name.startsWith("presence.")) room?.onEvent(name, data);
  else if (name.startsWith("generation.")) {
    chat.onEvent(name, data, !replayed);
    side.requests.onEvent(name, data, !replayed);
    if (!replayed) list.onEvent(name);
  } else if (!/^(hub|inbox)\./.test(name)) side.addNotification(event);
});

// Show the introduction when the conversation is known to be empty, or when the hub does not respond.
const timeout = new Promise((resolve) => setTimeout(resolve, READY_TIMEOUT_MS));
Promise.race([Promise.all([hub.ready, list.loaded]), timeout]).then(() => chat.onReady());

// ---- who is signed in

function showUser(name) {
  $("user").value = name;
  $("command").textContent = `${metaOf("hub-command")} publish ${name} --data '{"title":"Hi"}'`;
  document.title = `${name} · hub demo`;
}

function reloadAs(name) {
  query.set("user", name);
  query.delete("chat");
  location.search = query;
}

$("user-form").addEventListener("submit", (event) => {
  event.preventDefault();
  reloadAs($("user").value);
});
$("user").addEventListener("change", () => {
  if ($("user").reportValidity()) reloadAs($("user").value);
});
$("copy-command").addEventListener("click", () => copyText($("command").textContent, $("copy-command")));
showUser(user ?? "…");
$("user").disabled = Boolean(token); // the token identifies the user
$("second-tab").href = location.href;
document.body.classList.toggle("second-device", isSecondDevice);

startSheets((id) => { if (id === "side") side.clearUnread(); });
startDevices();
startSnippets();
startThemeButton();
