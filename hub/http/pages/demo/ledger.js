// Counts events of answers that were lost or came twice, by their numbers. No DOM.
//
// The parts of an answer are numbered from 0 without a gap (docs/reference/events.md). Another attempt
// begins anew, or continues with the number `parts`, and the end says how many there were.

export class Ledger {
  #next = new Map(); // generation → the number of its next part
  lost = 0;
  twice = 0;

  onEvent(name, { generation, i, deltas, parts }) {
    if (name === "generation.started" || name === "generation.restarted") this.#next.set(generation, 0);
    const next = this.#next.get(generation);
    if (name === "generation.continued") {
      this.lost += Math.max(0, parts - (next ?? parts));
      this.#next.set(generation, parts);
      return;
    }
    if (next === undefined) { // its beginning is no longer stored
      if (i !== undefined) this.#next.set(generation, i + 1);
      return;
    }
    if (i !== undefined) {
      if (i < next) this.twice += 1;
      else this.lost += i - next;
      this.#next.set(generation, Math.max(next, i + 1));
    } else if (deltas !== undefined) {
      this.lost += Math.max(0, deltas - next);
      this.#next.delete(generation);
    }
  }

  // Events are missing, and the hub has said so: the next numbers are the first ones again.
  onReset() {
    this.#next.clear();
  }

  get text() {
    return `lost ${this.lost}, twice ${this.twice}`;
  }
}
