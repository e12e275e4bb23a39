// Types of hub.js. docs/clients/javascript.md describes the behaviour, and docs/reference/javascript.md is made from
// the comments of this file.

/** The options of `connect`. All of them are optional. */
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
  /** Called like `getToken`, if a new ticket is needed. A ticket can be used only once. */
  getTicket?: ((why: { reason: RenewalReason }) => Promise<string>) | null;
  /** The topics to follow. The token must allow them. */
  topics?: string[];
  /** Where to start if no cursor is stored: `live` (default), `start`, or a cursor. */
  cursor?: string;
  /** Where the cursor is stored across reloads: `session` (default), `local`, a store, or nowhere. */
  store?: "session" | "local" | Store | null;
  /** Share one connection among all tabs of the browser that follow the same user and topics. Default: true if
   *  `user` or `token` identifies the user. Set it to true without them if all tabs belong to one user. */
  share?: boolean;
  /** As for `fetch`. `include` sends the cookie `hub_token` to a hub of another site. */
  credentials?: RequestCredentials;
  /** `auto` (default) streams, and polls where a proxy buffers streams. `poll` never streams. */
  transport?: "auto" | "poll";
  /** Milliseconds until a stream that has not opened counts as buffered by a proxy. Default: 6000. */
  openTimeoutMs?: number;
  /** Used instead of the global `fetch`, for example in tests. */
  fetch?: typeof fetch;
}

/** Why `getToken` or `getTicket` is called: for the first connection, because the hub refused the last one, because it
 *  expires soon, or because it has expired. */
export type RenewalReason = "connect" | "refused" | "expiring" | "expired";

/** A place where the cursor is stored, such as `localStorage`. */
export interface Store {
  /** Returns the stored cursor. */
  get(key: string): string | null | undefined;
  /** Stores the cursor. The client calls it when the cursor has changed. */
  set(key: string, cursor: string): void;
}

/** An event, as listeners receive it. */
export interface HubEvent<Data = any> {
  /** The name of the event, such as `order.shipped` or `generation.delta`. */
  name: string;
  /** The decoded JSON object or array, or the text of any other value. */
  data: Data;
  /** The cursor of this tab after the event. */
  cursor: string;
  /** Whether the event was stored before this page started. */
  replayed: boolean;
}

/** The data of `hub.open`. With long polling only `replayed` is known. */
export interface OpenData {
  /** The id of the connection. */
  connection?: string;
  /** The user whose events are streamed. */
  user?: string;
  /** The name of the node. */
  node?: string;
  /** The time between two heartbeats while no event arrives. */
  heartbeat_seconds?: number;
  /** Whether the stream continues after the cursor without a gap. */
  recovered?: boolean;
  /** The number of stored events that follow. */
  replayed: number;
}

/** The state of the connection: the property `hub.state`, and what a listener of `state` receives. */
export interface State {
  /** `reconnecting` until `retryAt`; `closed` if the hub refused the client, or after `close`. */
  state: "connecting" | "live" | "reconnecting" | "closed";
  /** Why it is not live: a sentence, or the reason of `hub.bye`. */
  reason: string | null;
  /** When it reconnects, in milliseconds since 1970. null: at once or never. */
  retryAt: number | null;
  /** The data of `hub.open` while live. */
  open: OpenData | null;
  /** How events arrive: as a stream, or by long polling because a proxy buffers streams. */
  transport: "sse" | "poll" | null;
  /** Whether this tab holds the connection. */
  isLeader: boolean;
}

/** A message of a conversation, as in the API of OpenAI. */
export interface Message {
  /** `system`, `user`, `assistant` or `tool`. */
  role: string;
  /** A text, or a list of parts such as texts and images. */
  content: unknown;
  /** Other fields, such as `tool_calls`. */
  [field: string]: unknown;
}

