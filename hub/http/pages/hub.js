// hub.js: the hub's client for browsers, Node, Deno and Bun. One module, no dependency, no build.
//
//   const hub = connect({ user: "alice", getToken });
//   hub.on("notification", ({ data }) => show(data));
//   for await (const { text } of hub.ask("why is the sky blue?")) box.textContent = text;
//
// The module is ordered from the bottom up: errors and retry delays, positions, the SSE decoder,
// Api (HTTP requests), Connection (one stream with its reconnects), Transcript and Answer (the state
// that generation events add up to), Inbox (the counts and changes of the user's inbox), TabGroup
// (one connection for many tabs), Hub (the public object). The list of an inbox is in inbox.js, which
// is loaded when it is used. docs/clients/javascript.md is the manual.
//
// Rules:
// 1. An event is delivered to the page once. The position of each event is compared with the
//    positions that this tab has seen, whichever source the event came from (stream, poll, another
//    tab, recovery).
// 2. The next connection starts at this tab's position, so no event between two connections is lost.
// 3. Among the tabs that share a connection, the tab that holds the Web Lock holds the connection.
// 4. The state `closed` ends only when reconnect() is called, here or in another tab. Every other
//    state ends without help.

const OPEN_TIMEOUT_MS = 6000; // until hub.open arrives; a buffering proxy never passes it on
const POLL_WAIT_SECONDS = 25;
const POLL_PERIOD_MS = 5 * 60_000; // then streaming is tried again: the network may have changed
const MAX_SILENT_HEARTBEATS = 2.5;
const DEFAULT_HEARTBEAT_SECONDS = 8;
const SILENCE_RECHECK_MS = 1000;
const WAKE_CHECK_DELAY_MS = 100; // lets the page read the data that arrived while it was frozen
const REPLAY_TIMEOUT_MS = 1000;
const BASE_RETRY_DELAY_MS = 500;
const MAX_RETRY_DELAY_MS = 15_000;
const STABLE_AFTER_MS = 2000; // a stream that breaks sooner counts as a failure
const MAX_REQUEST_ATTEMPTS = 5;
const REQUEST_TIMEOUT_MS = 15_000; // a lost network does not always report an error
const LEADER_TIMEOUT_MS = 2000;
const MAX_BUFFERED_EVENTS = 1000;
const MAX_EVENT_CHARS = 16 * 1024 * 1024;
const MAX_UNCLAIMED_TRANSCRIPTS = 64;
const NO_TOPIC_COUNTS = { topic_unread: 0, topic_unseen: 0 };
const TOPIC_REFRESH_MS = 4000; // from the event of a topic to the request for the counts, at most
const MAX_TOPIC_REFRESH_MS = 128_000; // the same, while the events of topics do not change the counts

// Delivered when the hub cannot read a stored cursor: the data that the page shows may be outdated.
const CURSOR_RESET = { name: "hub.reset", data: { channel: "*", reason: "cursor" } };
const END_STATUSES = new Set(["done", "stopped", "failed"]);
const UNENDED_STATUSES = new Set(["stopping", "waiting", "suspended"]); // of a snapshot, beside queued and running
const PART_KINDS = new Set(["delta", "part", "replaced", "input_requested", "input_received", "input_expired"]);
const RETRYABLE_STATUSES = new Set([0, 408, 425, 429, 500, 502, 503, 504]);
const TAB_MESSAGE_KINDS = new Set(["hello", "reconnect", "state", "event"]);
const SHARED_ITEM = /[~*]/; // the id of an inbox item that a topic or `all` keeps
const SYSTEM_EVENT = /^(hub|generation|presence)\./;
const noop = () => {};

// ---- errors and retry delays -----------------------------------------------------------------

// status: the HTTP status, 0 when there was no response. code: the hub's code for the error
// (docs/reference/errors.md), the code of a failed answer, or "closed".
export class HubError extends Error {
  constructor(message, details = {}) {
    const { status = 0, code = null, path = null, retryAfterSeconds = null, generation = null } = details;
    const { value, by = null, cause } = details;
    super(message, { cause });
    Object.assign(this, { name: "HubError", status, code, path, retryAfterSeconds, generation, value, by });
  }

  // Whether the same request can succeed later.
  get isRetryable() {
    return RETRYABLE_STATUSES.has(this.status);
  }

  static async fromResponse(response) {
    // The error page of a proxy is not JSON, but it has a status.
    const problem = await response.json().catch(() => ({}));
    const [url] = response.url.split("?", 1); // a query string may hold a token, and is left out
    const status = `${response.status} ${response.statusText}`.trim();
    return new HubError(problem.detail ?? (url ? `${url}: ${status}` : status), {
      status: response.status,
      code: problem.code ?? null,
      path: problem.path ?? null,
      retryAfterSeconds: parseRetryAfter(response.headers.get("Retry-After")),
      generation: problem.generation ?? null,
      value: problem.value,
      by: problem.by ?? null,
    });
  }
}

function parseRetryAfter(value) {
  if (!value) return null;
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : null;
}

