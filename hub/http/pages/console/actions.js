// What operators change: each action asks for confirmation, and leaves a line on the page. The hub
// writes the line of the audit into its log, with the name of the key.

import { send } from "./api.js";
import { $, create } from "./dom.js";
import { formatTime } from "./format.js";

const MAX_LINES = 8;
const isolate = (name) => `\u2068${name}\u2069`; // the direction of the name is its own

let answer = () => {}; // resolves the confirmation that is open

$("confirm-form").addEventListener("submit", () => answer($("confirm-input").value));
$("confirm-no").addEventListener("click", () => $("confirm").close());
// The browser sends this event some time after the dialog was closed. If the dialog is open, the event
// belongs to the one before, which confirm() has resolved.
$("confirm").addEventListener("close", () => {
  if (!$("confirm").open) answer(null);
});

/** Asks for confirmation. field: {label, type, value}, or nothing. Returns the value of the field, ""
 *  without one, or null if the operator cancels. */
function confirm({ title, note, yes, field }) {
  answer(null);
  $("confirm-title").textContent = title;
  $("confirm-note").textContent = note;
  $("confirm-yes").textContent = yes;
  $("confirm-field").hidden = !field;
  $("confirm-label").textContent = field?.label ?? "";
  Object.assign($("confirm-input"), { type: field?.type ?? "text", value: field?.value ?? "", required: Boolean(field), min: 1, disabled: !field });
  $("confirm").showModal();
  return new Promise((resolve) => { answer = resolve; });
}

/** Asks, does it, and shows a line. request(value) returns the text of the line. Returns whether it was done. */
async function act(dialog, request) {
  const value = await confirm(dialog);
  if (value === null) return false;
  const line = await request(value);
  const item = create("li");
  item.append(create("time", "", formatTime(Date.now() / 1000)), create("span", "", line));
  $("actions").prepend(item);
  while ($("actions").children.length > MAX_LINES) $("actions").lastChild.remove();
  $("actions-section").hidden = false;
  $("live").textContent = line;
  return true;
}

const connectionsOf = (user) => `/users/${encodeURIComponent(user)}/connections`;

export const disconnect = (user) => act(
  { title: `Disconnect ${isolate(user)}?`, note: "All connections of the user end, on all nodes. The user may connect again at once.", yes: "Disconnect" },
  async () => {
    await send("DELETE", connectionsOf(user));
    return `Disconnected the user ${isolate(user)}`;
  },
);

export const block = (user) => act(
  { title: `Block ${isolate(user)}?`, note: "All connections of the user end, and new ones are refused. A block cannot be shortened.", yes: "Block", field: { label: "Minutes", type: "number", value: 10 } },
  async (minutes) => {
    const { blocked_until: until } = await send("DELETE", `${connectionsOf(user)}?block_seconds=${60 * Number(minutes)}`);
    return `Blocked the user ${isolate(user)} until ${formatTime(until)}`;
  },
);

export const notify = (user) => act(
  { title: `Notify ${isolate(user)}?`, note: "The user gets an event with the name notification.", yes: "Send", field: { label: "Title", value: "A test from the console" } },
  async (title) => {
    await send("POST", "/console/notifications", { user, title });
    return `Sent a notification to the user ${isolate(user)}`;
  },
);

export const stop = (generation) => act(
  { title: "Stop this answer?", note: `${generation} ends as stopped, with the text so far.`, yes: "Stop" },
  async () => {
    const { status } = await send("DELETE", `/generations/${encodeURIComponent(generation)}`);
    return status === "stopping" ? `Stopped the answer ${generation}` : `The answer ${generation} had ended`;
  },
);
