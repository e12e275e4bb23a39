// One user: connections, stored events, a test notification, away with them.

import { get, send } from "./server.js";
import { ago, cell, fill, number } from "./tables.js";

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
  const [roll, log] = await Promise.all([get(path), get(`${path}/events?limit=1000`)]);
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
    log.events.slice(-50).reverse().map((each) => [each.event, cell(short(each.data), "mono")]),
    "no stored events",
  );
}

function short(data) {
  const text = typeof data === "string" ? data : JSON.stringify(data);
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
}
