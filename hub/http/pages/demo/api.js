// Requests of the page that hub.js has no method for: the list of one's answers, and the routes that
// only `hub dev` has.

const PROBE_PATH = "/demo/icon.svg";

export class Api {
  // user: named in the URL where no token is needed. token: a JWT.
  constructor({ user, token }) {
    this.query = user ? `user=${encodeURIComponent(user)}` : "";
    this.headers = token ? { Authorization: `Bearer ${token}` } : {};
  }

  // Returns the newest answers of the user that the hub keeps, without their texts.
  async listGenerations(limit = 100) {
    const { generations } = await this.#request("GET", `/generations?${this.query}&limit=${limit}`);
    return generations;
  }

  // Publishes an event to the user. In production only backends publish.
  notify(title) {
    return this.#request("POST", `/dev/publish?${this.query}`, { event: "notification", data: { title }, inbox: true });
  }

  // Makes something fail. Returns `{ happened }`, a sentence.
  breakSomething(fault) {
    return this.#request("POST", `/dev/faults/${fault}?${this.query}`);
  }

  // Returns the milliseconds of one round trip to the hub.
  async measureLatency() {
    const start = performance.now();
    await fetch(PROBE_PATH, { method: "GET", cache: "no-store" });
    return performance.now() - start;
  }

  // Rejects with an Error whose message is a sentence.
  async #request(method, path, body) {
    const headers = { ...this.headers, ...(body && { "Content-Type": "application/json" }) };
    const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) }).catch(() => null);
    if (!response) throw new Error("The hub cannot be reached.");
    const json = await response.json().catch(() => null);
    if (!response.ok) throw new Error(json?.detail ?? `The hub responds with status ${response.status}.`);
    return json;
  }
}
