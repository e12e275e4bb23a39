// What the console asks the hub, with the operator's key.

const KEY = "hub-console-key";
const SILENT_MS = 20_000; // reports come every second, heartbeats every 8 s

export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

async function ask(method, path, { body, accept, signal } = {}) {
  const headers = { Accept: accept ?? "application/json" };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, {
    method,
    headers,
    signal,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Refused(response.status, problem.detail ?? `${response.status} ${response.statusText}`);
}

export const get = async (path) => (await ask("GET", path)).json();
export const send = async (method, path, body) => (await ask(method, path, { body })).json();

/** The lines of the live stream, for ever: after a break, or silence, it is begun anew. `state` is told how it is. */
export async function* reports(state) {
  for (let pause = 500; ; pause = Math.min(8000, pause * 2)) {
    const silence = new AbortController();
    let timer = null;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENT_MS);
    };
    try {
      heard();
      const accept = "application/x-ndjson";
      const response = await ask("GET", "/console/reports", { accept, signal: silence.signal });
      state("live");
      pause = 500;
      for await (const line of lines(response.body, heard)) {
        const event = JSON.parse(line);
        if (event.event === "hub.report") yield event.data;
      }
    } catch (error) {
      if (error instanceof Refused && [401, 403].includes(error.status)) throw error;
    } finally {
      clearTimeout(timer);
    }
    state("away");
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

async function* lines(body, heard) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    const pieces = (rest + value).split("\n");
    rest = pieces.pop();
    yield* pieces.filter(Boolean);
  }
}
