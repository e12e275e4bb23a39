// Client for backends in Node.js 20 or later: answers that a process writes, and users' prompts that it
// claims. backend.d.ts has the types, and
// docs/guides/external-producers.md the routes. The parts of an answer obey these rules:
//
// 1. A part stays in the outbox until the hub acknowledges it. It is posted again after a lost connection or a lost
//    response; the hub recognises it by its number.
// 2. At least 25 ms lie between two posts. `[]` renews the lease when nothing is written.
// 3. After a stop, a lost lease or the end nothing is posted. The control stream tells of the first two at once; it is a
//    second way only: without it the next post tells.

const COALESCE_MS = 25;
const MAX_RENEW_MS = 5000;
const MIN_TIMEOUT_MS = 2000;
const REQUEST_TIMEOUT_MS = 30_000;
const MAX_SILENCE_MS = 30_000; // of the control stream, which has heartbeats
const WAIT_SECONDS = 20; // of a claim without a job
const MAX_ATTEMPTS = 4;
const MIN_DELAY_MS = 200;
const MAX_DELAY_MS = 2000;
const MAX_BATCH_BYTES = 48 * 1024; // far below publish.max_body_bytes, which operators may lower
const MAX_OUTBOX_BYTES = 1024 * 1024;
const MAX_TEXT_LENGTH = 16 * 1024; // of one part that several writes share
const SEQ_BYTES = 24; // of the number of a part, and of what separates it from the next one
const OVER = ["lease_lost", "ended", "generation_not_found"];

export class HubError extends Error {
  name = "HubError";

  constructor(message, { status = 0, code = null, expected = null, generation = null, retryAfterSeconds = null } = {}) {
    super(message);
    Object.assign(this, { status, code, expected, generation, retryAfterSeconds });
  }

  get isRetryable() {
    return this.status === 0 || this.status === 429 || (this.status >= 502 && this.status <= 504);
  }
}

export class GenerationStopped extends HubError {
  name = "GenerationStopped";

  constructor(by) {
    super(by ? `the answer was stopped by ${by}` : "the answer was stopped");
    this.by = by ?? null;
  }
}

export class InputTimeout extends HubError {
  name = "InputTimeout";
}

export class LeaseLost extends HubError {
  name = "LeaseLost";
}

export function connectBackend(url, options = {}) {
  return new Backend(new Http(url, options));
}

class Backend {
  #http;

  constructor(http) {
    this.#http = http;
  }

