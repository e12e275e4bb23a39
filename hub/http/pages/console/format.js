// Numbers, sizes and times as the reader's browser writes them.

const locale = globalThis.navigator?.language;
const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });
const day = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "long" });
const UNITS = ["B", "kB", "MB", "GB", "TB"];

export const formatNumber = (value) => whole.format(value);
export const formatShort = (value) => (value < 10_000 ? whole.format(value) : short.format(value));
export const formatRate = (value) => (value > 0 && value < 10 ? value.toFixed(1) : formatShort(value));
export const formatPercent = (share) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

/** Formats seconds that are measured in milliseconds. null means that nothing was measured. */
export function formatMilliseconds(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  return seconds < 1 ? `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms` : `${seconds.toFixed(1)} s`;
}

/** Formats a time span in seconds. */
export function formatSpan(seconds) {
  if (seconds <= 0) return "0 s";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

/** Formats the time since a Unix time in seconds, to the second. */
export function formatAge(unixSeconds) {
  const seconds = Math.max(0, Date.now() / 1000 - unixSeconds);
  return seconds < 10 ? `${Math.round(seconds)} s` : formatSpan(seconds);
}

export function formatBytes(bytes) {
  let unit = 0;
  while (bytes >= 1000 && unit < UNITS.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${unit && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${UNITS[unit]}`;
}

/** Formats a Unix time in seconds: the time of day with its zone. */
export const formatTime = (unixSeconds) => clock.format(unixSeconds * 1000);
/** Formats a Unix time in seconds: the day and the time with its zone. */
export const formatDate = (unixSeconds) => day.format(unixSeconds * 1000);
