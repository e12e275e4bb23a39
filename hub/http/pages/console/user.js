// The section about one user: connections, inbox, stored events, a test notification, disconnect.

import { get, send } from "./api.js";
import { cell, fillTable, formatAge, formatNumber } from "./tables.js";

const MAX_EVENTS = 50;
const MAX_PAGES = 20;
const MAX_DATA_CHARS = 160;
const REFRESH_DELAY_MS = 600;
const $ = (id) => document.getElementById(id);
let user = "";

/** Connects the section's forms. showMessage: called with an error or a text. */
export function initUserSection(showMessage) {
  $("find").addEventListener("submit", (event) => {
    event.preventDefault();
    user = $("user").value.trim();
    if (user) refresh().catch(showMessage);
  });
  $("notify").addEventListener("submit", (event) => {
    event.preventDefault();
    const data = { title: $("title").value || "A test from the console" };
    send("POST", "/publish", { to: { user }, data })
      .then(() => showMessage("The notification was published."))
      .then(refresh)
      .catch(showMessage);
  });
  $("disconnect").addEventListener("click", () => {
    const seconds = Number($("block").value) || 0;
    const suffix = seconds ? ` and block for ${seconds} s` : "";
    if (!window.confirm(`Disconnect ${user}${suffix}?`)) return;
    send("DELETE", `/users/${encodeURIComponent(user)}/connections?block_seconds=${seconds}`)
      .then(() => showMessage(`${user} is being disconnected.`))
      .then(() => setTimeout(() => refresh().catch(showMessage), REFRESH_DELAY_MS))
      .catch(showMessage);
  });
}

async function refresh() {
  const path = `/users/${encodeURIComponent(user)}`;
  const [page, inbox, events] = await Promise.all([
    get(path),
    get(`${path}/inbox?limit=${MAX_EVENTS}`),
    getLatestEvents(path),
  ]);
  $("user-details").hidden = false;
  $("user-name").textContent = user;
  $("blocked").textContent = page.blocked_until
    ? `blocked for ${formatAge(2 * Date.now() / 1000 - page.blocked_until)} more` : "";
  fillTable(
    "user-connections",
    page.connections.map((each) => [
      each.node,
      each.transport,
      each.address ?? "",
      formatAge(each.since),
      each.topics.join(", "),
      cell(formatNumber(each.events), "number"),
      cell(formatNumber(each.waiting), "number"),
    ]),
    "not connected",
  );
  $("inbox-counts").textContent = `${formatNumber(inbox.unread)} unread, ${formatNumber(inbox.unseen)} unseen`;
  fillTable(
    "user-inbox",
    inbox.items.map((each) => [
      formatAge(each.created_at),
      describeState(each),
      each.category ?? "",
      each.topic ?? "",
      each.event,
      cell(shorten(each.data), "mono"),
    ]),
    "no items",
  );
  fillTable(
    "user-events",
    events.reverse().map((each) => [each.event, cell(shorten(each.data), "mono")]),
    "no stored events",
  );
}

/** Returns the latest stored events. The API returns pages from the oldest event on. */
async function getLatestEvents(path) {
  let events = [];
  let after = "";
  for (let count = 0; count < MAX_PAGES; count += 1) {
    const page = await get(`${path}/events?limit=1000&after=${encodeURIComponent(after)}`);
    events = [...events, ...page.events].slice(-MAX_EVENTS);
    if (!page.more) break;
    after = page.next;
  }
  return events;
}

function describeState(item) {
  if (item.archived) return "archived";
  if (item.read) return "read";
  return item.seen ? "seen" : "new";
}

function shorten(data) {
  const text = typeof data === "string" ? data : JSON.stringify(data);
  return text.length > MAX_DATA_CHARS ? `${text.slice(0, MAX_DATA_CHARS)}…` : text;
}
