// The operators' page: live reports, running answers, slow clients, one user.

import { charts } from "./charts.js";
import { History, MEASURES, byLabel, quantile, rate, sum } from "./reports.js";
import { Refused, get, key, reports } from "./server.js";
import { ago, cell, fill, milliseconds, number } from "./tables.js";
import { listen } from "./user.js";

const $ = (id) => document.getElementById(id);
const history = new History(MEASURES);
const draw = charts(history);
let seesText = true;

function say(what) {
  if (what instanceof Refused && what.status === 401) return askForKey(what.message);
  $("said").textContent = what instanceof Error ? what.message : what;
}

function askForKey(why) {
  $("why").textContent = key.get() ? why : "";
  if (!$("login").open) $("login").showModal();
}

$("login-form").addEventListener("submit", () => {
  key.set($("key").value.trim());
  location.reload();
});
$("forget").addEventListener("click", () => {
  key.forget();
  location.reload();
});
listen(say);

async function follow() {
  const told = (state) => {
    $("state").textContent = state === "live" ? "live" : "no connection; trying again";
    $("state").dataset.state = state;
  };
  for await (const report of reports(told)) history.take(report, Date.now() / 1000);
}

function show() {
  const now = Date.now() / 1000;
  history.tick(now);
  draw();
  showProcesses(now);
  showTotals();
}

function showProcesses(now) {
  const rows = history.alive(now).map((process) => {
    const report = history.last.get(process);
    const before = history.before.get(process);
    const isWorker = report.metrics.some((each) => each.name === "hub_generations_running");
    if (isWorker) {
      const running = `${number(sum(report, "hub_generations_running"))} answers`;
      return [process, "running", running, "", "", "", "", ""];
    }
    const delay = before && quantile(0.99, before, report, "hub_delivery_delay_seconds");
    const lag = before && quantile(0.99, before, report, "hub_loop_lag_seconds");
    return [
      process,
      sum(report, "hub_draining") ? cell("draining", "warn") : "serving",
      cell(`${number(sum(report, "hub_connections"))} of ${number(sum(report, "hub_users"))} users`),
      cell(before ? number(rate(before, report, "hub_events_delivered")) : "", "number"),
      cell(milliseconds(delay ?? null), "number"),
      cell(milliseconds(lag ?? null), "number"),
      cell(number(sum(report, "hub_redis_link_breaks")), "number"),
      ago(sum(report, "hub_start_time_seconds")),
    ];
  });
  fill("processes", rows, "no reports yet");
}

function showTotals() {
  const all = [...history.last.values()];
  const add = (name, fits) => all.reduce((total, report) => total + sum(report, name, fits), 0);
  const rows = [];
  const note = (what, count) => count && rows.push([what, cell(number(count), "number")]);
  const closed = {};
  for (const report of all) {
    for (const [reason, count] of Object.entries(byLabel(report, "hub_connections_closed", "reason"))) {
      closed[reason] = (closed[reason] ?? 0) + count;
    }
  }
  note("slow clients sent away", closed.slow);
  note("clients sent away because a node was full", closed.full);
  note("clients sent away because Redis was away", closed.broker_away);
  note("cursors that could not be continued", add("hub_resets"));
  note("requests refused by a limit", add("hub_requests_refused"));
  note("requests that failed (5xx)", add("hub_http_requests", { status: /^5/ }));
  note("links to Redis that broke", add("hub_redis_link_breaks"));
  note("answers that failed", add("hub_generations_ended", { status: "failed" }));
  fill("errors", rows, "none since the processes began");
}

async function showAnswers() {
  let found;
  try {
    found = await get(`/generations?limit=20&text=${seesText}`);
  } catch (error) {
    if (!(error instanceof Refused && error.status === 403 && seesText)) throw error;
    seesText = false; // a key without the scope admin sees how long they are
    found = await get("/generations?limit=20");
  }
  $("answers-total").textContent = number(found.total);
  fill(
    "answers",
    found.generations.map((each) => [
      each.user,
      each.status,
      each.model,
      ago(each.requested_at),
      cell(number(each.characters), "number"),
      cell(each.text === undefined ? "" : each.text.slice(-140), "mono tail"),
    ]),
    "none",
  );
}

async function showSlow() {
  const { connections } = await get("/connections?limit=1000");
  const slow = connections.filter((each) => each.waiting).sort((a, b) => b.waiting - a.waiting);
  fill(
    "slow",
    slow.slice(0, 10).map((each) => [
      each.user,
      each.node,
      each.transport,
      each.address ?? "",
      cell(number(each.waiting), "number"),
    ]),
    "none",
  );
}

/** Again and again, one at a time, and not while nobody looks. */
async function every(milliseconds_, work) {
  for (;;) {
    if (!document.hidden) {
      try {
        await work();
      } catch (error) {
        say(error);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, milliseconds_));
  }
}

follow().catch(say);
setInterval(show, 1000);
every(1000, showAnswers);
every(3000, showSlow);
