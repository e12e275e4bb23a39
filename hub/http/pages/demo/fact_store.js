// A small key-value store in sessionStorage for facts that the hub's log does not hold.
//
// It is bounded, and storage may fail: when it is full or forbidden, facts last as long as the page.

const MAX_FACTS = 300;

export class FactStore {
  #facts = new Map();

  constructor(name, storage = globalThis.sessionStorage) {
    this.name = `hub.${name}`;
    this.storage = storage;
    try {
      this.#facts = new Map(JSON.parse(storage.getItem(this.name) ?? "[]"));
    } catch {
      // Nothing was stored.
    }
  }

  get(id) {
    return this.#facts.get(id);
  }

  // Stores a fact once: events that are not stored share the cursor of the event before them.
  put(id, fact) {
    if (!id || this.#facts.has(id)) return;
    this.#facts.set(id, fact);
    if (this.#facts.size > MAX_FACTS) this.#facts.delete(this.#facts.keys().next().value);
    try {
      this.storage.setItem(this.name, JSON.stringify([...this.#facts]));
    } catch {
      // The fact lasts as long as the page.
    }
  }
}
