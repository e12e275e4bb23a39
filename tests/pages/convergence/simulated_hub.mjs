// A hub in the memory of a page: generations, one log of events, and requests whose arrival and
// response are two steps. Nothing happens by itself: each step is a call.

const USER = "alice";
const OTHER_USER = "bob";

// What a request is refused with, or what is thrown when its response is lost.
class RequestError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
    this.isRetryable = status === 0 || status >= 500;
  }
}

export class SimulatedHub {
  log = []; // { name, data, topic }
  logStart = 0; // the events before were trimmed
  requests = []; // { tab, run, resolve, reject, outcome }; outcome is null until the request arrives
  #generations = new Map();
  #byKey = new Map(); // idempotency key → id
  #count = 0;

  mayFail = true; // requests and responses are lost

  constructor(random) {
    this.random = random;
  }

  // -- requests

  // Returns a promise of what `run` returns when the request arrives.
  request(tab, run) {
    return new Promise((resolve, reject) => this.requests.push({ tab, run, resolve, reject, outcome: null }));
  }

  // Lets one pending request arrive, or delivers its response. Requests of a tab may overtake each other.
  advanceRequest() {
    const request = this.random.pick(this.requests);
    if (!request.outcome) {
      request.outcome = this.mayFail && this.random.chance(0.1) ? { error: new RequestError(0, "lost") } : attempt(request.run);
      return;
    }
    this.requests.splice(this.requests.indexOf(request), 1);
    if (request.tab.isClosed) return;
    const isLost = this.mayFail && this.random.chance(0.07);
    const { error = isLost ? new RequestError(0, "the response was lost") : null, value } = request.outcome;
    if (error) request.reject(error);
    else request.resolve(value);
  }

  start(tab, { id: key, messages, metadata = {}, chat, to }) {
    return this.request(tab, () => {
      if (!this.#byKey.has(key)) this.#byKey.set(key, this.#create({ user: USER, messages, metadata, chat, topic: to?.topic }));
      return this.#byKey.get(key);
    });
  }

  restart(tab, id) {
    return this.request(tab, () => {
      const { user, messages, metadata, chat, topic } = this.#generations.get(id);
      return this.#create({ user, messages, metadata, chat, topic });
    });
  }

  stop(tab, id) {
    return this.request(tab, () => {
      const generation = this.#generations.get(id);
      if (!generation.end) generation.isStopping = true;
    });
  }

  steer(tab, id, text) {
    return this.request(tab, () => {
      const generation = this.#generations.get(id);
      if (generation.end) throw new RequestError(409, "the answer has ended");
      const message = { role: "user", content: text };
      this.#publish(generation, "generation.steered", { n: generation.steeredCount++, message, by: USER });
    });
  }

  respond(tab, id, input, value) {
    return this.request(tab, () => {
      const generation = this.#generations.get(id);
      if (generation.end || generation.waitsFor !== input) throw new RequestError(409, "no longer wanted");
      this.#receive(generation, value, USER);
    });
  }

  getSnapshot(tab, id) {
    return this.request(tab, () => {
      const generation = this.#generations.get(id);
      const { user, messages, metadata, chat, topic, parts, text, deltas, attempt, end, requestedAt } = generation;
      return structuredClone({
        generation: id, user, attempt, text, parts, deltas, model: "model", upstream: "llm", status: statusOf(generation),
        requested_at: requestedAt, ...(chat !== undefined && { chat }), ...(topic !== undefined && { topic }), ...end?.data,
        ...(user === USER && { messages, metadata }),
      });
    });
  }

  list(tab) {
    return this.request(tab, () => {
      const own = [...this.#generations.values()].filter(({ user }) => user === USER).reverse().slice(0, 100);
      return structuredClone(own.map((each) => ({
        generation: each.id, status: statusOf(each), attempt: each.attempt, metadata: each.metadata, chat: each.chat, topic: each.topic,
        requested_at: each.requestedAt,
      })));
    });
  }

  // -- what workers and other users do

  get isIdle() {
    return [...this.#generations.values()].every(({ end }) => end);
  }

  // isEnding: whether all that is open ends soon.
  work(isEnding) {
    const open = [...this.#generations.values()].filter(({ end }) => !end);
    if (!open.length) return;
    const generation = this.random.pick(open);
    if (generation.isStopping) this.#end(generation, "stopped", { by: USER });
    else if (generation.attempt === 0) {
      generation.attempt = 1;
      this.#publish(generation, "generation.started", { attempt: 1, model: "model", ...this.#userIn(generation) });
    } else if (generation.waitsFor) {
      if (isEnding) this.#receive(generation, "yes", OTHER_USER);
    } else if (isEnding || this.random.chance(0.3)) this.#finish(generation);
    else if (this.random.chance(0.15)) this.#requestInput(generation);
    else if (this.random.chance(0.1)) this.#restartAttempt(generation);
    else this.#addText(generation);
  }

  // Another user of the topic, or a program of this user, starts an answer.
  startElsewhere(topic, chats) {
    const isOther = this.random.chance(0.5);
    const content = `elsewhere ${(this.#count += 1)}`;
    const recipient = isOther ? { topic } : { chat: this.random.pick(chats) || undefined };
    this.#create({ user: isOther ? OTHER_USER : USER, messages: [{ role: "user", content }], metadata: {}, ...recipient });
  }

  // Removes the oldest events. What other users asked is in no list, so it stays.
  trim() {
    const limit = this.log.findIndex(({ data }) => this.#generations.get(data.generation).user === OTHER_USER);
    const max = limit === -1 ? this.log.length : limit;
    this.logStart = Math.max(this.logStart, this.random.below(max + 1));
  }

  #create(fields) {
    const id = `g${(this.#count += 1)}`;
    this.#generations.set(id, {
      id, ...fields, requestedAt: 1.8e9 + Math.floor(this.#count / 2), attempt: 0, parts: [], text: "", deltas: 0, steeredCount: 0, inputCount: 0, waitsFor: null, isStopping: false, end: null,
    });
    return id;
  }

  #userIn({ topic, user }) {
    return topic === undefined ? {} : { user };
  }

  #publish(generation, name, data) {
    this.log.push({ name, data: { generation: generation.id, ...data }, topic: generation.topic });
  }

  #addText(generation) {
    const text = `w${this.random.below(10)} `;
    this.#publish(generation, "generation.delta", { i: generation.deltas++, text });
    generation.text += text;
    if (generation.parts.at(-1)?.type === "text") generation.parts.at(-1).text += text;
    else generation.parts.push({ type: "text", text });
  }

