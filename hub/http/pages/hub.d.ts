// Types of hub.js. docs/clients/javascript.md describes the behaviour.

export interface Options {
  /** Origin of the hub. Default: the page's own origin. */
  url?: string;
  /** The user whose events are streamed. Optional if a token or a cookie identifies the user. */
  user?: string | null;
  /** A JWT. Suitable if it lives longer than the page, or if `getToken` renews it. */
  token?: string | null;
  /** Called for the first token, when the hub refuses one, before one expires, and after it expired.
   *  Return null to use the cookie. */
  getToken?: ((why: { reason: RenewalReason }) => Promise<string | null>) | null;
  /** A ticket (`POST /tickets`). It opens streams, but cannot start generations. */
  ticket?: string | null;
  getTicket?: ((why: { reason: RenewalReason }) => Promise<string>) | null;
  topics?: string[];
  /** Where to start if no cursor is stored: `live` (default), `start`, or a cursor. */
  cursor?: string;
  /** Where the cursor is stored across reloads: `session` (default), `local`, a store, or nowhere. */
  store?: "session" | "local" | Store | null;
  /** Share one connection among all tabs of the browser that follow the same user and topics. Default: true if
   *  `user` or `token` identifies the user. Set it to true without them if all tabs belong to one user. */
  share?: boolean;
  credentials?: RequestCredentials;
  /** `auto` (default) streams, and polls where a proxy buffers streams. `poll` never streams. */
  transport?: "auto" | "poll";
  /** Milliseconds until a stream that has not opened counts as buffered by a proxy. Default: 6000. */
  openTimeoutMs?: number;
  fetch?: typeof fetch;
}

export type RenewalReason = "connect" | "refused" | "expiring" | "expired";

export interface Store {
  get(key: string): string | null | undefined;
  set(key: string, cursor: string): void;
}

export interface HubEvent<Data = any> {
  name: string;
  data: Data;
  /** The cursor of this tab after the event. */
  cursor: string;
  /** Whether the event was stored before this page started. */
  replayed: boolean;
}

/** The data of `hub.open`. With long polling only `replayed` is known. */
export interface OpenData {
  connection?: string;
  user?: string;
  node?: string;
  heartbeat_seconds?: number;
  recovered?: boolean;
  replayed: number;
}

export interface State {
  state: "connecting" | "live" | "reconnecting" | "closed";
  /** Why it is not live: a sentence, or the reason of `hub.bye`. */
  reason: string | null;
  /** When it reconnects, in milliseconds since 1970. null: at once or never. */
  retryAt: number | null;
  /** The data of `hub.open` while live. */
  open: OpenData | null;
  transport: "sse" | "poll" | null;
  /** Whether this tab holds the connection. */
  isLeader: boolean;
}

export interface Message {
  role: string;
  content: unknown;
  [field: string]: unknown;
}

/** The body of `POST /generations`. `id` is the idempotency key; by default a new one is made. */
export interface GenerationRequest {
  prompt?: string;
  messages?: Message[];
  model?: string;
  upstream?: string;
  params?: Record<string, unknown>;
  metadata?: Record<string, unknown>;
  id?: string;
}

export type Status = "queued" | "running" | "done" | "stopped" | "failed";

/** What an iteration over an Answer yields. */
export interface AnswerUpdate {
  /** The whole text so far. */
  text: string;
  /** The text since the last update. The whole text if `isReplaced` is true. */
  delta: string;
  /** The model's reasoning since the last update. */
  reasoning: string;
  /** Whether earlier text must be discarded: the answer was rewritten or restarted. */
  isReplaced: boolean;
  status: Status;
}

export interface Usage {
  prompt_tokens?: number;
  completion_tokens?: number;
  [count: string]: unknown;
}

