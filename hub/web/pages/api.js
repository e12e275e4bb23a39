// The hub's HTTP as this page uses it. In `hub dev` the request says itself who it is from.

const TRIES = 4;
const FIRST_PAUSE_MS = 400;
const FINAL = [400, 401, 403, 404]; // what the contract calls final on a stream

export class Api {
  constructor(user) {
    this.user = user;
  }

  streamUrl() {
    return `/sse/connect/${encodeURIComponent(this.user)}`;
  }

  // The turn's key goes along twice. As the idempotency key it makes a repeated POST harmless: the
  // hub finds the generation that the first one started. In the metadata it outlives a reload and
  // is copied by a restart, so that all the answers to one question are found again.
  async ask(messages, key) {
    const body = messages.length === 1 ? { prompt: messages[0].content } : { messages };
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#call("POST", "/generations", { ...body, metadata: { turn: key } }, {
          "Idempotency-Key": key,
        });
      } catch (error) {
        if (error.status || tries === TRIES) throw error;
        await new Promise((wake) => setTimeout(wake, FIRST_PAUSE_MS * 2 ** (tries - 1)));
      }
    }
  }

  look(id) {
    return this.#call("GET", `/generations/${encodeURIComponent(id)}`);
  }

  stop(id) {
    return this.#call("DELETE", `/generations/${encodeURIComponent(id)}`);
  }

  restart(id) {
    return this.#call("POST", `/generations/${encodeURIComponent(id)}/restart`);
  }

  notify(title) {
    return this.#call("POST", "/dev/publish", { event: "notification", data: { title } });
  }

  // Why a stream was refused; EventSource does not tell. null where it would be taken by now.
  async refusal(url) {
    const asking = new AbortController();
    try {
      const response = await fetch(url, {
        headers: { Accept: "text/event-stream" },
        signal: asking.signal,
      });
      if (response.ok) return null;
      const problem = await response.json().catch(() => ({}));
      const reason = problem.detail ?? `${response.status} ${response.statusText}`;
      return { reason, final: FINAL.includes(response.status) };
    } catch {
      return { reason: "the hub cannot be reached", final: false };
    } finally {
      asking.abort(); // a stream that was taken must not stay open beside the real one
    }
  }

  async #call(method, path, body, headers = {}) {
    const response = await fetch(`${path}?user=${encodeURIComponent(this.user)}`, {
      method,
      headers: body ? { "Content-Type": "application/json", ...headers } : headers,
      body: body && JSON.stringify(body),
    });
    // A proxy's error page is no JSON, and a status all the same.
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) {
      const detail = answer.detail ?? `${response.status} ${response.statusText}`;
      throw Object.assign(new Error(detail), { status: response.status });
    }
    return answer;
  }
}

// randomUUID exists only on https and localhost.
export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
