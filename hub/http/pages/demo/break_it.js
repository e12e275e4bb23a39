// Buttons that make something fail, only in `hub dev`: a line says what happened, and a counter
// shows that no event was lost and none came twice.

import { $, announce, create, metaOf, setText } from "./dom.js";
import { Ledger } from "./ledger.js";

const FAULTS = {
  "kill-worker": "Kill the worker", "cut-connection": "Cut the connection",
  "restart-node": "Restart the node", "freeze-upstream": "Freeze the model",
};

export class BreakIt {
  #ledger = new Ledger();
  #wasLive = false;
  #isFirst = true;

  constructor(hub, api) {
    this.api = api;
    if (metaOf("hub-faults") !== "true") return;
    $("break-it").hidden = false;
    for (const [fault, label] of Object.entries(FAULTS)) {
      const button = Object.assign(create("button", "", label), { type: "button" });
      button.addEventListener("click", () => this.#make(fault));
      $("faults").append(button);
    }
    hub.on("state", ({ state, open }) => this.#onState(state === "live", open));
  }

  onEvent(name, data) {
    if (name === "hub.reset") this.#ledger.onReset();
    else if (name.startsWith("generation.")) this.#ledger.onEvent(name, data);
    if (name === "generation.restarted") this.#report(`Another worker answers anew (attempt ${data.attempt}).`);
    if (name === "generation.continued") this.#report(`Another worker continues the answer where it stood (attempt ${data.attempt}).`);
    setText($("ledger"), this.#ledger.text);
    $("ledger").classList.toggle("wrong", this.#ledger.lost + this.#ledger.twice > 0);
  }

  #onState(isLive, open) {
    if (isLive && !this.#wasLive && !this.#isFirst) this.#report(`Connected again${open?.replayed ? `: ${open.replayed} missed events were replayed` : ""}.`);
    this.#wasLive = isLive;
    if (isLive) this.#isFirst = false;
  }

  async #make(fault) {
    const text = await this.api.breakSomething(fault).then(({ happened }) => happened, ({ message }) => message);
    this.#report(text);
    announce(text);
  }

  // Shows what happened. The connection and the answer announce themselves.
  #report(text) {
    $("happened").textContent = text;
  }
}