/** The response of `GET /generations/{id}`. */
export interface Snapshot {
  generation: string;
  status: Status | "stopping";
  text: string;
  deltas: number;
  attempt: number;
  model: string;
  messages: Message[];
  metadata: Record<string, unknown>;
  [field: string]: unknown;
}

/** The state that the events of one generation add up to. */
export class Transcript {
  constructor(generation: string);
  generation: string;
  status: Status;
  model: string;
  attempt: number;
  text: string;
  reasoning: string;
  toolCalls: { name: string; arguments: string }[];
  usage: Usage | null;
  finishReason: string | null;
  by: string | null;
  code: string | null;
  message: string | null;
  deltas: number;
  /** Whether the beginning is no longer available. */
  isPartial: boolean;
  /** Whether deltas are missing. `applySnapshot` closes the gap. */
  hasGap: boolean;
  /** How often earlier text became invalid. */
  rewriteCount: number;
  get isEnded(): boolean;
  /** Applies one generation.* event. */
  apply(name: string, data: any): void;
  applySnapshot(snapshot: Partial<Snapshot>): void;
  /** Keeps the text that is there and marks it as partial. */
  acceptGap(): void;
  /** Marks a running generation as having a gap. */
  markGap(): void;
}

/** One answer. It can be iterated any number of times; each iteration begins with the text so far. */
export class Answer implements AsyncIterable<AnswerUpdate> {
  private constructor();
  /** Resolves with the generation id once the hub has accepted the request. */
  accepted: Promise<string>;
  get generation(): string | null;
  get status(): Status;
  get text(): string;
  get transcript(): Transcript | null;
  stop(): Promise<{ status: string }>;
  /** Starts another answer to the same request. */
  restart(): Answer;
  /** Resolves once it is done or stopped. Rejects with a HubError if it failed. */
  ended(): Promise<Transcript>;
  [Symbol.asyncIterator](): AsyncIterator<AnswerUpdate>;
}

export class Hub {
  constructor(options?: Options);
  get state(): State;
  get cursor(): string;
  /** Resolves once all events that were stored after the first cursor have been delivered. */
  get ready(): Promise<void>;
  /** Adds a listener. Returns a function that removes it. */
  on(name: "state", listener: (state: State) => void): () => void;
  on<Data = any>(name: string, listener: (event: HubEvent<Data>) => void): () => void;
  /** Starts a generation. */
  ask(request: string | GenerationRequest): Answer;
  /** Follows a generation that was started elsewhere. */
  join(generation: string): Answer;
  getSnapshot(generation: string): Promise<Snapshot>;
  stop(generation: string): Promise<{ status: string }>;
  restart(generation: string): Answer;
  reconnect(): void;
  close(): void;
}

export function connect(options?: Options): Hub;

export class HubError extends Error {
  constructor(message: string, details?: {
    status?: number;
    code?: string | null;
    path?: string | null;
    retryAfterSeconds?: number | null;
    cause?: unknown;
  });
  /** The HTTP status, 0 when there was no response. */
  status: number;
  /** The hub's code (docs/reference/errors.md), the code of a failed answer, or `closed`. */
  code: string | null;
  /** The invalid field. */
  path: string | null;
  retryAfterSeconds: number | null;
  /** Whether the same request can succeed later. */
  get isRetryable(): boolean;
}

/** The position of a tab in each channel. */
export class Positions {
  constructor(cursor?: string);
  /** Advances to the positions of the cursor. Returns whether any of them is new. */
  advance(cursor: string): boolean;
  /** Returns whether every position of the cursor has been reached. */
  covers(cursor: string): boolean;
  get cursor(): string;
}

/** Decodes server-sent events (WHATWG HTML, section 9.2.6). */
export class SseDecoder {
  feed(bytes: Uint8Array): { name: string; data: unknown; id?: string }[];
}

/** The delay before the next attempt: exponential backoff with jitter. */
export function retryDelayMs(failures: number, random?: number): number;

/** Creates an idempotency key. */
export function newIdempotencyKey(): string;
