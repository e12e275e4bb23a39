// Turns the reports of all processes into numbers over time. Pure: no page, no network.
//
// A report is {from, at, metrics: [{name, kind, labels, samples: [[label values], number or histogram]}]}.

const HISTORY_SECONDS = 300;
const PROCESS_TIMEOUT_SECONDS = 6;

/** Returns the value of a metric in a report: the sum of the samples whose labels match. */
export function sum(report, name, labels = {}) {
  const metric = report.metrics.find((each) => each.name === name);
  if (!metric) return 0;
  let total = 0;
  for (const [values, number] of metric.samples) {
    const isMatch = Object.entries(labels).every(([label, expected]) => {
      const value = values[metric.labels.indexOf(label)];
      return expected instanceof RegExp ? expected.test(value) : value === expected;
    });
    if (isMatch) total += number;
  }
  return total;
}

/** Returns the values of a metric, grouped by one label. */
export function sumByLabel(report, name, label) {
  const metric = report.metrics.find((each) => each.name === name);
  const sums = {};
  for (const [values, number] of metric?.samples ?? []) {
    const key = values[metric.labels.indexOf(label)];
    sums[key] = (sums[key] ?? 0) + number;
  }
  return sums;
}

function getHistogram(report, name) {
  return report.metrics.find((each) => each.name === name)?.samples[0]?.[1] ?? null;
}

/** Returns a quantile (0 to 1) of the observations between two reports, in the unit of the
 *  histogram. Returns null if there were none. */
export function quantile(q, before, after, name) {
  const earlier = before && getHistogram(before, name);
  const histogram = getHistogram(after, name);
  if (!histogram) return null;
  const increases = histogram.buckets.map((count, i) => count - (earlier?.buckets[i] ?? 0));
  const hasRestarted = increases.some((increase) => increase < 0);
  const counts = hasRestarted ? histogram.buckets : increases;
  const total = counts.reduce((a, b) => a + b, 0);
  if (total <= 0) return null;
  let remaining = q * total;
  for (let i = 0; i < counts.length; i += 1) {
    if (remaining <= counts[i]) {
      const from = i ? histogram.bounds[i - 1] : 0;
      const to = i < histogram.bounds.length ? histogram.bounds[i] : from;
      return counts[i] ? from + ((to - from) * remaining) / counts[i] : from;
    }
    remaining -= counts[i];
  }
  return histogram.bounds.at(-1);
}

/** Returns the increase of a counter per second between two reports. The counters of a restarted
 *  process begin at zero. */
export function rate(before, after, name, labels) {
  const seconds = after.at - before.at;
  if (seconds <= 0) return 0;
  const increase = sum(after, name, labels) - sum(before, name, labels);
  return (increase < 0 ? sum(after, name, labels) : increase) / seconds;
}

/** The reports of all processes, and one value per second for each measure. */
export class History {
  constructor(measures) {
    this.measures = measures; // name → { value(before, after), combine(values) }
    this.latest = new Map(); // process → its latest report
    this.previous = new Map(); // process → the report before
    this.receivedAt = new Map(); // process → when its latest report arrived, by the clock of this page
    this.seconds = []; // the times of the series
    this.series = Object.fromEntries(Object.keys(measures).map((name) => [name, []]));
  }

  add(report, now) {
    const latest = this.latest.get(report.from);
    if (latest && latest.at >= report.at) return;
    if (latest) this.previous.set(report.from, latest);
    this.latest.set(report.from, report);
    this.receivedAt.set(report.from, now);
  }

  /** Returns the names of the processes that reported recently, and removes the others. */
  activeProcesses(now) {
    for (const [name, at] of this.receivedAt) {
      if (now - at <= PROCESS_TIMEOUT_SECONDS) continue;
      for (const each of [this.latest, this.previous, this.receivedAt]) each.delete(name);
    }
    return [...this.latest.keys()].sort();
  }

  /** Appends the current value of each measure to its series. */
  sample(now) {
    const processes = this.activeProcesses(now);
    this.seconds.push(now);
    for (const [name, { value, combine }] of Object.entries(this.measures)) {
      const values = processes
        .map((process) => value(this.previous.get(process), this.latest.get(process)))
        .filter((number) => number !== null && number !== undefined);
      this.series[name].push(values.length ? combine(values) : null);
    }
    while (this.seconds[0] < now - HISTORY_SECONDS) {
      this.seconds.shift();
      for (const each of Object.values(this.series)) each.shift();
    }
  }
}

const total = (values) => values.reduce((a, b) => a + b, 0);
const maximum = (values) => Math.max(...values);

function milliseconds99(before, after, name) {
  const seconds = before && quantile(0.99, before, after, name);
  return seconds === null || seconds === undefined ? null : seconds * 1000;
}

/** What the console draws. */
export const MEASURES = {
  connections: { value: (_, report) => sum(report, "hub_connections"), combine: total },
  delivered: { value: (a, b) => a && rate(a, b, "hub_events_delivered"), combine: total },
  published: { value: (a, b) => a && rate(a, b, "hub_events_published"), combine: total },
  delay: { value: (a, b) => milliseconds99(a, b, "hub_delivery_delay_seconds"), combine: maximum },
  redis: { value: (a, b) => milliseconds99(a, b, "hub_redis_round_trip_seconds"), combine: maximum },
  running: { value: (_, report) => sum(report, "hub_generations_running"), combine: total },
};