// Exponential backoff with jitter, so that clients do not reconnect at the same moment when a node
// dies. Returns the delay after this number of failures.
export function retryDelayMs(failures, random = Math.random()) {
  const maxMs = Math.min(MAX_RETRY_DELAY_MS, BASE_RETRY_DELAY_MS * 2 ** failures);
  return maxMs * (0.5 + random / 2);
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// Runs work(signal). Aborts it after `ms`, or when the outer signal aborts.
async function withTimeout(ms, outer, work) {
  const controller = new AbortController();
  const onOuterAbort = () => controller.abort(outer.reason);
  outer?.addEventListener("abort", onOuterAbort);
  const timer = setTimeout(() => controller.abort(new HubError("The hub did not respond in time.")), ms);
  try {
    outer?.throwIfAborted();
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener("abort", onOuterAbort);
  }
}

// Creates an idempotency key. crypto.randomUUID exists only on https and localhost.
export function newIdempotencyKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// ---- positions -------------------------------------------------------------------------------

// A cursor is a set of positions as text (hub/core/cursor.py): the position in the user's own
// channel without a prefix, the position in `all` after `*`, the position in each topic after
// `~tag:`, and a `.` at the end, which shows that it is whole. A position is epoch-offset. Cursors
// are opaque to pages; this module parses them to recognise events that it has already seen over
// another connection.
const POSITION_PATTERN = /(\*|~[0-9A-Za-z]{6}:|)([0-9A-Za-z]{5})-([0-9A-Za-z]{1,9})/y;
const CURSOR_END = ".";
const MAX_PAST_EPOCHS = 4;

// The position of this tab in each channel.
export class Positions {
  #positions = new Map(); // channel prefix → { epoch, offset, pastEpochs }
  #opaqueCursor = ""; // a cursor in a format that this module does not know; returned unchanged

  constructor(cursor = "") {
    if (cursor) this.advance(cursor);
  }

  // Advances to the positions of the cursor. Returns whether any of them is new.
  advance(cursor) {
    const positions = parseCursor(cursor);
    if (!positions) {
      this.#opaqueCursor = cursor;
      return true;
    }
    this.#opaqueCursor = "";
    const newPositions = positions.filter((position) => !this.#includes(position));
    for (const { channel, epoch, offset } of newPositions) {
      const before = this.#positions.get(channel);
      const pastEpochs = before && before.epoch !== epoch
        ? [before.epoch, ...before.pastEpochs].slice(0, MAX_PAST_EPOCHS) : before?.pastEpochs ?? [];
      this.#positions.set(channel, { epoch, offset, pastEpochs });
    }
    return newPositions.length > 0;
  }

  // Returns whether the cursor is beyond this tab's position in `all` or in a topic.
  isNewInTopics(cursor) {
    return parseCursor(cursor ?? "")?.some((position) => position.channel !== "" && !this.#includes(position)) ?? false;
  }

  // Returns whether this tab has reached every position of the cursor.
  covers(cursor) {
    return parseCursor(cursor)?.every((position) => this.#includes(position)) ?? false;
  }

  // The cursor to continue from; empty before the first event.
  get cursor() {
    if (this.#opaqueCursor) return this.#opaqueCursor;
    const channels = [...this.#positions.keys()].sort(); // "", "*", "~…": the order in a cursor
    return channels.map((channel) => {
      const { epoch, offset } = this.#positions.get(channel);
      return `${channel}${epoch}-${offset}`;
    }).join("") + (channels.length ? CURSOR_END : "");
  }

  #includes({ channel, epoch, offset }) {
    const current = this.#positions.get(channel);
    if (!current) return false;
    if (current.epoch !== epoch) return current.pastEpochs.includes(epoch);
    // Offsets are base 62 in ASCII order, without leading zeros.
    const isShorter = offset.length < current.offset.length;
    return isShorter || (offset.length === current.offset.length && offset <= current.offset);
  }
}

// Returns the part of a cursor that is the position in the user's own channel, or an empty text.
function ownCursor(cursor) {
  const position = parseCursor(cursor ?? "")?.find(({ channel }) => channel === "");
  return position ? `${position.epoch}-${position.offset}${CURSOR_END}` : "";
}

// Returns the positions of a cursor, or null for a cursor in another format.
function parseCursor(cursor) {
  if (!cursor.endsWith(CURSOR_END)) return null;
  const positions = [];
  POSITION_PATTERN.lastIndex = 0;
  while (POSITION_PATTERN.lastIndex < cursor.length - CURSOR_END.length) {
    const match = POSITION_PATTERN.exec(cursor);
    if (!match) return null;
    positions.push({ channel: match[1], epoch: match[2], offset: match[3] });
  }
  return positions;
}

// ---- server-sent events ----------------------------------------------------------------------

// Decodes bytes into events { name, data, id }. id is undefined when the event has no id line.
// WHATWG HTML, section 9.2.6 "Interpreting an event stream".
export class SseDecoder {
  #utf8 = new TextDecoder();
  #buffer = ""; // the beginning of a line whose end has not arrived yet
  #isAfterCr = false; // a CR has ended a line at once; an LF that follows belongs to it
  #fields = { name: "message", data: [] };
  retryMs = 0; // the last `retry:` of the stream

  feed(bytes) {
    let text = this.#utf8.decode(bytes, { stream: true });
    if (!text) return [];
    if (this.#isAfterCr) text = text.replace(/^\n/, "");
    this.#isAfterCr = text ? text.endsWith("\r") : false;
    const lines = (this.#buffer + text).split(/\r\n|\n|\r/);
    this.#buffer = lines.pop();
    if (this.#buffer.length > MAX_EVENT_CHARS) throw new HubError("The hub sent an event that is too large.");
    return lines.map((line) => this.#processLine(line)).filter(Boolean);
  }

  #processLine(line) {
    const fields = this.#fields;
    if (line === "") {
      this.#fields = { name: "message", data: [] };
      return fields.data.length ? { ...fields, data: parseData(fields.data.join("\n")) } : null;
    }
    const [, field, value] = line.match(/^([^:]*)(?:: ?(.*))?$/s);
    if (field === "data") fields.data.push(value ?? "");
    else if (field === "event") fields.name = value || "message";
    else if (field === "id" && !value?.includes("\0")) fields.id = value ?? "";
    else if (field === "retry" && /^\d{1,9}$/.test(value)) this.retryMs = Number(value);
    return null;
  }
}

// Only objects and arrays are decoded. All other data is text: on the wire of server-sent events,
// the string "123" and the number 123 are the same bytes.
function parseData(text) {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// Polls contain JSON. An event has the same data whether it was streamed or polled.
function streamedData(data) {
  if (typeof data === "string") return parseData(data);
  return typeof data === "object" && data !== null ? data : JSON.stringify(data);
}

// ---- HTTP ------------------------------------------------------------------------------------

// The HTTP requests of one user. Streams use fetch, too: EventSource cannot send headers, so it
// would put the token into the URL, and it does not report why the hub refused a stream.
class Api {
  #options;
  #token;
  #ticket;
  #renewal = null; // the promise of a renewal that is in progress
  #wasRenewed = false;

  constructor(options) {
    this.#options = options;
    this.#token = options.token ?? null;
    this.#ticket = options.ticket ?? null;
  }

  get isRenewable() {
    return Boolean(this.#options.getToken || this.#options.getTicket);
  }

  async stream(cursor, signal) {
    const response = await this.#connect("sse", cursor, {}, signal, "text/event-stream");
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
      throw new HubError("The response did not come from the hub."); // a captive portal, for example
    }
    return response;
  }

  async poll(cursor, waitSeconds, outer) {
    await this.ensureCredentials();
    return withTimeout(waitSeconds * 1000 + REQUEST_TIMEOUT_MS, outer, async (signal) => (
      parseJson(await this.#connect("poll", cursor, { wait: waitSeconds }, signal, "application/json"))
    ));
  }

  // The idempotency key makes retries safe: the hub returns the generation of the first POST.
  async #postWithRetry(path, body, key = null, { keepalive = false } = {}) {
    for (let failures = 0; ; failures += 1) {
      try {
        const headers = key === null ? {} : { "Idempotency-Key": key };
        return await this.#requestJson("POST", path, body, { headers, keepalive });
      } catch (error) {
        const canRetry = error.isRetryable && error.status !== 429 && error.status !== 500;
        if (!canRetry || failures + 1 === MAX_REQUEST_ATTEMPTS) throw error;
        await sleep(Math.max(retryDelayMs(failures), (error.retryAfterSeconds ?? 0) * 1000));
      }
    }
  }

  startGeneration(body, key) {
    return this.#postWithRetry("/generations", body, key);
  }

  restartGeneration(id, key) {
    return this.#postWithRetry(`/generations/${encodeURIComponent(id)}/restart`, undefined, key);
  }

  // The first value counts, so the same request can be repeated.
  respond(id, input, value) {
    return this.#postWithRetry(`/generations/${encodeURIComponent(id)}/inputs/${encodeURIComponent(input)}`, { value });
  }

  steer(id, message, key) {
    return this.#postWithRetry(`/generations/${encodeURIComponent(id)}/steer`, { message, id: key });
  }

  getSnapshot(id) {
    return this.#requestJson("GET", `/generations/${encodeURIComponent(id)}`);
  }

  stopGeneration(id) {
    return this.#requestJson("DELETE", `/generations/${encodeURIComponent(id)}`);
  }

  getInbox(query) {
    return this.#requestJson("GET", "/inbox", undefined, { query });
  }

  // A page may follow a link right after it marked an item as read: the request survives the page.
  changeInbox(change, selection) {
    return this.#postWithRetry(`/inbox/${change}`, selection, null, { keepalive: true });
  }

  getInboxSetting(name) {
    return this.#requestJson("GET", `/inbox/${name}`);
  }

  putInboxSetting(name, value) {
    return this.#requestJson("PUT", `/inbox/${name}`, value);
  }

  getPushKey() {
    return this.#requestJson("GET", "/push/key");
  }

  addPushSubscription(subscription) {
    return this.#postWithRetry("/push/subscriptions", subscription);
  }

  removePushSubscription(id) {
    return this.#requestJson("DELETE", `/push/subscriptions/${encodeURIComponent(id)}`);
  }

  // Waits for the first token, which may take as long as a login.
  async ensureCredentials() {
    const hasNone = this.#token === null && this.#ticket === null && !this.#wasRenewed;
    if (hasNone && this.isRenewable) await this.renewCredentials("connect");
  }

  // Gets another token and another ticket. Concurrent calls share one renewal. Resolves with false
  // when getToken returned the token that is already in use; a cookie cannot be compared.
  renewCredentials(reason) {
    this.#renewal ??= (async () => {
      const { getToken, getTicket } = this.#options;
      const before = this.#token;
      if (getTicket) this.#ticket = await getTicket({ reason });
      if (getToken) this.#token = await getToken({ reason });
      this.#wasRenewed = true;
      return Boolean(getTicket) || this.#token === null || this.#token !== before;
    })().catch((cause) => {
      throw new HubError(`getToken or getTicket failed: ${cause?.message ?? cause}`, { cause });
    }).finally(() => (this.#renewal = null));
    return this.#renewal;
  }

  #connect(transport, cursor, query, signal, accept) {
    const { user, topics } = this.#options;
    // A cursor that the hub issued goes into the header, which lets a used ticket resume.
    const isKeyword = cursor === "live" || cursor === "start";
    if (isKeyword) query.cursor = cursor;
    if (topics.length) query.topics = topics.join(",");
    return this.#fetch(`/${transport}/connect${user ? `/${encodeURIComponent(user)}` : ""}`, {
      query,
      signal,
      cache: "no-store",
      acceptsTicket: true,
      headers: { Accept: accept, ...(isKeyword ? {} : { "Last-Event-ID": cursor }) },
    });
  }

  async #requestJson(method, path, body, { headers = {}, query = {}, keepalive = false } = {}) {
    const { user } = this.#options;
    await this.ensureCredentials();
    return withTimeout(REQUEST_TIMEOUT_MS, null, async (signal) => parseJson(await this.#fetch(path, {
      method,
      signal,
      keepalive,
      query: user ? { ...query, user } : query, // the hub reads `user` only where no token is needed
      headers: body ? { "Content-Type": "application/json", ...headers } : headers,
      body: body && JSON.stringify(body),
    })));
  }

  // Sends a request with the credentials. Renews them once when the hub responds with 401.
  async #fetch(path, { query, headers, acceptsTicket = false, ...init }) {
    for (let attempt = 1; ; attempt += 1) {
      const { url, credentials, fetch } = this.#options;
      const parameters = new URLSearchParams(query);
      const allHeaders = { ...headers };
      if (acceptsTicket && this.#ticket) parameters.set("ticket", this.#ticket);
      else if (this.#token) allHeaders.Authorization = `Bearer ${this.#token}`;
      const search = String(parameters);
      const response = await fetch(`${url}${path}${search && `?${search}`}`, {
        credentials, headers: allHeaders, ...init,
      }).catch((cause) => {
        init.signal?.throwIfAborted();
        throw new HubError(describeUnreachable(url), { cause });
      });
      if (response.ok) return response;
      if (response.status !== 401 || attempt > 1 || !this.isRenewable) throw await HubError.fromResponse(response);
      response.body?.cancel().catch(noop);
      await this.renewCredentials("refused");
    }
  }
}

// A browser does not tell a page whether the network failed or CORS refused the page.
function describeUnreachable(url) {
  const page = globalThis.location?.origin;
  if (!page || page === "null" || new URL(url, globalThis.location.href).origin === page) return "The hub cannot be reached.";
  return `The hub cannot be reached, or CORS forbids it: the hub must allow the origin ${page} (setting public.allowed_origins).`;
}

// A body that is not JSON was cut off, or came from a captive portal: the hub's response is lost.
function parseJson(response) {
  if (response.status === 204) return null;
  return response.json().catch((cause) => {
    throw new HubError("The response did not come from the hub.", { cause });
  });
}

// ---- the connection --------------------------------------------------------------------------

// Runs one stream or one series of polls after the other, each from the cursor at which the last
// one ended. An attempt returns its result as a value:
// { reason, isFinal, isImmediate, minDelayMs, transport }.
class Connection {
  #api;
  #callbacks;
  #openTimeoutMs;
  #attempt = null; // the AbortController of the running attempt
  #retryWait = null; // { finish, wake, timer } while it waits before the next attempt
  #failures = 0; // attempts in a row that did not become stable
  #retryMs = 0; // the last `retry:` of a stream
  #liveAt = Infinity; // when this attempt became live
  #wasLive = false;
  #isClosed = false;
  #mustRenew = false; // the credentials expired
  #transport = "sse";
  #pollUntil = 0; // when streaming is tried again
  #lastReceivedAt = 0;
  #heartbeatSeconds = DEFAULT_HEARTBEAT_SECONDS;
  #timer = null; // for hub.open, then for silence

  // callbacks: { getCursor(), onEvent(event), onState(state), onReplayDone() }
  // before: the state of the connection that this one follows
  constructor(api, { openTimeoutMs, transport }, before, callbacks) {
    this.#api = api;
    this.#openTimeoutMs = openTimeoutMs;
    this.#wasLive = before.state !== "connecting";
    this.#setTransport(transport === "poll" || before.transport === "poll" ? "poll" : "sse");
    if (transport === "poll") this.#pollUntil = Infinity;
    this.#callbacks = callbacks;
  }

  async run() {
    while (!this.#isClosed) {
      this.#setState(this.#wasLive ? "reconnecting" : "connecting");
      const result = await this.#runAttempt();
      if (this.#isClosed) return;
      if (result.transport) this.#setTransport(result.transport);
      if (result.isFinal) {
        this.#isClosed = true;
        this.#setState("closed", { reason: result.reason });
      } else await this.#waitBeforeRetry(result);
    }
  }

  close() {
    this.#isClosed = true;
    this.#endAttempt({ reason: "closed" });
    this.#retryWait?.finish();
  }

  // The page became visible or the network is back. Shortens a delay that the client chose itself,
  // and reconnects when the stream was silent for too long or used another network.
  wake({ isNewNetwork = false } = {}) {
    if (this.#retryWait) this.#retryWait.wake();
    else if (isNewNetwork) this.reconnect("online");
    else if (this.#isSilent()) setTimeout(() => this.#isSilent() && this.reconnect("silent"), WAKE_CHECK_DELAY_MS);
  }

  reconnect(reason = null) {
    if (this.#retryWait) this.#retryWait.finish();
    else this.#endAttempt({ reason, isImmediate: true });
  }

  async #runAttempt() {
    const attempt = new AbortController();
    this.#attempt = attempt;
    this.#lastReceivedAt = Date.now();
    try {
      await (this.#mustRenew ? this.#api.renewCredentials("expired") : this.#api.ensureCredentials());
      this.#mustRenew = false;
      return await (this.#transport === "poll" ? this.#poll(attempt) : this.#stream(attempt));
    } catch (error) {
      return attempt.signal.aborted ? attempt.signal.reason : this.#resultOfError(error);
    } finally {
      clearTimeout(this.#timer);
      this.#attempt = null;
      attempt.abort();
    }
  }

  #resultOfError(error) {
    if (error.path === "cursor") {
      this.#callbacks.onEvent(CURSOR_RESET);
      return { reason: error.message, minDelayMs: BASE_RETRY_DELAY_MS };
    }
    const isHubError = error instanceof HubError;
    return {
      reason: isHubError ? error.message : "The connection was lost.",
      isFinal: isHubError && !error.isRetryable,
      minDelayMs: (error.retryAfterSeconds ?? 0) * 1000,
      transport: this.#transport === "poll" && !error.status ? "sse" : undefined,
    };
  }

  #setTransport(transport) {
    if (this.#pollUntil === Infinity) return;
    this.#transport = transport;
    this.#pollUntil = Date.now() + POLL_PERIOD_MS;
  }

  // -- streaming

  async #stream(attempt) {
    const buffered = { reason: "a proxy buffers the stream", transport: "poll", isImmediate: true };
    const deadline = Date.now() + this.#openTimeoutMs;
    this.#timer = setTimeout(() => {
      const wasFrozen = Date.now() - deadline > SILENCE_RECHECK_MS;
      attempt.abort(wasFrozen ? { reason: "silent", isImmediate: true } : buffered);
    }, this.#openTimeoutMs);
    const response = await this.#api.stream(this.#callbacks.getCursor(), attempt.signal);
    const decoder = new SseDecoder();
    const reader = response.body.getReader();
    const replay = new ReplayCounter(this.#callbacks.onReplayDone);
    let chunks = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return { reason: "The connection was lost." };
      this.#lastReceivedAt = Date.now();
      chunks += 1;
      const events = decoder.feed(value);
      this.#retryMs = decoder.retryMs || this.#retryMs;
      for (const event of events) {
        if (attempt.signal.aborted) return attempt.signal.reason;
        if (event.name === "hub.open") {
          this.#heartbeatSeconds = event.data.heartbeat_seconds || DEFAULT_HEARTBEAT_SECONDS;
          clearTimeout(this.#timer);
          this.#watchSilence(attempt, () => (
            { ...buffered, reason: "silent", transport: chunks > 1 ? undefined : "poll" }
          ));
          this.#onOpen(event.data);
          replay.start(event.data.replayed);
        }
        this.#callbacks.onEvent({ ...event, replay: replay.count(event) });
        if (event.name === "hub.expiring") this.#renewBeforeExpiry(attempt, event.data.seconds);
        if (event.name === "hub.bye") return this.#resultOfBye(event.data);
      }
    }
  }

  #resultOfBye({ reason, reconnect, retry_ms: retryMs }) {
    if (reason === "expired" && this.#api.isRenewable) {
      this.#mustRenew = true;
      return { reason, isImmediate: true };
    }
    return { reason, isFinal: !reconnect, minDelayMs: retryMs ?? 0 };
  }

  // Renews at a random moment in the first third of the remaining time, so that clients that
  // logged in together do not renew together.
  async #renewBeforeExpiry(attempt, seconds) {
    if (!this.#api.isRenewable) return;
    await sleep((seconds * 1000 * Math.random()) / 3);
    if (attempt.signal.aborted) return;
    await this.#api.renewCredentials("expiring").then(
      (isNew) => isNew && attempt.abort({ reason: "renewed", isImmediate: true }),
      noop, // hub.bye follows and triggers another renewal, also when the token was the same
    );
  }

  // A timer that fires late (hidden tab, suspended laptop) proves nothing: the data that arrived
  // meanwhile is read before the second check.
  #watchSilence(attempt, makeResult) {
    const check = (isSecond) => {
      if (!this.#isSilent()) {
        const remainingMs = this.#silenceTimeoutMs() - (Date.now() - this.#lastReceivedAt);
        this.#timer = setTimeout(check, remainingMs, false);
      } else if (isSecond) attempt.abort(makeResult());
      else this.#timer = setTimeout(check, SILENCE_RECHECK_MS, true);
    };
    check(false);
  }

  #silenceTimeoutMs() {
    return this.#heartbeatSeconds * 1000 * MAX_SILENT_HEARTBEATS;
  }

  #isSilent() {
    return this.#transport === "sse" && Date.now() - this.#lastReceivedAt >= this.#silenceTimeoutMs();
  }

  // -- polling

  async #poll(attempt) {
    for (let polls = 0; ; polls += 1) {
      const waitSeconds = polls ? POLL_WAIT_SECONDS : 0;
      const { events, cursor } = await this.#api.poll(this.#callbacks.getCursor(), waitSeconds, attempt.signal);
      if (attempt.signal.aborted) return attempt.signal.reason;
      if (!polls && !findBye(events)) this.#onOpen({ replayed: events.length });
      for (const { id, event: name, data } of events) {
        this.#callbacks.onEvent({ name, data: streamedData(data), id, replay: !polls });
        if (name === "hub.bye") return this.#resultOfBye(data);
      }
      if (cursor) this.#callbacks.onEvent({ name: "hub.position", id: cursor });
      if (!polls) this.#callbacks.onReplayDone();
      if (Date.now() > this.#pollUntil) {
        return { reason: "trying to stream again", transport: "sse", isImmediate: true };
      }
    }
  }

  // -- state and retry delays

  #onOpen(open) {
    this.#lastReceivedAt = this.#liveAt = Date.now();
    this.#wasLive = true;
    this.#setState("live", { open });
  }

  // Waits before the next attempt, never for less than the hub asked for. While the browser is
  // offline it waits for `online`.
  #waitBeforeRetry({ reason, isImmediate, minDelayMs = 0 }) {
    if (Date.now() - this.#liveAt >= STABLE_AFTER_MS) this.#failures = 0;
    this.#liveAt = Infinity;
    const requestedMs = minDelayMs * (1 + Math.random() / 5);
    const isOffline = globalThis.navigator?.onLine === false;
    const ownMs = isOffline ? MAX_RETRY_DELAY_MS : isImmediate ? 0 : this.#nextDelayMs();
    const waitMs = Math.max(ownMs, requestedMs);
    if (!waitMs) return undefined;
    this.#setState("reconnecting", { reason: isOffline ? "offline" : reason, retryAt: Date.now() + waitMs });
    const earliest = Date.now() + requestedMs;
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(this.#retryWait?.timer);
        this.#retryWait = null;
        resolve();
      };
      const finishIn = (ms) => {
        clearTimeout(this.#retryWait?.timer);
        const wake = () => finishIn(Math.max(0, earliest - Date.now()));
        this.#retryWait = { finish, wake, timer: setTimeout(finish, ms) };
      };
      finishIn(waitMs);
    });
  }

  #nextDelayMs() {
    return Math.max(retryDelayMs(this.#failures++), this.#retryMs * (1 + Math.random() / 5));
  }

  #endAttempt(result) {
    this.#attempt?.abort(result);
  }

  #setState(state, { reason = null, retryAt = null, open = null } = {}) {
    this.#callbacks.onState({ state, reason, retryAt, open, transport: this.#transport });
  }
}

