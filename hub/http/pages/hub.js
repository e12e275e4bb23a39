// hub.js: the hub's client for browsers, Node, Deno and Bun. One module, no dependency, no build.
//
//   const hub = connect({ user: "alice", getToken });
//   hub.on("notification", ({ data }) => show(data));
//   for await (const { text } of hub.ask("why is the sky blue?")) box.textContent = text;
//
// Inside, from the bottom up: errors, positions, the decoder, pauses, Api (HTTP), Connection (one
// stream and its ways back), Transcript and Answer (what generation events add up to), Tabs (one
// connection for many tabs), Hub (what the page holds). docs/clients-javascript.md tells the rest.
//
// Rules:
// 1. What was handed to the page never comes again: each event's position is compared with those
//    that this tab has seen, from whichever way it came (stream, poll, another tab, catching up).
// 2. The next connection begins where this tab stands, so nothing between is lost.
// 3. Of the tabs that share, one holds the connection: the one that holds the Web Lock.
// 4. `closed` ends only by reconnect(), or by another tab's; every other state ends by itself.

const OPEN_PATIENCE_MS = 6000; // for hub.open: a proxy that buffers never lets it through
const POLL_WAIT_SECONDS = 25;
const POLL_FOR_MS = 5 * 60_000; // then streaming is tried again: the network may be another
const SILENT_HEARTBEATS = 2.5;
const DEFAULT_HEARTBEAT_SECONDS = 8;
const SECOND_LOOK_MS = 1000;
const WAKE_LOOK_MS = 100; // what came while the page was frozen is read first
const REPLAY_PAUSE_MS = 1000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
const STEADY_MS = 2000; // what breaks sooner after its beginning was no success
const ASK_TRIES = 5;
const ANSWER_PATIENCE_MS = 15_000; // for what is no stream: a network that is gone need not say so
const LEADER_ANSWERS_MS = 2000;
const MOST_HELD = 1000;
const MOST_EVENT_CHARS = 16 * 1024 * 1024;
const MOST_UNCLAIMED = 64;

// A stored cursor that the hub cannot read: what this page shows may be old.
const UNKNOWN_CURSOR = { name: "hub.reset", data: { channel: "*", reason: "cursor" } };
const ENDED = new Set(["done", "stopped", "failed"]);
const PASSES = new Set([0, 408, 425, 429, 500, 502, 503, 504]);
const KINDS = new Set(["hello", "reconnect", "here", "event"]);
const nothing = () => {};

// ---- errors and pauses -----------------------------------------------------------------------

// status: of the HTTP answer, 0 where there was none. code: of an answer that failed.
export class HubError extends Error {
  constructor(message, { status = 0, code = null, path = null, retryAfterSeconds = null, cause } = {}) {
    super(message, { cause });
    Object.assign(this, { name: "HubError", status, code, path, retryAfterSeconds });
  }

  // Whether the same request can succeed later.
  get passes() {
    return PASSES.has(this.status);
  }

  static async of(response) {
    // A proxy's error page is no JSON, and a status all the same.
    const problem = await response.json().catch(() => ({}));
    return new HubError(problem.detail ?? `${response.status} ${response.statusText}`.trim(), {
      status: response.status,
      path: problem.path ?? null,
      retryAfterSeconds: secondsOf(response.headers.get("Retry-After")),
    });
  }
}

function secondsOf(retryAfter) {
  if (!retryAfter) return null;
  const seconds = /^\d+$/.test(retryAfter) ? Number(retryAfter) : (Date.parse(retryAfter) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : null;
}

// How long to wait after so many failures: doubling, and spread, so that not everyone returns at
// once when a node dies.
export function pauseMs(failures, random = Math.random()) {
  const most = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures);
  return most * (0.5 + random / 2);
}

function sleep(ms) {
  return new Promise((wake) => setTimeout(wake, ms));
}

// Runs work(signal), and gives it up after so long, or when the outer signal says so.
async function within(ms, outer, work) {
  const limit = new AbortController();
  const leave = () => limit.abort(outer.reason);
  outer?.addEventListener("abort", leave);
  const timer = setTimeout(() => limit.abort(new HubError("The hub does not answer.")), ms);
  try {
    outer?.throwIfAborted();
    return await work(limit.signal);
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener("abort", leave);
  }
}

// An idempotency key. randomUUID exists only on https and localhost.
export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// ---- positions -------------------------------------------------------------------------------

// Where this tab stands in each channel. A cursor is such a set as text (hub/core/cursor.py): the
// user's own place, `*` and that of `all`, `~tag:` and that of each topic; a place is epoch-offset.
// To everyone else it is opaque; here it tells what was seen, whichever connection it came over.
const PLACE = /(\*|~[0-9A-Za-z]{6}:|)([0-9A-Za-z]{5})-([0-9A-Za-z]{1,9})/y;
const PAST_EPOCHS = 4;

export class Positions {
  #places = new Map(); // what stands in front of the place → { epoch, offset, past }
  #unread = ""; // a cursor of a form that this module does not know is only handed back

  constructor(text = "") {
    if (text) this.take(text);
  }

