// What the console draws: one value per second from the reports of all processes. Pure.

import { quantile, rate, sum } from "./live_metrics.js";

const total = (values) => values.reduce((a, b) => a + b, 0);
const maximum = (values) => Math.max(...values);
const has = (report, name) => report.metrics.some((each) => each.name === name);
const gauge = (name, combine, labels) => ({
  value: (_, report) => (has(report, name) ? sum(report, name, labels) : null),
  combine,
});
const counter = (name) => ({ value: (a, b) => (a && has(b, name) ? rate(a, b, name) : null), combine: total });
const p99 = (name) => ({ value: (a, b) => (a ? quantile(0.99, a, b, name) : null), combine: maximum });

export const MEASURES = {
  connections: gauge("hub_connections", total),
  delivered: counter("hub_events_delivered"),
  delay: p99("hub_delivery_delay_seconds"),
  running: gauge("hub_generations_running", total),
  waiting: gauge("hub_generations_waiting", maximum), // each node tells that of all
  failed: gauge("hub_generations_ended_last_hour", total, { status: "failed" }),
  oldest: gauge("hub_generations_oldest_waiting_seconds", maximum),
  workers: { value: (_, report) => (has(report, "hub_generations_running") ? 1 : 0), combine: total },
  memory: gauge("hub_redis_memory_bytes", maximum),
  outbox: gauge("hub_outbox_oldest_seconds", maximum),
};
