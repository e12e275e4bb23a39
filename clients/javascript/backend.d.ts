// Types of backend.js. docs/clients/javascript.md describes the behaviour.

/** The options of `connectBackend`. All of them are optional. */
export interface BackendOptions {
  /** An API key with the scope `produce`. `hub dev` needs none. */
  key?: string | null;
  /** Used instead of the global `fetch`, for example in tests. */
  fetch?: typeof fetch;
}

/** Returns a client of the hub's internal listener. It opens no connection yet. */
export function connectBackend(url: string | URL, options?: BackendOptions): Backend;

/** What a backend does with the hub. */
export interface Backend {
  /** Begins an answer and calls `write` with it. Its return ends the answer as done, an exception ends it as failed,
   *  without its text. The promise has what `write` returns. It rejects with what `write` throws, and with a `HubError`
   *  if the answer cannot begin or its end does not reach the hub. */
  generation<Result>(
    options: GenerationOptions,
    write: (answer: ProducedAnswer) => Result | Promise<Result>,
  ): Promise<Result>;
  /** Yields the jobs of a queue, one after another, until `signal` is aborted. A job whose answer has not ended when the
   *  next one is requested returns to the queue. */
  jobs(queue: string, options?: JobOptions): AsyncGenerator<Job, void>;
  /** Answers the jobs of a queue with a function, whose return ends the answer; a part that it returns is written first.
   *  After `signal` is aborted the worker claims no more, and the promise resolves when the running answers have ended. */
  worker(
    queue: string,
    write: (job: Job, answer: ProducedAnswer) => Returned | Promise<Returned>,
    options?: WorkerOptions,
  ): Promise<void>;
}

/** Options of `worker`. */
export interface WorkerOptions extends JobOptions {
  /** How many jobs run at a time. Default: 1. */
  max_running?: number;
}

/** What the function of a worker may return: a part, or nothing. */
export type Returned = string | Part | void | null;

/** Options of jobs. */
export interface JobOptions {
  /** How long a job lives without a sign of this process: 5 to 900, by default 30. */
  lease_seconds?: number;
  /** Ends the claims. */
  signal?: AbortSignal;
}

/** What a user asked, and the answer to write. */
export interface Job {
  /** The id of the answer. */
  readonly generation: string;
  /** The number of this attempt, counted from 1. */
  readonly attempt: number;
  /** The user who asked. */
  readonly user: string;
  /** The id of the user's conversation, or null. */
  readonly chat: string | null;
  /** The text of the user's last message. */
  readonly prompt: string;
  /** The conversation. */
  readonly messages: Message[];
  /** The model that the user chose, or the default of the upstream. */
  readonly model: string;
  /** The parameters that the user gave, such as `temperature`. */
  readonly params: Record<string, unknown>;
  /** The `metadata` of the user's request. */
  readonly metadata: Record<string, unknown>;
  /** The answer to write. `worker` passes it to its function as well. */
  readonly answer: ProducedAnswer;
}

/** Who gets an answer, and its other options. The hub chooses what is absent. */
export interface GenerationOptions {
  /** The user who gets the answer. With `topic`, the user who asked. */
  user?: string;
  /** The topic whose followers get the answer. */
  topic?: string;
  /** The idempotency key: the same one again begins a new attempt at the answer. Default: a random one. */
  id?: string;
  /** The model that readers see. */
  model?: string;
  /** What was asked, for the record: a text, or the messages of a conversation. */
  messages?: string | Message[];
  /** Your own data about the answer. */
  metadata?: Record<string, unknown>;
  /** Your id of the conversation. */
  chat?: string;
  /** What happens while another answer of the chat runs. */
  on_busy?: "allow" | "reject";
  /** How long the answer lives without a sign of this process: 5 to 900, by default 30. */
  lease_seconds?: number;
}

/** A message of a conversation. */
export interface Message {
  /** `user`, `assistant`, `system` or `tool`. */
  role: string;
  /** A text, or parts in the form of OpenAI's chat completions. */
  content: unknown;
  /** Other fields of the same form, such as `tool_calls`. */
  [field: string]: unknown;
}