/** The body of `POST /generations`. `id` is the idempotency key; by default a new one is made. */
export interface GenerationRequest {
  /** The text of one message of the user. Use either `prompt` or `messages`. */
  prompt?: string;
  /** The whole conversation. */
  messages?: Message[];
  /** The model. Default: the model of the upstream's settings. */
  model?: string;
  /** The name of an upstream in the hub's settings. */
  upstream?: string;
  /** Parameters of the LLM, such as `temperature`. */
  params?: Record<string, unknown>;
  /** Any JSON object. The snapshot returns it. */
  metadata?: Record<string, unknown>;
  /** Your id of the conversation. */
  chat?: string;
  /** What happens while an answer of the chat has not ended. Default: `allow`. */
  on_busy?: "allow" | "reject" | "enqueue" | "interrupt" | "steer";
  /** The topic whose followers get the answer. The page must follow it, too. */
  to?: { topic: string };
  /** Sends a push notification when the answer is ready, failed, or needs an input, if no connection shows it. */
  notify?: boolean;
  /** The idempotency key: a repeated request with the same key returns the same answer. */
  id?: string;
}

/** The status of an answer: `waiting` while it needs an input, for example an approval. It ends as `done`, `stopped` or
 *  `failed`. */
export type Status = "queued" | "running" | "waiting" | "done" | "stopped" | "failed";

/** A part of an answer. Other types may come: ignore those that you do not know. */
export type Part =
  | { type: "text"; text: string }
  | { type: "reasoning"; text: string; details?: unknown[] }
  | {
      type: "tool_call";
      /** The number of the call in the answer, from 0. */
      index: number;
      id: string;
      name: string;
      /** A JSON text, which is complete at the end. */
      arguments: string;
      /** Who runs the tool: the client, or the producer of the answer. */
      run_by: "client" | "producer";
      /** Other fields of the LLM. */
      extras?: Record<string, unknown>;
      /** The result, once the producer has it. */
      result?: unknown;
      is_error?: boolean;
      /** The answer ended before the producer had the result. */
      state?: "cancelled";
    }
  | { type: "tool_result"; id: string; result: unknown; is_error: boolean }
  | { type: "annotations"; annotations: unknown[] }
  | { type: "source"; url: string; title?: string; id?: string }
  | { type: "file"; url?: string; data?: string; media_type: string; name?: string }
  | { type: "status"; text: string }
  | { type: "step"; name: string; state: "running" | "done" | "cancelled" }
  | { type: "data"; name: string; value: unknown; id?: string }
  | {
      type: "input";
      /** The key of the input. */
      input: string;
      /** What is asked. */
      prompt: string;
      /** The values to choose from, if there are any. */
      options: string[] | null;
      /** The JSON Schema of the value, if there is one. */
      schema: JsonSchema | null;
      /** The end of the wait, in seconds since 1970. */
      expires_at: number;
      /** The id of the tool call that needs the input, for example to be approved. */
      tool_call: string | null;
      /** `waiting`; `received` with `value` and `by`; `expired`; `cancelled` if the answer ended before. */
      state: "waiting" | "received" | "expired" | "cancelled";
      /** The value that counts. */
      value?: unknown;
      /** Who gave the value. */
      by?: string;
    };

/** The tool calls among the parts. */
export type ToolCallPart = Extract<Part, { type: "tool_call" }>;

/** The inputs among the parts. */
export type InputPart = Extract<Part, { type: "input" }>;

/** A JSON Schema (json-schema.org). */
export type JsonSchema = boolean | { [keyword: string]: unknown };

/** A value that an answer waits for, as listeners of `onInput` receive it. */
export interface InputRequest {
  /** The id of the generation. */
  generation: string;
  /** The key of the input. */
  input: string;
  /** What is asked. */
  prompt: string;
  /** The values to choose from, if there are any. */
  options: string[] | null;
  /** The JSON Schema of the value, if there is one. */
  schema: JsonSchema | null;
  /** The id of the tool call that needs the input, for example to be approved. */
  toolCall: string | null;
  /** The end of the wait, in milliseconds since 1970. */
  expiresAt: number;
  /** Gives the answer the value. The first value counts: another one is an error with the code `input_answered`. */
  respond(value: unknown): Promise<InputValue>;
  /** Resolves with the part once it waits no longer: `state` says why. Rejects if the connection is closed. */
  settled: Promise<InputPart>;
}

