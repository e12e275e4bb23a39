// One user: connections, answers, stored events, inbox, budget, and the buttons that change something.

import * as actions from "./actions.js";
import { get } from "./api.js";
import { connectionCells } from "./connections.js";
import { $, setText } from "./dom.js";
import { formatBytes, formatDate, formatNumber, formatPercent, formatTime } from "./format.js";
import { pathTo, statusCell } from "./paths.js";
import { fillFacts, fillPager, fillTable, mono, number } from "./tables.js";
import { TailRows, shorten } from "./tail_rows.js";

const MAX_ROWS = 50;
const PAGE = 10;
const MAX_EVENT_PAGES = 10;
const refresh = () => dispatchEvent(new Event("hub-refresh"));
let user = "";
let before = [""]; // the `before` of each page of answers up to the one that is shown

export const userView = {
  intervalMs: 5000,
  start(attempt) {
    for (const name of ["disconnect", "block", "notify"]) {
      $(name).addEventListener("click", () => attempt(async () => {
        if (await actions[name](user)) setTimeout(refresh, 500); // the command reaches the nodes first
      }));
    }
  },
  open(name = "") {
    user = name;
    before = [""];
    setText($("user-name"), user);
    $("user-tail").href = pathTo("tail", "user", user);
    for (const id of ["user-connections", "user-answers", "user-events", "user-inbox"]) fillTable(id, [], "…");
    fillFacts("user-facts", []);
  },
  async refresh() {
    const path = `/users/${encodeURIComponent(user)}`;
    const shown = before;
    const earlier = shown.at(-1) && `&before=${encodeURIComponent(shown.at(-1))}`;
    const [page, answers, inbox, usage, events] = await Promise.all([
      get(`${path}?limit=${MAX_ROWS}`),
      get(`${path}/generations?limit=${PAGE}${earlier}`),
      get(`${path}/inbox?limit=${MAX_ROWS}`),
      get(`/usage?user=${encodeURIComponent(user)}`),
      getRows(path),
    ]);
    return () => showUser({ page, answers, inbox, usage, events }, shown);
  },
};

function showUser({ page, answers, inbox, usage, events }, shown) {
  $("blocked").hidden = !page.blocked_until;
  setText($("blocked"), page.blocked_until ? `blocked until ${formatTime(page.blocked_until)}` : "");
  const tokens = usage.usage.reduce((all, each) => all + each.prompt_tokens + each.completion_tokens, 0);
  fillFacts("user-facts", [
    ["Connections", formatNumber(page.total)],
    ["Stored of the budget", page.max_stored_bytes
      ? `${formatBytes(page.stored_bytes)} of ${formatBytes(page.max_stored_bytes)} (${formatPercent(page.stored_bytes / page.max_stored_bytes)})`
      : "no limit is set"],
    ["Tokens today (UTC)", formatNumber(tokens)],
    ["Answers today (UTC)", formatNumber(usage.usage.reduce((all, each) => all + each.answers, 0))],
  ]);
  fillTable("user-connections", page.connections.map((each) => connectionCells(each, { hasUser: false, hasTopics: true })), "not connected");
  showAnswers(answers, shown);
  fillTable("user-events", events.map((each) => [each.event, number(formatNumber(each.count)), mono(each.data)]), "no stored events");
  showInbox(inbox);
}

// shown: the `before` of each page up to this one.
function showAnswers({ generations, next }, shown) {
  fillTable("user-answers", generations.map((each) => [
    { text: each.generation, href: pathTo("answer", each.generation), className: "mono" },
    statusCell(each.status),
    each.model,
    formatDate(each.requested_at),
    number(formatNumber(each.attempt)),
    number(formatNumber(each.deltas)),
    each.code ?? each.finish_reason ?? "",
  ]), "no answers are kept");
  fillPager("user-answers-pager", "", [
    ["Newer", shown.length > 1, () => { before = shown.slice(0, -1); refresh(); }],
    ["Older", Boolean(next), () => { before = [...shown, next]; refresh(); }],
  ]);
}

function showInbox({ unread, unseen, items }) {
  setText($("inbox-counts"), `${formatNumber(unread)} unread, ${formatNumber(unseen)} unseen`);
  fillTable("user-inbox", items.map((each) => [
    formatDate(each.created_at), describeState(each), each.category ?? "", each.event, mono(shorten(each.data)),
  ]), "no items");
}

/** Returns the newest stored events as rows. The API returns pages from the oldest event on. */
async function getRows(path) {
  const rows = new TailRows(MAX_ROWS);
  let after = "";
  for (let count = 0; count < MAX_EVENT_PAGES; count += 1) {
    const page = await get(`${path}/events?limit=1000&after=${encodeURIComponent(after)}`);
    for (const event of page.events) rows.add(event, 0);
    if (!page.more) break;
    after = page.next;
  }
  return rows.list();
}

function describeState(item) {
  if (item.archived) return "archived";
  if (item.read) return "read";
  return item.seen ? "seen" : "new";
}
