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

/** Returns the increase of a counter between two reports. The counters of a restarted process begin
 *  at zero. */
export function increase(before, after, name, labels) {
  const now = sum(after, name, labels);
  const difference = now - sum(before, name, labels);
  return difference < 0 ? now : difference;
}

/** Returns the increases of a counter between two reports, grouped by one label. */
export function increaseByLabel(before, after, name, label) {
  const earlier = sumByLabel(before, name, label);
  const increases = Object.entries(sumByLabel(after, name, label)).map(([value, count]) => {
    const difference = count - (earlier[value] ?? 0);
    return [value, difference < 0 ? count : difference];
  });
  return Object.fromEntries(increases);
}

/** Returns the increase of a counter per second between two reports. */
export function rate(before, after, name, labels) {
  const seconds = after.at - before.at;
  return seconds > 0 ? increase(before, after, name, labels) / seconds : 0;
}

// Returns {bounds, counts}: how many values fell into each bucket, whatever their labels.
function countBuckets(report, name) {
  const samples = report?.metrics.find((each) => each.name === name)?.samples ?? [];
  if (!samples.length) return null;
  const counts = samples[0][1].buckets.map((_, i) => samples.reduce((all, [, { buckets }]) => all + buckets[i], 0));
  return { bounds: samples[0][1].bounds, counts };
}

/** Returns {bounds, counts} of what a histogram observed between the two reports of each pair. */
export function histogramIncrease(pairs, name) {
  let merged = null;
  for (const [before, after] of pairs) {
    const later = countBuckets(after, name);
    if (!later) continue;
    const earlier = countBuckets(before, name);
    const increases = later.counts.map((count, i) => count - (earlier?.counts[i] ?? 0));
    const counts = increases.some((each) => each < 0) ? later.counts : increases; // it was restarted
    merged = { bounds: later.bounds, counts: merged ? merged.counts.map((count, i) => count + counts[i]) : counts };
  }
  return merged;
}

/** Returns a quantile (0 to 1) of what histogramIncrease returns, in the unit of the histogram.
 *  Returns null if there were no observations. */
export function quantileOf(q, histogram) {
  const counts = histogram?.counts ?? [];
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

export const quantile = (q, before, after, name) => quantileOf(q, histogramIncrease([[before, after]], name));

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