/** The response of the hub to the value of an input. */
export interface InputValue {
  /** The key of the input. */
  input: string;
  /** The value that counts. */
  value: unknown;
  /** Who gave it. */
  by: string;
}

/** What an iteration over an Answer yields. */
export interface AnswerUpdate {
  /** The whole text so far. */
  text: string;
  /** The text since the last update. The whole text if `isReplaced` is true. */
  delta: string;
  /** The model's reasoning since the last update. */
  reasoning: string;
  /** All parts so far in order: texts, reasoning, tool calls, sources and others. */
  parts: Part[];
  /** Whether earlier text must be discarded: the answer was rewritten or restarted. */
  isReplaced: boolean;
  /** The status after this update. */
  status: Status;
}

/** The number of tokens, as the LLM reports it. */
export interface Usage {
  /** The tokens of the request. */
  prompt_tokens?: number;
  /** The tokens of the answer. */
  completion_tokens?: number;
  /** Other counts of the LLM. */
  [count: string]: unknown;
}

/** The response of `GET /generations/{id}`. */
export interface Snapshot {
  /** The id of the generation. */
  generation: string;
  /** `stopping` after a stop request, until the worker has stopped. `suspended` while it needs an input and no code
   *  runs. */
  status: Status | "stopping" | "suspended";
  /** The whole text so far. */
  text: string;
  /** All parts so far in order. */
  parts: Part[];
  /** The number of events that `parts` contains. */
  deltas: number;
  /** How often a worker has started the answer. */
  attempt: number;
  /** When it was requested, in seconds since 1970. Nodes of earlier versions do not send it. */
  requested_at?: number;
  /** The model that answers. */
  model: string;
  /** The conversation of the request; in a topic, only for the user who asked. */
  messages?: Message[];
  /** The object of the request; in a topic, only for the user who asked. */
  metadata?: Record<string, unknown>;
  /** Who asked. */
  user: string;
  /** The topic whose followers get the answer, if it is not the user. */
  topic?: string;
  /** Other fields, such as `usage` and `finish_reason`. */
  [field: string]: unknown;
}

/** Folds the events of one generation into the parts that they add up to. */
export class FoldedParts {
  constructor(parts?: Part[]);
  /** The parts so far. */
  get parts(): Part[];
  /** The inputs among the parts that wait for a value. */
  get waitingInputs(): InputPart[];
  /** The text of all parts of a type together. */
  textOf(type: "text" | "reasoning"): string;
  /** Applies one generation.* event. */
  apply(name: string, data: any): void;
}

/** The state that the events of one generation add up to. */
export class Transcript {
  constructor(generation: string);
  /** The id of the generation. */
  generation: string;
  /** The status after the last event. */
  status: Status;
  /** The model that answers. */
  model: string;
  /** How often a worker has started the answer. */
  attempt: number;
  /** The whole text so far. */
  get text(): string;
  /** The whole reasoning so far. */
  get reasoning(): string;
  /** All parts so far in order. */
  get parts(): Part[];
  /** The tool calls so far. */
  get toolCalls(): ToolCallPart[];
  /** The inputs that wait for a value. */
  get waitingInputs(): InputPart[];
  /** The tokens. null until the end, and if the LLM does not report them. */
  usage: Usage | null;
  /** Why the LLM ended, such as `stop` or `length`. */
  finishReason: string | null;
  /** Who stopped the answer. */
  by: string | null;
  /** The code of the error of a failed answer. */
  code: string | null;
  /** The sentence of the error of a failed answer. */
  message: string | null;
  /** The number of events that `parts` contains. */
  deltas: number;
  /** Whether the beginning is no longer available. */
  isPartial: boolean;
  /** Whether parts are missing. `applySnapshot` closes the gap. */
  hasGap: boolean;
  /** How often earlier text became invalid. */
  rewriteCount: number;
  /** How often anything has changed. */
  version: number;
  /** Whether the answer is done, stopped or failed. */
  get isEnded(): boolean;
  /** Applies one generation.* event. */
  apply(name: string, data: any): void;
  /** Closes a gap with a snapshot. It does nothing if there is no gap. */
  applySnapshot(snapshot: Partial<Snapshot>): void;
  /** Keeps what is there and marks it as partial. */
  acceptGap(): void;
  /** Marks a running generation as having a gap. */
  markGap(): void;
}

