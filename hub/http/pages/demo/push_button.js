// The button "Notify me when an answer is ready". While it is on, this browser gets push notifications,
// and the page sends `notify: true` with each question. It is hidden if the hub or the browser has none.

import { $, announce, metaOf } from "./dom.js";

export class PushButton {
  isOn = false;

  // showMessage(text): in the header.
  constructor(hub, { showMessage }) {
    Object.assign(this, { hub, showMessage });
    if (metaOf("hub-push") !== "true") return;
    $("push").addEventListener("click", () => this.#run(() => (this.isOn ? this.#disable() : this.#enable())));
    this.#run(() => this.#start());
  }

  async #start() {
    const state = await this.hub.push.state();
    $("push-slot").hidden = state === "unsupported";
    if (state === "on") await this.#enable(); // renews the subscription, for the present user
  }

  async #enable() {
    await this.hub.push.enable();
    this.#show(true);
  }

  async #disable() {
    this.#show(false);
    await this.hub.push.disable();
  }

  #show(isOn) {
    this.isOn = isOn;
    $("push").setAttribute("aria-pressed", String(isOn));
  }

  async #run(action) {
    $("push").disabled = true;
    try {
      await action();
      this.showMessage("");
    } catch (error) {
      this.showMessage(error.message);
      announce(error.message);
    }
    $("push").disabled = false;
  }
}
