// The live tail of one user or topic: it follows the stream of the channel, and can be paused and
// filtered. The page holds the newest 200 rows.

import { followStream } from "./api.js";
import { $, setText } from "./dom.js";
import { formatNumber, formatTime } from "./format.js";
import { pathTo } from "./paths.js";
import { fillTable, mono, number } from "./tables.js";
import { TailRows } from "./tail_rows.js";

let rows = new TailRows();
let controller = null;
let isPaused = false;
let state = "";
let run = () => {}; // shows what goes wrong

function show() {
  if (isPaused) return;
  const shown = rows.list($("tail-filter").value);
  fillTable("tail", shown.map(({ at, event, count, data }) => [formatTime(at), event, number(formatNumber(count)), mono(data)]), "no events yet");
}

function showState() {
  const text = { live: "live", disconnected: "no connection; trying again" }[state];
  const paused = isPaused ? "paused, " : "";
  setText($("tail-state"), text ? `${paused}${text}, ${formatNumber(rows.received)} events` : "Choose a user or a topic.");
}

async function follow(path, signal) {
  const onState = (next) => {
    if (!signal.aborted) state = next;
  };
  const target = rows;
  for await (const { event, data } of followStream(path, onState, signal)) {
    if (signal.aborted) return;
    if (!event.startsWith("hub.") || event === "hub.reset") target.add({ event, data }, Date.now() / 1000);
  }
}

export const tailView = {
  intervalMs: 300,
  start(attempt) {
    run = attempt;
    $("tail-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const path = pathTo("tail", $("tail-kind").value, $("tail-name").value.trim());
      if (location.hash === path) tailView.open($("tail-kind").value, $("tail-name").value.trim());
      else location.hash = path;
    });
    $("tail-pause").addEventListener("click", () => {
      isPaused = !isPaused;
      $("tail-pause").setAttribute("aria-pressed", String(isPaused));
      setText($("tail-pause"), isPaused ? "Go on" : "Pause");
    });
  },
  open(kind, name) {
    this.close();
    rows = new TailRows();
    state = "";
    if (!name) return fillTable("tail", [], "nothing is followed");
    $("tail-kind").value = kind === "topic" ? "topic" : "user";
    $("tail-name").value = name;
    controller = new AbortController();
    const { signal } = controller;
    run(() => follow(`/console/tail?${$("tail-kind").value}=${encodeURIComponent(name)}`, signal));
  },
  async refresh() {
    show();
    showState();
  },
  close() {
    controller?.abort();
  },
};