/** One answer. It can be iterated any number of times; each iteration begins with the text so far. */
export class Answer implements AsyncIterable<AnswerUpdate> {
  private constructor();
  /** Resolves with the generation id once the hub has accepted the request. */
  accepted: Promise<string>;
  /** The id of the generation, once the hub has accepted the request. */
  get generation(): string | null;
  /** The status after the last event. */
  get status(): Status;
  /** The whole text so far. */
  get text(): string;
  /** All parts so far in order. */
  get parts(): Part[];
  /** The state of the answer, once the hub has accepted the request. */
  get transcript(): Transcript | null;
  /** Stops the answer and the request to the LLM. */
  stop(): Promise<{ status: string }>;
  /** Starts another answer to the same request. */
  restart(): Answer;
  /** Calls the listener for each input that waits for a value, now and later. Returns a function that removes it. */
  onInput(listener: (request: InputRequest) => void): () => void;
  /** Gives the answer the value of an input. `input` is its key. */
  respond(input: string, value: unknown): Promise<InputValue>;
  /** Sends another message to the code that produces the answer. Resolves with the number of the message. */
  steer(message: string | Message): Promise<{ n: number }>;
  /** Resolves once it is done or stopped. Rejects with a HubError if it failed. */
  ended(): Promise<Transcript>;
  /** Yields an update whenever the answer has changed. A slow reader gets fewer, larger updates. */
  [Symbol.asyncIterator](): AsyncIterator<AnswerUpdate>;
}

/** The counts of an inbox. */
export interface InboxCounts {
  /** The number of the user's own items that are not read. */
  unread: number;
  /** The number of the user's own items that are not seen. */
  unseen: number;
  /** The number of items of topics and of `all` that are not read. */
  topic_unread: number;
  /** The number of items of topics and of `all` that are not seen. */
  topic_unseen: number;
}

/** An event that is kept in an inbox. */
export interface InboxItem<Data = any> {
  /** The id of the item. */
  id: string;
  /** The name of the event. */
  event: string;
  /** The data of the event. `<hub-inbox>` shows its `title`, `body`, `url` and `icon`. */
  data: Data;
  /** The category, by which users filter and mute items. */
  category: string | null;
  /** A later item with the same key replaces this one. */
  key: string | null;
  /** The topic of the item; null for the user's own items and those of `all`. */
  topic: string | null;
  /** When it was published, in seconds since 1970. */
  created_at: number;
  /** Whether a list with it was shown. */
  seen: boolean;
  /** Whether it is read. */
  read: boolean;
  /** Whether it is archived. */
  archived: boolean;
}

/** Which items of an inbox are requested. */
export interface InboxQuery {
  /** Only items of this category. */
  category?: string | null;
  /** Only items that are not read. */
  unread?: boolean;
  /** Only archived items, or only others. `list` returns both by default, and `open` those that are not archived. */
  archived?: boolean;
  /** Only items that are older than this one: `next` of the page before. */
  before?: string | null;
  /** The number of items: 50 by default, at most 200. */
  limit?: number;
}

/** The response of `GET /inbox`. */
export interface InboxPage<Data = any> extends InboxCounts {
  /** The items, the newest first. */
  items: InboxItem<Data>[];
  /** The position in the user's channel at which `unread` and `unseen` are true. */
  cursor: string;
  /** Where the next page begins; null if there is none. */
  next: string | null;
}

/** The items that are changed: an id, ids, an item and all older ones, or all of a category. */
export type InboxSelection = string | string[] | { items: string[] } | { up_to: string } | { category: string };

/** The categories that the user has muted. */
export interface InboxPreferences {
  /** By kind: what is not kept in the inbox, and what is not pushed. */
  muted: { inbox: string[]; push: string[] };
}

/** What a listener of `item` receives. */
export interface NewInboxItem<Data = any> {
  /** The item, which is unread. */
  item: InboxItem<Data>;
  /** Whether it replaces the item with the same key, which has another id. */
  replaced: boolean;
  /** Whether the event was stored before this page started. */
  replayed: boolean;
}

