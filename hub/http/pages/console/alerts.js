// The state of each alert, by the rules of config/alerts.yml (alert_rules.js is made from them). As in
// Prometheus, a condition that holds is pending until it has held for the time of its rule, and then
// it fires. Pure.

import { ALERT_RULES } from "./alert_rules.js";
import { ALERT_VALUES } from "./alert_values.js";

const MIN_WATCHED_SECONDS = 30; // a rate over less says nothing
const COMPARISONS = { ">": (a, b) => a > b, "==": (a, b) => a === b };

export class Alerts {
  #since = new Map(); // name of an alert → when its condition began to hold

  // window: a ReportWindow.
  constructor(window, rules = ALERT_RULES, values = ALERT_VALUES) {
    Object.assign(this, { window, rules, values });
  }

  /** Returns one {...rule, value, state, level} for each rule. state: unknown, ok, pending or
   *  firing. level: unknown, good, warn or bad. */
  evaluate(now) {
    const counts = { nodes: this.window.count(false, now), workers: this.window.count(true, now) };
    const isMeasuring = this.window.watchedSeconds(now) < MIN_WATCHED_SECONDS;
    return this.rules.map((rule) => {
      const pairs = this.window.pairs(rule.windowSeconds, now);
      const value = pairs.length ? this.values[rule.name]({ pairs, ...counts }) : null;
      const isUnknown = !pairs.length || (rule.windowSeconds > 0 && isMeasuring);
      const state = isUnknown ? "unknown" : this.#judge(rule, value, now);
      return { ...rule, value, state, level: levelOf(state, rule.severity) };
    });
  }

  #judge({ name, operator, threshold, forSeconds }, value, now) {
    if (value === null || !COMPARISONS[operator](value, threshold)) {
      this.#since.delete(name);
      return "ok";
    }
    if (!this.#since.has(name)) this.#since.set(name, now);
    return now - this.#since.get(name) >= forSeconds ? "firing" : "pending";
  }
}

function levelOf(state, severity) {
  if (state === "firing") return severity === "page" ? "bad" : "warn";
  return { unknown: "unknown", ok: "good", pending: "warn" }[state];
}

const ORDER = ["unknown", "good", "warn", "bad"];

/** Returns the worst of some levels. One rule without data does not hide the others. */
export function worstLevel(levels) {
  return levels.reduce((worst, level) => (ORDER.indexOf(level) > ORDER.indexOf(worst) ? level : worst), "unknown");
}
