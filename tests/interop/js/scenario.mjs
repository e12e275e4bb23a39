// Code that the programs share: the lines that they print for the test (see ../python/scenario.py), and the
// scenario that tells them when to act. It runs in Node.js and in a browser.

const NAMES = [
  "note",
  "hub.open",
  "hub.reset",
  "hub.bye",
  ...["started", "snapshot", "delta", "replaced", "restarted", "continued", "done", "stopped", "failed"].map(
    (name) => `generation.${name}`,
  ),
];

export class Scenario {
  constructor({ name, url, token, count, once = null }, print) {
    this.name = name;
    this.url = url;
    this.token = token;
    this.listens = name.startsWith("listen");
    this.reconnects = name === "listen-again";
    this.ends = name === "answer"; // read the answer to its end without stopping it
    this.awaited = this.listens ? "note" : "generation.delta";
    if (name === "read" || name === "stop") {
      this.awaited = "part"; // of clients that read answers, not events
    }
    this.prompt = name === "stop" ? "Say it, and wait" : "Say it";
    this.headers = token === "-" ? {} : { Authorization: `Bearer ${token}` };
    const length = name === "restart" ? 300 : 900; // long enough to be stopped on a busy machine
    this.body = JSON.stringify({
      prompt: `count to ${this.ends ? 60 : length}`,
      ...(name === "hangup" || name === "restart" ? { on_disconnect: "stop" } : {}),
    });
    this.once = once; // an idempotency key
    this.lastId = null;
    this.left = count;
    this.print = print;
  }

  /** Print an event. Return true if it is the event at which the program must act. */
  report(name, id, data) {
    this.lastId = id || this.lastId;
    this.print(`event ${name} ${id || "-"} ${encode(data)}`);
    return name === this.awaited && --this.left === 0;
  }

  /** Print that the stream has ended, and how. */
  reportEnd(how) {
    this.print(`end ${encode(String(how))}`);
  }

  /** Print that the program has closed the stream. */
  reportClosed() {
    this.print("closed");
  }

  /** Send a separate request; return the decoded response. */
  async call(method, path) {
    const headers = { ...this.headers, "Content-Type": "application/json" };
    const body = method === "POST" ? this.body : undefined;
    const response = await fetch(this.url + path, { method, headers, body });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status}`);
    return response.json();
  }
}

function encode(text) {
  let binary = "";
  for (const byte of new TextEncoder().encode(text)) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** Return the scenarios of a list such as `hangup+delete`. */
export function parseScenarios({ scenarios, ...options }, print) {
  return scenarios.split("+").map((name) => new Scenario({ name, ...options }, print));
}

/** Run a scenario with an EventSource of the browser or of npm; `open(url)` creates it. */
export function runEventSource(scenario, open) {
  return new Promise((resolve, reject) => {
    const follow = (path, received) => {
      const source = open(scenario.url + path);
      for (const name of NAMES) {
        source.addEventListener(name, (event) => received(source, name, event));
      }
      source.onerror = () => {
        scenario.reportEnd(source.readyState === source.CLOSED ? "closed" : "reconnecting");
        if (source.readyState === source.CLOSED) resolve();
      };
    };
    const listen = (source, name, event) => {
      if (!scenario.report(name, event.lastEventId, event.data)) return;
      source.close();
      scenario.reportClosed();
      resolve();
    };
    const answer = (source, name, event) => {
      if (scenario.report(name, event.lastEventId, event.data) && !scenario.ends) {
        const { generation } = JSON.parse(event.data);
        scenario.call("DELETE", `/generations/${generation}`).catch(reject);
      }
      if (name !== "hub.bye" || scenario.ends) return;
      source.close();
      scenario.reportEnd("over");
      resolve();
    };
    if (scenario.listens) follow("/sse/connect", listen);
    else {
      scenario
        .call("POST", "/generations")
        .then(({ generation }) => follow(`/generations/${generation}`, answer))
        .catch(reject);
    }
  });
}
