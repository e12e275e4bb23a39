// The console's requests to the hub, with the operator's API key.

const STORAGE_KEY = "hub-console-key";
const SILENCE_TIMEOUT_MS = 20_000; // reports arrive every second, heartbeats every 8 s
const MIN_RETRY_DELAY_MS = 500;
const MAX_RETRY_DELAY_MS = 8000;

/** The hub refused a request. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const apiKey = {
  get: () => sessionStorage.getItem(STORAGE_KEY) ?? "",
  set: (value) => sessionStorage.setItem(STORAGE_KEY, value),
  remove: () => sessionStorage.removeItem(STORAGE_KEY),
};

async function request(method, path, { body, accept, signal } = {}) {
  const headers = { Accept: accept ?? "application/json" };
  if (apiKey.get()) headers.Authorization = `Bearer ${apiKey.get()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, {
    method,
    headers,
    signal,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new ApiError(response.status, problem.detail ?? `${response.status} ${response.statusText}`);
}

export const get = async (path) => (await request("GET", path)).json();
export const send = async (method, path, body) => (await request(method, path, { body })).json();

/** Yields the reports of all processes forever. Throws ApiError if the key is refused. */
export async function* streamReports(onState) {
  for await (const { event, data } of followStream("/console/reports", onState)) if (event === "hub.report") yield data;
}

/** Yields the events of a stream {id, event, data} forever. Reconnects when it ends or is silent,
 *  after the newest event. onState: called with `live` or `disconnected`. signal: ends the iteration.
 *  Throws ApiError if the hub refuses the stream. */
export async function* followStream(path, onState, signal) {
  let cursor = "";
  for (let delayMs = MIN_RETRY_DELAY_MS; !signal?.aborted; delayMs = Math.min(MAX_RETRY_DELAY_MS, delayMs * 2)) {
    const controller = new AbortController();
    const abort = () => controller.abort();
    signal?.addEventListener("abort", abort);
    let timer = null;
    const resetTimer = () => {
      clearTimeout(timer);
      timer = setTimeout(abort, SILENCE_TIMEOUT_MS);
    };
    try {
      resetTimer();
      const url = cursor ? `${path}${path.includes("?") ? "&" : "?"}cursor=${encodeURIComponent(cursor)}` : path;
      const response = await request("GET", url, { accept: "application/x-ndjson", signal: controller.signal });
      onState("live");
      delayMs = MIN_RETRY_DELAY_MS;
      for await (const line of readLines(response.body, resetTimer)) {
        const event = JSON.parse(line);
        cursor = event.id ?? cursor;
        yield event;
      }
    } catch (error) {
      if (error instanceof ApiError && error.status < 500 && error.status !== 429) throw error;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      controller.abort();
    }
    if (signal?.aborted) return;
    onState("disconnected");
    await new Promise((resolve) => setTimeout(resolve, delayMs));
  }
}

async function* readLines(body, onData) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    onData();
    const lines = (buffer + value).split("\n");
    buffer = lines.pop();
    yield* lines.filter(Boolean);
  }
}
