// One user: connections, stored events, a test notification, away with them.

import { get, send } from "./server.js";
import { ago, cell, fill, number } from "./tables.js";

const SHOWN = 50;
const MOST_PAGES = 20;
const $ = (id) => document.getElementById(id);
let shown = "";

export function listen(say) {
  $("find").addEventListener("submit", (event) => {
    event.preventDefault();
    shown = $("user").value.trim();
    if (shown) show().catch(say);
  });
  $("notify").addEventListener("submit", (event) => {
    event.preventDefault();
    const data = { title: $("title").value || "A test from the console" };
    send("POST", "/publish", { to: { user: shown }, data })
      .then(() => say("The notification is published."))
      .then(show)
      .catch(say);
  });
  $("disconnect").addEventListener("click", () => {
    const seconds = Number($("block").value) || 0;
    const how = seconds ? ` and keep it out for ${seconds} s` : "";
    if (!window.confirm(`Disconnect ${shown}${how}?`)) return;
    send("DELETE", `/users/${encodeURIComponent(shown)}/connections?block_seconds=${seconds}`)
      .then(() => say(`${shown} is being disconnected.`))
      .then(() => setTimeout(() => show().catch(say), 600))
      .catch(say);
  });
}

async function show() {
  const path = `/users/${encodeURIComponent(shown)}`;
  const [roll, events] = await Promise.all([get(path), newest(path)]);
  $("about").hidden = false;
  $("who").textContent = shown;
  $("blocked").textContent = roll.blocked_until ? `blocked for ${ago(2 * Date.now() / 1000 - roll.blocked_until)} more` : "";
  fill(
    "user-connections",
    roll.connections.map((each) => [
      each.node,
      each.transport,
      each.address ?? "",
      ago(each.since),
      each.topics.join(", "),
      cell(number(each.events), "number"),
      cell(number(each.waiting), "number"),
    ]),
    "not connected",
  );
  fill(
    "user-events",
    events.reverse().map((each) => [each.event, cell(short(each.data), "mono")]),
    "no stored events",
  );
}

/** The last of the stored events: they are read from the oldest on, a page at a time. */
async function newest(path) {
  let events = [];
  let after = "";
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const found = await get(`${path}/events?limit=1000&after=${encodeURIComponent(after)}`);
    events = [...events, ...found.events].slice(-SHOWN);
    if (!found.more) break;
    after = found.next;
  }
  return events;
}

function short(data) {
  const text = typeof data === "string" ? data : JSON.stringify(data);
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
}
