// The field for the question: it grows with its text, Enter sends, Escape stops, and an earlier
// question can be edited in it. While an answer runs, its text can be sent to that answer instead.

import { $, setHidden } from "./dom.js";

export class Composer {
  #edited = null; // the turn whose question is edited
  #isSteering = false;

  // onAsk(prompt, editedTurn), onStop(), onSteer(message): resolves with whether the answer has it.
  constructor({ onAsk, onStop, onSteer }) {
    Object.assign(this, { onAsk, onStop, onSteer });
    $("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    $("stop").addEventListener("click", onStop);
    $("steer").addEventListener("click", () => this.#steer());
    $("composer").addEventListener("input", fit);
    $("composer").addEventListener("keydown", (event) => this.#onKey(event));
    $("cancel-edit").addEventListener("click", () => this.cancelEdit());
    for (const chip of document.querySelectorAll(".chip")) {
      chip.addEventListener("click", () => {
        onAsk(chip.textContent, null);
        this.focus();
      });
    }
  }

  focus() {
    $("composer").focus({ preventScroll: true });
  }

  edit(turn) {
    this.#edited = turn;
    $("composer").value = turn.prompt;
    setHidden($("editing"), false);
    fit();
    this.focus();
  }

  cancelEdit() {
    this.#edited = null;
    setHidden($("editing"), true);
    $("composer").value = "";
    fit();
    this.focus();
  }

  // Another chat is shown: the turn that is edited is not in it.
  onChat() {
    if (this.#edited) this.cancelEdit();
  }

  // The button in the composer stays in its place, while the one below an answer moves with the text.
  // canSteer: whether an answer of the chat that is shown runs.
  showRunning(isRunning, canSteer) {
    const hadFocus = [$("stop"), $("steer")].includes(document.activeElement);
    setHidden($("stop"), !isRunning);
    setHidden($("steer"), !canSteer);
    if (hadFocus && !isRunning) this.focus();
  }

  #send() {
    const prompt = $("composer").value.trim();
    if (!prompt) return;
    const edited = this.#edited;
    this.cancelEdit();
    this.onAsk(prompt, edited);
  }

  async #steer() {
    const message = $("composer").value.trim();
    if (!message || this.#isSteering) return;
    this.#isSteering = true;
    const isSent = await this.onSteer(message);
    this.#isSteering = false;
    if (isSent && $("composer").value.trim() === message) this.cancelEdit();
  }

  #onKey(event) {
    if (event.isComposing) return; // the input method uses Enter and Escape
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      $("form").requestSubmit();
    } else if (event.key === "Escape") {
      if (this.#edited) this.cancelEdit();
      else this.onStop();
    }
  }
}

function fit() {
  const box = $("composer");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}
