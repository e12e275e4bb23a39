// Which turns of a long chat have elements: the newest ones. A button shows earlier ones again.

const SHOWN_CHARS = 200_000; // of the answers that have elements, so that the page stays small
const TURN_CHARS = 1_000; // what the frame of a turn counts

export class EarlierTurns {
  #hidden = new Set(); // turns without elements
  #maxChars = SHOWN_CHARS;

  // listed(): all turns of the chat, in their order. onMore(): the button was pressed.
  constructor(root, listed, onMore) {
    Object.assign(this, { root, listed });
    this.item = document.createElement("li");
    this.item.className = "earlier";
    this.button = this.item.appendChild(document.createElement("button"));
    Object.assign(this.button, { type: "button", className: "quiet" });
    this.button.addEventListener("click", onMore);
  }

  // Whether a turn has no elements. One that changes again gets them.
  has(turn) {
    return this.#hidden.has(turn) && !isChanging(turn);
  }

  // Hides what is too much, and returns it. Called while the user sees the end of the chat, after turns
  // were drawn: those that grow need no count.
  hide(drawn) {
    if (drawn.every(isChanging)) return [];
    this.#maxChars = SHOWN_CHARS;
    const newest = this.#newest();
    const hidden = this.listed().filter((turn) => !this.#hidden.has(turn) && !newest.has(turn) && !isChanging(turn));
    for (const turn of hidden) this.#hidden.add(turn);
    this.#drawButton();
    return hidden;
  }

  // Forgets a turn that gets elements, or that is gone.
  forget(turn) {
    if (this.#hidden.delete(turn)) this.#drawButton();
  }

  clear() {
    this.#hidden.clear();
    this.#maxChars = SHOWN_CHARS;
    this.#drawButton();
  }

  // Returns the newest of the hidden turns, in their order. They get elements.
  takeMore() {
    this.#maxChars += SHOWN_CHARS;
    const newest = this.#newest();
    const more = this.listed().filter((turn) => this.#hidden.has(turn) && newest.has(turn));
    for (const turn of more) this.#hidden.delete(turn);
    this.#drawButton();
    return more;
  }

  #newest() {
    const newest = new Set();
    let chars = 0;
    for (const turn of this.listed().reverse()) {
      if (chars >= this.#maxChars) break;
      newest.add(turn);
      chars += TURN_CHARS + turn.generations.reduce((sum, { text }) => sum + text.length, 0);
    }
    return newest;
  }

  #drawButton() {
    const count = this.#hidden.size;
    if (!count) this.item.remove();
    else if (this.root.firstElementChild !== this.item) this.root.prepend(this.item);
    this.button.textContent = count === 1 ? "Show 1 earlier question" : `Show earlier questions (${count})`;
  }
}

function isChanging(turn) {
  return Boolean(turn.isSending) || turn.generations.some(({ isEnded }) => !isEnded);
}