  // Moves to what the cursor says, and tells whether any of it is new.
  take(text) {
    const places = placesOf(text);
    if (!places) {
      this.#unread = text;
      return true;
    }
    this.#unread = "";
    const ahead = places.filter((place) => !this.#has(place));
    for (const { channel, epoch, offset } of ahead) {
      const before = this.#places.get(channel);
      const past = before && before.epoch !== epoch
        ? [before.epoch, ...before.past].slice(0, PAST_EPOCHS) : before?.past ?? [];
      this.#places.set(channel, { epoch, offset, past });
    }
    return ahead.length > 0;
  }

  covers(text) {
    return placesOf(text)?.every((place) => this.#has(place)) ?? false;
  }

  // The cursor to go on from; empty before the first.
  get text() {
    if (this.#unread) return this.#unread;
    const channels = [...this.#places.keys()].sort(); // "", "*", "~…": the order of a cursor
    return channels.map((channel) => {
      const { epoch, offset } = this.#places.get(channel);
      return `${channel}${epoch}-${offset}`;
    }).join("");
  }

  #has({ channel, epoch, offset }) {
    const at = this.#places.get(channel);
    if (!at) return false;
    if (at.epoch !== epoch) return at.past.includes(epoch);
    // Base 62 in ASCII's order, without leading zeros.
    return offset.length < at.offset.length || (offset.length === at.offset.length && offset <= at.offset);
  }
}

function placesOf(text) {
  const places = [];
  PLACE.lastIndex = 0;
  while (PLACE.lastIndex < text.length) {
    const found = PLACE.exec(text);
    if (!found) return null;
    places.push({ channel: found[1], epoch: found[2], offset: found[3] });
  }
  return places;
}

// ---- server-sent events ----------------------------------------------------------------------

// Bytes in, events out: { name, data, id }; id is undefined where the event has none of its own.
// WHATWG HTML, section 9.2.6 "Interpreting an event stream".
export class SseDecoder {
  #utf8 = new TextDecoder();
  #rest = "";
  #fields = { name: "message", data: [] };

  feed(bytes) {
    const text = this.#rest + this.#utf8.decode(bytes, { stream: true });
    // A CR at the very end may be half of a CRLF.
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    if (this.#rest.length > MOST_EVENT_CHARS) throw new HubError("an event is too large");
    return lines.map((line) => this.#line(line)).filter(Boolean);
  }

  #line(line) {
    const fields = this.#fields;
    if (line === "") {
      this.#fields = { name: "message", data: [] };
      return fields.data.length ? { ...fields, data: valueOf(fields.data.join("\n")) } : null;
    }
    const [, field, value] = line.match(/^([^:]*)(?:: ?(.*))?$/s);
    if (field === "data") fields.data.push(value ?? "");
    else if (field === "event") fields.name = value || "message";
    else if (field === "id" && !value?.includes("\0")) fields.id = value ?? "";
    return null;
  }
}

// A plain text is a fine notification.
function valueOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// ---- HTTP ------------------------------------------------------------------------------------

// The hub's HTTP, as one user. Everything goes by fetch, streams too: EventSource can send no
// header, so it would put the token into the URL, and tells nothing of why it was refused.
class Api {
  #options;
  #token;
  #ticket;
  #renewing = null;
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
    const response = await this.#listen("sse", cursor, {}, signal, "text/event-stream");
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
      throw new HubError("What answered is not the hub."); // the page of a hotel's network, say
    }
    return response;
  }

  async poll(cursor, waitSeconds, outer) {
    await this.prepare();
    return within(waitSeconds * 1000 + ANSWER_PATIENCE_MS, outer, async (signal) => (
      jsonOf(await this.#listen("poll", cursor, { wait: waitSeconds }, signal, "application/json"))
    ));
  }

  // The key makes a repeated POST harmless: the hub finds the generation that the first one began.
  async #begin(path, body, key) {
    for (let failures = 0; ; failures += 1) {
      try {
        return await this.#json("POST", path, body, { "Idempotency-Key": key });
      } catch (error) {
        const isWorthIt = error.passes && error.status !== 429 && error.status !== 500;
        if (!isWorthIt || failures + 1 === ASK_TRIES) throw error;
        await sleep(Math.max(pauseMs(failures), (error.retryAfterSeconds ?? 0) * 1000));
      }
    }
  }

  ask(body, key) {
    return this.#begin("/generations", body, key);
  }

  restart(id, key) {
    return this.#begin(`/generations/${encodeURIComponent(id)}/restart`, undefined, key);
  }

  look(id) {
    return this.#json("GET", `/generations/${encodeURIComponent(id)}`);
  }

  stop(id) {
    return this.#json("DELETE", `/generations/${encodeURIComponent(id)}`);
  }

  // Waits for the first token, which may take as long as logging in does.
  async prepare() {
    const hasNothing = this.#token === null && this.#ticket === null && !this.#wasRenewed;
    if (hasNothing && this.isRenewable) await this.renew("connect");
  }

  // Another token and another ticket; many who ask at once share one. Resolves with false where
  // getToken gave the one that is known already; what a cookie holds cannot be seen.
  renew(reason) {
    this.#renewing ??= (async () => {
      const { getToken, getTicket } = this.#options;
      const before = this.#token;
      if (getTicket) this.#ticket = await getTicket({ reason });
      if (getToken) this.#token = await getToken({ reason });
      this.#wasRenewed = true;
      return Boolean(getTicket) || this.#token === null || this.#token !== before;
    })().catch((cause) => {
      throw new HubError(`No token could be had: ${cause?.message ?? cause}`, { cause });
    }).finally(() => (this.#renewing = null));
    return this.#renewing;
  }

  #listen(way, cursor, query, signal, accept) {
    const { user, topics } = this.#options;
    // A cursor of the hub's own goes as the header, which is what lets a used ticket resume.
    const isName = cursor === "live" || cursor === "start";
    if (isName) query.cursor = cursor;
    if (topics.length) query.topics = topics.join(",");
    return this.#fetch(`/${way}/connect${user ? `/${encodeURIComponent(user)}` : ""}`, {
      query,
      signal,
      cache: "no-store",
      listens: true,
      headers: { Accept: accept, ...(isName ? {} : { "Last-Event-ID": cursor }) },
    });
  }

  async #json(method, path, body, headers = {}) {
    const { user } = this.#options;
    await this.prepare();
    return within(ANSWER_PATIENCE_MS, null, async (signal) => jsonOf(await this.#fetch(path, {
      method,
      signal,
      query: user ? { user } : {}, // heeded only where no token is needed
      headers: body ? { "Content-Type": "application/json", ...headers } : headers,
      body: body && JSON.stringify(body),
    })));
  }

  async #fetch(path, { query, headers, listens = false, ...request }) {
    for (let tries = 1; ; tries += 1) {
      const { url, credentials, fetch } = this.#options;
      const asked = new URLSearchParams(query);
      const known = { ...headers };
      if (listens && this.#ticket) asked.set("ticket", this.#ticket);
      else if (this.#token) known.Authorization = `Bearer ${this.#token}`;
      const search = String(asked);
      const response = await fetch(`${url}${path}${search && `?${search}`}`, {
        credentials, headers: known, ...request,
      }).catch((cause) => {
        request.signal?.throwIfAborted();
        throw new HubError("The hub cannot be reached.", { cause });
      });
      if (response.ok) return response;
      if (response.status !== 401 || tries > 1 || !this.isRenewable) throw await HubError.of(response);
      response.body?.cancel().catch(nothing);
      await this.renew("refused");
    }
  }
}

