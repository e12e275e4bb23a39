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

/** Yields the reports of all processes forever. Reconnects when the stream ends or is silent.
 *  onState: called with `live` or `disconnected`. Throws ApiError if the key is refused. */
export async function* streamReports(onState) {
  for (let delayMs = MIN_RETRY_DELAY_MS; ; delayMs = Math.min(MAX_RETRY_DELAY_MS, delayMs * 2)) {
    const controller = new AbortController();
    let timer = null;
    const resetTimer = () => {
      clearTimeout(timer);
      timer = setTimeout(() => controller.abort(), SILENCE_TIMEOUT_MS);
    };
    try {
      resetTimer();
      const accept = "application/x-ndjson";
      const response = await request("GET", "/console/reports", { accept, signal: controller.signal });
      onState("live");
      delayMs = MIN_RETRY_DELAY_MS;
      for await (const line of readLines(response.body, resetTimer)) {
        const event = JSON.parse(line);
        if (event.event === "hub.report") yield event.data;
      }
    } catch (error) {
      if (error instanceof ApiError && [401, 403].includes(error.status)) throw error;
    } finally {
      clearTimeout(timer);
    }
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