/** What a listener of `change` receives: a change of this tab or of another one. Tabs get it as an event as well. */
export interface InboxChange {
  /** The change, such as `read` or `archive`. `expire` if the hub has removed items. */
  change: string;
  /** The ids of the items, unless it is a change of this tab with another selection. */
  items?: string[];
  /** This item and all older ones. */
  up_to?: string;
  /** All items of this category. */
  category?: string;
}

/** The inbox of the user: `hub.inbox`. */
export class Inbox {
  private constructor();
  /** The counts, a new object after each change; null until they are known. */
  get counts(): InboxCounts | null;
  /** Adds a listener for the counts, for new or replaced items, for changes of items, or for the moment when a list must
   *  be loaded again (`stale`). Returns a function that removes it. */
  on(name: "counts", listener: (counts: InboxCounts) => void): () => void;
  on<Data = any>(name: "item", listener: (item: NewInboxItem<Data>) => void): () => void;
  on(name: "change", listener: (change: InboxChange) => void): () => void;
  on(name: "stale", listener: () => void): () => void;
  /** Requests the counts. */
  refresh(): Promise<InboxCounts>;
  /** Requests one page of items. */
  list<Data = any>(query?: InboxQuery): Promise<InboxPage<Data>>;
  /** Opens a list that follows all changes. Resolves once the first page was loaded; `state.error` says why it was not. */
  open<Data = any>(options?: Omit<InboxQuery, "before">): Promise<InboxList<Data>>;
  /** Marks items as read. */
  read(selection: InboxSelection): Promise<InboxCounts>;
  /** Marks items as unread. */
  unread(selection: InboxSelection): Promise<InboxCounts>;
  /** Marks items as seen: a list with them was shown. */
  seen(selection: InboxSelection): Promise<InboxCounts>;
  /** Archives items: lists do not show them, and they are not counted. */
  archive(selection: InboxSelection): Promise<InboxCounts>;
  /** Takes items back from the archive. */
  unarchive(selection: InboxSelection): Promise<InboxCounts>;
  /** Deletes items. */
  delete(selection: InboxSelection): Promise<InboxCounts>;
  /** Returns the topics whose items the user gets. */
  subscriptions(): Promise<string[]>;
  /** Replaces these topics. The token must allow each of them. */
  setSubscriptions(topics: string[]): Promise<string[]>;
  /** Returns the muted categories. */
  preferences(): Promise<InboxPreferences>;
  /** Replaces the muted categories. */
  setPreferences(preferences: InboxPreferences): Promise<InboxPreferences>;
}

/** The state of a list: a new object after each change, and so is each item that has changed. */
export interface InboxListState<Data = any> {
  /** The items that are loaded, the newest first. */
  items: InboxItem<Data>[];
  /** Whether `loadMore` gets older items. */
  hasMore: boolean;
  /** Whether a page is being loaded. */
  isLoading: boolean;
  /** Why the last page could not be loaded. It is loaded again if that can succeed. */
  error: HubError | null;
}

/** A list of items that follows all changes: `hub.inbox.open` creates it. */
export interface InboxList<Data = any> {
  /** The present state. */
  readonly state: InboxListState<Data>;
  /** Calls the listener with each new state. Returns a function that removes it. */
  on(listener: (state: InboxListState<Data>) => void): () => void;
  /** Loads older items. */
  loadMore(): Promise<InboxListState<Data>>;
  /** Loads the newest items again. */
  reload(): Promise<InboxListState<Data>>;
  /** Ends it. */
  close(): void;
}

/** Where the service worker of push notifications is. By default, hub.js registers `/hub-sw.js` of the hub, which needs
 *  the origin of the page. */
export interface PushOptions {
  /** A service worker of the page that loads the hub's with `importScripts`, already registered. */
  registration?: ServiceWorkerRegistration;
  /** The URL of such a worker, which hub.js registers. Needed if the hub has another origin. */
  worker?: string;
  /** The scope in which it is registered. Default: `/hub-push/`, or with `worker` the browser's. */
  scope?: string;
}