/** A part of an answer: an object with `type` and its fields. docs/guides/external-producers.md lists them. */
export interface Part {
  /** The kind of part, such as `status` or `source`. */
  type: string;
  /** The fields of this kind. */
  [field: string]: unknown;
}

/** What may be answered to an input, how long, and by whom. */
export interface InputOptions {
  /** Texts, one of which is the value. */
  options?: string[];
  /** A JSON Schema of the value. */
  schema?: unknown;
  /** How long somebody may answer. Default: an hour. */
  timeout_seconds?: number;
  /** Users who may answer beside the one who asked. */
  approvers?: string[];
  /** The id of the tool call that is approved. */
  tool_call?: string;
}

/** A message that the user has sent to an answer while it runs. */
export interface SteeringMessage {
  /** Counts the messages of an answer from 0. */
  readonly n: number;
  readonly message: Message;
  /** The user who sent it. */
  readonly by: string | null;
}

/** An answer that this process writes. After a stop its methods reject with `GenerationStopped`, after a lost lease with
 *  `LeaseLost`. */
export interface ProducedAnswer {
  /** The id of the answer. */
  readonly generation: string;
  /** The number of this attempt, counted from 1. */
  readonly attempt: number;
  /** The folded parts up to the checkpoint of an earlier attempt, or null. */
  readonly previous: Part[] | null;
  /** The value of the newest checkpoint of an earlier attempt, or null. */
  readonly checkpoint: any;
  /** Aborted as soon as somebody stops the answer or its lease is lost. Its `reason` is the error. */
  readonly signal: AbortSignal;
  /** Publishes a text or another part. It waits only while 1 MiB waits for the hub. `checkpoint` is a JSON value that is
   *  saved with the part; the next attempt continues from it. */
  write(part: string | Part, options?: { checkpoint?: unknown }): Promise<void>;
  /** The values of inputs that were received so far, by key, also in earlier attempts. */
  readonly inputs: Record<string, any>;
  /** Asks the user for a value, and resolves with it. `key` is a name of your own, once in each answer; a later attempt
   *  that asks with it again gets the value at once. Rejects with `InputTimeout` when nobody has answered in time. */
  input(key: string, prompt: string, options?: InputOptions): Promise<any>;
  /** Asks the user for a value, and ends this attempt until it comes. The next attempt has `state` as its checkpoint and
   *  the value in `inputs`: a job can be claimed again, and any other answer continues with its `id`. */
  suspend(key: string, prompt: string, options?: InputOptions & { state?: unknown }): Promise<void>;
  /** Returns the messages that the user has sent while this answer runs, since the last call. An attempt that continues
   *  from a checkpoint gets those that had not been returned when it was saved; any other one gets all of them. */
  steering(): SteeringMessage[];
  /** Waits until the hub has everything. */
  flush(): Promise<void>;
  /** Ends the answer with a reason or with token counts. */
  done(end?: { finish_reason?: string; usage?: Record<string, unknown> }): Promise<void>;
  /** Ends the answer as failed. Users see the message. */
  fail(code: string, message: string, options?: { retryable?: boolean }): Promise<void>;
}

/** The hub refused a request, or it cannot be reached. */
export class HubError extends Error {
  /** The HTTP status, or 0 if there was no response. */
  status: number;
  /** The hub's code for the kind of error, or null. docs/reference/errors.md describes the codes. */
  code: string | null;
  /** The number of the part that the hub needs next (`sequence_gap`), or null. */
  expected: number | null;
  /** The answer that stands in the way of the request (`chat_busy`), or null. */
  generation: string | null;
  /** How long the hub asks the client to wait, or null. */
  retryAfterSeconds: number | null;
  /** Whether the same request may succeed later. */
  readonly isRetryable: boolean;
}

/** Somebody has stopped the answer. Stop the work. */
export class GenerationStopped extends HubError {
  /** The user who stopped it, or null. */
  by: string | null;
}

/** Nobody has answered an input in time. */
export class InputTimeout extends HubError {}

/** The lease is void: another attempt has begun, or the answer has ended. */
export class LeaseLost extends HubError {}
