// Types of hub.js. docs/clients-javascript.md says what each does when.

export interface Options {
  /** Origin of the hub; the page's own by default. */
  url?: string;
  /** Whose stream. May be left out where a token or cookie says it. */
  user?: string | null;
  /** A JWT, where it outlives the page or where `getToken` renews it. */
  token?: string | null;
  /** Asked for a token at first, when one is refused, and ahead of its end. null: the cookie is it. */
  getToken?: ((why: { reason: RenewalReason }) => Promise<string | null>) | null;
  /** A ticket (`POST /tickets`): good for listening, not for asking. */
  ticket?: string | null;
  getTicket?: ((why: { reason: RenewalReason }) => Promise<string>) | null;
  topics?: string[];
  /** Where to begin when none is stored: `live` (default), `start`, or a cursor. */
  cursor?: string;
  /** Where the cursor is kept over a reload: `session` (default), `local`, or nowhere. */
  store?: "session" | "local" | Store | null;
  /** One connection for all tabs of the browser that follow the same. Default: where `user` or `token` says whose
   *  it is; true without them says that all tabs are of one user. */
  share?: boolean;
  credentials?: RequestCredentials;
  /** `poll` never tries to stream; `auto` (default) polls where streams are held back. */
  way?: "auto" | "poll";
  /** How long a stream may take to begin before it counts as held back; default 6000. */
  openPatienceMs?: number;
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
  /** Where this tab stands with it. */
  cursor: string;
  /** It was stored before this page came. */
  replayed: boolean;
}

export interface Opened {
  connection?: string;
  user?: string;
  node?: string;
  heartbeat_seconds?: number;
  recovered?: boolean;
  replayed: number;
}

export interface State {
  state: "connecting" | "live" | "reconnecting" | "closed";
  /** Why it is not live: a sentence, or the word in `hub.bye`. */
  reason: string | null;
  /** When it comes back, in milliseconds since 1970; null where that is at once or never. */
  retryAt: number | null;
  /** What `hub.open` said, while live. */
  open: Opened | null;
  way: "sse" | "poll" | null;
  /** Whether this tab holds the connection. */
  isLeader: boolean;
}

export interface Message {
  role: string;
  content: unknown;
  [field: string]: unknown;
}

/** The body of `POST /generations`; `id` is the idempotency key, made up where there is none. */
export interface Question {
  prompt?: string;
  messages?: Message[];
  model?: string;
  upstream?: string;
  params?: Record<string, unknown>;
  metadata?: Record<string, unknown>;
  id?: string;
}

export type Status = "queued" | "running" | "done" | "stopped" | "failed";

export interface Step {
  /** All of the text so far. */
  text: string;
  /** What is new since the step before; all of it when `isReplaced`. */
  delta: string;
  /** The same of the model's reasoning. */
  reasoning: string;
  /** What was shown is void: the answer was rewritten, or begun anew. */
  isReplaced: boolean;
  status: Status;
}

export interface Usage {
  prompt_tokens?: number;
  completion_tokens?: number;
  [count: string]: unknown;
}

/** What `GET /generations/{id}` answers. */
export interface Snapshot {
  generation: string;
  status: Status | "stopping";
  text: string;
  deltas: number;
  attempt: number;
  model: string;
  messages: Message[];
  metadata: Record<string, unknown>;
  [more: string]: unknown;
}

/** What the events of one generation add up to. */
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
  /** The beginning could not be had. */
  partial: boolean;
  /** There is a hole: `learn` closes it. */
  missing: boolean;
  rewrites: number;
  get isEnded(): boolean;
  apply(name: string, data: any): void;
  learn(found: Partial<Snapshot>): void;
  learnNothing(): void;
  doubt(): void;
}

/** One answer. Iterating it, as often as you like, begins with the text so far. */
export class Answer implements AsyncIterable<Step> {
  private constructor();
  /** Its generation, once the hub has taken the question. */
  accepted: Promise<string>;
  get generation(): string | null;
  get status(): Status;
  get text(): string;
  get transcript(): Transcript | null;
  stop(): Promise<{ status: string }>;
  restart(): Answer;
  /** Once it is done or stopped; rejects with a HubError when it failed. */
  ended(): Promise<Transcript>;
  [Symbol.asyncIterator](): AsyncIterator<Step>;
}

export class Hub {
  constructor(options?: Options);
  get state(): State;
  get cursor(): string;
  /** Once all that was stored behind the first cursor has been handed over. */
  get ready(): Promise<void>;
  on(name: "state", listener: (state: State) => void): () => void;
  on<Data = any>(name: string, listener: (event: HubEvent<Data>) => void): () => void;
  ask(question: string | Question): Answer;
  join(generation: string): Answer;
  look(generation: string): Promise<Snapshot>;
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
  /** Of the HTTP answer; 0 where there was none. */
  status: number;
  /** Of an answer that failed, or `closed`. */
  code: string | null;
  /** The bad field. */
  path: string | null;
  retryAfterSeconds: number | null;
  /** Whether the same request can succeed later. */
  get passes(): boolean;
}

/** Where a tab stands in each channel: cursors, compared. */
export class Positions {
  constructor(text?: string);
  take(text: string): boolean;
  covers(text: string): boolean;
  get text(): string;
}

export class SseDecoder {
  feed(bytes: Uint8Array): { name: string; data: unknown; id?: string }[];
}

export function pauseMs(failures: number, random?: number): number;

/** An idempotency key. */
export function newKey(): string;
