// The state of the connection: one line that opens, a message beside it, and a button to reconnect.

import { $, announce } from "./dom.js";

const COUNTDOWN_INTERVAL_MS = 250;
const STATES = { connecting: "connecting", live: "connected", reconnecting: "reconnecting", closed: "closed" };
const TRANSPORTS = { sse: "stream", poll: "long polling, because a proxy buffers streams" };
const REASONS = {
  draining: "The node restarts.", slow: "This page was too slow.", broker_away: "Redis cannot be reached.",
  full: "This node is full.", max_age: "The connection was old.", replaced: "A newer connection replaced this one.",
  disconnected: "The hub has disconnected you.", expired: "You are signed out: the token has expired.",
};

export class ConnectionView {
  #countdown = null;
  #latency = "";
  #cursor = "–";
  #liveCount = 0; // how often the page has been connected
  #messages = new Map(); // source → its text; the newest is shown

  // api: measures the round trip. onUser(name): called with the user of the connection.
  constructor(hub, api, { onUser }) {
    Object.assign(this, { hub, api, onUser });
    hub.on("state", (state) => this.#show(state));
    $("reconnect").addEventListener("click", () => hub.reconnect());
    $("connection").addEventListener("toggle", () => {
      if (!$("connection").open) return;
      this.showCursor(this.#cursor);
      this.#measure();
    });
    addEventListener("keydown", (event) => { if (event.key === "Escape") $("connection").open = false; });
    addEventListener("click", ({ target }) => { if (!$("connection").contains(target)) $("connection").open = false; });
  }

  // Called for each event, so it changes nothing that cannot be seen.
  showCursor(cursor) {
    this.#cursor = cursor;
    if ($("connection").open) $("connection-cursor").textContent = cursor;
  }

  // Shows a text without announcing it: not all of them are new to the user. source: what it is about. An
  // empty text removes that of the source, and no other.
  showMessage(text, source) {
    this.#messages.delete(source);
    if (text) this.#messages.set(source, text);
    $("message").textContent = [...this.#messages.values()].at(-1) ?? "";
  }

  #show({ state, reason, retryAt, open, transport, isLeader }) {
    const isLive = state === "live";
    const isNew = $("state").dataset.state !== state;
    if (isLive && isNew) this.#liveCount += 1;
    if (isNew || !isLive) {
      const text = isLive ? this.#resumedText(open) : REASONS[reason] ?? reason ?? "";
      if (isNew) announce(`Connection: ${STATES[state]}. ${text}`);
      this.showMessage(text, "connection");
    }
    $("state").dataset.state = state;
    if (isLive) this.#showDetails(open, transport, isLeader);
    if (isLive && isNew) this.#measure();
    if (open?.user) this.onUser(open.user);
    $("reconnect").hidden = state !== "closed";
    clearInterval(this.#countdown);
    const showLine = () => {
      const seconds = retryAt === null ? 0 : Math.ceil((retryAt - Date.now()) / 1000);
      const facts = state === "live" ? [open?.node && `node ${open.node}`, this.#latency] : [seconds > 0 && `in ${seconds} s`];
      $("state-text").textContent = [STATES[state], ...facts].filter(Boolean).join(" · ");
    };
    this.showLine = showLine;
    showLine();
    if (retryAt !== null) this.#countdown = setInterval(showLine, COUNTDOWN_INTERVAL_MS);
  }

  #showDetails(open, transport, isLeader) {
    $("connection-transport").textContent = `${TRANSPORTS[transport]}${isLeader ? "" : ", through another tab"}`;
    if (!open?.connection) return; // long polling has no other data
    $("connection-node").textContent = open.node;
    $("connection-id").textContent = open.connection;
    $("connection-heartbeat").textContent = `every ${open.heartbeat_seconds} s`;
    $("connection-resumed").textContent = this.#resumedText(open) || "0 events";
  }

  async #measure() {
    try {
      this.#latency = `${Math.max(1, Math.round(await this.api.measureLatency()))} ms`;
    } catch {
      this.#latency = "";
    }
    $("connection-latency").textContent = this.#latency || "–";
    this.showLine();
  }

  // The first connection of a page resumes nothing: it asks for all that is stored, even for the user's
  // own arrival in a topic.
  #resumedText(open) {
    if (this.#liveCount < 2 || !open?.recovered || !open.replayed) return "";
    return `${open.replayed} ${open.replayed === 1 ? "event" : "events"} resumed`;
  }
}