  async generation({ user, topic, id = crypto.randomUUID(), messages, ...options }, write) {
    const prompt = typeof messages === "string" ? { prompt: messages } : { messages };
    const body = { to: { user, topic }, producer: "external", id, ...prompt, ...options };
    const attempt = await this.#http.sendWithRetries("POST", "/generations", { body });
    return produce(new ProducedAnswer(this.#http, attempt), write);
  }

  // A job that has not ended when the next one is requested returns to the queue.
  async *jobs(queue, { lease_seconds, signal } = {}) {
    for (let [claim_id, failures] = [crypto.randomUUID(), 0]; !signal?.aborted; ) {
      let claimed;
      try {
        const body = { queue, claim_id, wait_seconds: WAIT_SECONDS, lease_seconds };
        claimed = await this.#http.send("POST", "/jobs/claim", { body, signal });
        [claim_id, failures] = [crypto.randomUUID(), 0];
      } catch (error) {
        if (signal?.aborted) return await this.#returnClaimed({ queue, claim_id, lease_seconds });
        if (!error.isRetryable) throw error;
        failures += 1;
        await new Condition().wait(retryDelayMs(failures, error));
        continue;
      }
      for (const { lease, ...request } of claimed.jobs) {
        const answer = new ProducedAnswer(this.#http, { lease, ...request });
        try {
          yield { ...request, answer };
        } finally {
          await answer.release();
        }
      }
    }
  }

  // Returns what an aborted claim may have got meanwhile: its repetition gets the same jobs.
  async #returnClaimed(claim) {
    try {
      const { jobs } = await this.#http.send("POST", "/jobs/claim", { body: { ...claim, wait_seconds: 0 } });
      for (const request of jobs) await new ProducedAnswer(this.#http, request).release();
    } catch {
      // Then the leases end by themselves.
    }
  }

  async worker(queue, write, { max_running = 1, lease_seconds, signal } = {}) {
    const answerOneByOne = async () => {
      for await (const job of this.jobs(queue, { lease_seconds, signal })) {
        await produce(job.answer, async (answer) => {
          const part = await write(job, answer);
          if (part != null) await answer.write(part);
        }).catch((error) => {
          const isOver = error instanceof GenerationStopped || error instanceof LeaseLost;
          if (!isOver) console.error(`the answer ${job.generation} failed:`, error);
        });
      }
    };
    await Promise.all(Array.from({ length: max_running }, answerOneByOne));
  }
}

// Runs the function that writes an answer, and ends the answer with it.
async function produce(answer, write) {
  let result;
  try {
    result = await write(answer);
  } catch (error) {
    await answer.finish({ status: "failed", code: "producer_error", message: "the producer of this answer failed" });
    throw error;
  }
  await answer.finish({ status: "done" });
  if (answer.failure && !(answer.failure instanceof GenerationStopped)) throw answer.failure;
  return result;
}

class ProducedAnswer {
  failure = null; // why nothing can be posted any more, unless the answer has ended
  #http;
  #attempt;
  #outbox = new Outbox();
  #changed = new Condition();
  #stopped = new AbortController(); // aborted by a stop, a lost lease or a hub that stays away
  #over = new AbortController(); // aborted by these, and by the end
  #hasEnd = false;
  #inputs = new Map(); // those that wait no longer, by key
  #messages = []; // of the user, in their order
  #taken; // how many of them the producer has taken
  #sender;

  constructor(http, attempt) {
    this.#http = http;
    this.#attempt = attempt;
    this.#taken = attempt.steering_taken ?? 0;
    this.#addMessages(attempt.steering);
    this.#addInputs(attempt.inputs);
    this.#sender = this.#sendParts();
    this.#followControl();
  }

  get generation() {
    return this.#attempt.generation;
  }

  get attempt() {
    return this.#attempt.attempt;
  }

  get previous() {
    return this.#attempt.previous ?? null;
  }

  get checkpoint() {
    return this.#attempt.checkpoint ?? null;
  }

  get signal() {
    return this.#stopped.signal;
  }

  async write(part, { checkpoint } = {}) {
    this.#check();
    if (this.#hasEnd) throw new Error("this answer has its end already");
    const fields = fieldsOf(part);
    this.#outbox.add(checkpoint == null ? fields : { ...fields, checkpoint, steering: this.#taken });
    this.#changed.notify();
    while (this.#outbox.sizeBytes > MAX_OUTBOX_BYTES && !this.#isOver) await this.#changed.wait();
    this.#check();
  }

  // The values of inputs that were received so far, by key.
  get inputs() {
    return Object.fromEntries([...this.#inputs.values()].filter((each) => !each.expired).map((each) => [each.input, each.value]));
  }

  async input(key, prompt, options = {}) {
    await this.write({ type: "input_request", input: key, prompt, ...options });
    await this.#changed.wait(Infinity, () => this.#inputs.has(key) || this.#isOver);
    this.#check();
    const received = this.#inputs.get(key);
    if (!received) throw new Error("this answer has its end already");
    if (received.expired) throw new InputTimeout(`nobody has answered "${key}" in time`);
    return received.value;
  }

  async suspend(key, prompt, { state = null, ...options } = {}) {
    await this.write({ type: "suspend", input: key, prompt, ...options, state, steering: this.#taken });
    this.#hasEnd = true;
    await this.#sender;
    this.#check();
  }

  // Returns the messages of the user since the last call, each { n, message, by }.
  steering() {
    const messages = this.#messages.slice(this.#taken);
    this.#taken += messages.length;
    return messages;
  }

  async flush() {
    while (this.#outbox.length && !this.#isOver) await this.#changed.wait();
    this.#check();
  }

  async done({ finish_reason, usage } = {}) {
    this.#check();
    await this.finish({ status: "done", finish_reason, usage });
    this.#check();
  }

  async fail(code, message, { retryable = false } = {}) {
    this.#check();
    await this.finish({ status: "failed", code, message, retryable });
    this.#check();
  }

  // Ends the answer unless it has an end, and waits until the hub knows it.
  async finish(end) {
    if (!this.#hasEnd && !this.#isOver) {
      this.#hasEnd = true;
      this.#outbox.add({ type: "end", ...end });
      this.#changed.notify();
    }
    await this.#sender;
  }

  // Returns the job of this answer to its queue, unless the answer has ended.
  async release() {
    if (this.#isOver) return;
    this.#close();
    const request = { lease: this.#attempt.lease };
    await this.#http.send("DELETE", `${this.#path}/lease`, request).catch(() => {}); // then its lease ends by itself
  }

  get #isOver() {
    return this.#over.signal.aborted;
  }

  get #path() {
    return `/generations/${encodeURIComponent(this.generation)}`;
  }

  get #leaseMs() {
    return this.#attempt.lease_seconds * 1000;
  }

  // Posts and the control stream tell of the same messages.
  #addMessages(messages = []) {
    for (const message of messages) if (message.n === this.#messages.length) this.#messages.push(message);
  }

  #addInputs(inputs = []) {
    for (const each of inputs) if (!this.#inputs.has(each.input)) this.#inputs.set(each.input, each);
  }

  #check() {
    if (this.failure) throw this.failure;
  }

  #fail(error) {
    if (this.#isOver) return;
    this.failure = error;
    this.#close();
    this.#stopped.abort(error);
  }

  #close() {
    this.#outbox.clear();
    this.#over.abort();
    this.#changed.notify();
  }

  async #sendParts() {
    const signal = this.#over.signal;
    const request = { lease: this.#attempt.lease, timeoutMs: Math.max(MIN_TIMEOUT_MS, this.#leaseMs / 3), signal };
    let [failures, answeredAt] = [0, performance.now()];
    for (;;) {
      if (!failures) await this.#waitForWork(answeredAt);
      if (this.#isOver) return;
      const batch = this.#outbox.nextBatch();
      try {
        const posted = await this.#http.send("POST", `${this.#path}/parts`, { ...request, body: batch });
        [failures, answeredAt] = [0, performance.now()];
        this.#onPosted(batch, posted);
      } catch (error) {
        failures += 1;
        if (!this.#onPostError(error, performance.now() - answeredAt)) return;
        await this.#changed.wait(retryDelayMs(failures, error), () => this.#isOver);
      }
      this.#changed.notify();
    }
  }

  async #waitForWork(answeredAt) {
    const renewMs = Math.min(this.#leaseMs / 3, MAX_RENEW_MS);
    await this.#changed.wait(renewMs, () => this.#outbox.length || this.#isOver);
    if (!this.#outbox.length) return;
    await this.#changed.wait(answeredAt + COALESCE_MS - performance.now(), () => this.#isOver);
  }

  #onPosted(batch, { ack, stop, steering, inputs }) {
    this.#outbox.acknowledge(ack);
    this.#addMessages(steering);
    this.#addInputs(inputs);
    const last = batch.at(-1);
    if (stop) this.#fail(new GenerationStopped(stop.by));
    else if (["end", "suspend"].includes(last?.type) && ack >= last.seq) this.#close();
  }

  // Returns whether the post is to be repeated.
  #onPostError(error, silentMs) {
    if (this.#isOver) return false;
    const first = this.#outbox.firstSeq;
    if (error.code === "sequence_gap" && error.expected !== null && (first === null || error.expected >= first)) {
      this.#outbox.acknowledge(error.expected - 1);
      return true;
    }
    if (error.isRetryable && silentMs <= this.#leaseMs) return true;
    this.#fail(OVER.includes(error.code) ? new LeaseLost(error.message, error) : error);
    return false;
  }

  async #followControl() {
    for (let failures = 1; !this.#isOver; failures += 1) {
      let delayMs = 0;
      try {
        const request = { lease: this.#attempt.lease, signal: this.#over.signal };
        for await (const { name, data } of this.#http.events(`${this.#path}/control`, request)) {
          failures = 1;
          if (name === "steering") this.#addMessages([data]);
          else if (name === "input") {
            this.#addInputs([data]);
            this.#changed.notify();
          } else if (name === "stop") this.#fail(new GenerationStopped(data.by));
          else if (name === "lease_lost") this.#fail(new LeaseLost("the lease is lost", { code: "lease_lost" }));
          else if (name === "hub.bye" && !data.reconnect) return;
          else if (name === "hub.bye") delayMs = data.retry_ms;
        }
      } catch (error) {
        const isEnding = this.#hasEnd && error.code === "ended";
        if (OVER.includes(error.code) && !isEnding) this.#fail(new LeaseLost(error.message, error));
        if (!error.isRetryable) return; // posts tell of a stop as well
        delayMs = 1000 * error.retryAfterSeconds;
      }
      await this.#changed.wait(Math.max(delayMs, retryDelayMs(failures)), () => this.#isOver);
    }
  }
}

// The parts that the hub has not acknowledged. Texts that follow one another share a part until it is sent.
class Outbox {
  sizeBytes = 0;
  #parts = []; // [fields, size in bytes]
  #nextSeq = 0;
  #sentSeq = -1;

  get length() {
    return this.#parts.length;
  }

  get firstSeq() {
    return this.#parts.length ? this.#parts[0][0].seq : null;
  }

  add(fields) {
    if (this.#appendText(fields)) return;
    const sizeBytes = Buffer.byteLength(JSON.stringify(fields)) + SEQ_BYTES;
    this.#parts.push([{ seq: this.#nextSeq, ...fields }, sizeBytes]);
    this.#nextSeq += 1;
    this.sizeBytes += sizeBytes;
  }

  nextBatch() {
    const batch = [];
    let size = 0;
    for (const [fields, sizeBytes] of this.#parts) {
      size += sizeBytes;
      if (batch.length && size > MAX_BATCH_BYTES) break;
      batch.push(fields);
    }
    if (batch.length) this.#sentSeq = Math.max(this.#sentSeq, batch.at(-1).seq);
    return batch;
  }

  acknowledge(ack) {
    const kept = this.#parts.findIndex(([fields]) => fields.seq > ack);
    for (const [, sizeBytes] of this.#parts.splice(0, kept < 0 ? this.#parts.length : kept)) this.sizeBytes -= sizeBytes;
  }

  clear() {
    this.#parts = [];
    this.sizeBytes = 0;
  }

  #appendText(fields) {
    const last = this.#parts.at(-1);
    if (!last || this.#nextSeq - 1 <= this.#sentSeq) return false;
    if (!isPlainText(fields) || !isPlainText(last[0]) || last[0].type !== fields.type) return false;
    if (last[0].text.length + fields.text.length > MAX_TEXT_LENGTH) return false;
    const sizeBytes = Buffer.byteLength(JSON.stringify(fields.text));
    last[0].text += fields.text;
    last[1] += sizeBytes;
    this.sizeBytes += sizeBytes;
    return true;
  }
}

// A checkpoint is saved with its part, and not with later text.
function isPlainText({ seq, type, text, ...more }) {
  return (type === "text" || type === "reasoning") && typeof text === "string" && !Object.keys(more).length;
}

function fieldsOf(part) {
  if (typeof part === "string") return { type: "text", text: part };
  if (typeof part?.type === "string") return { ...part };
  throw new TypeError("a part is a text, or an object with a type");
}

class Condition {
  #waiting = new Set();

  notify() {
    for (const resume of [...this.#waiting]) resume();
  }

  // Waits until `isMet` holds, which each notification checks, or without it for one notification; at most `ms`.
  wait(ms = Infinity, isMet = null) {
    if (ms <= 0 || isMet?.()) return Promise.resolve();
    return new Promise((resolve) => {
      let timer;
      const end = () => {
        clearTimeout(timer);
        this.#waiting.delete(resume);
        resolve();
      };
      const resume = () => (!isMet || isMet()) && end();
      this.#waiting.add(resume);
      if (ms !== Infinity) timer = setTimeout(end, ms);
    });
  }
}

class Http {
  #url;
  #key;
  #fetch;

  constructor(url, { key = null, fetch = globalThis.fetch } = {}) {
    if (!/^https?:$/.test(new URL(url).protocol)) throw new TypeError(`url must be an http:// or https:// URL, not ${url}`);
    this.#url = String(url).replace(/\/+$/, "");
    this.#key = key?.trim() || null;
    this.#fetch = fetch;
  }

  async sendWithRetries(method, path, request) {
    for (let attempts = 1; ; attempts += 1) {
      try {
        return await this.send(method, path, request);
      } catch (error) {
        if (attempts === MAX_ATTEMPTS || !error.isRetryable || request.signal?.aborted) throw error;
        await new Condition().wait(retryDelayMs(attempts, error));
      }
    }
  }

  // Resolves to the decoded body of the response.
  async send(method, path, { timeoutMs = REQUEST_TIMEOUT_MS, ...request }) {
    const deadline = new Deadline(request.signal);
    deadline.set(timeoutMs);
    try {
      const response = await this.#open(method, path, request, deadline.signal);
      const text = await response.text();
      return text ? JSON.parse(text) : null;
    } catch (error) {
      throw this.#translated(error);
    } finally {
      deadline.clear();
    }
  }

  // Yields the server-sent events of one connection.
  async *events(path, request) {
    const deadline = new Deadline(request.signal);
    deadline.set(MAX_SILENCE_MS);
    try {
      const response = await this.#open("GET", path, request, deadline.signal);
      let text = "";
      const decoder = new TextDecoder();
      for await (const chunk of response.body) {
        deadline.set(MAX_SILENCE_MS);
        const blocks = (text + decoder.decode(chunk, { stream: true })).split("\n\n");
        text = blocks.pop();
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: ?(.*)/s, 2)));
          if (fields.event && fields.data) yield { name: fields.event, data: JSON.parse(fields.data) };
        }
      }
    } catch (error) {
      throw this.#translated(error);
    } finally {
      deadline.clear();
    }
  }

  async #open(method, path, { body, lease }, signal) {
    const headers = {};
    if (this.#key) headers.Authorization = `Bearer ${this.#key}`;
    if (lease) headers["Hub-Lease"] = lease;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const response = await this.#fetch(this.#url + path, { method, headers, signal, body: body && JSON.stringify(body) });
    if (!response.ok) throw await errorOf(response);
    return response;
  }

  #translated(error) {
    if (error instanceof HubError) return error;
    const reason = error?.cause?.code ?? error?.cause?.message ?? error?.message;
    return new HubError(`cannot reach the hub at ${this.#url}: ${reason}`);
  }
}

// Aborts a request when its caller does or when its time is over. Its timer keeps no process alive.
class Deadline {
  #controller = new AbortController();
  #caller;
  #timer;
  #abort = () => this.#controller.abort();

  constructor(caller) {
    this.#caller = caller;
    if (caller?.aborted) this.#abort();
    caller?.addEventListener("abort", this.#abort);
  }

  get signal() {
    return this.#controller.signal;
  }

  set(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#abort, ms).unref();
  }

  clear() {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener("abort", this.#abort);
    this.#abort();
  }
}

async function errorOf(response) {
  const problem = await response.json().catch(() => ({}));
  const { detail = `${response.status} ${response.statusText}`, code, expected, generation } = problem ?? {};
  const retryAfterSeconds = Number(response.headers.get("Retry-After")) || null;
  return new HubError(detail, { status: response.status, code, expected, generation, retryAfterSeconds });
}

function retryDelayMs(failures, { retryAfterSeconds = 0 } = {}) {
  const doubled = Math.min(MAX_DELAY_MS, MIN_DELAY_MS * 2 ** Math.min(failures - 1, 30));
  return Math.max(1000 * retryAfterSeconds, doubled * (0.5 + Math.random() / 2));
}
