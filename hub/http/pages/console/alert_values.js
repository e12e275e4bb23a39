// The values that the alerts compare: what config/alerts.yml asks Prometheus for, computed from the
// reports of the processes. Each function gets {pairs, counts} and returns the largest value of its
// expression, or null where it has none. Pure.

import { histogramIncrease, increase, increaseByLabel, quantileOf, rate, sum } from "./live_metrics.js";

const MIN_REQUESTS_PER_SECOND = 0.1; // as in the rules: fewer raise no alert
const MIN_ANSWERS_PER_SECOND = 0.01;

const highest = (values) => {
  const numbers = values.filter((value) => value !== null && !Number.isNaN(value));
  return numbers.length ? Math.max(...numbers) : null;
};
const gauge = (name) => ({ pairs }) => highest(pairs.map(([, after]) => sum(after, name)));
const rateOfProcess = (name, labels) => ({ pairs }) => highest(pairs.map(([before, after]) => rate(before, after, name, labels)));
const quantileOfProcess = (q, name) => ({ pairs }) => highest(pairs.map((pair) => quantileOf(q, histogramIncrease([pair], name))));
const total = (pairs, name, labels) => pairs.reduce((all, [before, after]) => all + rate(before, after, name, labels), 0);

function rateOfLabel(pairs, name, label) {
  const rates = {};
  for (const [before, after] of pairs) {
    const seconds = after.at - before.at;
    for (const [value, count] of Object.entries(seconds > 0 ? increaseByLabel(before, after, name, label) : {})) {
      rates[value] = (rates[value] ?? 0) + count / seconds;
    }
  }
  return rates;
}

function shareOfFailures(pairs) {
  const upstreams = Object.entries(rateOfLabel(pairs, "hub_generations_ended", "upstream"));
  return highest(upstreams.filter(([, all]) => all > MIN_ANSWERS_PER_SECOND).flatMap(([upstream, all]) => {
    const failed = pairs.map((pair) => onlyOf(pair, upstream));
    return Object.values(rateOfLabel(failed, "hub_generations_ended", "code")).map((each) => each / all);
  }));
}

// Returns the pair with the failed answers of one upstream only.
function onlyOf(pair, upstream) {
  return pair.map((report) => ({
    ...report,
    metrics: report.metrics.filter(({ name }) => name === "hub_generations_ended").map((metric) => ({
      ...metric,
      samples: metric.samples.filter(([values]) =>
        values[metric.labels.indexOf("upstream")] === upstream && values[metric.labels.indexOf("status")] === "failed"),
    })),
  }));
}

function shareOfSlowClients({ pairs }) {
  return highest(pairs.map(([before, after]) => {
    const opened = increase(before, after, "hub_connections_opened");
    return opened ? increase(before, after, "hub_connections_closed", { reason: "slow" }) / opened : null;
  }));
}

function shareOfServerErrors({ pairs }) {
  const all = total(pairs, "hub_http_requests", { route: /^(?!\/readyz$)/ });
  if (all <= MIN_REQUESTS_PER_SECOND) return null;
  return total(pairs, "hub_http_requests", { route: /^(?!\/readyz$)/, status: /^5/ }) / all;
}

function shareOfMemory({ pairs }) {
  return highest(pairs.map(([, after]) => {
    const limit = sum(after, "hub_redis_max_memory_bytes");
    return limit ? sum(after, "hub_redis_memory_bytes") / limit : null;
  }));
}

/** By the name of the alert. A rule with `up` is told whether a process is silent: 0, or else 1. */
export const ALERT_VALUES = {
  HubNodeDown: ({ nodes }) => (nodes.silent ? 0 : 1),
  HubWorkerDown: ({ workers }) => (workers.silent ? 0 : 1),
  HubRedisConnectionBreaks: rateOfProcess("hub_redis_link_breaks"),
  HubRedisRefusesWrites: rateOfProcess("hub_redis_refusals"),
  HubRedisMemory: shareOfMemory,
  HubDeliverySlow: quantileOfProcess(0.99, "hub_delivery_delay_seconds"),
  HubEventLoopLag: quantileOfProcess(0.99, "hub_loop_lag_seconds"),
  HubRequestsFail: shareOfServerErrors,
  HubNodeFull: rateOfProcess("hub_connections_closed", { reason: "full" }),
  HubSlowClients: shareOfSlowClients,
  HubGapCheckStale: gauge("hub_gap_check_age_seconds"),
  HubResets: ({ pairs }) => highest(Object.values(rateOfLabel(pairs, "hub_resets", "reason"))),
  HubGenerationsFail: ({ pairs }) => shareOfFailures(pairs),
  HubGenerationsQueued: ({ pairs }) => quantileOf(0.95, histogramIncrease(pairs, "hub_generation_queued_seconds")),
  HubGenerationsStuck: gauge("hub_generations_oldest_waiting_seconds"),
  HubOutboxWaits: gauge("hub_outbox_oldest_seconds"),
  HubOutboxRefuses: ({ pairs }) => highest(pairs.map(([before, after]) => increase(before, after, "hub_outbox_rows", { outcome: "refused" }))),
};

/** The metrics that the values need, and those that tell a worker from a node. */
export const ALERT_METRICS = [
  "hub_redis_link_breaks", "hub_redis_refusals", "hub_redis_memory_bytes", "hub_redis_max_memory_bytes",
  "hub_delivery_delay_seconds", "hub_loop_lag_seconds", "hub_http_requests", "hub_connections_closed",
  "hub_connections_opened", "hub_gap_check_age_seconds", "hub_resets", "hub_generations_ended",
  "hub_generation_queued_seconds", "hub_generations_oldest_waiting_seconds", "hub_outbox_oldest_seconds",
  "hub_outbox_rows", "hub_generations_running", "hub_draining",
];