// Returns the data of hub.bye if the hub ended a poll with it.
function findBye(events) {
  return events.find(({ event }) => event === "hub.bye")?.data;
}

// Determines which of the first events of a stream were stored before the stream began. The hub
// sends the number of events that it replays; some may expire before they are sent, so a pause ends
// the replay, too.
class ReplayCounter {
  #remaining = 0;
  #onDone;
  #timer = null;

  constructor(onDone) {
    this.#onDone = onDone;
  }

  start(count) {
    this.#remaining = count;
    if (!count) this.#onDone();
    else this.#timer = setTimeout(() => this.#finish(), REPLAY_TIMEOUT_MS);
  }

  // Returns whether the event was replayed from the log.
  count({ name }) {
    if (!this.#remaining || name.startsWith("hub.")) return false;
    clearTimeout(this.#timer);
    this.#remaining -= 1;
    if (this.#remaining) this.#timer = setTimeout(() => this.#finish(), REPLAY_TIMEOUT_MS);
    else queueMicrotask(() => this.#onDone()); // after this event was delivered
    return true;
  }

  #finish() {
    this.#remaining = 0;
    this.#onDone();
  }
}

// ---- answers ---------------------------------------------------------------------------------

// The parts of an answer in order, folded as the hub folds them: docs/reference/events.md, at
// generation.snapshot. A snapshot folded with what follows it is the same as everything folded from
// the start. An event costs the same however many parts there are, because its part is found by an
// index.
const JOINED_TYPES = new Set(["text", "reasoning", "annotations"]);
const LIST_FIELDS = ["details", "annotations"]; // of joined parts
const CALL_FIELDS = new Set(["index", "id", "type", "function", "run_by"]);

export class FoldedParts {
  #parts;
  #calls; // the visible tool calls, by their index
  #targets; // the newest part for a result, by callKey
  #data; // by dataKey
  #runningSteps; // by name: a list, the newest one last
  #inputs; // by key
  #waiting; // the inputs that wait for a value
  #status;

  // parts: those of a snapshot.
  constructor(parts = []) {
    this.#load(parts);
  }

  get parts() {
    return this.#parts.map(copyPart);
  }

  // The text of all parts of a type, `text` or `reasoning`, together.
  textOf(type) {
    return this.#parts.reduce((text, part) => (part.type === type ? text + part.text : text), "");
  }

  // The inputs among the parts that wait for a value.
  get waitingInputs() {
    return Array.from(this.#waiting, copyPart);
  }

  // Applies one generation.* event. Events that concern no part change nothing.
  apply(name, data) {
    if (name === "generation.delta") this.#applyDelta(data);
    else if (name === "generation.part") this.#applyPart(data);
    else if (name === "generation.input_requested") this.#requestInput(data);
    else if (name === "generation.input_received") this.#endInput(data, { state: "received", value: data.value, by: data.by });
    else if (name === "generation.input_expired") this.#endInput(data, { state: "expired" });
    else if (name === "generation.replaced") this.#replaceText(data.text);
    else if (name === "generation.snapshot") this.#load(data.parts ?? []);
    else if (name === "generation.continued") this.#load(data.snapshot.parts);
    else if (name === "generation.started" || name === "generation.restarted") this.#load([]);
    else if (name === "generation.done") this.#close("done");
    else if (name === "generation.stopped" || name === "generation.failed") this.#close("cancelled");
  }

  #load(parts) {
    this.#parts = [];
    this.#calls = new Map();
    this.#targets = new Map();
    this.#data = new Map();
    this.#runningSteps = new Map();
    this.#inputs = new Map();
    this.#waiting = new Set();
    this.#status = null;
    for (const part of parts) this.#add(copyPart(part));
  }

  #applyDelta({ reasoning, reasoning_details: details, text, tool_calls: calls, annotations }) {
    if (reasoning) this.#open("reasoning").text += reasoning;
    if (details?.length) joinParts(this.#open("reasoning"), { details });
    if (text) this.#open("text").text += text;
    for (const call of calls ?? []) this.#applyCall(call);
    if (annotations?.length) joinParts(this.#open("annotations"), { annotations });
  }

  // Returns the last part if it is of this type, else a new one.
  #open(type) {
    const last = this.#parts.at(-1);
    if (last?.type === type) return last;
    return this.#add(type === "annotations" ? { type, annotations: [] } : { type, text: "" });
  }

  #add(part) {
    this.#parts.push(part);
    if (part.type === "tool_call") {
      this.#targets.set(callKey(part), part);
      if (part.index !== undefined) this.#calls.set(part.index, part);
    } else if (part.type === "tool_result") this.#targets.set(callKey(part), part);
    else if (part.type === "status") this.#status = part;
    else if (part.type === "input") {
      this.#inputs.set(part.input, part);
      if (part.state === "waiting") this.#waiting.add(part);
    } else if (part.type === "step" && part.state === "running") {
      const running = this.#runningSteps.get(part.name);
      if (running) running.push(part);
      else this.#runningSteps.set(part.name, [part]);
    } else if (part.type === "data" && hasId(part) && !this.#data.has(dataKey(part))) this.#data.set(dataKey(part), part);
    return part;
  }

  // OpenAI's delta format: by index, the name once, the arguments in chunks.
  // `run_by` may come late: agents know only at the end which calls are not theirs.
  #applyCall({ index = 0, id = "", run_by, function: part, ...rest }) {
    const call = this.#calls.get(index)
      ?? this.#add({ type: "tool_call", index, id, name: "", arguments: "", run_by: "client" });
    if (run_by) call.run_by = run_by;
    const extras = Object.entries(rest).filter(([name]) => !CALL_FIELDS.has(name));
    if (extras.length) call.extras = { ...call.extras, ...Object.fromEntries(extras) };
    call.name += part?.name ?? "";
    call.arguments += part?.arguments ?? "";
  }

  #applyPart({ generation, i, ...part }) {
    if (part.type === "tool_result") this.#applyResult(part);
    else if (part.type === "status") {
      this.#removeStatus();
      this.#add(part);
    } else if (part.type === "step_start") this.#add({ type: "step", name: part.name, state: "running" });
    else if (part.type === "step_end") this.#endStep(part.name);
    else if (part.type === "data") this.#applyData(part);
    else if (part.type === "tool_call") this.#add({ arguments: "{}", run_by: "producer", ...part });
    else this.#add(part);
  }

  // Removes the newest status, and joins the parts around it.
  #removeStatus() {
    if (!this.#status) return;
    let index = this.#parts.length - 1;
    while (this.#parts[index] !== this.#status) index -= 1; // over newer parts, so each one only once
    this.#parts.splice(index, 1);
    const [before, after] = [this.#parts[index - 1], this.#parts[index]];
    if (!before || !after || !canJoin(before, after)) return;
    joinParts(before, after);
    this.#parts.splice(index, 1);
  }

  #applyResult({ is_error = false, ...part }) {
    const target = this.#targets.get(callKey(part));
    if (target) Object.assign(target, { result: part.result, is_error });
    else this.#add({ is_error, ...part });
  }

  #endStep(name) {
    const step = this.#runningSteps.get(name)?.pop();
    if (step) step.state = "done";
    else this.#add({ type: "step", name, state: "done" });
  }

  #applyData(part) {
    if (part.transient) return;
    const earlier = hasId(part) ? this.#data.get(dataKey(part)) : undefined;
    if (earlier) earlier.value = part.value;
    else this.#add(part);
  }

