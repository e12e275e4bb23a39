// The operators' page: the key, the reports of all processes, and the view that the address names.

import { Alerts } from "./alerts.js";
import { ALERT_METRICS } from "./alert_values.js";
import { answersView, answerView } from "./answers.js";
import { ApiError, apiKey, streamReports } from "./api.js";
import { connectionView, connectionsView } from "./connections.js";
import { $, setText } from "./dom.js";
import { findPath, parsePath } from "./paths.js";
import { History } from "./live_metrics.js";
import { MEASURES } from "./measures.js";
import { overview, showReports } from "./overview.js";
import { ReportWindow } from "./report_window.js";
import { tailView } from "./tail.js";
import { startThemeButton } from "./theme_button.js";
import { createTiles } from "./tiles.js";
import { userView } from "./user.js";

const NAV = { answer: "answers", connection: "connections" };
/** By name: {intervalMs, open(...names), refresh(), close()}. refresh() resolves with a function that shows
 *  what it has loaded, or with nothing. */
const VIEWS = {
  overview, answers: answersView, answer: answerView, connections: connectionsView, connection: connectionView, user: userView, tail: tailView,
};
const history = new History(MEASURES);
const reports = new ReportWindow(ALERT_METRICS);
const alerts = new Alerts(reports);
let current = null;
let timer = null;
let runs = 0; // the number of the newest refresh

const errors = { refresh: null, action: null }; // the newest error of each; the next success removes it

function showMessage(error, source) {
  if (error instanceof ApiError && error.status === 401) return askForKey(error.message);
  errors[source] = error;
  const shown = errors.action ?? errors.refresh;
  setText($("message"), shown ? shown.message ?? String(shown) : "");
  $("message").hidden = !shown;
}

function askForKey(reason) {
  $("login-error").textContent = apiKey.get() ? reason : "";
  if (!$("login").open) $("login").showModal();
}

async function followReports() {
  const showState = (state) => {
    setText($("state"), state === "live" ? "live" : "no connection; trying again");
    $("state").dataset.state = state;
  };
  for await (const report of streamReports(showState)) {
    const now = Date.now() / 1000;
    history.add(report, now);
    reports.add(report, now);
  }
}

/** Runs an action and shows what went wrong. */
async function attempt(action) {
  try {
    await action();
    showMessage(null, "action");
  } catch (error) {
    showMessage(error, "action");
  }
}

// Repeats while the view is shown, and rests while the page is hidden. Only the newest run shows what it has
// loaded: a response may arrive after that of a later request, or when another view is shown.
async function refresh(view) {
  clearTimeout(timer);
  runs += 1;
  const run = runs;
  try {
    const show = document.hidden ? null : await view.refresh();
    if (run !== runs) return;
    show?.();
    showMessage(null, "refresh");
  } catch (error) {
    if (run !== runs) return;
    showMessage(error, "refresh");
  }
  timer = setTimeout(() => refresh(view), view.intervalMs);
}

function openView() {
  const { view, names } = parsePath(location.hash, Object.keys(VIEWS));
  current?.close?.();
  showMessage(null, "action");
  current = VIEWS[view];
  for (const element of document.querySelectorAll("[data-view]")) element.hidden = element.dataset.view !== view;
  for (const anchor of document.querySelectorAll("[data-nav]")) {
    if (anchor.dataset.nav === (NAV[view] ?? view)) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  document.title = `${[...names].reverse()[0] ?? "console"} · hub`;
  current.open?.(...names);
  refresh(current);
}

$("login-form").addEventListener("submit", () => {
  apiKey.set($("key").value.trim());
  location.reload();
});
$("forget").hidden = !apiKey.get();
$("forget").addEventListener("click", () => {
  apiKey.remove();
  location.reload();
});
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  location.hash = findPath($("search-text").value);
});
addEventListener("hub-refresh", () => refresh(current));
addEventListener("hashchange", () => {
  openView();
  $("main").focus({ preventScroll: true });
});
for (const view of Object.values(VIEWS)) view.start?.(attempt);
startThemeButton();
createTiles();
openView();
followReports().catch((error) => showMessage(error, "action"));
setInterval(() => {
  const now = Date.now() / 1000;
  history.sample(now);
  const states = alerts.evaluate(now);
  if (current === overview && !document.hidden) showReports(history, states, reports, now);
}, 1000);