// Cut off, or the page of a hotel's network: either way the hub's own answer is lost.
function jsonOf(response) {
  return response.json().catch((cause) => {
    throw new HubError("What answered is not the hub.", { cause });
  });
}

// ---- the connection --------------------------------------------------------------------------

// One stream after the other, or one poll after the other, each from where the last one ended.
// An attempt ends as a value: { reason, final, atOnce, atLeastMs, way }.
class Connection {
  #api;
  #on;
  #openPatienceMs;
  #attempt = null;
  #pause = null;
  #failures = 0;
  #liveAt = Infinity; // of this attempt
  #wasLive = false;
  #isClosed = false;
  #mustRenew = false;
  #way = "sse";
  #pollUntil = 0;
  #heardAt = 0;
  #heartbeatSeconds = DEFAULT_HEARTBEAT_SECONDS;
  #timer = null;

  // on: { where(): cursor, event(event), state(state), caughtUp() }
  // before: the state of the connection that this one follows
  constructor(api, { openPatienceMs, way }, before, on) {
    this.#api = api;
    this.#openPatienceMs = openPatienceMs;
    this.#wasLive = before.state !== "connecting";
    this.#change(way === "poll" || before.way === "poll" ? "poll" : "sse");
    if (way === "poll") this.#pollUntil = Infinity;
    this.#on = on;
  }

  async run() {
    while (!this.#isClosed) {
      this.#tell(this.#wasLive ? "reconnecting" : "connecting");
      const end = await this.#once();
      if (this.#isClosed) return;
      if (end.way) this.#change(end.way);
      if (end.final) {
        this.#isClosed = true;
        this.#tell("closed", { reason: end.reason });
      } else await this.#wait(end);
    }
  }

  close() {
    this.#isClosed = true;
    this.#end({ reason: "closed" });
    this.#pause?.end();
  }

  // The reader or the network is back: a pause of our own choosing is cut short, and a stream that
  // has been silent for too long, or goes over another network, is left.
  wake({ isNewNetwork = false } = {}) {
    if (this.#pause) this.#pause.wake();
    else if (isNewNetwork) this.reconnect("online");
    else if (this.#isSilent()) setTimeout(() => this.#isSilent() && this.reconnect("silent"), WAKE_LOOK_MS);
  }

  reconnect(reason = null) {
    if (this.#pause) this.#pause.end();
    else this.#end({ reason, atOnce: true });
  }

  async #once() {
    const attempt = new AbortController();
    this.#attempt = attempt;
    this.#heardAt = Date.now();
    try {
      await (this.#mustRenew ? this.#api.renew("expired") : this.#api.prepare());
      this.#mustRenew = false;
      return await (this.#way === "poll" ? this.#poll(attempt) : this.#stream(attempt));
    } catch (error) {
      return attempt.signal.aborted ? attempt.signal.reason : this.#endOf(error);
    } finally {
      clearTimeout(this.#timer);
      this.#attempt = null;
      attempt.abort();
    }
  }

  #endOf(error) {
    if (error.path === "cursor") {
      this.#on.event(UNKNOWN_CURSOR);
      return { reason: error.message, atLeastMs: FIRST_PAUSE_MS };
    }
    const isOurs = error instanceof HubError;
    return {
      reason: isOurs ? error.message : "The connection was lost.",
      final: isOurs && !error.passes,
      atLeastMs: (error.retryAfterSeconds ?? 0) * 1000,
      way: this.#way === "poll" && !error.status ? "sse" : undefined,
    };
  }

  #change(way) {
    if (this.#pollUntil === Infinity) return;
    this.#way = way;
    this.#pollUntil = Date.now() + POLL_FOR_MS;
  }

  // -- streaming

  async #stream(attempt) {
    const buffered = { reason: "nothing comes through", way: "poll", atOnce: true };
    const due = Date.now() + this.#openPatienceMs;
    this.#timer = setTimeout(() => {
      const wasFrozen = Date.now() - due > SECOND_LOOK_MS;
      attempt.abort(wasFrozen ? { reason: "silent", atOnce: true } : buffered);
    }, this.#openPatienceMs);
    const response = await this.#api.stream(this.#on.where(), attempt.signal);
    const decoder = new SseDecoder();
    const reader = response.body.getReader();
    const replay = new Replay(this.#on.caughtUp);
    let chunks = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return { reason: "The connection was lost." };
      this.#heardAt = Date.now();
      chunks += 1;
      for (const event of decoder.feed(value)) {
        if (attempt.signal.aborted) return attempt.signal.reason;
        if (event.name === "hub.open") {
          this.#heartbeatSeconds = event.data.heartbeat_seconds || DEFAULT_HEARTBEAT_SECONDS;
          clearTimeout(this.#timer);
          this.#watch(attempt, () => ({ ...buffered, reason: "silent", way: chunks > 1 ? undefined : "poll" }));
          this.#live(event.data);
          replay.begin(event.data.replayed);
        }
        this.#on.event({ ...event, replay: replay.counts(event) });
        if (event.name === "hub.expiring") this.#renewAhead(attempt, event.data.seconds);
        if (event.name === "hub.bye") return this.#sentAway(event.data);
      }
    }
  }

  #sentAway({ reason, reconnect, retry_ms: retryMs }) {
    if (reason === "expired" && this.#api.isRenewable) {
      this.#mustRenew = true;
      return { reason, atOnce: true };
    }
    return { reason, final: !reconnect, atLeastMs: retryMs ?? 0 };
  }

  // Somewhere in the first third, so that those who logged in together do not come together.
  async #renewAhead(attempt, seconds) {
    if (!this.#api.isRenewable) return;
    await sleep((seconds * 1000 * Math.random()) / 3);
    if (attempt.signal.aborted) return;
    await this.#api.renew("expiring").then(
      (isOther) => isOther && attempt.abort({ reason: "renewed", atOnce: true }),
      nothing, // hub.bye will come, and then it is tried again; so it is with the same token
    );
  }

  // A timer that fires late (a hidden tab, a laptop that slept) proves nothing: what has come
  // meanwhile is read before the second look.
  #watch(attempt, end) {
    const look = (isSecond) => {
      if (!this.#isSilent()) this.#timer = setTimeout(look, this.#silenceMs() - (Date.now() - this.#heardAt), false);
      else if (isSecond) attempt.abort(end());
      else this.#timer = setTimeout(look, SECOND_LOOK_MS, true);
    };
    look(false);
  }

  #silenceMs() {
    return this.#heartbeatSeconds * 1000 * SILENT_HEARTBEATS;
  }

  #isSilent() {
    return this.#way === "sse" && Date.now() - this.#heardAt >= this.#silenceMs();
  }