  // user: who asked, in the events of approvers.
  #requestInput({ generation, i, user, ...request }) {
    const earlier = this.#inputs.get(request.input);
    if (earlier) Object.assign(earlier, request);
    else this.#add({ type: "input", ...request, state: "waiting" });
  }

  // Ends the wait for an input. Only its first end counts.
  #endInput({ input }, end) {
    const part = this.#inputs.get(input);
    if (part?.state !== "waiting") return;
    Object.assign(part, end);
    this.#waiting.delete(part);
  }

  // The new text is at the place of the last one.
  #replaceText(text) {
    const old = this.#parts;
    const last = old.findLastIndex((part) => part.type === "text");
    const index = last < 0 ? old.length : last;
    this.#parts = [];
    const before = old.slice(0, index).filter((part) => part.type !== "text");
    for (const part of [...before, ...(text ? [{ type: "text", text }] : []), ...old.slice(index + 1)]) {
      const previous = this.#parts.at(-1);
      if (previous && canJoin(previous, part)) joinParts(previous, part);
      else this.#parts.push(part);
    }
  }

  // At the end of the answer. state: of the steps that are still running.
  #close(state) {
    for (const part of this.#parts) {
      if (part.type === "step" && part.state === "running") part.state = state;
      const isOpenCall = part.type === "tool_call" && part.run_by === "producer" && part.result === undefined;
      if (isOpenCall && state === "cancelled") part.state = state;
    }
    this.#runningSteps.clear();
    for (const part of this.#waiting) part.state = "cancelled";
    this.#waiting.clear();
  }
}

// Returns a copy that shares no list which a later event extends.
function copyPart(part) {
  const copy = { ...part };
  if (!JOINED_TYPES.has(part.type)) return copy;
  for (const field of LIST_FIELDS) if (Array.isArray(copy[field])) copy[field] = [...copy[field]];
  return copy;
}

function canJoin(part, next) {
  return part.type === next.type && JOINED_TYPES.has(part.type);
}

// Appends the content of the part that follows.
function joinParts(part, next) {
  if (next.text) part.text += next.text;
  for (const field of LIST_FIELDS) {
    if (next[field] && part[field]) part[field].push(...next[field]);
    else if (next[field]) part[field] = [...next[field]];
  }
}

// What a tool call and its result have in common. Both are visible, or both are not.
function callKey({ id = null, visible = true }) {
  return JSON.stringify([id, visible]);
}

// What data has in common with data that replaces it.
function dataKey({ name, id, visible = true }) {
  return JSON.stringify([name, id, visible]);
}

function hasId({ id }) {
  return id !== undefined && id !== null;
}

// The state that the events of one generation add up to. No network, no clock.
//
// Rules:
// 1. A transcript ends once. Events after its end change nothing.
// 2. Parts are numbered from 0 without a gap. If one is missing (the log no longer holds it, or this
//    page joined late), `hasGap` is true, and later parts are buffered until a snapshot closes the
//    gap. What becomes of an input has no number; it is buffered like a part.
export class Transcript {
  status = "queued";
  model = "";
  attempt = 0;
  usage = null;
  finishReason = null;
  by = null;
  code = null;
  message = null;
  deltas = 0;
  isPartial = false; // the beginning is no longer available
  hasGap = false;
  rewriteCount = 0; // how often earlier text became invalid
  version = 0; // how often anything has changed
  #folded = new FoldedParts();
  #buffered = []; // the names and data of parts behind the gap

  constructor(generation) {
    this.generation = generation;
  }

  get isEnded() {
    return END_STATUSES.has(this.status);
  }

  get text() {
    return this.#folded.textOf("text");
  }

  get reasoning() {
    return this.#folded.textOf("reasoning");
  }

  get parts() {
    return this.#folded.parts;
  }

  get toolCalls() {
    return this.parts.filter((part) => part.type === "tool_call");
  }

  // The inputs that wait for a value.
  get waitingInputs() {
    return this.#folded.waitingInputs;
  }

  // Applies one generation.* event.
  apply(name, data) {
    const kind = name.slice("generation.".length);
    const isOfApprovers = kind === "input_requested" && data.i === undefined; // in their own channel
    if (this.isEnded || isOfApprovers) return;
    this.version += 1;
    if (kind === "started") Object.assign(this, { status: "running", model: data.model, attempt: data.attempt });
    else if (kind === "restarted") this.#restart(data); // a worker died: earlier parts are invalid
    else if (kind === "continued") this.#continue(name, data); // from a checkpoint: later parts are invalid
    else if (PART_KINDS.has(kind)) this.#applyPart(name, data);
    else if (END_STATUSES.has(kind)) this.#applyEnd(kind, data);
    this.#showWaiting();
  }

  // Applies the response of GET /generations/{id}.
  applySnapshot(snapshot) {
    this.model ||= snapshot.model ?? "";
    if (!this.hasGap) return;
    const { attempt, deltas } = snapshot;
    const isOlder = attempt < this.attempt || (attempt === this.attempt && deltas < this.deltas);
    if (isOlder) return; // a later snapshot has more
    const isRestarted = this.attempt > 0 && attempt > this.attempt;
    const mayMiss = isRestarted && this.#buffered.length > 0;
    if (isRestarted || END_STATUSES.has(snapshot.status)) this.#buffered = []; // parts of an earlier attempt, or of the snapshot
    this.version += 1;
    if (!snapshot.text.startsWith(this.text)) this.rewriteCount += 1;
    this.#folded = new FoldedParts(snapshot.parts ?? [{ type: "text", text: snapshot.text }]); // an older node
    this.attempt = attempt;
    if (!this.isEnded) {
      this.status = UNENDED_STATUSES.has(snapshot.status) ? "running" : snapshot.status;
      if (this.isEnded) this.#setResult(snapshot);
    }
    this.#closeGap(deltas);
    if (mayMiss && !this.isEnded) this.hasGap = true; // some of them may have been of this attempt: another snapshot has them
    if (this.isEnded) this.#folded.apply(`generation.${this.status}`, {});
    this.#showWaiting();
  }

  // No snapshot is available either: what is there is kept and marked as partial.
  acceptGap() {
    if (!this.hasGap) return;
    this.version += 1;
    this.isPartial = true;
    this.#closeGap(this.#nextBuffered ?? this.deltas);
  }

  // Events were lost: a running generation may have a gap.
  markGap() {
    if (!this.isEnded) this.hasGap = true;
  }

  #restart({ attempt, model }) {
    this.rewriteCount += 1;
    this.#folded = new FoldedParts();
    this.#buffered = [];
    Object.assign(this, { status: "running", attempt, model: model ?? this.model, deltas: 0, hasGap: false });
  }

  #continue(name, data) {
    if (!data.snapshot.text.startsWith(this.text)) this.rewriteCount += 1;
    this.#folded.apply(name, data);
    this.#buffered = [];
    const { attempt, model, parts: deltas } = data;
    Object.assign(this, { status: "running", attempt, model: model ?? this.model, deltas, hasGap: false });
  }

  #applyPart(name, data) {
    this.status = "running";
    if (data.i > this.deltas) this.hasGap = true;
    if (this.hasGap) this.#buffered.push({ name, data });
    else this.#fold(name, data);
  }

  // The end event carries the number of parts. Without a number and without generation.started,
  // earlier events are missing.
  #applyEnd(status, data) {
    this.status = status;
    this.#setResult(data);
    if ((data.deltas ?? (this.attempt ? 0 : 1)) > this.deltas) this.hasGap = true;
    if (!this.hasGap) this.#folded.apply(`generation.${status}`, data);
  }

  #setResult({ usage = null, finish_reason: finishReason = null, by = null, code = null, message = null }) {
    Object.assign(this, { usage, finishReason, by, code, message });
  }

  // Sets the number of parts and folds the buffered ones, unless there is still a gap before them.
  #closeGap(deltas) {
    const buffered = this.#buffered;
    this.deltas = deltas;
    this.hasGap = this.#nextBuffered > deltas;
    if (this.hasGap) return;
    this.#buffered = [];
    for (const { name, data } of buffered) this.#fold(name, data);
  }

  #fold(name, data) {
    if (data.i < this.deltas) return; // the snapshot contained it
    if (name === "generation.replaced") this.rewriteCount += 1;
    this.#folded.apply(name, data);
    if (data.i !== undefined) this.deltas = data.i + 1;
  }

  // The number of the first buffered part. What becomes of an input has no number.
  get #nextBuffered() {
    return this.#buffered.find(({ data }) => data.i !== undefined)?.data.i;
  }

  #showWaiting() {
    if (this.status === "running" || this.status === "waiting") {
      this.status = this.waitingInputs.length ? "waiting" : "running";
    }
  }
}

