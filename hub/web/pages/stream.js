// The connection: one EventSource, its state, and the ways back that EventSource does not know.
//
// EventSource resumes after a break of the network by itself (Last-Event-ID). It gives up for good
// on any answer but 200, and knows nothing of hub.bye: then this comes back with ?cursor=, the last
// id that was seen.

const CONTROL = ["hub.open", "hub.reset", "hub.bye"];
const GENERATION = ["started", "delta", "replaced", "restarted", "done", "stopped", "failed"];
const OTHER = ["notification", "message"]; // EventSource hears only names that it is told
const NAMES = [...CONTROL, ...GENERATION.map((name) => `generation.${name}`), ...OTHER];

const LONGEST_PAUSE_MS = 15000;

export class Stream {
  // onEvent(name, data, id); onState(state, text): connecting | live | reconnecting | closed
  constructor(url, { cursor, onEvent, onState }) {
    this.url = url;
    this.cursor = cursor;
    this.onEvent = onEvent;
    this.onState = onState;
    this.failures = 0;
    this.wasLive = false;
  }

  connect() {
    clearInterval(this.countdown);
    this.source?.close();
    const source = new EventSource(`${this.url}?cursor=${encodeURIComponent(this.cursor)}`);
    this.source = source;
    this.onState(this.wasLive ? "reconnecting" : "connecting", this.wasLive ? "reconnecting" : "connecting");
    for (const name of NAMES) {
      source.addEventListener(name, (message) => this.#heard(name, message));
    }
    source.addEventListener("error", () => {
      if (this.source !== source) return;
      if (source.readyState === EventSource.CONNECTING) {
        this.onState("reconnecting", "reconnecting");
      } else {
        this.failures += 1;
        this.#comeBack(Math.min(LONGEST_PAUSE_MS, 500 * 2 ** this.failures));
      }
    });
  }

  #heard(name, message) {
    if (message.lastEventId) this.cursor = message.lastEventId;
    let data;
    try {
      data = JSON.parse(message.data);
    } catch {
      data = message.data; // a plain text is a fine notification
    }
    if (name === "hub.open") {
      this.failures = 0;
      const again = this.wasLive && data.recovered;
      this.wasLive = true;
      const missed = again && data.replayed ? `, ${data.replayed} caught up` : "";
      this.onState("live", `live${missed}`);
    } else if (name === "hub.bye") {
      this.source.close();
      if (data.reconnect) this.#comeBack(data.retry_ms, data.reason);
      else this.onState("closed", `closed: ${data.reason}`);
    }
    this.onEvent(name, data, message.lastEventId);
  }

  #comeBack(afterMs, reason) {
    const wait = afterMs * (0.5 + Math.random() / 2); // spread, so that not everyone returns at once
    const at = Date.now() + wait;
    const why = reason ? ` (${reason})` : "";
    const tick = () => {
      const left = Math.ceil((at - Date.now()) / 1000);
      if (left <= 0) this.connect();
      else this.onState("reconnecting", `reconnecting in ${left} s${why}`);
    };
    clearInterval(this.countdown);
    this.countdown = setInterval(tick, 250);
    tick();
  }
}
