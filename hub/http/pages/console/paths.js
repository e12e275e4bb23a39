// The addresses of the views, behind the # of the page, and what a search means. Pure.

const GENERATION = /^g[0-9a-f]{2}[0-9a-z]{16}$/;
const CONNECTION = /^c_[0-9a-f]{16}$/;

export const pathTo = (view, ...names) => `#/${[view, ...names.map(encodeURIComponent)].join("/")}`;

/** Returns {view, names} of an address. An unknown one is the overview. */
export function parsePath(hash, views) {
  const [view, ...names] = hash.replace(/^#\/?/, "").split("/");
  if (!views.includes(view)) return { view: "overview", names: [] };
  try {
    return { view, names: names.map(decodeURIComponent) };
  } catch {
    return { view: "overview", names: [] };
  }
}

/** Returns the address of what a text names: an answer, a connection, `topic:<name>`, or else a user. */
export function findPath(text) {
  const name = text.trim();
  if (GENERATION.test(name)) return pathTo("answer", name);
  if (CONNECTION.test(name)) return pathTo("connection", name);
  if (name.startsWith("topic:")) return pathTo("tail", "topic", name.slice(6));
  return pathTo("user", name.replace(/^user:/, ""));
}

const LEVELS = { running: "good", waiting: "warn", suspended: "warn", stopping: "warn", failed: "bad" };
/** A cell with the status of an answer. */
export const statusCell = (status) => ({ text: status, level: LEVELS[status] ?? "unknown" });