// One answer as the page holds it. Each iterator begins with the text so far. A slow iterator gets
// all that arrived meanwhile in one update, so nothing accumulates.
export class Answer {
  #actions;
  #transcript = null;
  #error = null;
  #waiters = new Set(); // resolve functions of the iterators that wait for a change
  #inputListeners = new Set();
  #inputRequests = new Map(); // the requests that wait: key → { request, part, resolve(part), reject(error) }

  // actions: { stop(id), restart(id), respond(id, input, value), steer(id, message) }
  // started: resolves with the transcript.
  constructor(actions, started) {
    this.#actions = actions;
    this.accepted = started.then(
      (transcript) => {
        this.#transcript = transcript;
        this.update();
        return transcript.generation;
      },
      (error) => {
        this.#error = error;
        this.#wakeIterators();
        throw error;
      },
    );
    this.accepted.catch(noop);
  }

  get generation() {
    return this.#transcript?.generation ?? null;
  }

  get status() {
    return this.#transcript?.status ?? (this.#error ? "failed" : "queued");
  }

  get text() {
    return this.#transcript?.text ?? "";
  }

  get parts() {
    return this.#transcript?.parts ?? [];
  }

  get transcript() {
    return this.#transcript;
  }

  async stop() {
    return this.#actions.stop(await this.accepted);
  }

  // Starts another answer to the same request.
  restart() {
    return this.#actions.restart(this.accepted);
  }

  // Gives the answer the value of an input. The first value counts.
  async respond(input, value) {
    return this.#actions.respond(await this.accepted, input, value);
  }

  // Sends another message to the code that produces the answer.
  async steer(message) {
    return this.#actions.steer(await this.accepted, message);
  }

