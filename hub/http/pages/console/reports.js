// What the processes report, as numbers over time. Pure: no page, no network.
//
// A report is {from, at, metrics: [{name, kind, labels, samples: [[values], number or spread]}]}.

const KEEP_SECONDS = 300;
const SILENT_SECONDS = 6;

/** A metric's number in a report: the sum of the samples whose labels fit. */
export function sum(report, name, fits = {}) {
  const metric = report.metrics.find((each) => each.name === name);
  if (!metric) return 0;
  let total = 0;
  for (const [values, number] of metric.samples) {
    const fitting = Object.entries(fits).every(([label, value]) => {
      const found = values[metric.labels.indexOf(label)];
      return value instanceof RegExp ? value.test(found) : found === value;
    });
    if (fitting) total += number;
  }
  return total;
}

/** A metric's numbers by one label. */
export function byLabel(report, name, label) {
  const metric = report.metrics.find((each) => each.name === name);
  const found = {};
  for (const [values, number] of metric?.samples ?? []) {
    const key = values[metric.labels.indexOf(label)];
    found[key] = (found[key] ?? 0) + number;
  }
  return found;
}

function spreadOf(report, name) {
  return report.metrics.find((each) => each.name === name)?.samples[0]?.[1] ?? null;
}

/** The value below which that share of what was observed between two reports lies, in the
 *  histogram's unit; null when nothing was. */
export function quantile(share, before, after, name) {
  const then = before && spreadOf(before, name);
  const now = spreadOf(after, name);
  if (!now) return null;
  const grown = now.buckets.map((n, i) => n - (then?.buckets[i] ?? 0));
  const counts = grown.some((n) => n < 0) ? now.buckets : grown; // a process that began anew
  const all = counts.reduce((a, b) => a + b, 0);
  if (all <= 0) return null;
  let left = share * all;
  for (let i = 0; i < counts.length; i += 1) {
    if (left <= counts[i]) {
      const from = i ? now.bounds[i - 1] : 0;
      const to = i < now.bounds.length ? now.bounds[i] : from;
      return counts[i] ? from + ((to - from) * left) / counts[i] : from;
    }
    left -= counts[i];
  }
  return now.bounds.at(-1);
}

/** A counter's growth per second between two reports; a process that began anew began at zero. */
export function rate(before, after, name, fits) {
  const seconds = after.at - before.at;
  if (seconds <= 0) return 0;
  const grown = sum(after, name, fits) - sum(before, name, fits);
  return (grown < 0 ? sum(after, name, fits) : grown) / seconds;
}

/** The reports of all processes, and what they add up to each second. */
export class History {
  constructor(measures) {
    this.measures = measures; // name → (before, after) → number or null, and how to combine
    this.last = new Map(); // process → its newest report
    this.before = new Map(); // process → the one before it
    this.heardAt = new Map(); // process → when the newest came, by the clock of this page
    this.seconds = []; // of the series
    this.series = Object.fromEntries(Object.keys(measures).map((name) => [name, []]));
  }

  take(report, now) {
    const known = this.last.get(report.from);
    if (known && known.at >= report.at) return;
    if (known) this.before.set(report.from, known);
    this.last.set(report.from, report);
    this.heardAt.set(report.from, now);
  }

  /** Processes that have reported lately; of the others, nothing is known. */
  alive(now) {
    for (const [name, at] of this.heardAt) {
      if (now - at <= SILENT_SECONDS) continue;
      for (const each of [this.last, this.before, this.heardAt]) each.delete(name);
    }
    return [...this.last.keys()].sort();
  }

  /** One more second in the series. */
  tick(now) {
    const alive = this.alive(now);
    this.seconds.push(now);
    for (const [name, { of, all }] of Object.entries(this.measures)) {
      const values = alive
        .map((process) => of(this.before.get(process), this.last.get(process)))
        .filter((value) => value !== null && value !== undefined);
      this.series[name].push(values.length ? all(values) : null);
    }
    while (this.seconds[0] < now - KEEP_SECONDS) {
      this.seconds.shift();
      for (const each of Object.values(this.series)) each.shift();
    }
  }
}

const add = (values) => values.reduce((a, b) => a + b, 0);
const most = (values) => Math.max(...values);

/** What the console draws. */
export const MEASURES = {
  connections: { of: (_, report) => sum(report, "hub_connections"), all: add },
  delivered: { of: (a, b) => a && rate(a, b, "hub_events_delivered"), all: add },
  published: { of: (a, b) => a && rate(a, b, "hub_events_published"), all: add },
  delay: {
    of: (a, b) => {
      const seconds = a && quantile(0.99, a, b, "hub_delivery_delay_seconds");
      return seconds === null || seconds === undefined ? null : seconds * 1000;
    },
    all: most,
  },
  redis: {
    of: (a, b) => {
      const seconds = a && quantile(0.99, a, b, "hub_redis_round_trip_seconds");
      return seconds === null || seconds === undefined ? null : seconds * 1000;
    },
    all: most,
  },
  running: { of: (_, report) => sum(report, "hub_generations_running"), all: add },
};
