// The inputs that answers of other users ask of this user, who is their approver. The newest is first.

import { FoldedParts } from "../hub.js";
import { createInput } from "./input_form.js";

const MAX_ITEMS = 50;

export class RequestList {
  #items = new Map(); // generation and key → { folded, update }

  // respond(generation, input, value): sends a value. onAdd(prompt, user, isNew): called after a request was added
  constructor(root, { respond, onAdd }) {
    Object.assign(this, { root, respond, onAdd });
  }

  // Handles a generation.* event. Only the copies for approvers have `user` and no `i`.
  onEvent(name, data, isNew) {
    const id = JSON.stringify([data.generation, data.input]);
    const isRequest = name === "generation.input_requested" && data.i === undefined;
    if (isRequest && !this.#items.has(id)) this.#add(id, data);
    const item = this.#items.get(id);
    if (!item) return;
    item.folded.apply(name, data);
    item.update(item.folded.parts[0]);
    if (isRequest) this.onAdd(data.prompt, data.user, isNew);
  }

  #add(id, { generation, user }) {
    const { element, update } = createInput((input, value) => this.respond(generation, input, value));
    const item = document.createElement("li");
    item.append(Object.assign(document.createElement("strong"), { textContent: `For ${user}` }), element);
    this.root.prepend(item);
    this.#items.set(id, { folded: new FoldedParts(), update });
    if (this.#items.size <= MAX_ITEMS) return;
    this.root.lastElementChild.remove();
    this.#items.delete(this.#items.keys().next().value);
  }
}
