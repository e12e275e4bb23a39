// The connection: one EventSource, its state, and the ways back that EventSource does not know.
//
// A break of the network EventSource mends by itself: it returns with Last-Event-ID. It gives up
// for good (readyState CLOSED) on any answer but 200, and knows nothing of hub.bye. Then this
// comes back with ?cursor=, the last id that was seen.
//
// Rules:
// 1. At most one EventSource is open, and one that was let go is no longer heard.
// 2. The cursor moves only by the id of an event that was handed over.
// 3. `closed` is left only by connect(); `reconnecting` ends by itself.

const CONTROL = ["hub.open", "hub.reset", "hub.bye"];
const GENERATION = ["started", "delta", "replaced", "restarted", "done", "stopped", "failed"];

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
const TICK_MS = 250;

// How long to wait after so many failures: doubling, and spread, so that not everyone returns at
// once when a node dies.
export function pauseMs(failures, random = Math.random()) {
  const most = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures);
  return most * (0.5 + random / 2);
}

export class Stream {
  // names: the event names to hear beside the hub's own; EventSource drops all others
  // onEvent(name, data, id)
  // onState({state, reason, seconds}): connecting | live | reconnecting | closed
  // refusal(url): why a connect was refused, {reason, final} or null; see api.js
  constructor(url, { cursor, names, onEvent, onState, refusal, EventSource }) {
    Object.assign(this, { url, cursor, onEvent, onState, refusal });
    this.EventSource = EventSource ?? globalThis.EventSource;
    this.names = new Set([...CONTROL, ...GENERATION.map((name) => `generation.${name}`), ...names]);
    this.state = "closed";
    this.failures = 0;
    this.wasLive = false;
  }

  connect() {
    this.#letGo();
    const source = new this.EventSource(this.#address());
    this.source = source;
    this.#tell(this.wasLive ? "reconnecting" : "connecting");
    for (const name of this.names) {
      source.addEventListener(name, (message) => {
        if (this.source === source) this.#heard(name, message);
      });
    }
    source.addEventListener("error", () => {
      if (this.source !== source) return;
      if (source.readyState === this.EventSource.CLOSED) this.#refused(source);
      else this.#tell("reconnecting");
    });
  }

  // The network or the reader is back: a pause that is under way is cut short.
  wake() {
    if (this.countdown) this.connect();
  }

  #heard(name, message) {
    if (name === "hub.open") this.failures = 0;
    let data;
    try {
      data = JSON.parse(message.data);
    } catch {
      data = message.data; // a plain text is a fine notification
    }
    if (name === "hub.open") {
      this.wasLive = true;
      this.#tell("live");
    }
    this.onEvent(name, data, message.lastEventId);
    if (message.lastEventId) this.cursor = message.lastEventId;
    if (name === "hub.bye") this.#sentAway(data);
  }

  #sentAway({ reason, reconnect, retry_ms: retryMs }) {
    this.#letGo();
    if (!reconnect) this.#tell("closed", reason);
    else {
      // Never sooner than the hub asked for; one that keeps sending us away is asked less often.
      const asked = (retryMs ?? 0) * (1 + Math.random() / 5);
      this.#comeBack(Math.max(asked, pauseMs(this.failures++)), reason);
    }
  }

  async #refused(source) {
    this.#tell("reconnecting");
    const refusal = await this.refusal(this.#address());
    if (this.source !== source) return; // someone connected meanwhile
    this.#letGo();
    if (refusal?.final) this.#tell("closed", refusal.reason);
    else this.#comeBack(pauseMs(this.failures++), refusal?.reason);
  }

  #comeBack(waitMs, reason) {
    const at = Date.now() + waitMs;
    const tick = () => {
      const left = Math.ceil((at - Date.now()) / 1000);
      if (left <= 0) return this.connect();
      this.countdown = setTimeout(tick, TICK_MS);
      this.#tell("reconnecting", reason, left);
    };
    tick();
  }

  #letGo() {
    clearTimeout(this.countdown);
    this.countdown = null;
    this.source?.close();
    this.source = null;
  }

  #tell(state, reason = null, seconds = null) {
    this.state = state;
    this.onState({ state, reason, seconds });
  }

  #address() {
    return `${this.url}?cursor=${encodeURIComponent(this.cursor)}`;
  }
}