  // -- polling

  async #poll(attempt) {
    for (let polls = 0; ; polls += 1) {
      const wait = polls ? POLL_WAIT_SECONDS : 0;
      const { events, cursor } = await this.#api.poll(this.#on.where(), wait, attempt.signal);
      if (attempt.signal.aborted) return attempt.signal.reason;
      if (!polls && !byeAmong(events)) this.#live({ replayed: events.length });
      for (const { id, event: name, data } of events) {
        this.#on.event({ name, data, id, replay: !polls });
        if (name === "hub.bye") return this.#sentAway(data);
      }
      if (cursor) this.#on.event({ name: "hub.position", id: cursor });
      if (!polls) this.#on.caughtUp();
      if (Date.now() > this.#pollUntil) return { reason: "tries to stream again", way: "sse", atOnce: true };
    }
  }

  // -- states and pauses

  #live(open) {
    this.#heardAt = this.#liveAt = Date.now();
    this.#wasLive = true;
    this.#tell("live", { open });
  }

  // Never sooner than the hub asked for. Without a network, until there is one.
  #wait({ reason, atOnce, atLeastMs = 0 }) {
    if (Date.now() - this.#liveAt >= STEADY_MS) this.#failures = 0;
    this.#liveAt = Infinity;
    const asked = atLeastMs * (1 + Math.random() / 5);
    const isOffline = globalThis.navigator?.onLine === false;
    const own = isOffline ? LONGEST_PAUSE_MS : atOnce ? 0 : pauseMs(this.#failures++);
    const waitMs = Math.max(own, asked);
    if (!waitMs) return undefined;
    this.#tell("reconnecting", { reason: isOffline ? "offline" : reason, retryAt: Date.now() + waitMs });
    const notBefore = Date.now() + asked;
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(this.#pause?.timer);
        this.#pause = null;
        resolve();
      };
      const within = (ms) => {
        clearTimeout(this.#pause?.timer);
        this.#pause = { end, wake: () => within(Math.max(0, notBefore - Date.now())), timer: setTimeout(end, ms) };
      };
      within(waitMs);
    });
  }

  #end(end) {
    this.#attempt?.abort(end);
  }

  #tell(state, { reason = null, retryAt = null, open = null } = {}) {
    this.#on.state({ state, reason, retryAt, open, way: this.#way });
  }
}

// What the hub said in a poll's place, where it sent the poll away.
function byeAmong(events) {
  return events.find(({ event }) => event === "hub.bye")?.data;
}

// Which of a stream's first events were stored before it began. The hub counts what it replays;
// some may expire on the way, so a pause ends it too.
class Replay {
  #left = 0;
  #over;
  #timer = null;

  constructor(over) {
    this.#over = over;
  }

  begin(count) {
    this.#left = count;
    if (!count) this.#over();
    else this.#timer = setTimeout(() => this.#end(), REPLAY_PAUSE_MS);
  }

  counts({ name }) {
    if (!this.#left || name.startsWith("hub.")) return false;
    clearTimeout(this.#timer);
    this.#left -= 1;
    if (this.#left) this.#timer = setTimeout(() => this.#end(), REPLAY_PAUSE_MS);
    else queueMicrotask(() => this.#over()); // after this one
    return true;
  }

  #end() {
    this.#left = 0;
    this.#over();
  }
}

// ---- answers ---------------------------------------------------------------------------------

// What the events of one generation add up to. No network, no clock.
//
// Rules:
// 1. It ends once; what comes after its end changes nothing.
// 2. Deltas count from 0 without a hole. Where one is missing (the log no longer holds it, or this
//    page came late), it is `missing`, and holds back what comes until a snapshot closes the hole.
export class Transcript {
  status = "queued";
  model = "";
  attempt = 0;
  text = "";
  reasoning = "";
  toolCalls = [];
  usage = null;
  finishReason = null;
  by = null;
  code = null;
  message = null;
  deltas = 0;
  partial = false; // the beginning could not be had
  missing = false;
  rewrites = 0; // how often the text so far became void
  #held = [];

  constructor(generation) {
    this.generation = generation;
  }

  get isEnded() {
    return ENDED.has(this.status);
  }

  // One generation.* event.
  apply(name, data) {
    if (this.isEnded) return;
    const kind = name.slice("generation.".length);
    if (kind === "started") Object.assign(this, { status: "running", model: data.model, attempt: data.attempt });
    else if (kind === "restarted") this.#beginAnew(data); // a worker was lost: what was shown is void
    else if (kind === "replaced") this.#rewrite(data.text, data.i + 1); // all of it: closes any hole
    else if (kind === "delta") this.#delta(data);
    else if (ENDED.has(kind)) this.#end(kind, data);
  }

  // What GET /generations/{id} found.
  learn(found) {
    this.model ||= found.model ?? "";
    if (!this.missing) return;
    const isOlder = found.attempt < this.attempt || (found.attempt === this.attempt && found.deltas < this.deltas);
    if (isOlder) return; // the next look finds more
    if (!found.text.startsWith(this.text)) this.rewrites += 1;
    Object.assign(this, { text: found.text, attempt: found.attempt });
    if (!this.isEnded) {
      this.status = found.status === "stopping" ? "running" : found.status;
      if (this.isEnded) this.#remember(found);
    }
    this.#closeHole(found.deltas);
  }

  // The snapshot is gone too: what there is is shown, and marked as a part.
  learnNothing() {
    if (!this.missing) return;
    this.partial = true;
    this.#closeHole(this.#held[0]?.i ?? this.deltas);
  }

  // Behind a hole in the stream nothing that runs can be trusted to be whole.
  doubt() {
    if (!this.isEnded) this.missing = true;
  }

  #beginAnew({ attempt, model }) {
    Object.assign(this, { status: "running", attempt, model: model ?? this.model, reasoning: "", toolCalls: [] });
    this.#rewrite("", 0);
  }

  #rewrite(text, deltas) {
    this.rewrites += 1;
    this.#held = [];
    Object.assign(this, { status: "running", text, deltas, missing: false });
  }

  #delta(data) {
    this.status = "running";
    if (data.i > this.deltas) this.missing = true;
    if (this.missing) this.#held.push(data);
    else this.#append(data);
  }

