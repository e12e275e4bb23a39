// The operators' page: live metrics, running answers, slow clients, one user.

import { initAnswerSection, refreshAnswer, showAnswer } from "./answer.js";
import { ApiError, apiKey, get, streamReports } from "./api.js";
import { createCharts } from "./charts.js";
import { History, MEASURES, quantile, rate, sum, sumByLabel } from "./live_metrics.js";
import { cell, fillTable, formatAge, formatMilliseconds, formatNumber } from "./tables.js";
import { initUserSection } from "./user.js";

const MAX_TEXT_CHARS = 140;
const MAX_SLOW_CLIENTS = 10;
const WAITS_FOR_PEOPLE = new Set(["waiting", "suspended"]);
const $ = (id) => document.getElementById(id);
const answerButtons = new Map(); // by the id of a running answer
const history = new History(MEASURES);
const drawCharts = createCharts(history);
let maySeeText = true; // whether the key has the scope that returns the text of answers
let maySeeWebhooks = true; // whether the key has the scope that returns the webhooks

function showMessage(message) {
  if (message instanceof ApiError && message.status === 401) return askForKey(message.message);
  $("message").textContent = message instanceof Error ? message.message : message;
}

function askForKey(reason) {
  $("login-error").textContent = apiKey.get() ? reason : "";
  if (!$("login").open) $("login").showModal();
}

$("login-form").addEventListener("submit", () => {
  apiKey.set($("key").value.trim());
  location.reload();
});
$("forget").addEventListener("click", () => {
  apiKey.remove();
  location.reload();
});
initUserSection(showMessage);
initAnswerSection(showMessage);

async function followReports() {
  const showState = (state) => {
    $("state").textContent = state === "live" ? "live" : "no connection; trying again";
    $("state").dataset.state = state;
  };
  for await (const report of streamReports(showState)) history.add(report, Date.now() / 1000);
}

function drawMetrics() {
  const now = Date.now() / 1000;
  history.sample(now);
  drawCharts();
  showProcesses(now);
  showErrors();
}

function showProcesses(now) {
  const rows = history.activeProcesses(now).map((process) => {
    const report = history.latest.get(process);
    const before = history.previous.get(process);
    const isWorker = report.metrics.some((each) => each.name === "hub_generations_running");
    if (isWorker) {
      const running = `${formatNumber(sum(report, "hub_generations_running"))} answers`;
      return [process, "running", running, "", "", "", "", ""];
    }
    const delay = before && quantile(0.99, before, report, "hub_delivery_delay_seconds");
    const lag = before && quantile(0.99, before, report, "hub_loop_lag_seconds");
    return [
      process,
      sum(report, "hub_draining") ? cell("draining", "warn") : "serving",
      cell(`${formatNumber(sum(report, "hub_connections"))} of ${formatNumber(sum(report, "hub_users"))} users`),
      cell(before ? formatNumber(rate(before, report, "hub_events_delivered")) : "", "number"),
      cell(formatMilliseconds(delay ?? null), "number"),
      cell(formatMilliseconds(lag ?? null), "number"),
      cell(formatNumber(sum(report, "hub_redis_link_breaks")), "number"),
      formatAge(sum(report, "hub_start_time_seconds")),
    ];
  });
  fillTable("processes", rows, "no reports yet");
}

function showErrors() {
  const reports = [...history.latest.values()];
  const total = (name, labels) => reports.reduce((count, report) => count + sum(report, name, labels), 0);
  const rows = [];
  const addRow = (text, count) => count && rows.push([text, cell(formatNumber(count), "number")]);
  const closed = {};
  for (const report of reports) {
    for (const [reason, count] of Object.entries(sumByLabel(report, "hub_connections_closed", "reason"))) {
      closed[reason] = (closed[reason] ?? 0) + count;
    }
  }
  addRow("slow clients disconnected", closed.slow);
  addRow("clients disconnected because a node was full", closed.full);
  addRow("clients disconnected because Redis was unavailable", closed.broker_away);
  addRow("cursors that could not be continued", total("hub_resets"));
  addRow("requests refused by a limit", total("hub_requests_refused"));
  addRow("requests that failed (5xx)", total("hub_http_requests", { status: /^5/ }));
  addRow("connections to Redis that broke", total("hub_redis_link_breaks"));
  addRow("answers that failed", total("hub_generations_ended", { status: "failed" }));
  fillTable("errors", rows, "none since the processes started");
}

async function showAnswers() {
  let page;
  try {
    page = await get(`/generations?limit=20&text=${maySeeText}`);
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 403 && maySeeText)) throw error;
    maySeeText = false; // without the scope `admin` only the length of the text is shown
    page = await get("/generations?limit=20");
  }
  $("answers-total").textContent = formatNumber(page.total);
  $("pinned").textContent = page.pinned
    .filter((each) => each.workers === 0)
    .map((each) => `${each.jobs} runs of the queue ${each.queue} wait for a worker ` +
      (each.version ? `of the version ${each.version}.` : "without a version."))
    .join(" ");
  const focused = document.activeElement;
  fillTable(
    "answers",
    page.generations.map((each) => [
      each.user,
      cell(answerButton(each.generation), "mono"),
      cell(each.status, WAITS_FOR_PEOPLE.has(each.status) ? "warn" : ""),
      each.model,
      formatAge(each.requested_at),
      cell(formatNumber(each.characters), "number"),
      cell(each.text === undefined ? "" : each.text.slice(-MAX_TEXT_CHARS), "mono tail"),
    ]),
    "none",
  );
  const ids = new Set(page.generations.map((each) => each.generation));
  for (const [id, button] of answerButtons) {
    if (!ids.has(id)) answerButtons.delete(id);
    else if (button === focused) button.focus({ preventScroll: true });
  }
}

// The same button each time, so that a press which the table's next rows interrupt is still a click.
function answerButton(id) {
  if (!answerButtons.has(id)) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: id });
    button.addEventListener("click", () => showAnswer(id).catch(showMessage));
    answerButtons.set(id, button);
  }
  return answerButtons.get(id);
}

async function showSlowClients() {
  const { connections } = await get("/connections?limit=1000");
  const slow = connections.filter((each) => each.waiting).sort((a, b) => b.waiting - a.waiting);
  fillTable(
    "slow",
    slow.slice(0, MAX_SLOW_CLIENTS).map((each) => [
      each.user,
      each.node,
      each.transport,
      each.address ?? "",
      cell(formatNumber(each.waiting), "number"),
    ]),
    "none",
  );
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
  $("webhooks-counts").textContent =
    `${formatNumber(page.waiting)} waiting, ${formatNumber(page.dead)} dead letters, ${formatNumber(page.dropped)} dropped`;
  fillTable(
    "webhooks",
    page.webhooks.map((each) => [
      cell(each.url, "mono"),
      each.state === "paused"
        ? cell(`paused for ${Math.ceil(each.paused_seconds)} s`, "bad")
        : cell(each.state, each.state === "failing" ? "warn" : ""),
      cell(formatNumber(each.failures), "number"),
      each.error ?? "",
    ]),
    "none",
  );
}

/** Repeats the work forever, one run at a time. Pauses while the page is hidden. */
async function repeat(intervalMs, work) {
  for (;;) {
    if (!document.hidden) {
      try {
        await work();
      } catch (error) {
        showMessage(error);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
  }
}

followReports().catch(showMessage);
setInterval(drawMetrics, 1000);
repeat(1000, showAnswers);
repeat(1000, refreshAnswer);
repeat(3000, showSlowClients);
repeat(5000, showWebhooks);
