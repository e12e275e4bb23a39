// What this tab knows and the hub's log does not tell again: a few facts by id, kept over a reload.
//
// Bounded, and allowed to fail: with storage full or forbidden the page forgets, and works.

const MOST = 300;

export class Memory {
  #facts = new Map();

  constructor(name, storage = globalThis.sessionStorage) {
    this.name = `hub.${name}`;
    this.storage = storage;
    try {
      this.#facts = new Map(JSON.parse(storage.getItem(this.name) ?? "[]"));
    } catch {
      // nothing was kept
    }
  }

  recall(id) {
    return this.#facts.get(id);
  }

  // The first fact stands: events that are not stored share the id of the one before them.
  keep(id, fact) {
    if (!id || this.#facts.has(id)) return;
    this.#facts.set(id, fact);
    if (this.#facts.size > MOST) this.#facts.delete(this.#facts.keys().next().value);
    try {
      this.storage.setItem(this.name, JSON.stringify([...this.#facts]));
    } catch {
      // it lasts as long as the page
    }
  }
}
