// The connections of all nodes, a page at a time, and one of them.

import { get } from "./api.js";
import { $, setText } from "./dom.js";
import { formatAge, formatDate, formatNumber } from "./format.js";
import { pathTo } from "./paths.js";
import { fillFacts, fillPager, fillTable, number } from "./tables.js";

const PAGE = 50;
const refresh = () => dispatchEvent(new Event("hub-refresh"));
let pages = [""]; // the `after` of each page up to the one that is shown
let connection = "";

/** The cells of a connection, without those that the list of a user does not need. */
export function connectionCells(each, { hasUser = true, hasTopics = false } = {}) {
  return [
    { text: each.connection, href: pathTo("connection", each.connection), className: "mono" },
    ...(hasUser ? [{ text: each.user, href: each.user.includes(" ") ? "" : pathTo("user", each.user) }] : []), // a console is no user
    each.node,
    each.transport,
    each.address ?? "",
    { text: formatAge(each.since), title: formatDate(each.since) },
    ...(hasTopics ? [{ names: each.topics }] : []),
    number(formatNumber(each.events)),
    number(formatNumber(each.waiting)),
  ];
}

export const connectionsView = {
  intervalMs: 3000,
  start() {
    $("only-slow").addEventListener("change", () => {
      pages = [""];
      refresh();
    });
  },
  open() {
    pages = [""];
  },
  async refresh() {
    const shown = pages;
    const filter = $("only-slow").checked ? "&waiting=true" : `&after=${encodeURIComponent(shown.at(-1))}`;
    const page = await get(`/connections?limit=${PAGE}${filter}`);
    return () => showConnections(page, shown);
  },
};

function showConnections(page, shown) {
  setText($("connections-total"), formatNumber(page.total));
  setText($("missing"), page.missing.length ? `Without ${page.missing.join(", ")}: no answer in time.` : "");
  fillTable("connections", page.connections.map((each) => connectionCells(each)), "none");
  fillPager("connections-pager", page.next || shown.length > 1 ? `Page ${shown.length}` : "", [
    ["Previous", shown.length > 1, () => { pages = shown.slice(0, -1); refresh(); }],
    ["Next", Boolean(page.next), () => { pages = [...shown, page.next]; refresh(); }],
  ]);
}

export const connectionView = {
  intervalMs: 3000,
  open(id = "") {
    connection = id;
    setText($("connection-id"), id);
    fillFacts("connection-facts", []);
  },
  async refresh() {
    const { connections: [info], missing } = await get(`/connections?connection=${encodeURIComponent(connection)}`);
    return () => showConnection(info, missing);
  },
};

function showConnection(info, missing) {
  fillFacts("connection-facts", info ? [
    ["User", { text: info.user, href: pathTo("user", info.user) }],
    ["Node", info.node],
    ["Transport", info.transport],
    ["Address", info.address ?? "unknown"],
    ["Since", `${formatDate(info.since)} (${formatAge(info.since)})`],
    ["Topics", { names: info.topics }],
    ["Events sent", formatNumber(info.events)],
    ["Events that wait", formatNumber(info.waiting)],
  ] : [["State", missing.length ? `not found; no answer in time from ${missing.join(", ")}` : "there is no such connection now"]]);
}