/** Push notifications for this browser: `hub.push`. */
export interface Push {
  /** `on` if this browser gets notifications. `denied` if the user has blocked them for the page. */
  state(options?: PushOptions): Promise<"unsupported" | "denied" | "off" | "on">;
  /** Asks the user for permission, subscribes this browser and tells the hub. Call it on a click, and again whenever a
   *  page has loaded and the state is `on`. Resolves with the id of the subscription. Rejects with a HubError with the
   *  code `push_unsupported`, `push_denied`, `push_dismissed`, `push_worker`, `push_failed`, or one of the hub. */
  enable(options?: PushOptions): Promise<string>;
  /** Removes this browser from the hub. Call it before the user logs out. */
  disable(options?: PushOptions): Promise<void>;
}

/** A client of a hub. `connect` creates it. */
export class Hub {
  constructor(options?: Options);
  /** Push notifications for this browser. */
  push: Push;
  /** The state of the connection. */
  get state(): State;
  /** The cursor of this tab. */
  get cursor(): string;
  /** Resolves once all events that were stored after the first cursor have been delivered. */
  get ready(): Promise<void>;
  /** The inbox of the user. Its requests begin when the page uses it. */
  get inbox(): Inbox;
  /** Adds a listener for one event, for all events (`*`), or for the connection (`state`). Returns a function that removes it. */
  on(name: "state", listener: (state: State) => void): () => void;
  on<Data = any>(name: string, listener: (event: HubEvent<Data>) => void): () => void;
  /** Starts a generation. */
  ask(request: string | GenerationRequest): Answer;
  /** Follows a generation that was started elsewhere. */
  join(generation: string): Answer;
  /** Reads the state of a generation once. */
  getSnapshot(generation: string): Promise<Snapshot>;
  /** Stops a generation that any tab or device has started. */
  stop(generation: string): Promise<{ status: string }>;
  /** Starts another answer to the request of a generation. */
  restart(generation: string): Answer;
  /** Gives a generation the value of an input: one of the user, or one that names the user as approver. */
  respond(generation: string, input: string, value: unknown): Promise<InputValue>;
  /** Sends another message to the code that produces a generation. An LLM endpoint takes none: `not_steerable`. */
  steer(generation: string, message: string | Message): Promise<{ n: number }>;
  /** Connects again, also after the hub has refused the client. */
  reconnect(): void;
  /** Ends the connection. */
  close(): void;
}

/** Connects to a hub. It returns at once; `hub.ready` resolves when the stored events have been delivered. */
export function connect(options?: Options): Hub;

/** The error that methods of `Hub` and `Answer` throw, and that iterations over a failed answer throw. */
export class HubError extends Error {
  constructor(message: string, details?: {
    status?: number;
    code?: string | null;
    path?: string | null;
    retryAfterSeconds?: number | null;
    generation?: string | null;
    value?: unknown;
    by?: string | null;
    cause?: unknown;
  });
  /** The HTTP status, 0 when there was no response. */
  status: number;
  /** The hub's code (docs/reference/errors.md), the code of a failed answer, or `closed`. */
  code: string | null;
  /** The invalid field. */
  path: string | null;
  /** How long to wait before the next attempt, if the hub says so. */
  retryAfterSeconds: number | null;
  /** The answer that stands in the way of the request, for example with the code `chat_busy`. */
  generation: string | null;
  /** The value of the input that counts, with the code `input_answered`. */
  value: unknown;
  /** Who gave that value. */
  by: string | null;
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
  /** Returns whether the cursor is beyond the position in `all` or in a topic. */
  isNewInTopics(cursor: string | undefined): boolean;
  /** The positions as a cursor. */
  get cursor(): string;
}

/** Decodes server-sent events (WHATWG HTML, section 9.2.6). */
export class SseDecoder {
  /** Takes the next bytes of a stream, and returns the events that are complete. */
  feed(bytes: Uint8Array): { name: string; data: unknown; id?: string }[];
  /** The last `retry:` of the stream in milliseconds, or 0. */
  retryMs: number;
}

/** The delay before the next attempt: exponential backoff with jitter. */
export function retryDelayMs(failures: number, random?: number): number;

/** Creates an idempotency key. */
export function newIdempotencyKey(): string;