  // The end says how many there were; one that never began here has a past.
  #end(status, data) {
    this.status = status;
    this.#remember(data);
    if ((data.deltas ?? (this.attempt ? 0 : 1)) > this.deltas) this.missing = true;
  }

  #remember({ usage = null, finish_reason: finishReason = null, by = null, code = null, message = null }) {
    Object.assign(this, { usage, finishReason, by, code, message });
  }

  // There are so many deltas now; what was held back follows, unless the hole is still there.
  #closeHole(deltas) {
    const held = this.#held;
    this.deltas = deltas;
    this.missing = held.length > 0 && held[0].i > deltas;
    if (this.missing) return;
    this.#held = [];
    for (const data of held) this.#append(data);
  }

  #append(data) {
    if (data.i < this.deltas) return; // the snapshot had it
    this.text += data.text ?? "";
    this.reasoning += data.reasoning ?? "";
    for (const call of data.tool_calls ?? []) this.#addToolCall(call);
    this.deltas = data.i + 1;
  }

  // OpenAI's delta form: the name comes once, the arguments in pieces, by index.
  #addToolCall({ index = 0, function: made = {} }) {
    this.toolCalls[index] ??= { name: "", arguments: "" };
    this.toolCalls[index].name += made.name ?? "";
    this.toolCalls[index].arguments += made.arguments ?? "";
  }
}

// One answer as the page holds it. Each iterator begins with the text so far; a slow one is given
// what came meanwhile in one step, so nothing piles up.
export class Answer {
  #hub;
  #transcript = null;
  #fault = null;
  #waiting = new Set();

  // begin: resolves with its Transcript; hub: { stop(id), restart(id) }
  constructor(hub, begin) {
    this.#hub = hub;
    this.accepted = begin.then(
      (transcript) => {
        this.#transcript = transcript;
        this.#changed();
        return transcript.generation;
      },
      (error) => {
        this.#fault = error;
        this.#changed();
        throw error;
      },
    );
    this.accepted.catch(nothing);
  }

  get generation() {
    return this.#transcript?.generation ?? null;
  }

  get status() {
    return this.#transcript?.status ?? (this.#fault ? "failed" : "queued");
  }

  get text() {
    return this.#transcript?.text ?? "";
  }

  get transcript() {
    return this.#transcript;
  }

  async stop() {
    return this.#hub.stop(await this.accepted);
  }

  // The same question again: another Answer.
  restart() {
    return this.#hub.restart(this.accepted);
  }

  // Resolves with the transcript once it has ended, also by stop; rejects when it failed.
  async ended() {
    for await (const step of this) void step;
    return this.#transcript;
  }

  async *[Symbol.asyncIterator]() {
    let shown = null;
    for (;;) {
      const now = this.#transcript;
      if (now && (!shown || this.#differs(shown, now))) {
        const isReplaced = shown !== null && shown.rewrites !== now.rewrites;
        const delta = shown && !isReplaced ? now.text.slice(shown.length) : now.text;
        const reasoning = now.reasoning.slice(isReplaced ? 0 : shown?.reasoning ?? 0);
        const { text, status, rewrites } = now;
        shown = { rewrites, length: text.length, reasoning: now.reasoning.length, status };
        yield { text, delta, reasoning, isReplaced, status };
        continue;
      }
      if (this.#fault) throw this.#fault;
      if (now?.isEnded && !now.missing) {
        if (now.status === "failed") throw new HubError(now.message ?? "the answer failed", { code: now.code });
        return;
      }
      await new Promise((wake) => this.#waiting.add(wake));
    }
  }

  // For the hub alone: its transcript has changed, or nothing more will come.
  changed(fault = null) {
    this.#fault ??= fault;
    this.#changed();
  }

  #differs(shown, { rewrites, text, reasoning, status }) {
    return shown.rewrites !== rewrites || shown.length !== text.length
      || shown.reasoning !== reasoning.length || shown.status !== status;
  }

  #changed() {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}

// The answers that this page follows, fed by generation.* events.
class Answers {
  #api;
  #isPlaced;
  #transcripts = new Map(); // generation → transcript
  #holders = new Map(); // transcript → answers
  #unaccepted = new Set(); // answers whose generation is not known yet
  #asking = 0;
  #losses = 0; // how often events may have gone by that nobody kept
  #looking = new Set();
  isClosed = false;

  // isPlaced(): resolves once the stream goes on from a known place, rejects while it is closed
  constructor(api, isPlaced) {
    this.#api = api;
    this.#isPlaced = isPlaced;
  }

  // post: resolves with { generation }. Its events may come before that does: while any question
  // is under way, those of unknown generations are kept. mayBeOld: the page chose the key, so the
  // question may have been asked, and its events may have gone by, before.
  ask(post, { mayBeOld = false } = {}) {
    this.#asking += 1;
    const before = this.#losses;
    const answer = this.#hold(post.then(({ generation }) => (
      mayBeOld || this.#losses !== before ? this.#lookedUp(generation) : this.#of(generation)
    )));
    const over = () => {
      this.#asking -= 1;
      this.#forget();
    };
    answer.accepted.then(over, over);
    return answer;
  }

  // id: may still be on its way.
  restart(id) {
    const key = newKey();
    return this.ask(id.then(async (known) => {
      await this.#isPlaced(); // or the new answer's events could be missed
      return this.#api.restart(known, key);
    }));
  }

  // From the snapshot on.
  join(id) {
    return this.#hold(Promise.resolve(this.#lookedUp(id)));
  }

