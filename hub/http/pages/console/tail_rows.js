// The rows of a live tail: the newest ones, and one row with a counter for the deltas of an answer.
// Pure. It holds at most `maxRows` rows, whatever arrives.

const MAX_DATA_CHARS = 300;
const COLLAPSED = new Set(["generation.delta", "generation.part"]);

export class TailRows {
  #rows = []; // the oldest first
  #open = new Map(); // id of an answer → the row that counts its deltas

  constructor(maxRows = 200) {
    this.maxRows = maxRows;
    this.received = 0;
  }

  /** Adds an event {event, data}. at: Unix seconds. */
  add({ event, data }, at) {
    this.received += 1;
    const generation = data?.generation;
    const open = COLLAPSED.has(event) ? this.#open.get(generation) : undefined;
    if (open) {
      Object.assign(open, { count: open.count + 1, at, data: shorten(data) });
      return;
    }
    const row = { at, event, count: 1, data: shorten(data) };
    if (COLLAPSED.has(event)) this.#open.set(generation, row);
    else this.#open.delete(generation);
    this.#rows.push(row);
    if (this.#rows.length > this.maxRows) this.#forget(this.#rows.shift());
  }

  /** Returns the rows that contain a text, the newest first. */
  list(filter = "") {
    const text = filter.trim().toLowerCase();
    const rows = text ? this.#rows.filter((row) => `${row.event} ${row.data}`.toLowerCase().includes(text)) : this.#rows;
    return rows.toReversed();
  }

  #forget(row) {
    for (const [generation, open] of this.#open) if (open === row) this.#open.delete(generation);
  }
}

export function shorten(data) {
  const text = typeof data === "string" ? data : JSON.stringify(data) ?? "";
  return text.length > MAX_DATA_CHARS ? `${text.slice(0, MAX_DATA_CHARS)}…` : text;
}
