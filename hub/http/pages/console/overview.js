// The first screen: is it well? Tiles, what needs attention, processes, slow clients, webhooks.

import { worstLevel } from "./alerts.js";
import { ApiError, get } from "./api.js";
import { $, announce, create, setText } from "./dom.js";
import { formatAge, formatDate, formatMilliseconds, formatNumber, formatRate, formatShort, formatSpan } from "./format.js";
import { pathTo } from "./paths.js";
import { quantile, rate, sum } from "./live_metrics.js";
import { isWorkerReport } from "./report_window.js";
import { fillTable, number } from "./tables.js";
import { drawTiles } from "./tiles.js";

const MAX_SLOW_CLIENTS = 8;
const MAX_PROCESSES = 100;
const VERDICTS = { good: "All is well", warn: "Something needs a look", bad: "Something is wrong", unknown: "Measuring …" };
const COUNTS = [
  ["Slow clients disconnected", "hub_connections_closed", { reason: "slow" }],
  ["Clients refused because a node was full", "hub_connections_closed", { reason: "full" }],
  ["Clients disconnected because the broker was away", "hub_connections_closed", { reason: "broker_away" }],
  ["Cursors that could not be continued", "hub_resets"],
  ["Requests refused by a limit", "hub_requests_refused"],
  ["Requests that failed (5xx)", "hub_http_requests", { status: /^5/, route: /^(?!\/readyz$)/ }],
  ["Connections to the broker that broke", "hub_redis_link_breaks"],
  ["Answers that failed", "hub_generations_ended", { status: "failed" }],
  ["Outbox: rows published", "hub_outbox_rows", { outcome: "published" }],
  ["Outbox: rows refused", "hub_outbox_rows", { outcome: "refused" }],
];
let maySeeWebhooks = true; // whether the key has the scope that returns them
let verdict = "";

export const overview = {
  intervalMs: 5000,
  async refresh() {
    await Promise.all([showSlowClients(), showWebhooks()]);
  },
};

/** Shows the newest reports. alerts: of Alerts.evaluate; reports: the ReportWindow. */
export function showReports(history, alerts, reports, now) {
  const newest = [...history.latest.values()];
  const total = (name, labels) => newest.reduce((count, report) => count + sum(report, name, labels), 0);
  const highest = (name) => Math.max(0, ...newest.map((report) => sum(report, name)));
  const workers = reports.count(true, now);
  drawTiles(history, {
    users: total("hub_users"),
    nodes: reports.count(false, now).alive,
    memory: highest("hub_redis_memory_bytes"),
    limit: highest("hub_redis_max_memory_bytes"),
    ended: total("hub_generations_ended_last_hour"),
    silent: workers.silent,
    hasOutbox: total("hub_outbox_connected") > 0 || total("hub_outbox_rows") > 0,
    backlog: highest("hub_outbox_backlog"),
    refused: highest("hub_outbox_refused_rows"),
  }, alerts, now);
  showVerdict(alerts);
  showProcesses(history, now);
  const counts = COUNTS.map(([text, name, labels]) => [{ text, title: name }, number(formatNumber(total(name, labels)))]);
  fillTable("counts", counts.filter(([, { text }]) => text !== "0"), "no errors");
}

function showVerdict(alerts) {
  const level = worstLevel(alerts.map((each) => each.level));
  const active = alerts.filter(({ state }) => ["pending", "firing"].includes(state));
  const key = level + active.map(({ name, state }) => name + state).join();
  if (key === verdict) return;
  verdict = key;
  $("verdict").dataset.level = level;
  setText($("verdict-text"), VERDICTS[level]);
  setText($("verdict-note"), level === "good" ? "No alert of config/alerts.yml is active." : active.length ? "" : "The page needs half a minute of reports to judge.");
  $("attention").replaceChildren(...active.map(({ name, level: each, state, summary, action, forSeconds }) => {
    const item = create("li");
    item.dataset.level = each;
    const since = state === "pending" ? ` It becomes an alert when it lasts ${formatSpan(forSeconds)}.` : "";
    item.append(create("strong", "", summary), create("span", "", action + since), create("code", "", name));
    return item;
  }));
  announce(`${VERDICTS[level]}. ${active.map(({ summary }) => summary).join(" ")}`);
}

function showProcesses(history, now) {
  const rows = history.activeProcesses(now).slice(0, MAX_PROCESSES).map((process) => {
    const report = history.latest.get(process);
    const before = history.previous.get(process);
    if (isWorkerReport(report)) {
      return [process, { text: "works", level: "good" }, number(`${formatNumber(sum(report, "hub_generations_running"))} answers`), "", "", "", "", ""];
    }
    const p99 = (name) => number(before ? formatMilliseconds(quantile(0.99, before, report, name)) : "");
    const startedAt = sum(report, "hub_start_time_seconds");
    return [
      process,
      sum(report, "hub_draining") ? { text: "draining", level: "warn" } : { text: "serving", level: "good" },
      number(formatShort(sum(report, "hub_connections"))),
      number(before ? formatRate(rate(before, report, "hub_events_delivered")) : ""),
      p99("hub_delivery_delay_seconds"),
      p99("hub_loop_lag_seconds"),
      number(formatNumber(sum(report, "hub_redis_link_breaks"))),
      { text: `${formatAge(startedAt)} ago`, title: formatDate(startedAt) },
    ];
  });
  fillTable("processes", rows, "no reports yet");
}

async function showSlowClients() {
  const { connections, total } = await get(`/connections?limit=${MAX_SLOW_CLIENTS}&waiting=true`);
  setText($("slow-total"), total ? formatNumber(total) : "");
  const rows = connections.map((each) => [
    { text: each.user, href: pathTo("user", each.user) }, each.node, each.transport, number(formatNumber(each.waiting)),
  ]);
  fillTable("slow", rows, "none");
}

async function showWebhooks() {
  if (!maySeeWebhooks) return;
  let page;
  try {
    page = await get("/webhooks");
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 403)) throw error;
    maySeeWebhooks = false;
    return;
  }
  $("webhooks-section").hidden = !page.webhooks.length;
  setText($("webhooks-counts"), `${formatNumber(page.waiting)} wait, ${formatNumber(page.dead)} dead letters, ${formatNumber(page.dropped)} dropped`);
  const levels = { active: "good", paused: "bad" };
  fillTable("webhooks", page.webhooks.map((each) => [
    { text: each.url, className: "mono" },
    { text: each.state === "paused" ? `paused for ${formatSpan(each.paused_seconds)}` : each.state, level: levels[each.state] ?? "warn" },
    number(formatNumber(each.failures)),
    each.error ?? "",
  ]), "none");
}
