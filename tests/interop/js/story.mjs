// What the programs share: the lines they say to the test (see ../python/story.py), and when they
// have had enough. Runs in Node.js and in a browser.

const NAMES = [
  "note",
  "hub.open",
  "hub.reset",
  "hub.bye",
  ...["started", "snapshot", "delta", "replaced", "restarted", "done", "stopped", "failed"].map(
    (name) => `generation.${name}`,
  ),
];

export class Story {
  constructor({ scenario, url, token, count, once = null }, say) {
    this.scenario = scenario;
    this.url = url;
    this.token = token;
    this.listens = scenario.startsWith("listen");
    this.comesAgain = scenario === "listen-again";
    this.ends = scenario === "answer"; // reads it to its end, and stops nothing
    this.awaited = this.listens ? "note" : "generation.delta";
    if (scenario === "read" || scenario === "stop") {
      this.awaited = "piece"; // of an answer, by clients that know no events
    }
    this.question = scenario === "stop" ? "Say it, and wait" : "Say it";
    this.headers = token === "-" ? {} : { Authorization: `Bearer ${token}` };
    const most = scenario === "restart" ? 300 : 900; // long enough to be stopped on a busy machine
    this.body = JSON.stringify({
      prompt: `count to ${this.ends ? 60 : most}`,
      ...(scenario === "hangup" || scenario === "restart" ? { on_disconnect: "stop" } : {}),
    });
    this.once = once; // an idempotency key
    this.lastId = null;
    this.left = count;
    this.say = say;
  }

  /** Says an event; true for the one at which the program was to do something. */
  tell(name, id, data) {
    this.lastId = id || this.lastId;
    this.say(`event ${name} ${id || "-"} ${encoded(data)}`);
    return name === this.awaited && --this.left === 0;
  }

  /** The stream has ended, and not by the program. */
  end(how) {
    this.say(`end ${encoded(String(how))}`);
  }

  /** The program has closed it. */
  closed() {
    this.say("closed");
  }

  /** One request beside the stream: its body, decoded. */
  async call(method, path) {
    const headers = { ...this.headers, "Content-Type": "application/json" };
    const body = method === "POST" ? this.body : undefined;
    const answer = await fetch(this.url + path, { method, headers, body });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status}`);
    return answer.json();
  }
}

function encoded(text) {
  let binary = "";
  for (const byte of new TextEncoder().encode(text)) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** Those that are asked for, `hangup+delete` in turn. */
export function stories({ scenarios, ...asked }, say) {
  return scenarios.split("+").map((scenario) => new Story({ scenario, ...asked }, say));
}

/** Both EventSources, the browser's and the one of npm: `open(path)` makes one. */
export function runEventSource(story, open) {
  return new Promise((resolve, reject) => {
    const follow = (path, heard) => {
      const source = open(story.url + path);
      for (const name of NAMES) {
        source.addEventListener(name, (event) => heard(source, name, event));
      }
      source.onerror = () => {
        story.end(source.readyState === source.CLOSED ? "closed for good" : "comes again");
        if (source.readyState === source.CLOSED) resolve();
      };
    };
    const listen = (source, name, event) => {
      if (!story.tell(name, event.lastEventId, event.data)) return;
      source.close();
      story.closed();
      resolve();
    };
    const answer = (source, name, event) => {
      if (story.tell(name, event.lastEventId, event.data) && !story.ends) {
        const { generation } = JSON.parse(event.data);
        story.call("DELETE", `/generations/${generation}`).catch(reject);
      }
      if (name !== "hub.bye" || story.ends) return;
      source.close();
      story.end("over");
      resolve();
    };
    if (story.listens) follow("/sse/connect", listen);
    else {
      story
        .call("POST", "/generations")
        .then(({ generation }) => follow(`/generations/${generation}`, answer))
        .catch(reject);
    }
  });
}