  #requestInput(generation) {
    const input = `input${(generation.inputCount += 1)}`;
    const fields = { input, prompt: "Go on?", options: ["yes", "no"], schema: null, expires_at: 4102444800, tool_call: null };
    this.#publish(generation, "generation.input_requested", { i: generation.deltas++, ...fields });
    generation.parts.push({ type: "input", ...fields, state: "waiting" });
    generation.waitsFor = input;
  }

  #receive(generation, value, by) {
    const part = generation.parts.find(({ input }) => input === generation.waitsFor);
    this.#publish(generation, "generation.input_received", { input: part.input, value, by });
    Object.assign(part, { state: "received", value, by });
    generation.waitsFor = null;
  }

  #restartAttempt(generation) {
    Object.assign(generation, { attempt: generation.attempt + 1, parts: [], text: "", deltas: 0 });
    this.#publish(generation, "generation.restarted", { attempt: generation.attempt, model: "model", ...this.#userIn(generation) });
  }

  #finish(generation) {
    if (this.random.chance(0.2)) this.#end(generation, "failed", { code: "upstream_status", message: "The model refused the request." });
    else this.#end(generation, "done", { finish_reason: "stop" });
  }

  #end(generation, status, data) {
    for (const part of generation.parts) if (part.state === "waiting") part.state = "cancelled";
    const whole = { ...data, deltas: generation.deltas, usage: null };
    generation.end = { status, data: whole };
    generation.waitsFor = null;
    this.#publish(generation, `generation.${status}`, whole);
  }
}

function statusOf({ end, isStopping, attempt, waitsFor }) {
  if (end) return end.status;
  if (isStopping) return "stopping";
  if (attempt === 0) return "queued";
  return waitsFor ? "waiting" : "running";
}

function attempt(run) {
  try {
    return { value: run() };
  } catch (error) {
    return { error };
  }
}