  // Calls the listener for each input that waits for a value, now and later. Returns a function that
  // removes it.
  onInput(listener) {
    this.#inputListeners.add(listener);
    for (const { request } of this.#inputRequests.values()) callListener(listener, request);
    return () => this.#inputListeners.delete(listener);
  }

  // Resolves with the transcript once it is done or stopped. Rejects when it failed.
  async ended() {
    for await (const update of this) void update;
    return this.#transcript;
  }

  async *[Symbol.asyncIterator]() {
    let last = null; // what the last update contained
    for (;;) {
      const current = this.#transcript;
      if (current && last?.version !== current.version) {
        const isReplaced = last !== null && last.rewriteCount !== current.rewriteCount;
        const delta = last && !isReplaced ? current.text.slice(last.length) : current.text;
        const reasoning = current.reasoning.slice(isReplaced ? 0 : last?.reasoning ?? 0);
        const { text, parts, status, rewriteCount, version } = current;
        last = { rewriteCount, length: text.length, reasoning: current.reasoning.length, version };
        yield { text, delta, reasoning, parts, isReplaced, status };
        continue;
      }
      if (this.#error) throw this.#error;
      if (current?.isEnded && !current.hasGap) {
        if (current.status === "failed") {
          throw new HubError(current.message ?? "The generation failed.", { code: current.code });
        }
        return;
      }
      await new Promise((resolve) => this.#waiters.add(resolve));
    }
  }

  // Not for pages. The transcript has changed, or an error ended the connection.
  update(error = null) {
    this.#error ??= error;
    this.#updateInputs();
    this.#wakeIterators();
  }

  #updateInputs() {
    const waiting = this.#transcript?.waitingInputs ?? [];
    for (const [key, { part, resolve, reject }] of this.#inputRequests) {
      const isWaiting = waiting.some(({ input }) => input === key);
      if (isWaiting && !this.#error) continue;
      this.#inputRequests.delete(key);
      if (isWaiting) reject(this.#error);
      else resolve(this.parts.find(({ type, input }) => type === "input" && input === key) ?? { ...part, state: "cancelled" });
    }
    if (this.#error) return;
    for (const part of waiting) if (!this.#inputRequests.has(part.input)) this.#addInput(part);
  }

  #addInput(part) {
    const { input, prompt, options, schema, tool_call: toolCall, expires_at: expiresAt } = part;
    const { promise: settled, resolve, reject } = deferred();
    const request = {
      generation: this.generation, input, prompt, options, schema, toolCall, settled,
      expiresAt: expiresAt * 1000,
      respond: (value) => this.respond(input, value),
    };
    this.#inputRequests.set(input, { request, part, resolve, reject });
    for (const listener of this.#inputListeners) callListener(listener, request);
  }

  #wakeIterators() {
    for (const resolve of this.#waiters) resolve();
    this.#waiters.clear();
  }
}

// The answers that this page follows. Their transcripts are fed by generation.* events.
class AnswerRegistry {
  #api;
  #whenPositioned;
  #transcripts = new Map(); // generation → transcript
  #answers = new Map(); // transcript → set of answers
  #pendingAnswers = new Set(); // answers whose generation is not known yet
  #pendingRequests = 0;
  #lossCount = 0; // how often events may have been lost
  #loading = new Set(); // transcripts whose snapshot is being loaded
  isClosed = false;

  // whenPositioned(): resolves once this tab's position is known, rejects while the hub is closed
  constructor(api, whenPositioned) {
    this.#api = api;
    this.#whenPositioned = whenPositioned;
  }

  // response: resolves with { generation }. Events of the generation may arrive before it does:
  // while any request is pending, events of unknown generations are kept. mayExist: an earlier
  // request may have started the generation, and its events may be gone.
  add(response, { mayExist = false } = {}) {
    this.#pendingRequests += 1;
    const lossCount = this.#lossCount;
    const answer = this.#createAnswer(response.then(({ generation }) => (
      mayExist || this.#lossCount !== lossCount ? this.#getOrLoad(generation) : this.#getOrCreate(generation)
    )));
    const onSettled = () => {
      this.#pendingRequests -= 1;
      this.#prune();
    };
    answer.accepted.then(onSettled, onSettled);
    return answer;
  }

  // id: a promise of the generation's id.
  restart(id) {
    const key = newIdempotencyKey();
    return this.add(id.then(async (generation) => {
      await this.#whenPositioned(); // otherwise the first events of the new answer could be missed
      return this.#api.restartGeneration(generation, key);
    }));
  }

  // Starts from the snapshot.
  join(id) {
    return this.#createAnswer(Promise.resolve(this.#getOrLoad(id)));
  }

  onEvent(name, data) {
    const known = this.#transcripts.get(data.generation);
    // Approvers get the events of inputs, and no others of that answer.
    if (!known && (!this.#pendingRequests || name.startsWith("generation.input_"))) return;
    if (!known && this.#transcripts.size >= MAX_UNCLAIMED_TRANSCRIPTS) {
      this.#lossCount += 1;
      this.#prune({ isFull: true });
    }
    const transcript = known ?? this.#getOrCreate(data.generation);
    transcript.apply(name, data);
    if (transcript.hasGap) this.#loadSnapshot(transcript);
    this.#onChange(transcript);
  }

  // Called after hub.reset.
  markGaps() {
    this.#lossCount += 1;
    for (const transcript of this.#transcripts.values()) {
      transcript.markGap();
      if (transcript.hasGap) this.#loadSnapshot(transcript);
    }
  }

  // No more events will arrive: ends every unfinished answer with the error.
  fail(error) {
    for (const [transcript, answers] of this.#answers) {
      if (!transcript.isEnded) for (const answer of answers) answer.update(error);
    }
    for (const answer of this.#pendingAnswers) answer.update(error);
  }

  #getOrLoad(id) {
    const isKnown = this.#transcripts.has(id);
    const transcript = this.#getOrCreate(id);
    if (!isKnown) {
      transcript.markGap();
      this.#loadSnapshot(transcript);
    }
    return transcript;
  }

  #getOrCreate(id) {
    if (!this.#transcripts.has(id)) this.#transcripts.set(id, new Transcript(id));
    return this.#transcripts.get(id);
  }

  #createAnswer(started) {
    const stop = (id) => this.#api.stopGeneration(id);
    const restart = (accepted) => this.restart(accepted);
    const respond = (id, input, value) => this.#api.respond(id, input, value);
    const steer = (id, message) => this.#api.steer(id, message, newIdempotencyKey());
    const answer = new Answer({ stop, restart, respond, steer }, started);
    this.#pendingAnswers.add(answer);
    started.then((transcript) => {
      const answers = this.#answers.get(transcript) ?? new Set();
      this.#answers.set(transcript, answers.add(answer));
    }).catch(noop).finally(() => this.#pendingAnswers.delete(answer));
    return answer;
  }

  #onChange(transcript) {
    for (const answer of this.#answers.get(transcript) ?? []) answer.update();
    if (transcript.isEnded && !transcript.hasGap) this.#prune();
  }

  // Removes transcripts that have ended and, once no request is pending, those without an answer.
  // An Answer that the page still holds keeps its transcript.
  #prune({ isFull = false } = {}) {
    for (const [id, transcript] of this.#transcripts) {
      const isComplete = transcript.isEnded && !transcript.hasGap;
      const hasAnswer = this.#answers.has(transcript);
      if (hasAnswer ? !isComplete : this.#pendingRequests && !isFull) continue;
      this.#transcripts.delete(id);
      this.#answers.delete(transcript);
    }
  }

  async #loadSnapshot(transcript) {
    if (this.#loading.has(transcript)) return;
    this.#loading.add(transcript);
    for (let failures = 0; transcript.hasGap && !this.isClosed; failures += 1) {
      if (failures) await sleep(retryDelayMs(Math.min(failures - 1, 4)));
      try {
        await this.#whenPositioned(); // otherwise an end between snapshot and stream could be missed
        const lossCount = this.#lossCount;
        const snapshot = await this.#api.getSnapshot(transcript.generation);
        if (lossCount === this.#lossCount) transcript.applySnapshot(snapshot); // otherwise it may lack lost events
      } catch (error) {
        if (error.code === "closed") {
          this.fail(error);
          break;
        }
        if (error.isRetryable) continue;
        const isUnknown = error.status === 404;
        const message = isUnknown ? "The hub no longer stores this answer." : error.message;
        transcript.apply("generation.failed", { code: isUnknown ? "gone" : "refused", message, deltas: 0 });
        transcript.acceptGap();
      }
    }
    this.#loading.delete(transcript);
    this.#onChange(transcript);
  }
}

// ---- the inbox -------------------------------------------------------------------------------

// The counts and changes of the user's inbox. Rules:
// 1. `unread` and `unseen` belong to a position in the user's channel. Counts of an older position than the present
//    one are ignored, so all tabs and devices show the same numbers once they have the same events.
// 2. A request is sent when this tab's position is known: each later change arrives as an event.
// 3. The counts of topics have no position: the newest request wins. The event of a topic causes a request after a
//    random delay, because many users get it at once. One request waits at a time, and only visible tabs send it.
//    The delay doubles while the counts stay the same, since most events of a topic may not be for the inbox.
export class Inbox {
  #api;
  #awaitPosition; // returns a promise that resolves with this tab's position once it is known
  #listeners = new Listeners();
  #counts = null; // both of the following
  #ownCounts = null; // { unread, unseen } at #position
  #topicCounts = null; // { topic_unread, topic_unseen } of the request with the number #topicRequest
  #position = new Positions();
  #requests = 0;
  #topicRequest = 0;
  #refreshing = null; // the promise of a request for the counts
  #timer = null;
  #refreshMs = TOPIC_REFRESH_MS;
  #failures = 0;
  #isPaused = false; // a refresh waits until the page is visible
  #isClosed = false;

  // register: called with { onEvent(event, cursor, isOfTopic), onVisible(), onClose() }
  constructor(api, awaitPosition, register) {
    this.#api = api;
    this.#awaitPosition = awaitPosition;
    register({
      onEvent: (...event) => this.#onEvent(...event),
      onVisible: () => this.#onVisible(),
      onClose: () => {
        this.#isClosed = true;
        clearTimeout(this.#timer);
      },
    });
  }

  // { unread, unseen, topic_unread, topic_unseen }, or null until the first two are known. A new object after each change.
  get counts() {
    return this.#counts;
  }

  // name: `counts`, `item`, `change`, or `stale` when a list must be loaded again. Returns a function that removes the
  // listener. The first listener of the counts causes a request for them.
  on(name, listener) {
    if (name === "counts" && !this.#topicCounts) this.#schedule(0);
    return this.#listeners.add(name, listener);
  }

  // query: { category, unread, archived, before, limit }. Returns the response of GET /inbox.
  async list(query = {}) {
    // The response may arrive after the first event of a channel, whose epoch it does not know.
    this.#position.advance(ownCursor(await this.#awaitPosition()));
    this.#requests += 1;
    const number = this.#requests;
    const page = await this.#api.getInbox(givenFields(query));
    this.#apply(page, page.cursor, number);
    return page;
  }

  // Returns an InboxList, which follows the changes, once its first page was loaded. options: { category, unread, archived, limit }
  async open(options = {}) {
    const { InboxList } = await import("./inbox.js");
    return InboxList.open(this, options);
  }

  // Requests the counts, and returns them.
  async refresh() {
    this.#refreshing ??= this.list({ limit: 1 }).finally(() => (this.#refreshing = null));
    await this.#refreshing;
    return this.counts;
  }

  // selection: the id of an item, a list of ids, { up_to: id } or { category }
  read(selection) {
    return this.#change("read", selection);
  }

  unread(selection) {
    return this.#change("unread", selection);
  }

  seen(selection) {
    return this.#change("seen", selection);
  }

  archive(selection) {
    return this.#change("archive", selection);
  }

  unarchive(selection) {
    return this.#change("unarchive", selection);
  }

  delete(selection) {
    return this.#change("delete", selection);
  }

  async subscriptions() {
    return (await this.#api.getInboxSetting("subscriptions")).topics;
  }

  async setSubscriptions(topics) {
    const response = await this.#api.putInboxSetting("subscriptions", { topics });
    this.#markStale();
    return response.topics;
  }

  preferences() {
    return this.#api.getInboxSetting("preferences");
  }

  async setPreferences(preferences) {
    const response = await this.#api.putInboxSetting("preferences", preferences);
    this.#markStale();
    return response;
  }

  // -- what Hub reports

  #onEvent({ name, data, replayed }, cursor, isOfTopic) {
    if (name === "hub.reset") {
      this.#position = new Positions();
      this.#markStale();
    } else if (name === "inbox.item" || name === "inbox.changed") {
      this.#apply(data, cursor);
      this.#listeners.dispatch(name === "inbox.item" ? "item" : "change", { ...data, replayed, cursor: ownCursor(cursor) });
      if (data.items?.some((id) => SHARED_ITEM.test(id))) this.#markStale();
    } else if (isOfTopic && !SYSTEM_EVENT.test(name) && this.#timer === null) {
      this.#schedule(this.#refreshMs * (0.5 + Math.random() / 2));
      this.#refreshMs = Math.min(MAX_TOPIC_REFRESH_MS, this.#refreshMs * 2);
    }
  }

  #onVisible() {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#schedule(0);
  }

  // -- counts

  #apply(counts, cursor, request = this.#requests) {
    const position = ownCursor(cursor);
    const isOlder = position && this.#position.cursor !== position && this.#position.covers(position);
    if (!isOlder && Number.isInteger(counts.unread)) {
      if (position) this.#position.advance(position);
      this.#ownCounts = { unread: counts.unread, unseen: counts.unseen };
    }
    const topicBefore = this.#topicCounts;
    if (Number.isInteger(counts.topic_unread) && request >= this.#topicRequest) {
      this.#topicRequest = request;
      this.#topicCounts = { topic_unread: counts.topic_unread, topic_unseen: counts.topic_unseen };
    }
    if (!isEqual(topicBefore, this.#topicCounts)) this.#refreshMs = TOPIC_REFRESH_MS;
    // An event has the user's own counts; those of topics come with the first response, which may be late.
    const known = this.#ownCounts && { ...this.#ownCounts, ...(this.#topicCounts ?? NO_TOPIC_COUNTS) };
    if (isEqual(known, this.#counts)) return;
    this.#counts = known;
    this.#listeners.dispatch("counts", known);
  }

  async #change(change, selection) {
    const body = typeof selection === "string" ? { items: [selection] } : Array.isArray(selection) ? { items: selection } : selection;
    this.#requests += 1;
    const number = this.#requests;
    const counts = await this.#api.changeInbox(change, body);
    this.#apply(counts, counts.cursor, number);
    this.#listeners.dispatch("change", { change, ...body, cursor: ownCursor(counts.cursor) });
    return this.counts;
  }

  // -- refreshes

  #markStale() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#schedule(0);
  }

  #schedule(ms) {
    if (this.#isClosed || this.#timer !== null || this.#isPaused) return;
    this.#timer = setTimeout(() => this.#refreshNow(), ms);
  }

  // An open list loads a page again, which has the counts. Without a list only the counts are requested.
  async #refreshNow() {
    this.#timer = null;
    this.#isPaused = Boolean(globalThis.document?.hidden && this.#topicCounts);
    if (this.#isPaused) return;
    if (this.#listeners.has("stale")) {
      this.#listeners.dispatch("stale", {});
      return;
    }
    try {
      await this.refresh();
      this.#failures = 0;
    } catch (error) {
      if (error.isRetryable) this.#schedule(retryDelayMs(this.#failures++));
    }
  }
}

function isEqual(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}

// What a request sends of the given options.
function givenFields(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value != null));
}

// ---- tabs ------------------------------------------------------------------------------------

// One connection for all tabs of a browser that follow the same channels. The tab that holds the
// Web Lock is the leader: it has the connection and passes every event on. When a tab closes or
// crashes, the browser grants the lock to the next one. A frozen tab keeps the lock: a follower in
// the foreground that gets no reply from the leader steals it.
//
// Rules:
// 1. Each period of leadership is a term. Terms increase, and messages of an older term are dropped.
// 2. A leader numbers its events. A follower that sees a gap in the numbers reads the log itself.
// 3. A leader that the hub refused for good keeps the lock and reports its state, so that the other
//    tabs do not try as well.
class TabGroup {
  #name;
  #callbacks;
  #channel = null; // the BroadcastChannel; null while this tab is not in the group
  #lockRequest = null; // the AbortController of the pending lock request
  #releaseLock = null; // null unless this tab is the leader
  #term = 0;
  #nextNumber = 0;
  #lastLeaderMessageAt = 0;
  #checkInterval = null;
  #leaderTimeout = null;

  // callbacks: { onLead(), onUnavailable(), onLockStolen(), getState(): { cursor, state },
  //   onLeaderState(cursor, state, isMissing), onEvent(event), onGap(), onHello(), onReconnect() }
  constructor(name, callbacks) {
    this.#name = name;
    this.#callbacks = callbacks;
  }

  // Node has both APIs, or one of them, and no tabs.
  static get isSupported() {
    return Boolean(globalThis.navigator?.locks && globalThis.BroadcastChannel && !globalThis.process);
  }

  get isLeader() {
    return this.#releaseLock !== null;
  }

  join() {
    if (this.#channel) return;
    try {
      this.#channel = new BroadcastChannel(this.#name);
    } catch {
      this.#callbacks.onUnavailable();
      return;
    }
    this.#channel.onmessage = ({ data }) => this.#onMessage(data ?? {});
    const intervalMs = DEFAULT_HEARTBEAT_SECONDS * 1000 * MAX_SILENT_HEARTBEATS;
    this.#checkInterval = setInterval(() => this.checkLeader(), intervalMs);
    this.send("hello");
    this.#requestLock();
  }

  detach() {
    clearInterval(this.#checkInterval);
    clearTimeout(this.#leaderTimeout);
    this.#lockRequest?.abort();
    this.#lockRequest = null;
    this.#releaseLock?.();
    this.#channel?.close();
    this.#channel = null;
  }

  stealLock() {
    if (!this.isLeader) this.#requestLock({ steal: true });
  }

  // Sends a message to the leader: `hello` asks for its state, `reconnect` for a new connection.
  send(kind) {
    this.#channel?.postMessage({ kind });
  }

  publish(event) {
    if (!this.isLeader) return;
    this.#channel?.postMessage({ kind: "event", term: this.#term, number: this.#nextNumber, event });
    this.#nextNumber += 1;
  }

  publishState() {
    if (!this.isLeader) return;
    const state = this.#callbacks.getState();
    this.#channel?.postMessage({ kind: "state", term: this.#term, number: this.#nextNumber, ...state });
  }

  // Steals the lock if the leader does not reply. Only a visible tab does that.
  checkLeader() {
    if (this.isLeader || !this.#channel || globalThis.document?.hidden) return;
    const sentAt = Date.now();
    this.send("hello");
    clearTimeout(this.#leaderTimeout);
    this.#leaderTimeout = setTimeout(() => {
      if (this.#lastLeaderMessageAt < sentAt) this.stealLock();
    }, LEADER_TIMEOUT_MS);
  }

  #requestLock({ steal = false } = {}) {
    this.#lockRequest?.abort();
    const request = new AbortController();
    this.#lockRequest = request;
    const isCurrent = () => this.#lockRequest === request;
    navigator.locks.request(this.#name, steal ? { steal } : { signal: request.signal }, () => {
      if (!isCurrent()) return undefined; // this tab left the group meanwhile
      return new Promise((release) => this.#lead(release));
    }).catch(() => {
      if (!isCurrent()) return;
      if (!this.isLeader) { // the browser refused: a sandboxed frame, or one without storage
        this.#callbacks.onUnavailable();
        return;
      }
      this.#releaseLock(); // another tab stole it
      this.#callbacks.onLockStolen();
      this.#requestLock();
      this.send("hello");
    });
  }

  #lead(release) {
    this.#releaseLock = () => {
      this.#releaseLock = null;
      release();
    };
    this.#term = Math.max(this.#term + 1, Date.now());
    this.#nextNumber = 0;
    this.#callbacks.onLead();
    this.publishState();
  }

  #onMessage({ kind, term, number, event, cursor, state }) {
    if (!TAB_MESSAGE_KINDS.has(kind)) return; // from another version of this module
    if (kind === "hello" || kind === "reconnect") {
      if (!this.isLeader) return;
      if (kind === "reconnect") this.#callbacks.onReconnect();
      else this.#callbacks.onHello();
      this.publishState();
      return;
    }
    const isNewTerm = term > this.#term;
    if (this.isLeader || term < this.#term || (!isNewTerm && number < this.#nextNumber)) return;
    const isMissing = isNewTerm ? kind === "event" : number > this.#nextNumber;
    this.#term = term;
    this.#lastLeaderMessageAt = Date.now();
    this.#nextNumber = number + (kind === "event" ? 1 : 0);
    if (kind === "state") this.#callbacks.onLeaderState(cursor, state, isMissing);
    else {
      if (isMissing) this.#callbacks.onGap();
      this.#callbacks.onEvent(event);
    }
  }
}

// ---- push notifications ----------------------------------------------------------------------

const PUSH_WORKER = "/hub-sw.js";
const PUSH_SCOPE = "/hub-push/"; // no page is there, so a service worker of the page stays as it is
const PUSH_TIMEOUT_MS = 30_000; // browsers wait for an unreachable push service without an end

function pushError(code, message, cause) {
  return new HubError(message, { code, cause });
}

// Push notifications for this browser and the user of the hub.
class Push {
  #api;
  #url;
  #key; // of the stored id of the subscription
  #isWatching = false;

  constructor(api, url) {
    this.#api = api;
    this.#url = url;
    this.#key = `hub push ${url}`;
  }

  // `unsupported`, `denied`, `on`, or `off`.
  async state({ registration, scope } = {}) {
    if (findPushProblem()) return "unsupported";
    if (Notification.permission === "denied") return "denied";
    const existing = registration ?? await this.#find(scope);
    const subscription = await existing?.pushManager.getSubscription();
    return subscription && Notification.permission === "granted" && this.#readId() ? "on" : "off";
  }

  // Asks for permission, subscribes this browser and tells the hub. Call it on a click, and again
  // whenever the page has loaded and the state is `on`: that renews the subscription.
  async enable({ registration, worker, scope } = {}) {
    const problem = findPushProblem();
    if (problem) throw problem;
    const isElsewhere = new URL(this.#url, location.href).origin !== location.origin;
    if (isElsewhere && !registration && !worker) {
      throw pushError("push_worker", "The hub has another origin: pass `worker`, the URL of a service worker of this page that loads the hub's with importScripts.");
    }
    // First of all, since browsers ask only as long as the click counts.
    const permission = await Notification.requestPermission();
    if (permission === "denied") throw pushError("push_denied", "Notifications are blocked for this page: the user must allow them in the settings of the browser.");
    if (permission !== "granted") throw pushError("push_dismissed", "The user has not decided whether this page may show notifications.");
    const { public_key: key } = await this.#api.getPushKey();
    const active = registration ?? await register(worker ?? this.#url + PUSH_WORKER, scope ?? (worker ? undefined : PUSH_SCOPE));
    const subscription = await subscribe(active, decodeBase64url(key));
    const { id } = await this.#api.addPushSubscription(subscription.toJSON());
    this.#storeId(id);
    this.#watch({ registration, worker, scope });
    return id;
  }

  // Removes this browser from the hub and ends its subscription. Call it before the user logs out.
  async disable({ registration, worker, scope } = {}) {
    if (findPushProblem()) return;
    const existing = registration ?? await this.#find(scope ?? (worker ? "/" : undefined));
    const subscription = await existing?.pushManager.getSubscription();
    const id = this.#readId();
    this.#storeId(null);
    if (!subscription) return;
    try {
      const known = id ?? (await this.#api.addPushSubscription(subscription.toJSON())).id;
      await this.#api.removePushSubscription(known);
    } catch (error) {
      if (error.status !== 404) throw error;
    } finally {
      await subscription.unsubscribe(); // so that nothing arrives, whether the hub knows or not
    }
  }

  #find(scope = PUSH_SCOPE) {
    return navigator.serviceWorker.getRegistration(new URL(scope, location.href).href);
  }

  // The service worker tells when the browser has replaced the subscription.
  #watch(options) {
    if (this.#isWatching) return;
    this.#isWatching = true;
    navigator.serviceWorker.addEventListener("message", ({ data }) => {
      if (data?.type === "hub.push.changed" && this.#readId()) this.enable(options).catch(noop);
    });
  }

  #readId() {
    try {
      return localStorage.getItem(this.#key);
    } catch {
      return null; // storage is blocked
    }
  }

  #storeId(id) {
    try {
      if (id === null) localStorage.removeItem(this.#key);
      else localStorage.setItem(this.#key, id);
    } catch { /* storage is blocked: disable() asks the hub for the id */ }
  }
}

function findPushProblem() {
  if (globalThis.isSecureContext === false) {
    return pushError("push_unsupported", "Push notifications need HTTPS; only localhost works without it.");
  }
  if (!globalThis.navigator?.serviceWorker || !globalThis.PushManager || !globalThis.Notification) {
    return pushError("push_unsupported", "This browser has no push notifications. On an iPhone or iPad, the page must be added to the home screen first.");
  }
  return null;
}

// Returns the registration once its worker is active: before that, subscribe() fails.
async function register(worker, scope) {
  let registration;
  try {
    registration = await navigator.serviceWorker.register(worker, scope === undefined ? {} : { scope });
  } catch (cause) {
    throw pushError("push_worker", `The service worker ${worker} cannot be registered: ${cause?.message ?? cause}`, cause);
  }
  const installing = registration.active ? null : registration.installing ?? registration.waiting;
  if (!installing) return registration;
  await withTimeout(PUSH_TIMEOUT_MS, null, (signal) => new Promise((resolve, reject) => {
    const check = () => {
      if (installing.state === "activated") resolve();
      if (installing.state === "redundant") reject(pushError("push_worker", `The service worker ${worker} cannot be installed.`));
    };
    installing.addEventListener("statechange", check);
    signal.addEventListener("abort", () => reject(pushError("push_worker", `The service worker ${worker} did not start in time.`)));
    check();
  }));
  return registration;
}

async function subscribe({ pushManager }, key) {
  try {
    return await withTimeout(PUSH_TIMEOUT_MS, null, (signal) => Promise.race([
      (async () => {
        const before = await pushManager.getSubscription();
        const beforeKey = before?.options?.applicationServerKey;
        if (before && beforeKey && equalBytes(new Uint8Array(beforeKey), key)) return before;
        await before?.unsubscribe(); // it was made with another key of the hub
        return pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
      })(),
      new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
    ]));
  } catch (cause) {
    throw pushError("push_failed", `The browser could not subscribe at its push service: ${cause?.message ?? cause}`, cause);
  }
}

function equalBytes(a, b) {
  return a.length === b.length && a.every((byte, n) => byte === b[n]);
}

function decodeBase64url(text) {
  const bytes = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(bytes, (character) => character.charCodeAt(0));
}

// ---- the hub ---------------------------------------------------------------------------------

const DEFAULTS = {
  user: null, token: null, getToken: null, ticket: null, getTicket: null, topics: [], cursor: "live",
  store: "session", share: null, credentials: "same-origin", transport: "auto", openTimeoutMs: OPEN_TIMEOUT_MS,
};

export function connect(options = {}) {
  return new Hub(options);
}

export class Hub {
  #options;
  #api;
  #answers;
  #positions;
  #store;
  #key; // names the group of tabs and the stored cursor
  #tabs = null; // the TabGroup; null when this tab does not share a connection
  #connection = null; // null unless this tab is the leader
  #inbox = null; // null until the page uses it
  #inboxCallbacks = null;
  #listeners = new Listeners();
  #lifetime = new AbortController(); // aborted by close()
  #state = { state: "connecting", reason: null, retryAt: null, open: null, transport: null, isLeader: false };
  #awaitsLeader = true; // no state of a leader has arrived since this tab joined or reconnected
  #mustRecover = false; // events are missing: they are read from the log
  #hasNewGap = false; // events went missing after the last read of the log began
  #isRecovering = false;
  #isReplayDone = false; // the events that were stored before this page started were delivered
  #buffered = []; // the leader's events that wait until the log was read
  #positioned = deferred(); // resolves once this tab's position is known; rejects while it is closed
  #ready = deferred();
  push; // push notifications for this browser

  constructor(options = {}) {
    const url = (options.url ?? globalThis.location?.origin ?? "").replace(/\/$/, "");
    if (!url) throw new TypeError("Pass the option `url`: outside of a page there is no default origin.");
    const fetch = options.fetch ?? ((...request) => globalThis.fetch(...request));
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    this.#options = { ...DEFAULTS, ...given, url, fetch, topics: [...(options.topics ?? [])].sort() };
    const { user, token, topics } = this.#options;
    const knownUser = user ?? subjectOfToken(token);
    this.#key = ["hub", url, knownUser ?? "", ...topics].join(" ");
    // getToken or a cookie may stand for another user in the next tab.
    this.#options.share ??= knownUser !== null;
    this.#store = createStore(this.#options.store);
    this.#api = new Api(this.#options);
    this.push = new Push(this.#api, url);
    this.#answers = new AnswerRegistry(this.#api, () => this.#positioned.promise);
    this.#start();
  }

  // { state: connecting | live | reconnecting | closed, reason, retryAt, open, transport, isLeader }
  get state() {
    return this.#state;
  }

  get cursor() {
    return this.#positions.cursor;
  }

  // Resolves once all events that were stored after the first cursor have been delivered.
  get ready() {
    return this.#ready.promise;
  }

  // name: the name of an event, `state`, or `*` for every event. Returns a function that removes
  // the listener.
  on(name, listener) {
    return this.#listeners.add(name, listener);
  }

  // The inbox of the user.
  get inbox() {
    this.#inbox ??= new Inbox(this.#api, () => this.#awaitPosition(), (callbacks) => (this.#inboxCallbacks = callbacks));
    return this.#inbox;
  }

  async #awaitPosition() {
    await this.#positioned.promise;
    return this.#positions.cursor;
  }

  // request: a prompt, or the body of POST /generations. Its `id` is the idempotency key.
  ask(request) {
    const { id, ...body } = typeof request === "string" ? { prompt: request } : request;
    const topic = body.to?.topic;
    if (topic !== undefined && !this.#options.topics.includes(topic)) {
      throw new TypeError(`Pass the topic ${topic} in the option \`topics\`: the answer comes with its events.`);
    }
    // Before this tab's position is known, the first events of the answer could be missed.
    const response = this.#positioned.promise.then(() => (
      this.#api.startGeneration(body, id ?? newIdempotencyKey())
    ));
    const mayExist = id !== undefined || body.on_busy === "steer";
    return this.#answers.add(response, { mayExist });
  }

  // Joins a generation that started elsewhere, or before a reload: the text so far, then the rest.
  join(generation) {
    return this.#answers.join(generation);
  }

  getSnapshot(generation) {
    return this.#api.getSnapshot(generation);
  }

  stop(generation) {
    return this.#api.stopGeneration(generation);
  }

  restart(generation) {
    return this.#answers.restart(Promise.resolve(generation));
  }

  // input: the key of the input.
  respond(generation, input, value) {
    return this.#api.respond(generation, input, value);
  }

  // message: a text, or a message of a conversation.
  steer(generation, message) {
    return this.#api.steer(generation, message, newIdempotencyKey());
  }

  reconnect() {
    if (this.#connection) this.#connection.reconnect();
    else if (this.#state.state !== "closed") this.#tabs?.send("reconnect");
    else if (!this.#lifetime.signal.aborted) this.#enter();
  }

  close() {
    if (this.#lifetime.signal.aborted) return;
    this.#detach();
    this.#answers.isClosed = true;
    this.#inboxCallbacks?.onClose();
    this.#lifetime.abort();
    this.#setState({ state: "closed", reason: "closed" });
  }

  // -- start and end

  #start() {
    const { cursor, share } = this.#options;
    this.#positions = new Positions(this.#store.get(this.#key) ?? "");
    if (cursor !== "live" && cursor !== "start") {
      if (!this.#positions.cursor) this.#positions.advance(cursor);
      this.#options.cursor = "live"; // in case the hub cannot read the cursor
    }
    if (this.#positions.cursor) this.#positioned.resolve();
    if (share && TabGroup.isSupported) this.#tabs = this.#createTabGroup();
    const listen = (target, name, listener) => {
      target?.addEventListener?.(name, listener, { signal: this.#lifetime.signal });
    };
    listen(globalThis, "online", () => this.#wake({ isNewNetwork: true }));
    listen(globalThis, "pageshow", ({ persisted }) => persisted && this.#enter());
    // A page in the back/forward cache may hold neither a lock nor a connection.
    listen(globalThis, "pagehide", () => this.#detach());
    listen(globalThis.document, "resume", () => this.#wake());
    listen(globalThis.document, "visibilitychange", () => document.hidden || this.#wake());
    this.#enter();
  }

  // Joins the group of tabs, or connects.
  #enter() {
    this.#awaitsLeader = true;
    this.#setState({ state: "connecting" });
    if (!this.#tabs || this.#tabs.isLeader) this.#lead();
    else {
      this.#tabs.join();
      this.#tabs?.checkLeader();
    }
  }

  #detach() {
    this.#disconnect();
    this.#tabs?.detach();
  }

  #disconnect() {
    this.#connection?.close();
    this.#connection = null;
  }

  #wake({ isNewNetwork = false } = {}) {
    this.#connection?.wake({ isNewNetwork });
    this.#tabs?.checkLeader();
    this.#inboxCallbacks?.onVisible();
  }

  // -- leader: this tab has the connection

  #lead() {
    this.#mustRecover = false;
    this.#buffered = [];
    if (this.#state.state === "closed") return; // the hub refused the leader before for good
    const connection = new Connection(this.#api, this.#options, this.#state, {
      getCursor: () => this.#nextCursor(),
      onEvent: (event) => {
        this.#deliver(event);
        this.#tabs?.publish(event);
      },
      onState: (state) => {
        if (this.#connection !== connection) return;
        if (this.#state.state === "live") this.#onReplayDone();
        if (state.state === "closed") this.#connection = null;
        this.#setState({ ...state, isLeader: true });
        this.#tabs?.publishState();
      },
      onReplayDone: () => this.#onReplayDone(),
    });
    this.#connection = connection;
    connection.run();
  }

  #nextCursor() {
    return this.#positions.cursor || this.#options.cursor;
  }

  // -- follower: another tab has the connection

  #createTabGroup() {
    return new TabGroup(this.#key, {
      onLead: () => this.#lead(),
      onUnavailable: () => {
        this.#tabs.detach();
        this.#tabs = null;
        this.#lead();
      },
      onLockStolen: () => this.#disconnect(),
      getState: () => ({ cursor: this.#positions.cursor, state: this.#state }),
      onLeaderState: (cursor, state, isMissing) => this.#onLeaderState(cursor, state, isMissing),
      onEvent: (event) => this.#onLeaderEvent(event),
      onGap: () => this.#markGap(),
      onHello: () => this.#connection?.wake(),
      onReconnect: () => this.#connection?.reconnect(),
    });
  }

  #onLeaderState(cursor, state, isMissing) {
    const hasNoPosition = !this.#positions.cursor;
    if (hasNoPosition && this.#options.cursor === "live") {
      if (cursor) this.#advance(cursor);
    } else if (hasNoPosition || isMissing || (cursor && !this.#positions.covers(cursor))) this.#markGap();
    // This tab may have a better token than a leader that was refused.
    if (state.state === "closed" && this.#awaitsLeader) this.#tabs.stealLock();
    else this.#setState({ ...state, isLeader: false });
    this.#awaitsLeader = false;
    if (state.state !== "live") return;
    if (this.#mustRecover) this.#recover();
    else this.#onReplayDone();
  }

  #markGap() {
    this.#mustRecover = true;
    this.#hasNewGap = true;
  }

  #onLeaderEvent(event) {
    if (!this.#mustRecover) {
      this.#deliver(event);
      return;
    }
    if (this.#buffered.length === MAX_BUFFERED_EVENTS) {
      this.#buffered = []; // the log has them
      this.#markGap();
    }
    this.#buffered.push(event);
    this.#recover();
  }

  // Reads the log from this tab's position, then delivers the leader's events that arrived meanwhile.
  async #recover() {
    if (this.#isRecovering) return;
    this.#isRecovering = true;
    const isDone = () => !this.#mustRecover || this.#tabs?.isLeader || this.#lifetime.signal.aborted;
    for (let failures = 0; !isDone();) {
      this.#hasNewGap = false;
      try {
        const { events, cursor } = await this.#api.poll(this.#nextCursor(), 0, this.#lifetime.signal);
        if (isDone()) break; // this tab became the leader and gets the events from its own stream
        for (const { id, event: name, data } of events) this.#deliver({ name, data, id, replay: true });
        if (cursor) this.#advance(cursor);
        this.#mustRecover = this.#hasNewGap || events.length > 0;
        const bye = findBye(events); // the node is full or draining, for example
        if (bye) await sleep(Math.max(bye.retry_ms ?? 0, retryDelayMs(failures++)));
      } catch (error) {
        if (error.path === "cursor") this.#deliver(CURSOR_RESET);
        else if (error instanceof HubError && !error.isRetryable) {
          this.#detach();
          this.#setState({ state: "closed", reason: error.message });
          break;
        } else await sleep(retryDelayMs(failures++));
      }
    }
    this.#isRecovering = false;
    if (this.#mustRecover || this.#tabs?.isLeader) return;
    this.#onReplayDone();
    for (const event of this.#buffered.splice(0)) this.#deliver(event);
  }

  // -- events and state

  #deliver({ name, data, id, replay = false }) {
    const isControl = name.startsWith("hub.");
    if (name === "hub.reset" && data.channel === "*") {
      // Without a cursor, requests already wait for the pending promise.
      if (this.#positions.cursor) this.#positioned = deferred();
      this.#positions = new Positions();
    }
    const isOfTopic = this.#positions.isNewInTopics(id);
    if (id && !this.#advance(id) && !isControl) return;
    if (name === "hub.position") return;
    if (name.startsWith("generation.") && data?.generation) this.#answers.onEvent(name, data);
    if (name === "hub.reset") this.#answers.markGaps();
    const event = { name, data, cursor: this.#positions.cursor, replayed: replay && !this.#isReplayDone };
    this.#inboxCallbacks?.onEvent(event, id, isOfTopic);
    this.#listeners.dispatch(name, event);
    this.#listeners.dispatch("*", event);
  }

  #advance(cursor) {
    const isNew = this.#positions.advance(cursor);
    if (isNew) this.#store.set(this.#key, this.#positions.cursor);
    this.#positioned.resolve();
    return isNew;
  }

  #onReplayDone() {
    this.#isReplayDone = true;
    this.#ready.resolve();
  }

  #setState(state) {
    const before = this.#state;
    if (before.state === "closed" && state.state !== "closed") {
      this.#positioned = deferred();
      if (this.#positions.cursor) this.#positioned.resolve();
    }
    const open = state.open ?? (state.state === "live" ? before.open : null);
    this.#state = { reason: null, retryAt: null, transport: null, isLeader: false, ...state, open };
    if (state.state === "closed") {
      const error = new HubError(`The connection is closed: ${state.reason}`, { code: "closed" });
      this.#positioned.reject(error);
      this.#positioned = deferred();
      this.#positioned.reject(error);
      this.#answers.fail(error);
    }
    this.#listeners.dispatch("state", this.#state);
  }
}

// Functions by the name of the event that they listen for.
class Listeners {
  #byName = new Map();

  // Returns a function that removes the listener.
  add(name, listener) {
    const listeners = this.#byName.get(name) ?? new Set();
    this.#byName.set(name, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  has(name) {
    return (this.#byName.get(name)?.size ?? 0) > 0;
  }

  // A listener that throws affects neither the other listeners nor the stream.
  dispatch(name, event) {
    for (const listener of this.#byName.get(name) ?? []) callListener(listener, event);
  }
}

function callListener(listener, event) {
  try {
    listener(event);
  } catch (error) {
    (globalThis.reportError ?? console.error)(error);
  }
}

function deferred() {
  const result = {};
  result.promise = new Promise((resolve, reject) => Object.assign(result, { resolve, reject }));
  result.promise.catch(noop); // a rejection that nobody awaits is not an error
  return result;
}

// Returns the user of a token without verifying it, to separate the tabs and the cursors of
// several users.
function subjectOfToken(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(atob(payload)).sub ?? null;
  } catch {
    return null;
  }
}

// Where the cursor is stored: `session` (this tab, across reloads), `local` (this browser), null, or
// { get(key), set(key, cursor) }. A store may fail: when storage is full or forbidden, nothing is
// stored.
function createStore(store) {
  const open = () => {
    if (store !== "session" && store !== "local") return store;
    const storage = store === "local" ? globalThis.localStorage : globalThis.sessionStorage;
    return { get: (key) => storage.getItem(key), set: (key, cursor) => storage.setItem(key, cursor) };
  };
  const tryUse = (use) => {
    try {
      return store ? use(open()) : null;
    } catch {
      return null;
    }
  };
  return {
    get: (key) => tryUse((opened) => opened.get(key)),
    set: (key, cursor) => tryUse((opened) => opened.set(key, cursor)),
  };
}