  hear(name, data) {
    const known = this.#transcripts.get(data.generation);
    if (!known && !this.#asking) return;
    if (!known && this.#transcripts.size >= MOST_UNCLAIMED) {
      this.#losses += 1;
      this.#forget({ isFull: true });
    }
    const transcript = known ?? this.#of(data.generation);
    transcript.apply(name, data);
    if (transcript.missing) this.#look(transcript);
    this.#changed(transcript);
  }

  // After hub.reset.
  doubt() {
    this.#losses += 1;
    for (const transcript of this.#transcripts.values()) {
      transcript.doubt();
      if (transcript.missing) this.#look(transcript);
    }
  }

  // Nothing more will come.
  interrupt(error) {
    for (const [transcript, answers] of this.#holders) {
      if (!transcript.isEnded) for (const answer of answers) answer.changed(error);
    }
    for (const answer of this.#unaccepted) answer.changed(error);
  }

  #lookedUp(id) {
    const isKnown = this.#transcripts.has(id);
    const transcript = this.#of(id);
    if (!isKnown) {
      transcript.doubt();
      this.#look(transcript);
    }
    return transcript;
  }

  #of(id) {
    if (!this.#transcripts.has(id)) this.#transcripts.set(id, new Transcript(id));
    return this.#transcripts.get(id);
  }

  #hold(begin) {
    const stop = (id) => this.#api.stop(id);
    const restart = (accepted) => this.restart(accepted);
    const answer = new Answer({ stop, restart }, begin);
    this.#unaccepted.add(answer);
    begin.then((transcript) => {
      const answers = this.#holders.get(transcript) ?? new Set();
      this.#holders.set(transcript, answers.add(answer));
    }).catch(nothing).finally(() => this.#unaccepted.delete(answer));
    return answer;
  }

  #changed(transcript) {
    for (const answer of this.#holders.get(transcript) ?? []) answer.changed();
    if (transcript.isEnded && !transcript.missing) this.#forget();
  }

  // Those that have ended, and, once no question is under way, those that nobody asked for. Who
  // holds an Answer keeps its transcript.
  #forget({ isFull = false } = {}) {
    for (const [id, transcript] of this.#transcripts) {
      const isOver = transcript.isEnded && !transcript.missing;
      const isOurs = this.#holders.has(transcript);
      if (isOurs ? !isOver : this.#asking && !isFull) continue;
      this.#transcripts.delete(id);
      this.#holders.delete(transcript);
    }
  }

  async #look(transcript) {
    if (this.#looking.has(transcript)) return;
    this.#looking.add(transcript);
    for (let failures = 0; transcript.missing && !this.isClosed; failures += 1) {
      if (failures) await sleep(pauseMs(Math.min(failures - 1, 4)));
      try {
        await this.#isPlaced(); // what ends between a look and the stream's beginning ends unheard
        transcript.learn(await this.#api.look(transcript.generation));
      } catch (error) {
        if (error.code === "closed") {
          this.interrupt(error);
          break;
        }
        if (error.passes) continue;
        const isGone = error.status === 404;
        const message = isGone ? "The hub no longer knows this answer." : error.message;
        transcript.apply("generation.failed", { code: isGone ? "gone" : "refused", message, deltas: 0 });
        transcript.learnNothing();
      }
    }
    this.#looking.delete(transcript);
    this.#changed(transcript);
  }
}

// ---- tabs ------------------------------------------------------------------------------------

// One connection for all tabs of a browser that follow the same. Who holds the Web Lock leads: it
// has the connection, and hands every event on. The browser gives the lock to the next one when a
// tab closes or crashes. A tab that is frozen keeps it: a follower in the foreground that gets no
// answer from the leader takes the lock away.
//
// Rules:
// 1. Each time of leading is a term; terms rise, and what an older one still says is dropped.
// 2. A leader numbers its events; who sees a number left out catches up by itself.
// 3. A leader that was refused for good keeps the lock and says so: the others need not try too.
class Tabs {
  #name;
  #on;
  #channel = null;
  #waiting = null; // AbortController of the lock that is waited for
  #release = null; // gives the lock back; null unless this tab leads
  #term = 0;
  #next = 0;
  #heardAt = 0;
  #rounds = null;
  #doubt = null;

  // on: { lead(), alone(), robbed(), where(): { at, state }, here(at, state, isMissing), event(event),
  //       missed(), wake(), reconnect() }
  constructor(name, on) {
    this.#name = name;
    this.#on = on;
  }

  // Node has both, or one, and no tabs.
  static get canShare() {
    return Boolean(globalThis.navigator?.locks && globalThis.BroadcastChannel && !globalThis.process);
  }

  get isLeading() {
    return this.#release !== null;
  }

  enter() {
    if (this.#channel) return;
    try {
      this.#channel = new BroadcastChannel(this.#name);
    } catch {
      this.#on.alone();
      return;
    }
    this.#channel.onmessage = ({ data }) => this.#heard(data ?? {});
    this.#rounds = setInterval(() => this.check(), DEFAULT_HEARTBEAT_SECONDS * 1000 * SILENT_HEARTBEATS);
    this.say("hello");
    this.#request();
  }

  leave() {
    clearInterval(this.#rounds);
    clearTimeout(this.#doubt);
    this.#waiting?.abort();
    this.#waiting = null;
    this.#release?.();
    this.#channel?.close();
    this.#channel = null;
  }

  // Takes the lock from whoever has it.
  take() {
    if (!this.isLeading) this.#request({ steal: true });
  }

  // To the leader: `hello` asks for an answer, `reconnect` for a new connection.
  say(kind) {
    this.#channel?.postMessage({ kind });
  }

  publish(event) {
    if (!this.isLeading) return;
    this.#channel?.postMessage({ kind: "event", term: this.#term, n: this.#next, event });
    this.#next += 1;
  }

  announce() {
    if (!this.isLeading) return;
    this.#channel?.postMessage({ kind: "here", term: this.#term, n: this.#next, ...this.#on.where() });
  }

  // Does the leader live? Only a tab that is looked at takes the lock away.
  check() {
    if (this.isLeading || !this.#channel || globalThis.document?.hidden) return;
    const askedAt = Date.now();
    this.say("hello");
    clearTimeout(this.#doubt);
    this.#doubt = setTimeout(() => {
      if (this.#heardAt < askedAt) this.take();
    }, LEADER_ANSWERS_MS);
  }

  #request({ steal = false } = {}) {
    this.#waiting?.abort();
    const waiting = new AbortController();
    this.#waiting = waiting;
    const isMine = () => this.#waiting === waiting;
    navigator.locks.request(this.#name, steal ? { steal } : { signal: waiting.signal }, () => {
      if (!isMine()) return undefined; // it has left meanwhile
      return new Promise((release) => this.#lead(release));
    }).catch(() => {
      if (!isMine()) return;
      if (!this.isLeading) { // refused: a sandboxed frame, or one without storage
        this.#on.alone();
        return;
      }
      this.#release(); // it was taken away
      this.#on.robbed();
      this.#request();
      this.say("hello");
    });
  }

  #lead(release) {
    this.#release = () => {
      this.#release = null;
      release();
    };
    this.#term = Math.max(this.#term + 1, Date.now());
    this.#next = 0;
    this.#on.lead();
    this.announce();
  }

  #heard({ kind, term, n, event, at, state }) {
    if (!KINDS.has(kind)) return; // of another version
    if (kind === "hello" || kind === "reconnect") {
      if (!this.isLeading) return;
      if (kind === "reconnect") this.#on.reconnect();
      else this.#on.wake();
      this.announce();
      return;
    }
    const isNew = term > this.#term;
    if (this.isLeading || term < this.#term || (!isNew && n < this.#next)) return;
    const isMissing = isNew ? kind === "event" : n > this.#next;
    this.#term = term;
    this.#heardAt = Date.now();
    this.#next = n + (kind === "event" ? 1 : 0);
    if (kind === "here") this.#on.here(at, state, isMissing);
    else {
      if (isMissing) this.#on.missed();
      this.#on.event(event);
    }
  }
}

// ---- the hub ---------------------------------------------------------------------------------

const DEFAULTS = {
  user: null, token: null, getToken: null, ticket: null, getTicket: null, topics: [], cursor: "live",
  store: "session", share: null, credentials: "same-origin", way: "auto", openPatienceMs: OPEN_PATIENCE_MS,
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
  #key;
  #tabs = null;
  #connection = null;
  #listeners = new Map();
  #lives = new AbortController();
  #state = { state: "connecting", reason: null, retryAt: null, open: null, way: null, isLeader: false };
  #isNew = true; // no leader has been heard yet, since it came or was told to try again
  #mustCatchUp = false;
  #hasMissed = false; // since the log was last asked
  #isCatchingUp = false;
  #isCaughtUp = false;
  #held = [];
  #placed = deferred(); // where this tab stands is known; rejects while it is closed
  #ready = deferred();

  constructor(options = {}) {
    const url = (options.url ?? globalThis.location?.origin ?? "").replace(/\/$/, "");
    if (!url) throw new TypeError("url says where the hub is: there is no page here whose origin it could be");
    const fetch = options.fetch ?? ((...request) => globalThis.fetch(...request));
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    this.#options = { ...DEFAULTS, ...given, url, fetch, topics: [...(options.topics ?? [])].sort() };
    const { user, token, topics } = this.#options;
    const whose = user ?? subjectOf(token);
    this.#key = ["hub", url, whose ?? "", ...topics].join(" ");
    // Whoever getToken or a cookie stands for may be another one in the next tab.
    this.#options.share ??= whose !== null;
    this.#store = storeOf(this.#options.store);
    this.#api = new Api(this.#options);
    this.#answers = new Answers(this.#api, () => this.#placed.promise);
    this.#begin();
  }

  // { state: connecting | live | reconnecting | closed, reason, retryAt, open, way, isLeader }
  get state() {
    return this.#state;
  }

  get cursor() {
    return this.#positions.text;
  }

  // Resolves once all that was stored behind the first cursor has been handed over.
  get ready() {
    return this.#ready.promise;
  }

  // name: an event's, `state`, or `*` for every event. Returns what takes the listener away.
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  // question: a prompt, or the body of POST /generations; its `id` is the idempotency key.
  ask(question) {
    const { id, ...body } = typeof question === "string" ? { prompt: question } : question;
    // Before the hub has said where this tab stands, the answer's first events could be missed.
    const post = this.#placed.promise.then(() => this.#api.ask(body, id ?? newKey()));
    return this.#answers.ask(post, { mayBeOld: id !== undefined });
  }

  // An answer that was begun elsewhere, or before a reload: what there is so far, then the rest.
  join(generation) {
    return this.#answers.join(generation);
  }

  look(generation) {
    return this.#api.look(generation);
  }

  stop(generation) {
    return this.#api.stop(generation);
  }

  restart(generation) {
    return this.#answers.restart(Promise.resolve(generation));
  }

  reconnect() {
    if (this.#connection) this.#connection.reconnect();
    else if (this.#state.state !== "closed") this.#tabs?.say("reconnect");
    else if (!this.#lives.signal.aborted) this.#enter();
  }

  close() {
    if (this.#lives.signal.aborted) return;
    this.#leave();
    this.#answers.isClosed = true;
    this.#lives.abort();
    this.#tell({ state: "closed", reason: "closed" });
  }

  // -- beginning and end

  #begin() {
    const { cursor, share } = this.#options;
    this.#positions = new Positions(this.#store.get(this.#key) ?? "");
    if (cursor !== "live" && cursor !== "start") {
      if (!this.#positions.text) this.#positions.take(cursor);
      this.#options.cursor = "live"; // should the hub not know it
    }
    if (this.#positions.text) this.#placed.resolve();
    if (share && Tabs.canShare) this.#tabs = this.#makeTabs();
    const listen = (target, name, heard) => {
      target?.addEventListener?.(name, heard, { signal: this.#lives.signal });
    };
    listen(globalThis, "online", () => this.#wake({ isNewNetwork: true }));
    listen(globalThis, "pageshow", ({ persisted }) => persisted && this.#enter());
    // A page in the back/forward cache may hold neither lock nor connection.
    listen(globalThis, "pagehide", () => this.#leave());
    listen(globalThis.document, "resume", () => this.#wake());
    listen(globalThis.document, "visibilitychange", () => document.hidden || this.#wake());
    this.#enter();
  }

  #enter() {
    this.#isNew = true;
    this.#tell({ state: "connecting" });
    if (!this.#tabs || this.#tabs.isLeading) this.#lead();
    else {
      this.#tabs.enter();
      this.#tabs?.check();
    }
  }

  #leave() {
    this.#disconnect();
    this.#tabs?.leave();
  }

  #disconnect() {
    this.#connection?.close();
    this.#connection = null;
  }

  #wake({ isNewNetwork = false } = {}) {
    this.#connection?.wake({ isNewNetwork });
    this.#tabs?.check();
  }

  // -- leading: this tab has the connection

  #lead() {
    this.#mustCatchUp = false;
    this.#held = [];
    if (this.#state.state === "closed") return; // heir to one that was refused for good
    const connection = new Connection(this.#api, this.#options, this.#state, {
      where: () => this.#where(),
      event: (event) => {
        this.#deliver(event);
        this.#tabs?.publish(event);
      },
      state: (state) => {
        if (this.#connection !== connection) return;
        if (this.#state.state === "live") this.#catchUpIsOver();
        if (state.state === "closed") this.#connection = null;
        this.#tell({ ...state, isLeader: true });
        this.#tabs?.announce();
      },
      caughtUp: () => this.#catchUpIsOver(),
    });
    this.#connection = connection;
    connection.run();
  }

  #where() {
    return this.#positions.text || this.#options.cursor;
  }

  // -- following: another tab has it

  #makeTabs() {
    return new Tabs(this.#key, {
      lead: () => this.#lead(),
      alone: () => {
        this.#tabs.leave();
        this.#tabs = null;
        this.#lead();
      },
      robbed: () => this.#disconnect(),
      where: () => ({ at: this.#positions.text, state: this.#state }),
      here: (at, state, isMissing) => this.#follow(at, state, isMissing),
      event: (event) => this.#hear(event),
      missed: () => this.#miss(),
      wake: () => this.#connection?.wake(),
      reconnect: () => this.#connection?.reconnect(),
    });
  }

  #follow(at, state, isMissing) {
    const isNowhere = !this.#positions.text;
    if (isNowhere && this.#options.cursor === "live") {
      if (at) this.#moveTo(at);
    } else if (isNowhere || isMissing || (at && !this.#positions.covers(at))) this.#miss();
    if (state.state === "closed" && this.#isNew) this.#tabs.take(); // it may have a better token
    else this.#tell({ ...state, isLeader: false });
    this.#isNew = false;
    if (state.state !== "live") return;
    if (this.#mustCatchUp) this.#catchUp();
    else this.#catchUpIsOver();
  }

  #miss() {
    this.#mustCatchUp = true;
    this.#hasMissed = true;
  }

  #hear(event) {
    if (!this.#mustCatchUp) {
      this.#deliver(event);
      return;
    }
    if (this.#held.length === MOST_HELD) {
      this.#held = []; // the log has them
      this.#miss();
    }
    this.#held.push(event);
    this.#catchUp();
  }

  // Reads the log from where this tab stands, by itself; then what the leader said meanwhile.
  async #catchUp() {
    if (this.#isCatchingUp) return;
    this.#isCatchingUp = true;
    const isOver = () => !this.#mustCatchUp || this.#tabs?.isLeading || this.#lives.signal.aborted;
    for (let failures = 0; !isOver();) {
      this.#hasMissed = false;
      try {
        const { events, cursor } = await this.#api.poll(this.#where(), 0, this.#lives.signal);
        if (isOver()) break; // it leads by now, and has them from its own stream
        for (const { id, event: name, data } of events) this.#deliver({ name, data, id, replay: true });
        if (cursor) this.#moveTo(cursor);
        this.#mustCatchUp = this.#hasMissed || events.length > 0;
        const bye = byeAmong(events); // the node is full, say, or draining
        if (bye) await sleep(Math.max(bye.retry_ms ?? 0, pauseMs(failures++)));
      } catch (error) {
        if (error.path === "cursor") this.#deliver(UNKNOWN_CURSOR);
        else if (error instanceof HubError && !error.passes) {
          this.#leave();
          this.#tell({ state: "closed", reason: error.message });
          break;
        } else await sleep(pauseMs(failures++));
      }
    }
    this.#isCatchingUp = false;
    if (this.#mustCatchUp || this.#tabs?.isLeading) return;
    this.#catchUpIsOver();
    for (const event of this.#held.splice(0)) this.#deliver(event);
  }

  // -- events and states

  #deliver({ name, data, id, replay = false }) {
    const isControl = name.startsWith("hub.");
    if (name === "hub.reset" && data.channel === "*") {
      if (this.#positions.text) this.#placed = deferred(); // else some wait for the one there is
      this.#positions = new Positions();
    }
    if (id && !this.#moveTo(id) && !isControl) return;
    if (name === "hub.position") return;
    if (name.startsWith("generation.") && data?.generation) this.#answers.hear(name, data);
    if (name === "hub.reset") this.#answers.doubt();
    const event = { name, data, cursor: this.#positions.text, replayed: replay && !this.#isCaughtUp };
    this.#dispatch(name, event);
    this.#dispatch("*", event);
  }

  #moveTo(cursor) {
    const isNew = this.#positions.take(cursor);
    if (isNew) this.#store.set(this.#key, this.#positions.text);
    this.#placed.resolve();
    return isNew;
  }

  #catchUpIsOver() {
    this.#isCaughtUp = true;
    this.#ready.resolve();
  }

  #tell(state) {
    const before = this.#state;
    if (before.state === "closed" && state.state !== "closed") {
      this.#placed = deferred();
      if (this.#positions.text) this.#placed.resolve();
    }
    const open = state.open ?? (state.state === "live" ? before.open : null);
    this.#state = { reason: null, retryAt: null, way: null, isLeader: false, ...state, open };
    if (state.state === "closed") {
      const error = new HubError(`The connection is closed: ${state.reason}`, { code: "closed" });
      this.#placed.reject(error);
      this.#placed = deferred();
      this.#placed.reject(error);
      this.#answers.interrupt(error);
    }
    this.#dispatch("state", this.#state);
  }

  // A listener that throws harms neither the others nor the stream.
  #dispatch(name, event) {
    for (const listener of this.#listeners.get(name) ?? []) {
      try {
        listener(event);
      } catch (error) {
        (globalThis.reportError ?? console.error)(error);
      }
    }
  }
}

function deferred() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  made.promise.catch(nothing); // nobody has to wait for it
  return made;
}

// Whose token it is, to tell apart the tabs and the cursors of several users. Not a check.
function subjectOf(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(atob(payload)).sub ?? null;
  } catch {
    return null;
  }
}

// Where the cursor is kept: `session` (this tab, over reloads), `local` (this browser), null, or
// { get(key), set(key, cursor) }. Allowed to fail: with storage full or forbidden nothing is kept.
function storeOf(store) {
  const kept = () => {
    if (store !== "session" && store !== "local") return store;
    const storage = store === "local" ? globalThis.localStorage : globalThis.sessionStorage;
    return { get: (key) => storage.getItem(key), set: (key, cursor) => storage.setItem(key, cursor) };
  };
  const quietly = (use) => {
    try {
      return store ? use(kept()) : null;
    } catch {
      return null;
    }
  };
  return {
    get: (key) => quietly((found) => found.get(key)),
    set: (key, cursor) => quietly((found) => found.set(key, cursor)),
  };
}
