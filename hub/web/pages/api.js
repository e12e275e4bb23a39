// The hub's HTTP as this page uses it. In `hub dev` the request says itself who it is from.

export class Api {
  constructor(user) {
    this.user = user;
  }

  streamUrl() {
    return `/sse/connect/${encodeURIComponent(this.user)}`;
  }

  // The key makes a second try harmless: the hub finds the generation that the first one started.
  async ask(messages) {
    const key = crypto.randomUUID?.() ?? String(Math.random());
    const headers = { "Idempotency-Key": key };
    try {
      return await this.#call("POST", "/generations", { messages }, headers);
    } catch (error) {
      if (error.status) throw error;
      return this.#call("POST", "/generations", { messages }, headers);
    }
  }

  look(id) {
    return this.#call("GET", `/generations/${id}`);
  }

  stop(id) {
    return this.#call("DELETE", `/generations/${id}`);
  }

  restart(id) {
    return this.#call("POST", `/generations/${id}/restart`);
  }

  notify(title) {
    return this.#call("POST", "/dev/publish", { event: "notification", data: { title } });
  }

  async #call(method, path, body, headers = {}) {
    const response = await fetch(`${path}?user=${encodeURIComponent(this.user)}`, {
      method,
      headers: body ? { "Content-Type": "application/json", ...headers } : headers,
      body: body && JSON.stringify(body),
    });
    const answer = await response.json();
    if (!response.ok) {
      throw Object.assign(new Error(answer.detail ?? response.statusText), { status: response.status });
    }
    return answer;
  }
}
