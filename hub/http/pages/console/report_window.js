// What the rules of the alerts need of the reports: some metrics of each process over the last
// minutes. Pure: no page, no network. It holds at most one report for each interval and process.

import { sum } from "./live_metrics.js";

const INTERVAL_SECONDS = 10;
const MAX_SECONDS = 600;
const SILENT_SECONDS = 8; // processes report every second
const FORGET_SECONDS = 300;

export class ReportWindow {
  #processes = new Map(); // name → { reports: [{ at, report }], seenAt }

  // names: the metrics that are kept.
  constructor(names) {
    this.names = new Set(names);
  }

  add(report, now) {
    const process = this.#processes.get(report.from) ?? { reports: [] };
    this.#processes.set(report.from, process);
    process.seenAt = now;
    process.latest = this.#reduce(report);
    const newest = process.reports.at(-1);
    if (!newest || now - newest.at >= INTERVAL_SECONDS) process.reports.push({ at: now, report: process.latest });
    while (process.reports[0].at < now - MAX_SECONDS) process.reports.shift();
  }

  /** Returns [before, after] of each process that reports: its oldest report within `seconds`, and its latest one. */
  pairs(seconds, now) {
    return [...this.#processes.values()]
      .filter(({ seenAt }) => now - seenAt <= SILENT_SECONDS)
      .map(({ reports, latest }) => [(reports.find(({ at }) => at >= now - seconds) ?? reports.at(-1)).report, latest]);
  }

  /** Returns for how long some process has been watched, in seconds. */
  watchedSeconds(now) {
    return Math.max(0, ...[...this.#processes.values()].map(({ reports }) => now - reports[0].at));
  }

  /** Returns how many processes of a kind report, and how many have fallen silent in the last five
   *  minutes. isWorker: whether workers are counted or nodes. A node that drains is not missed. */
  count(isWorker, now) {
    const counts = { alive: 0, silent: 0 };
    for (const [name, { seenAt, latest }] of this.#processes) {
      if (now - seenAt > FORGET_SECONDS) this.#processes.delete(name);
      else if (isWorker !== isWorkerReport(latest)) continue;
      else if (now - seenAt <= SILENT_SECONDS) counts.alive += 1;
      else if (!sum(latest, "hub_draining")) counts.silent += 1;
    }
    return counts;
  }

  #reduce({ from, at, metrics }) {
    return { from, at, metrics: metrics.filter(({ name }) => this.names.has(name)) };
  }
}

export const isWorkerReport = (report) => report.metrics.some(({ name }) => name === "hub_generations_running");
