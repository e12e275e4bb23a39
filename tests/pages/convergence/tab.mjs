// The demo page in a frame whose time, frames and requests are those of the simulation.

export class Tab {
  static #all = new Set();

  // Returns the tab of a window, for its first script.
  static of(page) {
    return [...Tab.#all].find(({ frame }) => frame.contentWindow === page);
  }

  timers = []; // { id, at, run }
  frames = []; // functions
  isClosed = false;
  #now = 0;
  #count = 0;
  #listeners = [];
  #storage = new Map();
  position = 0; // of the next event
  #firstNew = 0;
  #isReady = false;

  // Loads the page. search: the query of its address.
  static async open(hub, search, { before = null, errors }) {
    const tab = new Tab();
    Object.assign(tab, { hub, errors });
    if (before) tab.#storage = before.#storage;
    tab.position = hub.logStart;
    tab.#firstNew = hub.log.length;
    const loaded = new Promise((resolve) => { tab.onConnect = resolve; });
    tab.frame = document.createElement("iframe");
    tab.frame.src = `/tab.html${search}`;
    Tab.#all.add(tab);
    document.body.append(tab.frame);
    await loaded;
    return tab;
  }

  close() {
    this.isClosed = true;
    Tab.#all.delete(this);
    this.frame.remove();
  }

  get document() {
    return this.frame.contentDocument;
  }

  get search() {
    return this.frame.contentWindow.location.search;
  }

  // Called by the first script of the page.
  prepare(page) {
    const addTimer = (run, delay = 0) => {
      this.timers.push({ id: (this.#count += 1), at: this.#now + delay, run });
      return this.#count;
    };
    const storage = {
      getItem: (key) => this.#storage.get(key) ?? null, setItem: (key, value) => this.#storage.set(key, value), removeItem: (key) => this.#storage.delete(key),
    };
    const replaced = {
      setTimeout: addTimer,
      clearTimeout: (id) => { this.timers = this.timers.filter((timer) => timer.id !== id); },
      setInterval: () => 0,
      requestAnimationFrame: (run) => this.frames.push(run),
      fetch: (path) => this.#fetch(path),
      sessionStorage: storage,
    };
    for (const [name, value] of Object.entries(replaced)) Object.defineProperty(page, name, { value });
    page.performance.now = () => this.#now;
    page.Date.now = () => (Tab.now = (Tab.now ?? 1.7e12) + 1);
    page.addEventListener("error", ({ message }) => this.errors.push(message));
    page.addEventListener("unhandledrejection", ({ reason }) => this.errors.push(String(reason?.stack ?? reason)));
  }

  // What the page gets from hub.js.
  connect() {
    const { hub } = this;
    queueMicrotask(this.onConnect);
    return {
      state: { open: { user: "alice" } },
      on: (name, listener) => this.#listeners.push({ name, listener }),
      ready: new Promise((resolve) => { this.setReady = resolve; }),
      ask: (request) => ({ accepted: hub.start(this, request) }),
      restart: (id) => ({ accepted: hub.restart(this, id) }),
      stop: (id) => hub.stop(this, id),
      steer: (id, text) => hub.steer(this, id, text),
      respond: (id, input, value) => hub.respond(this, id, input, value),
      getSnapshot: (id) => hub.getSnapshot(this, id),
    };
  }

  async #fetch(path) {
    if (!path.startsWith("/generations")) return { ok: true, json: async () => ({}) };
    const generations = await this.hub.list(this);
    return { ok: true, json: async () => ({ generations }) };
  }

  // -- steps

  get isBehind() {
    return this.position < this.hub.log.length || !this.#isReady;
  }

  deliver() {
    const index = this.position;
    if (index < this.hub.log.length) {
      const { name, data } = structuredClone(this.hub.log[index]);
      this.position += 1;
      this.#emit(name, data, index < this.#firstNew);
    }
    if (!this.#isReady && this.position >= this.#firstNew) {
      this.#isReady = true;
      this.setReady();
    }
  }

  // Events are lost; the hub says so.
  reset() {
    this.position = this.hub.log.length;
    this.#emit("hub.reset", { channel: "user:alice", reason: "trimmed" }, false);
  }

  #emit(name, data, replayed) {
    for (const { name: wanted, listener } of this.#listeners) {
      if (wanted === "*") listener({ name, data, replayed, cursor: String(this.position) });
    }
  }

  runTimer() {
    const next = this.timers.reduce((first, timer) => (timer.at < first.at ? timer : first));
    this.timers.splice(this.timers.indexOf(next), 1);
    this.#now = Math.max(this.#now, next.at);
    next.run();
  }

  runFrames() {
    this.#now += 16;
    for (const run of this.frames.splice(0)) run(this.#now);
  }

  // -- what the user sees and does

  elements(selector) {
    return [...this.document.querySelectorAll(selector)].filter((element) => !element.closest("[hidden]"));
  }

  // isAllowed(turn): whether an element in this turn may be pressed.
  press(selector, random, isAllowed = () => true) {
    const elements = this.elements(selector).filter((element) => element.ariaDisabled !== "true" && isAllowed(element.closest(".turn")));
    if (elements.length) random.pick(elements).click();
    return elements.length > 0;
  }

  type(text) {
    this.document.getElementById("composer").value = text;
  }

  submit() {
    this.document.getElementById("form").requestSubmit();
  }

  get chats() {
    return this.elements(".chat-item").map(({ dataset }) => dataset.chat);
  }

  show(chat) {
    this.elements(".chat-item").find(({ dataset }) => dataset.chat === chat).click();
  }

  // Returns what is shown, as lines, without what depends on the clock of the tab.
  get view() {
    const text = (element, selector) => {
      const part = element.querySelector(selector);
      return part && !part.hidden ? part.textContent : "";
    };
    const isShown = (element, selector) => !element.querySelector(selector).hidden;
    const answers = (turn) => [...turn.querySelectorAll(".answer")].map((answer) => ({
      id: answer.dataset.generation, status: answer.dataset.status, label: answer.ariaLabel, state: text(answer, ".status"),
      text: [...answer.querySelector(".parts").children].map(partText).join(" | "), messages: text(answer, ".messages"), failure: text(answer, ".failure .error"),
      isPartial: isShown(answer, ".partial"),
      buttons: ["stop", "restart", "copy", "more", "again"].filter((name) => isShown(answer, `.${name}`)),
      busy: [...answer.querySelectorAll("[aria-disabled=true]:not([hidden], [hidden] *)")].map(({ className }) => className),
    }));
    return [
      ...this.elements("#turns > .turn").map((turn) => JSON.stringify({
        isReplaced: turn.classList.contains("replaced"), prompt: text(turn, ".prompt"), note: text(turn, ".requester"),
        canEdit: isShown(turn, ".edit"), isSending: isShown(turn, ".sending"), isUnsent: isShown(turn, ".unsent"), answers: answers(turn),
      })),
      `introduction: ${this.elements("#empty").length}`,
      ...this.elements(".chat-item").map((item) => `chat: ${item.textContent} ${item.ariaCurrent ?? ""}`),
      `buttons: ${this.elements("#stop, #steer").map(({ id }) => id)}`,
    ];
  }
}

// The text of a part. What is hidden in an input does not count.
function partText(element) {
  if (!element.matches(".input")) return element.textContent;
  return [element.dataset.state, ...[...element.children].filter(({ hidden }) => !hidden).map(({ textContent }) => textContent)].join(" ");
}
